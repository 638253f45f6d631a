"""A demo in a process of its own, with what a test needs in order to be its operator and its visitor."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509

from tests.cli.processes import SEKISHO, typed
from tests.started import WITHOUT_ROOTS, started

DAY = 86_400
_PATIENCE = 300.0


def missing() -> str:
    """What a demo of several nodes needs and this machine has not, in its words; "" for nothing."""
    # Who plants faults imports this file, and the product after them (tests/mutants/against.py).
    from ca.errors import ConfigError
    from gateway.demo import parts

    try:
        parts.programs()
    except ConfigError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Demo:
    """A running demo, by its summary."""

    summary: dict[str, Any]
    file: Path

    @property
    def directory(self) -> str:
        return str(self.summary["acme_directory"])

    @property
    def renewal_directory(self) -> str:
        return str(self.summary["sites"]["renewal"]) + "acme/directory"

    @property
    def ca_file(self) -> Path:
        return Path(self.summary["ca_file"])

    @property
    def operated(self) -> list[str]:
        """The suite's option by which `tests/conformance/operating.py` is the operator of this demo."""
        command = [sys.executable, "-m", "tests.conformance.operating", str(self.file)]
        return ["--operator", shlex.join(command)]

    def sekisho(self, *words: str) -> Any:
        """What an operator's command answers, as JSON."""
        place = ("--data", self.summary["data"], "--passphrase-file", self.summary["passphrase_file"])
        ran = typed(*words, *place, "--json")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def credentials(self, user_id: str, count: int = 1) -> list[dict[str, Any]]:
        made = self.sekisho("eab", "create", user_id, "--count", str(count))
        return list(made["credentials"])

    def user(self, user_id: str) -> dict[str, Any]:
        return next(user for user in self.summary["users"] if user["user_id"] == user_id)

    @contextmanager
    def on_day(self, day: float) -> Iterator[None]:
        """The server's clock stands off from the machine's by so many days; clients do not notice."""
        # Here, so that who imports this module (tests/mutants) has not imported the product as well.
        from ca.clock import OffsetClock
        from gateway.serving.deployment import CLOCK

        clock = OffsetClock(Path(self.summary["data"]) / CLOCK)
        clock.travel(int(day * DAY))
        try:
            yield
        finally:
            clock.travel(0)

    @contextmanager
    def visit(self, site: str, certificate: tuple[Path, Path] | None = None) -> Iterator[HTTPSConnection]:
        """A connection to a site, presenting (chain file, key file)."""
        host, port = f"{site}.localhost", int(self.summary["port"])
        context = ssl.create_default_context(cafile=self.ca_file)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        connection = HTTPSConnection(host, port, context=context, timeout=60)
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        try:
            yield connection
        finally:
            connection.close()

    def standing(self, certificate: x509.Certificate) -> dict[str, Any]:
        """What the register says of a certificate."""
        shown = self.sekisho("cert", "show", f"{certificate.serial_number:032x}")
        return dict(shown["certificate"])


@contextmanager
def running(place: Path, *words: str, keep: bool = False, may_fail: bool = False) -> Iterator[Demo]:
    """A demo on a free port; whatever is left of it at the end is killed. ``keep``: but for its data.

    ``may_fail``: a traceback in its log is no fault of the test's.
    """
    summary, log = place / "summary.json", place / "log"
    options = ("--data", str(place / "data"), "--port", "0", "--summary", str(summary))
    with (
        log.open("wb") as output,
        started(
            [SEKISHO, "demo", *options, *words],
            copied=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
        ) as process,
    ):
        demo = up(summary, log, lambda: process.poll() is None)
        _cheaper(demo)
        yield demo
        assert may_fail or "Traceback" not in log.read_text()
    if not keep:
        shutil.rmtree(place / "data", ignore_errors=True)


def _cheaper(demo: Demo) -> None:
    # Here for the same reason as above.
    from tests.datadirs import cheaper

    cheaper(Path(demo.summary["data"]), Path(demo.summary["passphrase_file"]).read_text().strip())


def environment() -> dict[str, str]:
    """A demo's: nothing of whoever runs the tests, and faults of ours in its log."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEKISHO_")}
    return own | WITHOUT_ROOTS | {"SEKISHO_TRACEBACK": "1"}


def up(summary: Path, log: Path, lives: Callable[[], bool]) -> Demo:
    """The demo that writes this summary, once it is up; an AssertionError with its log if it ends before."""
    end = time.monotonic() + _PATIENCE
    while not summary.exists():
        assert lives(), log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return Demo(json.loads(summary.read_text()), summary)


def run(
    command: Sequence[str | Path], cwd: Path | None = None, timeout: float = 60, **environment: str
) -> str:
    """Runs a client; its output, which is shown when it fails."""
    ran = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=timeout,
    )
    told = ran.stdout.decode(errors="replace")
    assert ran.returncode == 0, f"{command[0]} failed with {ran.returncode}:\n{told}"
    return told
