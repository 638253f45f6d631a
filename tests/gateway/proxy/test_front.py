"""One connection, two who answer: the site's own pages and the upstream. What clients may do to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from ca.revocation import RevocationStatus
from ca.trust import VerifiedPeer
from enroll import store
from gateway.connection import ConnectionInfo, Limits, Unobserved
from gateway.http import Served
from gateway.identity import Caller
from gateway.proxy.relay import NotRelayed, Proxied, Relay, explained
from gateway.proxy.rules import rules_of
from gateway.proxy.upstream import Address, Pool, Upstream, Waits, parse_addresses
from gateway.request import Request
from gateway.tls import Site
from gateway.words import REFUSALS
from tests.gateway.conftest import Pki, Running, Serve
from tests.gateway.proxy import test_mounted
from tests.gateway.proxy.conftest import IDENTITY, Asking
from tests.gateway.proxy.test_proxy_websocket import OPENING, capitals
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import Closed, connect, everything, get, head_of
from tests.gateway.samples import login
from tests.gateway.sites import kit
from tests.gateway.sites.test_service import USER, at_home, fetched, first_password, log_in

#: The service with the example behind it.
service = test_mounted.service

HOST = b"login.test"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUICK = Limits(
    tick=0.02, drain=0.2, lingering=0.2, handshake=5, head=0.25, idle=0.25, stall=0.25, stall_bytes=64
)


def held_up(
    asked: asyncio.Event, go: asyncio.Event, answer: bytes
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """An upstream that says when it is asked, and answers when it may."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go.wait()
        writer.write(answer)
        await reader.read()

    return script


# -- a house with both -------------------------------------------------------------------------------


class Log(Unobserved):
    """Keeps what was served."""

    def __init__(self) -> None:
        self.entries: list[Served] = []

    def served(self, info: ConnectionInfo, served: Served) -> None:
        self.entries.append(served)

    def lines(self) -> list[tuple[str, str, int]]:
        return [(each.method, each.target, each.status) for each in self.entries]


@dataclass
class House:
    """A site with pages below /own, and whatever else is the upstream's."""

    running: Running
    pool: Pool
    log: Log
    site: Site
    pki: Pki

    def client(self) -> Any:
        return connect(self.running.port, HOST, certificate=self.pki.client)

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.running.listener.counts)


def pages(*more: tuple[str, str, Any]) -> web.Application:
    """What the house answers itself; a request that was turned down keeps its connection."""

    async def plain(request: web.Request) -> web.Response:
        return web.Response(text=f"own {request.rel_url.raw_path}")

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def last(_: web.Request) -> web.Response:
        response = web.Response(text="last")
        response.force_close()
        return response

    async def failed(_: web.BaseRequest, status: int, code: str) -> web.Response:
        return web.Response(status=status, text=code)

    app = web.Application()
    for method, path, handler in (
        ("GET", "/own/page", plain),
        ("GET", "/own/last", last),
        ("POST", "/own/page", plain),
        ("POST", "/own/echo", echo),
        *more,
    ):
        app.router.add_route(method, path, handler)
    app.router.add_route("*", "/{rest:.*}", explained(failed))
    return app


Build = Callable[..., Awaitable[House]]


@pytest.fixture
async def house(serve: Serve, pki: Pki) -> AsyncIterator[Build]:
    """Builds one in front of ``urls``; ``needs``: what the upstream's paths ask for."""
    pools: list[Pool] = []

    async def build(
        *urls: str,
        needs: str = "certificate",
        waits: Waits = Waits(),  # noqa: B008 (frozen)
        limits: Limits | None = None,
        addresses: tuple[Address, ...] = (),
        app: web.Application | None = None,
        **admit: Callable[[Request], Awaitable[Caller]],
    ) -> House:
        pool = Pool(Upstream(addresses or parse_addresses(urls), waits=waits))
        await pool.start()
        pools.append(pool)
        proxied = Proxied(pool, IDENTITY, rules_of({"/free": "public"}, needs), "sid", frozenset({"own"}))
        callers = {name: Asking(find) for name, find in admit.items()}
        relay = Relay(proxied, now=lambda: 1_775_000_000, **callers)
        site, log = replace(login(pki), handler=app or pages(), relay=relay), Log()
        return House(await serve(site, limits=limits, observer=log), pool, log, site, pki)

    yield build
    for pool in pools:
        await pool.stop()


