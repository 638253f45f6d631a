"""A demo ends as people end what runs in a terminal, and leaves no process and no directory behind."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.demo import passing
from tests.cli.processes import SEKISHO, typed
from tests.clients.demo import Demo, environment, missing, up
from tests.started import family_of, started

pytestmark = pytest.mark.slow
_PATIENCE = 60.0


@pytest.fixture(params=["one", "nodes"])
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "one":
        return ()
    if why := missing():
        pytest.skip(why)
    return ("--nodes", "2", "--database", "postgres")


@pytest.fixture
def place() -> Iterator[Path]:
    """Its temporary directories, to which PostgreSQL's user gets as well."""
    with tempfile.TemporaryDirectory(prefix="sekisho-test-", dir="/tmp") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@contextmanager
def _running(place: Path, *words: str, **more: Any) -> Iterator[tuple[subprocess.Popen[bytes], Demo]]:
    """A demo in a temporary directory below ``place``."""
    summary, log = place / "summary.json", place / "log"
    command = [SEKISHO, "demo", "--port", "0", "--summary", summary, *words]
    with log.open("ab") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output} | more
        with started(command, env=environment() | {"TMPDIR": str(place)}, **streams) as process:
            yield process, up(summary, log, lambda: process.poll() is None)


class _Left:
    """What a demo that is up has, and what is left of it."""

    def __init__(self, place: Path, process: subprocess.Popen[bytes], demo: Demo) -> None:
        self._place, self._family = place, family_of(process.pid)
        self._processes = {pid: _began(pid) for pid in self._family}
        _, _, socket = demo.summary.get("database", "").partition("?host=")
        self._socket = Path(socket).parent if socket else place / "none"

    def processes(self) -> list[int]:
        """Those that still live, once they have had the time to end."""
        end = time.monotonic() + _PATIENCE
        while left := [pid for pid, began in self._processes.items() if began and _began(pid) == began]:
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        return left

    def directories(self) -> list[Path]:
        found = [*self._place.glob("sekisho-demo-*")]
        return [*found, self._socket] if self._socket.exists() else found


def _began(pid: int) -> str:
    """When a process that lives was started (`man 5 proc`); "" if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[19] if fields[0] != "Z" else ""
    return ""


def test_with_its_terminal(place: Path, words: tuple[str, ...]) -> None:
    """The window is closed, and it ends by itself: the kernel sends SIGHUP, some shells another one."""
    ours, theirs = pty.openpty()

    def owned() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        # Whoever runs the tests may have it ignored (nohup).
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "preexec_fn": owned}
    with _running(place, *words, **streams) as (process, demo):
        os.close(theirs)
        left = _Left(place, process, demo)
        assert left.directories()
        os.close(ours)
        os.kill(process.pid, signal.SIGHUP)
        process.wait(_PATIENCE)
        assert (left.processes(), left.directories()) == ([], [])


def test_by_whoever_cannot_wait(place: Path, words: tuple[str, ...]) -> None:
    """Ctrl-C, and again: it ends no earlier than it has taken away what it made."""
    with _running(place, *words) as (process, demo):
        left = _Left(place, process, demo)
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        process.wait(_PATIENCE)
        assert (process.returncode, left.processes(), left.directories()) == (0, [], [])
    assert "The demo has stopped." in (place / "log").read_text()


def test_by_force(place: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9: its processes end with it, a frozen one too, and the next demo clears the directories."""
    with _running(place, *words) as (process, demo):
        left = _Left(place, process, demo)
        for each in demo.summary.get("nodes", ())[:1]:
            os.kill(each["pid"], signal.SIGSTOP)
        process.kill()
        process.wait(_PATIENCE)
        assert left.processes() == []
    assert left.directories()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    told: list[str] = []
    passing.clear(told.append)
    assert (left.directories(), len(told) > 0) == ([], True)


def test_while_it_is_made(place: Path, words: tuple[str, ...]) -> None:
    """kill -9: the next one of its directory begins anew, and says so; what somebody has put there meanwhile
    is neither taken away nor taken for a demo's."""
    data = place / "data"
    command = [SEKISHO, "demo", "--port", "0", "--data", data, *words]
    with started(command, env=environment() | {"TMPDIR": str(place)}, stdin=subprocess.DEVNULL) as process:
        end = time.monotonic() + _PATIENCE
        drafts = [each / "sekisho-demo-unfinished" for each in (data, data / "node-1")]
        while not any((each / "vault.json").exists() for each in drafts):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
    (data / "letter.txt").write_text("mine")
    refused = typed("demo", "--port", "0", "--data", str(data), *words)
    assert (refused.returncode, "letter.txt" in refused.stderr) == (1, True), refused.stderr
    assert (data / "letter.txt").read_text() == "mine"
    (data / "letter.txt").unlink()
    with _running(place, "--data", str(data), *words) as (process, demo):
        assert len(demo.summary["users"]) > 0
    assert f"{data} was left by a demo that ended before it was whole" in (place / "log").read_text()


def test_not_where_it_is_to_outlive_the_terminal(place: Path) -> None:
    """nohup: SIGHUP does nothing, SIGTERM ends it."""
    ignored = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with _running(place, preexec_fn=ignored) as (process, demo):
        left = _Left(place, process, demo)
        process.send_signal(signal.SIGHUP)
        with demo.visit("help") as connection:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
        process.terminate()
        process.wait(_PATIENCE)
        assert (process.returncode, left.processes(), left.directories()) == (0, [], [])
