"""Revocation, expiry and stopping reach what is open: idle connections, downloads, WebSockets (V30)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from aiohttp import WSMsgType, web
from OpenSSL import SSL

from ca.anchors import TrustAnchors
from ca.clock import ManualClock
from ca.errors import ConfigError
from ca.revocation import RevocationStatus
from gateway.edge.addresses import source
from gateway.edge.facts import Limits
from gateway.edge.listener import Listener
from gateway.proxy.relay import Proxied, Relay
from gateway.proxy.upstream import Pool, Upstream, parse_addresses
from gateway.wire.handlers import Handlers
from gateway.wire.http import connection
from tests.gateway.conftest import Pki, Serve
from tests.gateway.proxy import conftest as proxies
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.upstreams import listening
from tests.gateway.rawtls import START, Closed, RawClient, connect, get, issue
from tests.gateway.samples import check, login, open_site

WEBSOCKET = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


#: Sites with an upstream.
stand = proxies.stand


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


@contextlib.asynccontextmanager
async def behind(ends: list[str]) -> AsyncIterator[str]:
    """The application behind a gate, by its address."""
    async with listening(application(ends)) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("by", ["revocation", "expiry"])
async def test_open_connections_end_with_their_certificate(stand: Stand, pki: Pki, by: str) -> None:
    """V30: an idle connection, a download and a WebSocket end at once, and so does the upstream's side;
    another certificate's do not."""
    other = issue("other", pki.ca)
    ends: list[str] = []
    ask: dict[str, Any] = {"certificate": pki.client}
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(behind(ends))
        running = (await stand(url)).running
        idle, download, socket = [
            await stack.enter_async_context(connect(running.port, b"login.test", **ask)) for _ in range(3)
        ]
        bystander = await stack.enter_async_context(connect(running.port, b"login.test", certificate=other))
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
            await asyncio.wait_for(each.end(), 60)
        assert time.monotonic() - begun < 60
        if by == "revocation":
            assert (await bystander.get(b"login.test")).text == "ok"
        async with asyncio.timeout(60):
            while sorted(ends) != ["download", "socket"]:
                await asyncio.sleep(0.01)
        assert running.listener.revoke(pki.client.fingerprint) == 0


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_who_comes_waits_until_the_register_has_answered(serve: Serve, pki: Pki, version: int) -> None:
    """At the handshake and before each request, and is judged by what it said; nobody else waits, and who has
    left by then is nobody."""
    asked: list[Callable[[], None]] = []

    def ask(_: str, then: Callable[[], None]) -> bool:
        asked.append(then)
        return False

    async def times(count: int) -> Callable[[], None]:
        async with asyncio.timeout(60):
            while len(asked) < count:
                await asyncio.sleep(0)
        return asked[-1]

    running = await serve(login(pki, handler=answered), ask=ask)
    one = get(b"login.test")
    async with connect(running.port, b"login.test", certificate=pki.client, version=version) as client:
        await client.send(one + one)
        waiting = asyncio.create_task(client.answer())
        go_on = await times(1)
        async with connect(running.port, b"login.test") as stranger:
            assert (await stranger.get(b"login.test")).status == 403
        assert (len(asked), waiting.done(), running.listener.connections()) == (1, False, ())
        go_on()
        go_on = await times(2)
        async with connect(running.port, b"login.test") as stranger:
            assert (await stranger.get(b"login.test")).status == 403
        assert not waiting.done()
        go_on()
        assert (await waiting).text == "ok"
        go_on = await times(3)
        running.status[pki.client.fingerprint] = RevocationStatus.REVOKED
        go_on()
        assert (await client.answer()).status == 403
    async with connect(running.port, b"login.test", certificate=pki.client, version=version):
        go_on = await times(4)
    async with asyncio.timeout(60):
        while running.listener.open_connections:
            await asyncio.sleep(0.01)
    go_on()
    assert running.listener.connections() == ()


async def answered(_: web.BaseRequest) -> web.Response:
    return web.Response(text="ok")


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


