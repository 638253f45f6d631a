"""Files of a running gateway, in ``run/`` of the data directory: who runs, who leads, how each worker is.

Locks are the kernel's (flock): whoever dies, in whatever way, has let go of them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ca.errors import ConfigError
from ca.files import make_private_directory

RUN = "run"
#: The lock of whoever has the issuing keys: a signer, or a command for a moment.
SIGNER = "signer.lock"
_PID = "sekisho.pid"
_LEAD = "lead.lock"
_NONCES = "nonces"
_TURN = "turn.lock"
# Bytes of a worker's report: some hundreds in earnest.
_LONGEST = 1 << 16


def run_directory(data: Path) -> Path:
    """``run/``, made if it is not there."""
    path = data / RUN
    if not path.is_dir():
        make_private_directory(path)
    return path


def nonce_file(directory: Path) -> Path:
    """The table of spent nonces that the workers share."""
    return directory / _NONCES


class Lock:
    """A lock on a file, let go by ``close`` or by the end of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)


def take(path: Path) -> Lock | None:
    """The lock on a file, made if it is not there; None if somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return Lock(fd)


@contextmanager
def turn(directory: Path | None) -> Iterator[None]:
    """One process at a time: for what is made when it is missing, as server certificates are."""
    if directory is None:
        yield
        return
    with open(directory / _TURN, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take_lead(directory: Path) -> Lock | None:
    """The lock of the one worker that looks after time and mail."""
    return take(directory / _LEAD)


def hold(data: Path, advice: str) -> Lock:
    """Keeps everybody else from serving the directory, or replacing what is in it. ConfigError, which ends
    with the ``advice``, if somebody does."""
    path = run_directory(data) / _PID
    lock = take(path)
    if lock is None:
        raise ConfigError(f"{_holder(data)}: {advice}")
    path.write_text("")
    return lock


def claim(directory: Path) -> Lock:
    """Makes this process the one that serves the directory. ConfigError if another one does.

    Removes what an earlier run left behind.
    """
    path = directory / _PID
    lock = take(path)
    if lock is None and _number(path) is None:
        raise ConfigError(f"{_holder(directory.parent)}; wait until it has ended, or stop it")
    if lock is None:
        raise ConfigError(
            f"sekisho serve runs on {directory.parent} already, as process {_number(path)}; "
            "stop that one first, or change its settings by: sekisho reload"
        )
    for left in directory.glob("worker-*.json"):
        left.unlink(missing_ok=True)
    path.write_text(f"{os.getpid()}\n")
    return lock


def serving_pid(directory: Path) -> int:
    """The process that serves the directory. ConfigError if there is none."""
    path = directory / _PID
    if not _is_held(path):
        raise ConfigError(f"nothing serves {directory.parent}; start it: sekisho serve")
    number = _number(path)
    if number is None:
        raise ConfigError(f"{_holder(directory.parent)}, and takes over nothing while it runs: stop it first")
    return number


def serves(data: Path) -> int | None:
    """The same for whoever only looks: None if there is none, and nothing is made."""
    try:
        return serving_pid(data / RUN)
    except ConfigError:
        return None


def used_by(data: Path) -> str | None:
    """Who has the directory for himself, in an operator's words; None if nobody does, and nothing is made."""
    return _holder(data) if _is_held(data / RUN / _PID) else None


def _holder(data: Path) -> str:
    number = _number(data / RUN / _PID)
    if number is None:
        return f"a demo, or a command such as sekisho db copy, has {data} for itself"
    return f"a gateway serves {data} (process {number})"


def _is_held(path: Path) -> bool:
    """Whether somebody has the lock on a file that may not be there."""
    lock = take(path) if path.exists() else None
    if lock is not None:
        lock.close()
    return lock is None and path.exists()


def report(directory: Path, worker: int, state: dict[str, Any]) -> None:
    """Writes how a worker is, for the other processes to read. Whole or not at all; not synced."""
    path = directory / f"worker-{worker}.json"
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(state | {"worker": worker, "pid": os.getpid()}))
    draft.replace(path)


def reports(directory: Path) -> list[dict[str, Any]]:
    """What the workers that live wrote last, by their numbers."""
    found = []
    for path in directory.glob("worker-*.json"):
        try:
            state = json.loads(_read(path))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(state, dict) and isinstance(state.get("worker"), int) and lives(state.get("pid")):
            found.append(state)
    return sorted(found, key=lambda state: int(state["worker"]))


def _read(path: Path) -> bytes:
    """What stands in a file of moderate size. OSError for what is no file: nobody waits for a pipe's other
    end, and nothing is read through a link."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        return file.read(_LONGEST)


def lives(pid: Any) -> bool:
    """Whether there is such a process."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _number(path: Path) -> int | None:
    text = path.read_text().strip()
    return int(text) if text.isdecimal() and int(text) > 1 else None
