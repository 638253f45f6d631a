"""Every screen of the portal, as `test_screens` has the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import expect

from enroll import store
from enroll.acme import credentials
from enroll.people import applications, login, register
from enroll.people.register import Person
from enroll.settings import DAY
from gateway.web import sessions
from gateway.web.context import Role
from tests.browser.eye import Eye, press, refused
from tests.browser.kit import P12_PASSWORD, Persona, World, page, persona
from tests.browser.steps import PASSWORD, USER, authenticate, established, log_in, submit
from tests.datadirs import POLICY_NUMBER
from tests.looking import look

pytestmark = pytest.mark.browser


async def test_service_screens_of_a_member(world: World, person: Persona, tmp_path: Path) -> None:
    """R21, R49 to R51."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        eye = Eye(on, "service")
        await eye.visit(world.url(Role.SERVICE, "/login"), "login")
        await log_in(on, world, "wrong password 1")
        await refused(on, "ユーザーID", "パスワード")
        await eye.look("login-refused")
        await log_in(on, world)
        await eye.look("portal")
        await eye.visit(world.url(Role.SERVICE, "/portal/certificates"), "certificates")
        # An address as long as they get, and something to end.
        elsewhere = sessions.Client("2001:db8:85a3:1234:5678:8a2e:370:7334", "Microsoft Edge 142")
        await sessions.start(world.ra, web.Response(), "service", USER, elsewhere)
        await eye.visit(world.url(Role.SERVICE, "/portal/sessions"), "sessions")
        await eye.visit(world.url(Role.SERVICE, "/portal/language"), "language")
        await eye.visit(world.url(Role.SERVICE, "/portal/password"), "password")
        await on.get_by_label("現在のパスワード").fill("x")
        await on.get_by_label("新しいパスワード", exact=True).fill("short")
        await on.get_by_label("新しいパスワードの確認").fill("short")
        await press(on, "変更する")
        await eye.look("password-refused")
        await eye.visit(world.url(Role.SERVICE, "/portal/reissue"), "reissue")
        await on.get_by_label("パソコンを変更した").check()
        await on.get_by_label("ログインのパスワード").fill("Wrong2026")
        await press(on, "申請する")
        await eye.look("reissue-refused")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await eye.look("application")
        await eye.visit(world.url(Role.SERVICE, "/portal/reissue"), "reissue-pending")
        await eye.visit(world.url(Role.SERVICE, "/portal/applications"), "applications")
        await eye.visit(world.url(Role.SERVICE, "/portal/members"), "not-permitted")
        await eye.visit(world.url(Role.SERVICE, "/logout"), "logout")
        await press(on, "ログアウト")
        await eye.look("logged-out")
    assert eye.seen == {}


async def test_service_screens_of_a_first_login(world: World, person: Persona, tmp_path: Path) -> None:
    """The first password, the delete guide, the hint from D-30."""
    await established(world, person, tmp_path)
    initial = "Tegata20260401"
    async with page(person) as on:
        eye = Eye(on, "service-first")
        await _set_first_password(world, initial)
        await log_in(on, world, initial)
        await eye.look("password-initial")
    end = store.enrollments_of(look(world.ra.database), USER)[0].not_after_at or 0
    await world.travel(end - 29 * DAY)
    async with page(person) as on:
        eye.on = on
        await log_in(on, world, initial)
        await on.get_by_label("現在のパスワード").fill(initial)
        await on.get_by_label("新しいパスワード", exact=True).fill(PASSWORD)
        await on.get_by_label("新しいパスワードの確認").fill(PASSWORD)
        await press(on, "変更する")
        await eye.look("portal-renewal-hint")
        await on.goto(world.url(Role.RENEWAL, "/application"))
        await press(on, "Submit")
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
        await on.goto(world.url(Role.SERVICE, "/portal/"))
        await eye.look("portal-newer-certificate")
    await applications.reissue(world.ra, USER, "pc_change", actor="desk")
    new_pc = persona(tmp_path / "new-pc", world.deployment.datadir.server_ca_pem)
    async with page(new_pc) as on:
        await authenticate(on, world)
        await on.goto(world.url(Role.PICKUP, "/certificate"))
        await submit(on, P12_PASSWORD, (await world.letter("pickup")).value("リクエストID"))
        async with on.expect_download() as expected:
            await press(on, "Download")
        await (await expected.value).save_as(tmp_path / "new.p12")
    assert new_pc.import_p12(tmp_path / "new.p12")
    async with page(new_pc) as on:
        eye.on = on
        await log_in(on, world)
        await eye.look("portal-delete-guide")
    assert eye.seen == {}


