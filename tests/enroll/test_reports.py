"""Reports: what each says is what somebody counts who reads the whole register line by line."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ca.sqlite import Database
from ca.storage import Transaction, inserting
from enroll import reports
from enroll.jst import day_of, start_of
from enroll.refusals import Refusal
from enroll.reports import Report, Wanted, Week
from gateway.web import reports as named
from gateway.web import store as gateway_store
from tests.datadirs import SCHEMAS, START

DAY = 86_400
_STATES = (
    *("accepted", "announced", "authenticated", "processing", "issued", "picked_up", "in_use"),
    *("closed", "revoked", "renewed", "superseded", "withdrawn"),
)
_CODES = ("bad_credentials", "revoked", "certificate.expired", "check.valid", "check.none", "no_cookie")
POLICIES = ("1000", "2000", "3000")


@contextmanager
def register(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "sekisho.db", SCHEMAS)
    try:
        yield database
    finally:
        database.close()


def _moment(draw: random.Random) -> int:
    """Within some months, and often at the very edge of a day in Japan."""
    day = start_of(day_of(START)) + draw.randrange(-150, 150) * DAY
    return day + draw.choice((0, -1, DAY - 1, draw.randrange(DAY)))


def _maybe(draw: random.Random) -> int | None:
    return draw.choice((None, _moment(draw)))


def history(db: Transaction, seed: int) -> None:
    """A register that random things have happened to; not only such as our own rules allow."""
    draw = random.Random(seed)
    for number in POLICIES:
        db.execute(
            "INSERT INTO organisations(policy_number, name, created_at) VALUES (:n, 'x', 1)", {"n": number}
        )
    users = [f"K{n}" for n in range(12)]
    for n, user in enumerate(users):
        row = {"user_id": user, "policy_number": POLICIES[n % 2], "name": user, "mail": "x@example.jp"}
        row |= {"role": "member", "notice_by": "mail", "password_hash": "", "created_at": 1}
        row |= {"name_key": user, "mail_key": "x"}
        db.execute(inserting("users", row), row)
    for n in range(400):
        row = {"request_id": f"{n:016d}", "kind": draw.choice(("addition", "reissue", "renewal", "protocol"))}
        row |= {
            "user_id": draw.choice(users),
            "state": draw.choice(_STATES),
            "common_name": "c",
            "profile": "p",
        }
        row |= {"door": draw.choice(("page", "protocol")), "revoke_old": "never", "created_at": _moment(draw)}
        row |= {
            name: _maybe(draw)
            for name in ("issued_at", "picked_up_at", "ended_at", "window_ends_at", "not_after_at")
        }
        db.execute(inserting("enrollments", row), row)
    for n in range(300):
        state = draw.choice(("queued", "sent", "failed", "cancelled"))
        row = {
            "cause": f"c{n}",
            "kind": draw.choice(("pickup", "renewal_30", "template_test")),
            "channel": draw.choice(("mail", "postcard")),
            "state": state,
            "failure": draw.choice(("refused", "given_up", "bounced")) if state == "failed" else "",
        }
        row |= {"user_id": draw.choice(users), "recipient": "x", "subject": "x", "shown_body": "x"}
        row |= {
            "next_attempt_at": 1,
            "created_at": _moment(draw),
            "queued_at": _moment(draw),
            "sent_at": _maybe(draw),
        }
        db.execute(inserting("mails", row), row)
    for n in range(300):
        gateway_store.add_reference(
            db, f"{n:04d}-AAAA", _moment(draw), draw.choice(("pickup", "service")), draw.choice(_CODES), "{}"
        )


# -- counted by reading everything --------------------------------------------------------------------------


def _rows(db: Transaction, table: str) -> list[dict[str, Any]]:
    organisation = {row["user_id"]: row["policy_number"] for row in db.rows("SELECT * FROM users")}
    found = [{**row} for row in db.rows(f"SELECT * FROM {table}")]
    return [row | {"policy_number": organisation.get(row.get("user_id", ""))} for row in found]


def _in(row: dict[str, Any], moment: str, week: Week) -> bool:
    return row[moment] is not None and week.first <= day_of(row[moment]) <= week.last


def naive(db: Transaction, name: str, at: int, asked: Wanted) -> dict[tuple[date, str], int]:
    """(Monday or first day, column) -> how many. By days of a calendar, and no statement that counts."""
    found: Counter[tuple[date, str]] = Counter()
    table = "mails" if name == "bounces" else "enrollments"
    for row in _rows(db, table):
        if asked.policy_number not in (None, row["policy_number"]):
            continue
        for moment, column in _meant(name, row, at):
            if moment is None or not asked.first <= day_of(moment) <= asked.last:
                continue
            day = day_of(moment)
            found[max(asked.first, day - timedelta(days=day.weekday())), column] += 1
    return dict(found)


def _meant(name: str, row: dict[str, Any], at: int) -> Iterator[tuple[int | None, str]]:
    if name == "expiring" and row["state"] in ("issued", "picked_up", "in_use"):
        yield row["not_after_at"], row["door"]
    if name == "pickup" and row["kind"] in ("addition", "reissue"):
        ends = row["window_ends_at"]
        waits = row["ended_at"] is None and (ends is None or ends > at)
        yield (
            row["created_at"],
            "picked_up" if row["picked_up_at"] is not None else "waiting" if waits else "over",
        )
    if name == "issuance":
        by_program = row["kind"] == "renewal" and row["door"] == "protocol"
        yield row["issued_at"], "renewal_protocol" if by_program else row["kind"]
    if name == "bounces" and row["channel"] == "mail" and row["kind"] != "template_test":
        yield row["sent_at"], "bounced" if row["state"] == "failed" else "sent"
        if row["sent_at"] is None and row["state"] == "failed":
            yield row["queued_at"], "refused"


def _told(report: Report) -> dict[tuple[date, str], int]:
    return {
        (row.of.first, column): value
        for row in report.rows
        for column, value in zip(report.columns, row.values, strict=True)
        if value and isinstance(row.of, Week)
    }


@pytest.mark.parametrize("seed", range(6))
def test_sums_equal_the_lists(tmp_path: Path, seed: int) -> None:
    """O16: every report over random histories, for everybody and for each organisation, over periods that
    begin and end on any day, is what reading all of it gives; and its totals are the sums of its rows."""
    draw = random.Random(seed)
    with register(tmp_path) as database:
        database.write_now(lambda db: history(db, seed))
        for name, kind in named.KINDS.items():
            if name == "failures":
                continue
            for policy_number in (None, *POLICIES):
                first = day_of(START) + timedelta(days=draw.randrange(-100, 60))
                asked = Wanted(first, first + timedelta(days=draw.randrange(0, 90)), policy_number)
                report, expected = database.read_now(
                    lambda db: (kind.make(db, START, asked), naive(db, name, START, asked))  # noqa: B023
                )
                assert _told(report) == expected, (name, asked)
                assert report.columns == tuple(kind.columns)
                assert sum(report.totals) == sum(expected.values())
                assert [row.of for row in report.rows] == list(reports.weeks(asked))


@pytest.mark.parametrize("seed", range(3))
def test_failures_equal_the_references(tmp_path: Path, seed: int) -> None:
    """Each reference number is counted once, by site and cause; a check that found nothing wrong is none."""
    with register(tmp_path) as database:
        database.write_now(lambda db: history(db, seed))
        asked = Wanted(day_of(START) - timedelta(days=80), day_of(START))
        report, found = database.read_now(
            lambda db: (named.KINDS["failures"].make(db, START, asked), _rows(db, "desk_references"))
        )
    counted = Counter(
        (row["site"], row["code"])
        for row in found
        if asked.first <= day_of(row["at"]) <= asked.last and row["code"] != "check.valid"
    )
    assert {(row.of.site, row.of.code): row.values[0] for row in report.rows} == counted  # type: ignore[union-attr]
    numbers = [row.values[0] for row in report.rows]
    assert numbers == sorted(numbers, reverse=True)
    assert sum(numbers) == report.totals[0] == counted.total()


def test_the_metrics_are_the_same_figures(tmp_path: Path) -> None:
    """What is scraped is the sum that the page shows without a choice."""
    with register(tmp_path) as database:
        database.write_now(lambda db: history(db, 1))
        samples = database.read_now(lambda db: list(named.samples(db, START)))
        for name, kind in named.KINDS.items():
            asked = Wanted(*named.default_period(name, START))
            report = database.read_now(lambda db: kind.make(db, START, asked))  # noqa: B023
            scraped = [value for each, _, value in samples if each == f"sekisho_report_{name}"]
            assert sum(scraped) == sum(report.totals) > 0
            assert len(scraped) == (len(report.rows) if name == "failures" else len(report.columns))


# -- days and weeks -----------------------------------------------------------------------------------------


def _days(of: Sequence[Week]) -> list[tuple[str, str]]:
    return [(each.first.isoformat(), each.last.isoformat()) for each in of]


def test_weeks_begin_on_monday_in_japan() -> None:
    """A period is cut at Mondays; its ends are its own; midnight is Japan's."""
    found = reports.weeks(Wanted(date(2026, 4, 30), date(2026, 5, 12)))
    assert _days(found) == [
        ("2026-04-30", "2026-05-03"), ("2026-05-04", "2026-05-10"), ("2026-05-11", "2026-05-12"),
    ]  # fmt: skip
    assert _days(reports.weeks(Wanted(date(2026, 5, 4), date(2026, 5, 4)))) == [("2026-05-04", "2026-05-04")]
    # Monday 4 May 2026, 00:00 in Japan, is Sunday 15:00 UTC.
    assert (found[1].since, found[0].until) == (1_777_820_400, 1_777_820_400)


