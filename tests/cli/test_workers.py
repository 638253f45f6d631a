"""Several workers on one port: reloads that none of them misses, those that are stuck, and the end of all."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gateway.running.reloading import ask_for_reload
from tests.cli.conftest import Shell
from tests.cli.processes import free_port, process, session_of, until
from tests.cli.test_serving import Gateway, halfway, ready
from tests.offices import PASSPHRASE


def _children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _killed(gateway: Gateway) -> None:
    """Kills a worker and returns at the birth of the one that takes its place."""
    before = _children(gateway.running.pid)
    os.kill(max(before), signal.SIGKILL)
    until(lambda: bool(_children(gateway.running.pid) - before), gateway.log)


# -- reload --------------------------------------------------------------------------------------------


def test_a_worker_that_is_starting_misses_no_reload(sekisho: Shell, tmp_path: Path) -> None:
    """However young a worker is, it serves the new settings once the reload is said to be done."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        for number, age in enumerate((0.0, 0.02, 0.04, 0.08, 0.12), start=1000):
            # Old enough to be replaced at once: whoever dies young waits.
            time.sleep(0.3)
            _killed(gateway)
            time.sleep(age)
            telephone = f"03-0000-{number}"
            gateway.set("operator", "telephone", f'"{telephone}"')
            assert ask_for_reload(gateway.data, 30) == 2
            pages = [gateway.get("help.localhost", "/contact")[1] for _ in range(12)]
            assert sum(telephone in page for page in pages) == len(pages), f"{age} s after its birth"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_starting_misses_no_reload(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """Asked before it answers anybody, it answers with the new settings."""
    log = tmp_path / "log"
    gateway = Gateway(None, sekisho.data, free_port(), 0, log, {})  # type: ignore[arg-type]
    gateway.set("listen", "port", str(gateway.port))
    words = ("serve", "--data", str(gateway.data), "--workers", str(workers))
    for number, age in enumerate((0.0, 0.03, 0.06), start=1000):
        with process(*words, log=log, SEKISHO_PASSPHRASE=PASSPHRASE) as running:
            pid = gateway.data / "run" / "sekisho.pid"
            until(lambda: pid.exists() and pid.read_text() == f"{running.pid}\n", log, running)  # noqa: B023
            time.sleep(age)
            gateway.set("operator", "telephone", f'"03-0000-{number}"')
            assert ask_for_reload(gateway.data, 30) == workers
            assert all(f"03-0000-{number}" in gateway.get("help.localhost", "/contact")[1] for _ in range(6))
        until(lambda: not session_of(running.pid), log)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_ends_nobody_who_is_stopping(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """SIGHUP during the drain is not the end of a request that runs."""
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        busy = halfway(gateway)
        time.sleep(0.3)
        os.kill(gateway.running.pid, signal.SIGTERM)
        until(lambda: gateway.says("stopping"), gateway.log)
        time.sleep(0.3)
        for pid in session_of(gateway.running.pid):
            os.kill(pid, signal.SIGHUP)
        time.sleep(0.3)
        busy.sendall(b"&b=22")
        assert busy.recv(65_536).startswith(b"HTTP/1.1 4")
        busy.close()
        assert gateway.running.wait(30) == 0
