"""Which letter about a renewal somebody is due, and whether it is still wanted when it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from ca.storage import Transaction
from enroll import generations, store
from enroll.jst import day_of
from enroll.mail import occasions, writing
from enroll.mail import store as mail_store
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import LIVE, UNFINISHED, WAITING, State
from enroll.settings import Settings


def wanted(db: Transaction, source: Enrollment, kind: writing.Kind) -> bool:
    """Whether somebody who may renew a certificate has not done so yet (D6).

    The first notice is for those who have not begun, the second also for those who began and have fetched
    nothing: without it their certificate would end while they believe that they have renewed.
    """
    if source.serial is None or source.state not in LIVE or not issuance.entitled(db, source.user_id):
        return False
    # A report of theft ends in a reissue, or in nothing: until then there is no renewal to write about.
    if store.theft_reported(db, source.user_id):
        return False
    # It opens no renewal any more: they are invited to another certificate (`people.replacing`).
    if generations.is_distrusted(db, source.serial):
        return False
    renewal = store.renewal_of(db, source.serial)
    # A client that renews without the mail has a successor and no renewal of ours.
    return (renewal is None or renewal.state in _OPEN[kind]) and not store.is_followed(
        db, source.user_id, source.common_name, source.not_after_at or 0
    )


#: Notice -> where a renewal stands that it is about.
_OPEN: Mapping[writing.Kind, frozenset[State]] = {"renewal_30": WAITING, "renewal_7": WAITING | UNFINISHED}


def needless(
    db: Transaction, ra: RegistrationAuthority, renewal: Enrollment, letter: Mapping[str, Any]
) -> str | None:
    """Why a notice that has waited must not leave any more, in words for operators; None if it may."""
    source = store.enrollment_of(db, renewal.replaces_serial or "")
    if source is None or not wanted(db, source, letter["kind"]):
        return "there is nothing to renew any more"
    if due_notice(source, day_of(ra.now()), ra.settings) != "renewal_7":
        return None
    # R15: after downtime only the second one; and no reminder that has waited until that one came.
    second = mail_store.of_cause(db, occasions.cause_of_notice("renewal_7", source))
    later = (
        second is not None
        and second["state"] in ("queued", "sent")
        and second["queued_at"] > letter["queued_at"]
    )
    return "the second notice has taken its place" if later or letter["kind"] == "renewal_30" else None


def of_members(
    db: Transaction, ra: RegistrationAuthority, letter: Mapping[str, Any], cause: str, at: int
) -> writing.Letter | None:
    """A letter to a 管理者 as it is to leave: without whoever has renewed since it was queued, has nothing to
    renew any more, or is another organisation's by now. None where nobody is left, or whom it is to is no
    管理者 any more."""
    admin = store.user(db, letter["user_id"])
    if admin is None or admin.role != "admin":
        return None
    due = list[tuple[store.User, Enrollment]]()
    for serial in letter["about"].split():
        source = store.enrollment_of(db, serial)
        user = store.user(db, source.user_id) if source is not None else None
        if source is None or user is None or user.policy_number != admin.policy_number:
            continue
        if (source.not_after_at or 0) >= at and wanted(db, source, "renewal_7"):
            due.append((user, source))
    return occasions.members_letter(db, ra, admin, due, cause) if due else None


def missing(db: Transaction, source: Enrollment, kind: writing.Kind, *, again: bool = False) -> bool:
    """Whether a certificate has no notice of a kind: none was queued, or it never left and may now.
    ``again``: an operator says that it may."""
    letter = mail_store.of_cause(db, occasions.cause_of_notice(kind, source))
    if letter is None:
        return True
    if letter["sent_at"] is not None or letter["state"] not in ("failed", "cancelled"):
        return False
    if again or letter["state"] == "cancelled":
        return True
    # Refused for good: the same address would be refused again, half a minute from now and ever after.
    user = store.user(db, source.user_id)
    return user is not None and user.mail != letter["recipient"]


def awaited(db: Transaction, ra: RegistrationAuthority, source: Enrollment) -> bool:
    """Whether time is about to bring a notice: it is due, and the scheduler has not come to it yet."""
    kind = due_notice(source, day_of(ra.now()), ra.settings)
    return kind is not None and missing(db, source, kind) and wanted(db, source, kind)


def due_notice(source: Enrollment, today: date, settings: Settings) -> writing.Kind | None:
    """Which renewal mail a live certificate is due on a day in Japan, sent already or not.

    Automated clients renew by themselves from D-30 on; theirs is only the D-7 mail.
    """
    if source.not_after_at is None:
        return None
    left = (day_of(source.not_after_at) - today).days
    if 0 <= left <= settings.reminder_days:
        return "renewal_7"
    if settings.reminder_days < left <= settings.renewal_days and source.door == "page":
        return "renewal_30"
    return None
