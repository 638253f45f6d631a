"""Where a person stands: the steps of the manual's two flows, and what became of the certificate. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from enroll.businessdays import business_day_after
from enroll.jst import days_left, start_of
from enroll.people.replacing import Stopped
from enroll.requests.enrollment import Enrollment, lives, state_at
from enroll.requests.states import LABELS, WAITING, State
from enroll.settings import DAY
from enroll.store import Application

Text = tuple[str, str]
Tone = Literal["good", "warn", "bad", "plain"]

#: Of a certificate that is held.
NO_MORE: Text = ("使用停止（発行者）", "No longer accepted: its issuer")
_INVITED: Text = ("再取得のご案内済", "Invited to get another")
_NOT_INVITED: Text = ("再取得のご案内前", "Not invited yet")
SUSPENDED: Text = ("利用停止中（紛失・盗難の届出）", "Suspended: loss or theft reported")
#: How a notice goes -> days until it arrives, counted from the decision (L70, L71).
_NOTICE_DAYS: Mapping[str, int] = {"mail": 2, "postcard": 7}
_REGISTERED: Text = ("ユーザー登録", "User recorded")
_ID_NOTICE: Text = ("ユーザーIDのお知らせ", "User ID told")
_REISSUED: Text = ("クライアント証明書再発行", "Certificate reissue")
_ANNOUNCED: Text = ("クライアント証明書取得のご案内", "Pick-up email sent")
_PICKED_UP: Text = ("クライアント証明書取得のお手続き", "Certificate picked up")
_LOGGED_IN: Text = ("オンラインサービスへのログイン", "Login to the online service")


@dataclass(frozen=True)
class Step:
    """One box of a flow; ``at`` is None while it is still to come."""

    label: Text
    at: int | None


@dataclass(frozen=True)
class Standing:
    """The certificate of a person in one word: label, colour, and the enrollment it speaks of."""

    label: Text
    tone: Tone
    enrollment: Enrollment | None
    #: Calendar days until the certificate's end; None without a certificate that counts.
    days: int | None
    #: When it ended, where it did (seconds since the epoch).
    ended_at: int | None = None
    #: A newer certificate that was handed over, and with which nobody has logged in yet.
    unused: Enrollment | None = None
    #: Of one whose issuer is trusted no more: what its holder was told, and when.
    told: Text | None = None
    told_at: int | None = None


def steps(
    enrollment: Enrollment, registered_at: int, letters: Sequence[Mapping[str, Any]]
) -> tuple[Step, ...]:
    """The boxes of the flow that the enrollment belongs to (R18), with the moments they were reached.

    ``letters``: the user's, as ``enroll.mail.store.listed`` gives them.
    """
    rest = (
        Step(_ANNOUNCED, enrollment.announced_at),
        Step(_PICKED_UP, enrollment.picked_up_at),
        Step(_LOGGED_IN, enrollment.used_at),
    )
    if enrollment.kind == "addition":
        told = next((letter["sent_at"] for letter in letters if letter["kind"] == "user_id"), None)
        return (Step(_REGISTERED, registered_at), Step(_ID_NOTICE, told), *rest)
    if enrollment.kind == "reissue":
        return (Step(_REISSUED, enrollment.created_at), *rest)
    return ()


def standing(
    enrollments: Sequence[Enrollment],
    at: int,
    warn_days: int,
    *,
    theft: bool = False,
    stopped: Stopped | None = None,
) -> Standing:
    """What to say of a person's enrollments (newest first): the one in use, or why none is.

    ``theft``: one was reported, and is not decided on. ``stopped``: what of them lets nobody in, because its
    issuer is trusted no more.
    """
    gone = stopped.serials if stopped is not None else frozenset()
    living = [e for e in enrollments if lives(e, at)]
    if stopped is not None and stopped.alone and not theft:
        newest_gone = next(e for e in living if e.serial in gone)
        told = _INVITED if stopped.invited or stopped.told_at is not None else _NOT_INVITED
        return Standing(NO_MORE, "bad", newest_gone, None, told=told, told_at=stopped.told_at)
    living = [e for e in living if e.serial not in gone]
    newest = living[0] if living else None
    live = next((e for e in living if e.state is State.IN_USE), newest)
    if theft and live is not None:
        return Standing(SUSPENDED, "bad", live, None)
    if live is not None:
        days = days_left(live.not_after_at or at, at)
        unused = newest if newest is not live else None
        return Standing(
            LABELS[live.state], "warn" if days <= warn_days else "good", live, days, unused=unused
        )
    # A renewal that nobody applied for says nothing of the certificate that it was to follow.
    last = next((e for e in enrollments if e.kind != "renewal" or e.issued_at is not None), None)
    if last is None:
        return Standing(("なし", "None"), "plain", None, None)
    state = state_at(last, at)
    under_way = state in WAITING or state is State.PROCESSING
    ended_at = None if under_way else _ended(last, state)
    return Standing(LABELS[state], "warn" if under_way else "bad", last, None, ended_at)


def _ended(enrollment: Enrollment, state: State) -> int | None:
    """When: by its own date, by somebody's decision, or because it was not fetched in time."""
    if state is State.EXPIRED:
        return enrollment.not_after_at
    return enrollment.ended_at or enrollment.window_ends_at


@dataclass(frozen=True)
class Expected:
    """The days by which somebody who applied may expect something, as moments; None: no day is told."""

    decision_at: int | None
    pickup_mail_at: int | None
    #: Of ユーザーIDのお知らせ; of a reissue there is none.
    id_notice_at: int | None


def expected(application: Application, decision_days: int) -> Expected:
    """What comes after an application that was not turned down: by the operator's business days, then by the
    manual's calendar days."""
    decided = application.decided_at
    if decided is None and decision_days:
        decided = start_of(business_day_after(application.submitted_at, decision_days))
    if decided is None:
        return Expected(None, None, None)
    by = application.person.get("notice_by", "")
    told = decided + _NOTICE_DAYS[by] * DAY if application.kind == "addition" and by else None
    return Expected(decided, decided + _NOTICE_DAYS["mail"] * DAY, told)