def test_a_quarter_where_nobody_chose() -> None:
    """Thirteen weeks: up to today, or from today on; START is a Sunday."""
    assert reports.the_last_weeks(START) == (date(2026, 8, 24), date(2026, 11, 22))
    assert reports.the_next_weeks(START) == (date(2026, 11, 22), date(2027, 2, 14))
    for period in (reports.the_last_weeks(START), reports.the_next_weeks(START)):
        assert len(reports.weeks(Wanted(*period))) == reports.QUARTER


@pytest.mark.parametrize(
    ("first", "last", "field", "reason"),
    [
        (date(2026, 5, 2), date(2026, 5, 1), "to", "order"),
        (date(2020, 1, 1), date(2026, 5, 1), "to", "long"),
        (date(1999, 12, 31), date(2026, 5, 1), "from", "range"),
        (date(1, 1, 1), date(1, 1, 2), "from", "range"),
        (date(2026, 1, 1), date(9999, 12, 31), "to", "range"),
    ],
)
def test_periods_that_are_none(first: date, last: date, field: str, reason: str) -> None:
    """Made up, turned round or too long: refused with the field, before anything is read."""
    with pytest.raises(Refusal) as refused:
        reports.wanted(first, last)
    assert (refused.value.code, refused.value.field, refused.value.reason) == ("invalid_input", field, reason)


