"""A real browser uses a real service through the gate: page, fetch, WebSocket, events, upload, download."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.demo.upstream import application
from gateway.proxy.identity import JWKS_PATH
from gateway.serving.config import Config
from gateway.serving.settings.behind import Behind
from gateway.web.context import Role
from tests.browser import kit
from tests.browser.steps import established, log_in

pytestmark = pytest.mark.browser

_TALK = """async () => {
  const who = await (await fetch('/app/who')).json();
  const socket = new WebSocket(`wss://${location.host}/app/socket`);
  const said = await new Promise((resolve, reject) => {
    socket.onopen = () => socket.send('やあ');
    socket.onmessage = (event) => resolve(event.data);
    socket.onerror = () => reject(new Error('no WebSocket'));
  });
  socket.close();
  const events = new EventSource('/app/events');
  const first = await new Promise((resolve) => { events.onmessage = (event) => resolve(event.data); });
  events.close();
  const bytes = new Uint8Array(3_000_000).fill(7);
  const sent = await (await fetch('/app/file', {method: 'PUT', body: bytes})).json();
  const got = await (await fetch('/app/file/3000000')).arrayBuffer();
  return {who, said, first, sent: sent.length, got: got.byteLength};
}"""
_INTRUDE = """(target) => new Promise((resolve) => {
  const socket = new WebSocket(target);
  socket.onopen = () => resolve('in');
  socket.onerror = () => resolve('refused');
})"""


async def test_a_browser_uses_the_service(tmp_path: Path) -> None:
    """Everything a page does goes through, with the caller's name; another site's page gets nowhere."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = replace(Config(), upstream=Behind(addresses=(address,)))
        async with kit.world(tmp_path, config=settings) as world:
            issuer, audience = world.url(Role.HELP, ""), world.url(Role.SERVICE, "")
            service = application(await published(world), issuer, audience, world.clock.seconds)
            runner = web.AppRunner(service)
            await runner.setup()
            await web.SockSite(runner, listening).start()
            person = kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
            await established(world, person, tmp_path)
            async with kit.page(person) as page:
                await log_in(page, world)
                await page.goto(world.url(Role.SERVICE, "/app/"))
                assert await page.get_by_role("heading").inner_text() == "サービスの例"
                told = await page.evaluate(_TALK)
                user = told["who"]["sub"]
                assert told["who"]["level"] == "login"
                assert (told["said"], told["first"]) == (f"{user}: やあ", "1")
                assert (told["sent"], told["got"]) == (3_000_000, 3_000_000)
                await page.goto(world.url(Role.HELP))
                target = world.url(Role.SERVICE, "/app/socket").replace("https", "wss")
                assert await page.evaluate(_INTRUDE, target) == "refused"
            await runner.cleanup()


async def published(world: kit.World) -> dict[str, Any]:
    """The keys, fetched as an upstream would."""
    context = ssl.create_default_context(cadata=world.deployment.datadir.server_ca_pem.decode())
    context.check_hostname = False
    async with aiohttp.ClientSession() as client, client.get(
        f"https://127.0.0.1:{world.port}{JWKS_PATH}",
        ssl=context, server_hostname="help.localhost", headers={"Host": f"help.localhost:{world.port}"},
    ) as got:  # fmt: skip
        assert got.status == 200
        return dict(await got.json())
