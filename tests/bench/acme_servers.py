"""The servers that the protocol's benchmark compares, each started fresh on one core: ours, pebble, Caddy."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.bench.acme_load import Target
from tests.conformance.caddy import CADDYFILE
from tests.conformance.pebble import wait_for, write_certificates
from tests.enroll.acme.signing import b64
from tests.ports import free_port
from tests.started import started

Server = Callable[[Path], AbstractContextManager[Target]]

#: The most connections that a run has; as many accounts are prepared.
MOST_CLIENTS = 32
#: Servers run on this core and the load on another, so that neither takes the other's time.
SERVER_CORE = min(os.sched_getaffinity(0))
LOAD_CORE = max(os.sched_getaffinity(0))

_USER, _QUOTA = "K12345678", 100_000
_PASSPHRASE = "a passphrase for the benchmark"


@contextmanager
def sekisho(
    folder: Path,
    prepare: Callable[[Path], None] = lambda _: None,
    served_by: Sequence[str] = (),
    made_with: Sequence[str] = (),
) -> Iterator[Target]:
    """``sekisho serve`` as an operator runs it: every default, the database on disk.

    ``prepare`` is given the data directory before the server starts; ``served_by`` is typed instead of
    ``sekisho`` to serve, ``made_with`` after ``sekisho init``.
    """
    data, port = folder / "data", free_port()

    def run(*words: str) -> str:
        command = [*_sekisho(), *words, "--data", str(data)]
        return subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True).stdout

    run("init", "--port", str(port), *made_with)
    # All the load comes from one address.
    settings = data / "sekisho.toml"
    settings.write_text(
        re.sub(
            r"(?m)^#? ?(protocol_address|burst_seconds|per_hour) = .*", r"\1 = 1000000", settings.read_text()
        )
    )
    run("org", "add", "12345678", "Bench")
    run("user", "add", "12345678", "Taro", "taro@example.jp", "--user-id", _USER)
    made = json.loads(
        run("eab", "create", _USER, "--count", str(MOST_CLIENTS), "--quota", str(_QUOTA), "--json")
    )
    prepare(data)
    directory = f"https://pickup.localhost:{port}/acme/directory"
    with serving(data, folder, served_by) as process:
        _wait_for_port(port, process)
        yield Target(
            directory,
            str(data / "servers" / "ca.pem"),
            process.pid,
            made["credentials"][0]["identifiers"][0]["value"],
            tuple((one["kid"], _decode(one["hmac_key"])) for one in made["credentials"]),
        )


@contextmanager
def serving(data: Path, folder: Path, served_by: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """The server process on a data directory that is ready."""
    with _process(
        [*(served_by or _sekisho()), "serve", "--data", str(data)], folder / "log", _environment()
    ) as process:
        yield process


def pebble(reuse: int) -> Server:
    """Debian's pebble, which keeps everything in memory. ``reuse``: percent of orders ready at once."""

    @contextmanager
    def start(folder: Path) -> Iterator[Target]:
        port = free_port()
        write_certificates(folder)
        keys = {f"kid-{number}": secrets.token_bytes(32) for number in range(MOST_CLIENTS)}
        config = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": "",
            "certificate": str(folder / "server.pem"),
            "privateKey": str(folder / "server.key"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": True,
            "externalAccountMACKeys": {kid: b64(key) for kid, key in keys.items()},
        }
        (folder / "config.json").write_text(json.dumps({"pebble": config}))
        environment = {
            **os.environ,
            "PEBBLE_VA_ALWAYS_VALID": "1",
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": str(reuse),
        }
        command = ["pebble", "-config", str(folder / "config.json")]
        directory = f"https://localhost:{port}/dir"
        with _process(command, folder / "log", environment) as process:
            wait_for(directory, folder / "ca.pem", process)
            yield Target(directory, str(folder / "ca.pem"), process.pid, "bench.example", tuple(keys.items()))

    return start


@contextmanager
def caddy(folder: Path) -> Iterator[Target]:
    """Caddy's acme_server, on disk. Only in a network namespace of its own: it validates on port 80."""
    write_certificates(folder)
    (folder / "Caddyfile").write_text(CADDYFILE.format(folder=folder))
    home = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    command = ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    directory = "https://localhost:9443/acme/local/directory"
    with _process(command, folder / "log", {**os.environ, **home}) as process:
        wait_for(directory, folder / "ca.pem", process)
        yield Target(directory, str(folder / "ca.pem"), process.pid, "localhost", (None,) * MOST_CLIENTS)


@contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """On the servers' core."""
    taskset = ["taskset", "-c", str(SERVER_CORE)] if shutil.which("taskset") else []
    with (
        log.open("ab") as output,
        started([*taskset, *command], stdout=output, stderr=output, env=environment) as running,
    ):
        yield running


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the listener is there, which opens last. The name need not be one that this machine resolves."""
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.05)


def _sekisho() -> list[str]:
    return [str(Path(sys.executable).with_name("sekisho"))]


def _environment() -> dict[str, str]:
    return {**os.environ, "SEKISHO_PASSPHRASE": _PASSPHRASE}


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
