"""What a host beside ours can do to the cookies of ours, in real Chromium; and how people get out of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page

from gateway.serving.config import Config
from gateway.serving.settings.reach import Sites
from gateway.web.context import Role
from tests.browser import kit
from tests.browser.steps import USER, authenticate
from tests.datadirs import admit

pytestmark = pytest.mark.browser

# One registrable domain, which a cookie may be set for; *.localhost are domains each.
SITES = Sites(
    pickup=("pickup.example.test",),
    renewal=("renewal.example.test",),
    service=("service.example.test",),
    connectivity=("check.example.test",),
    help=("help.example.test",),
    try_suffix="",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[kit.World]:
    """One for all tests: a user, and nothing that they change."""
    async with kit.world(tmp_path_factory.mktemp("world"), config=replace(Config(), sites=SITES)) as made:
        await admit(made.ra, USER)
        yield made


async def _plant(page: Page, world: kit.World, cookie: str) -> None:
    """As a script on a sibling host can: our help site stands for it."""
    await page.goto(world.url(Role.HELP))
    await page.evaluate("(cookie) => { document.cookie = cookie; }", f"{cookie}; domain=example.test; path=/")


async def _names(page: Page) -> set[str]:
    return {str(each.get("name", "")) for each in await page.context.cookies()}


#: How a cookie is planted, and whether a browser keeps it.
SPELLINGS = {
    "x=y __Host-pickup=TOKEN": True,
    "x=1, __Host-pickup=TOKEN": True,
    "\u2003__Host-pickup=TOKEN": True,
    "__Host-pickup=TOKEN": False,  # the prefix does its work
    "=__Host-pickup=TOKEN": False,
}


async def test_nobody_picks_up_in_a_planted_session(tmp_path: Path, world: kit.World) -> None:
    """A sibling host sets the attacker's session for the whole domain: the victim's browser is led to the
    login, drops what was planted, and the victim's own login works."""
    ca = world.deployment.datadir.server_ca_pem
    victim_of = kit.persona(tmp_path / "victim", ca)
    async with kit.page(kit.persona(tmp_path / "attacker", ca)) as attacker:
        await authenticate(attacker, world)
        await attacker.wait_for_url("**/menu")
        held = await attacker.context.cookies()
        token = next(str(each["value"]) for each in held if each["name"] == "__Host-pickup")
        for spelling, stored in SPELLINGS.items():
            # What is planted is good: it is the attacker's own, who is still in.
            await attacker.goto(world.url(Role.PICKUP, "/menu"))
            assert await attacker.inner_text("h1") != "ユーザー認証"
            async with kit.page(victim_of) as victim:
                await _plant(victim, world, spelling.replace("TOKEN", token))
                assert bool(await _names(victim)) == stored, spelling
                await victim.goto(world.url(Role.PICKUP, "/menu"))
                assert await victim.inner_text("h1") == "ユーザー認証"
                assert await _names(victim) == set()
                await authenticate(victim, world)
                await victim.wait_for_url("**/menu")
                assert await _names(victim) == {"__Host-pickup"}


@pytest.mark.parametrize("number", [4, 40])
async def test_too_many_cookies_are_cleared_by_a_button(
    tmp_path: Path, world: kit.World, number: int
) -> None:
    """Every page says what is the matter; the button works although its own request is too large as well,
    even for the head to be read, and the site is there again."""
    person = kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
    async with kit.page(person) as page:
        await page.context.add_cookies(
            [
                {
                    "name": f"d{each}",
                    "value": "x" * 3_900,
                    "domain": ".example.test",
                    "path": "/",
                    "httpOnly": True,
                }
                for each in range(number)
            ]
        )
        answer = await page.goto(world.url(Role.PICKUP))
        assert answer is not None
        assert answer.status == 431
        heading = page.get_by_role("heading", name="ブラウザから送られた情報が大きすぎます")
        await heading.wait_for()
        assert await kit.faults(page) == []
        folder = os.environ.get("SEKISHO_SCREENSHOTS")
        if folder:
            await page.screenshot(path=Path(folder) / f"too-large-{number}.png")
        await page.get_by_role("button", name="Cookieを消去する").click()
        await page.get_by_role("heading", name="Cookieを消去しました").wait_for()
        assert await _names(page) == set()
        await page.get_by_role("link", name="最初のページを開く").click()
        await page.wait_for_url(world.url(Role.PICKUP))
        assert await page.inner_text("h1") == "ユーザー認証"
