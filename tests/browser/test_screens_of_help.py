"""Every screen of the help, and those that a demo has besides, as `test_screens` has the others."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from gateway.sites.help.topics import TOPICS
from gateway.web.context import Role
from tests.browser.eye import Eye
from tests.browser.kit import Persona, World, page, persona
from tests.started import started

pytestmark = pytest.mark.browser


async def test_help_screens(world: World, person: Persona) -> None:
    """R45 to R57."""
    async with page(person) as on:
        eye = Eye(on, "help")
        await eye.visit(world.url(Role.HELP), "contents")
        for topic in TOPICS:
            await eye.visit(world.url(Role.HELP, f"/{topic.slug}"), topic.slug)
    assert eye.seen == {}


async def test_demo_screens(tmp_path: Path) -> None:
    """The mailbox and the clock, as ``make demo`` shows them."""
    summary = tmp_path / "summary.json"
    sekisho = Path(sys.executable).with_name("sekisho")
    command = [str(sekisho), "demo", "--port", "0", "--summary", str(summary)]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        async with asyncio.timeout(90):
            while not summary.exists():
                assert demo.poll() is None, "the demo has ended"
                await asyncio.sleep(0.2)
        told = json.loads(summary.read_text())
        visitor = persona(tmp_path / "pc", Path(told["ca_file"]).read_bytes())
        async with page(visitor) as on:
            eye = Eye(on, "demo")
            mailbox = told["sites"]["mailbox"]
            await eye.visit(mailbox, "mailbox")
            await on.get_by_role("main").get_by_role("link").first.click()
            await eye.look("mail")
            await eye.visit(mailbox + "clock", "clock")
            await eye.visit(told["sites"]["pickup"], "pickup")
            # A landmark with a name, on each site.
            await expect(on.get_by_role("complementary", name="デモ")).to_contain_text("これはデモです。")
        assert eye.seen == {}
        demo.send_signal(signal.SIGTERM)
        demo.wait(60)
