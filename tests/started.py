"""Processes that tests start, none of which outlives them: not a test that failed, not a run that was killed.

Each leads a session of its own. The end of the block ends the whole session, and a warden, a process beside
the tests, ends those sessions that are left when the tests are gone without a word (SIGKILL, `os._exit`).
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import inspect
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

#: For the environment of the product, which trusts nobody out there: aiohttp reads the machine's roots when
#: it is loaded, a tenth of a second of a core for each process.
WITHOUT_ROOTS = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}

_PATIENCE = 60.0
_WARDENS: dict[int, subprocess.Popen[bytes]] = {}
"""By the process that it watches: one that was forked from it has to have its own."""
_LOADED: dict[int, socket.socket] = {}
"""The way to a process that has loaded the product, by whose it is, as above."""
_ASKING = Lock()
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@contextmanager
def started(
    command: Sequence[str | Path], *, copied: bool = False, **more: Any
) -> Iterator[subprocess.Popen[Any]]:
    """A command, ``more`` as `subprocess.Popen` takes it; what lives of its session at the end is killed.

    ``copied``: it is ``sekisho``, and need not be a program of its own (`tests.loaded`).
    """
    running = (_Copy if copied else subprocess.Popen)(command, start_new_session=True, **more)
    with running, _watched(running.pid):
        yield running


@asynccontextmanager
async def started_async(command: Sequence[str | Path], **more: Any) -> AsyncIterator[Process]:
    """As `started`, for who speaks with it inside an event loop."""
    running = await asyncio.create_subprocess_exec(*command, start_new_session=True, **more)
    try:
        with _watched(running.pid):
            yield running
    finally:
        await running.wait()


@dataclass(frozen=True)
class Forked:
    """A copy of this process at work."""

    pid: int

    def wait(self) -> int:
        """Its exit code, negative for a signal. Once only."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def lives(self) -> bool:
        """Whether it has not ended yet. Not after `wait`."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


@contextmanager
def forked(work: Callable[[], int]) -> Iterator[Forked]:
    """A copy of this process that ends with what ``work`` returns, or 70; killed at the end of the block."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            code = work()
        finally:
            os._exit(code)
    try:
        with _watched(pid):
            yield Forked(pid)
    finally:
        with suppress(ChildProcessError):  # whoever has waited for it already
            os.waitpid(pid, 0)


class Begun(subprocess.Popen[Any]):
    """A process that is begun in another way than by ``execve``; whoever uses it sees no difference."""

    def begin(self, told: dict[str, Any]) -> int | None:
        """The number of a child, by what `subprocess` tells of one; None: in the usual way."""
        raise NotImplementedError

    def _execute_child(self, *given: Any) -> None:
        told = dict(zip(_OF_A_CHILD, given, strict=True))
        pid = self.begin(told)
        if pid is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self.pid, self._child_created = pid, True
        self._close_pipe_fds(*(told[name] for name in _PIPES))


class _Copy(Begun):
    """``sekisho`` as a copy of a process that has it loaded."""

    def begin(self, told: dict[str, Any]) -> int | None:
        env = os.environ if told["env"] is None else told["env"]
        asked = {
            "words": [str(word) for word in told["args"]],
            "cwd": str(told["cwd"] or os.getcwd()),
            "environment": {name: str(value) for name, value in env.items()},
        }
        pipes = [told[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        return _copy(asked, [number if fd == -1 else fd for number, fd in enumerate(pipes)])


_OF_A_CHILD = list(inspect.signature(subprocess.Popen._execute_child).parameters)[1:]  # type: ignore[attr-defined]
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def _copy(asked: dict[str, Any], fds: list[int]) -> int:
    """The number of a new child of ours."""
    prctl = ctypes.CDLL(None).prctl
    with _ASKING:
        link = _loaded()
        # It is an orphan when it has been forked, and whoever takes those in becomes its parent.
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(link, [json.dumps(asked).encode()], fds)
            return int(link.recv(20))
        finally:
            prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _loaded() -> socket.socket:
    ours = os.getpid()
    if ours not in _LOADED:
        link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = {name: value for name, value in os.environ.items() if not name.startswith("SEKISHO_")}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.loaded", str(theirs.fileno())],
                cwd=Path(__file__).parents[1],
                env=given | WITHOUT_ROOTS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        _LOADED[ours] = link
        atexit.register(process.wait)
        atexit.register(link.close)
    return _LOADED[ours]


def session_of(leader: int) -> set[int]:
    """The processes of a session that live."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.add(int(entry.parent.name))
    return found


def family_of(eldest: int) -> set[int]:
    """A process and its descendants, those included who lead sessions of their own; none if it is gone."""
    parents = dict[int, int]()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found, more = set[int](), {eldest} & parents.keys()
    while more:
        found |= more
        more = {pid for pid, parent in parents.items() if parent in found} - found
    return found


def signal_family(eldest: int, number: signal.Signals) -> None:
    """To a process and to all that it has started."""
    for pid in family_of(eldest):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def _watched(leader: int) -> Iterator[None]:
    try:
        _tell_warden(f"+{leader}")
        yield
    finally:
        _end(leader)
        _tell_warden(f"-{leader}")


def _end(leader: int) -> None:
    """Kills a session, those included who are born meanwhile. A child of ours stays to be waited for."""
    if _parent(leader) == os.getpid():  # a fork may not have reached its setsid yet
        os.kill(leader, signal.SIGKILL)
    end = time.monotonic() + _PATIENCE
    while left := session_of(leader):
        if time.monotonic() > end:
            raise RuntimeError(f"processes {sorted(left)} cannot be killed")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _tell_warden(line: str) -> None:
    watched = os.getpid()
    if watched not in _WARDENS:
        warden = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(watched)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _WARDENS[watched] = warden
        atexit.register(warden.communicate)
    pipe = _WARDENS[watched].stdin
    assert pipe is not None
    pipe.write(line.encode() + b"\n")
    pipe.flush()


def _be_warden(watched: int) -> None:
    """Until the tests are gone: by the end of the pipe, or, where a fork holds it open, by their number."""
    open_sessions: set[int] = set()
    rest = b""
    # What was written is read in any case: the tests may be gone before this process runs at all.
    while select.select([0], [], [], 0.5)[0] or os.getppid() == watched:
        if not select.select([0], [], [], 0)[0]:
            continue
        read = os.read(0, 65_536)
        if not read:
            break
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            (open_sessions.add if line[:1] == b"+" else open_sessions.discard)(int(line[1:]))
    for leader in open_sessions:
        _end(leader)


if __name__ == "__main__":
    _be_warden(int(sys.argv[1]))
