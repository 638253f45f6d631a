"""/v1/reports: sums by week or by cause, in which nobody is named."""

from __future__ import annotations

from datetime import date

from ca.storage import Transaction
from enroll.identifiers import typed_policy_number
from enroll.refusals import Refusal
from enroll.reports import Wanted, wanted
from gateway.sites.api import records
from gateway.sites.api.calls import Answer, Call, Record
from gateway.sites.api.reading import Input, Name
from gateway.web import reports
from gateway.web.reports import KINDS


class Period(Input, frozen=True):
    """From which day to which, both in Japan and with them; without them as the console begins."""

    first: date | None = None
    last: date | None = None
    policy_number: Name | None = None


async def listed(call: Call) -> Answer:
    """What reports there are."""
    told = [
        {"name": name, "title": kind.title[1], "columns": list(kind.columns), "narrowed": kind.narrowed}
        for name, kind in KINDS.items()
    ]
    return Answer(records.page(told))


async def shown(call: Call) -> Answer:
    """One, for a period."""
    name, query, at = call.names["name"], call.query, call.now()
    if name not in KINDS:
        raise Refusal("not_found", field="name")
    first, last = reports.default_period(name, at)
    number = None if query.policy_number is None else typed_policy_number(query.policy_number)
    asked: Wanted = wanted(query.first or first, query.last or last, number if KINDS[name].narrowed else None)

    def work(db: Transaction) -> Record:
        return records.report(reports.made(db, at, call.actor, name, asked))

    return Answer(await call.ra.database.read_aside(work))
