"""導通確認サイト: its findings are copied and printed, and the help desk sees the same page."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from enroll.jst import shown
from gateway.web import references
from gateway.web.context import Role
from tests.browser import kit
from tests.browser.kit import Persona, World, faults, page

pytestmark = pytest.mark.browser


async def test_the_findings_are_copied_printed_and_looked_up(
    world: World, person: Persona, tmp_path: kit.Path
) -> None:
    """With the reference number and the moment; by the desk's key the same words are there, without a good
    one nothing is."""
    async with page(person) as on:
        await on.context.grant_permissions(["clipboard-read", "clipboard-write"])
        async with on.expect_response("**/report"):  # which it makes by itself, once it has looked at all
            await on.goto(world.url(Role.CONNECTIVITY))
        await expect(on.locator('[data-check="reach-help"] [data-outcome="reached"]')).to_be_visible()
        await expect(on.locator('[data-check="clock"] [data-outcome=""]')).to_be_hidden()
        reference = await on.locator("#reference").inner_text()
        async with on.expect_response("**/report") as reported:
            await on.locator("#try-popup").click()
        assert (await reported.value).ok
        seen = await on.locator("#result").inner_text()
        await on.get_by_role("button", name="確認結果をコピー").click()
        await expect(on.get_by_text("コピーしました。")).to_be_visible()
        copied = await on.evaluate("navigator.clipboard.readText()")
        assert copied == seen
        assert f"照会番号：{reference}" in copied
        assert f"確認日時：{shown(world.clock.seconds())}" in copied
        assert await faults(on) == []
        await _prints(on)
    key = references.page_key(world.ra, reference)
    desk = kit.persona(tmp_path / "desk", world.deployment.datadir.server_ca_pem)
    async with page(desk, java_script_enabled=False) as on:
        address = world.url(Role.CONNECTIVITY, f"/recorded/{key}")
        await on.goto(address)
        await expect(on.get_by_text("照会番号の記録から表示した画面です。")).to_be_visible()
        recorded = (await on.locator("#result").inner_text()).split()
        # The page of the record has nothing to try out.
        assert recorded == [word for word in seen.split() if word != "ポップアップを確認する"]
        assert await faults(on) == []
        for wrong in (
            f"{key[:-1]}{'0' if key[-1] != '0' else '1'}",
            reference.replace("-", "").lower(),
            "ab",
        ):
            await on.goto(world.url(Role.CONNECTIVITY, f"/recorded/{wrong}"))
            await expect(on.get_by_role("heading", level=1)).to_have_text("ページが見つかりません")
        world.clock.advance(seconds=600)
        await on.goto(address)
        await expect(on.get_by_role("heading", level=1)).to_have_text("ページが見つかりません")


async def _prints(on: Page) -> None:
    """The button opens the browser's dialog; on paper are the findings, and no buttons."""
    await on.evaluate("window.print = () => { window.printed = true; }")
    await on.get_by_role("button", name="印刷する").click()
    assert await on.evaluate("window.printed")
    await on.emulate_media(media="print")
    await expect(on.get_by_role("button", name="印刷する")).to_be_hidden()
    await expect(on.locator("#reference")).to_be_visible()
    await on.emulate_media(media="screen")
