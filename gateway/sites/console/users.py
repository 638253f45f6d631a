"""利用者: everybody with a user ID, listed, and each as recorded; what changes is proposed.

For somebody on the telephone there is the caller view (`callers.py`); this page is the register's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from ca.storage import Transaction
from enroll import rosters
from enroll.identifiers import new_typed_user_id, typed_policy_number
from enroll.operators import asking, helping, taking
from enroll.operators import store as operators
from enroll.operators.store import Proposal
from enroll.people.likeness import Alike, mark_of, sharers
from enroll.people.postal import address_of
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.rosters import WantedUsers
from gateway.sites.console import recording
from gateway.sites.console.asking import show
from gateway.sites.console.finding_words import KINDS
from gateway.sites.console.narrowing import Narrowed, narrowed
from gateway.sites.console.recording import NEW_USER, USER
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import PROPOSALS
from gateway.sites.service.words import LANGUAGE_NAMES, NOTICES
from gateway.web.pages import GATE, form, told
from gateway.web.words import Text

LIST, NEW = "/users", "/users/new"
ONE = LIST + "/{user_id:[A-Z0-9]{4,12}}"
#: Field of the address -> what may stand there; the first is what holds without it.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "state": ("", "active", "stopped", "held"),
    "role": ("", "member", "admin"),
    "ends": ("", "7", "30", "90", "none"),
    "bounced": ("", "1"),
    "sort": ("number", "newest"),
}
#: What narrows the list: names in the address.
FILTERS = (*_CHOICES, "policy_number", "q")
#: Act on one -> the kind of proposal.
ACTS: Mapping[str, str] = {
    "change": "user.change",
    "disable": "user.disable",
    "enable": "user.enable",
    "release": "user.release",
}
#: Fields that a form calls otherwise than a proposal does.
_CALLED: dict[str, Text] = {
    "policy_number": ("証券番号", "Policy number"),
    "user_id": ("希望するユーザーID（任意）", "User ID wished for (optional)"),
}
STATES: Mapping[str, Text] = {
    "active": ("利用中", "in use"),
    "stopped": ("利用終了", "access ended"),
    "organisation": ("団体が利用停止", "organisation disabled"),
    "held": ("証明書を利用停止中", "certificates suspended"),
}


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A page of them, narrowed as the address says. Whose data is shown is noted."""
    found = narrowed(request.query, LIST, _CHOICES, "policy_number")
    ra, wanted = request.app[GATE].ra, _wanted(found)
    page = await rosters.users(ra, visitor.actor, wanted, found.after)
    return show(
        request,
        "users.html",
        visitor,
        page=page,
        found=found,
        following=found.following(page.following),
        roles=KINDS,
        standing=lambda row: STATES[rosters.state_of(row)],
    )


def asked(_: RegistrationAuthority, query: Mapping[str, str]) -> tuple[WantedUsers, Mapping[str, str]]:
    """What an address asks for, and what of it narrows the list. Refusal("invalid_input")."""
    found = narrowed(query, LIST, _CHOICES, "policy_number")
    return _wanted(found), found.said


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One as recorded, what waits for a decision about it, and the forms. Whoever looks is noted."""
    ra, user_id = request.app[GATE].ra, request.match_info["user_id"]

    def read(db: Transaction) -> tuple[helping.Person, list[Proposal], Mapping[str, Any], str]:
        found = helping.person(db, visitor.actor, user_id)
        waiting = operators.proposals_about(db, [*ACTS.values(), "user.add", "user.reset_password"], user_id)
        step = asking.step_of(db, ra, visitor.actor, "user.release", {"user_id": user_id})
        return found, waiting, rosters.user(db, visitor.actor, user_id, ra.now()), step

    person, waiting, row, step = await ra.database.read(read)
    await helping.note_reading(ra, visitor.actor, user_id)
    state = recording.again(told(request))
    return show(
        request,
        "user.html",
        visitor,
        status=422 if state["sent"] else 200,
        user=person.user,
        organisation=person.organisation,
        row=row,
        held=bool(row["held"]) and bool(step),
        standing=STATES[rosters.state_of(row)],
        path=f"{LIST}/{user_id}",
        waiting=waiting if visitor.may("record") else [],
        kinds=PROPOSALS,
        roles=KINDS,
        notices=NOTICES,
        languages=LANGUAGE_NAMES,
        stands=recording.shown(person.user, USER),
        address=address_of(person.user).line,
        done=request.query.get("done", ""),
        fields=USER,
        labels=recording.labels("user.change", USER) | _CALLED,
        choices=recording.choices_of(request),
        **state,
    )


async def new(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The form of one more."""
    state = recording.again(told(request))
    if not state["sent"]:
        state["values"] = {"policy_number": request.query.get("policy_number", "")[:20]}
    return show(
        request,
        "user_new.html",
        visitor,
        status=422 if state["sent"] else 200,
        fields=NEW_USER,
        labels=recording.labels("user.add", NEW_USER) | _CALLED,
        choices=recording.choices_of(request),
        **state,
    )


