"""Opening a request: a request ID is drawn, the issue password hashed, the mail queued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ca.storage import Transaction
from enroll import identifiers, store, timekeeping
from enroll.jst import days_before
from enroll.mail import occasions
from enroll.people import passwords
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import profiles
from enroll.requests.enrollment import SUPERSEDED, Enrollment, Kind, RevokeOld, announced_until
from enroll.requests.states import LIVE, WAITING, Event, State
from enroll.requests.transitions import apply, end_predecessors
from enroll.settings import DAY

#: Who opens what nobody asked for by name: a renewal.
_ACTOR = "registration"


@dataclass(frozen=True)
class DrawnPassword:
    """An issue password and its hash, made before the transaction because hashing is slow."""

    issue_password: str
    issue_hash: str


async def draw_issue_password(ra: RegistrationAuthority) -> DrawnPassword:
    """Draws an issue password and hashes it."""
    issue_password = identifiers.new_issue_password()
    return DrawnPassword(issue_password, await ra.workers.run_in_thread(passwords.hash_drawn, issue_password))


def open_request(
    db: Transaction,
    ra: RegistrationAuthority,
    user: store.User,
    organisation: store.Organisation,
    kind: Literal["addition", "reissue"],
    drawn: DrawnPassword,
    *,
    application_id: int,
    actor: str,
    revoke_old: RevokeOld = "never",
    reason: int = SUPERSEDED,
) -> Enrollment:
    """Inside a transaction: a new request ID with its mail; every older one of the user dies (E2).

    Beside certificates that live on (``revoke_old`` "never") their renewals do, too. ``reason``: of
    RFC 5280 section 5.3.1, for what ends at once.
    """
    at = ra.now()
    enrollment = draw_request(
        db,
        ra,
        user,
        kind,
        profile=profiles.of_organisation(ra, organisation),
        door="page",
        actor=actor,
        application_id=application_id,
        password_hash=drawn.issue_hash,
        revoke_old=revoke_old,
        window_ends_at=announced_until(at, ra.settings),
    )
    if kind == "reissue":
        _end_older(db, ra, enrollment, at, actor, reason)
    occasions.pickup_notice(db, ra, user, organisation, enrollment, drawn.issue_password, at)
    return enrollment


def draw_request(
    db: Transaction,
    ra: RegistrationAuthority,
    user: store.User,
    kind: Kind,
    *,
    profile: str,
    door: Literal["page", "protocol"],
    actor: str | None = None,
    application_id: int | None = None,
    password_hash: str | None = None,
    revoke_old: RevokeOld = "never",
    window_ends_at: int | None = None,
    common_name: str | None = None,
    replaces_serial: str | None = None,
    at: int | None = None,
) -> Enrollment:
    """Inside a transaction: records a new enrollment; without ``common_name`` the 管理番号 is raised.

    Refusal("profile_unmet") when the certificate could not say what it has to (a renewal's is looked at when
    it is handed in: here it is only offered), "conflict" when the certificate to replace has its renewal
    already, "limit_reached" when the user has had every 管理番号 that there is, "clock_in_doubt" when its
    times would be made up. ``actor`` None: an order of a program's, whose submission is its first line.
    ``at``: the moment, where the clock was looked at in this transaction; None: now, if that can be believed.
    """
    if at is None:
        timekeeping.check(ra, db)
        at = ra.now()
    if kind != "renewal":
        profiles.naming(db, profiles.known(ra, profile), user.user_id)
    name = common_name or _next_name(db, user.user_id)
    while True:
        enrollment = Enrollment(
            request_id=identifiers.new_request_id(),
            kind=kind,
            user_id=user.user_id,
            state=State.ACCEPTED,
            common_name=name,
            profile=profile,
            door=door,
            created_at=at,
            application_id=application_id,
            password_hash=password_hash,
            replaces_serial=replaces_serial,
            revoke_old=revoke_old,
            window_ends_at=window_ends_at,
        )
        if store.add_enrollment(db, enrollment):
            if actor is not None:
                told = {"user": user.user_id, "kind": kind}
                store.audit(db, enrollment.created_at, actor, "request.opened", enrollment.request_id, **told)
            return enrollment
        if kind == "renewal" and store.renewal_of(db, replaces_serial or "") is not None:
            raise Refusal("conflict", detail="the certificate has its renewal already")


def open_renewal(
    db: Transaction, ra: RegistrationAuthority, source: Enrollment, *, door: Literal["page", "protocol"]
) -> Enrollment:
    """Inside a transaction: the one renewal of a certificate, made the first time it is asked for.

    The common name is kept (D4); the request waits until the certificate to renew ends (D8). Whether
    the renewal period has begun is the caller's question (``renewable_from``).
    """
    if source.serial is None or source.not_after_at is None:
        raise Refusal("not_available", detail="there is no certificate to renew")
    found = store.renewal_of(db, source.serial)
    if found is not None:
        return found
    user = store.user(db, source.user_id)
    if user is None:
        raise LookupError(source.user_id)
    return draw_request(
        db,
        ra,
        user,
        "renewal",
        profile=profiles.of_renewal(db, ra, source),
        door=door,
        actor=_ACTOR if door == "page" else None,
        common_name=source.common_name,
        replaces_serial=source.serial,
        window_ends_at=renewable_until(source.not_after_at, ra) + 1,
    )


def renewable_from(not_after_at: int, ra: RegistrationAuthority) -> int:
    """The first second of the renewal period: midnight in Japan on D-30."""
    return days_before(not_after_at, ra.settings.renewal_days)


def renewable_before(at: int, ra: RegistrationAuthority) -> int:
    """Whatever ends before this is in its renewal period at a moment (`renewable_from`), or past it."""
    return days_before(at, -ra.settings.renewal_days - 1)


def renewable_until(not_after_at: int, ra: RegistrationAuthority) -> int:
    """The last second of the renewal period: the certificate's own, plus the grace that is off (D8).

    The last second belongs to the certificate's period (RFC 5280 section 4.1.2.5).
    """
    return not_after_at + ra.settings.grace_days * DAY


def _next_name(db: Transaction, user_id: str) -> str:
    number = store.next_number(db, user_id)
    if number > identifiers.LAST_NUMBER:
        detail = f"user {user_id} has had {identifiers.LAST_NUMBER} numbers; give this person another user ID"
        raise Refusal("limit_reached", field="user_id", detail=detail)
    return identifiers.common_name(user_id, number)


def _end_older(
    db: Transaction, ra: RegistrationAuthority, newest: Enrollment, at: int, actor: str, reason: int
) -> None:
    """E2, E3: request IDs and issue passwords die at once; certificates as ``revoke_old`` says."""
    if newest.revoke_old == "at_once":
        # First: what was issued and not fetched yet ends for this reason, too.
        end_predecessors(db, ra, newest.user_id, newest.request_id, at, actor=actor, reason=reason)
    for older in store.living_enrollments_of(db, newest.user_id, timekeeping.surely_passed(ra, db)):
        if older.request_id == newest.request_id:
            continue
        beside = older.kind in ("renewal", "protocol")
        if beside and newest.revoke_old == "never":
            # What it renews is on another PC, or a program's, and there is one renewal of it only (E10).
            continue
        if beside and newest.revoke_old == "on_pickup" and older.state in WAITING:
            # What it renews, and the program's credential, work on until the new certificate is picked up.
            continue
        if older.state in WAITING or older.state in (State.PROCESSING, State.ISSUED):
            apply(db, ra, older.request_id, Event.SUPERSEDE, at, actor=actor)
        elif older.state in LIVE:
            # In hand: the certificate works on until the new one is picked up, the key is wiped now.
            apply(db, ra, older.request_id, Event.CLOSE, at, actor=actor)
