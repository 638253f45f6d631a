"""What an organisation's 管理者 does about its users, and that nobody else does."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

import ca.store
from enroll import store
from enroll.jst import shown, shown_day
from enroll.mail import store as mail_store
from enroll.people import applications
from enroll.people.changes import reset_password
from enroll.people.register import Person, add_user
from enroll.ra import RegistrationAuthority
from enroll.requests.enrollment import PRIVILEGE_WITHDRAWN
from gateway.sites.service.overview import SOON
from tests.datadirs import POLICY_NUMBER, START, admit, clock_of, letter_of
from tests.gateway.sites.kit import Served, Visitor
from tests.gateway.sites.members import (
    ADMIN,
    DAY,
    PASSWORD,
    STRANGER,
    USER,
    admin_at_home,
    at_home,
    established,
    fetched,
    foreign_user,
    log_in,
    newest,
)
from tests.looking import look

MAIL, SUSPENSION = f"/portal/members/{USER}/mail", f"/portal/members/{USER}/suspension"


def trail(service: Served, subject: str, action: str) -> list[tuple[str, Any]]:
    """Who did something about a subject, and the detail."""
    lines = store.audit_page(look(service.ra.database), subject, 100)
    return [(line["actor"], line["detail"]) for line in lines if line["action"] == action]


def user(service: Served, user_id: str = USER) -> store.User:
    found = store.user(look(service.ra.database), user_id)
    assert found is not None
    return found


async def applied(ra: RegistrationAuthority, user_id: str, reason: str, **how: Any) -> int:
    """The number of an application for a reissue."""
    return (await applications.apply_reissue(ra, user_id, reason, channel="online", **how)).number


# -- a mail address ------------------------------------------------------------------------------------


async def test_a_mail_address_is_corrected(service: Served) -> None:
    """What still waits goes to the new address, full-width letters are meant, the trail says who did it."""
    admin = await admin_at_home(service)
    # type="email" would not let them through: browsers stop ＠ before we turn it into @.
    assert (await admin.get(MAIL)).field("新しいメールアドレス").attributes["inputmode"] == "email"
    page = await admin.post(MAIL, {"mail": "ｔａｒｏ＠ｅｘａｍｐｌｅ．jp "})
    assert (page.status, page.path) == (200, f"/portal/members/{USER}")
    assert "メールアドレスを変更しました。" in page.main.text
    assert user(service).mail == "taro@example.jp"
    told = [("A11111111", {"mail": ["k12345678@example.jp", "taro@example.jp"]})]
    assert trail(service, USER, "user.changed") == told
    letters = mail_store.listed(look(service.ra.database), USER)
    waiting = [each for each in letters if each["state"] == "queued"]
    assert {each["recipient"] for each in waiting} <= {"taro@example.jp"}


@pytest.mark.parametrize(
    ("fields", "label", "error"),
    [
        ({"mail": "taro@"}, "新しいメールアドレス", "メールアドレスを半角で正しく入力してください"),
        ({"mail": ""}, "新しいメールアドレス", "メールアドレスを半角で正しく入力してください"),
        ({"mail": "a@example.jp", "password": "Wrong2026"}, "ログインのパスワード", "パスワードに誤りが"),
        ({"mail": "a@example.jp", "password": ""}, "ログインのパスワード", "パスワードを入力してください"),
    ],
)
async def test_a_mail_address_that_does_not_do(
    service: Served, fields: dict[str, str], label: str, error: str
) -> None:
    """It is told beside its field, and nothing is changed; so is a password that is wrong."""
    admin = await admin_at_home(service)
    page = await admin.post(MAIL, fields)
    assert page.status == 422
    assert page.error(label).startswith(error)
    assert page.field("新しいメールアドレス").attributes["value"] == fields["mail"]
    assert user(service).mail == "k12345678@example.jp"


# -- a leaver ------------------------------------------------------------------------------------------


async def test_a_leaver_is_suspended_at_once(service: Served) -> None:
    """E27: certificates are revoked, sessions ended, the login is over; pressing again changes nothing."""
    await admit(service.ra, ADMIN, role="admin")
    admin = await at_home(service, ADMIN)
    leaver = await _member_at_home(service)
    page = await admin.get(SUSPENSION)
    assert page.buttons() == ["利用を停止する"]
    assert "手続き中の申請" not in page.main.text
    # What waits for a decision goes on waiting: it is named beforehand.
    number = await applied(service.ra, USER, "pc_change", actor=USER)
    page = await admin.get(SUSPENSION)
    assert "手続き中の申請は取り下げられません。" in page.main.text
    assert f"/portal/applications/{number}" in [each.attributes["href"] for each in page.main.all("a")]
    page = await admin.post(SUSPENSION)
    assert (page.status, page.path) == (200, f"/portal/members/{USER}")
    assert "利用を停止しました。" in page.main.text
    assert user(service).disabled_at is not None
    record = ca.store.find_by_serial(look(service.ra.database), newest(service, USER).serial or "")
    assert record is not None
    assert (record.status, record.revocation_reason) == ("revoked", PRIVILEGE_WITHDRAWN)
    assert trail(service, USER, "user.disabled") == [(ADMIN, {})]
    assert (await leaver.get("/portal/")).status == 403
    again = await admin.post(SUSPENSION)
    assert (again.status, len(trail(service, USER, "user.disabled"))) == (200, 1)


async def test_nobody_is_suspended_without_the_password_nor_oneself(service: Served) -> None:
    """A wrong password changes nothing; and an organisation keeps a 管理者."""
    admin = await admin_at_home(service)
    page = await admin.post(SUSPENSION, {"password": "Wrong2026"})
    assert (page.status, user(service).disabled_at) == (422, None)
    own = f"/portal/members/{ADMIN}/suspension"
    assert (await admin.get(own)).buttons() == []
    page = await admin.post(own)
    assert (page.status, user(service, ADMIN).disabled_at) == (403, None)
    assert "ご自身の利用停止はできません。" in page.main.text


# -- applications --------------------------------------------------------------------------------------


async def test_an_application_is_withdrawn(service: Served) -> None:
    """By a 管理者 of the organisation, by whoever it is for, and by nobody twice; another one may follow."""
    ra = service.ra
    admin = await admin_at_home(service)
    number = await applied(ra, USER, "pc_change", actor=USER)
    page = await admin.get(f"/portal/applications/{number}")
    assert page.buttons() == []
    assert "新しい証明書の取得後に無効にする" in page.main.text
    asked = f"/portal/applications/{number}/withdrawal"
    assert asked in [each.attributes["href"] for each in page.main.all("a")]
    page = await admin.get(asked)
    assert page.buttons() == ["申請を取り下げる"]
    for said in (str(number), "クライアント証明書再発行", f"年金 太郎 様（{USER}）", "元に戻せません"):
        assert said in page.main.text
    assert store.applications(look(ra.database), state="submitted") != []
    for _ in range(2):
        page = await admin.post(asked)
        assert (page.status, page.path, page.buttons()) == (200, f"/portal/applications/{number}", [])
        assert "取り下げ済み" in page.main.text
        # What was to come of it does not any more.
        assert "新しい証明書の取得後に無効にする" not in page.main.text
        assert "この申請では無効になりません" in page.main.text
        assert f"/portal/members/{USER}/reissue" in [e.attributes["href"] for e in page.main.all("a")]
    assert "取り下げ済みです" in (await admin.get(asked)).main.text
    told = (ADMIN, {"kind": "reissue", "user": USER})
    assert trail(service, str(number), "application.withdrawn") == [told]
    following = await applied(ra, USER, "pc_change", actor=USER)
    assert following != number
    with pytest.raises(Exception, match="withdrawn already"):
        await applications.approve(ra, number, actor="desk")


async def test_one_withdraws_the_own_application_and_no_other(service: Served) -> None:
    """A member takes back what is for the member; another user's is not found."""
    ra = service.ra
    mine = await at_home(service)
    await admit(ra, "K22222222")
    number = await applied(ra, USER, "pc_change", actor=USER)
    other = await applied(ra, "K22222222", "pc_change", actor=ADMIN)
    assert (await mine.get(f"/portal/applications/{other}/withdrawal")).status == 404
    page = await mine.post(f"/portal/applications/{number}/withdrawal")
    assert page.status == 200
    assert "/portal/reissue" in [each.attributes["href"] for each in page.main.all("a")]
    assert (await mine.post(f"/portal/applications/{other}/withdrawal")).status == 404
    found = {each.id: each.state for each in store.applications(look(ra.database))}
    assert (found[number], found[other]) == ("withdrawn", "submitted")


