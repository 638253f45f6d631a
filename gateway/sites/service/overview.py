"""An organisation at a glance: whose certificate ends soon, who fetched what when, and all of it as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from aiohttp import web

from ca.storage import Transaction
from enroll import generations, store
from enroll.exports.spreadsheet import csv_of
from enroll.jst import days_left, shown, shown_day
from enroll.ra import RegistrationAuthority
from enroll.requests.enrollment import Enrollment, lives
from enroll.requests.states import UNFINISHED, State
from gateway.sites.service.looking import standing_of
from gateway.sites.service.standing import Standing, Text
from gateway.sites.service.visitors import Visitor
from gateway.sites.service.words import NOTICES, ROLES
from gateway.web.pages import GATE, language_of, render
from gateway.web.words import place_of

#: Days before its end from which a certificate is told of.
SOON = 60
# Rows of who fetched what, newest first.
_MOST_ROWS = 200
#: On somebody's PC, as far as we know.
_IN_HAND = frozenset({State.PICKED_UP, State.IN_USE})

KINDS: Mapping[str, Text] = MappingProxyType(
    {
        "addition": ("追加発行", "First certificate"),
        "reissue": ("再発行", "Reissue"),
        "renewal": ("更新", "Renewal"),
    }
)
_NOT_RENEWED: Text = ("更新のお手続き前", "Not renewed yet")
_EXPIRED: Text = ("期限切れ（再発行が必要）", "Expired: needs a reissue")
_NOT_FETCHED: Text = ("更新の途中（未取得）", "Renewed, not downloaded yet")


@dataclass(frozen=True)
class Ending:
    """A certificate in somebody's hands that ends soon, or has ended (``days`` below 0), and that nothing in
    their hands follows."""

    user: store.User
    enrollment: Enrollment
    days: int
    renewal: Text


@dataclass(frozen=True)
class Fetched:
    """A request ID of a user, with the moments of its way."""

    user: store.User
    enrollment: Enrollment
    kind: Text


async def overview(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """期限が近い利用者, and 証明書の取得状況."""
    ra, policy_number = request.app[GATE].ra, visitor.user.policy_number
    at = ra.now()
    everybody, found, ending = await ra.database.read(
        lambda db: (
            store.users(db, policy_number),
            store.enrollments_of_organisation(db, policy_number),
            ending_soon(db, at, policy_number),
        )
    )
    users = {user.user_id: user for user in everybody}
    fetched = [
        Fetched(users[each.user_id], each, KINDS[each.kind])
        for each in found
        # A renewal that was only announced is nobody's doing yet.
        if each.user_id in users and (each.kind != "renewal" or each.submitted_at)
    ]
    fetched.sort(key=lambda each: each.enrollment.picked_up_at or each.enrollment.created_at, reverse=True)
    return render(
        request,
        "overview.html",
        visitor=visitor,
        here="overview",
        ending=ending,
        soon=SOON,
        fetched=fetched[:_MOST_ROWS],
    )


def ending_soon(db: Transaction, at: int, policy_number: str) -> list[Ending]:
    """The certificates of an organisation's active users that end within ``SOON`` days, in that order; first
    those of users who have none any more, because it has expired."""
    users = {u.user_id: u for u in store.users(db, policy_number) if u.disabled_at is None}
    found = [e for e in store.enrollments_of_organisation(db, policy_number) if e.user_id in users]
    rows = [
        Ending(users[e.user_id], e, days_left(e.not_after_at or at, at), _renewal_of(e, found))
        for e in _newest_in_hand(found, at)
    ]
    holders = {row.user.user_id for row in rows}
    rows += [
        Ending(users[e.user_id], e, -1, _EXPIRED)
        for e in _last_expired(found, at)
        if e.user_id not in holders
    ]
    return sorted((row for row in rows if row.days <= SOON), key=lambda row: (row.days, row.user.user_id))


async def export(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Every user of the organisation as CSV, as Excel in Japan opens it; told in the trail."""
    ra, policy_number = request.app[GATE].ra, visitor.user.policy_number
    language = place_of(language_of(request))
    at = ra.now()
    lines = await ra.database.read(lambda db: _lines(db, ra, policy_number, language))
    content = csv_of([[name[language] for name in _COLUMNS], *lines])
    await ra.database.write(
        lambda db: store.audit(
            db, at, visitor.user.user_id, "members.exported", policy_number, users=len(lines)
        )
    )
    name = f"members-{policy_number}-{shown_day(at).replace('.', '')}.csv"
    return web.Response(
        body=content,
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
        },
    )


_COLUMNS: tuple[Text, ...] = (
    ("ユーザーID", "User ID"),
    ("氏名", "Name"),
    ("権限", "Role"),
    ("メールアドレス", "Email address"),
    ("通知方法", "Notice by"),
    ("利用停止日時", "Disabled at"),
    ("証明書", "Certificate"),
    ("コモンネーム", "Common name"),
    ("シリアル番号", "Serial number"),
    ("有効期限", "Valid until"),
    ("取得日時", "Picked up"),
    ("初回ログイン日時", "First used at"),
    ("最終ログイン", "Last login"),
)


def _lines(db: Transaction, ra: RegistrationAuthority, policy_number: str, language: int) -> list[list[str]]:
    gone = generations.distrusted(db)
    return [
        _line(db, user, standing_of(db, ra, user.user_id, gone), language)
        for user in store.users(db, policy_number)
    ]


def _line(db: Transaction, user: store.User, now: Standing, language: int) -> list[str]:
    held = now.enrollment
    told = [now.told[language]] if now.told is not None else []
    told += [shown_day(now.told_at)] if now.told_at is not None else []

    def moment(value: int | None) -> str:
        return shown(value) if value is not None else ""

    return [
        user.user_id,
        user.name,
        ROLES[user.role][language],
        user.mail,
        NOTICES[user.notice_by][language],
        moment(user.disabled_at),
        " ".join([now.label[language], *told]),
        held.common_name if held else "",
        (held.serial or "") if held else "",
        moment(held.not_after_at if held else None),
        moment(held.picked_up_at if held else None),
        moment(held.used_at if held else None),
        moment(store.last_login(db, user.user_id).at),
    ]


def _newest_in_hand(found: Sequence[Enrollment], at: int) -> list[Enrollment]:
    """Of each PC the certificate that lasts longest: a renewal keeps the common name."""
    newest: dict[str, Enrollment] = {}
    for each in found:
        if each.state in _IN_HAND and lives(each, at):
            known = newest.get(each.common_name)
            if known is None or (known.not_after_at or 0) < (each.not_after_at or 0):
                newest[each.common_name] = each
    return list(newest.values())


def _last_expired(found: Sequence[Enrollment], at: int) -> list[Enrollment]:
    """Of each user the certificate that ended last, where it is time that ended it."""
    last: dict[str, Enrollment] = {}
    for each in found:
        if each.state in _IN_HAND and not lives(each, at):
            known = last.get(each.user_id)
            if known is None or (known.not_after_at or 0) < (each.not_after_at or 0):
                last[each.user_id] = each
    return list(last.values())


def _renewal_of(source: Enrollment, found: Sequence[Enrollment]) -> Text:
    under_way = any(e.replaces_serial == source.serial and e.state in UNFINISHED for e in found)
    return _NOT_FETCHED if under_way else _NOT_RENEWED