def post(target: bytes, body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    """``length``: what is announced, if it is not what is there."""
    announced = b"Content-Length: %d" % (len(body) if length is None else length)
    return get(HOST, target, announced, *lines).replace(b"GET", b"POST", 1) + body


def chunked(target: bytes, rest: bytes, *lines: bytes) -> bytes:
    return get(HOST, target, b"Transfer-Encoding: chunked", *lines).replace(b"GET", b"POST", 1) + rest


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def statuses(stream: bytes) -> list[int]:
    return [int(part[2:5]) for part in stream.split(b"HTTP/1.")[1:]]


def relaying() -> list[str]:
    """The tasks of requests on their way to an upstream."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith(("Errand.", "Relay."))]


@pytest.mark.parametrize("size", [5, 16_000])
async def test_a_body_behind_a_head_as_large_as_may_be(house: Build, size: int) -> None:
    """Head and body have limits of their own: a body in the next record arrives as it was sent."""
    body = (b"hello" * size)[:size]
    here = await house("http://127.0.0.1:1")
    async with here.client() as client:
        lines = [b"X-%d: " % number + b"x" * 7_990 for number in range(8)]
        await client.send(post(b"/own/echo", b"", *lines, length=size))
        await asyncio.sleep(0.05)
        await client.send(body)
        answer = await asyncio.wait_for(client.answer(), 5)
        assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(("said", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
async def test_where_a_page_posts_from_is_asked_without_origin_too(
    house: Build, said: str, status: int
) -> None:
    """V40: Sec-Fetch-Site alone is enough to refuse what another site's page does."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            asked = post(b"/a", b"x", f"Sec-Fetch-Site: {said}".encode())
            assert (await client.ask(asked)).status == status
    assert len(upstream.requests) == (status == 200)


async def test_a_broken_body_never_becomes_content(house: Build) -> None:
    """Whoever reads it is told; the visitor gets 400, and the log no fault of ours."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            await client.send(chunked(b"/own/echo", b"3\r\nabc\r\n"))
            await asyncio.sleep(0.05)
            await client.send(b"zz\r\n")
            got, _ = await everything(client)
            assert statuses(got) == [400]


async def test_who_is_told_to_go_on_has_the_whole_time(house: Build) -> None:
    """The 100 comes late in a window that began when the client was still waiting: a new one begins."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.45)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(3_000)
        writer.write(OK)
        await reader.read()

    async with running(late) as port:
        here = await house(f"http://127.0.0.1:{port}", limits=replace(QUICK, stall=0.25))
        async with here.client() as client:
            await client.send(post(b"/a", b"", b"Expect: 100-continue", length=3_000))
            assert (await head_of(client)).startswith(b"HTTP/1.1 100 ")
            await asyncio.sleep(0.15)
            await client.send(bytes(3_000))
            assert (await client.answer()).body == b"ok"


# -- one after the other -----------------------------------------------------------------------------


async def test_pages_and_the_upstream_answer_in_turn(house: Build) -> None:
    """Pipelined requests that alternate between both are answered in the order in which they came."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            await client.send(
                chunked(b"/a", b"3\r\nabc\r\n0\r\n\r\n") + get(HOST, b"/own/page") + get(HOST, b"/b")
                + post(b"/own/echo", b"one") + post(b"/c", b"two") + get(HOST, b"/own/nothing")
                + get(HOST, b"/d").replace(b"GET", b"HEAD")
            )  # fmt: skip
            answers = [await client.answer() for _ in range(6)]
            assert (await head_of(client)).startswith(b"HTTP/1.1 200 ")
    assert [(each.status, each.body) for each in answers[:5]] == [
        (200, b"abc"), (200, b"own /own/page"), (200, b"request 2"), (200, b"one"), (200, b"two"),
    ]  # fmt: skip
    assert answers[5].status == 404
    assert [seen.target for seen in upstream.requests] == ["/a", "/b", "/c", "/d"]


async def test_many_small_requests_at_once(house: Build) -> None:
    """Hundreds in one go, every third one for a page, are all answered, and in order."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            trio = get(HOST, b"/a") + get(HOST, b"/own/page") + get(HOST, b"/b")
            sending = asyncio.create_task(client.send(trio * 200))
            for number in range(200):
                assert (await client.answer()).body == b"request %d" % (2 * number + 1)
                assert (await client.answer()).body == b"own /own/page"
                assert (await client.answer()).body == b"request %d" % (2 * number + 2)
            await sending
    assert len(here.log.entries) == 600


@pytest.mark.parametrize("first", [
    get(HOST, b"/own/last"),
    get(HOST, b"/own/page", b"Connection: close"),
    get(HOST, b"/a", b"Connection: close"),
    post(b"/a", b"abc", b"Connection: close"),
    get(HOST, b"/a").replace(b"HTTP/1.1", b"HTTP/1.0"),
    get(HOST, b"/own/page").replace(b"HTTP/1.1", b"HTTP/1.0"),
    get(HOST, b"/a", b"Upgrade: h2c", b"Connection: Upgrade"),
    get(HOST, b"/own/page", b"Upgrade: h2c", b"Connection: Upgrade"),
    get(HOST, b"/own/page", b"Host: evil.test"),
])  # fmt: skip
@pytest.mark.parametrize("pieces", [1, 2])
async def test_nothing_is_asked_behind_the_last_answer(house: Build, first: bytes, pieces: int) -> None:
    """What is pipelined behind the last request of a connection reaches neither page nor upstream."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            behind = post(b"/hidden", b"abc") + get(HOST, b"/own/page")
            if pieces == 1:
                await client.send(first + behind)
            else:
                await client.send(first)
                await client.send(behind)
            got, alert = await everything(client)
        assert (len(statuses(got)), alert) == (1, "close_notify")
        assert len(here.log.entries) == 1
        assert [seen.target for seen in upstream.requests if seen.target == "/hidden"] == []


@pytest.mark.parametrize("broken", [
    b"junk\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: login.test\r\nX: a\x01b\r\n\r\n",
    b"GET /\xc3\xbc HTTP/1.1\r\nHost: login.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: login.test\r\nNo colon\r\n\r\n",
])  # fmt: skip
async def test_what_is_malformed_is_refused_in_its_turn(house: Build, broken: bytes) -> None:
    """Those before it are answered, it is 400, and nothing behind it is read."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            await client.send(get(HOST, b"/own/page") + get(HOST, b"/a") + broken + get(HOST, b"/b"))
            got, alert = await everything(client)
        assert (statuses(got), alert) == ([200, 200, 400], "close_notify")
    assert [seen.target for seen in upstream.requests] == ["/a"]
    assert [each[2] for each in here.log.lines()] == [200, 200, 400]
    assert here.counts["refused.parser"] == 1


@pytest.mark.parametrize(("target", "lines"), [
    (b"/own/page", b""),
    (b"/own/page?q=1", b"Host: login.test\r\nContent-Type: a\r\nContent-Type: b\r\n"),
    (b"http://[x/", b"Host: login.test\r\n"),
    (b"*", b"Host: login.test\r\n"),
])  # fmt: skip
async def test_what_only_the_pages_refuse_is_logged_as_it_came(
    house: Build, target: bytes, lines: bytes
) -> None:
    """aiohttp calls whatever its own parser refuses UNKNOWN; the log says what was asked."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            answer = await client.ask(b"PUT " + target + b" HTTP/1.1\r\n" + lines + b"\r\n")
        assert (answer.status, upstream.requests) == (400, [])
    assert here.log.lines() == [("PUT", target.decode("ascii"), 400)]


async def test_who_does_not_read_is_not_answered_ahead(house: Build) -> None:
    """While answers pile up, no further request is begun; once they are read, every one is."""
    begun, size = 0, 200_000

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun
        while True:
            await reader.readuntil(b"\r\n\r\n")
            begun += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
            await writer.drain()

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            sending = asyncio.create_task(client.send(get(HOST, b"/a") * 300))
            before = -1
            while before != begun:
                before = begun
                await asyncio.sleep(0.1)
            assert begun < 150
            for _ in range(300):
                assert len((await client.answer()).body) == size
            await sending


async def test_requests_in_records_of_their_own_wait(house: Build) -> None:
    """Who sends one after the other, and reads no answer, is held back like who sends all at once."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000))
            await writer.drain()

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            sent, total, request = 0, 4_000, get(HOST, b"/a", b"X: " + b"x" * 8_000)

            def answered() -> bool:
                return len(here.log.entries) == sent

            with suppress(TimeoutError):  # none is answered any more
                while True:
                    await client.send(request)
                    sent += 1
                    await until(answered, 0.3)
            assert sent > 1

            async def feed() -> None:
                nonlocal sent
                while sent < total:
                    await client.send(request)
                    sent += 1

            feeding, before = asyncio.create_task(feed()), -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
            feeding.cancel()
            assert sent < total


@pytest.mark.parametrize("target", [b"/up", b"/own/count"])
async def test_a_body_behind_a_slow_answer_waits(house: Build, target: bytes) -> None:
    """It is left with the client until its turn, and then arrives whole, at the upstream and at a page."""
    size, sent, go = 16_000_000, 0, asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(size)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%d" % size)
        await reader.read()

    async def count(request: web.Request) -> web.Response:
        return web.Response(text=str(sum([len(piece) async for piece in request.content.iter_any()])))

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}", app=pages(("POST", "/own/count", count)))
        async with here.client() as client:

            async def feed() -> None:
                nonlocal sent
                await client.send(get(HOST, b"/slow") + post(target, b"", length=size))
                while sent < size:
                    await client.send(bytes(100_000))
                    sent += 100_000

            feeding, before = asyncio.create_task(feed()), -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < size
            go.set()
            assert (await client.answer()).body == b"ok"
            assert (await client.answer()).body == b"%d" % size
            await feeding


