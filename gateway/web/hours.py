"""Hours on business days (R55): of the help desk, and of the service behind the gate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from enroll.businessdays import business_day
from enroll.jst import day_of, start_of


@dataclass(frozen=True)
class Hours:
    """Periods of a business day, each from and until a minute of Japan's day, in their order."""

    periods: tuple[tuple[int, int], ...]

    def closes_at(self, at: int) -> int | None:
        """When the period ends that lasts at a moment (seconds since the epoch); None outside of them."""
        return next((closes for opens, closes in _moments(self, day_of(at)) if opens <= at < closes), None)

    def opens_at(self, at: int) -> int:
        """When the next period begins; the moment itself within one."""
        if self.closes_at(at) is not None:
            return at
        day = day_of(at)
        while True:
            for opens, _ in _moments(self, day):
                if opens > at:
                    return opens
            day += timedelta(days=1)

    @property
    def shown(self) -> str:
        """As people read them: ``8:00～18:00``."""
        return " ".join(f"{_clock(opens)}～{_clock(closes)}" for opens, closes in self.periods)


#: When the telephone is answered.
DESK = Hours(((9 * 60, 12 * 60), (13 * 60, 17 * 60)))


def _moments(hours: Hours, day: date) -> list[tuple[int, int]]:
    midnight = start_of(day)
    return (
        [(midnight + opens * 60, midnight + closes * 60) for opens, closes in hours.periods]
        if business_day(day)
        else []
    )


def _clock(minute: int) -> str:
    return f"{minute // 60}:{minute % 60:02}"
