"""/v1/organisations: who is a customer, changed by proposals."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ca.storage import Transaction
from enroll import store
from enroll.identifiers import typed_policy_number
from enroll.operators import registers
from enroll.operators.registers import Page
from gateway.sites.api import records
from gateway.sites.api.asked import ask
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.sites.api.problems import Problem
from gateway.sites.api.reading import Input, Line, Moved, Name, Paged, cursor_of, text_after

PasswordBy = Literal["mail", "postcard", "admin"]
Lineages = Annotated[int, msgspec.Meta(ge=1, le=1_000)] | None


class Reasoned(Input, frozen=True):
    """Why, for whoever decides."""

    reason: Line = ""


class New(Input, frozen=True):
    """An organisation that is to be recorded."""

    policy_number: Name
    name: Line
    lineages: Lineages = None
    issue_password_by: PasswordBy = "mail"
    profile: Line = ""
    country: Line = ""
    postal_code: Line = ""
    prefecture: Line = ""
    city: Line = ""
    street: Line = ""
    building: Line = ""
    addressee: Line = ""
    reason: Line = ""


class Change(Moved, frozen=True):
    """What is to be different about one."""

    policy_number: Name | msgspec.UnsetType = msgspec.UNSET
    name: Line | msgspec.UnsetType = msgspec.UNSET
    lineages: Lineages | msgspec.UnsetType = msgspec.UNSET
    issue_password_by: PasswordBy | msgspec.UnsetType = msgspec.UNSET
    profile: Line | msgspec.UnsetType = msgspec.UNSET
    country: Line | msgspec.UnsetType = msgspec.UNSET
    reason: Line = ""


async def listed(call: Call) -> Answer:
    """All of them, by 証券番号."""
    asked: Paged = call.query
    after = text_after(asked.cursor)
    page: Page[store.Organisation] = await call.read(
        lambda db: registers.organisations(db, call.actor, after, asked.limit)
    )
    following = cursor_of(page.rows[-1].policy_number) if page.further else ""
    return Answer(records.page([records.organisation(each) for each in page.rows], following))


async def shown(call: Call) -> Answer:
    """One."""
    number = number_of(call)
    return one(
        await call.read(lambda db: records.organisation(registers.organisation(db, call.actor, number)))
    )


async def add(call: Call) -> Answer:
    """Proposes another one."""
    body: New = call.body
    payload = msgspec.structs.asdict(body)
    reason = payload.pop("reason")
    payload["policy_number"] = typed_policy_number(body.policy_number)
    return await ask(
        call, "organisation.add", payload, reason, lambda db: standing(db, payload["policy_number"])
    )


async def change(call: Call) -> Answer:
    """Proposes what is different."""
    number, (changes, reason) = number_of(call), changed(call.body)
    payload = {"policy_number": number, "changes": changes}
    return await ask(call, "organisation.change", payload, reason, lambda db: standing(db, number))


async def disable(call: Call) -> Answer:
    """Proposes that nobody of it logs in or enrolls; nothing is revoked."""
    return await _by_number(call, "organisation.disable")


async def enable(call: Call) -> Answer:
    """Proposes that this is taken back."""
    return await _by_number(call, "organisation.enable")


async def _by_number(call: Call, kind: str) -> Answer:
    number = number_of(call)
    return await ask(call, kind, {"policy_number": number}, call.body.reason, lambda db: standing(db, number))


def changed(body: Any) -> tuple[dict[str, Any], str]:
    """Of a change what is given, and why."""
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    reason = given.pop("reason")
    found = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    if not set(found) - {"alike"}:
        raise Problem("invalid_input", "say what changes, with at least one member")
    return found, str(reason)


def number_of(call: Call) -> str:
    """The 証券番号 of the path."""
    return typed_policy_number(call.names["policy_number"])


def standing(db: Transaction, number: str) -> Record:
    """What is there, for whoever changes it: alone from the first look on, or two who both had a share of it
    would wait for each other."""
    found = store.organisation(db, number, alone=True)
    return {} if found is None else records.organisation(found)
