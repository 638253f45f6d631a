"""Which letter goes to whom, with which values: the only callers of ``mails.queue``."""

from __future__ import annotations

import sqlite_utils

from enroll import mails, store
from enroll.enrollment import Enrollment
from enroll.jst import shown
from enroll.office import Office


def id_notice(
    db: sqlite_utils.Database, office: Office, user: store.User, login_password: str, at: int
) -> None:
    """ユーザーIDのお知らせ, by the channel that the user has (R13)."""
    values = _common(office, user, office.settings.service_url)
    values |= {"user_id": user.user_id, "login_password": login_password}
    letter = mails.write_letter(
        "user_id",
        # Once for each first password: a new one is drawn for whoever lost it.
        cause=f"user_id:{user.user_id}:{user.password_mark[:16]}",
        channel=user.notice_by,
        user_id=user.user_id,
        recipient=user.mail if user.notice_by == "mail" else user.name,
        values=values,
        templates=office.templates,
    )
    mails.queue(db, office.vault, letter, at)


def pickup_notice(
    db: sqlite_utils.Database,
    office: Office,
    user: store.User,
    organisation: store.Organisation,
    enrollment: Enrollment,
    issue_password: str,
    at: int,
) -> None:
    """クライアント証明書取得に関するご案内 (R11); its password apart if the organisation says so (E14)."""
    values = _common(office, user, office.settings.pickup_url)
    values |= {
        "user_id": user.user_id,
        "issue_password": issue_password,
        "request_id": enrollment.request_id,
        "until": shown(enrollment.window_ends_at or at),
    }
    apart = organisation.issue_password_by == "postcard"
    kinds: list[tuple[mails.Kind, str]] = [("pickup_without_password" if apart else "pickup", "mail")]
    if apart:
        kinds.append(("issue_password", "postcard"))
    for kind, channel in kinds:
        letter = mails.write_letter(
            kind,
            cause=f"{kind}:{enrollment.request_id}",
            channel="mail" if channel == "mail" else "postcard",
            user_id=user.user_id,
            recipient=user.mail if channel == "mail" else user.name,
            values=values,
            request_id=enrollment.request_id,
            templates=office.templates,
        )
        mails.queue(db, office.vault, letter, at)


def renewal_notice(
    db: sqlite_utils.Database,
    office: Office,
    user: store.User,
    renewal: Enrollment,
    source: Enrollment,
    kind: mails.Kind,
    at: int,
) -> bool:
    """クライアント証明書更新に関するご案内 (R14), once per certificate and kind; False if sent before."""
    values = _common(office, user, office.settings.renewal_url)
    values |= {
        "request_id": renewal.request_id,
        "common_name": source.common_name,
        "not_after": shown(source.not_after_at or at),
    }
    letter = mails.write_letter(
        kind,
        cause=f"{kind}:{source.serial}",
        channel="mail",
        user_id=user.user_id,
        recipient=user.mail,
        values=values,
        request_id=renewal.request_id,
        templates=office.templates,
    )
    return mails.queue(db, office.vault, letter, at)


def _common(office: Office, user: store.User, url: str) -> dict[str, str]:
    settings = office.settings
    return {
        "name": user.name,
        "url": url,
        "operator": settings.operator_name,
        "telephone": settings.telephone,
    }
