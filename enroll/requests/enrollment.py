"""What happens to an enrollment: (enrollment, event, facts) -> (enrollment, effects), without I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from enroll.refusals import Refusal
from enroll.requests.states import ENDED, FETCHABLE, LIVE, Event, State, next_state
from enroll.settings import DAY, Settings

Kind = Literal["addition", "reissue", "renewal", "protocol"]
Door = Literal["page", "protocol"]
RevokeOld = Literal["on_pickup", "at_once", "never"]


@dataclass(frozen=True)
class Enrollment:
    """A request ID and what became of it. Times are seconds since the epoch.

    ``door``: the one that it was made at, then the one that it was submitted at. ``by_another``: whoever
    submitted it is another than the holder of the certificate ``replaces_serial`` (``succession``).
    """

    request_id: str
    kind: Kind
    user_id: str
    state: State
    common_name: str
    profile: str
    door: Door
    created_at: int
    application_id: int | None = None
    password_hash: str | None = None
    replaces_serial: str | None = None
    by_another: int = 0
    revoke_old: RevokeOld = "never"
    serial: str | None = None
    not_after_at: int | None = None
    sealed_key: bytes | None = None
    downloads: int = 0
    announced_at: int | None = None
    opened_at: int | None = None
    submitted_at: int | None = None
    issued_at: int | None = None
    picked_up_at: int | None = None
    used_at: int | None = None
    ended_at: int | None = None
    window_ends_at: int | None = None


@dataclass(frozen=True)
class RevokeCertificate:
    """Effect: this certificate ends. ``reason`` is a CRLReason of RFC 5280 section 5.3.1."""

    serial: str
    reason: int


@dataclass(frozen=True)
class WipeKey:
    """Effect: the sealed private key and every built PKCS#12 of this request ID are erased."""

    request_id: str


#: CRLReasons that our own rules give (RFC 5280 section 5.3.1).
UNSPECIFIED, KEY_COMPROMISE, SUPERSEDED, CESSATION, PRIVILEGE_WITHDRAWN = 0, 1, 4, 5, 9


@dataclass(frozen=True)
class EndPredecessors:
    """Effect: every other live certificate of the user ends, because this reissue takes their place."""

    user_id: str
    request_id: str


Effect = RevokeCertificate | WipeKey | EndPredecessors

# Which timestamp an event sets, the first time it happens.
_STAMPS: dict[Event, str] = {
    Event.ANNOUNCE: "announced_at",
    Event.SUBMIT: "submitted_at",
    Event.ISSUE: "issued_at",
    Event.DOWNLOAD: "picked_up_at",
    Event.USE: "used_at",
}
# Why the enrollment's own certificate is revoked when this event ends it. REVOKE and REPLACE are not here:
# they come from `transitions.end_certificate`, which has revoked it. WITHDRAW has no certificate to end.
_OWN_END: dict[Event, int] = {
    Event.SUPERSEDE: SUPERSEDED,
    # Never picked up, and its key is wiped now: nobody can use it, so nobody shall seem to.
    Event.CLOSE: CESSATION,
}
_WIPING = frozenset({Event.CLOSE, Event.USE, Event.SUPERSEDE, Event.REPLACE, Event.REVOKE, Event.WITHDRAW})


def advance(
    enrollment: Enrollment, event: Event, at: int, settings: Settings
) -> tuple[Enrollment, tuple[Effect, ...]]:
    """The enrollment after the event, and what the shell must do in the same transaction.

    Raises Refusal("not_available") where the state table has no way: the answer people and clients
    get for a request ID that has ended (Z4).
    """
    following = next_state(enrollment.state, event)
    if following is None:
        raise Refusal("not_available", detail=f"{event} is not possible in state {enrollment.state}")
    changes: dict[str, object] = {"state": following}
    stamp = _STAMPS.get(event)
    if stamp is not None and getattr(enrollment, stamp) is None:
        changes[stamp] = at
    if following in ENDED:
        changes["ended_at"] = at
    if event is Event.ISSUE and enrollment.issued_at is None:
        changes["window_ends_at"] = at + settings.window_seconds
    effects: list[Effect] = []
    if event is Event.DOWNLOAD and enrollment.picked_up_at is None:
        effects += _first_pickup(enrollment)
    if following in ENDED and event in _OWN_END and enrollment.serial is not None:
        effects.append(RevokeCertificate(enrollment.serial, _OWN_END[event]))
    if event in _WIPING and enrollment.sealed_key is not None:
        changes["sealed_key"] = None
        effects.append(WipeKey(enrollment.request_id))
    return replace(enrollment, **changes), tuple(effects)  # type: ignore[arg-type]


def fetchable(enrollment: Enrollment, at: int, settings: Settings) -> bool:
    """Whether a PKCS#12 may still be built: window, downloads and state permitting (E1)."""
    return (
        enrollment.state in FETCHABLE
        and enrollment.sealed_key is not None
        and enrollment.downloads < settings.window_downloads
        and enrollment.window_ends_at is not None
        and at < enrollment.window_ends_at
    )


def why_over(enrollment: Enrollment, settings: Settings) -> str:
    """Why the file of a request that is not ``fetchable`` is to be had no more, for those it belongs to: the
    state it ended in, ``used``, ``downloads``, or ``window``."""
    if enrollment.state in ENDED - {State.CLOSED}:
        return str(enrollment.state)
    if enrollment.used_at is not None:
        return "used"
    return "downloads" if enrollment.downloads >= settings.window_downloads else "window"


def lives(enrollment: Enrollment, at: int) -> bool:
    """Whether its certificate exists and has not ended; the last second still counts (RFC 5280 4.1.2.5)."""
    return enrollment.state in LIVE and enrollment.not_after_at is not None and at <= enrollment.not_after_at


def state_at(enrollment: Enrollment, at: int) -> State:
    """What to say that an enrollment is at a moment: the state that is stored, unless time has ended it.

    Nothing of that is stored, so a clock that was wrong and is right again has changed nothing. Of two ends
    the first is the cause: what expired, and was replaced or revoked afterwards, has expired.
    """
    over = _over(enrollment)
    if over is None or at < over[0]:
        return enrollment.state
    if enrollment.state in ENDED and (enrollment.ended_at or 0) <= over[0]:
        return enrollment.state
    return over[1]


def _over(enrollment: Enrollment) -> tuple[int, State] | None:
    """From when on time alone has ended the enrollment, and as what; None while there is no such date."""
    if enrollment.not_after_at is not None:
        # The last second belongs to the certificate's period (RFC 5280 section 4.1.2.5).
        return enrollment.not_after_at + 1, State.EXPIRED
    if enrollment.submitted_at is not None or enrollment.window_ends_at is None:
        return None
    # A renewal waits until the certificate that it is for has ended.
    ends_as = State.EXPIRED if enrollment.kind == "renewal" else State.CLOSED
    return enrollment.window_ends_at, ends_as


def overdue(enrollment: Enrollment, at: int) -> bool:
    """Whether the period that the enrollment waits in has ended."""
    return enrollment.window_ends_at is not None and at >= enrollment.window_ends_at


def announced_until(at: int, settings: Settings) -> int:
    """Until when a pick-up may be started that is announced now."""
    return at + settings.announced_days * DAY


def _first_pickup(enrollment: Enrollment) -> list[Effect]:
    # D3: a reissue because of a new PC ends the old certificate when the new one is in hand.
    if enrollment.revoke_old == "on_pickup":
        return [EndPredecessors(enrollment.user_id, enrollment.request_id)]
    return []
