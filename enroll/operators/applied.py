"""Applications as operators see them: the queue by due time, old beside new, and who may be the same person.

Each function asks the table of roles first. What a list counts and what it shows is one reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from ca.storage import Transaction
from enroll import store, timekeeping
from enroll.businessdays import end_of_business_day_after
from enroll.jst import day_of, start_of
from enroll.listings import store as pages
from enroll.listings.store import Applied
from enroll.operators import asking
from enroll.operators import store as operators
from enroll.operators.actors import Actor, require, require_any
from enroll.operators.asking import Step
from enroll.operators.kinds.applications import DECISIONS, MAIL_JUST_CHANGED
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Proposal
from enroll.people.likeness import Alike, alike
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.requests.enrollment import Enrollment
from enroll.store import Application, Organisation, User

#: Rows of a page, and the most that are decided at once.
PAGE = 50
Due = Literal["", "overdue", "today"]


@dataclass(frozen=True)
class Wanted:
    """What narrows the list; empty for what does not. ``due``: of those that wait."""

    state: str = "submitted"
    kind: str = ""
    channel: str = ""
    due: Due = ""
    policy_number: str = ""
    user_id: str = ""
    #: Newest first, instead of what is due first.
    newest: bool = False


@dataclass(frozen=True)
class Seen:
    """An application with what whoever decides it looks at."""

    application: Application
    organisation: Organisation | None
    #: Whom it is about, where that is a user already; who was added, once it was approved.
    user: User | None
    #: The first second past the day by which it is to be decided; None without a promise, or once it is.
    due_at: int | None
    doubts: Sequence[Alike]
    #: Whether the mail address was changed shortly before.
    mail_changed: bool
    #: The user's certificates that have not ended.
    living: Sequence[Enrollment]
    #: What waits for a decision on it.
    proposals: Sequence[Proposal]
    #: Decision -> what would come of it if the actor asked for it.
    steps: Mapping[str, Step]

    @property
    def surely_the_same(self) -> bool:
        """Whether name and address are both somebody's."""
        return any(each.same_person for each in self.doubts)


@dataclass(frozen=True)
class Page:
    """A part of a list. ``first``: the place of its first row, from 1; ``total``: how many there are."""

    rows: Sequence[Seen]
    first: int
    total: int
    #: What the next page comes after; None on the last one.
    following: tuple[int, int] | None


def listed(
    db: Transaction,
    ra: RegistrationAuthority,
    actor: Actor,
    wanted: Wanted,
    after: tuple[int, int] | None = None,
) -> Page:
    """A page of the list that comes ``after`` a row (when it was submitted, its number).
    Refusal("not_permitted")."""
    require(actor, Act.APPLICATIONS, Verdict.READ)
    narrowed = _narrowed(wanted, ra)
    total = pages.count_applied(db, narrowed)
    before = pages.count_applied(db, narrowed, wanted.newest, after) if after is not None else 0
    found = pages.applied(db, narrowed, wanted.newest, after, PAGE + 1)
    waiting = dict[str, Sequence[Application]]()
    rows = [_seen(db, ra, actor, each, waiting) for each in found[:PAGE]]
    last = found[PAGE - 1] if len(found) > PAGE else None
    return Page(rows, before + 1, total, None if last is None else (last.submitted_at, last.id))


def count(db: Transaction, ra: RegistrationAuthority, actor: Actor, wanted: Wanted) -> int:
    """How many the list has. Refusal("not_permitted")."""
    require(actor, Act.APPLICATIONS, Verdict.READ)
    return pages.count_applied(db, _narrowed(wanted, ra))


def every(
    db: Transaction,
    ra: RegistrationAuthority,
    actor: Actor,
    wanted: Wanted,
    after: tuple[int, int] | None,
    limit: int,
) -> list[Application]:
    """So many of the list after a row, without what is looked up beside each: for a file.
    Refusal("not_permitted")."""
    require(actor, Act.RECORD, Verdict.READ)
    return pages.applied(db, _narrowed(wanted, ra), wanted.newest, after, limit)


