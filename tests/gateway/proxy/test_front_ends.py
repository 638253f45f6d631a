"""How exchanges end: clients that leave, upstreams that fail, reloads, the stop; and what the log says."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from dataclasses import replace

import pytest
from aiohttp import web

from ca.trust import VerifiedPeer
from gateway.edge.facts import Limits
from gateway.proxy.identity import Caller
from gateway.proxy.relay import NotRelayed, Proxied, Relay
from gateway.proxy.rules import rules_of
from gateway.proxy.upstream import Address
from gateway.proxy.waiting import Waits
from gateway.wire.request import Request
from tests.gateway.proxy.conftest import IDENTITY
from tests.gateway.proxy.deployments import HOST, OK, Build, held_up, pages, post, relaying, statuses, until
from tests.gateway.proxy.test_proxy_websocket import OPENING, capitals
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import everything, get, head_of

# -- clients that leave ------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["admission", "connect", "answer", "upload", "download", "page"])
async def test_who_leaves_leaves_nothing_behind(deployment: Build, moment: str) -> None:
    """Whenever a client goes: no task, no connection to the upstream, and one line in the log."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if moment == "connect":
            reached.set()  # a ClientHello that is never answered
            await reader.read()
        await reader.readuntil(b"\r\n\r\n")
        if moment == "upload":
            await reader.readexactly(1_000)
        if moment == "download":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + bytes(1_000))
        reached.set()
        while await reader.read(65_536):
            pass

    async def admit(request: Request) -> Caller:
        if moment == "admission":
            reached.set()
            await go.wait()
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)

    async def take(request: web.Request) -> web.Response:
        await request.content.readexactly(1_000)
        reached.set()
        return web.Response(body=await request.read())

    async with running(upstream) as port:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if moment == "connect" else None
        address = Address("127.0.0.1", port, tls, "upstream.test")
        here = await deployment(
            addresses=(address,), waits=Waits(connect=0.3) if moment == "connect" else Waits(),
            needs="login", login=admit, app=pages(("POST", "/own/take", take)),
        )  # fmt: skip
        async with here.client() as client:
            if moment in ("upload", "page"):
                target = b"/own/take" if moment == "page" else b"/a"
                await client.send(post(target, bytes(1_000), length=90_000))
            else:
                await client.send(get(HOST, b"/a"))
            await reached.wait()
            if moment == "download":
                await client.some()
        await until(lambda: here.running.listener.open_connections == 0)
        go.set()
        await until(lambda: not relaying() and here.pool.open == 0 and len(here.log.entries) == 1)
        assert here.pool.resting() is None


async def test_who_leaves_during_admission_takes_no_connection_along(deployment: Build) -> None:
    """The upstream's connection that rests meanwhile is there for the next one; nothing was sent on it."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def admit(request: Request) -> Caller:
        if request.target == "/b":
            asked.set()
            await go.wait()
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)

    async with recording() as upstream:
        here = await deployment(upstream.url, needs="login", login=admit)
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).status == 200
            await client.send(get(HOST, b"/b"))
            await asked.wait()
        await until(lambda: here.running.listener.open_connections == 0)
        go.set()
        await until(lambda: len(here.log.entries) == 2)
        assert here.pool.open == 1
        assert here.pool.resting() is not None
    assert [seen.target for seen in upstream.requests] == ["/a"]


# -- upstreams that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "within", "after"])
async def test_an_upstream_that_fails_has_a_page(deployment: Build, moment: str) -> None:
    """Before, within and after a body; the connection goes on only if all of the body has come."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if moment != "before":
            await reader.readexactly(5 if moment == "within" else 10)
        writer.transport.abort()

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            answer = await client.ask(post(b"/a", bytes(10 if moment == "after" else 5), length=10))
            assert (answer.status, answer.body) == (502, b"closed")
            if moment == "after":
                assert (await client.get(HOST, b"/own/page")).status == 200
            else:
                assert answer.headers["connection"] == "close"
                assert (await asyncio.wait_for(client.end(), 60)).alert == "close_notify"
        assert here.log.lines()[0] == ("POST", "/a", 502)
        await until(lambda: here.pool.open == 0 and not relaying())


