"""The portal as its users and an organisation's 管理者 see it in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from gateway.web.context import Role
from tests.browser.kit import Persona, World, downloaded_by, faults, page
from tests.browser.steps import PASSWORD, USER, established, fact, log_in

pytestmark = pytest.mark.browser


async def test_what_the_portal_tells_and_hands_out(world: World, person: Persona, tmp_path: Path) -> None:
    """The last login and what failed since, the own address, what comes after an application and when; a
    program's credentials are copied and downloaded."""
    await established(world, person, tmp_path, role="admin")
    async with page(person) as on:
        await on.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await log_in(on, world, "Wrong2026")
        await log_in(on, world)
        await expect(on.get_by_text("ログインの失敗が1回ありました。")).to_be_visible()
        assert (await fact(on, "メールアドレス")).startswith(f"{USER.lower()}@example.jp")
        assert await fact(on, "その後のログインの失敗") == "1回"
        assert await faults(on) == []
        await on.goto(world.url(Role.SERVICE, f"/portal/members/{USER}/credentials"))
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await on.get_by_role("button", name="認証情報を作成する").click()
        await _hands_out_credentials(on, tmp_path)
        assert await faults(on) == []
        await on.goto(world.url(Role.SERVICE, "/portal/reissue"))
        await on.get_by_label("パソコンを変更した").check()
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await on.get_by_role("button", name="申請する").click()
        await expect(on.get_by_role("heading", name="今後の流れ")).to_be_visible()
        await expect(on.get_by_text(f"送信先：{USER.lower()}@example.jp")).to_be_visible()
        assert await on.get_by_text("ごろまで）").count() == 2
        assert await faults(on) == []


async def _hands_out_credentials(on: Page, tmp_path: Path) -> None:
    """The clipboard, the file and the page have the same; the file needs no script."""
    shown = json.loads(await on.locator("pre").inner_text())
    (made,) = shown["credentials"]
    for button, text in (
        ("鍵IDをコピー", made["kid"]),
        ("HMAC鍵をコピー", made["hmac_key"]),
        ("全体をコピー", await on.locator("pre").text_content()),
    ):
        await on.get_by_role("button", name=button).click()
        await expect(on.get_by_text("コピーしました。")).to_be_visible()
        assert await on.evaluate("navigator.clipboard.readText()") == text
    file = await downloaded_by(on, on.get_by_role("link", name="ファイルとしてダウンロード"), tmp_path)
    assert (file.name, json.loads(file.read_text())) == (f"eab-{made['kid']}.json", shown)
