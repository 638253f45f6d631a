"""/v1/proposals: what was asked for and waits for a decision, or was decided. Nobody decides here."""

from __future__ import annotations

from typing import Literal

from ca.storage import Transaction
from enroll.operators import asking, registers
from enroll.operators import store as operators
from enroll.operators.registers import Page
from enroll.operators.store import Proposal
from gateway.sites.api import records
from gateway.sites.api.calls import Answer, Call, one
from gateway.sites.api.reading import Paged, cursor_of, numbers_after


class Some(Paged, frozen=True):
    """Which proposals are listed: all, or those that wait."""

    state: Literal["pending"] | None = None


async def listed(call: Call) -> Answer:
    """Those that one may look at, newest first."""
    asked: Some = call.query
    after = numbers_after(asked.cursor)

    def work(db: Transaction) -> Page[Proposal]:
        last, every = after[0] if after else None, asked.state is None
        return registers.proposals(db, call.actor, call.now(), last, asked.limit, every=every)

    page = await call.read(work)
    await registers.note_proposals(call.ra, call.actor, page.rows)
    following = cursor_of(page.rows[-1].number) if page.further else ""
    return Answer(records.page([records.proposal(each, call.now()) for each in page.rows], following))


async def shown(call: Call) -> Answer:
    """One: what it would do, what stood there, and what came of it."""
    number = call.number("proposal")

    found: Proposal = await call.read(lambda db: asking.seen(db, call.actor, number))
    record = records.proposal(found, call.now(), whole=True)
    await registers.note_proposals(call.ra, call.actor, [found], [*registers.people_in(record)])
    return one(record)


async def withdraw(call: Call) -> Answer:
    """Takes one's own back."""
    number = call.number("proposal")

    def told(db: Transaction, _: None) -> Answer:
        found = operators.proposal(db, number)
        assert found is not None
        return one(records.proposal(found, call.now()))

    await call.read(lambda db: asking.seen(db, call.actor, number))
    return await call.once(lambda ra: asking.withdraw(ra, call.actor, number), told)
