"""From Submit to Download: the only path on which a certificate of a user comes into being.

Two short transactions, whoever asks: the serial is recorded, with what is to be signed, and the state
証明書生成中; the certificate is signed outside; then it is stored with the state 発行済み. A crash between
any two is finished by ``recover``; a second Submit finds the first one's work.

Nobody is given a certificate that is not stored, so it does not matter that a signature is another one each
time: of several that were made of one reservation the first that is stored is everybody's, and nobody has
seen the others. Under one serial nothing else is ever signed than what was recorded with it.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import ca.store
from ca import cross
from ca.epochs import LostKey, Place
from ca.errors import Unacceptable
from ca.keys import spki_of_own
from ca.pkcs12 import ENTROPY_BYTES, MAX_PASSWORD, assemble
from ca.profiles import OPERATORS
from ca.signing import NoSignature, SignatureRefused
from ca.storage import Transaction
from ca.store import CertificateRecord, Reservation
from enroll import store, timekeeping
from enroll.jst import shown_day
from enroll.ra import RegistrationAuthority, token_hash
from enroll.refusals import Refusal
from enroll.requests import planning, profiles, succession, window
from enroll.requests.enrollment import (
    CESSATION,
    KEY_COMPROMISE,
    PRIVILEGE_WITHDRAWN,
    SUPERSEDED,
    Enrollment,
    advance,
    fetchable,
    overdue,
)
from enroll.requests.states import ENDED, WAITING, Event, State
from enroll.requests.store import FILE, KEY
from enroll.requests.transitions import end_certificate, hold_certificate, perform, record

log = logging.getLogger("sekisho.issuance")

Format = Literal["standard", "compatible"]

_P12_PASSWORD = re.compile(r"[0-9A-Za-z]+")
_SIGNER = "issuance"
# Why a certificate is revoked as soon as it is there, by how its request ended meanwhile.
_ENDED_BY = {State.SUPERSEDED: SUPERSEDED, State.REVOKED: KEY_COMPROMISE}


@dataclass(frozen=True)
class Download:
    """What the Download button sends."""

    filename: str
    content: bytes


class Begun(NamedTuple):
    """A request in 証明書生成中, and what is recorded to be signed for it."""

    enrollment: Enrollment
    reservation: Reservation


async def submit(ra: RegistrationAuthority, request_id: str, *, actor: str) -> Enrollment:
    """Begins issuance for a person: the server makes and seals the key (D1, mode ``server``).

    Returns the enrollment in 証明書生成中 or later, whoever began it. Raises Refusal when the request
    has ended, its window is over, or the user may not enroll.
    """

    def asked(db: Transaction) -> tuple[Enrollment, tuple[str, ...], Sequence[str]]:
        found = _reread(db, request_id)
        if found.state not in WAITING:
            return _continuing(db, ra, found), (), ()
        profile = profiles.known(ra, profiles.of_submission(db, ra, found))
        profiles.naming(db, profile, found.user_id)
        return found, _names_renewed(db, found), profile.key_kinds

    enrollment, names, kinds = await ra.database.read(asked)
    if enrollment.state not in WAITING:
        return enrollment
    key = await ra.keys.take(kinds)
    public = spki_of_own(key)
    return await ra.database.write(lambda db: begin(db, ra, request_id, public, names, actor=actor, key=key))


def begin(
    db: Transaction,
    ra: RegistrationAuthority,
    request_id: str,
    spki_der: bytes,
    names: tuple[str, ...],
    *,
    actor: str,
    key: bytes | None = None,
) -> Enrollment:
    """Inside a transaction: records the serial, and the key sealed, and moves to 証明書生成中, once.

    Of several racers the first one's key counts; the others get the enrollment as it is.
    """
    before = store.enrollment(db, request_id)
    if before is None:
        raise Refusal("not_found", field="request_id")
    check_entitled(db, before.user_id)
    if before.state not in WAITING:
        return _continuing(db, ra, before)
    by_another = before.kind == "renewal" and succession.on_a_page(db, before)
    sealed = None if key is None else ra.epochs.seal(db, KEY, request_id, key)
    to = replace(before, door="page", sealed_key=sealed, by_another=int(by_another))
    to = replace(to, profile=profiles.of_submission(db, ra, before))
    try:
        return _reserve(db, ra, before, to, spki_der, names, actor).enrollment
    except Unacceptable as error:  # the profile has become another one since the key was made
        raise Refusal("profile_unmet", detail=str(error)) from None


def begin_for_client(
    db: Transaction,
    ra: RegistrationAuthority,
    before: Enrollment,
    spki_der: bytes,
    names: tuple[str, ...],
    profile: str,
    *,
    actor: str,
    by_another: bool = False,
    user: store.User | None = None,
) -> Begun:
    """Inside a transaction: the same for a client that holds its key, of a request that waits. ``profile``:
    that of its order.

    ``by_another``: it follows a certificate that somebody else holds, who is told (``succession``).
    ``before`` was read in this transaction, and so was ``user``, whose it is, found to be in force; None:
    that is still to be asked.
    """
    if user is None or user.user_id != before.user_id:
        check_entitled(db, before.user_id)
    to = replace(before, door="protocol", by_another=int(by_another), profile=profile)
    return _reserve(db, ra, before, to, spki_der, names, actor)


async def complete(
    ra: RegistrationAuthority, request_id: str, reservation: Reservation | None = None
) -> Enrollment:
    """Has signed what ``begin`` recorded, and stores it; returns the enrollment as it then is.

    ``reservation``: what was recorded just now, by a transaction that is on disk and looked at the
    clock; None where it has to be looked up.

    Raises Refusal("clock_in_doubt"): its window would begin at a moment that is none; and
    Refusal("issuing_later") when there is no signature now. Nothing is lost by either.
    """

    def begun(db: Transaction) -> tuple[Enrollment, Reservation | None]:
        found = _reread(db, request_id)
        if found.state is not State.PROCESSING or found.serial is None:
            return found, None
        timekeeping.check(ra, db)
        reservation = ca.store.find_reservation(db, found.serial)
        if reservation is None:
            raise LookupError(f"no reservation for serial {found.serial}")
        return found, reservation

    if reservation is None:
        found, reservation = await ra.database.read(begun)
        if reservation is None:
            return found
    try:
        to_sign = await planning.up_to_date(ra, reservation)
        der = await ra.authority.certify(to_sign)
    except NoSignature as failed:
        log.error("request %s is not signed: %s", request_id, failed)
        raise Refusal("issuing_later") from failed
    return await ra.database.write(lambda db: finish(db, ra, to_sign, der))


def finish(db: Transaction, ra: RegistrationAuthority, reservation: Reservation, der: bytes) -> Enrollment:
    """Inside a transaction: stores the certificate and moves to 発行済み, once.

    A client that holds its key has got its certificate by that. When the request ended while it was being
    signed, the certificate is stored and revoked at once; when a theft was reported it is stored and held.
    """
    at = ra.now()
    request_id = reservation.order_id or ""
    found = store.enrollment_with_user(db, request_id)
    if found is None:
        raise LookupError(f"no enrollment for order {request_id}")
    before, user = found
    if not ca.store.store_issued(db, reservation.serial, der, at):
        return before
    _note(db, before, reservation)
    store.audit(
        *(db, at, _SIGNER, "certificate.issued", reservation.serial),
        request_id=request_id,
        profile=reservation.profile,
        version=reservation.version,
    )
    active = user is not None
    # A statement of its own, after the user is held: a report that came in between is seen.
    theft = active and store.theft_reported(db, before.user_id)
    if before.state in ENDED or not active:
        reason = _ENDED_BY.get(before.state, CESSATION) if active else PRIVILEGE_WITHDRAWN
        end_certificate(db, ra, reservation.serial, reason, at, actor=_SIGNER)
        return _reread(db, request_id)
    after, effects = advance(before, Event.ISSUE, at, ra.settings)
    if before.door == "protocol":
        after, more = advance(after, Event.DOWNLOAD, at, ra.settings)
        effects += more
    # There is nothing to fetch after the certificate's own end.
    window = min(after.window_ends_at or at, reservation.not_after_at + 1)
    after = replace(after, not_after_at=reservation.not_after_at, window_ends_at=window)
    record(db, before, after, Event.ISSUE, at, _SIGNER)
    perform(db, ra, effects, at, _SIGNER)
    succession.tell(db, ra, after, at, actor=_SIGNER)
    if theft:
        hold_certificate(db, reservation.serial, at, actor=_SIGNER)
    return after


def _note(db: Transaction, issued: Enrollment, reservation: Reservation) -> None:
    """What a database that has forgotten the request is told of it (`enroll/replaying.py`)."""
    facts = {name: getattr(issued, name) for name in NOTED}
    db.note("enrolled", **facts, serial=reservation.serial, not_after_at=reservation.not_after_at)


#: What the journal keeps of a request that led to a certificate.
NOTED = (
    "request_id", "kind", "user_id", "common_name", "profile", "door", "created_at", "replaces_serial",
    "revoke_old",
)  # fmt: skip


async def recover(ra: RegistrationAuthority, before_at: int | None = None) -> int:
    """Finishes what a crash left between the serial and the certificate; returns how many.

    What cannot be signed now stays for the next time. What was an operator's is given up: its key went with
    whoever asked for it.
    """
    done = 0
    for left in await ra.database.read(lambda db: ca.store.reserved_unsigned(db, before_at)):
        reservation = left
        if left.profile in OPERATORS:
            await ra.database.write(lambda db, r=left: _give_up(db, ra, r))  # type: ignore[misc]
            continue
        try:
            reservation = await planning.up_to_date(ra, left)
            der = await ra.authority.certify(reservation)
        except SignatureRefused as refused:
            log.error("request %s is not signed: %s", reservation.order_id, refused)
            continue
        except NoSignature as failed:
            log.warning("certificates that were begun are not signed now: %s", failed)
            break
        await ra.database.write(lambda db, r=reservation, d=der: finish(db, ra, r, d))  # type: ignore[misc]
        done += 1
    return done


def _give_up(db: Transaction, ra: RegistrationAuthority, left: Reservation) -> None:
    if ca.store.withdraw(db, left.serial):
        store.audit(db, ra.now(), _SIGNER, "certificate.given-up", left.serial, profile=left.profile)


async def is_processing(ra: RegistrationAuthority, request_id: str) -> bool:
    """Whether a request still waits for its signature."""
    found = await ra.database.read(lambda db: _reread(db, request_id))
    return found.state is State.PROCESSING


def p12_password_problem(password: str, confirmation: str) -> Refusal | None:
    """R28: half-width letters and digits, at least one, the same twice."""
    if password == "":
        return Refusal("password_empty", field="password")
    if _P12_PASSWORD.fullmatch(password) is None:
        return Refusal("password_characters", field="password")
    if len(password) > MAX_PASSWORD:
        return Refusal("password_too_long", field="password")
    if password != confirmation:
        return Refusal("password_mismatch", field="confirmation")
    return None


async def prepare_download(
    ra: RegistrationAuthority,
    request_id: str,
    password: str,
    form: Format,
    *,
    actor: str,
    beside: Callable[[Transaction, str], None] = lambda _db, _token: None,
) -> str:
    """Builds the PKCS#12 under the chosen password and returns the token of its Download button.
    ``beside``: keeps the token in the same transaction.

    The file waits sealed for ``ticket_seconds``. Raises Refusal("not_available") when the window has
    closed, the downloads are used up or the key is gone (Z4).
    """
    at = ra.now()
    enrollment, certificate, sealed, der = await ra.database.read(lambda db: _to_pack(db, ra, request_id, at))
    key = _opened(ra, KEY, request_id, sealed)
    leaf, *chain = ra.authority.chain_der(der)
    chain += cross.chosen(ra.authority.crosses, ra.settings.cross_certificates, at)
    # Portable in every reader: ASCII, the common name and the last day.
    friendly = f"CPBS {enrollment.common_name} {shown_day(certificate.not_after_at)}"
    content = await ra.workers.run(
        assemble, key, leaf, chain, password, form, friendly, os.urandom(ENTROPY_BYTES)
    )
    token = secrets.token_urlsafe(32)
    hashed = token_hash(token)

    def work(db: Transaction) -> None:
        check_no_theft(db, enrollment.user_id)
        # The key may have been wiped while the file was built: then nothing of it is kept either (E1).
        now = _reread(db, request_id)
        if not window.is_open(ra, now):
            timekeeping.check(ra, db)
            raise _over(now, ra, "the pick-up window has closed meanwhile")
        # Only the newest password counts: the earlier button stops working.
        store.drop_tickets(db, request_id)
        ticket = store.Ticket(
            token_hash=hashed,
            request_id=request_id,
            # With its last day, so that a renewed file is not taken for the one before it.
            filename=f"{enrollment.common_name}_{shown_day(certificate.not_after_at).replace('.', '')}.p12",
            sealed_p12=ra.epochs.seal(db, FILE, hashed, content),
            created_at=at,
            expires_at=at + ra.settings.ticket_seconds,
        )
        store.add_ticket(db, ticket)
        store.audit(db, at, actor, "p12.built", request_id, format=form)
        beside(db, token)

    await ra.database.write(work)
    return token


async def download(ra: RegistrationAuthority, token: str, request_id: str, *, actor: str) -> Download:
    """Hands over a built PKCS#12. Fetching the same one again within its time does not count twice."""
    hashed = token_hash(token)
    ticket = await ra.database.write(lambda db: _fetch(db, ra, hashed, request_id, actor))
    return Download(ticket.filename, _opened(ra, FILE, hashed, ticket.sealed_p12))