async def test_a_page_that_is_slow_to_read_stops_the_client(house: Build) -> None:
    """An upload to a page is held back while nobody reads it; what is pipelined behind it is answered."""
    size, sent, go = 16_000_000, 0, asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        await go.wait()
        return web.Response(text=str(sum([len(piece) async for piece in request.content.iter_any()])))

    async with recording() as upstream:
        here = await house(upstream.url, app=pages(("POST", "/own/late", late)))
        async with here.client() as client:

            async def feed() -> None:
                nonlocal sent
                await client.send(post(b"/own/late", b"", length=size))
                while sent < size:
                    await client.send(bytes(100_000))
                    sent += 100_000
                await client.send(get(HOST, b"/a") * 100)

            feeding, before = asyncio.create_task(feed()), -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < size
            go.set()
            assert (await client.answer()).text == str(size)
            for number in range(100):
                assert (await client.answer()).body == b"request %d" % (number + 1)
            await feeding


# -- heads -------------------------------------------------------------------------------------------


async def test_a_head_in_single_bytes(house: Build) -> None:
    """One record for each byte, twice on one connection, is read as if it came at once."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            for byte in post(b"/a", b"hello", b"X-One:  1 ") + get(HOST, b"/own/page"):
                await client.send(bytes([byte]))
            assert [(await client.answer()).body for _ in range(2)] == [b"hello", b"own /own/page"]
    (seen,) = upstream.requests
    assert seen.values("x-one") == ["1"]


@pytest.mark.parametrize("pieces", [
    (b"X-One: on", b"e  ", b" \t\r\nX-Two: 2\r\n\r\n"),
    (b"X-One:", b" ", b"one", b" ", b"\r", b"\nX-T", b"wo: 2\r\n\r", b"\n"),
    (b"X-One:one\r\nX-Two:\t2 ", b"\t ", b"\r\n", b"\r\n"),
])  # fmt: skip
async def test_a_field_in_several_records(house: Build, pieces: tuple[bytes, ...]) -> None:
    """The space around a value belongs to none of its pieces."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: login.test\r\n")
            for piece in pieces:
                await asyncio.sleep(0.002)
                await client.send(piece)
            assert (await client.answer()).status == 200
    (seen,) = upstream.requests
    assert (seen.values("x-one"), seen.values("x-two")) == (["one"], ["2"])
    assert b"one \r\n" not in upstream.raw[0]


@pytest.mark.parametrize(
    "line", [b"GET ?x HTTP/1.1", b"GET  HTTP/1.1", b"GET /" + b"a" * 9_000 + b" HTTP/1.1"]
)
async def test_a_header_seen_before_hides_no_target(house: Build, line: bytes) -> None:
    """A target that is none, or too long, is refused also below the very header of the last request."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).status == 200
            assert (await client.ask(line + b"\r\nHost: login.test\r\n\r\n")).status == 400
    assert [seen.target for seen in upstream.requests] == ["/a"]
    assert upstream.raw[0].count(b"GET ") == 1


async def test_the_host_is_that_of_each_request(house: Build) -> None:
    """Requests of one connection may spell it in other ways, and the upstream hears how."""
    hosts = [HOST, b"login.test:443", b"LOGIN.test", b"LOGIN.test", HOST]
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            for host in hosts:
                assert (await client.get(host, b"/a")).status == 200
    assert [seen.values("host") for seen in upstream.requests] == [[host.decode()] for host in hosts]
    forwarded = [seen.values("x-forwarded-host") for seen in upstream.requests]
    assert forwarded == [[host.decode()] for host in hosts]


START = b"GET /a HTTP/1.1\r\nHost: login.test\r\n"
LIMITS = Limits()


@pytest.mark.parametrize("stream", [
    b"GET /" + b"a" * LIMITS.line_bytes + b" HTTP/1.1\r\nHost: login.test\r\n\r\n",
    START + b"X: " + b"a" * LIMITS.line_bytes + b"\r\n\r\n",
    START + b"a" * LIMITS.line_bytes + b": x\r\n\r\n",
    START + b"X: y\r\n" * LIMITS.headers + b"\r\n",
    START + (b"X: " + b"a" * 8_000 + b"\r\n") * 9,
    START + b"X: " + b"a" * 65_600,
    b"GET /" + b"a" * 65_600,
    b"\r\n" * 32_800,
    b"a" * 65_600,
])  # fmt: skip
@pytest.mark.parametrize("after", [0, 1])
async def test_a_head_has_limits(house: Build, stream: bytes, after: int) -> None:
    """A line, a number of fields, or a head beyond them is 400 and the end, also when it never ends."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            if after:
                assert (await client.ask(post(b"/before", b"abc"))).status == 200
            await client.send(stream)
            assert (await client.answer()).status == 400
            assert (await client.end()).alert == "close_notify"
    assert [seen.target for seen in upstream.requests] == ["/before"] * after


