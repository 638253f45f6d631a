"""/v1/requests: request IDs, and what became of them."""

from __future__ import annotations

from ca.storage import Transaction
from enroll.identifiers import typed, typed_user_id
from enroll.operators import registers
from enroll.operators.registers import Page
from enroll.operators.roles import Act
from enroll.requests.enrollment import Enrollment
from gateway.sites.api import records
from gateway.sites.api.calls import Answer, Call, one
from gateway.sites.api.reading import Name, Paged, cursor_of, numbers_after


class Some(Paged, frozen=True):
    """Which requests are listed."""

    user_id: Name | None = None


async def listed(call: Call) -> Answer:
    """Those that are asked for, newest first."""
    asked: Some = call.query
    after = numbers_after(asked.cursor)
    user_id = None if asked.user_id is None else typed_user_id(asked.user_id)

    def work(db: Transaction) -> tuple[Page[Enrollment], int]:
        return registers.requests(db, call.actor, user_id, after[0] if after else None, asked.limit)

    page, last = await call.read(work)
    await _note(call, [each.user_id for each in page.rows])
    found = [records.request(each, call.now()) for each in page.rows]
    return Answer(records.page(found, cursor_of(last) if page.further else ""))


async def shown(call: Call) -> Answer:
    """One."""
    request_id = typed(call.names["request_id"])

    found: Enrollment = await call.read(lambda db: registers.request(db, call.actor, request_id))
    await _note(call, [found.user_id])
    return one(records.request(found, call.now()))


async def _note(call: Call, shown: list[str]) -> None:
    await registers.note_reading(call.ra, call.actor, Act.SEARCH, "requests", shown)
