"""Which letter goes to whom, with which values: the only callers of ``writing.queue``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlencode

from ca.certificates import serial_in_chooser
from ca.generations.endings import SHORT, Warned
from ca.storage import Transaction
from enroll import store
from enroll.jst import days_left, shown, shown_day
from enroll.languages import LANGUAGES, Language
from enroll.mail import writing
from enroll.mail.hours import PACE
from enroll.mail.store import Channel
from enroll.people.postal import sent_to
from enroll.ra import RegistrationAuthority, token_hash
from enroll.requests.enrollment import Enrollment
from enroll.settings import DAY, Settings


def id_notice(
    db: Transaction, ra: RegistrationAuthority, user: store.User, login_password: str, at: int
) -> None:
    """ユーザーIDのお知らせ, by the channel that the user has (R13)."""
    _login_password(db, ra, "user_id", user, login_password, at)


def reset_notice(
    db: Transaction, ra: RegistrationAuthority, user: store.User, login_password: str, at: int
) -> None:
    """A new first login password, by the same channel."""
    _login_password(db, ra, "password_reset", user, login_password, at)


def _login_password(
    db: Transaction,
    ra: RegistrationAuthority,
    kind: Literal["user_id", "password_reset"],
    user: store.User,
    login_password: str,
    at: int,
) -> None:
    values = _common(db, ra, user, ra.settings.service_url)
    values |= {"user_id": user.user_id, "login_password": login_password}
    # Once for each first password.
    cause = f"{kind}:{user.user_id}:{user.password_mark[:16]}"
    _send(db, ra, kind, user, values, at, cause=cause, channel=user.notice_by)


def pickup_notice(
    db: Transaction,
    ra: RegistrationAuthority,
    user: store.User,
    organisation: store.Organisation,
    enrollment: Enrollment,
    issue_password: str,
    at: int,
) -> None:
    """クライアント証明書取得に関するご案内 (R11); its password apart if the organisation says so (E14)."""
    values = _common(db, ra, user, ra.settings.pickup_url)
    values |= {
        "user_id": user.user_id,
        "issue_password": issue_password,
        "request_id": enrollment.request_id,
        "until": shown(enrollment.window_ends_at or at),
        # Of a former certificate only those read who have one.
        "reissue": "yes" if enrollment.kind == "reissue" else "",
    }
    if organisation.issue_password_by == "mail":
        _of_request(db, ra, "pickup", user, enrollment, values, at)
        return
    admin = None
    if organisation.issue_password_by == "admin":
        admin = store.administrator(db, organisation.policy_number, user.user_id)
    at_home = not sent_to(user, organisation)[1]
    by = _BY_ADMIN if admin is not None else _BY_POSTCARD_TO_USER if at_home else _BY_POSTCARD
    values["password_by"] = by[LANGUAGES.index(user.language)].format(admin=admin.name if admin else "")
    _of_request(db, ra, "pickup_without_password", user, enrollment, values, at)
    if admin is None:
        _of_request(db, ra, "issue_password", user, enrollment, values, at, channel="postcard")
    else:
        values |= {"admin": admin.name, "to": admin.name}
        _of_request(db, ra, "issue_password_admin", admin, enrollment, values, at)


#: How the issue password comes, in Japanese and English.
_BY_POSTCARD = ("団体様のご住所への「はがき」で", "by postcard to your organisation's address")
_BY_POSTCARD_TO_USER = ("ご登録住所への「はがき」で", "by postcard to your registered address")
_BY_ADMIN = ("{admin} 様（団体の管理者）から", "from {admin}, the administrator of your organisation")


def _of_request(
    db: Transaction,
    ra: RegistrationAuthority,
    kind: writing.Kind,
    to: store.User,
    enrollment: Enrollment,
    values: dict[str, str],
    at: int,
    *,
    channel: Channel = "mail",
) -> None:
    request_id = enrollment.request_id
    _send(db, ra, kind, to, values, at, cause=f"{kind}:{request_id}", channel=channel, request_id=request_id)


def renewal_notice(
    db: Transaction,
    ra: RegistrationAuthority,
    user: store.User,
    renewal: Enrollment,
    source: Enrollment,
    kind: writing.Kind,
    at: int,
    *,
    again: bool = False,
    cause: str = "",
) -> bool:
    """クライアント証明書更新に関するご案内 (R14), once per certificate and kind; False if queued before.

    ``again``: one that never left is queued once more. ``cause``: of one beyond those two.
    """
    letter = _renewal_letter(db, ra, user, renewal, source, kind, at, cause or cause_of_notice(kind, source))
    return writing.queue(db, ra.epochs, letter, at, pace=PACE[kind], again=again)


def of_today(
    db: Transaction, ra: RegistrationAuthority, letter: Mapping[str, Any], cause: str, at: int
) -> writing.Letter | None:
    """A renewal notice in the words of the day on which it leaves, by which fewer days may be left than when
    it was written (R15); None where its certificate is known no more."""
    renewal = store.enrollment(db, letter["request_id"] or "")
    user = store.user(db, letter["user_id"])
    source = store.enrollment_of(db, renewal.replaces_serial or "") if renewal is not None else None
    if user is None or renewal is None or source is None:
        return None
    return _renewal_letter(db, ra, user, renewal, source, letter["kind"], at, cause)


#: Kinds about a renewal that say how many days are left.
OF_A_DAY = ("renewal_30", "renewal_7")


def _renewal_letter(
    db: Transaction,
    ra: RegistrationAuthority,
    user: store.User,
    renewal: Enrollment,
    source: Enrollment,
    kind: writing.Kind,
    at: int,
    cause: str,
) -> writing.Letter:
    values = _common(db, ra, user, ra.settings.renewal_url)
    days = max(0, days_left(source.not_after_at or at, at))
    values |= {
        "days": str(days),
        "left": _left(days, user.language),
        "request_id": renewal.request_id,
        "common_name": source.common_name,
        "serial": serial_in_chooser(source.serial or ""),
        "not_after": shown(source.not_after_at or at),
    }
    return _written(db, ra, kind, user, values, cause=cause, request_id=renewal.request_id)


def members_reminder(
    db: Transaction,
    ra: RegistrationAuthority,
    admin: store.User,
    due: Sequence[tuple[store.User, Enrollment]],
    at: int,
) -> bool:
    """Tells a 管理者 which of the organisation's users have their second notice and have not renewed: once
    for these certificates. False if queued before; one that never left is queued once more."""
    cause = f"renewal_7_admin:{admin.user_id}:{due[0][1].serial}"
    letter = members_letter(db, ra, admin, due, cause)
    return writing.queue(db, ra.epochs, letter, at, pace=PACE["renewal_7_admin"], again=True)


def members_letter(
    db: Transaction,
    ra: RegistrationAuthority,
    admin: store.User,
    due: Sequence[tuple[store.User, Enrollment]],
    cause: str,
) -> writing.Letter:
    """What `members_reminder` says of these."""
    values = _common(db, ra, admin, ra.settings.service_url)
    line = _DUE_LINE[admin.language]
    values |= {
        "days": str(ra.settings.reminder_days),
        "members": "\n".join(
            line.format(user.user_id, user.name, shown(source.not_after_at or 0)) for user, source in due
        ),
    }
    letter = _written(db, ra, "renewal_7_admin", admin, values, cause=cause)
    return replace(letter, about=[source.serial or "" for _, source in due])


_DUE_LINE: Mapping[Language, str] = {
    "ja": "ユーザーID：{}　{} 様　有効期限：{}",
    "en": "User ID {}, {}, valid until {}",
}


def renewed_by_another(
    db: Transaction, ra: RegistrationAuthority, user: store.User, issued: Enrollment, at: int
) -> bool:
    """A certificate was renewed by another than its holder (``succession``), once per renewal."""
    values = _common(db, ra, user, ra.settings.service_url)
    values |= {
        "request_id": issued.request_id,
        "common_name": issued.common_name,
        "moment": shown(at),
    }
    # Without the request ID: that the request has ended is no reason to be silent about it.
    cause = f"renewed_by_another:{issued.request_id}"
    return _send(db, ra, "renewed_by_another", user, values, at, cause=cause)


def issuer_distrusted(
    db: Transaction, ra: RegistrationAuthority, user: store.User, issuer: str, issuer_id: str, at: int
) -> bool:
    """Why a new certificate is needed: its issuing CA (name, ID) is trusted no more. Once for each of
    those."""
    values = _common(db, ra, user, ra.settings.pickup_url) | {"user_id": user.user_id, "issuer": issuer}
    cause = cause_of_distrust(issuer_id, user.user_id)
    return _send(db, ra, "issuer_distrusted", user, values, at, cause=cause)


def cause_of_distrust(issuer_id: str, user_id: str) -> str:
    """What the letter to a user about an issuing CA is known by."""
    return f"issuer_distrusted:{issuer_id}:{user_id}"


def ca_ending(db: Transaction, ra: RegistrationAuthority, warned: Warned, at: int) -> bool:
    """Tells the operator of a CA's end, once for each step; False if queued before, or nobody is to be
    told."""
    if not ra.settings.operator_mail:
        return False
    return writing.queue(db, ra.epochs, ca_letter(db, ra, warned, at), at, pace=PACE["ca_ending"])


def ca_letter(db: Transaction, ra: RegistrationAuthority, warned: Warned, at: int) -> writing.Letter:
    """What `ca_ending` says at a moment."""
    values = {
        "to": "認証局 運用ご担当者",
        "ca": warned.name,
        "day": shown_day(warned.end_at),
        "days": str(days_left(warned.end_at, at)),
        "short": "yes" if warned.step == SHORT else "",
    }
    cause = f"{warned.ca_id}:{warned.step}"
    return _for_operators(db, ra, "ca_ending", cause, ra.settings.operator_mail, values, "ja")


def operator_code(
    db: Transaction,
    ra: RegistrationAuthority,
    name: str,
    display: str,
    mail: str,
    code: str,
    language: Language,
    at: int,
) -> None:
    """The one-time code of an operator, to the operator and nobody else."""
    console = ra.settings.console_url
    values = {"to": display, "name": name, "code": code, "until": shown(at + DAY)}
    values |= {"url": f"{console}enrol" if console else ""}
    # By the code: of two within a second each has its letter, or the one that opens something had none.
    cause = f"{name}:{token_hash(code)[:16]}"
    _to_operator(db, ra, "operator_code", cause, mail, values, language, at)


def break_glass(
    db: Transaction,
    ra: RegistrationAuthority,
    name: str,
    to: str,
    mail: str,
    language: Language,
    glass: Mapping[str, str],
    at: int,
) -> None:
    """Tells an auditor, known by ``name`` ("": who reads the operators' own mail), that somebody has taken
    a role by the passphrase. ``glass``: number, who, role, reason, until and due."""
    number = glass["number"]
    _to_operator(db, ra, "break_glass", f"{number}:{name}", mail, {"to": to, **glass}, language, at)


def proposal_expired(
    db: Transaction,
    ra: RegistrationAuthority,
    to: str,
    mail: str,
    language: Language,
    proposal: Mapping[str, str],
    at: int,
) -> None:
    """Tells who has proposed something that nobody decided it in time. ``proposal``: number, what, about and
    until."""
    number = proposal["number"]
    _to_operator(db, ra, "proposal_expired", number, mail, {"to": to, **proposal}, language, at)


def operator_ending(db: Transaction, ra: RegistrationAuthority, letter: writing.Letter, at: int) -> None:
    """Tells an operator, or whoever looks after a service, that its last certificate ends."""
    writing.queue(db, ra.epochs, letter, at, pace=PACE["operator_ending"])


def operator_letter(
    db: Transaction,
    ra: RegistrationAuthority,
    to: str,
    mail: str,
    language: Language,
    ending: Mapping[str, str],
    cause: str,
) -> writing.Letter:
    """What `operator_ending` sends. ``ending``: name, day, days and service."""
    return _for_operators(db, ra, "operator_ending", cause, mail, {"to": to, **ending}, language)


def cause_of_ending(cause: str) -> str:
    """What `operator_ending` is sent for, once."""
    return f"operator_ending:{cause}"


def _to_operator(
    db: Transaction,
    ra: RegistrationAuthority,
    kind: writing.Kind,
    cause: str,
    mail: str,
    values: dict[str, str],
    language: Language,
    at: int,
) -> None:
    letter = _for_operators(db, ra, kind, cause, mail, values, language)
    writing.queue(db, ra.epochs, letter, at, pace=PACE[kind])


def _for_operators(
    db: Transaction,
    ra: RegistrationAuthority,
    kind: writing.Kind,
    cause: str,
    mail: str,
    values: dict[str, str],
    language: Language,
) -> writing.Letter:
    settings = ra.settings
    # A template may have what every letter begins and ends with.
    ours = {"organisation": settings.operator_name, "operator": settings.operator_name, "address": ""}
    return writing.write_letter(
        kind,
        cause=f"{kind}:{cause}",
        channel="mail",
        user_id="",
        recipient=mail,
        values={**ours, "telephone": settings.telephone, **values},
        templates=writing.in_force(db, ra.templates),
        language=language,
    )


def _send(
    db: Transaction,
    ra: RegistrationAuthority,
    kind: writing.Kind,
    to: store.User,
    values: dict[str, str],
    at: int,
    *,
    cause: str,
    channel: Channel = "mail",
    request_id: str | None = None,
) -> bool:
    """Writes a letter to a user and queues it; False if it was queued before for the same cause."""
    letter = _written(db, ra, kind, to, values, cause=cause, channel=channel, request_id=request_id)
    return writing.queue(db, ra.epochs, letter, at, pace=PACE[kind])


def _written(
    db: Transaction,
    ra: RegistrationAuthority,
    kind: writing.Kind,
    to: store.User,
    values: dict[str, str],
    *,
    cause: str,
    channel: Channel = "mail",
    request_id: str | None = None,
) -> writing.Letter:
    return writing.write_letter(
        kind,
        cause=cause,
        channel=channel,
        user_id=to.user_id,
        recipient=to.mail if channel == "mail" else to.name,
        values=values,
        request_id=request_id,
        templates=writing.in_force(db, ra.templates),
        language=to.language,
    )


def cause_of_notice(kind: writing.Kind, source: Enrollment) -> str:
    """What `renewal_notice` is sent for, once."""
    return f"{kind}:{source.serial}"


def _left(days: int, language: Language) -> str:
    """How long a certificate lasts, by the calendar: whatever day a letter leaves on (R15)."""
    if language == "en":
        return "today" if days == 0 else "1 day left" if days == 1 else f"{days} days left"
    return "本日限り" if days == 0 else f"あと{days}日"


def _address(user: store.User, organisation: store.Organisation | None, settings: Settings) -> str:
    """Where a postcard goes, for its text; "" for one that is printed: its other face says it."""
    if organisation is None or settings.postcards == "batches":
        return ""
    return sent_to(user, organisation)[0].line


def _common(db: Transaction, ra: RegistrationAuthority, user: store.User, url: str) -> dict[str, str]:
    """What every letter may say. The address opens the site in the language of the letter."""
    settings, organisation = ra.settings, store.organisation(db, user.policy_number)
    return {
        "name": user.name,
        "to": user.name,
        "organisation": organisation.name if organisation is not None else "",
        "address": _address(user, organisation, settings),
        "url": url if user.language == "ja" else f"{url}?{urlencode({'lang': user.language})}",
        "operator": settings.operator_name,
        "telephone": settings.telephone,
    }
