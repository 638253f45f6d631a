"""The registers as operators read them, a page at a time: each function asks the table of roles first.

A page begins after the last row of the one before; whose data it has stands in the trail.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import ca.store
from ca.storage import Transaction
from ca.store import CertificateRecord
from enroll import generations, identifiers, store
from enroll.jobs import viewing
from enroll.jobs.store import Job
from enroll.listings import store as pages
from enroll.listings.store import Applied, Letters, Wanted
from enroll.mail import store as mail_store
from enroll.operators import asking
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Proposal
from enroll.people.likeness import Alike
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment
from enroll.store import Application, Organisation, User

T = TypeVar("T")
_BEYOND = 2**62
# People whom a line of the trail names: a list of a register has as many as there are.
_A_LINE = 500
# What a reading is about, where it is about one -> the act.
_SEEN = {"person": "person.seen", "application": "application.seen", "proposal": "proposal.seen"}


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


async def note(
    ra: RegistrationAuthority, actor: Actor, act: Act, action: str, about: str, *told: Mapping[str, Any]
) -> None:
    """Says in the trail what somebody has read, in a line for each of ``told``; of who may not any more
    Refusal("not_permitted")."""

    def work(db: Transaction) -> None:
        at = ra.now()
        by = asked_again(db, actor, at)
        require(by, act, Verdict.READ)
        for each in told:
            store.audit(db, at, by.name, action, about, **each)

    await ra.database.write(work)


async def note_listing(
    ra: RegistrationAuthority,
    actor: Actor,
    act: Act,
    of: str,
    shown: Collection[str],
    strangers: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> None:
    """Says in the trail whose data a list had, as a search does; of a long one by several lines. Nothing for
    a list with nobody in it. ``strangers``: what is about people who are no users yet, by kind and number."""
    people = sorted(set(shown))
    others = {f"{kind}s": [*numbers] for kind, numbers in strangers.items() if numbers}
    if not people and not others:
        return

    told = {"by": ["list"], "hits": {of: len(shown) + sum(map(len, others.values()))}}
    parts = [people[place : place + _A_LINE] for place in range(0, len(people) or 1, _A_LINE)]
    first, *more = [{**told, "shown": part} for part in parts]
    await note(ra, actor, act, "person.searched", "search", {**first, **others}, *more)


async def note_reading(
    ra: RegistrationAuthority,
    actor: Actor,
    act: Act,
    of: str,
    shown: Collection[str],
    strangers: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> None:
    """The same of what may be about one person: then the line is that person's, or that of the application
    or proposal that is about one."""
    named = [("person", user_id) for user_id in set(shown)]
    named += [(kind, str(number)) for kind, numbers in strangers.items() for number in numbers]
    if len(named) != 1:
        return await note_listing(ra, actor, act, of, shown, strangers)
    ((kind, about),) = named
    await note(ra, actor, act, _SEEN[kind], about, {})


async def note_applications(ra: RegistrationAuthority, actor: Actor, found: Sequence[Application]) -> None:
    """The same of applications."""
    shown = [each.user_id for each in found if each.user_id]
    strangers = {"application": [each.id for each in found if not each.user_id]}
    await note_reading(ra, actor, Act.APPLICATIONS, "applications", shown, strangers)


async def note_proposals(
    ra: RegistrationAuthority, actor: Actor, found: Sequence[Proposal], shown: Collection[str] = ()
) -> None:
    """The same of proposals. ``shown``: users whom they name besides the one that each is about."""
    about = await ra.database.read(lambda db: store.known_users(db, {each.subject for each in found}))
    strangers = {"proposal": [each.number for each in found if _about_stranger(each)]}
    await note_reading(ra, actor, Act.STANDING, "proposals", {*shown, *about}, strangers)


async def note_queue(
    ra: RegistrationAuthority, actor: Actor, found: Sequence[object], shown: Collection[str]
) -> None:
    """The same of what waits for somebody (`queue.py`), of which only these two are about people."""
    strangers = {
        "application": [each.id for each in found if isinstance(each, Application) and not each.user_id],
        "proposal": [each.number for each in found if isinstance(each, Proposal) and _about_stranger(each)],
    }
    await note_reading(ra, actor, Act.STANDING, "queue", shown, strangers)


def _about_stranger(found: Proposal) -> bool:
    """Whether it says something of somebody who is no user: to be recorded, or in the rows of a file."""
    applied: Any = found.before.get("application", {})
    return bool(found.payload.get("person") or found.payload.get("rows") or applied.get("person"))


async def note_rows(ra: RegistrationAuthority, actor: Actor, of: str, told: Iterable[str]) -> None:
    """The same of what became of rows, of a file or a job: ``told`` is whom each was about, and why it was
    refused, which may name others who are recorded or applied for."""
    words, numbers = set[str](), set[int]()
    for text in told:
        words.update(_USER_ID.findall(text))
        numbers.update(int(each) for each in _APPLICATION.findall(text))
    shown = await ra.database.read(lambda db: store.known_users(db, words))
    await note_reading(ra, actor, Act.STANDING, of, shown, {"application": sorted(numbers)})


async def note_alike(ra: RegistrationAuthority, actor: Actor, found: Sequence[Alike]) -> None:
    """The same of those who may be somebody else, and are shown for that."""
    shown = [each.user_id for each in found if not each.application]
    strangers = {"application": [each.application for each in found if each.application]}
    await note_reading(ra, actor, Act.STANDING, "alike", shown, strangers)


async def note_refusal(ra: RegistrationAuthority, actor: Actor, refusal: Refusal) -> None:
    """The same where something was refused for their sake, or because they are recorded, and says who."""
    if refusal.field in ("alike", "name"):
        await note_rows(ra, actor, "alike", [refusal.detail])


# How a row, or a refusal (`people/likeness.py`), names a user, and who was applied for.
_USER_ID = re.compile(rf"\b{identifiers.USER_ID.pattern}\b")
_APPLICATION = re.compile(r"\bapplication ([0-9]{1,12}) \(")


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
