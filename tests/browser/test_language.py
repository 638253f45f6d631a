"""The language of whoever reads: with the links, from site to site, and as a setting of the user."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from enroll.people import changes
from gateway.web.context import Role
from tests.browser.kit import Persona, World, page
from tests.browser.steps import PASSWORD, USER, established
from tests.datadirs import admit

pytestmark = pytest.mark.browser


async def _heading(on: Page, words: str) -> None:
    await expect(on.get_by_role("heading", level=1)).to_have_text(words)


async def test_a_language_goes_along_and_is_a_setting(world: World, person: Persona, tmp_path: Path) -> None:
    """From the mail to the pick-up, to help and test and back in what was chosen last; the user's own where
    none was chosen, on every site that knows the user; changed in the portal, for the mails too."""
    await established(world, person, tmp_path)
    await changes.change_user(world.ra, USER, {"language": "en"}, actor="desk")
    await admit(world.ra, "SHINKI01", language="en")
    mail = await world.letter("pickup")
    assert mail.subject.startswith("[Important] How to get your client certificate")
    link = next(line for line in mail.body.splitlines() if line.startswith("https://"))
    async with page(person) as on:
        await on.goto(link)
        await _heading(on, "User authentication")
        await on.get_by_role("link", name="Connectivity test").click()
        await _heading(on, "Connectivity test")
        await on.get_by_role("link", name="Help", exact=True).click()
        await _heading(on, "Help")
        # Japanese from here on, also where English was chosen before.
        await on.get_by_role("link", name="日本語").click()
        await on.get_by_role("contentinfo").get_by_role("link", name="導通確認サイト").click()
        await _heading(on, "導通確認サイト")
    async with page(person) as on:
        await on.goto(world.url(Role.RENEWAL))
        await _heading(on, "DB pension online service: client certificate renewal")
        await on.goto(world.url(Role.SERVICE))
        await _heading(on, "Online service: log in")
        await on.get_by_label("User ID", exact=True).fill(USER)
        await on.get_by_label("Password", exact=True).fill(PASSWORD)
        await on.get_by_role("button", name="Log in").click()
        await on.get_by_role("link", name="Language", exact=True).click()
        await on.get_by_role("radio", name="Japanese").check()
        await on.get_by_role("button", name="Change").click()
        await expect(on.get_by_text("表示とメールの言語を変更しました。")).to_be_visible()
    await changes.reset_password(world.ra, USER, actor="desk")
    assert (await world.letter("password_reset")).value("ユーザーID") == USER
