"""The help is searched and printed, with JavaScript and without."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from gateway.web.context import Role
from tests.browser.kit import Persona, World, faults, page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("javascript", [True, False])
async def test_the_help_is_searched_and_printed(world: World, person: Persona, javascript: bool) -> None:
    """From the contents to the section that was looked for; and to all pages in one."""
    async with page(person, java_script_enabled=javascript) as on:
        await on.goto(world.url(Role.HELP))
        await on.get_by_label("ヘルプ内の検索").fill("firefox インポート")
        await on.get_by_role("button", name="検索する").click()
        await expect(on.get_by_text("件見つかりました。")).to_be_visible()
        assert await faults(on) == []
        await on.get_by_role("main").get_by_role("link", name="証明書を読み込む").first.click()
        await expect(on).to_have_url(world.url(Role.HELP, "/firefox#import"))
        await expect(on.get_by_text("「あなたの証明書」タブの「インポート」ボタンを押し")).to_be_visible()
        await on.goto(world.url(Role.HELP))
        await on.get_by_label("ヘルプ内の検索").fill("パソコンを盗まれました。どうすればいいですか？")
        await on.get_by_label("ヘルプ内の検索").press("Enter")
        first = on.get_by_role("main").get_by_role("listitem").first
        await expect(first.get_by_role("link")).to_have_text(re.compile("再発行"))
        await expect(first.locator("mark").first).to_be_visible()
        await on.goto(world.url(Role.HELP, "/search?q=zzyzx"))
        await expect(on.get_by_text("次のいずれかをお試しください。")).to_be_visible()
        assert await faults(on) == []
        await on.get_by_role("link", name="メールが届かない").click()
        await expect(on.get_by_role("main").get_by_role("link", name="1. メールが届かない")).to_be_visible()
        await on.goto(world.url(Role.HELP, "/print"))
        assert await faults(on) == []
        await expect(on.get_by_role("button", name="印刷する")).to_be_visible(visible=javascript)
        await on.emulate_media(media="print")
        await expect(on.locator("#firefox")).to_be_visible()
        await expect(on.get_by_role("navigation", name="メニュー")).to_be_hidden()
