"""Whether each worker's event loop still turns, told through memory that all of them share.

Not through files: a full disk must not look like workers that are stuck.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping


class Pulse:
    """Each worker's last moment (monotonic seconds). Made before the workers are forked."""

    def __init__(self, count: int) -> None:
        # 0.0: not heard of since its birth. Anonymous and shared, as the ledger of `gateway.serving.rates`.
        self._beats = memoryview(mmap.mmap(-1, count * 8)).cast("d")
        # How often each ended as soon as it was started, one time after the other.
        self._failures = memoryview(mmap.mmap(-1, count * 4)).cast("I")

    def beat(self, number: int, now: float) -> None:
        """A worker says that its loop turns."""
        self._beats[number] = now

    def forget(self, number: int) -> None:
        """A worker is dead, or not born yet."""
        self._beats[number] = 0.0

    def last(self, number: int) -> float:
        """When a worker was heard of last; 0.0 as long as it is starting."""
        return self._beats[number]

    def fail(self, failing: Mapping[int, int]) -> None:
        """The supervisor says which workers cannot be started, and how often each was."""
        for number in range(len(self._failures)):
            self._failures[number] = failing.get(number, 0)

    def failing(self) -> dict[int, int]:
        """Those."""
        return {number: times for number, times in enumerate(self._failures) if times}

    def silent(self, now: float, longer_than: float) -> dict[int, float]:
        """The workers that have been silent for so many seconds, and for how many."""
        found = {number: now - beat for number, beat in enumerate(self._beats) if beat}
        return {number: seconds for number, seconds in found.items() if seconds > longer_than}


class Watch:
    """Who has been silent too long in time that the watcher itself was awake in: since the last word for
    ``allowed`` seconds, or since its birth for ``starting``.

    Neither a clock that is set nor a machine that slept says anything about workers: only turns of the
    watcher's own count, and of each of them no more than ``turn`` seconds.
    """

    def __init__(self, pulse: Pulse, allowed: float, turn: float, starting: float = float("inf")) -> None:
        self._pulse = pulse
        self._allowed, self._turn, self._starting = allowed, turn, starting
        self._looked_at: float | None = None
        self._heard: dict[int, tuple[float, float]] = {}

    def stuck(self, numbers: Iterable[int], now: float) -> list[int]:
        """Which of these workers are stuck, each told once."""
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, self._turn)
        self._looked_at = now
        alive = list(numbers)
        for number in self._heard.keys() - set(alive):
            del self._heard[number]  # whoever has this number next is born then
        return [number for number in alive if self._is_stuck(number, passed)]

    def _is_stuck(self, number: int, passed: float) -> bool:
        beat, silence = self._pulse.last(number), 0.0
        before = self._heard.get(number)
        if before is not None and before[0] == beat:
            silence = before[1] + passed
        stuck = silence > (self._allowed if beat else self._starting)
        # Told once: from there on it counts anew.
        self._heard[number] = (beat, 0.0 if stuck else silence)
        return stuck


class Alone:
    """For how long there has been nobody, in the same time."""

    def __init__(self, allowed: float, turn: float) -> None:
        self._allowed, self._turn = allowed, turn
        self._looked_at: float | None = None
        self._alone = 0.0

    def too_long(self, somebody: bool, now: float) -> bool:
        """Whether it is too long by now. Somebody who has just been born and dies at once changes nothing."""
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, self._turn)
        self._looked_at = now
        self._alone = self._alone if somebody else self._alone + passed
        return self._alone > self._allowed

    def forget(self) -> None:
        """Somebody serves."""
        self._alone = 0.0