def test_periods_that_are() -> None:
    """The twin: a day, and as many as there may be."""
    day = date(2026, 5, 1)
    assert reports.wanted(day, day) == Wanted(day, day)
    assert reports.wanted(day, day + timedelta(days=reports.MOST_DAYS - 1)).policy_number is None
    with pytest.raises(Refusal):
        reports.wanted(day, day + timedelta(days=reports.MOST_DAYS))


@pytest.mark.parametrize("policy_number", [None, "1000"])
def test_no_report_reads_a_whole_table(tmp_path: Path, policy_number: str | None) -> None:
    """What a report counts it finds by an index, for everybody by one that has all that it asks for."""
    asked = list[tuple[str, Mapping[str, Any]]]()

    class Watched:
        """A transaction, and what it was asked."""

        def __init__(self, db: Transaction) -> None:
            self._db = db

        def one(self, statement: str, values: Mapping[str, Any]) -> Any:
            asked.append((statement, values))
            return self._db.one(statement, values)

        def rows(self, statement: str, values: Mapping[str, Any]) -> Any:
            asked.append((statement, values))
            return self._db.rows(statement, values)

    period = Wanted(date(2026, 5, 4), date(2026, 5, 10), policy_number)
    with register(tmp_path) as database:
        for kind in named.KINDS.values():
            if kind.narrowed or policy_number is None:
                database.read_now(lambda db: kind.make(Watched(db), START, period))  # type: ignore[arg-type]  # noqa: B023
        assert len(asked) >= 5
        for statement, values in asked:
            explained = f"EXPLAIN QUERY PLAN {statement}"
            rows = database.read_now(lambda db: db.rows(explained, values))  # noqa: B023
            plan = [str(row["detail"]) for row in rows]
            # A row of nothing but counts is no table.
            whole = [each for each in plan if each.startswith("SCAN") and each != "SCAN CONSTANT ROW"]
            assert not [each for each in whole if "COVERING INDEX" not in each], plan
            assert any("COVERING INDEX" in each for each in plan if "users" not in each), (statement, plan)
            if policy_number is not None:
                assert any("users_by_organisation" in each for each in plan), plan
