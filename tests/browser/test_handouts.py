"""The files for an organisation's administrator, read by the browsers that they are for."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from playwright.async_api import TimeoutError as Waited

from gateway.web.context import Role
from tests.browser.kit import Persona, World, downloaded_by, faults, page, with_policies
from tests.browser.steps import established

pytestmark = pytest.mark.browser

_HEADINGS = {
    Role.RENEWAL: "確定給付企業年金オンラインサービス クライアント証明書更新画面",
    Role.SERVICE: "確定給付企業年金オンラインサービス ログイン",
    Role.CONNECTIVITY: "導通確認サイト",
}
# Milliseconds after which a page that has not come is one behind a picker that nobody sees.
_PATIENCE = 3_000


async def test_the_policies_choose_the_certificate_and_allow_popups(
    world: World, person: Persona, tmp_path: Path
) -> None:
    """As downloaded and put into Chromium's folder: no picker on our sites, pop-ups open; on a host of
    証明書を選択しなおす the browser still asks. Without the file it asks, and stops windows."""
    without = tmp_path / "without"
    managed = tmp_path / "with" / "managed"
    for folder in (without / "managed", managed):
        folder.mkdir(parents=True)
    async with with_policies(person, without) as running:
        async with page(person, running=running) as on:
            assert await _popups(on, world) == "blocked"
            await on.goto(world.url(Role.HELP, "/hosts"))
            assert await faults(on) == []
            file = await downloaded_by(on, on.get_by_role("link", name="linux-policy.json"), managed)
            pac = await on.evaluate("fetch('/handouts/proxy.pac').then((got) => got.text())")
            await _checks_hosts(on, world, pac)
        assert file.name == "linux-policy.json"
        await established(world, person, tmp_path)
        async with page(person, running=running) as on:
            with pytest.raises(Waited):
                await on.goto(world.url(Role.RENEWAL), timeout=_PATIENCE)
    async with with_policies(person, managed.parent) as running, page(person, running=running) as on:
        for role, heading in _HEADINGS.items():
            await on.goto(world.url(role))
            await expect(on.get_by_role("heading", level=1)).to_have_text(heading)
        assert await _popups(on, world) == "allowed"
        fresh = f"https://{secrets.token_hex(8)}.renew.localhost:{world.port}/"
        with pytest.raises(Waited):
            await on.goto(fresh, timeout=_PATIENCE)


async def _checks_hosts(on: Page, world: World, pac: str) -> None:
    """The proxy's file names our hosts, and no others."""
    names = [host for role in _HEADINGS for host in getattr(world.deployment.config.sites, str(role))]
    ours = [name.replace("*.", "x.") for name in names]
    others = ["example.com", "xrenewal.localhost", "renewal.localhost.example.com", "renew.localhost"]
    found = await on.evaluate(f"(hosts) => {{ {pac} return hosts.map(sekishoDirect); }}", ours + others)
    assert found == [True] * len(ours) + [False] * len(others)


async def _popups(on: Page, world: World) -> str:
    """What the connectivity test finds of pop-ups."""
    await on.goto(world.url(Role.CONNECTIVITY))
    await on.locator("#try-popup").click()
    shown = on.locator('[data-check="popups"] [data-outcome]:visible')
    return str(await shown.first.get_attribute("data-outcome"))
