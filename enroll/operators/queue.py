"""What waits for somebody: what they may decide or propose now, by the time until when (O7).

Each is asked as its page would: no row is here whose page has no button for whoever looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ca.storage import Transaction
from enroll import store
from enroll.listings import store as pages
from enroll.listings.store import Applied
from enroll.operators import applied, asking
from enroll.operators import store as operators
from enroll.operators.actors import Actor, require
from enroll.operators.kinds.applications import DECISIONS
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Glass, Proposal
from enroll.ra import RegistrationAuthority
from enroll.store import Application

#: Rows that a home page has.
MOST = 10
# Of each register so many are looked at together, and so many in all: with more than that in the way, which
# somebody else has to do, the rest is in the lists.
_AT_ONCE, _IN_ALL = 50, 200


@dataclass(frozen=True)
class Task:
    """Something to be done. ``due_at``: the first second past its day; None where nothing is promised."""

    due_at: int | None
    about: Proposal | Application | Glass


def queue(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> list[Task]:
    """The first `MOST` by due time, what has none last. Refusal("not_permitted")."""
    require(actor, Act.STANDING, Verdict.READ)
    found = [
        *islice(_proposals(db, ra, actor), MOST),
        *islice(_applications(db, ra, actor), MOST),
        *_emergencies(db, actor),
    ]
    return sorted(found, key=lambda each: (each.due_at is None, each.due_at))[:MOST]


def _proposals(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> Iterator[Task]:
    """An application's decision is due when the application is, if that is earlier."""
    at, days = ra.now(), ra.settings.decision_days
    for each in asking.due(db, actor, at, _IN_ALL):
        due = each.expires_at
        if each.kind in DECISIONS:
            application = store.application(db, each.payload["number"])
            promised = None if application is None else applied.due_at(application, days)
            due = due if promised is None else min(due, promised)
        yield Task(due, each)


def _applications(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> Iterator[Task]:
    """Those of which nobody has proposed anything yet."""
    if not actor.may(Act.APPLICATIONS) & (Verdict.PROPOSE | Verdict.DECIDE):
        return
    after, looked_at = None, 0
    while looked_at < _IN_ALL:
        found = pages.applied(db, Applied(state="submitted"), False, after, _AT_ONCE)
        for each in found:
            step = asking.step_of(db, ra, actor, DECISIONS[0], {"number": each.id})
            if step and not operators.proposals_about(db, DECISIONS, str(each.id)):
                yield Task(applied.due_at(each, ra.settings.decision_days), each)
        if len(found) < _AT_ONCE:
            return
        after, looked_at = (found[-1].submitted_at, found[-1].id), looked_at + len(found)


def _emergencies(db: Transaction, actor: Actor) -> Iterator[Task]:
    """Never one's own: another auditor looks at it."""
    if Verdict.DO in actor.may(Act.AUDIT):
        for each in operators.glasses(db):
            if each.identity != actor.identity:
                yield Task(each.due_at, each)
