"""The one search of operators: whatever they have at hand, in groups, with how many there are of each.

The console and the command line ask here, and whose data was read stands in the trail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from ca.storage import Transaction
from enroll import store as rooms
from enroll.jst import start_of
from enroll.listings import store
from enroll.listings.meaning import Meaning, understood
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority

GroupName = Literal["users", "organisations", "requests", "certificates"]
#: In the order in which they are shown.
GROUPS: tuple[GroupName, ...] = ("users", "organisations", "requests", "certificates")
#: Rows of each group at first, and of a page of one.
FIRST, PAGE = 10, 50

Row = Mapping[str, Any]
# A key of a row, as the cursor of a page has it.
_KEY = re.compile(r"[0-9A-Z-]{1,20}")


@dataclass(frozen=True)
class Group:
    """Hits of one kind: as many as there are, and of these the rows of a page."""

    name: GroupName
    total: int
    rows: Sequence[Row]
    #: After which row the next page begins; "" on the last one.
    further: str


@dataclass(frozen=True)
class Found:
    """What somebody looked for, what that may mean, and what there is."""

    text: str
    meanings: tuple[Meaning, ...]
    groups: tuple[Group, ...]
    #: The user ID that all of it leads to, where it is one and the same person's.
    lead: str = ""

    @property
    def total(self) -> int:
        return sum(group.total for group in self.groups)


async def search(
    ra: RegistrationAuthority, actor: Actor, text: str, *, group: str = "", after: str = "", most: int = FIRST
) -> Found:
    """Looks for a text. ``group``: this one alone, a page of it ``after`` a row. Refusal("not_permitted")."""
    found = await ra.database.read(lambda db: _found(db, actor, text, group, after, most))
    if found.meanings:
        await ra.database.write(lambda db: _note(db, ra, actor, found))
    return found


def _found(db: Transaction, actor: Actor, text: str, only: str, after: str, most: int) -> Found:
    require(actor, Act.SEARCH, Verdict.READ)
    meanings = understood(text)
    names = [name for name in GROUPS if not only or name == only]
    groups = tuple(
        _group(db, name, meanings, after if only and _KEY.fullmatch(after) else "", most) for name in names
    )
    return Found(text, meanings, groups, _lead(meanings, groups) if not only else "")


def _group(db: Transaction, name: GroupName, meanings: Sequence[Meaning], after: str, most: int) -> Group:
    terms = terms_of(name, meanings)
    if not terms:
        return Group(name, 0, (), "")
    total = store.count_matches(db, name, terms)
    # One more than is shown tells whether there is a further page.
    rows = [{**row} for row in store.matches(db, name, terms, after, most + 1)] if total else []
    further = str(rows[most - 1][store.KEYS[name]]) if len(rows) > most else ""
    return Group(name, total, tuple(rows[:most]), further)


def terms_of(name: GroupName, meanings: Sequence[Meaning]) -> list[store.Term]:
    """What things of a group are looked for by, of all that a text may mean."""
    return [term for meaning in meanings if (term := _term(name, meaning)) is not None]


#: Group -> meaning -> the term of the store's that it is looked for by.
_TERMS: Mapping[GroupName, Mapping[str, str]] = {
    "users": {"user_id": "user_id", "mail": "mail", "name": "name", "policy_number": "member"},
    "organisations": {"policy_number": "policy_number", "name": "name"},
    "requests": {"request_id": "request_id"},
    "certificates": {"serial": "serial", "common_name": "common_name", "day": "day"},
}


def _term(name: GroupName, meaning: Meaning) -> store.Term | None:
    term = _TERMS[name].get(meaning.kind)
    if term is None:
        return None
    if meaning.kind == "day":
        day = date.fromisoformat(meaning.value)
        return store.Term(term, start_of(day), start_of(day + timedelta(days=1)))
    return store.Term(term, meaning.value, store.beyond(meaning.value))


#: What names one thing and no other: the column of it.
_NAMES: Mapping[str, tuple[GroupName, str]] = {
    "user_id": ("users", "user_id"),
    "mail": ("users", "mail_key"),
    "request_id": ("requests", "request_id"),
    "serial": ("certificates", "serial"),
    "common_name": ("certificates", "subject_cn"),
}


def _lead(meanings: Sequence[Meaning], groups: Sequence[Group]) -> str:
    """The person whom an exact hit, or the only one there is, belongs to."""
    rows = {group.name: group.rows for group in groups}
    exact = {
        row["user_id"]
        for meaning in meanings
        if meaning.kind in _NAMES
        for row in rows[_NAMES[meaning.kind][0]]
        if row[_NAMES[meaning.kind][1]] == meaning.value and row["user_id"]
    }
    if not exact and sum(group.total for group in groups) == 1:
        exact = {row["user_id"] for group in groups for row in group.rows if row.get("user_id")}
    return str(exact.pop()) if len(exact) == 1 else ""


def _note(db: Transaction, ra: RegistrationAuthority, actor: Actor, found: Found) -> None:
    """The trail's line: who was shown, and never what was typed, which may be a password by mistake."""
    actor = asked_again(db, actor, ra.now())
    require(actor, Act.SEARCH, Verdict.READ)
    shown = {str(row["user_id"]) for group in found.groups for row in group.rows if row.get("user_id")}
    hits = {group.name: group.total for group in found.groups if group.total}
    kinds = [meaning.kind for meaning in found.meanings]
    rooms.audit(
        db,
        ra.now(),
        actor.name,
        "person.searched",
        found.lead or "search",
        by=kinds,
        hits=hits,
        shown=sorted(shown),
    )
