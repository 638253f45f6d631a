"""What goes wrong after what, by the seed, and how long is waited on a machine that is busy."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.started import started_async

# Of each period, in seconds, so much is spent: what takes longer than that the machine gave to others.
_PERIOD, _SPENT = 1.0, 0.05


def dealing(names: Sequence[str], chance: random.Random, there_is_time: Callable[[], bool]) -> Iterator[str]:
    """Shuffled decks of all names: one whole, and on while there is time."""
    yield from chance.sample(names, len(names))
    while True:
        for name in chance.sample(names, len(names)):
            if not there_is_time():
                return
            yield name


class Fair:
    """Seconds in which a process that wanted a core had one, counted by a process beside that wants one now
    and then. Deadlines are by these, so that a machine which is busy with something else breaks none."""

    def __init__(self) -> None:
        self.slowest = self._slow = 1.0
        self._begun = self._at = time.monotonic()
        self._seconds = 0.0

    def __call__(self) -> float:
        return self._seconds + (time.monotonic() - self._at) / self._slow

    @property
    def mean(self) -> float:
        """How many times as long everything has taken so far."""
        return max((time.monotonic() - self._begun) / max(self(), 1.0), 1.0)

    @property
    def told(self) -> str:
        wall = time.monotonic() - self._begun
        return f"{self():.0f} of {wall:.0f} s, and at the slowest took {self.slowest:.1f} times as long"

    async def measure(self) -> None:
        """For ever."""
        command = [sys.executable, "-m", "tests.chaos.schedule"]
        async with started_async(command, cwd=Path(__file__).parents[2], stdout=-1) as running:
            assert running.stdout is not None
            while line := await running.stdout.readline():
                self._seconds, self._at, self._slow = self(), time.monotonic(), max(float(line), 1.0)
                self.slowest = max(self.slowest, self._slow)


def _measure() -> None:
    while True:
        time.sleep(_PERIOD - _SPENT)
        begun, until = time.monotonic(), time.process_time() + _SPENT
        while time.process_time() < until:
            pass
        print((time.monotonic() - begun) / _SPENT, flush=True)


if __name__ == "__main__":
    _measure()
