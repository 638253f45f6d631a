"""acme2certifier as another server that is not ours, with its own openssl handler for a CA.

It is run as serles is: `unshare -rn python -m tests.conformance.acme2certifier FOLDER [suite options]`, with
the acme2certifier and gunicorn of the virtual environment whose bin folder ACME2CERTIFIER names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conformance.__main__ import main
from tests.conformance import caddy
from tests.conformance.pebble import wait_for, write_certificates
from tests.started import started

#: The bin folder of a virtual environment.
PLACE = os.environ.get("ACME2CERTIFIER", "")
DIRECTORY = "https://localhost:9443/directory"
# It asks its name server, and no file of hosts: the suite is that name server.
CREDENTIALS = {"credentials": [{"identifiers": [{"type": "dns", "value": "u1.client.example"}]}]}
ISSUER = (
    *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "30"),
    *("-subj", "/CN=issuer", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
)
CONFIG = """[DEFAULT]
debug: False
dns_server_list: ["127.0.0.1"]
[Nonce]
nonce_check_disable: False
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/issuer.key
issuing_ca_cert: {folder}/issuer.pem
issuing_ca_crl: {folder}/crl.pem
cert_save_path: {folder}/certs
cert_validity_days: 90
ca_cert_chain_list: ["{folder}/issuer.pem"]
[DBhandler]
handler_module: acme2certifier.dbhandlers.wsgi_handler
dbfile: {folder}/acme.db
[Certificate]
revocation_reason_check_disable: False
[Challenge]
challenge_validation_disable: False
[Order]
tnauthlist_support: False
"""


def usable() -> bool:
    """It is installed where ACME2CERTIFIER says, and this user may have a network namespace of its own."""
    return bool(PLACE) and (Path(PLACE) / "gunicorn").exists() and caddy.may_unshare()


def run_suite(folder: Path, options: list[str]) -> int:
    """Starts it, runs the suite on it and ends it; returns the suite's exit status."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    write_certificates(folder)
    (folder / "certs").mkdir()
    subprocess.run([*ISSUER, "-keyout", folder / "issuer.key", "-out", folder / "issuer.pem"], check=True)
    (folder / "acme_srv.cfg").write_text(CONFIG.format(folder=folder))
    (folder / "credentials.json").write_text(json.dumps(CREDENTIALS))
    tls = ["--certfile", str(folder / "server.pem"), "--keyfile", str(folder / "server.key")]
    application = "acme2certifier.share.acme2certifier_wsgi:application"
    with (
        (folder / "log").open("wb") as log,
        started(
            [Path(PLACE) / "gunicorn", "-b", "127.0.0.1:9443", "--threads", "8", *tls, application],
            env=os.environ | {"ACME_SRV_CONFIGFILE": str(folder / "acme_srv.cfg")},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        wait_for(DIRECTORY, folder / "ca.pem", process)
        files = ["--ca-file", str(folder / "ca.pem"), "--credentials", str(folder / "credentials.json")]
        where = ["--directory", DIRECTORY, *files, "--contact", "mailto:ops@client.example"]
        return main([*where, "--http-01-port", "80", "--dns-01-port", "53", "--timeout", "20", *options])


if __name__ == "__main__":
    sys.exit(run_suite(Path(sys.argv[1]), sys.argv[2:]))