def _opened(ra: RegistrationAuthority, place: Place, record: str, sealed: bytes) -> bytes:
    try:
        return ra.epochs.open(place, record, sealed)
    except LostKey as lost:
        raise Refusal("not_available", detail=f"the key is lost of {lost}", reason=window.LOST) from None


def check_entitled(db: Transaction, user_id: str) -> None:
    """Whether the user may enroll and use what was issued. Refusal: "user_disabled" unless the user and the
    organisation are active, "theft_reported" while that waits for a decision."""
    user, theft = store.user_in_force(db, user_id)
    if user is None:
        raise Refusal("user_disabled")
    if theft:
        raise Refusal("theft_reported")


def check_no_theft(db: Transaction, user_id: str) -> None:
    """Raises Refusal("theft_reported") while a report of theft waits for a decision."""
    if store.theft_reported(db, user_id):
        raise Refusal("theft_reported")


def check_active(db: Transaction, user_id: str) -> None:
    """Raises Refusal("user_disabled") unless the user and the organisation are active."""
    if not entitled(db, user_id):
        raise Refusal("user_disabled")


def entitled(db: Transaction, user_id: str) -> bool:
    """Whether the user and the organisation exist and are active."""
    return store.active_user(db, user_id) is not None


def _to_pack(
    db: Transaction, ra: RegistrationAuthority, request_id: str, at: int
) -> tuple[Enrollment, CertificateRecord, bytes, bytes]:
    """What a file is made of: the request, its certificate, the sealed key, the certificate's DER."""
    enrollment = _reread(db, request_id)
    check_no_theft(db, enrollment.user_id)
    if enrollment.sealed_key is None or enrollment.serial is None:
        raise _over(enrollment, ra, "no key is held for this request")
    if not window.is_open(ra, enrollment) or not entitled(db, enrollment.user_id):
        timekeeping.check(ra, db)
        raise _over(enrollment, ra, "the pick-up window is over or the downloads are used up")
    certificate = ca.store.find_by_serial(db, enrollment.serial)
    if certificate is None or certificate.der is None or certificate.status != "issued":
        raise Refusal("not_available", detail="the certificate is not valid any more")
    return enrollment, certificate, enrollment.sealed_key, certificate.der


