"""Organisations and users as operators page through them: narrowed, in a chosen order, with counts that are
those of the lists. Each function asks the table of roles first, and reading people's data is noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ca.storage import Transaction
from enroll.jst import day_of, start_of
from enroll.listings.meaning import understood
from enroll.listings.searching import GroupName, terms_of
from enroll.operators.actors import Actor, require
from enroll.operators.registers import note_listing
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.rosters import store
from enroll.rosters.store import Place
from enroll.settings import DAY

#: Rows of a page.
PAGE = 50
OrganisationState = Literal["", "active", "stopped"]
UserState = Literal["", "active", "stopped", "held"]
#: When a certificate that is good ends, within so many days; or that there is none.
Ends = Literal["", "7", "30", "90", "none"]


@dataclass(frozen=True)
class WantedOrganisations:
    """What narrows the list; empty for what does not. ``text``: as the search understands it."""

    text: str = ""
    state: OrganisationState = ""
    issue_password_by: str = ""
    newest: bool = False


@dataclass(frozen=True)
class WantedUsers:
    """The same of users. ``bounced``: email to the address that is recorded does not arrive."""

    text: str = ""
    policy_number: str = ""
    state: UserState = ""
    role: str = ""
    ends: Ends = ""
    bounced: bool = False
    newest: bool = False


@dataclass(frozen=True)
class Page:
    """A part of a list. ``first``: the place of its first row, from 1; ``total``: how many there are."""

    rows: Sequence[Mapping[str, Any]]
    first: int
    total: int
    #: What the next page comes after; None on the last one.
    following: Place | None


def organisations(
    db: Transaction, actor: Actor, wanted: WantedOrganisations, after: Place | None = None
) -> Page:
    """A page of the list that comes ``after`` a row. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    narrowed = _of_organisations(wanted)
    before = 0 if after is None else store.count_organisations(db, narrowed, after)
    rows = store.organisations(db, narrowed, after, PAGE + 1)
    return _page(rows, "policy_number", before, store.count_organisations(db, narrowed))


async def users(
    ra: RegistrationAuthority, actor: Actor, wanted: WantedUsers, after: Place | None = None
) -> Page:
    """The same of users; the trail says whose data was shown."""

    def read(db: Transaction) -> Page:
        require(actor, Act.SEARCH, Verdict.READ)
        narrowed = _of_users(wanted, ra.now())
        before = 0 if after is None else store.count_users(db, narrowed, after)
        rows = store.users(db, narrowed, after, PAGE + 1)
        return _page(rows, "user_id", before, store.count_users(db, narrowed))

    found = await ra.database.read(read)
    await note_listing(ra, actor, Act.SEARCH, "users", [str(row["user_id"]) for row in found.rows])
    return found


def user(db: Transaction, actor: Actor, user_id: str, at: int) -> Mapping[str, Any]:
    """The row of one user. Refusal("not_permitted"), "not_found"."""
    require(actor, Act.SEARCH, Verdict.READ)
    found = store.users(db, store.Users(at, user_id=user_id), None, 1)
    if not found:
        raise Refusal("not_found", field="user_id")
    return {**found[0]}


def every_user(
    db: Transaction, actor: Actor, wanted: WantedUsers, at: int, after: str, limit: int
) -> list[Any]:
    """So many of them after a user ID, by user ID: for a file. Refusal("not_permitted")."""
    require(actor, Act.RECORD, Verdict.READ)
    return store.users(db, _of_users(wanted, at, ordered=True), (0, after), limit)


def every_organisation(
    db: Transaction, actor: Actor, wanted: WantedOrganisations, after: str, limit: int
) -> list[Any]:
    """The same of organisations, by number."""
    require(actor, Act.RECORD, Verdict.READ)
    return store.organisations(db, replace(_of_organisations(wanted), newest=False), (0, after), limit)


def count_organisations(db: Transaction, actor: Actor, wanted: WantedOrganisations) -> int:
    """How many the list has. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return store.count_organisations(db, _of_organisations(wanted))


def state_of(row: Mapping[str, Any]) -> str:
    """Of a row of the list of users: "active", "stopped", "organisation" (that is stopped) or "held"."""
    if row["disabled_at"] is not None:
        return "stopped"
    if row["organisation_disabled_at"] is not None:
        return "organisation"
    return "held" if row["held"] else "active"


def count_users(db: Transaction, actor: Actor, wanted: WantedUsers, at: int) -> int:
    """How many the list has. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return store.count_users(db, _of_users(wanted, at))


def _of_organisations(wanted: WantedOrganisations) -> store.Organisations:
    return store.Organisations(
        wanted.state or None,
        wanted.issue_password_by or None,
        _terms("organisations", wanted.text),
        wanted.newest,
    )


def _of_users(wanted: WantedUsers, at: int, *, ordered: bool = False) -> store.Users:
    within = int(wanted.ends) if wanted.ends.isdecimal() else None
    return store.Users(
        at,
        policy_number=wanted.policy_number or None,
        state=wanted.state or None,
        role=wanted.role or None,
        # Whole days: what ends on the last of them counts.
        ends_before=None if within is None else start_of(day_of(at + (within + 1) * DAY)),
        certificate=wanted.ends != "none",
        bounced=wanted.bounced,
        terms=_terms("users", wanted.text),
        newest=wanted.newest and not ordered,
    )


def _terms(group: GroupName, text: str) -> Sequence[Any] | None:
    return terms_of(group, understood(text)) if text else None


def _page(rows: Sequence[Any], key: str, before: int, total: int) -> Page:
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    shown = [{**row} for row in rows[:PAGE]]
    return Page(shown, before + 1, total, None if last is None else (last["created_at"], last[key]))
