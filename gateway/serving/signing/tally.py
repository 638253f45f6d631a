"""How much was signed within the hour."""

from __future__ import annotations

import mmap

_MINUTES = 60


class Tally:
    """How much was signed in each minute of the last hour, and the last beat: in memory that outlives a
    signer which was killed, so that nobody gets another hour's worth by that."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, (2 * _MINUTES + 1) * 8)).cast("q")

    def beat(self, now: float) -> None:
        self._cells[2 * _MINUTES] = int(now)

    @property
    def last_beat(self) -> int:
        return self._cells[2 * _MINUTES]

    def within_the_hour(self, now: float) -> int:
        """How many in the 60 minutes up to now (monotonic seconds)."""
        minute = int(now) // 60 + 1
        return sum(
            self._cells[2 * i + 1]
            for i in range(_MINUTES)
            if minute - _MINUTES < self._cells[2 * i] <= minute
        )

    def count(self, now: float) -> None:
        minute = int(now) // 60 + 1
        cell = 2 * (minute % _MINUTES)
        if self._cells[cell] != minute:
            self._cells[cell], self._cells[cell + 1] = minute, 0
        self._cells[cell + 1] += 1
