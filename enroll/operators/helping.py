"""What the help desk does for somebody on the telephone: a note, 利用停止. Letters are in `letters.py`.

Who may is asked in the transaction that does it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ca.storage import Transaction
from enroll import store
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line
from enroll.requests.transitions import hold_all


@dataclass(frozen=True)
class Person:
    """Somebody who is looked at: as recorded, with the organisation."""

    user: store.User
    organisation: store.Organisation


def person(db: Transaction, actor: Actor, user_id: str) -> Person:
    """Refusal("not_permitted"), and "not_found" for a user ID that is nobody's."""
    require(actor, Act.SEARCH, Verdict.READ)
    user = store.user(db, user_id)
    organisation = store.organisation(db, user.policy_number) if user is not None else None
    if user is None or organisation is None:
        raise Refusal("not_found", field="user_id")
    return Person(user, organisation)


async def note_reading(ra: RegistrationAuthority, actor: Actor, user_id: str) -> None:
    """Says in the trail that somebody's data was read."""

    def work(db: Transaction) -> None:
        at = ra.now()
        by = asked_again(db, actor, at)
        require(by, Act.SEARCH, Verdict.READ)
        store.audit(db, at, by.name, "person.seen", user_id)

    await ra.database.write(work)


async def note_call(ra: RegistrationAuthority, actor: Actor, user_id: str, text: str) -> None:
    """Keeps a line about a call. Refusal: "not_permitted", "not_found", "invalid_input" for an empty one."""
    text = text.strip()
    check_line("note", text, needed=True)

    def work(db: Transaction) -> None:
        at = ra.now()
        by = may(db, actor, Act.CALL, at)
        person(db, by, user_id)
        store.audit(db, at, by.name, "call.noted", user_id, note=text)

    await ra.database.write(work)


async def suspend(ra: RegistrationAuthority, actor: Actor, user_id: str, reason: str) -> int:
    """利用停止: stops every certificate of a user until somebody decides; how many were stopped.

    Refusal: "not_permitted", "not_found", "invalid_input" without a reason.
    """
    reason = reason.strip()
    check_line("reason", reason, needed=True)

    def work(db: Transaction) -> int:
        at = ra.now()
        by = may(db, actor, Act.SUSPEND, at)
        person(db, by, user_id)
        store.audit(db, at, by.name, "user.held", user_id, reason=reason)
        return hold_all(db, ra, user_id, at, actor=by.name)

    return await ra.database.write(work)


def may(db: Transaction, actor: Actor, act: Act, at: int) -> Actor:
    """The actor as it is now, who may do all of an act. Refusal("not_permitted")."""
    by = asked_again(db, actor, at)
    require(by, act, Verdict.DO)
    return by
