"""Caddy's acme_server as a second server that is not ours, in a network namespace of its own.

It validates by http-01 on port 80 of the name, so it needs a loopback where port 80 is free:
`unshare -rn python -m tests.conformance.caddy FOLDER [suite options]` runs both in there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.__main__ import main
from tests.conformance.pebble import wait_for, write_certificates
from tests.started import started

BINARY = shutil.which("caddy")
DIRECTORY = "https://localhost:9443/acme/local/directory"
# No kid: no binding is asked for. The name is one that resolves to loopback anywhere.
CREDENTIALS = {"credentials": [{"identifiers": [{"type": "dns", "value": "localhost"}]}]}
CADDYFILE = """{{
  admin off
  storage file_system {folder}/storage
  skip_install_trust
  http_port 8080
  https_port 9443
  auto_https disable_redirects
}}
https://localhost:9443 {{
  tls {folder}/server.pem {folder}/server.key
  acme_server {{
    ca local
  }}
}}
"""


def usable() -> bool:
    """Caddy is here, and this user may have a network namespace of its own."""
    return BINARY is not None and may_unshare()


def may_unshare() -> bool:
    """This user may have a network namespace of its own, in which port 80 is free."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    command = ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True).returncode == 0


def run_suite(folder: Path, options: list[str]) -> int:
    """Starts Caddy, runs the suite on it and ends it; returns the suite's exit status."""
    assert BINARY is not None
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    write_certificates(folder)
    (folder / "Caddyfile").write_text(CADDYFILE.format(folder=folder))
    (folder / "credentials.json").write_text(json.dumps(CREDENTIALS))
    home = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with (
        (folder / "log").open("wb") as log,
        started(
            [BINARY, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
            env=os.environ | home,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        wait_for(DIRECTORY, folder / "ca.pem", process)
        files = ["--ca-file", str(folder / "ca.pem"), "--credentials", str(folder / "credentials.json")]
        return main(["--directory", DIRECTORY, *files, "--http-01-port", "80", "--timeout", "20", *options])


if __name__ == "__main__":
    sys.exit(run_suite(Path(sys.argv[1]), sys.argv[2:]))
