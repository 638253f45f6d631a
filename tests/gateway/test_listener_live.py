"""Revocation, expiry and stopping reach what is open: idle connections, downloads, WebSockets (V30)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from gateway.http import connection
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import connect, get
from tests.gateway.sites import login

WEBSOCKET = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def application(ends: list[str]) -> web.Application:
    async def download(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 1_000)
                await asyncio.sleep(0.01)
        except ConnectionError:
            ends.append("download")
            raise

    async def socket(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data.upper())
        ends.append("socket")
        return ws

    async def plain(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.get("/", plain), web.get("/download", download), web.get("/ws", socket)])
    return app


@pytest.mark.parametrize("by", ["revocation", "expiry"])
async def test_open_connections_end_with_their_certificate(serve: Serve, pki: Pki, by: str) -> None:
    """V30: an idle connection, a download and a WebSocket end at once; another certificate's do not."""
    from tests.gateway.rawtls import issue

    other = issue("other", pki.ca)
    ends: list[str] = []
    running = await serve(login(pki, handler=application(ends)))
    ask: dict[str, Any] = {"certificate": pki.client}
    async with (
        connect(running.port, b"login.test", **ask) as idle,
        connect(running.port, b"login.test", **ask) as download,
        connect(running.port, b"login.test", **ask) as socket,
        connect(running.port, b"login.test", certificate=other) as bystander,
    ):
        assert (await idle.get(b"login.test")).text == "ok"
        await download.send(get(b"login.test", b"/download"))
        await download.some()
        assert (await socket.get(b"login.test", b"/ws", *WEBSOCKET)).status == 101
        await socket.send(b"\x81\x82\0\0\0\0hi")
        assert await socket.some() == b"\x81\x02HI"
        assert (await bystander.get(b"login.test")).text == "ok"
        begun = time.monotonic()
        if by == "revocation":
            assert running.listener.revoke(pki.client.fingerprint) == 3
        else:
            last = int(pki.client.certificate.not_valid_after_utc.timestamp())
            running.clock.set(last)
            await asyncio.sleep(0.1)
            assert (await bystander.get(b"login.test")).text == "ok"
            assert len(running.listener.connections()) == 4
            running.clock.set(last + 1)
        for each in (idle, download, socket):
            await asyncio.wait_for(each.end(), 2)
        assert time.monotonic() - begun < 1
        if by == "revocation":
            assert (await bystander.get(b"login.test")).text == "ok"
    await asyncio.sleep(0.05)
    assert sorted(ends) == ["download", "socket"]
    assert running.listener.revoke(pki.client.fingerprint) == 0


async def test_stop_lets_requests_finish(serve: Serve, pki: Pki) -> None:
    """A request that runs is answered, idle connections are closed, new ones are not taken."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response(text="finished")

    running = await serve(login(pki, handler=slow))
    async with (
        connect(running.port, b"login.test", certificate=pki.client) as busy,
        connect(running.port, b"login.test", certificate=pki.client) as idle,
    ):
        await busy.send(get(b"login.test"))
        await begun.wait()
        stopping = asyncio.create_task(running.listener.stop())
        await idle.end()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", running.port)
        go_on.set()
        assert (await busy.answer()).text == "finished"
        await stopping


async def test_facts_outlive_the_connection(serve: Serve, pki: Pki) -> None:
    """A handler that outlives its connection still knows whose it was."""
    left = asyncio.Event()
    names: list[str | None] = []

    async def slow(request: web.BaseRequest) -> web.Response:
        await left.wait()
        names.append(connection(request).server_name)
        return web.Response()

    running = await serve(login(pki, handler=slow))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        await client.send(get(b"login.test"))
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    left.set()
    await asyncio.sleep(0.05)
    assert names == ["login.test"]


async def test_an_application_lives_its_whole_life(serve: Serve, pki: Pki) -> None:
    """Start-up, middlewares and clean-up of an application run as under aiohttp's own runner."""
    lived: list[str] = []

    async def context(_: web.Application) -> Any:
        lived.append("start")
        yield
        lived.append("end")

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        lived.append("middleware")
        return await handler(request)

    app = application([])
    app.middlewares.append(middleware)
    app.cleanup_ctx.append(context)
    running = await serve(login(pki, handler=app))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        assert (await client.get(b"login.test")).status == 200
        assert (await client.get(b"login.test", b"/nowhere")).status == 404
    async with connect(running.port, b"login.test") as client:
        assert (await client.get(b"login.test")).status == 403
    await running.listener.stop()
    assert lived == ["start", "middleware", "middleware", "end"]
