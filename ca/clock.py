"""Time as a value that is passed in, so that tests and the demo can move it."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the time as whole seconds since 1970-01-01T00:00:00Z."""

    def seconds(self) -> int: ...


class SystemClock:
    """The machine's own clock."""

    def seconds(self) -> int:
        return int(time.time())


class ManualClock:
    """A clock that stands still until it is moved. Used by tests."""

    def __init__(self, start: int | datetime) -> None:
        self._now = start if isinstance(start, int) else to_seconds(start)

    def seconds(self) -> int:
        return self._now

    def advance(self, *, days: float = 0, hours: float = 0, seconds: float = 0) -> None:
        self._now += int(days * 86_400 + hours * 3_600 + seconds)

    def set(self, moment: int | datetime) -> None:
        self._now = moment if isinstance(moment, int) else to_seconds(moment)


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
        """Sets the offset in seconds for every process that shares the file."""
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps({"offset": offset}))
        draft.replace(self._path)


def to_seconds(moment: datetime) -> int:
    """Whole seconds since the epoch of an aware datetime; a naive one is refused."""
    if moment.tzinfo is None:
        raise ValueError("a datetime without time zone says nothing")
    return int(moment.timestamp())
