"""Login to the service: the certificate and the password of one and the same user (R21, R51)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import ca.store
from ca.storage import Transaction
from ca.store import CertificateRecord
from enroll import identifiers, store, throttle
from enroll.people import passwords
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.issuance import check_entitled
from enroll.requests.renewal import source_of
from enroll.requests.states import LIVE, Event
from enroll.requests.transitions import apply


@dataclass(frozen=True)
class Login:
    """Who logged in, and what to tell them first."""

    user: store.User
    #: The first login with this certificate: older ones may be deleted from the PC (R49).
    first_use: bool
    #: The login before, and how often the password was wrong since.
    before: store.LastLogin


async def authenticate(
    ra: RegistrationAuthority, fingerprint: str, user_id: str, password: str, *, address: str
) -> Login:
    """Checks certificate and password together.

    Attempts are counted per certificate, which only its holder can present: nobody can lock out
    somebody else. Raises Refusal: "bad_credentials", "throttled", "user_disabled" (told only with the right
    password), "unknown_certificate"; "wrong_user_id" for an ID that is not the certificate's, whatever the
    password and whether or not there is such a user: no guess, so that none is counted.
    """
    source, known = await ra.database.read(
        lambda db: (source_of(db, fingerprint), store.user(db, user_id) is not None)
    )
    if user_id != source.user_id:
        alert = throttle.Attempt("wrong_user_id", fingerprint, address)
        await ra.database.write(lambda db: _remark(db, ra, source.user_id, user_id if known else "", alert))
        raise Refusal("wrong_user_id", field="user_id")
    attempt = throttle.Attempt("login", fingerprint, address)
    await throttle.begin(ra, attempt)
    user = await ra.database.read(lambda db: store.user(db, user_id))
    right = await ra.workers.run_in_thread(
        passwords.verify_password, _meant(user, password), user.password_hash if user else None
    )
    admitted: Login | None = None
    if user is not None and right:
        checked = user
        admitted = await ra.database.write(
            lambda db: _admit(db, ra, checked, source.request_id, attempt, address)
        )
    if admitted is None:
        await ra.database.write(lambda db: _refuse(db, ra, user_id, user_id, address))
        raise Refusal("bad_credentials")
    return admitted


async def locked_until(ra: RegistrationAuthority, fingerprint: str, *, address: str) -> int:
    """Until when nobody can log in with a certificate from an address, as a moment; 0 if one can."""
    attempt = throttle.Attempt("login", fingerprint, address)
    return await ra.database.read(lambda db: throttle.until(db, ra, attempt))


async def confirm(
    ra: RegistrationAuthority, fingerprint: str, user_id: str, password: str, *, address: str
) -> None:
    """Asks somebody who is logged in for the password once more, before what gives power away.

    Counted with the attempts to log in with the same certificate. Raises Refusal: "bad_credentials", whose
    field is "password", and "throttled".
    """
    user = await ra.database.read(lambda db: store.user(db, user_id))
    attempt = throttle.Attempt("login", fingerprint, address)
    await throttle.begin(ra, attempt)
    right = await ra.workers.run_in_thread(
        passwords.verify_password, password, user.password_hash if user else None
    )

    def work(db: Transaction) -> None:
        if right:
            throttle.succeeded(db, attempt)
        else:
            store.audit(db, ra.now(), f"address:{address}", "password.refused", user_id)

    await ra.database.write(work)
    if user is None or not right:
        raise Refusal("bad_credentials", field="password")


async def change_password(
    ra: RegistrationAuthority, user_id: str, current: str, new: str, confirmation: str
) -> store.User:
    """Replaces the login password; the user with the new one.

    Refusal: bad_credentials, weak_password, password_is_user_id, guessable_password, same_password, mismatch.
    """
    user = await ra.database.read(lambda db: store.user(db, user_id))
    if user is None:
        raise Refusal("not_found", field="user_id")
    attempt = throttle.Attempt("change", user_id, user_id)
    await throttle.begin(ra, attempt)
    current = _meant(user, current)
    if not await ra.workers.run_in_thread(passwords.verify_password, current, user.password_hash):
        raise Refusal("bad_credentials", field="current")
    await ra.database.write(lambda db: throttle.succeeded(db, attempt))
    known = (*re.split(r"[^a-z0-9]+", user.mail.partition("@")[0].lower()), user.policy_number)
    problem = await ra.workers.run_in_thread(passwords.login_password_problem, new, user_id, known)
    if problem is not None:
        raise Refusal(problem, field="new")
    if new != confirmation:
        raise Refusal("password_mismatch", field="confirmation")
    if _meant(user, new) == current:
        raise Refusal("same_password", field="new")
    hashed = await ra.workers.run_in_thread(passwords.hash_password, new)

    changed = replace(user, password_hash=hashed, password_initial=False)

    def work(db: Transaction) -> store.User:
        if not store.set_password(db, user_id, user.password_hash, hashed):
            raise Refusal("conflict", field="new")
        store.audit(db, ra.now(), user_id, "password.changed", user_id)
        return changed

    return await ra.database.write(work)


def _meant(user: store.User | None, password: str) -> str:
    """A first password came in a letter, and was typed or pasted from it; a chosen one is what was typed."""
    return identifiers.pasted(password) if user is not None and user.password_initial else password


def certificates_of(db: Transaction, user_id: str) -> list[CertificateRecord]:
    """Every certificate that the user was given, newest first."""
    serials = [e.serial for e in store.enrollments_of(db, user_id) if e.serial is not None]
    found = (ca.store.find_by_serial(db, serial) for serial in serials)
    return [record for record in found if record is not None and record.status != "reserved"]


def _remark(
    db: Transaction, ra: RegistrationAuthority, presented: str, typed: str, alert: throttle.Attempt
) -> None:
    """`_refuse`, as often as somebody may be wrong: whoever goes on says nothing new, and fills no disk."""
    try:
        throttle.claim(db, ra, alert)
    except Refusal:
        return
    _refuse(db, ra, presented, typed, alert.address)


def _refuse(db: Transaction, ra: RegistrationAuthority, presented: str, typed: str, address: str) -> None:
    """``typed``: the user ID if there is such a user; anything else may be a password, and is not kept."""
    action = "login.wrong_user" if typed not in ("", presented) else "login.refused"
    store.audit(db, ra.now(), f"address:{address}", action, presented, typed=typed)


def _admit(
    db: Transaction,
    ra: RegistrationAuthority,
    user: store.User,
    request_id: str,
    attempt: throttle.Attempt,
    address: str,
) -> Login | None:
    """``user``: as the password was checked against. None if it was changed since."""
    at = ra.now()
    check_entitled(db, user.user_id)
    current = store.user(db, user.user_id)
    if current is None or current.password_hash != user.password_hash:
        return None
    throttle.succeeded(db, attempt)
    found = store.enrollment(db, request_id)
    first = found is not None and found.state in LIVE and found.used_at is None
    if first:
        apply(db, ra, request_id, Event.USE, at, actor=user.user_id)
    before = store.last_login(db, user.user_id)
    store.audit(db, at, user.user_id, "login", user.user_id, request=request_id, address=address)
    return Login(current, first, before)