async def test_neither_a_theft_nor_what_is_decided_is_withdrawn(service: Served) -> None:
    """What a report of theft stopped goes on by the desk's word only; what was decided stays decided."""
    ra = service.ra
    admin = await admin_at_home(service)
    theft = await applied(ra, USER, "lost_or_stolen", actor=ADMIN)
    page = await admin.get(f"/portal/applications/{theft}")
    assert page.buttons() == []
    assert "この画面では取り下げられません。" in page.main.text
    asked = await admin.get(f"/portal/applications/{theft}/withdrawal")
    assert (asked.status, asked.buttons()) == (403, [])
    assert (await admin.post(f"/portal/applications/{theft}/withdrawal")).status == 403
    assert store.theft_reported(look(ra.database), USER)
    await applications.approve(ra, theft, actor="desk")
    asked = await admin.get(f"/portal/applications/{theft}/withdrawal")
    assert (asked.status, asked.buttons()) == (409, [])
    page = await admin.post(f"/portal/applications/{theft}/withdrawal")
    assert (page.status, page.h1) == (409, "すでに処理されています")


async def test_what_is_turned_down_ends_nothing(service: Served) -> None:
    """The page of an application that came to nothing does not say that a certificate is going to end."""
    admin = await admin_at_home(service)
    number = await applied(service.ra, USER, "pc_change", actor=USER)
    await applications.reject(service.ra, number, actor="desk", note="", rejection="not_needed")
    text = (await admin.get(f"/portal/applications/{number}")).main.text
    assert "無効にする" not in text
    assert "この申請では無効になりません" in text


