"""What once stopped, misled or annoyed people on their way through the manual, on the screens it did so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from ca.certificates import serial_in_chooser
from enroll import store
from enroll.jst import shown_day
from enroll.requests.enrollment import Enrollment
from enroll.settings import DAY
from gateway.web.context import Role
from tests.browser.kit import (
    CHROMIUM,
    FLAGS,
    P12_PASSWORD,
    Persona,
    World,
    downloaded,
    driver,
    environment,
    page,
)
from tests.browser.steps import PASSWORD, USER, authenticate, established, fact, log_in, submit
from tests.datadirs import admit
from tests.looking import look

pytestmark = pytest.mark.browser


@asynccontextmanager
async def without_cookies(person: Persona) -> AsyncIterator[BrowserContext]:
    """The person's browser, which somebody has set to keep no cookies."""
    profile = person.home / "blocked"
    (profile / "Default").mkdir(parents=True)
    settings = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (profile / "Default" / "Preferences").write_text(json.dumps(settings))
    context = await driver().chromium.launch_persistent_context(
        profile, executable_path=CHROMIUM, env=environment(person.home), args=FLAGS, locale="ja-JP"
    )
    try:
        yield context
    finally:
        await context.close()


def newest(world: World) -> Enrollment:
    return store.enrollments_of(look(world.ra.database), USER)[0]


async def heading(on: Page, text: str) -> None:
    await expect(on.get_by_role("heading", level=1)).to_have_text(text)


async def press(on: Page, name: str) -> None:
    await on.get_by_role("main").get_by_role("button", name=name, exact=True).first.click()


async def test_blocked_cookies_are_said_to_be(world: World, person: Persona, tmp_path: Path) -> None:
    """Where the browser keeps none, a right password leads to a page that says so, and how to allow them."""
    await established(world, person, tmp_path)
    await admit(world.ra, "K87654321")
    async with without_cookies(person) as context:
        on = context.pages[0]
        mail = await world.letter("pickup")
        await on.goto(world.url(Role.PICKUP))
        await on.get_by_label("ユーザー ID").fill("K87654321")
        await on.get_by_label("証明書発行用パスワード").fill(mail.value("証明書発行用パスワード"))
        await press(on, "Login")
        await heading(on, "Cookieが保存されませんでした")
        await expect(on.get_by_text("照会番号：")).to_be_visible()
        await on.get_by_role("link", name="Cookieの許可方法を見る").click()
        await heading(on, "Cookieの許可方法")
        await expect(on.locator("section.own")).to_contain_text("デバイス上のサイトデータ")
        # What is wrong is told as well, and not taken for the cookies' fault.
        await log_in(on, world, "Wrong2026")
        await expect(on.get_by_role("alert")).to_contain_text("ユーザーIDまたはパスワードに誤りがあります。")
        await log_in(on, world)
        await heading(on, "Cookieが保存されませんでした")
        await on.get_by_role("link", name="もう一度手続きする").click()
        await expect(on.get_by_role("button", name="ログイン")).to_be_visible()
        await world.travel((newest(world).not_after_at or 0) - 30 * DAY)
        await on.goto(world.url(Role.RENEWAL, "/application"))
        await press(on, "Submit")
        await expect(on.get_by_label("パスワードの確認")).to_be_visible(timeout=60_000)
        await on.get_by_label("パスワード", exact=True).fill(P12_PASSWORD)
        await on.get_by_label("パスワードの確認").fill(P12_PASSWORD)
        await press(on, "Submit")
        await heading(on, "Cookieが保存されませんでした")


async def gone_back_to(on: Page, world: World) -> None:
    """Leaves a page that says what is wrong, comes back to it, and loads it again."""
    await expect(on.get_by_role("alert").first).to_be_visible()
    told, title = await on.get_by_role("alert").first.inner_text(), await on.title()
    await on.goto(world.url(Role.HELP, "/contact"))
    await on.go_back()
    assert (await on.get_by_role("alert").first.inner_text(), await on.title()) == (told, title)
    await on.reload()
    assert await on.get_by_role("alert").first.inner_text() == told


