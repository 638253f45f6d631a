"""/v1/letters: what was written to people, and what became of it. Passwords in them are masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ca.storage import Transaction
from enroll.identifiers import typed_user_id
from enroll.listings import Letters
from enroll.operators import letters as written
from enroll.operators import registers
from enroll.operators.registers import Page
from enroll.operators.roles import Act
from gateway.sites.api import records
from gateway.sites.api.calls import Answer, Call, one
from gateway.sites.api.reading import Name, Paged, cursor_of, numbers_after

# `enroll.mail.states.State`.
State = Literal["waiting", "held", "sent", "refused", "given_up", "bounced", "cancelled"]


class Some(Paged, frozen=True):
    """Which letters are listed."""

    user_id: Name | None = None
    state: State | None = None


async def listed(call: Call) -> Answer:
    """Those that are asked for, newest first."""
    asked: Some = call.query
    after = numbers_after(asked.cursor)
    user_id = None if asked.user_id is None else typed_user_id(asked.user_id)

    def work(db: Transaction) -> Page[Mapping[str, Any]]:
        before = after[0] if after else None
        wanted = Letters(user_id=user_id, state=asked.state)
        return registers.letters(db, call.actor, wanted, before, asked.limit)

    page = await call.read(work)
    shown = {each["user_id"] for each in page.rows if each["user_id"]}
    await registers.note_listing(call.ra, call.actor, Act.SEARCH, "letters", shown)
    following = cursor_of(page.rows[-1]["id"]) if page.further else ""
    return Answer(records.page([records.letter(each) for each in page.rows], following))


async def shown(call: Call) -> Answer:
    """One, with its text."""
    number = call.number("mail")
    found = await call.read(lambda db: registers.letter(db, call.actor, number))
    if found["user_id"]:
        await registers.note_listing(call.ra, call.actor, Act.SEARCH, "letters", [found["user_id"]])
    return one(records.letter(found))


async def send_again(call: Call) -> Answer:
    """Has it sent once more: one that never left, or what has no secret in it."""
    number = call.number("mail")

    def told(db: Transaction, remedy: str) -> Answer:
        return Answer({"letter": number, "remedy": remedy})

    return await call.once(lambda ra: written.send_again(ra, call.actor, number), told)
