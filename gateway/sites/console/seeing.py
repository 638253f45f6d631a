"""What somebody sees now: the page that they would get, in its own words, with its one next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ca.store
from ca.revocation import RevocationStatus
from ca.storage import Transaction
from ca.store import CertificateRecord
from ca.trust import CertificateState, Rejection
from enroll import throttle
from enroll.jst import days_left
from enroll.ra import RegistrationAuthority
from enroll.requests import renewal
from enroll.requests.enrollment import Enrollment, state_at
from enroll.requests.renewal import Following
from enroll.requests.states import LABELS, UNFINISHED, WAITING, State
from gateway.sites.connectivity import findings
from gateway.web import pages
from gateway.web.context import Gate, Role
from gateway.web.words import BY_THE_MAIL, REFUSALS, Text

#: Of a request whose mail has not left yet.
_NOT_SENT: Text = (
    "「クライアント証明書取得に関するご案内」のメールは、まだ送信されていません。",
    "The pick-up email has not been sent yet.",
)
_NOTHING: Text = ("お手続きはありません", "Nothing is under way")
_APPLY: Text = (
    "クライアント証明書の再発行を申請してください（オンライン操作マニュアル第3章、または再発行申請書をご参照ください）。",
    "Please apply for a reissue of the certificate (online, or with the paper form).",
)
# No counter of an address is asked for.
_ANYWHERE = "0.0.0.0"  # noqa: S104  # nothing is bound to it
_PICK_UP: Text = ("証明書の取得待ちです", "A certificate waits to be picked up")


@dataclass(frozen=True)
class Held:
    """The certificate that somebody would present: as issued, as it is now, and what follows."""

    enrollment: Enrollment
    record: CertificateRecord
    status: RevocationStatus
    following: Following
    #: Until when no login is taken with it, after too many wrong passwords; 0 if one is.
    locked_until: int


@dataclass(frozen=True)
class Seen:
    """A page: on which site, its heading, what it says, the one next step; ``tone`` of its chip."""

    site: Role
    title: Text
    text: Text
    step: Text
    tone: str
    #: When it may be tried again, where that is told.
    again_at: int = 0


def held(
    db: Transaction, ra: RegistrationAuthority, mine: Sequence[Enrollment], preferred: Enrollment | None
) -> Held | None:
    """The certificate on somebody's PC: the one that counts, else the newest that was handed over.

    ``mine``: all of the person's, newest first.
    """
    there = [each for each in mine if each.serial and (each.picked_up_at or each.used_at)]
    chosen = preferred if preferred in there else next(iter(there), None)
    if chosen is None:
        return None
    record = ca.store.find_by_serial(db, chosen.serial or "")
    if record is None or record.fingerprint is None:
        return None
    status = ca.store.certificate_status(db, record.fingerprint)
    # As a login counts it (`login.authenticate`), from whatever address.
    locked = throttle.until(db, ra, throttle.Attempt("login", record.fingerprint, _ANYWHERE))
    return Held(chosen, record, status, renewal.following(db, ra.now(), chosen), locked)


def waiting(mine: Sequence[Enrollment], at: int) -> Enrollment | None:
    """The request by which somebody picks a certificate up, where one waits for that."""
    return next(
        (
            each
            for each in mine
            if each.kind in ("addition", "reissue")
            and each.door == "page"
            and state_at(each, at) in (WAITING | UNFINISHED)
            and (each.window_ends_at is None or at < each.window_ends_at)
        ),
        None,
    )


async def seen(gate: Gate, active: bool, mine: Sequence[Enrollment], there: Held | None) -> Seen:
    """What the person gets who opens the site that is next for them. ``active``: neither the user nor the
    organisation is disabled."""
    at = gate.now()
    begun = waiting(mine, at)
    if active and begun is not None:
        step = BY_THE_MAIL if begun.state is not State.ACCEPTED else _NOT_SENT
        return Seen(Role.PICKUP, _PICK_UP, LABELS[state_at(begun, at)], step, "warn")
    if there is None:
        return _without(active, mine)
    state = _state(there, at)
    if state is not CertificateState.VALID:
        record = there.record
        presented = Rejection(
            state,
            fingerprint=record.fingerprint,
            serial=record.serial,
            common_name=record.subject_cn,
            not_before_at=record.not_before_at,
            not_after_at=record.not_after_at,
        )
        words = await pages.explained(gate, presented, state)
        return Seen(Role.SERVICE, words.title, words.text, words.next_step, "bad")
    if not active:
        words = REFUSALS["user_disabled"]
        return Seen(Role.SERVICE, words.title, words.text, words.next_step, "bad")
    if there.locked_until > at:
        words = REFUSALS["throttled"]
        told = (words.title, words.text, words.next_step)
        return Seen(Role.SERVICE, *told, "bad", there.locked_until)
    row = findings.of_good(
        days_left(there.record.not_after_at, at),
        gate.ra.settings.renewal_days,
        newer=there.following.newer,
        begun=there.following.begun is not None,
    )
    label = LABELS[state_at(there.enrollment, at)]
    return Seen(Role.CONNECTIVITY, label, row.text, row.step or ("", ""), row.level)


def _without(active: bool, mine: Sequence[Enrollment]) -> Seen:
    """Of somebody who has no certificate in hand."""
    words = REFUSALS["user_disabled" if not active else "not_available"]
    if active and not mine:
        return Seen(Role.PICKUP, _NOTHING, _NOTHING, _APPLY, "plain")
    return Seen(Role.PICKUP, words.title, words.text, words.next_step, "bad")


_STATES = {
    RevocationStatus.GOOD: CertificateState.VALID,
    RevocationStatus.HELD: CertificateState.HELD,
    RevocationStatus.REVOKED: CertificateState.REVOKED,
    RevocationStatus.DISTRUSTED: CertificateState.DISTRUSTED,
}


def _state(there: Held, at: int) -> CertificateState:
    """As a site judges it: what no waiting cures before what time decides (`ca.trust.PRECEDENCE`)."""
    if there.status is RevocationStatus.GOOD and there.record.not_after_at < at:
        return CertificateState.EXPIRED
    return _STATES.get(there.status, CertificateState.UNKNOWN_CERTIFICATE)
