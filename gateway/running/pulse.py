"""Whether each worker's event loop still turns, told through memory that all of them share.

Not through files: a full disk must not look like workers that are stuck.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable


class Pulse:
    """Each worker's last moment (monotonic seconds). Made before the workers are forked."""

    def __init__(self, count: int) -> None:
        # 0.0: not heard of since its birth. Anonymous and shared, as the ledger of `gateway.rates`.
        self._beats = memoryview(mmap.mmap(-1, count * 8)).cast("d")

    def beat(self, number: int, now: float) -> None:
        """A worker says that its loop turns."""
        self._beats[number] = now

    def forget(self, number: int) -> None:
        """A worker is dead, or not born yet."""
        self._beats[number] = 0.0

    def last(self, number: int) -> float:
        """When a worker was heard of last; 0.0 as long as it is starting."""
        return self._beats[number]

    def silent(self, now: float, longer_than: float) -> dict[int, float]:
        """The workers that have been silent for so many seconds, and for how many."""
        found = {number: now - beat for number, beat in enumerate(self._beats) if beat}
        return {number: seconds for number, seconds in found.items() if seconds > longer_than}


class Watch:
    """Who has been silent too long, in time that the watcher itself was awake in.

    Neither a clock that is set nor a machine that slept says anything about workers: only turns of the
    watcher's own count, and of each of them no more than ``turn`` seconds.
    """

    def __init__(self, pulse: Pulse, allowed: float, turn: float) -> None:
        self._pulse = pulse
        self._allowed, self._turn = allowed, turn
        self._looked_at: float | None = None
        self._heard: dict[int, tuple[float, float]] = {}

    def stuck(self, numbers: Iterable[int], now: float) -> list[int]:
        """Which of these workers are stuck, each told once. One that is starting never is."""
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, self._turn)
        self._looked_at = now
        return [number for number in numbers if self._silence(number, passed) > self._allowed]

    def _silence(self, number: int, passed: float) -> float:
        beat, silence = self._pulse.last(number), 0.0
        before = self._heard.get(number)
        if beat and before is not None and before[0] == beat:
            silence = before[1] + passed
        # Told once: from there on it counts anew.
        self._heard[number] = (beat, silence if silence <= self._allowed else 0.0)
        return silence