async def test_a_stop_takes_as_long_as_it_may(serve: Serve, pki: Pki) -> None:
    """Who does not end by himself is cut off after `limits.drain`, as a swap set it; handlers hear of it."""
    begun, told = asyncio.Event(), asyncio.Event()

    async def endless(_: web.BaseRequest) -> web.Response:
        begun.set()
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            told.set()

    running = await serve(login(pki, handler=endless), limits=Limits(drain=300))
    await running.listener.swap([login(pki, handler=endless)], limits=Limits(drain=0.5))
    async with connect(running.port, b"login.test", certificate=pki.client) as busy:
        await busy.send(get(b"login.test"))
        await begun.wait()
        started = time.monotonic()
        async with asyncio.timeout(60):
            await running.listener.stop()
        assert 0.5 <= time.monotonic() - started < 60
        assert told.is_set()


async def test_a_swap_that_fails_changes_nothing(serve: Serve, pki: Pki) -> None:
    """V3: a reload with anything wrong in it is refused as a whole."""
    running = await serve(check(pki))
    async with connect(running.port, b"check.test", certificate=pki.client) as client:
        with pytest.raises(ConfigError, match="trusts no CA"):
            await running.listener.swap([check(pki, handler=application([])), login(pki, anchors=None)])
        assert (await client.get(b"check.test")).text.startswith("verified")
    async with connect(running.port, b"login.test") as client:
        assert (await client.get(b"login.test")).status == 421


async def test_a_swap_leaves_nobody_under_an_old_policy(serve: Serve, pki: Pki) -> None:
    """V15, V20: an idle connection ends with a goodbye, a running request is answered first, a kept
    site object keeps its connections, and the next handshake has the new policy."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        if request.path == "/slow":
            begun.set()
            await go_on.wait()
        return web.Response(text="ok")

    kept = login(pki)
    running = await serve(check(pki, handler=slow), kept)
    async with (
        connect(running.port, b"check.test") as idle,
        connect(running.port, b"check.test") as busy,
        connect(running.port, b"login.test", certificate=pki.client) as stays,
    ):
        await idle.get(b"check.test")
        await stays.get(b"login.test")
        await busy.send(get(b"check.test", b"/slow"))
        await begun.wait()
        await running.listener.swap([login(pki, hosts=("check.test",), handler=slow), kept])
        assert (await idle.end()).alert == "close_notify"
        go_on.set()
        assert (await busy.answer()).text == "ok"
        assert (await busy.end()).alert == "close_notify"
        assert (await stays.get(b"login.test")).status == 200
    async with connect(running.port, b"check.test") as client:
        assert (await client.get(b"check.test")).status == 403


async def test_a_ca_taken_away_takes_its_connections(stand: Stand, pki: Pki) -> None:
    """V15: what a CA vouched for ends at once when a reload no longer trusts it, WebSockets too."""
    async with behind([]) as url:
        running = (await stand(url)).running
        (site,) = running.listener.entry.table.sites
        async with connect(running.port, b"login.test", certificate=pki.client) as socket:
            assert (await socket.get(b"login.test", b"/ws", *WEBSOCKET)).status == 101
            await running.listener.swap([replace(site)])
            await socket.send(b"\x81\x82\0\0\0\0hi")
            assert await socket.some() == b"\x81\x02HI"
            anchors = TrustAnchors.of([pki.other_ca.certificate])
            await running.listener.swap([replace(site, anchors=anchors)])
            await asyncio.wait_for(socket.end(), 60)
    assert running.listener.counts["reload.no-longer-trusted"] == 1


async def test_a_reload_asks_the_index_nothing(serve: Serve, pki: Pki) -> None:
    """V15: of whom nobody can say anything just then nobody's connection ends by it; each next request asks,
    and whoever is refused by then is refused."""
    running = await serve(login(pki, handler=application([])))
    async with (
        connect(running.port, b"login.test", certificate=pki.client) as client,
        connect(running.port, b"login.test", certificate=pki.client) as revoked,
    ):
        for each in (client, revoked):
            assert (await each.get(b"login.test")).status == 200
        running.status[pki.client.fingerprint] = RevocationStatus.UNASKED
        await running.listener.swap([login(pki, handler=application([]))])
        running.status[pki.client.fingerprint] = RevocationStatus.GOOD
        assert (await client.get(b"login.test")).status == 200
        running.status[pki.client.fingerprint] = RevocationStatus.REVOKED
        await running.listener.swap([login(pki, handler=application([]))])
        assert (await revoked.get(b"login.test")).status == 403
    assert running.listener.counts["reload.no-longer-trusted"] == 0


async def test_an_index_that_fails_is_no_pass(serve: Serve, pki: Pki) -> None:
    """Fail closed: if the index cannot say, the handshake leads nowhere and a request gets 500."""
    running = await serve(login(pki))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        assert (await client.get(b"login.test")).status == 200
        running.listener._status = broken
        assert (await client.get(b"login.test")).status == 500
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        with pytest.raises(Closed):
            await client.get(b"login.test")


def broken(_: str) -> Any:
    raise RuntimeError("the index is away")


async def test_connections_per_certificate(serve: Serve, pki: Pki) -> None:
    """One certificate opens so many connections; another's are not counted with them."""
    running = await serve(login(pki), limits=Limits(tick=0.02, connections_per_certificate=1))
    async with connect(running.port, b"login.test", certificate=pki.client) as first:
        assert (await first.get(b"login.test")).status == 200
        with pytest.raises(Closed):
            async with connect(running.port, b"login.test", certificate=pki.client) as second:
                await second.get(b"login.test")
        assert (await first.get(b"login.test")).status == 200
    assert running.listener.counts["refused.connections-per-certificate"] == 1