async def test_a_further_user_applied_for_is_withdrawn(service: Served) -> None:
    """Who it is about is named, and where to apply again."""
    admin = await admin_at_home(service)
    person = {"name": "年金 花子", "mail": "hanako@example.jp", "role": "member", "notice_by": "mail"}
    page = await admin.post("/portal/addition", person)
    asked = await admin.get(f"{page.path}/withdrawal")
    assert "年金 花子 様" in asked.main.text
    assert "ユーザーIDと証明書は発行されず" in asked.main.text
    page = await admin.post(f"{page.path}/withdrawal")
    assert "/portal/addition" in [each.attributes["href"] for each in page.main.all("a")]


# -- the overview --------------------------------------------------------------------------------------


async def test_who_ends_soon_and_who_fetched_what(service: Served) -> None:
    """Within 60 days, whoever has not renewed; a leaver no more. And the moments of each pick-up."""
    ra = service.ra
    await established(service)
    await admit(ra, ADMIN, role="admin")
    admin = (await established(service, ADMIN)).visitor(service)
    admin.password = PASSWORD
    end = newest(service, USER).not_after_at or 0
    clock_of(ra).set(end - (SOON + 1) * DAY)
    await log_in(admin, ADMIN)
    page = await admin.get("/portal/overview")
    assert "該当するユーザーはいません。" in page.main.text
    rows = page.main.table(0)[1:]
    assert {row[0] for row in rows} == {f"{ADMIN} 年金 太郎", f"{USER} 年金 太郎"}
    assert rows[0][1:] == ["追加発行", *[shown(START)[:16]] * 3]
    clock_of(ra).set(end - SOON * DAY)
    await log_in(admin, ADMIN)
    page = await admin.get("/portal/overview")
    rows = page.main.table(0)[1:]
    last = [f"{shown_day(end)}（あと60日）", "更新のお手続き前"]
    assert rows == [[f"{who} 年金 太郎", f"{who}0001", *last] for who in (ADMIN, USER)]
    assert "証明書の期限が近い、または過ぎたユーザーがいます：2名" in (await admin.get("/portal/")).main.text
    # Whoever has none any more because it has expired comes first, until there is another.
    ahead = "UPDATE enrollments SET not_after_at = :at WHERE user_id = :user AND serial IS NOT NULL"
    ended = ra.now() - DAY
    await ra.database.write(lambda db: db.execute(ahead, {"at": ended, "user": USER}))
    rows = (await admin.get("/portal/overview")).main.table(0)[1:]
    assert rows[0] == [f"{USER} 年金 太郎", f"{USER}0001", shown_day(ended), "期限切れ（再発行が必要）"]
    await admin.post(SUSPENSION)
    assert [row[0] for row in (await admin.get("/portal/overview")).main.table(0)[1:]] == [
        f"{ADMIN} 年金 太郎"
    ]