def _fetch(
    db: Transaction, ra: RegistrationAuthority, hashed: str, request_id: str, actor: str
) -> store.Ticket:
    at = ra.now()
    ticket = store.ticket(db, hashed)
    if ticket is not None and at >= ticket.expires_at:
        timekeeping.check(ra, db)
    if ticket is None or ticket.request_id != request_id or at >= ticket.expires_at:
        raise Refusal("not_available", detail="the Download button has expired")
    user_id = _reread(db, request_id).user_id
    if not entitled(db, user_id):
        raise Refusal("not_available", detail="the user or the organisation was disabled meanwhile")
    check_no_theft(db, user_id)
    if store.mark_fetched(db, hashed, at):
        before = _reread(db, request_id)
        if not fetchable(before, at, ra.settings):
            timekeeping.check(ra, db)
            raise _over(before, ra, "the pick-up window is over")
        after, effects = advance(before, Event.DOWNLOAD, at, ra.settings)
        after = replace(after, downloads=before.downloads + 1)
        if after.downloads >= ra.settings.window_downloads:
            # D2: the last one closes the window, and the key goes with it; not before this button's time
            # is over, in which a browser may fetch the file again (E20).
            after = replace(after, window_ends_at=min(after.window_ends_at or at, ticket.expires_at))
        record(db, before, after, Event.DOWNLOAD, at, actor)
        perform(db, ra, effects, at, actor)
    return ticket