async def test_an_early_answer_is_seen_by_who_goes_on_sending(deployment: Build) -> None:
    """After an answer that comes before the body did, the rest is read for a while, and dropped."""
    answer = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"
    async with running(saying(answer)) as port:
        here = await deployment(f"http://127.0.0.1:{port}", limits=Limits(tick=0.02, drain=0.2, lingering=5))
        async with here.client() as client:
            size = 2_000_000
            got = await client.ask(post(b"/a", b"x", length=size))
            assert (got.status, got.headers["connection"]) == (413, "close")
            for _ in range(20):
                await client.send(get(HOST, b"/own/page").ljust(size // 20, b"x"))
            rest, alert = await everything(client)
        assert (rest, alert) == (b"", "close_notify")
        assert len(here.log.entries) == 1
        assert here.pool.open == 0


async def test_an_upstream_that_is_reset_has_said_no_end(deployment: Build) -> None:
    """An answer that lasts as long as its connection is whole after a proper end of that, and only then."""
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await go.wait()
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort()

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            while b"half" not in client.buffer:
                client.buffer += await client.some()
            go.set()
            got, alert = await everything(client)
        assert not got.endswith(b"0\r\n\r\n")
        assert alert != "close_notify"
        assert here.counts["upstream.cut"] == 1


@pytest.mark.parametrize(("version", "told"), [(b"HTTP/1.1", [103, 200]), (b"HTTP/1.0", [200])])
async def test_interim_answers_are_for_who_knows_them(
    deployment: Build, version: bytes, told: list[int]
) -> None:
    """A 103 is handed on, but not to HTTP/1.0, and a 100 to nobody who did not ask for it."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with running(saying(interim + OK)) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            await client.send(get(HOST, b"/a", b"Connection: close").replace(b"HTTP/1.1", version))
            got, alert = await everything(client)
        assert (statuses(got), alert) == (told, "close_notify")


# -- reloading and stopping --------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["relay", "pages"])
async def test_a_reload_while_a_request_is_relayed(deployment: Build, again: str) -> None:
    """It is answered by the old upstream; the next one, pipelined already, finds the new site."""
    asked, go = asyncio.Event(), asyncio.Event()
    script = held_up(asked, go, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
    async with running(script) as port, recording() as fresh:
        here, new = await deployment(f"http://127.0.0.1:{port}"), await deployment(fresh.url)
        relay = new.site.relay if again == "relay" else None
        async with here.client() as client, here.client() as idle:
            assert (await idle.get(HOST, b"/own/page")).status == 200
            await client.send(get(HOST, b"/a") + get(HOST, b"/b") + get(HOST, b"/own/page"))
            await asked.wait()
            await here.running.listener.swap([replace(here.site, handler=pages(), relay=relay)])
            go.set()
            assert (await client.answer()).body == b"old"
            statuses_after = [(await client.answer()).status for _ in range(2)]
            assert statuses_after == ([200, 200] if relay else [404, 200])
            assert (await idle.get(HOST, b"/c")).status == (200 if relay else 404)
        assert [seen.target for seen in fresh.requests] == (["/b", "/c"] if relay else [])


async def test_a_reload_changes_what_a_header_means(deployment: Build) -> None:
    """The cookie that is the new site's own stays here, also in the very header of the last request."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        proxied = Proxied(here.pool, IDENTITY, rules_of({}, "certificate"), "new")
        relay = Relay(proxied, now=lambda: 1_775_000_000)
        async with here.client() as client:
            cookie = b"Cookie: sid=one; new=two; theirs=three"
            for _ in range(2):
                assert (await client.get(HOST, b"/a", cookie)).status == 200
            await here.running.listener.swap([replace(here.site, handler=pages(), relay=relay)])
            assert (await client.get(HOST, b"/a", cookie)).status == 200
    assert [seen.values("cookie") for seen in upstream.requests] == [
        ["new=two; theirs=three"], ["new=two; theirs=three"], ["sid=one; theirs=three"],
    ]  # fmt: skip


async def test_a_reload_finds_an_upgrade_that_waits(deployment: Build) -> None:
    """A request with Upgrade that was pipelined before the reload is the new site's like any other."""
    asked, go = asyncio.Event(), asyncio.Event()
    script = held_up(asked, go, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
    async with running(script) as port, recording() as fresh:
        here, new = await deployment(f"http://127.0.0.1:{port}"), await deployment(fresh.url)
        async with here.client() as client:
            upgrade = get(HOST, b"/2", b"Connection: Upgrade", b"Upgrade: h2c")
            await client.send(get(HOST, b"/1") + upgrade)
            await asked.wait()
            await here.running.listener.swap([replace(here.site, handler=pages(), relay=new.site.relay)])
            go.set()
            assert (await client.answer()).body == b"old"
            assert (await client.answer()).body == b"request 1"
    assert [seen.target for seen in fresh.requests] == ["/2"]


async def test_a_reload_that_brings_an_upstream(deployment: Build) -> None:
    """Connections from before it go on: the next request is handed on, after the page they are at."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.set()
        await go.wait()
        return web.Response(text="slow")

    async with recording() as upstream:
        here = await deployment(upstream.url)
        plain = replace(here.site, handler=pages(("GET", "/own/slow", slow)), relay=None)
        await here.running.listener.swap([plain])
        async with here.client() as idle, here.client() as busy:
            assert (await idle.get(HOST, b"/own/page")).status == 200
            await busy.send(get(HOST, b"/own/slow") + get(HOST, b"/a"))
            await asked.wait()
            await here.running.listener.swap([replace(here.site, handler=pages())])
            assert (await idle.get(HOST, b"/a")).body == b"request 1"
            go.set()
            assert (await busy.answer()).text == "slow"
            assert (await busy.answer()).body == b"request 2"


async def test_a_reload_while_a_request_fails(deployment: Build) -> None:
    """The page for an upstream that fails after the reload is there all the same."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go.wait()
        writer.write(b"nonsense\r\n")

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            await asked.wait()
            await here.running.listener.swap([replace(here.site, handler=pages())])
            go.set()
            assert (await client.answer()).status == 502
            assert (await client.get(HOST, b"/own/page")).status == 200


@pytest.mark.parametrize("outcome", [OK, b"nonsense\r\n"])
@pytest.mark.parametrize("shown", [False, True])
async def test_stopping_waits_for_what_is_relayed(deployment: Build, outcome: bytes, shown: bool) -> None:
    """The answer, or the page for its failure, arrives, what is behind it is not begun, and it ends.

    ``shown``: the connection has shown a page before. The application is there as long as its pages are.
    """
    asked, stopped, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def down(_: web.Application) -> None:
        stopped.set()

    script = held_up(asked, go, outcome)

    app = pages()
    app.on_cleanup.append(down)
    async with running(script) as port:
        limits = Limits(tick=0.02, drain=60, lingering=0.2)
        here = await deployment(f"http://127.0.0.1:{port}", limits=limits, app=app)
        async with here.client() as client, here.client() as idle:
            assert (await idle.get(HOST, b"/own/page")).status == 200
            if shown:
                assert (await client.get(HOST, b"/own/page")).status == 200
            await client.send(get(HOST, b"/a") + get(HOST, b"/b"))
            await asked.wait()
            stopping = asyncio.create_task(here.running.listener.stop())
            assert (await asyncio.wait_for(idle.end(), 60)).alert == "close_notify"
            assert not stopped.is_set()
            go.set()
            got, alert = await everything(client)
            assert (statuses(got), alert) == ([200 if outcome is OK else 502], "close_notify")
            await asyncio.wait_for(stopping, 60)
            assert stopped.is_set()


async def test_stopping_ends_a_websocket(deployment: Build) -> None:
    """It goes on while running requests may finish, and no longer; the upstream's side ends with it."""
    async with running(capitals) as port:
        here = await deployment(
            f"http://127.0.0.1:{port}", limits=Limits(tick=0.02, drain=0.3, lingering=0.2)
        )
        async with here.client() as client:
            await client.send(get(HOST, b"/ws", *OPENING))
            assert (await head_of(client)).startswith(b"HTTP/1.1 101 ")
            stopping = asyncio.create_task(here.running.listener.stop())
            await until(lambda: not here.running.listener.accepting)
            await client.send(b"hi")
            assert await client.some() == b"HI"
            await asyncio.wait_for(client.end(), 60)
            await asyncio.wait_for(stopping, 60)
        await until(lambda: here.pool.open == 0 and not relaying() and len(here.log.entries) == 1)


# -- the log -----------------------------------------------------------------------------------------


async def test_the_log_has_a_line_for_each_request(deployment: Build) -> None:
    """Method, target, verdict, status and the bytes of each, whoever answered; the user as admitted."""

    async def admit(request: Request) -> Caller:
        request.subject = "K1"
        if request.target == "/denied":
            raise NotRelayed(403, "login")
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict, "K1", "1", "login")

    async with recording() as upstream:
        here = await deployment(upstream.url, needs="login", login=admit)
        async with here.client() as client:
            sizes = []
            for request in (
                get(HOST, b"/a?b=c"), get(HOST, b"/own/page"), post(b"/b", b"x" * 50_000),
                get(HOST, b"/denied"), post(b"/own/echo", b"y" * 9),
                get(HOST, b"/d").replace(b"GET", b"HEAD"),
            ):  # fmt: skip
                head_only = request.startswith(b"HEAD")
                await client.send(request)
                got = await client.some()
                length = 0 if head_only else int(got.lower().split(b"content-length: ")[1].split(b"\r")[0])
                while len(got.partition(b"\r\n\r\n")[2]) < length:
                    got += await client.some()
                sizes.append(len(got))
            await client.send(b"GET /x HTTP/1.1\r\nbroken\r\n\r\n")
            sizes.append(len((await everything(client))[0]))
    assert here.log.lines() == [
        ("GET", "/a?b=c", 200), ("GET", "/own/page", 200), ("POST", "/b", 200), ("GET", "/denied", 403),
        ("POST", "/own/echo", 200), ("HEAD", "/d", 200), ("UNKNOWN", "/", 400),
    ]  # fmt: skip
    assert [each.sent for each in here.log.entries] == sizes
    assert [each.subject for each in here.log.entries if each.target in ("/a?b=c", "/b", "/d")] == ["K1"] * 3
    verdicts = [isinstance(each.verdict, VerifiedPeer) for each in here.log.entries]
    assert verdicts == [True] * 6 + [False]
    assert all(0 <= each.seconds < 60 for each in here.log.entries)


async def test_the_log_knows_who_and_how_much_when_it_ends_early(deployment: Build) -> None:
    """Who was turned down is named in it, and of an answer cut short it has the bytes that were sent."""

    async def admit(request: Request) -> Caller:
        request.subject = "K1"
        if request.target == "/no":
            raise NotRelayed(403, "login")
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + bytes(1_000))
        await reader.read()

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}", needs="login", login=admit)
        async with here.client() as client:
            assert (await client.get(HOST, b"/no")).status == 403
            await client.send(get(HOST, b"/a"))
            got = b""
            while not got.endswith(bytes(1_000)):
                got += await client.some()
        await until(lambda: len(here.log.entries) == 2)
    assert [each.subject for each in here.log.entries] == ["K1", "K1"]
    assert here.log.entries[1].sent == len(got)
    assert [each.cut for each in here.log.entries] == [False, True]


async def test_the_log_of_a_refusal_by_the_gate(deployment: Build) -> None:
    """A request that the gate refused is one line too, and counted once."""
    other = get(HOST, b"/own/page").replace(HOST, b"other.test")
    refused = ((get(HOST, b"/a", b"X_Y: 1"), 400), (get(HOST, b"/a/../b"), 400), (other, 421))
    async with recording() as upstream:
        here = await deployment(upstream.url)
        for request, status in refused:
            async with here.client() as client:
                assert (await client.ask(request)).status == status
                await client.end()
    assert here.log.lines() == [("GET", "/a", 400), ("GET", "/a/../b", 400), ("GET", "/own/page", 421)]
    assert [here.counts[f"refused.{code}"] for code in ("header-name", "target", "host")] == [1, 1, 1]