async def test_the_users_as_csv(service: Served) -> None:
    """Every user of the organisation and none of another, for Excel, without formulas; told in the trail."""
    ra = service.ra
    admin = await admin_at_home(service)
    await foreign_user(service)
    hostile = Person(POLICY_NUMBER, '=HYPERLINK("https://x.example","a")', "x@example.jp", "K33333333")
    await add_user(ra, hostile, channel="paper", actor="desk")
    got = await admin.get("/portal/overview/members.csv")
    assert got.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert (
        got.headers["Content-Disposition"] == f'attachment; filename="members-{POLICY_NUMBER}-20261122.csv"'
    )
    assert got.body.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(got.body.decode("utf-8-sig"))))
    assert [row["ユーザーID"] for row in rows] == [ADMIN, USER, "K33333333"]
    assert rows[0] == {
        "ユーザーID": ADMIN,
        "氏名": "年金 太郎",
        "権限": "管理者",
        "メールアドレス": "a11111111@example.jp",
        "通知方法": "メール",
        "利用停止日時": "",
        "証明書": rows[0]["証明書"],
        "コモンネーム": f"{ADMIN}0001",
        "シリアル番号": newest(service, ADMIN).serial,
        "有効期限": shown(newest(service, ADMIN).not_after_at or 0),
        "取得日時": shown(START),
        "初回ログイン日時": shown(START),
        "最終ログイン": shown(START),
    }
    assert rows[2]["氏名"] == '\'=HYPERLINK("https://x.example","a")'
    assert trail(service, POLICY_NUMBER, "members.exported") == [(ADMIN, {"users": 3})]
    english = await admin.get("/portal/overview/members.csv?lang=en")
    assert english.body.decode("utf-8-sig").startswith("User ID,Name,Role,")


async def test_the_last_login_in_the_csv(service: Served) -> None:
    """When each user logged in last, whatever failed since; blank for whoever never did. The last column."""
    ra = service.ra
    mine = await established(service)
    admin = await admin_at_home(service)
    newcomer = Person(POLICY_NUMBER, "年金 花子", "hanako@example.jp", "K33333333")
    await add_user(ra, newcomer, channel="paper", actor="desk")
    clock_of(ra).advance(seconds=600)
    last = ra.now()
    await log_in(mine.visitor(service))
    clock_of(ra).advance(seconds=60)
    await log_in(mine.visitor(service), password="Wrong2026")
    for language, column in (("ja", "最終ログイン"), ("en", "Last login")):
        got = await admin.get(f"/portal/overview/members.csv?lang={language}")
        rows = list(csv.DictReader(io.StringIO(got.body.decode("utf-8-sig"))))
        assert [row[column] for row in rows] == [shown(START), shown(last), ""]
        assert list(rows[0])[-1] == column


# -- nobody else ---------------------------------------------------------------------------------------

_GETS = ("overview", "overview/members.csv", "members/{}/mail", "members/{}/suspension")
_POSTS = {"members/{}/mail": {"mail": "thief@example.com"}, "members/{}/suspension": {}}


async def test_a_member_does_nothing_of_it(service: Served) -> None:
    """403 for every page and form, even about oneself; nothing is changed."""
    member = await at_home(service)
    for path in _GETS:
        assert (await member.get("/portal/" + path.format(USER))).status == 403
    for path, fields in _POSTS.items():
        assert (await member.post("/portal/" + path.format(USER), fields)).status == 403
    assert (user(service).mail, user(service).disabled_at) == ("k12345678@example.jp", None)


async def test_nothing_of_it_reaches_another_organisation(service: Served) -> None:
    """Their users are not found, as if there were none; and no form is taken from another page."""
    admin = await admin_at_home(service)
    await foreign_user(service)
    for path in _GETS[2:]:
        assert (await admin.get("/portal/" + path.format(STRANGER))).status == 404
    for path, fields in _POSTS.items():
        assert (await admin.post("/portal/" + path.format(STRANGER), fields)).status == 404
        stale = await admin.post("/portal/" + path.format(USER), {**fields, "token": "x"})
        assert (stale.status, stale.h1) == (403, "画面を開きなおしてください")
        foreign = await admin.post("/portal/" + path.format(USER), fields, Origin="https://x.example")
        assert foreign.status == 403
    assert user(service, STRANGER).mail == "hanako@example.jp"
    assert user(service, STRANGER).disabled_at is None
    assert (user(service).mail, user(service).disabled_at) == ("k12345678@example.jp", None)
    number = await applied(service.ra, STRANGER, "pc_change", actor=STRANGER)
    assert (await admin.post(f"/portal/applications/{number}/withdrawal")).status == 404


async def _member_at_home(service: Served) -> Visitor:
    """The member, reissued because the letters of the first pick-up are not the newest any more."""
    await applications.reissue(service.ra, USER, "pc_change", actor="desk")
    mine = (await fetched(service)).visitor(service)
    await reset_password(service.ra, USER, actor="desk")
    first = (await letter_of(service.ra, "password_reset")).value("パスワード")
    assert (await log_in(mine, USER, first)).status == 200
    return mine
