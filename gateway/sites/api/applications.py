"""/v1/applications: taken in at once, decided by somebody at the console."""

from __future__ import annotations

from typing import Literal

import msgspec

from ca.storage import Transaction
from enroll import store
from enroll.identifiers import new_typed_user_id, typed_policy_number, typed_user_id
from enroll.listings.store import Applied
from enroll.operators import registers, taking
from enroll.operators.applied import payload_of
from enroll.operators.registers import Page
from enroll.people import register
from enroll.people.applications import Recorded
from enroll.store import Application
from gateway.sites.api import records
from gateway.sites.api.asked import ask
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.sites.api.problems import Problem
from gateway.sites.api.reading import Input, Line, Name, Paged, cursor_of, numbers_after
from gateway.sites.api.users import Person, Reason

State = Literal["submitted", "approved", "rejected", "withdrawn"]
# Why an application is turned down (`applications.REJECTIONS`).
Rejected = Literal["incomplete", "not_entitled", "not_identified", "duplicate", "not_needed", "other"]


class Some(Paged, frozen=True):
    """Which applications are listed."""

    state: State | None = None
    kind: Literal["addition", "reissue"] | None = None
    policy_number: Name | None = None
    user_id: Name | None = None


class New(Input, frozen=True):
    """What somebody applies for: a further user, or a reissue."""

    kind: Literal["addition", "reissue"]
    person: Person | None = None
    user_id: Name | None = None
    reason_code: Reason | None = None
    revoke_old: Literal["on_pickup", "at_once"] | None = None


class Approval(Input, frozen=True):
    """When the old certificate ends, of a reissue, and what a certificate says of somebody."""

    revoke_old: Literal["on_pickup", "at_once", "never"] | None = None
    department: Line = ""
    principal: Line = ""
    reason: Line = ""


class Rejection(Input, frozen=True):
    """Why it is turned down: whoever applied reads it."""

    rejection: Rejected
    note: Line = ""
    reason: Line = ""


async def listed(call: Call) -> Answer:
    """Those that are asked for, as they came."""
    asked: Some = call.query
    after = numbers_after(asked.cursor, 2)
    wanted = Applied(
        state=asked.state,
        kind=asked.kind,
        policy_number=None if asked.policy_number is None else typed_policy_number(asked.policy_number),
        user_id=None if asked.user_id is None else typed_user_id(asked.user_id),
    )

    def work(db: Transaction) -> Page[Application]:
        behind = None if after is None else (after[0], after[1])
        return registers.applications(db, call.actor, wanted, behind, asked.limit)

    page = await call.read(work)
    await registers.note_applications(call.ra, call.actor, page.rows)
    last = page.rows[-1] if page.further else None
    following = "" if last is None else cursor_of(last.submitted_at, last.id)
    return Answer(records.page([records.application(each) for each in page.rows], following))


async def shown(call: Call) -> Answer:
    """One."""
    number = call.number("application")
    found: Application = await call.read(lambda db: registers.application(db, call.actor, number))
    await registers.note_applications(call.ra, call.actor, [found])
    return one(records.application(found))


async def take_in(call: Call) -> Answer:
    """Records it: somebody else decides."""
    body: New = call.body
    if body.kind == "addition":
        return await _addition(call, body)
    if body.user_id is None or body.reason_code is None or body.person is not None:
        raise Problem("invalid_input", "a reissue has user_id and reason_code, and no person", field="kind")
    user_id, reason, when = typed_user_id(body.user_id), body.reason_code, body.revoke_old
    return await call.once(
        lambda ra: taking.take_in_reissue(ra, call.actor, user_id, reason, when), _recorded
    )


async def _addition(call: Call, body: New) -> Answer:
    if body.person is None or any((body.user_id, body.reason_code, body.revoke_old)):
        raise Problem("invalid_input", "an addition has a person, and nothing else", field="kind")
    facts = msgspec.structs.asdict(body.person)
    facts["policy_number"] = typed_policy_number(body.person.policy_number)
    facts["user_id"] = new_typed_user_id(body.person.user_id)
    person = register.Person(**facts)
    return await call.once(lambda ra: taking.take_in_addition(ra, call.actor, person), _recorded)


async def approve(call: Call) -> Answer:
    """Proposes that it is approved."""
    number, body = call.number("application"), call.body
    fields = {"revoke_old": body.revoke_old or "", "department": body.department, "principal": body.principal}
    payload = payload_of("application.approve", number, fields)
    return await ask(call, "application.approve", payload, body.reason, lambda db: _standing(db, number))


async def reject(call: Call) -> Answer:
    """Proposes that it is turned down."""
    number, body = call.number("application"), call.body
    payload = payload_of("application.reject", number, {"note": body.note, "rejection": body.rejection})
    return await ask(call, "application.reject", payload, body.reason, lambda db: _standing(db, number))


def _recorded(db: Transaction, made: Recorded) -> Answer:
    """201; 200 for one that was open before."""
    where = f"/v1/applications/{made.number}"
    return one(_standing(db, made.number), 200 if made.already else 201, Location=where)


def _standing(db: Transaction, number: int) -> Record:
    found = store.application(db, number)
    assert found is not None
    return records.application(found)
