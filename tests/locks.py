"""Locks held on purpose: that something waits for a file's lock is seen where the kernel tells it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def waits_until_let_go(path: Path, work: Callable[[], T]) -> tuple[bool, T]:
    """Whether ``work`` waited for the lock of a file that somebody else had, and what it returned in the end.

    Nobody sleeps for it: the kernel has a line for each who waits.
    """
    path.touch()
    with open(path, "rb") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        try:
            done = pool.submit(work)
            end = time.monotonic() + 60
            while not _waited_for(path) and not done.done() and time.monotonic() < end:
                time.sleep(0.001)
            waited = _waited_for(path) and not done.done()
        finally:
            fcntl.flock(other, fcntl.LOCK_UN)
        return waited, done.result(60)


def _waited_for(path: Path) -> bool:
    inode = f":{path.stat().st_ino} "
    return any(" -> " in line and inode in line for line in Path("/proc/locks").read_text().splitlines())
