"""What operators report: how much of something there was in each week of a period, or by each cause.

A report is a value of numbers, made of a few statements on one state of the register, so that its sums are
those of the lists. Days are Japan's, weeks begin on Monday; a week that the period cuts counts with the days
in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain

from ca.storage import Transaction
from enroll import store as rooms
from enroll.jst import day_of, start_of
from enroll.refusals import Refusal
from enroll.reports import store

#: A period may have this many days, some three years: each of its weeks is a row, and a column of the chart.
MOST_DAYS = 157 * 7
#: Weeks of a period that nobody has chosen: a quarter.
QUARTER = 13
# What is later is a slip of the keyboard, as what is earlier.
_EARLIEST, _LATEST = date(2000, 1, 1), date(2199, 12, 31)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Week:
    """Monday to Sunday, or what a period has of them: the first and the last day."""

    first: date
    last: date

    @property
    def since(self) -> int:
        """The first second."""
        return start_of(self.first)

    @property
    def until(self) -> int:
        """The first second that is past the last day."""
        return start_of(self.last + _DAY)


@dataclass(frozen=True)
class Wanted(Week):
    """A period of any length, and an organisation by its 証券番号; None: everybody."""

    policy_number: str | None = None


@dataclass(frozen=True)
class Cause:
    """Where something was refused, and by which code."""

    site: str
    code: str


@dataclass(frozen=True)
class Row:
    """A week or a cause, with a number for each column."""

    of: Week | Cause
    values: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """Numbers by rows and columns."""

    name: str
    wanted: Wanted
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, name: str) -> list[int]:
        """A column's numbers, row by row."""
        at = self.columns.index(name)
        return [row.values[at] for row in self.rows]

    @property
    def totals(self) -> tuple[int, ...]:
        """The sum of each column."""
        return tuple(sum(row.values[at] for row in self.rows) for at in range(len(self.columns)))


def wanted(first: date, last: date, policy_number: str | None = None) -> Wanted:
    """A period that can be reported. Refusal("invalid_input") with the field ``from`` or ``to``."""
    for field, day in (("from", first), ("to", last)):
        if not _EARLIEST <= day <= _LATEST:
            detail = f"a day between {_EARLIEST} and {_LATEST}"
            raise Refusal("invalid_input", field=field, detail=detail, reason="range")
    if last < first:
        detail = f"{last} is before {first}: give a last day that is not before the first"
        raise Refusal("invalid_input", field="to", detail=detail, reason="order")
    if (last - first).days >= MOST_DAYS:
        detail = f"a period of at most {MOST_DAYS} days"
        raise Refusal("invalid_input", field="to", detail=detail, reason="long")
    return Wanted(first, last, policy_number)


def the_last_weeks(at: int) -> tuple[date, date]:
    """The days of a quarter that ends today, from a Monday on."""
    today = day_of(at)
    return today - timedelta(days=today.weekday() + 7 * (QUARTER - 1)), today


def the_next_weeks(at: int) -> tuple[date, date]:
    """The days of a quarter that begins today, up to a Sunday."""
    today = day_of(at)
    return today, today + timedelta(days=6 - today.weekday() + 7 * (QUARTER - 1))


def weeks(period: Wanted) -> tuple[Week, ...]:
    """The weeks of a period, the first and the last one as far as they are in it."""
    found, monday = list[Week](), period.first - timedelta(days=period.first.weekday())
    while monday <= period.last:
        found.append(Week(max(monday, period.first), min(monday + 6 * _DAY, period.last)))
        monday += 7 * _DAY
    return tuple(found)


def expiring(db: Transaction, at: int, asked: Wanted) -> Report:
    """Certificates that have not been ended, by the week in which they end by themselves; ``page``,
    ``protocol``: the door of their request."""
    return _by_week("expiring", db, at, asked, store.ENDING)


def pickup(db: Transaction, at: int, asked: Wanted) -> Report:
    """Requests that people were invited to pick up (additions and reissues), by the week in which they were
    opened: ``picked_up``, ``waiting`` while there is time, ``over``."""
    return _by_week("pickup", db, at, asked, store.OPENED)


def issuance(db: Transaction, at: int, asked: Wanted) -> Report:
    """Certificates by the week in which they were issued: what for, and by which door."""
    return _by_week("issuance", db, at, asked, store.ISSUED)


def bounces(db: Transaction, at: int, asked: Wanted) -> Report:
    """Mails that arrived as far as we know (``sent``) or came back (``bounced``), by the week in which they
    left; ``refused``: for good, by that in which they were queued last. Each mail is in one column."""
    return _by_week("bounces", db, at, asked, store.LEFT, store.REFUSED)


def known(db: Transaction, policy_number: str) -> None:
    """Refusal("not_found", "organisation") unless there is such an organisation."""
    if rooms.organisation(db, policy_number) is None:
        raise Refusal("not_found", field="organisation", detail=f"there is no organisation {policy_number}")


def _by_week(name: str, db: Transaction, at: int, asked: Wanted, *counts: store.Count) -> Report:
    found = weeks(asked)
    by_count = [_counted(db, at, asked, found, count) for count in counts]
    told = [dict(chain.from_iterable(each.items() for each in row)) for row in zip(*by_count, strict=True)]
    columns = tuple(column for count in counts for column in count.columns)
    rows = (
        Row(week, tuple(int(numbers.get(column, 0)) for column in columns))
        for week, numbers in zip(found, told, strict=True)
    )
    return Report(name, asked, columns, tuple(rows))


def _counted(
    db: Transaction, at: int, asked: Wanted, found: tuple[Week, ...], count: store.Count
) -> list[Mapping[str, int]]:
    """Week by week: numbers by column."""
    if asked.policy_number is None:
        # A range of an index for each week: to group them takes several times as long.
        return [store.counted(db, count, each.since, each.until, at) for each in found]
    monday = start_of(asked.first - timedelta(days=asked.first.weekday()))
    args = (asked.policy_number, monday, asked.since, asked.until, at)
    rows = {int(row["week"]): row for row in store.counted_by_week(db, count, *args)}
    return [rows.get(number, {}) for number in range(len(found))]