@pytest.mark.parametrize("stream", [
    b"GET /" + b"a" * (LIMITS.line_bytes - 1) + b" HTTP/1.1\r\nHost: login.test\r\n\r\n",
    START + b"X: y\r\n" * (LIMITS.headers - 1) + b"\r\n",
    START.replace(b"GET", b"POST") + b"Content-Length: 40000\r\n" + (b"X: " + b"a" * 4_000 + b"\r\n") * 10
    + b"\r\n" + b"z" * 40_000,
    b"\r\n" + START + b"\r\n",
])  # fmt: skip
async def test_a_head_within_the_limits_passes(house: Build, stream: bytes) -> None:
    """Up to each limit a request is handed on; the body behind a head does not count."""
    async with running(saying(OK)) as port:
        here = await house(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            assert (await client.ask(stream)).status == 200


@pytest.mark.parametrize("fields", [b"X: y\r\n" * 101, b"X: " + b"y" * LIMITS.line_bytes + b"\r\n"])
async def test_a_trailer_section_has_limits(house: Build, fields: bytes) -> None:
    """Too many fields after a body, or one too long: 400, the end, and no whole body for the upstream."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            await client.send(chunked(b"/a", b"3\r\nabc\r\n0\r\n" + fields + b"\r\n") + get(HOST, b"/b"))
            got, alert = await everything(client)
        assert (statuses(got), alert) == ([400], "close_notify")
        assert upstream.requests == []
        assert here.pool.open == 0


@pytest.mark.parametrize("begun", [
    START + b"X: ", chunked(b"/a", b"3\r\nabc\r\n0\r\nX: "), chunked(b"/a", b"3;x="),
    chunked(b"/a", b"zz\r\n"),
])  # fmt: skip
async def test_who_sends_without_an_end_sees_why_it_ends(house: Build, begun: bytes) -> None:
    """A field, a trailer, a chunk's extension that never end are 400, which is not lost as he goes on."""
    async with recording() as upstream:
        here = await house(upstream.url, limits=Limits(tick=0.02, drain=0.2, lingering=5))
        async with here.client() as client:
            await client.send(begun)
            for _ in range(60):
                await client.send(b"y" * 50_000)
                await asyncio.sleep(0)  # let the gate answer in between
            assert (await asyncio.wait_for(client.answer(), 3)).status == 400
        assert upstream.requests == []


@pytest.mark.parametrize("piece", [b"\r\n", b"X-A: b\r\n"])
@pytest.mark.parametrize("before", [b"/a", b"/own/page"])
async def test_a_head_has_its_time(house: Build, piece: bytes, before: bytes) -> None:
    """Dripped empty lines, or fields, end with the head's limit, after any kind of answer."""
    async with recording() as upstream:
        here = await house(upstream.url, limits=QUICK)
        async with here.client() as client:
            assert (await client.get(HOST, before)).status == 200
            await client.send(b"" if piece == b"\r\n" else START)

            async def drip() -> None:
                while True:
                    await client.send(piece)
                    await asyncio.sleep(0.03)

            dripping = asyncio.create_task(drip())
            await asyncio.wait_for(client.end(), 3)
            dripping.cancel()
        assert here.counts["head.timeout"] == 1


@pytest.mark.parametrize("target", [b"/a", b"/own/page"])
async def test_idle_connections_end(house: Build, target: bytes) -> None:
    """After an answer of either kind a connection rests so long and ends with a goodbye."""
    async with recording() as upstream:
        here = await house(upstream.url, limits=QUICK)
        async with here.client() as client:
            assert (await client.get(HOST, target)).status == 200
            assert (await asyncio.wait_for(client.end(), 3)).alert == "close_notify"
        assert here.counts["idle.timeout"] == 1


@pytest.mark.parametrize("target", [b"/a", b"/own/echo"])
async def test_slow_bodies_end(house: Build, target: bytes) -> None:
    """A body that drips ends, wherever it goes, and takes the upstream's connection along."""

    async def sink(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass

    async with running(sink) as port:
        here = await house(f"http://127.0.0.1:{port}", limits=QUICK)
        async with here.client() as client:
            await client.send(post(target, b"", length=800))

            async def drip() -> None:
                while True:
                    await client.send(b"x")
                    await asyncio.sleep(0.03)

            dripping = asyncio.create_task(drip())
            await asyncio.wait_for(client.end(), 3)
            dripping.cancel()
        assert here.counts["slow-body"] == 1
        await until(lambda: here.pool.open == 0 and not relaying() and len(here.log.entries) == 1)


async def test_who_takes_nothing_ends(house: Build) -> None:
    """A client that does not read an endless answer ends, and so does the upstream's connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}", limits=QUICK)
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            await until(lambda: here.counts.get("slow-reader") == 1)
        await until(lambda: here.pool.open == 0 and not relaying() and len(here.log.entries) == 1)


# -- clients that leave ------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["admission", "connect", "answer", "upload", "download", "page"])
async def test_who_leaves_leaves_nothing_behind(house: Build, moment: str) -> None:
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
        here = await house(
            addresses=(address,), waits=Waits(connect=0.3), needs="login", login=admit,
            app=pages(("POST", "/own/take", take)),
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


async def test_who_leaves_during_admission_takes_no_connection_along(house: Build) -> None:
    """The upstream's connection that rests meanwhile is there for the next one; nothing was sent on it."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def admit(request: Request) -> Caller:
        if request.target == "/b":
            asked.set()
            await go.wait()
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)

    async with recording() as upstream:
        here = await house(upstream.url, needs="login", login=admit)
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
async def test_an_upstream_that_fails_has_a_page(house: Build, moment: str) -> None:
    """Before, within and after a body; the connection goes on only if all of the body has come."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if moment != "before":
            await reader.readexactly(5 if moment == "within" else 10)
        writer.transport.abort()

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            answer = await client.ask(post(b"/a", bytes(10 if moment == "after" else 5), length=10))
            assert (answer.status, answer.body) == (502, b"closed")
            if moment == "after":
                assert (await client.get(HOST, b"/own/page")).status == 200
            else:
                assert answer.headers["connection"] == "close"
                assert (await asyncio.wait_for(client.end(), 3)).alert == "close_notify"
        assert here.log.lines()[0] == ("POST", "/a", 502)
        await until(lambda: here.pool.open == 0 and not relaying())


async def test_an_early_answer_is_seen_by_who_goes_on_sending(house: Build) -> None:
    """After an answer that comes before the body did, the rest is read for a while, and dropped."""
    answer = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"
    async with running(saying(answer)) as port:
        here = await house(f"http://127.0.0.1:{port}", limits=Limits(tick=0.02, drain=0.2, lingering=5))
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


async def test_an_upstream_that_is_reset_has_said_no_end(house: Build) -> None:
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
        here = await house(f"http://127.0.0.1:{port}")
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
async def test_interim_answers_are_for_who_knows_them(house: Build, version: bytes, told: list[int]) -> None:
    """A 103 is handed on, but not to HTTP/1.0, and a 100 to nobody who did not ask for it."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with running(saying(interim + OK)) as port:
        here = await house(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            await client.send(get(HOST, b"/a", b"Connection: close").replace(b"HTTP/1.1", version))
            got, alert = await everything(client)
        assert (statuses(got), alert) == (told, "close_notify")


# -- bodies that nobody wanted -----------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3_000])
async def test_a_page_may_answer_before_the_body_came(house: Build, times: int) -> None:
    """What comes of the body afterwards is no request, and those behind it are, for whomever."""
    async with recording() as upstream:
        here = await house(upstream.url, limits=Limits(tick=0.02, drain=0.2, lingering=5))
        async with here.client() as client:
            body = get(HOST, b"/hidden") * times
            assert (await client.ask(post(b"/own/page", b"", length=len(body)))).body == b"own /own/page"
            await client.send(body[:20])
            await client.send(body[20:] + get(HOST, b"/own/page") + get(HOST, b"/b"))
            async with asyncio.timeout(5):
                assert [(await client.answer()).body for _ in range(2)] == [b"own /own/page", b"request 1"]
    assert [seen.target for seen in upstream.requests] == ["/b"]
    assert here.log.lines() == [("POST", "/own/page", 200), ("GET", "/own/page", 200), ("GET", "/b", 200)]


async def test_a_body_of_somebody_turned_down_is_no_request(house: Build) -> None:
    """Who needs a login gets 403: with all of his body there he goes on, else the connection ends."""
    async with recording() as upstream:
        here = await house(upstream.url, needs="login")
        hidden = get(HOST, b"/free/hidden")
        async with here.client() as client:
            for request in (
                post(b"/a", hidden),
                chunked(b"/a", b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)),
            ):
                await client.send(request + get(HOST, b"/free/b"))
                assert (await client.answer()).body == b"not_permitted"
                assert (await client.answer()).status == 200
        async with here.client() as client:
            answer = await client.ask(post(b"/a", hidden[:9], length=len(hidden)))
            assert (answer.status, answer.headers["connection"]) == (403, "close")
            assert (await asyncio.wait_for(client.end(), 3)).alert == "close_notify"
    assert [seen.target for seen in upstream.requests] == ["/free/b", "/free/b"]
    assert [each[2] for each in here.log.lines()] == [403, 200, 403, 200, 403]


async def test_a_whole_chunked_body_over_a_rested_connection(house: Build) -> None:
    """A body in chunks that came with its head arrives and is answered, on the connection of the last one."""
    async with recording() as upstream:
        here = await house(upstream.url, waits=Waits(answer=1))
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).status == 200
            assert (await client.ask(chunked(b"/b", b"3\r\nabc\r\n0\r\n\r\n"))).body == b"abc"
    assert [(seen.body, seen.connection) for seen in upstream.requests] == [(b"", 0), (b"abc", 0)]


