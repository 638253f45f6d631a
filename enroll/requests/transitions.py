"""Performs what the state machine decided, inside the caller's transaction."""

from __future__ import annotations

import ca.store
from ca.revocation import REASONS
from ca.storage import Transaction
from enroll import store, timekeeping
from enroll.mail import store as mail_store
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import SUPERSEDED, Effect, EndPredecessors, Enrollment, WipeKey, advance
from enroll.requests.states import ENDED, LIVE, Event, State


def apply(
    db: Transaction, ra: RegistrationAuthority, request_id: str, event: Event, at: int, *, actor: str
) -> Enrollment:
    """Moves the enrollment by one event and performs the effects; returns it as it is now.

    Raises Refusal("not_found") for an unknown request ID and Refusal("not_available") where the state
    table has no way. Nothing is written when the event changes nothing.
    """
    before = store.enrollment(db, request_id)
    if before is None:
        raise Refusal("not_found", field="request_id")
    after, effects = advance(before, event, at, ra.settings)
    if after != before:
        record(db, before, after, event, at, actor)
    perform(db, ra, effects, at, actor)
    if after.state in ENDED:
        mail_store.cancel_of_request(db, request_id)
    return after


def record(db: Transaction, before: Enrollment, after: Enrollment, event: Event, at: int, actor: str) -> None:
    """Stores a changed enrollment (compare-and-set) with its line in the audit trail."""
    if not store.change_enrollment(db, before, after):
        raise Refusal("conflict", detail=f"request {before.request_id} was changed by somebody else")
    store.audit(
        db,
        at,
        actor,
        f"enrollment.{event}",
        before.request_id,
        user=before.user_id,
        before=before.state,
        after=after.state,
    )


def perform(
    db: Transaction, ra: RegistrationAuthority, effects: tuple[Effect, ...], at: int, actor: str
) -> None:
    """Carries out effects: keys are wiped (the column is NULL already), certificates revoked."""
    for effect in effects:
        if isinstance(effect, WipeKey):
            store.drop_tickets(db, effect.request_id)
            store.audit(db, at, actor, "key.wiped", effect.request_id)
        elif isinstance(effect, EndPredecessors):
            end_predecessors(db, ra, effect.user_id, effect.request_id, at, actor=actor)
        else:
            end_certificate(db, ra, effect.serial, effect.reason, at, actor=actor)


def end_predecessors(
    db: Transaction,
    ra: RegistrationAuthority,
    user_id: str,
    request_id: str,
    at: int,
    *,
    actor: str,
    reason: int = SUPERSEDED,
) -> None:
    """Revokes every other live certificate of the user, whichever door it came through.

    What the user's programs were given to enroll with ends too: it would bring the identity back.
    """
    store.end_generation(db, user_id, at)
    for other in store.living_enrollments_of(db, user_id, timekeeping.surely_passed(ra, db)):
        if other.request_id == request_id:
            continue
        if other.state in LIVE and other.serial is not None:
            event = _event_of(reason)
            end_certificate(db, ra, other.serial, reason, at, actor=actor, event=event)
        elif other.state is State.PROCESSING:
            # A renewal that is being signed: its certificate will be stored and revoked at once.
            apply(db, ra, other.request_id, _event_of(reason), at, actor=actor)


def end_certificate(
    db: Transaction,
    ra: RegistrationAuthority,
    serial: str,
    reason: int,
    at: int,
    *,
    actor: str,
    event: Event = Event.REVOKE,
) -> bool:
    """Revokes a certificate and ends the enrollment it came from; False when it was revoked already.

    ``event``: what ended it. A client or an operator may give any reason: only we know of a reissue.
    """
    if not ca.store.revoke(db, serial, reason, at):
        return False
    store.audit(db, at, actor, "certificate.revoked", serial, reason=REASONS[reason].name)
    origin = store.enrollment_of(db, serial)
    if origin is not None and origin.state not in ENDED:
        apply(db, ra, origin.request_id, event, at, actor=actor)
    return True


def hold_certificate(db: Transaction, serial: str, at: int, *, actor: str, reason: str = "") -> bool:
    """Stops a certificate until somebody decides; its enrollment stays as it is. False if it was not good.
    ``reason``: in somebody's words, where there are any."""
    done = ca.store.hold(db, serial, at)
    if done:
        store.audit(db, at, actor, "certificate.held", serial, **({"reason": reason} if reason else {}))
    return done


def hold_all(db: Transaction, ra: RegistrationAuthority, user_id: str, at: int, *, actor: str) -> int:
    """Stops every certificate of a user, whichever door it came through, until somebody decides. Returns
    how many."""
    living = store.living_enrollments_of(db, user_id, timekeeping.surely_passed(ra, db))
    serials = [each.serial for each in living if each.state in LIVE and each.serial is not None]
    return sum(hold_certificate(db, serial, at, actor=actor) for serial in serials)


def release_all(db: Transaction, user_id: str, at: int, *, actor: str, since: int = 0) -> int:
    """Takes back what `hold_all` did: what has not ended meanwhile is as before. ``since``: what was held
    before that moment stays so, for another reason. Returns how many."""
    released = 0
    for serial in ca.store.held(db):
        origin, record = store.enrollment_of(db, serial), ca.store.find_by_serial(db, serial)
        if origin is None or origin.user_id != user_id or record is None or (record.held_at or 0) < since:
            continue
        released += release_certificate(db, serial, at, actor=actor)
    return released


def release_certificate(db: Transaction, serial: str, at: int, *, actor: str) -> bool:
    """Takes the hold of one certificate back: it is as before. False if it was not held."""
    done = ca.store.release(db, serial)
    if done:
        store.audit(db, at, actor, "certificate.released", serial)
    return done


def _event_of(reason: int) -> Event:
    return Event.SUPERSEDE if reason == SUPERSEDED else Event.REVOKE
