"""The list of all certificates as operators look through it: narrowed, in one of two orders, a page at a
time, with how many there are in truth. Who may is asked first; whose names were shown stands in the trail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ca.storage import Row, Transaction
from enroll import generations
from enroll import store as rooms
from enroll.certificates import store
from enroll.certificates.store import Order, Place, State, Wanted
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority

#: Rows of a page, and the most that are marked at once.
PAGE = 50
# Of these the list has what the others say of it.
_COLUMN = {"newest": "reserved_at", "ending": "not_after_at"}


@dataclass(frozen=True)
class Listed:
    """A certificate in a row. ``state``: as the list is narrowed by it."""

    row: Row
    state: State


@dataclass(frozen=True)
class Page:
    """A part of the list. ``first``: the place of its first row, from 1; ``total``: how many there are."""

    rows: Sequence[Listed]
    first: int
    total: int
    #: What the next page comes after; None on the last one.
    following: Place | None


async def listed(
    ra: RegistrationAuthority,
    actor: Actor,
    wanted: Wanted,
    order: Order = "newest",
    after: Place | None = None,
) -> Page:
    """The page ``after`` a place. Refusal("not_permitted")."""
    found = await ra.database.read_aside(lambda db: _page(db, ra, actor, wanted, order, after))
    if found.rows:
        await ra.database.write(lambda db: _note(db, ra, actor, wanted, found))
    return found


def count(db: Transaction, ra: RegistrationAuthority, actor: Actor, wanted: Wanted) -> int:
    """How many the list has. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return store.count(db, wanted, ra.now(), generations.distrusted(db))


def every(
    db: Transaction,
    actor: Actor,
    wanted: Wanted,
    order: Order,
    at: int,
    after: Place | None,
    limit: int,
) -> tuple[list[Listed], Place | None]:
    """So many certificates after a place, as at a moment, and the place of the last: for a file.
    Refusal("not_permitted")."""
    require(actor, Act.RECORD, Verdict.READ)
    gone = generations.distrusted(db)
    rows = store.page(db, wanted, order, at, gone, after, limit)
    place = (int(rows[-1][_COLUMN[order]]), int(rows[-1]["number"])) if rows else None
    return [Listed(row, state_of(row, at, gone)) for row in rows], place


def state_of(row: Row, at: int, distrusted: frozenset[str]) -> State:
    """What a row of the register is at a moment."""
    status: State = row["status"]
    if status == "issued" and row["not_after_at"] < at:
        return "expired"
    return "distrusted" if status in ("issued", "held") and row["issuer_id"] in distrusted else status


def _page(
    db: Transaction,
    ra: RegistrationAuthority,
    actor: Actor,
    wanted: Wanted,
    order: Order,
    after: Place | None,
) -> Page:
    require(actor, Act.SEARCH, Verdict.READ)
    at, gone = ra.now(), generations.distrusted(db)
    before, behind = 0, 0
    if after is None:
        behind = store.count(db, wanted, at, gone)
    else:
        before, behind = store.count_around(db, wanted, order, at, gone, after)
    # One more than is shown tells whether there is a further page.
    rows = store.page(db, wanted, order, at, gone, after, PAGE + 1) if behind else []
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    following = None if last is None else (int(last[_COLUMN[order]]), int(last["number"]))
    return Page(
        [Listed(row, state_of(row, at, gone)) for row in rows[:PAGE]], before + 1, before + behind, following
    )


def _note(db: Transaction, ra: RegistrationAuthority, actor: Actor, wanted: Wanted, found: Page) -> None:
    actor = asked_again(db, actor, ra.now())
    require(actor, Act.SEARCH, Verdict.READ)
    shown = sorted({each.row["user_id"] for each in found.rows if each.row["user_id"]})
    by = sorted(name for name, value in vars(wanted).items() if value is not None)
    rooms.audit(
        db, ra.now(), actor.name, "person.searched", "certificates", by=by, hits=found.total, shown=shown
    )