def _continuing(db: Transaction, ra: RegistrationAuthority, enrollment: Enrollment) -> Enrollment:
    """What a later Submit gets: the work of the first, as long as there is something to get."""
    if enrollment.state in ENDED:
        raise _over(enrollment, ra, f"the request is {enrollment.state}")
    if enrollment.state is not State.PROCESSING and not window.is_open(ra, enrollment):
        timekeeping.check(ra, db)
        raise _over(enrollment, ra, "the pick-up window is over or the downloads are used up")
    return enrollment


def _over(enrollment: Enrollment, ra: RegistrationAuthority, detail: str) -> Refusal:
    """The refusal of a file that is to be had no more."""
    return Refusal("not_available", detail=detail, reason=window.why_over(ra, enrollment))


def _names_renewed(db: Transaction, enrollment: Enrollment) -> tuple[str, ...]:
    """The dNSNames of the certificate to renew: one that came by the protocol keeps them on a page too."""
    if enrollment.replaces_serial is None or enrollment.kind != "renewal":
        return ()
    source = ca.store.find_reservation(db, enrollment.replaces_serial)
    return source.names if source is not None else ()


def _check_submittable(db: Transaction, ra: RegistrationAuthority, waiting: Enrollment, at: int) -> None:
    # A certificate is dated by this clock for years, and ends the one before it: no way back from either.
    timekeeping.check(ra, db)
    if overdue(waiting, at):
        raise _over(waiting, ra, "the pick-up window is over")
    if waiting.kind == "renewal":
        _check_renewal_source(db, waiting)


def _reserve(
    db: Transaction,
    ra: RegistrationAuthority,
    before: Enrollment,
    to: Enrollment,
    spki_der: bytes,
    names: tuple[str, ...],
    actor: str,
) -> Begun:
    """``to``: ``before`` with whatever was handed in."""
    at = ra.now()
    _check_submittable(db, ra, before, at)
    after, effects = advance(to, Event.SUBMIT, at, ra.settings)
    reservation = planning.planned(db, ra, to, spki_der, names, at)
    ca.store.reserve(db, reservation)
    after = replace(after, serial=reservation.serial)
    record(db, before, after, Event.SUBMIT, at, actor)
    perform(db, ra, effects, at, actor)
    return Begun(after, reservation)


def _check_renewal_source(db: Transaction, renewal: Enrollment) -> None:
    source = ca.store.find_by_serial(db, renewal.replaces_serial or "")
    if source is None or source.status != "issued":
        raise Refusal("not_available", detail="the certificate to renew is revoked")


def _reread(db: Transaction, request_id: str) -> Enrollment:
    found = store.enrollment(db, request_id)
    if found is None:
        raise Refusal("not_found", field="request_id")
    return found
