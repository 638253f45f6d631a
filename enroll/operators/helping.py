"""What the help desk does for somebody on the telephone: a note, a letter again, 利用停止.

Who may is asked in the transaction that does it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ca.storage import Transaction
from enroll import store
from enroll.jst import day_of
from enroll.mail import store as mail_store
from enroll.mail import writing
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line
from enroll.requests.enrollment import Enrollment, state_at
from enroll.requests.states import UNFINISHED, WAITING
from enroll.requests.transitions import hold_all

#: What can be done about a letter: "retry" one that never left, "again" what has no secret in it, or what
#: makes a new secret: "reissue", "reset".
Remedy = Literal["retry", "again", "reissue", "reset", ""]

#: Kinds whose letter tells a password, and what makes another one.
_SECRET: Mapping[str, Remedy] = {
    "pickup": "reissue",
    "issue_password": "reissue",
    "issue_password_admin": "reissue",
    "user_id": "reset",
    "password_reset": "reset",
}
#: Kinds that say nothing which only their recipient may read.
_OPEN = frozenset(
    {
        "pickup_without_password",
        "renewal_30",
        "renewal_7",
        "renewal_7_admin",
        "renewed_by_another",
        "issuer_distrusted",
    }
)


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
        by = _may(db, actor, Act.CALL, at)
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
        by = _may(db, actor, Act.SUSPEND, at)
        person(db, by, user_id)
        store.audit(db, at, by.name, "user.held", user_id, reason=reason)
        return hold_all(db, ra, user_id, at, actor=by.name)

    return await ra.database.write(work)


def remedy(letter: Mapping[str, Any], waits: Collection[str]) -> Remedy:
    """What can be done about a letter, as `mail.store.listed` gives it; "" for one that is still to leave,
    or is about what has ended. ``waits``: the user's request IDs that somebody has still to go on with."""
    if letter["state"] == "failed" and letter["sent_at"] is None:
        return "retry"
    if letter["state"] == "queued":
        return ""
    if letter["kind"] in _OPEN:
        good = letter["state"] in ("sent", "failed") and letter["channel"] == "mail"
        return "again" if good and (not letter["request_id"] or letter["request_id"] in waits) else ""
    return _SECRET.get(letter["kind"], "")


def waiting(mine: Iterable[Enrollment], at: int) -> frozenset[str]:
    """The request IDs of these that somebody has still to go on with."""
    return frozenset(each.request_id for each in mine if state_at(each, at) in WAITING | UNFINISHED)


async def send_again(ra: RegistrationAuthority, actor: Actor, user_id: str, number: int) -> Remedy:
    """Has a letter of a user sent once more, to the address that is recorded now: one that never left as it
    is; of those that left what has no secret in it, once a day. Returns which it was.

    Refusal: "not_permitted", "not_found", "conflict" for any other.
    """

    def work(db: Transaction) -> Remedy:
        at = ra.now()
        by = _may(db, actor, Act.CALL, at)
        to, letter = person(db, by, user_id).user, mail_store.shown(db, number)
        if letter is None or letter["user_id"] != user_id:
            raise Refusal("not_found", field="mail")
        what = remedy(letter, waiting(store.enrollments_of(db, user_id), at))
        if what == "retry":
            done = mail_store.retry_one(db, number, at)
        else:
            done = what == "again" and store.active_user(db, user_id) is not None
            done = done and _queue(db, ra, letter, to, at)
        if not done:
            raise Refusal("conflict", field="mail", detail=f"letter {number} cannot be sent again")
        store.audit(db, at, by.name, "mail.retried", user_id, letter=number)
        return what

    return await ra.database.write(work)


def _queue(
    db: Transaction, ra: RegistrationAuthority, letter: Mapping[str, Any], to: store.User, at: int
) -> bool:
    """The same words to the same person. What operators see of such a letter is all of it."""
    assert writing.MASK not in letter["shown_body"]
    again = writing.Letter(
        cause=f"again:{letter['id']}:{day_of(at)}",
        kind=letter["kind"],
        channel=letter["channel"],
        user_id=to.user_id,
        request_id=letter["request_id"],
        recipient=to.mail,
        subject=letter["subject"],
        body=letter["shown_body"],
        shown_body=letter["shown_body"],
    )
    return writing.queue(db, ra.vault, again, at, notice=False)


def _may(db: Transaction, actor: Actor, act: Act, at: int) -> Actor:
    by = asked_again(db, actor, at)
    require(by, act, Verdict.DO)
    return by
