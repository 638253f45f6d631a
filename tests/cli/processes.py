"""Real ``sekisho`` processes and real visitors for the tests that need them."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from threading import Thread

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from tests.started import WITHOUT_ROOTS, started

SEKISHO = Path(sys.executable).with_name("sekisho")
PATIENCE = 60.0


@contextmanager
def process(
    *words: str, log: Path, before: tuple[str, ...] = (), copied: bool = False, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """``sekisho`` in a session of its own; what is left of it at the end is killed.

    ``before``: the beginning of a command that runs the rest of it, such as ``prlimit``. ``copied``: as of
    `started`.
    """
    with (
        log.open("ab") as output,
        started(
            [*before, SEKISHO, *words],
            copied=copied and not before,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(environment),
        ) as running,
    ):
        yield running


def typed(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a command in a process of its own, a copy, has said and ended with."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started([SEKISHO, *words], copied=True, env=_environment(environment), **pipes) as running:
        out, err = running.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(words, running.returncode, out, err)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Nothing of whoever runs the tests."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("SEKISHO_")}
    return {**given, **WITHOUT_ROOTS, **more}


def until(
    found: Callable[[], bool],
    log: Path,
    running: subprocess.Popen[bytes] | None = None,
    patience: float = PATIENCE,
) -> None:
    """Waits, and fails with the log when it takes too long or the process has ended."""
    end = time.monotonic() + patience
    while not found():
        assert running is None or running.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def change(file: Path, settings: Mapping[tuple[str, str], str]) -> None:
    """Writes other values (as TOML has them) into a configuration, by section and name."""
    text = file.read_text()
    for (section, name), value in settings.items():
        head, mark, rest = text.partition(f"\n[{section}]\n")
        assert mark, section
        text = head + mark + re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", rest, count=1)
    draft = file.with_suffix(".new")
    draft.write_text(text)
    draft.replace(file)  # a server that is starting reads it whole


@contextmanager
def accepting(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port on which something accepts: it speaks TLS if it has a context, else it says 400."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = listening.accept()
                    with plain, suppress(OSError):
                        if context is None:
                            plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        else:
                            context.wrap_socket(plain, server_side=True).close()

        Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def pem_of(p12: str, password: str, to: Path) -> Path:
    """A P12 as the PEM file that Python's ssl reads."""
    bundle = pkcs12.load_pkcs12(Path(p12).read_bytes(), password.encode())
    assert bundle.key is not None
    assert bundle.cert is not None
    pem = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for each in (bundle.cert, *bundle.additional_certs):
        pem += each.certificate.public_bytes(Encoding.PEM)
    to.write_bytes(pem)
    return to


def tls(
    host: str, port: int, ca: Path, certificate: Path | None = None, address: str = "127.0.0.1"
) -> ssl.SSLSocket:
    """A TLS connection to this machine by whatever name, from one of its addresses."""
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate)
    plain = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(address, 0))
    return context.wrap_socket(plain, server_hostname=host)


def get(host: str, port: int, ca: Path, path: str = "/", certificate: Path | None = None) -> tuple[int, str]:
    """Status and body of a page, over a connection of its own."""
    connection = HTTPSConnection(host, port, timeout=60)
    connection.sock = tls(host, port, ca, certificate)
    return _asked(connection, path)


def get_plain(port: int, path: str) -> tuple[int, str]:
    """Status and body of a page on the internal port."""
    return _asked(HTTPConnection("127.0.0.1", port, timeout=60), path)


def _asked(connection: HTTPConnection, path: str) -> tuple[int, str]:
    try:
        connection.request("GET", path)
        got = connection.getresponse()
        return got.status, got.read().decode()
    finally:
        connection.close()
