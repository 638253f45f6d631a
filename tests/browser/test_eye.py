"""Whoever looks at a page waits until it is there: a click is over when the next one has begun."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Route

from gateway.web.context import Role
from tests.browser.kit import Persona, World, faults, page

pytestmark = pytest.mark.browser

_BEGUN = """<!doctype html><html lang="ja">
<head><title>x</title><link rel="stylesheet" href="/late.css"></head>
<body><label for="f">f</label><input id="f" aria-invalid="true" autofocus></body></html>"""


async def test_a_page_is_looked_at_once_it_is_there(world: World, person: Persona) -> None:
    """While its style is on the way no field has the focus yet, and nobody says that none has."""
    late, asked = asyncio.Event(), asyncio.Event()

    async def answer(route: Route) -> None:
        if route.request.url.endswith(".css"):
            asked.set()
            await late.wait()
            await route.fulfill(body="", content_type="text/css")
        else:
            await route.fulfill(body=_BEGUN, content_type="text/html")

    async with page(person) as on:
        await on.route("**/*", answer)
        await on.goto(world.url(Role.HELP, "/"), wait_until="commit")
        await asked.wait()
        looking = asyncio.create_task(faults(on))
        # What is asked behind it is answered before it.
        assert await on.evaluate("document.activeElement.tagName") == "BODY"
        assert not looking.done()
        late.set()
        assert "no field at fault has the focus" not in await looking
        assert await on.evaluate("document.activeElement.id") == "f"