async def test_back_leads_to_a_page_after_every_refused_form(
    world: World, person: Persona, tmp_path: Path
) -> None:
    """Chromium shows ERR_CACHE_MISS for a page that answered a POST; what is typed again then goes on."""
    await established(world, person, tmp_path, role="admin")
    async with page(person) as on:
        await log_in(on, world, "Wrong2026")
        await gone_back_to(on, world)
        await expect(on.get_by_label("ユーザーID", exact=True)).to_have_value(USER)
        await on.get_by_label("パスワード", exact=True).fill(PASSWORD)
        await press(on, "ログイン")
        await heading(on, "年金 太郎 様")
        once_more = {"ログインのパスワード": "Wrong2026"}
        passwords = {"現在のパスワード": "x", "新しいパスワード": "a", "新しいパスワードの確認": "a"}
        for path, button, fields in (
            ("/portal/password", "変更する", passwords),
            ("/portal/reissue", "申請する", once_more),
            (f"/portal/members/{USER}/credentials", "認証情報を作成する", once_more),
        ):
            await on.goto(world.url(Role.SERVICE, path))
            if path == "/portal/reissue":
                await on.get_by_label("パソコンを変更した").check()
            for label, value in fields.items():
                await on.get_by_label(label, exact=True).fill(value)
            await press(on, button)
            await gone_back_to(on, world)
        await admit(world.ra, "K87654321")
        await on.goto(world.url(Role.PICKUP))
        mail = await world.letter("pickup")
        await on.get_by_label("ユーザー ID").fill("K87654321")
        await on.get_by_label("証明書発行用パスワード").fill("wrong")
        await press(on, "Login")
        await gone_back_to(on, world)
        await on.get_by_label("証明書発行用パスワード").fill(mail.value("証明書発行用パスワード"))
        await press(on, "Login")
        await heading(on, "確定給付企業年金オンラインサービス クライアント証明書取得画面")
        await on.goto(world.url(Role.PICKUP, "/certificate"))
        for request_id, password in (("1234", "a-b"), (newest(world).request_id, "abc")):
            await on.get_by_label("リクエストID").fill(request_id)
            await on.get_by_label("パスワード", exact=True).fill(password)
            await on.get_by_label("パスワードの確認").fill(password)
            await press(on, "Submit")
            await gone_back_to(on, world)


async def test_a_renewal_leaves_no_doubt(world: World, person: Persona, tmp_path: Path) -> None:
    """From the mail to the new certificate: which one to choose, what is left to do, which file it is."""
    await established(world, person, tmp_path)
    old = newest(world)
    old_mark = serial_in_chooser(old.serial or "")
    await world.travel((old.not_after_at or 0) - 30 * DAY)
    mail = await world.letter("renewal_30")
    assert mail.value("シリアル番号（先頭8桁）") == old_mark
    async with page(person) as on:
        await on.goto(world.url(Role.RENEWAL, "/application"))
        assert (await fact(on, "シリアル番号")).startswith(old_mark)
        await expect(on.get_by_text("「証明書情報」を押してください")).to_be_visible()
        await press(on, "Submit")
        await heading(on, "証明書の取得")
        await on.goto(world.url(Role.CONNECTIVITY))
        await expect(on.get_by_text("更新のお手続きが途中です。")).to_be_visible()
        await on.go_back()
        await submit(on, P12_PASSWORD)
        new = newest(world)
        new_mark = serial_in_chooser(new.serial or "")
        which = on.get_by_role("region", name="新しい証明書の選び方")
        await expect(which).to_contain_text(new_mark)
        await expect(which).to_contain_text(old_mark)
        done = on.get_by_role("heading", name="ダウンロードしました")
        await expect(done).to_be_hidden()
        # How often it can be got again: without a reload, too.
        await expect(on.get_by_text("（今回を含めて残り5回）")).to_be_visible()
        file = await downloaded(on, tmp_path)
        assert file.name == f"{old.common_name}_{shown_day(new.not_after_at or 0).replace('.', '')}.p12"
        await expect(done).to_be_focused()
        await expect(on.get_by_text("（残り4回）")).to_be_visible()
        await expect(on.get_by_text("（今回を含めて残り5回）")).to_be_hidden()
        rest = await on.get_by_role("list").filter(has_text="ファイル").first.inner_text()
        for step in (
            "クリックして開きます",
            "パスワードを入力し",
            "証明書の確認",
            "ログインすることが可能です",
        ):
            assert step in rest
        await on.reload()
        await expect(done).to_be_visible()
        # Its certificate is not imported yet: the browser goes on with the old one.
        await on.goto(world.url(Role.CONNECTIVITY))
        found = on.get_by_role("region", name="クライアント証明書")
        await expect(found).to_contain_text("新しい証明書があります")
        await expect(found).to_contain_text(new_mark)
        await expect(found.get_by_role("link", name="更新のお手続きを開く")).to_have_count(0)
        await log_in(on, world)
        await expect(on.get_by_text("新しい証明書があります")).to_contain_text(new_mark)
        assert (await fact(on, "シリアル番号")).startswith(old_mark)