def one(db: Transaction, ra: RegistrationAuthority, actor: Actor, number: int) -> Seen | None:
    """An application; None for a number that is none's. Refusal("not_permitted")."""
    # Whoever takes applications in sees what has become of them.
    require_any(actor, Act.APPLICATIONS, Verdict.READ)
    found = store.application(db, number)
    return None if found is None else _seen(db, ra, actor, found, {})


def waiting_of(db: Transaction, actor: Actor, user_id: str) -> list[Application]:
    """A user's applications that wait for a decision, oldest first. Refusal("not_permitted")."""
    require(actor, Act.APPLICATIONS, Verdict.READ)
    return pages.applied(db, Applied(state="submitted", user_id=user_id), False, None, PAGE)


def payload_of(decision: str, number: int, fields: Mapping[str, str]) -> dict[str, Any]:
    """What `asking.ask` is asked for, of a form. ``decision``: a kind of proposal."""
    if decision == "application.reject":
        note, why = fields.get("note", "").strip(), fields.get("rejection", "")
        return {"number": number, "note": note, "rejection": why}
    facts = {name: fields.get(name, "").strip() for name in ("department", "principal")}
    return {"number": number, "revoke_old": fields.get("revoke_old") or None, "facts": facts}


def due_at(application: Application, days: int) -> int | None:
    """The first second past the day by which it is to be decided, so many business days after it came."""
    if application.state != "submitted" or not days:
        return None
    return end_of_business_day_after(application.submitted_at, days)


def submitted_until(at: int, days: int) -> int:
    """The first second of the earliest day on which what came in is due after a moment: everything before it
    is due by then."""
    day = day_of(at)
    while end_of_business_day_after(start_of(day), days) > at:
        day -= timedelta(days=1)
    return start_of(day + timedelta(days=1))


def _narrowed(wanted: Wanted, ra: RegistrationAuthority) -> Applied:
    days, at = ra.settings.decision_days, ra.now()
    found = Applied(
        state=wanted.state or None,
        kind=wanted.kind or None,
        channel=wanted.channel or None,
        policy_number=wanted.policy_number or None,
        user_id=wanted.user_id or None,
    )
    if not wanted.due:
        return found
    if not days:
        return replace(found, state="submitted", before=0)  # nothing is promised, nothing is late
    overdue = submitted_until(at, days)
    if wanted.due == "overdue":
        return replace(found, state="submitted", before=overdue)
    tomorrow = start_of(day_of(at) + timedelta(days=1))
    return replace(found, state="submitted", since=overdue, before=submitted_until(tomorrow, days))


def _seen(
    db: Transaction,
    ra: RegistrationAuthority,
    actor: Actor,
    found: Application,
    waiting: dict[str, Sequence[Application]],
) -> Seen:
    waits = found.state == "submitted"
    user = _whom(db, found)
    since = ra.now() - MAIL_JUST_CHANGED
    steps = dict[str, Step]()
    if waits:
        for decision in DECISIONS:
            steps[decision] = asking.step_of(db, ra, actor, decision, {"number": found.id})
    return Seen(
        found,
        store.organisation(db, found.policy_number),
        user,
        due_at(found, ra.settings.decision_days),
        _doubts(db, found, waiting) if waits else (),
        waits and user is not None and operators.mail_changed(db, user.user_id, since),
        ()
        if user is None or found.kind != "reissue"
        else store.living_enrollments_of(db, user.user_id, timekeeping.surely_passed(ra, db)),
        operators.proposals_about(db, DECISIONS, str(found.id)) if waits else (),
        steps,
    )


def _whom(db: Transaction, found: Application) -> User | None:
    if found.kind == "reissue":
        return store.user(db, found.user_id)
    opened = store.enrollment(db, found.request_id) if found.request_id else None
    return None if opened is None else store.user(db, opened.user_id)


def _doubts(db: Transaction, found: Application, waiting: dict[str, Sequence[Application]]) -> list[Alike]:
    """Who may be the same as somebody new; the application itself is not. ``waiting``: what was read of an
    organisation."""
    if found.kind != "addition":
        return []
    person = Person(**found.person)  # type: ignore[arg-type]
    number = found.policy_number
    if number not in waiting:
        waiting[number] = store.applications(db, state="submitted", policy_number=number)
    return [each for each in alike(db, person, waiting[number]) if each.application != found.id]
