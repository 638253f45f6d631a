"""/v1/certificates: found, revoked for good, and good again after a hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import ca.store
from ca.errors import Unacceptable
from ca.revocation import operator_reason, reason_code
from ca.storage import Transaction
from enroll.identifiers import typed, typed_policy_number, typed_user_id
from enroll.listings import Wanted
from enroll.operators import registers
from enroll.operators.registers import Page
from enroll.operators.roles import Act
from gateway.sites.api import records
from gateway.sites.api.asked import ask
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.sites.api.problems import Problem
from gateway.sites.api.reading import Input, Line, Name, Paged, cursor_of, numbers_after

State = Literal["reserved", "issued", "expired", "held", "revoked"]
#: RFC 5280 section 5.3.1, as far as operators may give them (`ca.revocation.REASONS`).
Reason = Literal[
    "unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation",
    "privilegeWithdrawn",
]  # fmt: skip


class Some(Paged, frozen=True):
    """Which certificates are listed."""

    user_id: Name | None = None
    policy_number: Name | None = None
    state: State | None = None
    ends_before: datetime | None = None
    ends_after: datetime | None = None


class Revocation(Input, frozen=True):
    """Why, for the lists and for whoever decides."""

    reason_code: Reason = "unspecified"
    reason: Line = ""


async def listed(call: Call) -> Answer:
    """Those that are asked for, newest first."""
    asked: Some = call.query
    after = numbers_after(asked.cursor)
    wanted = Wanted(
        user_id=None if asked.user_id is None else typed_user_id(asked.user_id),
        policy_number=None if asked.policy_number is None else typed_policy_number(asked.policy_number),
        state=asked.state,
        ends_before=seconds("ends_before", asked.ends_before),
        ends_after=seconds("ends_after", asked.ends_after),
    )

    def work(db: Transaction) -> Page[Mapping[str, Any]]:
        before = after[0] if after else None
        return registers.certificates(db, call.actor, wanted, call.now(), before, asked.limit)

    page = await call.read(work)
    await _note(call, page.rows)
    following = cursor_of(page.rows[-1]["number"]) if page.further else ""
    return Answer(records.page([records.certificate(each) for each in page.rows], following))


async def shown(call: Call) -> Answer:
    """One, with its PEM."""
    found = await call.read(lambda db: registers.certificate(db, call.actor, serial_of(call), call.now()))
    await _note(call, [found])
    return one(records.certificate(found))


async def revoke(call: Call) -> Answer:
    """Revokes it for good, or proposes that, as the role and the number of the day have it."""
    serial, body = serial_of(call), call.body
    try:
        reason = operator_reason(reason_code(body.reason_code))
    except Unacceptable as error:
        raise Problem("invalid_input", str(error), field="reason_code") from None
    payload = {"serial": serial, "reason": reason}
    return await ask(call, "certificate.revoke", payload, body.reason, lambda db: _standing(db, serial, call))


async def release(call: Call) -> Answer:
    """Proposes that a held one is good again."""
    serial, body = serial_of(call), call.body
    payload = {"serial": serial}
    return await ask(
        call, "certificate.release", payload, body.reason, lambda db: _standing(db, serial, call)
    )


def serial_of(call: Call) -> str:
    """The serial of the path: hex, however it is written."""
    return typed(call.names["serial"]).replace(":", "").lower()


async def _note(call: Call, found: Sequence[Mapping[str, Any]]) -> None:
    shown = [*registers.people_in(list(found))]
    await registers.note_reading(call.ra, call.actor, Act.SEARCH, "certificates", shown)


def _standing(db: Transaction, serial: str, call: Call) -> Record:
    """What is there after it was done; whoever may revoke sees the one."""
    found = ca.store.find_by_serial(db, serial)
    assert found is not None
    return records.certificate(registers.as_it_is(db, found, call.now()))


def seconds(field: str, moment: datetime | None) -> int | None:
    """A time of the query as seconds since the epoch."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise Problem("invalid_input", "write a time as 2026-11-22T03:00:00Z", field=field)
    return int(moment.timestamp())
