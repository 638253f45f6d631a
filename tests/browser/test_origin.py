"""Scripts of the service behind the gate try to reach our pages on the same origin, in real Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.context import Role
from tests.browser import kit
from tests.browser.planted import Planted, at_home, gone, planted, register, registrations
from tests.browser.steps import established

pytestmark = pytest.mark.browser

FAKE = "planted login"


@pytest.fixture
async def service() -> AsyncIterator[Planted]:
    async with planted() as made:
        yield made


# -- service workers ----------------------------------------------------------------------------------


async def test_no_service_worker_is_registered(tmp_path: Path, service: Planted) -> None:
    """Neither for the whole origin nor for a path: not by the upstream's leave, not from its root, and not
    with a script of ours. The next login is on our own page."""
    service.headers["Service-Worker-Allowed"] = "/"
    async with at_home(tmp_path, service) as (world, page):
        await page.goto(world.url(Role.SERVICE, "/app/"))
        assert await page.inner_text("h1") == "planted"
        for script, scope in (
            ("/app/worker.js", "/"), ("/app/worker.js", ""), ("/worker.js", ""), ("/worker.js", "/app/"),
            ("/login", "/"), ("/portal/", ""),
        ):  # fmt: skip
            assert await register(page, script, scope) in ("TypeError", "SecurityError"), script
        assert await registrations(page) == []
        assert not [each for each in service.asked if each.endswith(".js")]
        await page.goto(world.url(Role.SERVICE, "/login"))
        assert await page.inner_text("h1") != FAKE


async def test_a_service_worker_from_before_is_dropped(tmp_path: Path, service: Planted) -> None:
    """One that was registered while the gate let it is gone after the first page that it answers, also where
    nobody is logged in. A page that asks for one loses nothing that it has stored."""
    free = service.config(public=("/app",))
    before = service.config(public=("/app",), service_workers=("/",))  # no file can say so
    async with kit.world(tmp_path, config=before) as world:
        person = kit.persona(tmp_path / "pc", world.house.datadir.server_ca_pem)
        await established(world, person, tmp_path)
    async with kit.page(person) as page:
        async with kit.served(tmp_path, world.clock.seconds(), before, world.port):
            await page.goto(world.url(Role.SERVICE, "/app/"))
            assert await register(page, "/app/worker.js", "/") == "/"
        async with kit.served(tmp_path, world.clock.seconds(), free, world.port):
            await page.goto(world.url(Role.SERVICE, "/login"))
            assert await page.inner_text("h1") == FAKE  # for the last time
            assert await gone(page)
            await page.goto(world.url(Role.SERVICE, "/login"))
            assert await page.inner_text("h1") != FAKE
            await page.goto(world.url(Role.SERVICE, "/app/"))
            await page.evaluate("localStorage.setItem('theirs', '1')")
            assert await register(page, "/app/worker.js") == "TypeError"
            assert await page.evaluate("localStorage.getItem('theirs')") == "1"


async def test_service_workers_keep_to_the_scope_that_the_operator_allows(
    tmp_path: Path, service: Planted
) -> None:
    """Below it they work, whatever the upstream allows; a script elsewhere, and a wider scope, do not."""
    async with at_home(tmp_path, service, service_workers=("/app/",)) as (world, page):
        await page.goto(world.url(Role.SERVICE, "/app/"))
        for header in ("/", "/portal/", ""):
            service.headers["Service-Worker-Allowed"] = header
            assert await register(page, "/app/worker.js", "/") == "SecurityError"
            assert await register(page, "/app/worker.js", "/portal/") == "SecurityError"
            assert await register(page, "/worker.js", "/app/") == "TypeError"
        assert await register(page, "/app/deep/worker.js", "/app/") == "/app/"
        await page.goto(world.url(Role.SERVICE, "/app/forged?policy=unsafe-none"))
        assert await page.inner_text("h1") == "forged"
