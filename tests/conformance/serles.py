"""serles as another server that is not ours, with the openssl of this machine for a CA.

It validates by http-01 on port 80 of the name: as Caddy it runs in a network namespace of its own,
`unshare -rn python -m tests.conformance.serles FOLDER [suite options]`. Whoever wants it installs serles-acme
somewhere and puts its commands on the PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.__main__ import main
from tests.conformance import caddy
from tests.conformance.pebble import wait_for, write_certificates
from tests.started import started

BINARY = shutil.which("serles")
DIRECTORY = "https://localhost:9443/directory"
CONFIG = """[serles]
database = sqlite:///{folder}/db.sqlite
backend = serles.backends.openssl:Backend
subjectNameTemplate = CN={{SAN[0]}}
allowWildcards = true
allowIpIdentifiers = true
verifyPTR = false
[openssl]
cacert = {folder}/issuer.pem
cakey = {folder}/issuer.key
"""


def usable() -> bool:
    """serles is on the PATH, and this user may have a network namespace of its own."""
    return BINARY is not None and shutil.which("openssl") is not None and caddy.may_unshare()


def run_suite(folder: Path, options: list[str]) -> int:
    """Starts serles, runs the suite on it and ends it; returns the suite's exit status."""
    assert BINARY is not None
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    write_certificates(folder)
    (folder / "config.ini").write_text(CONFIG.format(folder=folder))
    (folder / "credentials.json").write_text(json.dumps(caddy.CREDENTIALS))
    tls = ["--certfile", str(folder / "server.pem"), "--keyfile", str(folder / "server.key")]
    gunicorn = Path(BINARY).with_name("gunicorn")
    with (
        (folder / "log").open("wb") as log,
        started(
            [gunicorn, "-b", "127.0.0.1:9443", "--threads", "8", *tls, "serles:create_app()"],
            env=os.environ | {"CONFIG": str(folder / "config.ini")},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        wait_for(DIRECTORY, folder / "ca.pem", process)
        files = ["--ca-file", str(folder / "ca.pem"), "--credentials", str(folder / "credentials.json")]
        where = ["--directory", DIRECTORY, *files, "--contact", "mailto:ops@client.example"]
        return main([*where, "--http-01-port", "80", "--timeout", "20", *options])


if __name__ == "__main__":
    sys.exit(run_suite(Path(sys.argv[1]), sys.argv[2:]))
