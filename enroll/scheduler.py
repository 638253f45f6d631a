"""What time itself brings about: mails on D-30 and D-7, windows that close, certificates that end.

Every job can run again, late, or in two processes at once, and does its work once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from ca.epochs.tending import tend
from ca.storage import Transaction
from enroll import generations, repeats, store, timekeeping
from enroll.acme import store as acme
from enroll.hooks import outbox
from enroll.jst import day_of, start_of
from enroll.mail import occasions, writing
from enroll.noticing import due_notice, missing, wanted
from enroll.operators import asking, ending
from enroll.postcards import keeping
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from enroll.requests.enrollment import SUPERSEDED, Enrollment
from enroll.requests.opening import open_renewal
from enroll.requests.states import Event
from enroll.requests.transitions import apply, end_certificate
from enroll.settings import DAY

log = logging.getLogger("sekisho.scheduler")

# A reservation older than this was left by a crash: its signer would have stored it long ago.
_STUCK_SECONDS = 60
_ACTOR = "scheduler"


# Second notices of an organisation in one transaction, and in one letter to its 管理者.
_MOST_TOGETHER = 50


@dataclass(frozen=True)
class _Due:
    """A certificate whose notice has not been queued."""

    source: Enrollment
    kind: writing.Kind
    policy_number: str


@dataclass(frozen=True)
class Noticed:
    """What a run of ``notify`` queued."""

    renewal_30: int = 0
    renewal_7: int = 0


async def tick(ra: RegistrationAuthority) -> None:
    """Everything that is due now, except mails on their way out (``delivery``).

    Nothing of it can be undone: all of it waits while the clock is in doubt.
    """
    judged = await timekeeping.tick(ra)
    if judged.doubt is not None:
        return
    if judged.leap:
        log.warning(
            "the clock has gone forward by %.1f hours since the last look at it: believed, since that is "
            "within clock.ahead_days",
            judged.leap / 3_600,
        )
    await generations.begin_due(ra)
    await issuance.recover(ra, ra.now() - _STUCK_SECONDS)
    await close_overdue(ra)
    # E1: what was wiped, here or by a login, opens to nobody, in whatever copy, and is in no file of ours.
    await tend(ra.epochs, ra.database, ra.now())
    await ra.workers.run_in_thread(ra.database.scrub)
    await end_renewed(ra)
    await asking.expire(ra)
    await ending.remind(ra)
    await keeping.end_old(ra)
    await notify(ra, day_of(ra.now()))
    await outbox.tell_of_ends(ra)
    await outbox.sweep(ra)


async def close_overdue(ra: RegistrationAuthority) -> int:
    """Closes windows and wipes their keys; returns how many enrollments changed."""
    now = ra.now()
    due = await ra.database.read(lambda db: store.enrollments_overdue(db, now))
    for enrollment in due:
        await ra.database.write(lambda db, e=enrollment: _close(db, ra, e))  # type: ignore[misc]
    await ra.database.write(lambda db: _sweep(db, ra))
    return len(due)


async def end_renewed(ra: RegistrationAuthority) -> int:
    """Revokes certificates whose renewal has been in use for ``revoke_renewed_days`` (D3; off at -1)."""
    days = ra.settings.revoke_renewed_days
    if days < 0:
        return 0
    now = ra.now()
    used = await ra.database.read(lambda db: store.renewals_used_before(db, now - days * DAY, now))
    for renewal in used:
        await ra.database.write(lambda db, r=renewal: _replace(db, ra, r))  # type: ignore[misc]
    return len(used)


async def notify(ra: RegistrationAuthority, today: date, *, again: bool = False) -> Noticed:
    """Queues the renewal mails that are due on a day in Japan; run again, it queues nothing (R15).

    After downtime a missed D-30 mail goes out late, unless D-7 has come: then only that one does. What never
    left is queued once more when the fault is mended: its cause lives again, its user has another address, or
    an operator says so (``again``).
    """
    counts = {"renewal_30": 0, "renewal_7": 0}
    missing = await ra.database.read_aside(lambda db: _unnoticed(db, ra, today, again))
    for kind, sources in _together(missing):
        counts[kind] += await ra.database.write(
            lambda db, s=sources, k=kind: _notify_some(db, ra, s, k, again)  # type: ignore[misc]
        )
    return Noticed(**counts)


def _together(due: Sequence[_Due]) -> Iterator[tuple[writing.Kind, Sequence[Enrollment]]]:
    """What is queued in one transaction each: of the second notices those of an organisation, so that its
    管理者 are told of them in one letter, or of none of them."""
    for kind, group in groupby(sorted(due, key=_organisation_last), _organisation_last):
        sources = [each.source for each in group]
        most = _MOST_TOGETHER if kind[0] == "renewal_7" else 1
        for start in range(0, len(sources), most):
            yield kind[0], sources[start : start + most]


def _organisation_last(due: _Due) -> tuple[writing.Kind, str]:
    return due.kind, due.policy_number


def _notify_some(
    db: Transaction, ra: RegistrationAuthority, sources: Sequence[Enrollment], kind: writing.Kind, again: bool
) -> int:
    told = [source for source in sources if _notify_one(db, ra, source, kind, again)]
    if kind == "renewal_7" and told:
        _remind_administrators(db, ra, told)
    return len(told)


def _remind_administrators(db: Transaction, ra: RegistrationAuthority, told: Sequence[Enrollment]) -> None:
    """``told``: of one organisation. Nobody is told of oneself: that letter has come already."""
    users = [(user, source) for source in told if (user := store.user(db, source.user_id)) is not None]
    for admin in store.administrators(db, users[0][0].policy_number) if users else ():
        others = [(user, source) for user, source in users if user.user_id != admin.user_id]
        if others:
            occasions.members_reminder(db, ra, admin, others, ra.now())


def _unnoticed(db: Transaction, ra: RegistrationAuthority, today: date, again: bool) -> list[_Due]:
    """Certificates whose notice of the day has not been queued, or never left.

    Most have theirs for weeks: they are looked at every half minute, so they must cost no transaction that
    writes, and be left out where they are found.
    """
    day, settings = start_of(today), ra.settings
    second, first = (day + (days + 1) * DAY - 1 for days in (settings.reminder_days, settings.renewal_days))
    ending = [
        *store.enrollments_unnoticed(db, "renewal_7", day - 1, second),
        *store.enrollments_unnoticed(db, "renewal_30", second, first, "page"),
    ]
    due = ((source, due_notice(source, today, settings)) for source in ending)
    return [
        _Due(source, kind, user.policy_number)
        for source, kind in due
        if kind is not None
        and missing(db, source, kind, again=again)
        and wanted(db, source, kind)
        and (user := store.user(db, source.user_id)) is not None
    ]


def _notify_one(
    db: Transaction, ra: RegistrationAuthority, source: Enrollment, kind: writing.Kind, again: bool
) -> bool:
    fresh = store.enrollment(db, source.request_id)
    user = store.user(db, source.user_id)
    if fresh is None or user is None or not wanted(db, fresh, kind):
        return False
    if not missing(db, fresh, kind, again=again):
        return False
    renewal = open_renewal(db, ra, fresh, door=fresh.door)
    return occasions.renewal_notice(db, ra, user, renewal, fresh, kind, ra.now(), again=True)


def _close(db: Transaction, ra: RegistrationAuthority, seen: Enrollment) -> None:
    fresh = store.enrollment(db, seen.request_id)
    if fresh is not None and fresh.state is seen.state:
        apply(db, ra, seen.request_id, Event.CLOSE, ra.now(), actor=_ACTOR)


def _replace(db: Transaction, ra: RegistrationAuthority, renewal: Enrollment) -> None:
    serial, at = renewal.replaces_serial or "", ra.now()
    end_certificate(db, ra, serial, SUPERSEDED, at, actor=_ACTOR, event=Event.REPLACE)


def _sweep(db: Transaction, ra: RegistrationAuthority) -> None:
    now = ra.now()
    store.drop_expired_tickets(db, now)
    repeats.wipe(db, now)
    acme.drop_old_nonces(db, now)
    store.drop_old_throttles(db, now - ra.settings.attempt_seconds, now)
