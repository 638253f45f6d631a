"""How long a report takes on a register as it is after years: 20,000 users in 3,000 organisations, 1,000,000
certificates of five years, as many mails, 100,000 reference numbers.

``python -m tests.bench.report_bench [--certificates N] [--rounds N]``: each report for everybody, for the
largest organisation, and for the longest period; milliseconds of one core (CPU), the 50th and 95th.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from ca import datadir
from ca.sqlite import Database
from enroll.jst import day_of
from enroll.reports import MOST_DAYS, Wanted
from gateway.serving.database import DATABASE
from gateway.serving.deployment import SCHEMAS
from gateway.web import reports
from gateway.web.reports import KINDS
from tests.bench.operator_bench import fill
from tests.datadirs import CHEAP, PASSPHRASE, START

_YEARS = 5
_ORGANISATIONS = 3_000
#: Has a twentieth of all users.
LARGEST = "O00000"

# Every eleventh request is a person's, of those every fifth is not picked up; the others are programs'.
_SPREAD = (
    "UPDATE enrollments SET created_at = :begin + number * 7919 % 1000003 * :step / 1000,"
    " kind = CASE WHEN number % 11 = 0 THEN 'addition' WHEN number % 11 = 1 THEN 'reissue'"
    " WHEN number % 3 = 0 THEN 'protocol' ELSE 'renewal' END,"
    " door = CASE WHEN number % 11 < 3 THEN 'page' ELSE 'protocol' END",
    "UPDATE enrollments SET issued_at = created_at + 3600, not_after_at = created_at + :year, picked_up_at ="
    " CASE WHEN door = 'page' AND number % 5 > 0 THEN created_at + 7200 END,"
    " window_ends_at = created_at + 2592000,"
    " state = CASE WHEN number % 4 = 0 THEN 'renewed' ELSE 'in_use' END",
    "UPDATE enrollments SET ended_at = not_after_at - 86400 WHERE state = 'renewed'",
    "INSERT INTO mails(cause, kind, channel, user_id, recipient, subject, shown_body, state, failure,"
    " next_attempt_at, created_at, queued_at, sent_at)"
    " SELECT request_id, 'pickup', 'mail', user_id, 'x@example.jp', 'x',"
    " substr(hex(zeroblob(1200)), 1, 1500), CASE WHEN number % 50 = 0 THEN 'failed' ELSE 'sent' END,"
    " CASE WHEN number % 200 = 0 THEN 'refused' WHEN number % 50 = 0 THEN 'bounced' ELSE '' END, 0,"
    " created_at, created_at, CASE WHEN number % 200 > 0 THEN created_at + 60 END FROM enrollments",
    "INSERT INTO desk_references(reference, at, site, code, detail)"
    " SELECT 'R' || number, :now - number % 7776000,"
    " CASE WHEN number % 3 = 0 THEN 'pickup' ELSE 'service' END, 'code' || number % 40, '{}' FROM enrollments"
    " WHERE number <= 100000",
)


def fill_years(data: Path, users: int, certificates: int) -> None:
    """The register of `operator_bench`, spread over five years up to START and over the organisations."""
    fill(data, users, certificates)
    database = Database(data / DATABASE, SCHEMAS)
    step = _YEARS * 365 * 86_400 * 1000 // 1_000_003
    values = {"begin": START - _YEARS * 365 * 86_400, "step": step, "year": 365 * 86_400, "now": START}

    def spread(db: Any) -> None:
        for n in range(_ORGANISATIONS):
            db.conn.execute(
                "INSERT INTO organisations(policy_number, name, created_at) VALUES (?, '商事', 1)",
                [f"O{n:05d}"],
            )
        db.conn.execute(
            "UPDATE users SET policy_number = CASE WHEN substr(user_id, 2) % 20 = 0 THEN :largest"
            f" ELSE printf('O%05d', substr(user_id, 2) % {_ORGANISATIONS}) END",
            {"largest": LARGEST},
        )
        for statement in _SPREAD:
            db.conn.execute(statement, values)

    try:
        database.write_now(spread)
    finally:
        database.close()


def measured(database: Database, rounds: int) -> Iterator[dict[str, Any]]:
    """Each report in each way: milliseconds of reading and of counting, as a page does it."""
    longest = (day_of(START) - timedelta(days=MOST_DAYS - 1), day_of(START))
    for name, kind in KINDS.items():
        for what, period, organisation in (
            ("everybody, a quarter", reports.default_period(name, START), None),
            ("the largest organisation, a quarter", reports.default_period(name, START), LARGEST),
            ("everybody, three years", longest, None),
            ("the largest organisation, three years", longest, LARGEST),
        ):
            if organisation is not None and not kind.narrowed:
                continue
            took, total = list[float](), 0
            for _ in range(rounds):
                began = time.process_time()
                report = database.read_now(lambda db: kind.make(db, START, Wanted(*period, organisation)))  # noqa: B023
                took.append((time.process_time() - began) * 1000)
                total = sum(report.totals)
            took.sort()
            yield {
                "report": name,
                "of": what,
                "counted": total,
                "p50_ms": round(took[len(took) // 2], 1),
                "p95_ms": round(took[int(len(took) * 0.95)], 1),
            }


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--users", type=int, default=20_000)
    options.add_argument("--certificates", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=100)
    given = options.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        datadir.create(data, PASSPHRASE, START, cost=CHEAP)
        fill_years(data, given.users, given.certificates)
        database = Database(data / DATABASE, SCHEMAS)
        try:
            for each in measured(database, given.rounds):
                print(json.dumps(each), flush=True)
        finally:
            database.close()


if __name__ == "__main__":
    main()
