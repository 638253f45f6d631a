"""The registers as operators read them, a page at a time: each function asks the table of roles first.

A page begins after the last row of the one before; whose data it has stands in the trail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import ca.store
from ca.storage import Transaction
from ca.store import CertificateRecord
from enroll import generations, store
from enroll.jobs import viewing
from enroll.jobs.store import Job
from enroll.listings import store as pages
from enroll.listings.store import Applied, Letters, Wanted
from enroll.mail import store as mail_store
from enroll.operators import asking
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Proposal
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment
from enroll.store import Application, Organisation, User

T = TypeVar("T")
_BEYOND = 2**62
# People whom a line of the trail names: a list of a register has as many as there are.
_A_LINE = 500


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows, and whether there are further ones behind the last."""

    rows: Sequence[T]
    further: bool


def organisations(db: Transaction, actor: Actor, after: str, limit: int) -> Page[Organisation]:
    """Organisations by 証券番号, after one. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return _page([Organisation(**row) for row in pages.organisations(db, after, limit + 1)], limit)


def organisation(db: Transaction, actor: Actor, policy_number: str) -> Organisation:
    """One. Refusal("not_permitted"), "not_found"."""
    require(actor, Act.SEARCH, Verdict.READ)
    return _there(store.organisation(db, policy_number), "policy_number")


def users(db: Transaction, actor: Actor, wanted: Wanted, after: str, limit: int) -> Page[User]:
    """Users by user ID, after one. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return _page([store.as_user(row) for row in pages.users(db, wanted, after, limit + 1)], limit)


def requests(
    db: Transaction, actor: Actor, user_id: str | None, before: int | None, limit: int
) -> tuple[Page[Enrollment], int]:
    """Request IDs, newest first, before a number; with the number of the last. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    found = pages.requests(db, user_id, _BEYOND if before is None else before, limit + 1)
    page = _page([store.as_enrollment(row) for row in found], limit)
    return page, int(found[len(page.rows) - 1]["number"]) if page.rows else 0


def request(db: Transaction, actor: Actor, request_id: str) -> Enrollment:
    """One. Refusal("not_permitted"), "not_found"."""
    require(actor, Act.SEARCH, Verdict.READ)
    return _there(store.enrollment(db, request_id), "request_id")


def certificates(
    db: Transaction, actor: Actor, wanted: Wanted, at: int, before: int | None, limit: int
) -> Page[Mapping[str, Any]]:
    """Certificates, newest first, before a number, as at a moment. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    gone = generations.distrusted(db)
    found = pages.certificates(db, wanted, at, _BEYOND if before is None else before, limit + 1)
    return _page([_with_state({**row}, at, gone) for row in found], limit)


def certificate(db: Transaction, actor: Actor, serial: str, at: int) -> Mapping[str, Any]:
    """One, with its bytes. Refusal("not_permitted"), "not_found"."""
    require(actor, Act.SEARCH, Verdict.READ)
    return as_it_is(db, _there(ca.store.find_by_serial(db, serial), "serial"), at)


def as_it_is(db: Transaction, found: CertificateRecord, at: int) -> Mapping[str, Any]:
    """The same of one that was read already."""
    return _with_state(asdict(found), at, generations.distrusted(db))


def _with_state(row: dict[str, Any], at: int, gone: Collection[str]) -> Mapping[str, Any]:
    """``state``: its status, unless time or its issuing CA has ended it."""
    state = row["status"]
    if state == "issued" and row["not_after_at"] < at:
        state = "expired"
    return row | {"state": state, "distrusted": row["issuer_id"] in gone}