async def test_a_body_that_breaks_with_its_head_ends_the_page(house: Build) -> None:
    """A page does not wait for the rest of a body whose framing broke in the record of its head."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            await client.send(chunked(b"/own/echo", b"zz\r\n"))
            await asyncio.wait_for(client.end(), 3)


async def test_who_is_turned_down_sees_why_while_he_sends(house: Build) -> None:
    """The page of a refusal is not lost to who is still in the middle of a large body."""
    limits = Limits(tick=0.02, drain=0.2, lingering=5)
    here = await house("http://127.0.0.1:1", needs="login", limits=limits)
    async with here.client() as client:
        await client.send(post(b"/a", b"", length=3_000_000))
        for _ in range(60):
            await client.send(bytes(50_000))
            await asyncio.sleep(0)  # let the gate answer in between
        assert (await client.answer()).status == 403


async def test_an_expectation_is_met_by_who_answers(house: Build) -> None:
    """A page says 100 itself; an upstream's 100 is handed on; who is turned down gets none."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(3)
        writer.write(OK)
        await reader.read()

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}")
        expecting = (b"Expect: 100-continue",)
        async with here.client() as client:
            for target in (b"/a", b"/own/echo"):
                await client.send(post(target, b"", *expecting, length=3))
                assert (await head_of(client)).startswith(b"HTTP/1.1 100 ")
                assert (await client.ask(b"abc")).status == 200
            foreign = post(b"/a", b"", *expecting, b"Origin: https://evil.test", length=3)
            answer = await client.ask(foreign)
            assert (answer.status, answer.body) == (403, b"cross_site")
            assert (await asyncio.wait_for(client.end(), 3)).alert == "close_notify"


async def test_who_waits_for_a_100_is_not_slow(house: Build) -> None:
    """A body that its sender holds back is not late before the upstream asked for it; then it is."""
    heard, go = asyncio.Event(), asyncio.Event()

    script = held_up(heard, go, b"HTTP/1.1 100 Continue\r\n\r\n")

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}", limits=QUICK)
        async with here.client() as client:
            await client.send(post(b"/a", b"", b"Expect: 100-continue", length=900))
            await heard.wait()
            await asyncio.sleep(2.5 * QUICK.stall)
            assert here.running.listener.open_connections == 1
            go.set()
            assert (await head_of(client)).startswith(b"HTTP/1.1 100 ")
            await asyncio.wait_for(client.end(), 3)
        assert here.counts["slow-body"] == 1


# -- other protocols ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [b"/a", b"/own/echo"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("step", [0, 1, 7])
async def test_a_body_before_a_switch_arrives(house: Build, target: bytes, framing: str, step: int) -> None:
    """An Upgrade that we do not know is left out, the body is handed on whole, and it was the last."""
    upgrade = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA")
    body = get(HOST, b"/free/hidden")
    if framing == "length":
        stream = post(target, body, *upgrade)
    else:
        stream = chunked(target, b"%x\r\n%b\r\n0\r\nX-T: 1\r\n\r\n" % (len(body), body), *upgrade)
    stream += get(HOST, b"/free/behind")
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            at = stream.index(b"\r\n\r\n") + 4
            pieces = (
                [stream[:at], *(stream[i : i + step] for i in range(at, len(stream), step))] if step else []
            )
            for piece in pieces or [stream]:
                await client.send(piece)
            got, alert = await everything(client)
        assert (statuses(got.replace(body, b"")), alert) == ([200], "close_notify")
        assert got.partition(b"\r\n\r\n")[2] == body
        assert b"connection: close" in got.lower()
        seen = [(each.target, each.body, each.values("upgrade")) for each in upstream.requests]
        assert seen == ([] if target == b"/own/echo" else [("/a", body, [])])


