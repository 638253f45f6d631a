"""Which letter about a renewal somebody is due, and whether it is still wanted when it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from ca.storage import Transaction
from enroll import generations, store
from enroll.jst import day_of
from enroll.mail import writing
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
    if source.serial is None or not issuance.entitled(db, source.user_id):
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
    db: Transaction, ra: RegistrationAuthority, renewal: Enrollment, kind: writing.Kind
) -> str | None:
    """Why a notice that has waited must not leave any more, in words for operators; None if it may."""
    source = store.enrollment_of(db, renewal.replaces_serial or "")
    if source is None or source.state not in LIVE or not wanted(db, source, kind):
        return "there is nothing to renew any more"
    due = due_notice(source, day_of(ra.now()), ra.settings)
    # R15: after downtime only the second one.
    return "the second notice has taken its place" if (kind, due) == ("renewal_30", "renewal_7") else None


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
