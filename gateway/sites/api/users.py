"""/v1/users: people with a user ID, and what is done for them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ca.storage import Transaction
from enroll import store
from enroll.identifiers import new_typed_user_id, typed_policy_number, typed_user_id
from enroll.languages import Language
from enroll.listings import Wanted
from enroll.operators import helping, registers
from enroll.operators.registers import Page
from enroll.operators.roles import Act
from gateway.sites.api import records
from gateway.sites.api.asked import ask
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.sites.api.organisations import Reasoned, changed
from gateway.sites.api.reading import Input, Line, Moved, Name, Paged, cursor_of, text_after

Rights = Literal["member", "admin"]
NoticeBy = Literal["mail", "postcard"]
# Reasons of a reissue that somebody applies for (`applications.REASONS`).
Reason = Literal["pc_change", "mail_lost", "refused", "expired", "interrupted", "lost_or_stolen"]


class Some(Paged, frozen=True):
    """Which users are listed."""

    policy_number: Name | None = None
    state: Literal["active", "disabled"] | None = None
    name: Line | None = None
    mail: Line | None = None


class Person(Input, frozen=True):
    """Somebody who is to be a user."""

    policy_number: Name
    name: Line
    mail: Line
    user_id: Line = ""
    role: Rights = "member"
    notice_by: NoticeBy = "mail"
    language: Language = "ja"
    department: Line = ""
    principal: Line = ""
    reading: Line = ""
    postal_code: Line = ""
    prefecture: Line = ""
    city: Line = ""
    street: Line = ""
    building: Line = ""
    addressee: Line = ""


class New(Person, frozen=True):
    """The same, asked for. ``alike``: whoever has the same name or address is somebody else."""

    alike: bool = False
    reason: Line = ""


class Change(Moved, frozen=True):
    """What is to be different about one."""

    policy_number: Name | msgspec.UnsetType = msgspec.UNSET
    name: Line | msgspec.UnsetType = msgspec.UNSET
    mail: Line | msgspec.UnsetType = msgspec.UNSET
    role: Rights | msgspec.UnsetType = msgspec.UNSET
    notice_by: NoticeBy | msgspec.UnsetType = msgspec.UNSET
    language: Language | msgspec.UnsetType = msgspec.UNSET
    department: Line | msgspec.UnsetType = msgspec.UNSET
    principal: Line | msgspec.UnsetType = msgspec.UNSET
    reading: Line | msgspec.UnsetType = msgspec.UNSET
    alike: bool = False
    reason: Line = ""


class Suspension(Input, frozen=True):
    """Why somebody is stopped."""

    reason: Name


class Reissue(Input, frozen=True):
    """Why another certificate is needed, and when the old one ends; null: as the reason has it."""

    reason_code: Reason
    revoke_old: Literal["on_pickup", "at_once", "never"] | None = None
    reason: Line = ""


async def listed(call: Call) -> Answer:
    """Those that are asked for, by user ID."""
    asked: Some = call.query
    after = text_after(asked.cursor)
    number = None if asked.policy_number is None else typed_policy_number(asked.policy_number)
    wanted = Wanted(policy_number=number, name=asked.name, mail=asked.mail, state=asked.state)
    page: Page[store.User] = await call.read(
        lambda db: registers.users(db, call.actor, wanted, after, asked.limit)
    )
    shown = [each.user_id for each in page.rows]
    await registers.note_listing(call.ra, call.actor, Act.SEARCH, "users", shown)
    following = cursor_of(shown[-1]) if page.further else ""
    return Answer(records.page([records.user(each) for each in page.rows], following))


async def shown(call: Call) -> Answer:
    """One; that it was read stands in the trail."""
    user_id = user_id_of(call)
    found: store.User = await call.read(lambda db: helping.person(db, call.actor, user_id).user)
    await helping.note_reading(call.ra, call.actor, user_id)
    return one(records.user(found))


async def add(call: Call) -> Answer:
    """Proposes another one: application, request ID and letters follow when it is decided."""
    body: New = call.body
    person = msgspec.structs.asdict(body)
    alike, reason = person.pop("alike"), person.pop("reason")
    person["policy_number"] = typed_policy_number(body.policy_number)
    person["user_id"] = new_typed_user_id(body.user_id)
    payload = {"person": person, "alike": alike}
    return await ask(call, "user.add", payload, reason, lambda db: standing(db, person["user_id"]))


async def change(call: Call) -> Answer:
    """Proposes what is different."""
    user_id, (changes, reason) = user_id_of(call), changed(call.body)
    alike = changes.pop("alike")
    payload = {"user_id": user_id, "changes": changes, "alike": alike}
    return await ask(call, "user.change", payload, reason, lambda db: standing(db, user_id))


async def suspend(call: Call) -> Answer:
    """利用停止, at once: every certificate is held until somebody decides."""
    user_id, body = user_id_of(call), call.body

    def told(db: Transaction, held: int) -> Answer:
        return Answer({"user_id": user_id, "certificates": held})

    return await call.once(lambda ra: helping.suspend(ra, call.actor, user_id, body.reason), told)


async def release(call: Call) -> Answer:
    """Proposes that a 利用停止 is taken back."""
    return await _by_id(call, "user.release")


async def disable(call: Call) -> Answer:
    """Proposes that a user's access ends, and every certificate with it."""
    return await _by_id(call, "user.disable")


async def enable(call: Call) -> Answer:
    """Proposes that the login works again."""
    return await _by_id(call, "user.enable")


async def reset_password(call: Call) -> Answer:
    """Draws a first login password anew, with its letter; or proposes it, as the role has it."""
    return await _by_id(call, "user.reset_password")


async def reissue(call: Call) -> Answer:
    """Proposes a reissue."""
    user_id, body = user_id_of(call), call.body
    payload = {"user_id": user_id, "reason": body.reason_code, "revoke_old": body.revoke_old}
    return await ask(call, "request.reissue", payload, body.reason, lambda db: standing(db, user_id))


async def _by_id(call: Call, kind: str) -> Answer:
    user_id = user_id_of(call)
    body: Reasoned = call.body
    return await ask(call, kind, {"user_id": user_id}, body.reason, lambda db: standing(db, user_id))


def user_id_of(call: Call) -> str:
    """The user ID of the path."""
    return typed_user_id(call.names["user_id"])


def standing(db: Transaction, user_id: str) -> Record:
    """What is there, for whoever has changed it."""
    found: Any = store.user(db, user_id)
    return {} if found is None else records.user(found)