def letters(
    db: Transaction, actor: Actor, wanted: Letters, before: int | None, limit: int
) -> Page[Mapping[str, Any]]:
    """Letters without their bodies, newest first, before a number. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    found = pages.letters(db, wanted, _BEYOND if before is None else before, limit + 1)
    return _page([{**row} for row in found], limit)


def letter(db: Transaction, actor: Actor, number: int) -> Mapping[str, Any]:
    """One, its secrets masked. Refusal("not_permitted"), "not_found"."""
    require(actor, Act.SEARCH, Verdict.READ)
    return _there(mail_store.shown(db, number), "mail")


def applications(
    db: Transaction, actor: Actor, wanted: Applied, after: tuple[int, int] | None, limit: int
) -> Page[Application]:
    """Applications as they came, after one. Refusal("not_permitted")."""
    require(actor, Act.APPLICATIONS, Verdict.READ)
    return _page(pages.applied(db, wanted, False, after, limit + 1), limit)


def application(db: Transaction, actor: Actor, number: int) -> Application:
    """One. Refusal("not_permitted"), "not_found"."""
    require(actor, Act.APPLICATIONS, Verdict.READ)
    return _there(store.application(db, number), "application")


def proposals(
    db: Transaction, actor: Actor, at: int, before: int | None, limit: int, *, every: bool = True
) -> Page[Proposal]:
    """Those that somebody may look at, newest first, before a number; without ``every`` those that wait."""
    before = _BEYOND if before is None else before
    return _page(asking.listed(db, actor, at, every=every, before=before, limit=limit + 1), limit)


def jobs_of(
    db: Transaction,
    actor: Actor,
    kinds: Collection[str] | None,
    before: int | None,
    limit: int,
    *,
    every: bool = True,
) -> Page[Job]:
    """The same of jobs, without ``every`` those that are open; ``kinds``: of these alone."""
    before = _BEYOND if before is None else before
    return _page(viewing.listed(db, actor, kinds, every=every, before=before, limit=limit + 1), limit)


async def note_listing(
    ra: RegistrationAuthority, actor: Actor, act: Act, of: str, shown: Collection[str]
) -> None:
    """Says in the trail whose data a list had, as a search does; of a long one by several lines. Nothing for
    a list with nobody in it."""
    people = sorted(set(shown))
    if not people:
        return

    def work(db: Transaction) -> None:
        at = ra.now()
        by = asked_again(db, actor, at)
        require(by, act, Verdict.READ)
        for place in range(0, len(people), _A_LINE):
            told = {"by": ["list"], "hits": {of: len(shown)}, "shown": people[place : place + _A_LINE]}
            store.audit(db, at, by.name, "person.searched", "search", **told)

    await ra.database.write(work)


async def note_reading(
    ra: RegistrationAuthority, actor: Actor, act: Act, of: str, shown: Collection[str]
) -> None:
    """The same of what may be about one person: then the line is that person's."""
    if len(set(shown)) != 1:
        return await note_listing(ra, actor, act, of, shown)
    (user_id,) = set(shown)

    def work(db: Transaction) -> None:
        at = ra.now()
        by = asked_again(db, actor, at)
        require(by, act, Verdict.READ)
        store.audit(db, at, by.name, "person.seen", user_id)

    await ra.database.write(work)


async def note_applications(ra: RegistrationAuthority, actor: Actor, found: Sequence[Application]) -> None:
    """The same of applications: who is no user yet is known by the application's number."""
    if not found:
        return

    def work(db: Transaction) -> None:
        at = ra.now()
        by = asked_again(db, actor, at)
        require(by, Act.APPLICATIONS, Verdict.READ)
        shown = sorted({each.user_id for each in found if each.user_id})
        if len(found) == 1 and shown:
            store.audit(db, at, by.name, "person.seen", shown[0])
            return
        if len(found) == 1:
            store.audit(db, at, by.name, "application.seen", str(found[0].id))
            return
        others = [each.id for each in found if not each.user_id]
        told = {"by": ["list"], "hits": {"applications": len(found)}, "shown": shown}
        store.audit(db, at, by.name, "person.searched", "search", **told, applications=others)

    await ra.database.write(work)


def people_in(told: Any) -> Iterator[str]:
    """The user IDs of those whom some facts name, however deep in them."""
    if isinstance(told, Mapping):
        if isinstance(user_id := told.get("user_id"), str) and user_id:
            yield user_id
        told = told.values()
    elif not isinstance(told, (list, tuple)):
        return
    for each in told:
        yield from people_in(each)


def _page(found: Sequence[T], limit: int) -> Page[T]:
    """``found``: one more than is shown, if there is one."""
    return Page(found[:limit], len(found) > limit)


def _there(found: T | None, field: str) -> T:
    if found is None:
        raise Refusal("not_found", field=field)
    return found