async def test_after_the_download_without_javascript(world: World, person: Persona, tmp_path: Path) -> None:
    """A link loads the page once more, which then says what is left."""
    await admit(world.ra, USER)
    async with page(person, java_script_enabled=False) as on:
        await authenticate(on, world)
        await on.goto(world.url(Role.PICKUP, "/certificate"))
        await submit(on, P12_PASSWORD, (await world.letter("pickup")).value("リクエストID"))
        await downloaded(on, tmp_path)
        await on.get_by_role(
            "link", name="ここを押すと、ダウンロードの結果と残りの回数が表示されます"
        ).click()
        await expect(on.get_by_role("heading", name="ダウンロードしました")).to_be_visible()


async def test_another_users_certificate_is_told_from_a_wrong_password(
    world: World, person: Persona, tmp_path: Path
) -> None:
    """Whatever the password, and however often: the ID is not the certificate's; another one can be chosen.

    The renewal page of another's request leads there, too, and a weak password is told why it is one.
    """
    await established(world, person, tmp_path)
    other = await admit(world.ra, "K87654321")
    async with page(person) as on:
        for _ in range(world.ra.settings.attempts + 1):
            await on.goto(world.url(Role.SERVICE))
            await on.get_by_label("ユーザーID", exact=True).fill("K87654321")
            await on.get_by_label("パスワード", exact=True).fill("Wrong2026")
            await press(on, "ログイン")
            alert = on.get_by_role("alert")
            await expect(alert).to_contain_text("選択された証明書のユーザーIDと異なります")
        await expect(alert.get_by_role("link", name="証明書を選択しなおす")).to_be_visible()
        await log_in(on, world)
        await heading(on, "年金 太郎 様")
        await on.goto(world.url(Role.SERVICE, "/portal/password"))
        for new, why in (
            (USER, "ユーザーIDと同じパスワードは使用できません。"),
            ("password1", "推測されやすいパスワード"),
            ("Sakura2026", "推測されやすいパスワード"),
        ):
            await on.get_by_label("現在のパスワード").fill(PASSWORD)
            await on.get_by_label("新しいパスワード", exact=True).fill(new)
            await on.get_by_label("新しいパスワードの確認").fill(new)
            await press(on, "変更する")
            await expect(on.get_by_role("alert")).to_contain_text(why)
        await on.goto(world.url(Role.RENEWAL, f"/certificate/{other.request_id}"))
        await heading(on, "別の証明書が選択されています")
        first = on.get_by_role("main").locator(".actions a").first
        await expect(first).to_have_text("証明書を選択しなおす")