async def add(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes one more: approved, both letters are sent."""
    fields, ra = await form(request), request.app[GATE].ra
    typed: dict[str, Any] = recording.read(fields, NEW_USER)
    typed["policy_number"] = typed_policy_number(typed["policy_number"])
    typed["user_id"] = new_typed_user_id(typed["user_id"])
    person = Person(**typed)
    found = await ra.database.read(lambda db: taking.doubts(db, person))
    payload = {"person": asdict(person), "alike": bool(found)}
    return await _ask(request, visitor, "user.add", payload, fields, NEW, found)


async def change(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes what is different about one."""
    fields, user_id = await form(request), request.match_info["user_id"]
    typed = recording.read(fields, USER)
    typed["policy_number"] = typed_policy_number(typed["policy_number"])

    def read(db: Transaction) -> tuple[dict[str, str], list[Alike]]:
        user = helping.person(db, visitor.actor, user_id).user
        return recording.different(typed, user, USER), sharers(db, user, typed["mail"])

    changes, found = await request.app[GATE].ra.database.read(read)
    payload = {"user_id": user_id, "changes": changes, "alike": bool(found)}
    return await _ask(request, visitor, "user.change", payload, fields, f"{LIST}/{user_id}", found)


async def disable(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes the end of somebody's access: no login, no mails, certificates revoked."""
    return await _of_one(request, visitor, "user.disable")


async def enable(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes to take that back; what was revoked stays so."""
    return await _of_one(request, visitor, "user.enable")


async def release(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes the end of a 利用停止: the certificates that were stopped are as before."""
    return await _of_one(request, visitor, "user.release")


async def _of_one(request: web.Request, visitor: Visitor, kind: str) -> web.Response:
    user_id = request.match_info["user_id"]
    payload = {"user_id": user_id}
    return await _ask(request, visitor, kind, payload, await form(request), f"{LIST}/{user_id}", [])


async def _ask(
    request: web.Request,
    visitor: Visitor,
    kind: str,
    payload: Mapping[str, Any],
    fields: Mapping[str, str],
    here: str,
    found: list[Alike],
) -> web.Response:
    """``found``: who may be the same; what was confirmed of these is not confirmed of others."""
    mark = mark_of(found)
    doubts = found if mark and fields.get("alike") != mark else []
    reason = fields.get("reason", "").strip()
    return await recording.ask(request, visitor, kind, payload, reason, here, fields, doubts, mark)


def _wanted(found: Narrowed) -> WantedUsers:
    chosen = found.chosen
    return WantedUsers(
        found.text,
        typed_policy_number(chosen["policy_number"]),
        chosen["state"],  # type: ignore[arg-type]  # one of the table
        chosen["role"],
        chosen["ends"],  # type: ignore[arg-type]  # one of the table
        bool(chosen["bounced"]),
        chosen["sort"] == "newest",
    )