def test_source() -> None:
    """IPv6 customers have a /64 each; IPv4 addresses count one by one."""
    assert source("192.0.2.1") != source("192.0.2.2")
    assert source("2001:db8::1") == source("2001:db8::ffff:1%eth0")
    assert source("2001:db8::1") != source("2001:db8:0:1::1")


def test_on_uvloop(pki: Pki) -> None:
    """The same listener on uvloop: verdicts, a long answer, a WebSocket, revocation."""

    async def run(url: str) -> None:
        body = bytes(range(256)) * 8_000

        async def big(_: web.Request) -> web.Response:
            return web.Response(body=body)

        app = web.Application()
        app.router.add_get("/big", big)
        pool = Pool(Upstream(parse_addresses([url])))
        await pool.start()
        proxied = Proxied(pool, proxies.IDENTITY, proxies.CERTIFICATE_ONLY, own=frozenset({"big"}))
        listener = Listener(
            [replace(login(pki, handler=app), relay=Relay(proxied, now=lambda: proxies.AT))],
            wire=Handlers(),
            clock=ManualClock(START),
            status=lambda _: RevocationStatus.GOOD,
            limits=Limits(tick=0.02, drain=0.2),
        )
        port = await listener.start()
        async with connect(port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test", b"/big")).body == body
            assert (await client.get(b"login.test", b"/ws", *WEBSOCKET)).status == 101
            await client.send(b"\x81\x82\0\0\0\0hi")
            assert await client.some() == b"\x81\x02HI"
            assert listener.revoke(pki.client.fingerprint) == 1
            await client.end()
        async with connect(port, b"login.test") as client:
            assert (await client.get(b"login.test")).status == 403
        await listener.stop()
        await pool.stop()

    async def both() -> None:
        async with behind([]) as url:
            await run(url)

    uvloop.run(both())


async def test_reading_goes_on_when_what_came_is_decrypted(serve: Serve, pki: Pki) -> None:
    """Otherwise each pause would leave more with OpenSSL than it found there."""
    running = await serve(login(pki))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        (here,) = running.listener._register.open
        assert (await client.get(b"login.test")).status == 200
        raw = here._raw
        assert raw is not None
        here.pause_reading()
        for piece in (b"POST / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 6\r\n\r\n", b"abc", b"def"):
            client.tls.send(piece)
        here.data_received(client.tls.bio_read(65_536))  # read before the pause
        assert (here._unread, raw.is_reading()) == (3, False)
        here.resume_reading()
        assert not raw.is_reading()
        assert (await client.answer()).status == 200
        assert (here._unread, raw.is_reading()) == (0, True)


async def test_who_leaves_at_once_leaves_no_handler_behind(serve: Serve, pki: Pki, caplog: Any) -> None:
    """W15: the end of the connection comes in one read with half of a body; whoever reads it learns it."""
    ended = asyncio.Event()

    async def read(request: web.BaseRequest) -> web.StreamResponse:
        try:
            await request.read()
        finally:
            ended.set()
        return web.Response()

    running = await serve(login(pki, handler=read))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        client.tls.send(b"POST / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 9\r\n\r\nab")
        client.tls.shutdown()
        await client.push()
        await asyncio.wait_for(ended.wait(), 60)
    (runner,) = [each for handler, each in running.listener._wire._runners.items() if handler is read]
    assert runner.server is not None
    async with asyncio.timeout(60):
        while runner.server.connections:
            await asyncio.sleep(0.01)
    assert caplog.text == ""


@pytest.mark.parametrize("asked", [0, 1, 2])
async def test_who_leaves_before_the_pages_begin_is_no_fault(
    serve: Serve, pki: Pki, caplog: Any, asked: int
) -> None:
    """The connection is lost in the same turn of the loop in which its request came, the first or a later."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    running = await serve(login(pki))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        async with asyncio.timeout(60):
            while not running.listener.connections():
                await asyncio.sleep(0.01)
        for _ in range(asked):
            assert (await client.get(b"login.test")).status == 200
        await asyncio.sleep(0.05)  # until the pages wait for the next
        (here,) = running.listener._register.open
        assert here._http is not None
        here._http.data_received(get(b"login.test"))
        here.connection_lost(None)
        await asyncio.sleep(0.05)
        gc.collect()
    assert told == []
    assert caplog.text == ""


@pytest.mark.parametrize("by", ["swap", "stop"])
async def test_half_a_head_is_finished(serve: Serve, pki: Pki, by: str) -> None:
    """Whoever is in the middle of a request when the sites change, or the server stops, gets the answer."""
    running = await serve(check(pki), limits=Limits(tick=0.02, drain=60, lingering=0.2))
    request = get(b"check.test")
    async with connect(running.port, b"check.test") as client:
        await client.send(request[:10])
        await asyncio.sleep(0.05)
        stopping: asyncio.Task[None] | None = None
        if by == "swap":
            await running.listener.swap([open_site(pki, hosts=("check.test",))])
        else:
            stopping = asyncio.create_task(running.listener.stop())
            await asyncio.sleep(0.05)
        await client.send(request[10:])
        assert (await client.answer()).status == 200
        assert (await asyncio.wait_for(client.end(), 60)).alert == "close_notify"
        if stopping is not None:
            await asyncio.wait_for(stopping, 60)


async def test_facts_outlive_the_connection(serve: Serve, pki: Pki) -> None:
    """A handler that outlives its connection still knows whose it was."""
    begun, left, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    names: list[str | None] = []

    async def slow(request: web.BaseRequest) -> web.Response:
        begun.set()
        await left.wait()
        names.append(connection(request).server_name)
        done.set()
        return web.Response()

    running = await serve(login(pki, handler=slow))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        await client.send(get(b"login.test"))
        await begun.wait()
    async with asyncio.timeout(60):
        while running.listener.connections():
            await asyncio.sleep(0.01)
    left.set()
    await asyncio.wait_for(done.wait(), 60)
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


async def test_a_reload_leaves_connections_open(stand: Stand, pki: Pki) -> None:
    """What asks for the same proof goes on under the new sites: an idle connection, one in a request, and
    a WebSocket; a handler is cleaned up once nobody is with it any more."""
    begun, go_on, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def version(number: int) -> web.Application:
        async def plain(request: web.Request) -> web.Response:
            if request.path == "/own/slow":
                begun.set()
                await go_on.wait()
            return web.Response(text=f"version {number}")

        async def clean(_: web.Application) -> None:
            cleaned.set()

        app = web.Application()
        app.router.add_get("/own/slow", plain)
        app.router.add_get("/own/version", plain)
        if number == 1:
            app.on_cleanup.append(clean)
        return app

    ask: dict[str, Any] = {"certificate": pki.client}
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(behind([]))
        running = (await stand(url, own=frozenset({"own"}), handler=version(1))).running
        (site,) = running.listener.entry.table.sites
        idle, busy, socket = [
            await stack.enter_async_context(connect(running.port, b"login.test", **ask)) for _ in range(3)
        ]
        assert (await idle.get(b"login.test", b"/own/version")).text == "version 1"
        assert (await socket.get(b"login.test", b"/ws", *WEBSOCKET)).status == 101
        await busy.send(get(b"login.test", b"/own/slow"))
        await begun.wait()
        await running.listener.swap([replace(site, handler=version(2))])
        assert (await idle.get(b"login.test", b"/own/version")).text == "version 2"
        assert not cleaned.is_set()  # one is with it still; after that request, at any time
        go_on.set()
        assert (await busy.answer()).text == "version 1"
        assert (await busy.get(b"login.test", b"/own/version")).text == "version 2"
        await socket.send(b"\x81\x82\0\0\0\0hi")
        assert await socket.some() == b"\x81\x02HI"
        running.listener.revoke(pki.client.fingerprint)
        for each in (idle, busy, socket):
            await asyncio.wait_for(each.end(), 60)
        await asyncio.wait_for(cleaned.wait(), 60)


async def test_a_reload_leaves_no_old_application_behind(serve: Serve, pki: Pki) -> None:
    """What served requests before it is gone, however often: memory does not grow with reloads."""

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        return await handler(request)

    def fresh() -> web.Application:
        app = application([])
        app.middlewares.append(middleware)
        apps.append(weakref.ref(app))
        return app

    apps: list[weakref.ref[web.Application]] = []
    running = await serve(login(pki, handler=fresh()))
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        for _ in range(5):
            assert (await client.get(b"login.test")).status == 200
            await running.listener.swap([login(pki, handler=fresh())])
        assert (await client.get(b"login.test")).status == 200
        async with asyncio.timeout(60):
            while sum(app() is not None for app in apps) > 1:
                await asyncio.sleep(0.02)


async def test_a_handshake_during_a_reload(serve: Serve, pki: Pki) -> None:
    """Begun before and finished after: it belongs to the site that has the name now; if that one asks for
    another proof, each request is told to come again (421)."""

    async def half(host: bytes) -> RawClient:
        client = await stack.enter_async_context(
            connect(running.port, host, certificate=pki.client, handshake=False)
        )
        with contextlib.suppress(SSL.WantReadError):
            client.tls.do_handshake()
        await client.push()
        await client.pull()
        return client

    running = await serve(login(pki, handler=application([])), check(pki, handler=application([])))
    async with contextlib.AsyncExitStack() as stack:
        kept, changed = await half(b"login.test"), await half(b"check.test")
        others = (pki.other_ca.certificate,)
        fresh = application([])
        await running.listener.swap([login(pki, handler=fresh), open_site(pki, hosts=("check.test",))])
        await kept.handshake()
        assert (await kept.get(b"login.test")).text == "ok"
        assert running.listener.revoke(pki.client.fingerprint) == 1
        await changed.handshake()
        assert (await changed.get(b"check.test")).status == 421
        distrusted = await half(b"login.test")
        await running.listener.swap([login(pki, handler=fresh, anchors=TrustAnchors.of(others))])
        await distrusted.handshake()
        assert (await distrusted.get(b"login.test")).status == 403