async def test_service_screens_of_an_administrator(world: World, person: Persona, tmp_path: Path) -> None:
    """R18, R19, R23."""
    await established(world, person, tmp_path, role="admin")
    ra = world.ra
    for user_id, name in (("SHINKI01", "新規 太郎"), ("RIYOU001", "利用 花子"), ("TEISHI01", "停止 次郎")):
        added = Person(POLICY_NUMBER, name, f"{user_id.lower()}@example.jp", user_id)
        await register.add_user(ra, added, channel="paper", actor="desk")
    await register.disable_user(ra, "TEISHI01", actor="desk")
    open_one = await applications.apply_reissue(ra, "RIYOU001", "pc_change", channel="paper", actor="desk")
    number = (await applications.apply_reissue(ra, USER, "expired", channel="online", actor=USER)).number
    await applications.reject(ra, number, actor="desk", note="有効期限内のため、更新をご案内しました。")
    await world.letter("pickup")
    async with page(person) as on:
        eye = Eye(on, "service-admin")
        await log_in(on, world)
        await eye.look("portal")
        await eye.visit(world.url(Role.SERVICE, "/portal/members"), "members")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01"), "member")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/reissue"), "member-reissue")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/TEISHI01/reissue"), "member-disabled")
        await eye.visit(world.url(Role.SERVICE, "/portal/applications"), "applications")
        await eye.visit(world.url(Role.SERVICE, f"/portal/applications/{number}"), "application-rejected")
        withdrawal = world.url(Role.SERVICE, f"/portal/applications/{open_one.number}/withdrawal")
        await eye.visit(withdrawal, "withdrawal")
        await press(on, "申請を取り下げる")
        await eye.look("withdrawn")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/credentials"), "credentials")
        made = await credentials.create(ra, "SHINKI01", actor="desk", profile="client-automated")
        ending = f"/portal/members/SHINKI01/credentials/{made[0].kid}/withdrawal"
        await eye.visit(world.url(Role.SERVICE, ending), "credentials-end")
        await eye.visit(world.url(Role.SERVICE, "/portal/overview"), "overview")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/mail"), "mail")
        await on.get_by_label("新しいメールアドレス").fill("shinki01@example")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "変更する")
        await eye.look("mail-refused")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/suspension"), "suspension")
        await on.get_by_label("ログインのパスワード").fill("Wrong2026")
        await press(on, "利用を停止する")
        await eye.look("suspension-refused")
        await eye.visit(world.url(Role.SERVICE, "/portal/addition"), "addition")
        await on.get_by_label("氏名").fill("利用 花子")
        await on.get_by_label("メールアドレス", exact=True).fill("shinki01@example.jp")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await expect(on.get_by_role("group", name="同じ氏名またはメールアドレスの方")).to_be_visible()
        await eye.look("addition-alike")
        await on.get_by_label("氏名").fill("年金 花子")
        await on.get_by_label("メールアドレス", exact=True).fill("hanako@example.jp")
        await on.get_by_label("希望するユーザーID（任意）").fill(USER)
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await eye.look("addition-refused")
        await on.get_by_label("希望するユーザーID（任意）").fill("")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await eye.look("addition-applied")
    assert eye.seen == {}


async def _set_first_password(world: World, password: str) -> None:
    """Puts the user before the first login again."""
    await login.change_password(world.ra, USER, PASSWORD, password, password)
    await world.ra.database.write(
        lambda db: db.execute("UPDATE users SET password_initial = 1 WHERE user_id = :user", {"user": USER})
    )
