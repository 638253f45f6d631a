"""Time as a value that is passed in, so that tests and the demo can move it."""

from __future__ import annotations

import functools
import io
import json
import os
import secrets
import time
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ca.timekeeping import Reading


class Clock(Protocol):
    """Anything that tells the time as whole seconds since 1970-01-01T00:00:00Z."""

    def seconds(self) -> int: ...

    def reading(self) -> Reading | None:
        """The time together with what vouches for it; None of a clock that is moved on purpose."""


class SystemClock:
    """The machine's own clock."""

    def seconds(self) -> int:
        return int(time.time())

    def reading(self) -> Reading:
        return Reading(int(time.time()), _awake(), _boot())


class ManualClock:
    """A clock that stands still until it is moved. Used by tests.

    ``advance`` and ``set`` let time pass; ``leap`` is somebody who sets the wall clock, and ``restart`` a
    machine that is started anew, so that nothing has counted meanwhile.
    """

    def __init__(self, start: int | datetime, boot: str = "manual") -> None:
        self._now = start if isinstance(start, int) else to_seconds(start)
        self._awake, self._boot = float(self._now), boot

    def seconds(self) -> int:
        return self._now

    def reading(self) -> Reading:
        return Reading(self._now, self._awake, self._boot)

    def advance(self, *, days: float = 0, hours: float = 0, seconds: float = 0) -> None:
        self.set(self._now + int(days * 86_400 + hours * 3_600 + seconds))

    def set(self, moment: int | datetime) -> None:
        at = moment if isinstance(moment, int) else to_seconds(moment)
        self._awake += at - self._now
        self._now = at

    def leap(self, *, days: float = 0, hours: float = 0) -> None:
        self._now += int(days * 86_400 + hours * 3_600)

    def restart(self, *, off: int = 0) -> None:
        self._now += off
        self._awake, self._boot = 0.0, f"{self._boot}+"


class OffsetClock:
    """The machine's clock plus an offset kept in a file, so that several processes travel together.

    The file holds ``{"offset": seconds}``; a missing file means no offset. The demo's visitors
    move it; nothing outside the demo uses this class.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._offset = 0

    def seconds(self) -> int:
        return int(time.time()) + self.offset()

    def reading(self) -> None:
        return None

    def offset(self) -> int:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return 0
        seen = (status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._offset = int(json.loads(self._path.read_text())["offset"])
            self._seen = seen
        return self._offset

    def travel(self, offset: int) -> None:
        """Sets the offset in seconds for every process that shares the file, be it by a link."""
        path = self._path.resolve()
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"offset": offset}))
        draft.replace(path)


def _awake() -> float:
    """Seconds since the machine started, those it slept included.

    From the kernel's own file where there is one: what is loaded into a process to shift its clocks shifts
    the others too. Without CLOCK_BOOTTIME (macOS, BSD) sleep is not counted, and so looks as if the wall
    clock had been set forward by it: within the allowance nobody notices, beyond it an operator confirms.
    """
    try:
        return float(os.pread(_uptime().fileno(), 64, 0).split()[0])
    except (OSError, ValueError, IndexError):
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@functools.cache
def _uptime() -> io.FileIO:
    """Kept open: each order of a certificate asks for the time several times."""
    return io.FileIO("/proc/uptime")


@functools.cache
def _boot() -> str:
    """Which start of the machine this is; of this process, where nothing says so."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return secrets.token_hex(16)


def to_seconds(moment: datetime) -> int:
    """Whole seconds since the epoch of an aware datetime; a naive one is refused."""
    if moment.tzinfo is None:
        raise ValueError("a datetime without time zone says nothing")
    return int(moment.timestamp())
