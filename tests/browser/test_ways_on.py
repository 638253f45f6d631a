"""What a page says leads on: out of a lockout, to the choice of a certificate, in one wording."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from gateway.web.context import Role
from tests.browser.kit import P12_PASSWORD, Persona, World, faults, page
from tests.browser.steps import USER, authenticate, established, submit
from tests.datadirs import admit

pytestmark = pytest.mark.browser

#: Far more than are allowed.
_TRIES = 30


async def test_out_of_a_lockout(world: World, person: Persona) -> None:
    """The page says until when, and leads to what to do about a password; the form waits there, too."""
    await admit(world.ra, USER)
    async with page(person) as on:
        await on.goto(world.url(Role.PICKUP))
        heading = on.get_by_role("heading", level=1)
        for _ in range(_TRIES):
            if await heading.inner_text() != "ユーザー認証":
                break
            await on.get_by_label("ユーザー ID").fill(USER)
            await on.get_by_label("証明書発行用パスワード").fill("Wrong2026")
            await on.get_by_role("main").get_by_role("button", name="Login").click()
        await expect(heading).to_have_text("受付を一時停止しています")
        await expect(on.get_by_role("alert")).to_contain_text("受付の再開：")
        assert await faults(on) == []
        await on.get_by_role("main").get_by_role("link", name="ログインできないとき").click()
        await expect(on).to_have_url(world.url(Role.HELP, "/trouble#password"))
        await expect(on.locator("#password")).to_be_in_viewport()


async def test_which_certificate_to_choose(world: World, person: Persona, tmp_path: Path) -> None:
    """Where a page says so and in the help: by the serial number as the chooser has it; each chooser is drawn
    with what to press."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        await on.goto(world.url(Role.HELP, "/trouble#choose"))
        await expect(on.locator("#choose")).to_have_text("証明書が複数表示される")
        said = on.get_by_role("main")
        await expect(said).to_contain_text("「シリアル番号」で見分けます")
        await expect(said).to_contain_text("証明書情報")
        await on.goto(world.url(Role.HELP, "/chooser"))
        drawn = on.get_by_role("main").locator(".dialog")
        await expect(drawn).to_have_count(4)
        for number in range(4):
            await expect(drawn.nth(number)).to_be_visible()
            await expect(drawn.nth(number)).to_contain_text("CORPORATE-PENSION BUSINESS SERVICE CA-G4")
        for slug, words in (
            ("mac", "キーチェーンアクセス"),
            ("firefox", "あなたの証明書"),
            ("cookies", "Cookie"),
        ):
            await on.goto(world.url(Role.HELP, f"/{slug}"))
            await expect(on.get_by_role("main").get_by_text(words).first).to_be_visible()


async def test_one_wording_in_english(world: World, person: Persona) -> None:
    """証明書の取得 is "Get the certificate" in the menu, the headings and the help."""
    await admit(world.ra, USER)
    async with page(person) as on:
        await authenticate(on, world)
        await expect(on.get_by_role("link", name="証明書の取得").first).to_be_visible()
        await on.goto(f"{on.url}?lang=en")
        for _ in range(2):
            await expect(on.get_by_role("link", name="Get the certificate").first).to_be_visible()
            assert "fetch" not in (await on.locator("body").inner_text()).lower()
            await on.get_by_role("link", name="Get the certificate").first.click()
            await expect(on.get_by_role("heading", level=1)).to_have_text("Get the certificate")
        await on.goto(world.url(Role.PICKUP, "/certificate?lang=ja"))
        await submit(on, P12_PASSWORD, (await world.letter("pickup")).value("リクエストID"))
        await on.goto(f"{on.url}?lang=en")
        await expect(on.get_by_role("heading", level=1)).to_have_text("Get the certificate")
        for path in ("/pickup", "/renewal", "/reapplication", "/faq", "/trouble"):
            await on.goto(world.url(Role.HELP, f"{path}?lang=en"))
            assert "fetch" not in (await on.locator("body").inner_text()).lower(), path
