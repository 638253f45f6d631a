"""Directories that go when a demo ends. One that is killed leaves them, and the next demo takes them away.

Who uses one holds its lock (flock), of which the kernel lets go however that process ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.demo.parts import sweep

_PREFIX = "sekisho-demo-"
# In each of them from its beginning to its end, and in no directory that somebody has named.
_MARKER = ".goes-with-its-demo"
# Where a socket's path is short enough.
_SHORT = "/tmp"  # noqa: S108  (its directories have names that nobody can guess)


@contextmanager
def directory(*, short: bool = False) -> Iterator[Path]:
    """A new one, until the end of the block. ``short``: where a socket can be within."""
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_SHORT if short else None))
    lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Before there is a marker: whoever clears looks for one, and then holds the lock for a moment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        (made / _MARKER).touch()
        yield made
    finally:
        _remove(made)
        os.close(lock)


def clear(told: Callable[[str], None]) -> None:
    """Takes away what demos of this user left that were killed, and says which directories those were."""
    for within in {Path(_SHORT), Path(tempfile.gettempdir())}:
        for left in within.glob(f"{_PREFIX}*/{_MARKER}"):
            with suppress(OSError):  # it is another user's, or somebody else clears it
                if _cleared(left.parent):
                    told(f"{left.parent} was left by a demo that was killed; it is away now.")


def _cleared(left: Path) -> bool:
    lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            return False
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for cluster in left.glob("*/postgresql"):
                sweep(cluster)
            _remove(left)
            return True
        return False
    finally:
        os.close(lock)


def _remove(made: Path) -> None:
    """The marker last: who is killed here leaves what can be known again."""
    for each in made.iterdir():
        if each.name != _MARKER:
            shutil.rmtree(each)
    shutil.rmtree(made)
