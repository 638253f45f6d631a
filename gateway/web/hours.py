"""When the help desk answers (R55): weekdays 9:00-12:00 and 13:00-17:00, not on holidays or 12/31-1/3."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import jpholiday

from enroll.jst import JST

_PERIODS = ((time(9), time(12)), (time(13), time(17)))


def business_day(day: date) -> bool:
    """Monday to Friday, no national holiday, not 31 December to 3 January."""
    year_end = (day.month, day.day) in {(12, 31), (1, 1), (1, 2), (1, 3)}
    return day.weekday() < 5 and not year_end and not jpholiday.is_holiday(day)


def business_day_after(at: int, days: int) -> date:
    """The day that lies so many business days after a moment's day (E25)."""
    day = datetime.fromtimestamp(at, JST).date()
    while days > 0:
        day += timedelta(days=1)
        days -= business_day(day)
    return day


def desk_open(at: int) -> bool:
    """Whether the telephone is answered at a moment (seconds since the epoch)."""
    moment = datetime.fromtimestamp(at, JST)
    return business_day(moment.date()) and any(a <= moment.time() < b for a, b in _PERIODS)


def desk_opens_at(at: int) -> int:
    """When the telephone is next answered; the moment itself while it is."""
    if desk_open(at):
        return at
    moment = datetime.fromtimestamp(at, JST)
    day = moment.date()
    while True:
        if business_day(day):
            for start, _ in _PERIODS:
                opening = datetime.combine(day, start, JST)
                if opening > moment:
                    return int(opening.timestamp())
        day += timedelta(days=1)
