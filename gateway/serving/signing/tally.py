"""How much was signed within the hour, and a copy of that in a file: neither a signer that was killed nor one
that was started again has another hour's worth."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

from ca.errors import ConfigError
from ca.files import make_private_directory

_MINUTES = 60
# After the minutes: when the machine was started, by its clock.
_STARTED = 2 * _MINUTES
_SIZE = (_STARTED + 1) * 8
# Seconds by which two looks at that may differ: a clock is set right in small steps.
_SAME = 5


class Tally:
    """How much was signed in each minute of the last hour, and the last beat of whoever signs: in memory that
    outlives a signer which was killed.

    ``path``: a copy of it, which is read here and never again. Minutes are those of the machine since it was
    started, which nobody sets; of a copy from before that, or from before the clock was set, all counts as
    signed just now. ConfigError if there is no room for the file.
    """

    def __init__(self, path: Path | None = None, wall: Callable[[], float] = time.time) -> None:
        self._beat = memoryview(mmap.mmap(-1, 8)).cast("q")
        self._cells = memoryview(mmap.mmap(-1, _SIZE)).cast("q")
        self._copy = self._cells if path is None else memoryview(_in_file(path)).cast("q")
        self._cells[:] = self._copy
        now = time.monotonic()
        started = int(wall() - now)
        if abs(self._cells[_STARTED] - started) > _SAME:
            self._carry_over(now)
        self._cells[_STARTED] = started
        self._copy[:] = self._cells

    def beat(self, now: float) -> None:
        self._beat[0] = int(now)

    @property
    def last_beat(self) -> int:
        return self._beat[0]

    def within_the_hour(self, now: float) -> int:
        """How many in the 60 minutes up to now (monotonic seconds)."""
        minute = _minute(now)
        return sum(
            self._cells[2 * i + 1]
            for i in range(_MINUTES)
            if minute - _MINUTES < self._cells[2 * i] <= minute
        )

    def count(self, now: float, number: int = 1) -> None:
        minute = _minute(now)
        cell = 2 * (minute % _MINUTES)
        if self._cells[cell] != minute:
            self._cells[cell], self._cells[cell + 1] = minute, 0
        self._cells[cell + 1] += number
        self._copy[cell : cell + 2] = self._cells[cell : cell + 2]

    def _carry_over(self, now: float) -> None:
        signed = sum(max(0, self._cells[2 * i + 1]) for i in range(_MINUTES))
        for i in range(2 * _MINUTES):
            self._cells[i] = 0
        self.count(now, signed)


def _minute(now: float) -> int:
    return int(now) // 60 + 1


def _in_file(path: Path) -> mmap.mmap:
    try:
        make_private_directory(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Room for it before it is mapped: without any left, whoever counts would be ended by a signal.
            os.posix_fallocate(fd, 0, _SIZE)
            return mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); see: ls -l {path.parent}") from None
