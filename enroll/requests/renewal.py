"""The renewal door: the presented certificate says which request it is (R32 to R44)."""

from __future__ import annotations

from dataclasses import dataclass

import ca.store
from ca.revocation import RevocationStatus
from ca.storage import Transaction
from enroll import store, timekeeping
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import SUPERSEDED, Enrollment, lives, state_at
from enroll.requests.issuance import check_entitled
from enroll.requests.issuance import submit as submit_request
from enroll.requests.opening import open_renewal, renewable_from, renewable_until
from enroll.requests.states import CAUSES, ENDED, UNFINISHED, WAITING, State


@dataclass(frozen=True)
class Renewable:
    """A presented certificate with its renewal, which exists from the first look on."""

    source: Enrollment
    renewal: Enrollment


def source_of(db: Transaction, fingerprint: str) -> Enrollment:
    """The enrollment that a presented certificate came from. Refusal("unknown_certificate") if none."""
    found = _origin(db, fingerprint)
    if found is None:
        raise Refusal("unknown_certificate")
    return found


def check_lives(db: Transaction, ra: RegistrationAuthority, source: Enrollment) -> None:
    """Raises the Refusal that says why a certificate's enrollment has ended, if it has.

    By a clock in doubt nothing has expired, and nothing has not: Refusal("clock_in_doubt").
    """
    state = state_at(source, ra.now())
    if state is State.EXPIRED:
        timekeeping.check(ra, db)
        raise Refusal(CAUSES[state], at=source.not_after_at or 0)
    if state in ENDED:
        raise Refusal(CAUSES[state])


async def look(ra: RegistrationAuthority, fingerprint: str) -> Renewable:
    """The renewal that the presented certificate gives a right to.

    Raises Refusal: "unknown_certificate", "user_disabled", "not_yet_renewable" with the first moment
    (E9), "renewal_over" (R38), or the one that says why the certificate has ended (``states.CAUSES``).
    """
    return await ra.database.write(lambda db: _look(db, ra, fingerprint))


async def submit(ra: RegistrationAuthority, fingerprint: str, *, actor: str) -> Enrollment:
    """Applies for the renewal and begins issuance; however often, there is one certificate (E10)."""
    renewable = await look(ra, fingerprint)
    return await submit_request(ra, renewable.renewal.request_id, actor=actor)


def status(db: Transaction, fingerprint: str) -> list[Enrollment]:
    """The rows of 更新の申請状況: the renewal of the presented certificate once it was applied for.

    Holding the renewed certificate itself shows the same row: the person may present either (E11).
    """
    return [each for each in _renewals(db, source_of(db, fingerprint)) if each.state not in WAITING | ENDED]


def standing_of(db: Transaction, fingerprint: str, request_id: str) -> State:
    """Where a renewal stands that `status` does not list. Refusal("other_certificate") if it is none of the
    presented certificate's: whose it is, or whether there is one, is not said."""
    for each in _renewals(db, source_of(db, fingerprint)):
        if each.request_id == request_id:
            return each.state
    raise Refusal("other_certificate", field="request_id")


@dataclass(frozen=True)
class Following:
    """What there is after a certificate."""

    #: On a PC, and lasting longer: the one to choose (E11).
    newer: Enrollment | None
    #: Its renewal, begun and never fetched: to be taken up again (R39).
    begun: Enrollment | None


def following(db: Transaction, at: int, source: Enrollment) -> Following:
    """What came after the certificate of an enrollment, as of a moment."""
    newer = [
        each
        for each in store.enrollments_of(db, source.user_id)
        if lives(each, at)
        # Another name is another PC's (E18).
        and each.common_name == source.common_name
        and each.state not in UNFINISHED
        and (each.not_after_at or 0) > (source.not_after_at or 0)
    ]
    own = store.renewal_of(db, source.serial or "")
    begun = own if own is not None and own.state in UNFINISHED else None
    return Following(newer[0] if newer else None, begun)


def reissued_as(db: Transaction, at: int, fingerprint: str) -> Enrollment | None:
    """The certificate in hand that took the place of one that a reissue ended, or whose issuing CA is trusted
    no more; None where that ended for any other reason: whoever has a stolen one is told nothing."""
    record = ca.store.find_by_fingerprint(db, fingerprint)
    distrusted = ca.store.certificate_status(db, fingerprint) is RevocationStatus.DISTRUSTED
    if record is None or not (distrusted or record.revocation_reason == SUPERSEDED):
        return None
    source = store.enrollment_of(db, record.serial)
    if source is None:
        return None
    return next(
        (
            each
            for each in store.enrollments_of(db, source.user_id)
            if (each.kind == "reissue" or distrusted)
            and lives(each, at)
            and each.state not in UNFINISHED
            and each.created_at >= source.created_at
            and (not distrusted or _is_good(db, each))
        ),
        None,
    )


def invited(db: Transaction, at: int, fingerprint: str) -> bool:
    """Whether a new certificate waits to be picked up by whose one this is."""
    source = _origin(db, fingerprint)
    return source is not None and any(
        each.kind in ("addition", "reissue")
        and each.request_id != source.request_id
        and each.state in (*WAITING, *UNFINISHED)
        and each.window_ends_at is not None
        and at < each.window_ends_at
        for each in store.enrollments_of(db, source.user_id)
    )


def out_of_use(db: Transaction, fingerprint: str) -> bool:
    """Whether whose certificate this is may not use the service any more: a reissue would be refused."""
    source = _origin(db, fingerprint)
    return source is not None and store.active_user(db, source.user_id) is None


def _origin(db: Transaction, fingerprint: str) -> Enrollment | None:
    record = ca.store.find_by_fingerprint(db, fingerprint)
    return store.enrollment_of(db, record.serial) if record is not None else None


def _is_good(db: Transaction, enrollment: Enrollment) -> bool:
    record = ca.store.find_by_serial(db, enrollment.serial or "")
    if record is None or record.fingerprint is None:
        return False
    return ca.store.certificate_status(db, record.fingerprint) is RevocationStatus.GOOD


def _renewals(db: Transaction, source: Enrollment) -> list[Enrollment]:
    """The renewal of a certificate, and the one that it came by itself."""
    found = [store.renewal_of(db, source.serial or ""), source if source.kind == "renewal" else None]
    return [each for each in found if each is not None]


def _look(db: Transaction, ra: RegistrationAuthority, fingerprint: str) -> Renewable:
    source = source_of(db, fingerprint)
    check_entitled(db, source.user_id)
    now, end = ra.now(), source.not_after_at or 0
    # First, since in the grace after its end a certificate has expired, and may be renewed.
    if now > renewable_until(end, ra):
        timekeeping.check(ra, db)
        raise Refusal("renewal_over", at=end)
    if source.state in ENDED:
        check_lives(db, ra, source)
    if now < renewable_from(end, ra):
        timekeeping.check(ra, db)
        raise Refusal("not_yet_renewable", at=renewable_from(end, ra))
    renewal = open_renewal(db, ra, source, door="page")
    if renewal.opened_at is None:
        # What campaigns count; once, and by the clock of whoever looks.
        store.mark_opened(db, renewal.request_id, now)
    return Renewable(source, renewal)
