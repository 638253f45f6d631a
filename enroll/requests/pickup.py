"""The pick-up door: user ID and issue password give access to one request (R25 to R31)."""

from __future__ import annotations

from ca.networks import network_of
from ca.storage import Transaction
from enroll import store, throttle, timekeeping
from enroll.people import passwords
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import window
from enroll.requests.enrollment import Enrollment, overdue
from enroll.requests.issuance import check_no_theft
from enroll.requests.states import ENDED, LIVE, WAITING, Event
from enroll.requests.transitions import apply

# How many hashes every attempt is verified against, so that its duration tells nothing.
_CANDIDATES = 2


async def authenticate(
    ra: RegistrationAuthority, user_id: str, issue_password: str, *, address: str
) -> Enrollment:
    """The request that user ID and issue password open.

    Raises Refusal("bad_credentials") alike for an unknown user and a wrong password, "throttled", and
    "not_available" when the password was right but its request has ended (Z4).
    """
    attempt = throttle.Attempt("pickup", f"{network_of(address)} {user_id[:20]}", address)
    await throttle.begin(ra, attempt)
    mine = await ra.database.read(lambda db: store.enrollments_of(db, user_id))
    candidates = [e for e in mine if e.password_hash is not None]
    padded: list[Enrollment | None] = [*candidates[:_CANDIDATES], *[None] * _CANDIDATES]
    opened: Enrollment | None = None
    for candidate in padded[:_CANDIDATES]:
        stored = candidate.password_hash if candidate is not None else None
        right = await ra.workers.run_in_thread(passwords.verify_drawn, issue_password, stored)
        opened = opened or (candidate if right else None)
    if opened is None:
        await ra.database.write(lambda db: _refuse(db, ra, user_id, address))
        raise Refusal("bad_credentials")
    request_id = opened.request_id
    admitted = await ra.database.write(lambda db: _admit(db, ra, request_id, attempt, address))
    if isinstance(admitted, Refusal):
        raise admitted
    return admitted


async def current(ra: RegistrationAuthority, request_id: str) -> Enrollment:
    """The request of a session, as it is now. Refusal: "not_available" once it has ended, or
    "theft_reported"."""

    def work(db: Transaction) -> Enrollment:
        found = store.enrollment(db, request_id)
        if found is None:
            raise Refusal("not_available")
        if _over(db, ra, found):
            raise Refusal("not_available", reason=window.why_over(ra, found))
        check_no_theft(db, found.user_id)
        return found

    return await ra.database.read(work)


def _over(db: Transaction, ra: RegistrationAuthority, enrollment: Enrollment) -> bool:
    """Refusal("clock_in_doubt") where nothing but a clock in doubt says so."""
    # A certificate whose key is wiped (window, first login, reissue) cannot be picked up again.
    wiped = enrollment.state in LIVE and enrollment.sealed_key is None
    if enrollment.state in ENDED or wiped or window.is_lost(ra, enrollment):
        return True
    if overdue(enrollment, ra.now()):
        timekeeping.check(ra, db)
        return True
    return False


def _refuse(db: Transaction, ra: RegistrationAuthority, user_id: str, address: str) -> None:
    # What is no user's ID may be a password that was typed into the wrong field.
    known = user_id if store.user(db, user_id) is not None else ""
    store.audit(db, ra.now(), f"address:{address}", "pickup.refused", known)


def _admit(
    db: Transaction, ra: RegistrationAuthority, request_id: str, attempt: throttle.Attempt, address: str
) -> Enrollment | Refusal:
    """The refusal, with its line in the audit trail, when the request has ended."""
    at = ra.now()
    throttle.succeeded(db, attempt)
    found = store.enrollment(db, request_id)
    if found is None or _over(db, ra, found):
        store.audit(db, at, f"address:{address}", "pickup.too_late", request_id)
        reason = window.why_over(ra, found) if found is not None else ""
        return Refusal("not_available", detail="the request has ended", reason=reason)
    # The letter may be on the PC that was stolen.
    check_no_theft(db, found.user_id)
    store.audit(db, at, f"address:{address}", "pickup.authenticated", request_id)
    if found.state in WAITING:
        return apply(db, ra, request_id, Event.AUTHENTICATE, at, actor=found.user_id)
    return found
