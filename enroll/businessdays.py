"""Business days in Japan: of deadlines, of the help desk, and of the service behind the gate."""

from __future__ import annotations

from datetime import date, timedelta

import jpholiday

from enroll.jst import day_of, start_of


def business_day(day: date) -> bool:
    """Monday to Friday, no national holiday, not 31 December to 3 January."""
    year_end = (day.month, day.day) in {(12, 31), (1, 1), (1, 2), (1, 3)}
    return day.weekday() < 5 and not year_end and not jpholiday.is_holiday(day)


def business_day_after(at: int, days: int) -> date:
    """The day that lies so many business days after a moment's day (E25)."""
    day = day_of(at)
    while days > 0:
        day += timedelta(days=1)
        days -= business_day(day)
    return day


def end_of_business_day_after(at: int, days: int) -> int:
    """The first second that is past that day."""
    return start_of(business_day_after(at, days) + timedelta(days=1))


def business_days_until(at: int, day: date) -> int:
    """How many business days come after a moment's day, that day included; 0 where it is today or past."""
    left, each = 0, day_of(at)
    while each < day:
        each += timedelta(days=1)
        left += business_day(each)
    return left