@pytest.mark.parametrize("second", [
    get(HOST, b"/2", b"Connection: Upgrade", b"Upgrade: h2c"),
    b"CONNECT a.test:1 HTTP/1.1\r\nHost: login.test\r\n\r\n",
])  # fmt: skip
async def test_two_upgrades_in_one_record(
    house: Build, second: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one is answered without, as the last one, and what is behind its body is not read."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            await client.send(post(b"/1", b"abc", b"Connection: Upgrade", b"Upgrade: h2c") + second)
            got, alert = await everything(client)
        assert (statuses(got), alert) == ([200], "close_notify")
    assert [(seen.target, seen.body) for seen in upstream.requests] == [("/1", b"abc")]
    assert "Fatal error" not in caplog.text


@pytest.mark.parametrize(("request_", "status"), [
    (b"CONNECT login.test:443 HTTP/1.1\r\nHost: login.test\r\n\r\nraw", 405),
    (b"CONNECT login.test:443 HTTP/1.1\r\nHost: login.test\r\nContent-Length: 3\r\n\r\nraw", 405),
    (get(HOST, b"/a").replace(b"GET", b"TRACE"), 405),
    (get(HOST, b"/own/page").replace(b"GET", b"TRACE"), 405),
    (get(HOST, b"*").replace(b"GET", b"OPTIONS"), 400),
    (get(HOST, b"http://login.test/a"), 400),
    (get(HOST, b"https://login.test/own/page"), 400),
    (get(HOST, b"/a").replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
    (get(HOST, b"/own/page").replace(b"HTTP/1.1", b"HTTP/0.9"), 505),
    (b"GET /a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (get(HOST, b"/a").replace(b"GET", b"BREW"), 400),
    (b"SOURCE /a ICE/1.0\r\nHost: login.test\r\n\r\n", 405),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
])  # fmt: skip
async def test_what_is_no_request_for_us(house: Build, request_: bytes, status: int) -> None:
    """Refused with its status, once, and the connection ends; the upstream never hears of it."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            assert (await client.ask(request_)).status == status
            assert (await client.end()).alert == "close_notify"
    assert upstream.requests == []
    assert [each.status for each in here.log.entries] == [status]


# -- whose path it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "status"), [
    (b"/%6Fwn/page", 200), (b"/%6fw%6E/page", 200), (b"/own/p%61ge", 200), (b"/own/page?a=/b", 200),
    (b"/own", 404), (b"/own?x", 404), (b"/%6Fwn", 404), (b"/own/", 404), (b"/own/nothing", 404),
    (b"/own/%2Fpage", 404), (b"//own/page", 400), (b"/./own/page", 400), (b"/own/../a", 400),
    (b"/a/%2e%2E/own/page", 400), (b"/own/..;/a", 400), (b"/own\\page", 400), (b"/own#a", 400),
    (b"/own/%00", 400), (b"/own/%zz", 400),
])  # fmt: skip
async def test_our_own_paths_never_reach_the_upstream(house: Build, target: bytes, status: int) -> None:
    """However they are spelt: what the router would take for ours is ours, and what is odd is nobody's."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            assert (await client.get(HOST, target)).status == status
            assert upstream.requests == []


@pytest.mark.parametrize(
    "target", [b"/own;x", b"/own%2Fpage", b"/%256Fwn/page", b"/OWN/page", b"/owner", b"/own.", b"/%ff"]
)
async def test_what_only_looks_like_ours_is_the_upstreams(house: Build, target: bytes) -> None:
    """The router would not serve these as ours; the upstream gets them byte for byte, after the login."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            assert (await client.get(HOST, target)).status == 200
        assert [seen.target for seen in upstream.requests] == [target.decode()]
        strict = await house(upstream.url, needs="login")
        async with strict.client() as client:
            assert (await client.get(HOST, target)).status == 403
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("path", "status", "leads_to"),
    [
        ("/%6Cogin", 200, "/portal/"),  # who is logged in already goes on to the portal
        ("/logi%6E/x", 404, ""),
        ("/%61ssets/nothing", 404, ""),
        ("/port%61l/", 200, "/portal/"),
    ],
)
async def test_the_services_own_paths_in_other_letters(
    service: kit.Served, path: str, status: int, leads_to: str
) -> None:
    """They are the service's in every spelling, with its pages."""
    visitor = await at_home(service)
    async with visitor.session.get(URL(visitor.origin + path, encoded=True)) as got:
        assert got.status == status
        assert not leads_to or got.url.path == leads_to
        assert "企業年金ビジネスサービス" in kit.parse(await got.text()).one("title").text


# -- who lost his right ------------------------------------------------------------------------------


async def test_a_user_disabled_after_the_login_reads_why(service: kit.Served) -> None:
    """Of all paths of the upstream, by the page of the refusal; with the session gone, by the login."""
    visitor = await at_home(service)
    assert (await visitor.get("/app/who")).status == 200
    await service.office.database.write(lambda db: store.disable_user(db, USER, service.office.now()))
    page = await visitor.get("/app/who", Accept="text/html")
    assert (page.status, page.h1) == (403, REFUSALS["user_disabled"].title[0])
    assert (await visitor.get("/app/who", Accept="text/html")).path == "/login"


async def test_a_first_password_comes_before_the_upstream(service: kit.Served) -> None:
    """Pages are led to its change; everything else is 403."""
    initial = await first_password(service)
    visitor = (await fetched(service)).visitor(service)
    await log_in(visitor, USER, initial)
    assert (await visitor.get("/app/", Accept="text/html")).path == "/portal/password"
    assert (await visitor.get("/app/who", Accept="application/json")).status == 403
    assert (await visitor.post("/app/file", {"a": "b"}, Accept="text/html")).status == 403


async def test_a_certificate_is_looked_at_for_each_request(house: Build) -> None:
    """Revoked between two requests of one connection: the second one is not handed on."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            for _ in range(3):
                assert (await client.get(HOST, b"/a")).status == 200
            here.running.status[here.pki.client.fingerprint] = RevocationStatus.REVOKED
            assert (await client.get(HOST, b"/a")).status == 403
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("who", ["nobody", "stranger", "revoked"])
async def test_what_is_public_is_so_behind_the_door(house: Build, who: str) -> None:
    """Where a certificate is required it is for every path: a public one needs no login, and no less."""
    async with recording() as upstream:
        here = await house(upstream.url, needs="login")
        certificate = {"nobody": None, "stranger": here.pki.stranger}.get(who, here.pki.client)
        async with connect(here.running.port, HOST, certificate=certificate) as client:
            if who == "revoked":
                assert (await client.get(HOST, b"/free/x")).status == 200
                here.running.status[here.pki.client.fingerprint] = RevocationStatus.REVOKED
            assert (await client.get(HOST, b"/free/x")).status == 403
        assert here.counts["refused.certificate"] == 1
    assert len(upstream.requests) == (1 if who == "revoked" else 0)


@dataclass
class Right:
    """To be let in, as long as it lasts."""

    held: bool = True

    async def admit(self, request: Request) -> Caller:
        if not self.held:
            raise NotRelayed(403, "login")
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)


async def test_a_stream_ends_with_the_right_to_it(house: Build) -> None:
    """Who is no longer let in while an answer runs loses it, and not as if it were whole."""
    right = Right()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b"data: 1\n\n")
            await asyncio.sleep(0.02)

    async with running(script) as port:
        here = await house(
            f"http://127.0.0.1:{port}", needs="login", login=right.admit, waits=Waits(recheck=0.05)
        )
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            for _ in range(5):
                assert await client.some()
            right.held = False
            got, alert = await everything(client)
            assert alert != "close_notify"
            assert not got.endswith(b"0\r\n\r\n")
        assert here.counts["upstream.no-longer-entitled"] == 1
        await until(lambda: here.pool.open == 0 and not relaying())


@pytest.mark.parametrize("waiting", ["upload", "answer"])
async def test_an_exchange_ends_with_the_right_to_it(house: Build, waiting: str) -> None:
    """Who is no longer let in sends nothing more and is not answered by the upstream: he is told why."""
    right, received, go = Right(), bytearray(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while waiting == "upload" and (data := await reader.read(65_536)):
            received.extend(data)
        await go.wait()
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    async with running(script) as port:
        here = await house(
            f"http://127.0.0.1:{port}", needs="login", login=right.admit, waits=Waits(recheck=0.05)
        )
        async with here.client() as client:
            if waiting == "upload":
                await client.send(chunked(b"/a", b"4\r\nabcd\r\n"))
                await until(lambda: len(received) > 0)
            else:
                await client.send(get(HOST, b"/a"))
                await asyncio.sleep(0.15)
            right.held = False
            await until(lambda: not relaying())
            go.set()
            before = bytes(received)
            with suppress(Closed):
                await client.send(b"4\r\nmore\r\n" if waiting == "upload" else b"")
            answer = await client.answer()
            assert (answer.status, answer.text) == (403, "login")
            assert b"secret" not in client.buffer
        assert received == before
        await until(lambda: here.pool.open == 0)


async def test_a_late_answer_is_asked_for_once_more(house: Build) -> None:
    """An answer that is there at once when time is up: nobody waited, and the caller is asked for all the
    same."""
    entitled, go = True, asyncio.Event()

    class Known:
        def known(self, request: Request) -> Caller | None:
            assert isinstance(request.verdict, VerifiedPeer)
            return Caller(request.verdict) if entitled else None

        async def find(self, request: Request) -> Caller:
            raise NotRelayed(403, "login")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (OK, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"):
            await reader.readuntil(b"\r\n\r\n")
            if answer is not OK:
                await go.wait()
            writer.write(answer)
        await reader.read()

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}", needs="login", waits=Waits(recheck=0.05))
        assert here.site.relay is not None
        here.site.relay._login = Known()
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).body == b"ok"
            await client.send(get(HOST, b"/b"))
            await asyncio.sleep(0.1)
            entitled = False
            go.set()
            assert (await client.answer()).text == "login"


async def test_a_silent_stream_says_nothing_more_to_who_lost_his_right(house: Build) -> None:
    """He is asked for again while the upstream is silent, and what it says afterwards is not for him."""
    entitled, refused, go = True, asyncio.Event(), asyncio.Event()

    async def admit(request: Request) -> Caller:
        if not entitled:
            refused.set()
            raise NotRelayed(403, "login")
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
        await go.wait()
        writer.write(b"data: secret\n\n")
        await reader.read()

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}", needs="login", login=admit, waits=Waits(recheck=0.05))
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            while b"data: 1" not in client.buffer:
                client.buffer += await client.some()
            entitled = False
            await asyncio.wait_for(refused.wait(), 3)
            go.set()
            got, alert = await everything(client)
        assert b"secret" not in got
        assert alert != "close_notify"


# -- reloading and stopping --------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["relay", "pages"])
async def test_a_reload_while_a_request_is_relayed(house: Build, again: str) -> None:
    """It is answered by the old upstream; the next one, pipelined already, finds the new site."""
    asked, go = asyncio.Event(), asyncio.Event()
    script = held_up(asked, go, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
    async with running(script) as port, recording() as fresh:
        here, new = await house(f"http://127.0.0.1:{port}"), await house(fresh.url)
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


async def test_a_reload_changes_what_a_header_means(house: Build) -> None:
    """The cookie that is the new site's own stays here, also in the very header of the last request."""
    async with recording() as upstream:
        here = await house(upstream.url)
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


async def test_a_reload_finds_an_upgrade_that_waits(house: Build) -> None:
    """A request with Upgrade that was pipelined before the reload is the new site's like any other."""
    asked, go = asyncio.Event(), asyncio.Event()
    script = held_up(asked, go, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
    async with running(script) as port, recording() as fresh:
        here, new = await house(f"http://127.0.0.1:{port}"), await house(fresh.url)
        async with here.client() as client:
            upgrade = get(HOST, b"/2", b"Connection: Upgrade", b"Upgrade: h2c")
            await client.send(get(HOST, b"/1") + upgrade)
            await asked.wait()
            await here.running.listener.swap([replace(here.site, handler=pages(), relay=new.site.relay)])
            go.set()
            assert (await client.answer()).body == b"old"
            assert (await client.answer()).body == b"request 1"
    assert [seen.target for seen in fresh.requests] == ["/2"]


async def test_a_reload_that_brings_an_upstream(house: Build) -> None:
    """Connections from before it go on: the next request is handed on, after the page they are at."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.set()
        await go.wait()
        return web.Response(text="slow")

    async with recording() as upstream:
        here = await house(upstream.url)
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


async def test_a_reload_while_a_request_fails(house: Build) -> None:
    """The page for an upstream that fails after the reload is there all the same."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go.wait()
        writer.write(b"nonsense\r\n")

    async with running(script) as port:
        here = await house(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            await asked.wait()
            await here.running.listener.swap([replace(here.site, handler=pages())])
            go.set()
            assert (await client.answer()).status == 502
            assert (await client.get(HOST, b"/own/page")).status == 200


@pytest.mark.parametrize("outcome", [OK, b"nonsense\r\n"])
@pytest.mark.parametrize("shown", [False, True])
async def test_stopping_waits_for_what_is_relayed(house: Build, outcome: bytes, shown: bool) -> None:
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
        limits = Limits(tick=0.02, drain=5, lingering=0.2)
        here = await house(f"http://127.0.0.1:{port}", limits=limits, app=app)
        async with here.client() as client, here.client() as idle:
            assert (await idle.get(HOST, b"/own/page")).status == 200
            if shown:
                assert (await client.get(HOST, b"/own/page")).status == 200
            await client.send(get(HOST, b"/a") + get(HOST, b"/b"))
            await asked.wait()
            stopping = asyncio.create_task(here.running.listener.stop())
            assert (await asyncio.wait_for(idle.end(), 3)).alert == "close_notify"
            assert not stopped.is_set()
            go.set()
            got, alert = await everything(client)
            assert (statuses(got), alert) == ([200 if outcome is OK else 502], "close_notify")
            await asyncio.wait_for(stopping, 3)
            assert stopped.is_set()


async def test_stopping_ends_a_websocket(house: Build) -> None:
    """It goes on while running requests may finish, and no longer; the upstream's side ends with it."""
    async with running(capitals) as port:
        here = await house(f"http://127.0.0.1:{port}", limits=Limits(tick=0.02, drain=0.3, lingering=0.2))
        async with here.client() as client:
            await client.send(get(HOST, b"/ws", *OPENING))
            assert (await head_of(client)).startswith(b"HTTP/1.1 101 ")
            stopping = asyncio.create_task(here.running.listener.stop())
            await until(lambda: not here.running.listener.accepting)
            await client.send(b"hi")
            assert await client.some() == b"HI"
            await asyncio.wait_for(client.end(), 3)
            await asyncio.wait_for(stopping, 3)
        await until(lambda: here.pool.open == 0 and not relaying() and len(here.log.entries) == 1)


# -- the log -----------------------------------------------------------------------------------------


async def test_the_log_has_a_line_for_each_request(house: Build) -> None:
    """Method, target, verdict, status and the bytes of each, whoever answered; the user as admitted."""

    async def admit(request: Request) -> Caller:
        request.subject = "K1"
        if request.target == "/denied":
            raise NotRelayed(403, "login")
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict, "K1", "1", "login")

    async with recording() as upstream:
        here = await house(upstream.url, needs="login", login=admit)
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
    assert all(0 <= each.seconds < 5 for each in here.log.entries)


async def test_the_log_knows_who_and_how_much_when_it_ends_early(house: Build) -> None:
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
        here = await house(f"http://127.0.0.1:{port}", needs="login", login=admit)
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


async def test_the_log_of_a_refusal_by_the_gate(house: Build) -> None:
    """A request that the gate refused is one line too, and counted once."""
    other = get(HOST, b"/own/page").replace(HOST, b"other.test")
    refused = ((get(HOST, b"/a", b"X_Y: 1"), 400), (get(HOST, b"/a/../b"), 400), (other, 421))
    async with recording() as upstream:
        here = await house(upstream.url)
        for request, status in refused:
            async with here.client() as client:
                assert (await client.ask(request)).status == status
                await client.end()
    assert here.log.lines() == [("GET", "/a", 400), ("GET", "/a/../b", 400), ("GET", "/own/page", 421)]
    assert [here.counts[f"refused.{code}"] for code in ("header-name", "target", "host")] == [1, 1, 1]


# -- trailers ----------------------------------------------------------------------------------------

FORBIDDEN = (
    b"Host", b"Cookie", b"Authorization", b"Proxy-Authorization", b"Content-Type", b"Content_Length",
    b"Transfer_Encoding", b"Client-Cert", b"client_cert_chain", b"Sekisho-Assertion", b"SEKISHO_ASSERTION",
    b"X-Remote-User", b"X_Remote_User", b"X_Forwarded_For", b"X.Forwarded.Host", b"Forwarded", b"X-Real-IP",
    b"X-HTTP-Method-Override", b"Upgrade", b"Connection", b"Expect", b"TE", b"Trailer", b"Range",
)  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_a_request_trailer_says_nothing_of_the_gates(house: Build, name: bytes) -> None:
    """A field that would be believed of the gate, or frame or route a message, does not pass after a body."""
    async with recording() as upstream:
        here = await house(upstream.url)
        async with here.client() as client:
            rest = b"3\r\nabc\r\n0\r\nX-Good: 1\r\n%b: evil\r\n\r\n" % name
            await client.send(chunked(b"/a", rest, b"Trailer: X-Good, " + name) + get(HOST, b"/b"))
            assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        head, _, tail = upstream.raw[0].partition(b"abc\r\n")
        trailer = tail.partition(b"GET /b")[0]
        assert trailer == b"0\r\nX-Good: 1\r\n\r\n"
        assert b"Trailer: X-Good\r\n" in head
        assert b"evil" not in upstream.raw[0]


@pytest.mark.parametrize("name", [
    b"Set-Cookie", b"Connection", b"Content-Type", b"Location", b"WWW-Authenticate", b"Content_Encoding",
    b"Alt-Svc", b"Cache-Control", b"Upgrade", b"Proxy-Authenticate", b"Set_Cookie",
])  # fmt: skip
async def test_an_answers_trailer_sets_nothing(house: Build, name: bytes) -> None:
    """Nor does one that would set a cookie, a type or a place after the body of an answer."""
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Good: 1\r\n%b: evil\r\n\r\n"
    ) % name
    async with running(saying(answer, OK)) as port:
        here = await house(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            got = b""
            while not got.endswith(b"X-Good: 1\r\n\r\n"):
                got += await client.some()
            assert b"evil" not in got
            assert (await client.get(HOST, b"/b")).body == b"ok"
