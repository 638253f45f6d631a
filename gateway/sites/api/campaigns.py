"""/v1/campaigns: certificates that are to be renewed, how far they are, and a letter to those who are not."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from typing import Annotated, Any

import msgspec

from ca.storage import Transaction
from enroll import campaigns
from enroll.campaigns import Campaign, Figures, Total, keeping, working
from enroll.campaigns.working import EVERY_DAYS, MOST_DAYS
from enroll.identifiers import typed_policy_number
from enroll.jst import day_of, start_of
from enroll.operators import asking
from enroll.operators.asking import Proposed
from gateway.sites.api import records
from gateway.sites.api.asked import ask
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.sites.api.problems import Problem
from gateway.sites.api.reading import Input, Name, Paged, cursor_of, numbers_after, text_after

# What is earlier, or later, is a slip.
_DAYS = (date(2000, 1, 1), date(2199, 12, 31))


class New(Input, frozen=True):
    """Which certificates it is about: by the days on which they end (in Japan, with both), by organisation,
    by issuing CA."""

    name: Name
    first: date | None = None
    last: date | None = None
    policy_number: Name | None = None
    issuer: Name | None = None
    every_days: Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)] = EVERY_DAYS


async def listed(call: Call) -> Answer:
    """Those that there are, newest first."""
    asked: Paged = call.query
    after = numbers_after(asked.cursor)
    found: list[Campaign] = await call.read(lambda db: campaigns.listed(db, call.actor))
    rest = [each for each in found if after is None or each.number < after[0]]
    page = rest[: asked.limit]
    following = cursor_of(page[-1].number) if len(rest) > len(page) else ""
    return Answer(records.page([_record(each) for each in page], following))


async def shown(call: Call) -> Answer:
    """One, with how far it is."""
    number = call.number("campaign")

    def work(db: Transaction) -> Total:
        return keeping.total(db, call.actor, campaigns.known(db, number), call.now())

    found = await call.ra.database.read_aside(work)
    counted = {"counts": asdict(found.total), "counted_at": records.moment(found.at)}
    return one({**_record(found.campaign), **counted})


async def organisations(call: Call) -> Answer:
    """The same for each organisation, by 証券番号."""
    asked: Paged = call.query
    after = text_after(asked.cursor)
    found = await _figures(call)
    there = sorted(found.organisations, key=lambda each: each.policy_number)
    rest = [each for each in there if each.policy_number > after]
    counted_at = records.moment(found.at)
    page = rest[: asked.limit]
    following = cursor_of(page[-1].policy_number) if len(rest) > len(page) else ""
    told = [
        {"policy_number": each.policy_number, "name": each.name, "counts": asdict(each.counts)}
        | {"counted_at": counted_at}
        for each in page
    ]
    return Answer(records.page(told, following))


async def begin(call: Call) -> Answer:
    """Begins one. No letter leaves by that."""
    body: New = call.body
    number = None if body.policy_number is None else typed_policy_number(body.policy_number)
    payload = {
        "name": body.name,
        "first_at": None if body.first is None else start_of(_checked("first", body.first)),
        "until_at": None if body.last is None else start_of(_checked("last", body.last) + timedelta(days=1)),
        "policy_number": number,
        "issuer_id": body.issuer,
        "every_days": body.every_days,
    }

    def told(db: Transaction, made: int | Proposed) -> Answer:
        assert not isinstance(made, Proposed), "no role proposes it"
        return one(_record(campaigns.known(db, made)), 201, Location=f"/v1/campaigns/{made}")

    return await call.once(lambda ra: asking.ask(ra, call.actor, "campaign.begin", payload), told)


async def end(call: Call) -> Answer:
    """Ends it: its figures stay as they are then."""
    number, body = call.number("campaign"), call.body
    standing = _standing(number)
    return await ask(call, "campaign.end", {"campaign": number}, body.reason, standing)


async def remind(call: Call) -> Answer:
    """Writes once more to those who can renew now and have not: a job, or its proposal."""
    number, body = call.number("campaign"), call.body

    def work(db: Transaction) -> dict[str, Any]:
        found = working.remindable(db, call.ra, campaigns.known(db, number))
        return {"campaign": number, "numbers": list(found.numbers)}

    payload = await call.ra.database.read_aside(work)
    return await ask(call, "campaign.remind", payload, body.reason, _standing(number))


def _checked(field: str, day: date) -> date:
    if not _DAYS[0] <= day <= _DAYS[1]:
        raise Problem("invalid_input", f"a day between {_DAYS[0]} and {_DAYS[1]}", field=field)
    return day


async def _figures(call: Call) -> Figures:
    number = call.number("campaign")

    def work(db: Transaction) -> Figures:
        return keeping.figures(db, call.actor, campaigns.known(db, number), call.now())

    return await call.ra.database.read_aside(work)


def _standing(number: int) -> Any:
    return lambda db: _record(campaigns.known(db, number))


def _record(found: Campaign) -> Record:
    last = None if found.until_at is None else day_of(found.until_at) - timedelta(days=1)
    return {
        "number": found.number,
        "name": found.name,
        "first": None if found.first_at is None else str(day_of(found.first_at)),
        "last": None if last is None else str(last),
        "policy_number": found.policy_number,
        "issuer": found.issuer_id,
        "every_days": found.every_days,
        "begun_at": records.moment(found.begun_at),
        "begun_by": found.begun_by,
        "ended_at": records.moment(found.ended_at),
        "ended_by": found.ended_by,
    }
