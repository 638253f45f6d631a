"""Japan's calendar: the days on which mails go out, and how a moment is written."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

JST = timezone(timedelta(hours=9), "JST")


def shown(at: int) -> str:
    """A moment as the manual prints it: ``YYYY.MM.DD HH:MM:SS`` in Japan (R41)."""
    return in_japan(at).strftime("%Y.%m.%d %H:%M:%S")


def shown_day(at: int) -> str:
    """The day of a moment in Japan: ``YYYY.MM.DD``."""
    return in_japan(at).strftime("%Y.%m.%d")


def day_of(at: int) -> date:
    """The calendar day of a moment in Japan."""
    return in_japan(at).date()


def start_of(day: date) -> int:
    """The first second of a day in Japan."""
    return int(datetime.combine(day, time(), JST).astimezone(UTC).timestamp())


def days_before(at: int, days: int) -> int:
    """The first second of the day that lies ``days`` calendar days before the moment's day (E25)."""
    return start_of(day_of(at) - timedelta(days=days))


def days_left(at: int, now: int) -> int:
    """Calendar days from today until the day of ``at``; negative once it has passed."""
    return (day_of(at) - day_of(now)).days


# Somebody else's certificate may end with 9999 in UTC (RFC 5280 section 4.1.2.5), which is later here.
_LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=JST).timestamp())


def in_japan(at: int) -> datetime:
    """A moment there; what lies beyond the last that a calendar can show is that one."""
    return datetime.fromtimestamp(min(at, _LAST), JST)
