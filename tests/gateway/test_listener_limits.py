"""Slow and greedy clients end within their own limits (V45, V46) while others are served."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from OpenSSL import SSL

from gateway.edge.facts import Limits
from tests.gateway.conftest import Pki, Running, Serve
from tests.gateway.rawtls import RawClient, client_context, connect, get, raw_tls
from tests.gateway.samples import open_site

# A test shortens the one limit that it is about: within the others everybody is on a busy machine as well.
QUICK = Limits(tick=0.02, drain=0.2, lingering=0.2, stall_bytes=64)
SOON = 0.25
# For those who are within the limits.
ROOMY = replace(QUICK, head=1.5, idle=1.5, stall=1.5)


async def read_all(request: web.BaseRequest) -> web.Response:
    """Counts the bytes of a body."""
    return web.Response(text=str(len(await request.read())))


async def flood(request: web.BaseRequest) -> web.StreamResponse:
    """Sends for ever."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65_536)


async def drip(client: RawClient, piece: bytes, every: float) -> None:
    while True:
        await client.send(piece)
        await asyncio.sleep(every)


@asynccontextmanager
async def lasting(seconds: float) -> AsyncIterator[None]:
    """The block takes so long at least, and a minute at most; which limit it was, the counts say."""
    begun = time.monotonic()
    async with asyncio.timeout(60):
        yield
    assert time.monotonic() - begun >= seconds


async def test_idle_tcp(serve: Serve, pki: Pki) -> None:
    """A socket that says nothing ends with the handshake's limit."""
    running = await serve(open_site(pki), limits=replace(QUICK, handshake=SOON))
    async with lasting(SOON):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        await _eof(reader)
    writer.close()
    assert running.listener.counts["handshake.timeout"] == 1


async def test_partial_hello(serve: Serve, pki: Pki) -> None:
    """V46: half a ClientHello, dripped on, ends with the handshake's limit as well."""
    running = await serve(open_site(pki), limits=replace(QUICK, handshake=SOON))
    tls = raw_tls(b"enroll.test", client_context())
    with pytest.raises(SSL.WantReadError):
        tls.do_handshake()
    hello = tls.bio_read(65_536)

    async def dripping() -> None:
        for at in range(len(hello)):
            writer.write(hello[at : at + 1])
            await asyncio.sleep(0.02)

    async with lasting(SOON):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        task = asyncio.create_task(dripping())
        await _eof(reader)
    task.cancel()
    writer.close()
    assert running.listener.counts["handshake.timeout"] == 1


async def test_idle_after_the_handshake(serve: Serve, pki: Pki) -> None:
    """A connection without a request, and a kept-alive one, end with the idle limit and a goodbye."""
    running = await serve(open_site(pki), limits=ROOMY)
    async with lasting(ROOMY.idle), connect(running.port, b"enroll.test") as client:
        assert (await client.end()).alert == "close_notify"
    async with connect(running.port, b"enroll.test") as client:
        await client.get(b"enroll.test")
        await asyncio.sleep(0.2)
        async with lasting(ROOMY.idle):
            await client.get(b"enroll.test")
            assert (await client.end()).alert == "close_notify"
    assert running.listener.counts["idle.timeout"] == 2


@pytest.mark.parametrize("after", [0, 1])
async def test_slow_head(serve: Serve, pki: Pki, after: int) -> None:
    """A header dripped line by line ends with the head limit, in the first request and a later one."""
    running = await serve(open_site(pki), limits=replace(QUICK, head=SOON))
    async with connect(running.port, b"enroll.test") as client:
        for _ in range(after):
            await client.get(b"enroll.test")
        async with lasting(SOON):
            await client.send(b"GET / HTTP/1.1\r\nHost: enroll.test\r\n")
            task = asyncio.create_task(drip(client, b"X-A: b\r\n", 0.03))
            await client.end()
        task.cancel()
    assert running.listener.counts["head.timeout"] == 1


async def test_slow_body(serve: Serve, pki: Pki) -> None:
    """A body slower than the least rate ends; one that keeps the rate is read however long it takes."""
    running = await serve(open_site(pki, handler=read_all), limits=replace(QUICK, stall=SOON))
    head = b"POST / HTTP/1.1\r\nHost: enroll.test\r\nContent-Length: 800\r\n\r\n"
    async with connect(running.port, b"enroll.test") as client:
        async with lasting(SOON):
            await client.send(head)
            task = asyncio.create_task(drip(client, b"x", 0.03))
            await client.end()
        task.cancel()
    assert running.listener.counts["slow-body"] == 1
    running = await serve(open_site(pki, handler=read_all), limits=ROOMY)
    async with connect(running.port, b"enroll.test") as client:
        await client.send(head)
        for _ in range(20):
            await client.send(b"x" * 40)
            await asyncio.sleep(0.1)
        assert (await client.answer()).text == "800"


@pytest.mark.parametrize("framing", [b"Content-Length: 800", b"Transfer-Encoding: chunked"])
async def test_what_stands_behind_an_upgrade(serve: Serve, pki: Pki, framing: bytes) -> None:
    """W16: a body announced behind an upgrade that is declined holds neither connection nor handler."""
    asked: list[str] = []

    async def page(request: web.BaseRequest) -> web.Response:
        asked.append(request.method)
        return await read_all(request)

    running = await serve(open_site(pki, handler=page), limits=QUICK)
    async with connect(running.port, b"enroll.test") as client:
        upgrade = get(b"enroll.test", b"/", b"Connection: Upgrade", b"Upgrade: websocket")
        await client.send(upgrade + get(b"enroll.test", b"/", framing).replace(b"GET", b"POST") + b"3\r\nabc")
        assert (await client.answer()).status == 200
        async with asyncio.timeout(60):
            await client.end()
    assert asked == ["GET"]


async def test_every_phase_has_its_whole_time(serve: Serve, pki: Pki) -> None:
    """Records that hold the end of one head and the beginning of the next: each has the head's own limit."""
    running = await serve(open_site(pki), limits=ROOMY)
    head = get(b"enroll.test")
    async with connect(running.port, b"enroll.test") as client:
        await client.send(head[:10])
        for _ in range(15):
            await asyncio.sleep(0.15)
            await client.send(head[10:] + head[:10])
            assert (await client.answer()).status == 200
        async with asyncio.timeout(60):
            await client.end()
    assert running.listener.counts["head.timeout"] == 1


async def test_many_tiny_heads_wait_as_bytes(serve: Serve, pki: Pki) -> None:
    """A record full of pipelined requests is no thousand objects while the first of them is answered."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def page(_: web.BaseRequest) -> web.Response:
        begun.set()
        await go.wait()
        return web.Response()

    running = await serve(open_site(pki, handler=page))
    head = b"GET / HTTP/1.1\r\nHost:enroll.test\r\n\r\n"
    async with connect(running.port, b"enroll.test") as client:
        await client.send(head * 400)
        await begun.wait()
        (here,) = running.listener._register.open
        assert here._http is not None
        assert len(here._http._queue) <= 16 + 2_048 // len(head)
        go.set()
        for _ in range(400):
            assert (await client.answer()).status == 200
        assert (await client.get(b"enroll.test")).status == 200


async def test_slow_reader(serve: Serve, pki: Pki) -> None:
    """A client that takes nothing of an endless answer ends; the handler is told."""
    running = await serve(open_site(pki, handler=flood), limits=replace(QUICK, stall=SOON))
    async with connect(running.port, b"enroll.test") as client:
        await client.send(get(b"enroll.test"))
        await _until(lambda: running.listener.counts["slow-reader"] == 1)
    assert not running.listener.connections()


async def test_back_pressure(serve: Serve, pki: Pki) -> None:
    """What a slow reader does not take, the handler does not produce; a slow handler stops the writer."""
    produced = 0

    async def produce(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal produced
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(4_000):
            await response.write(b"x" * 65_536)
            produced += 65_536
        return response

    running = await serve(open_site(pki, handler=produce))
    async with connect(running.port, b"enroll.test") as client:
        await client.send(get(b"enroll.test"))
        async with asyncio.timeout(60):
            while not produced:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert produced < 16_000_000  # kernel buffers, ours, asyncio's; not 260 MB


async def test_upload_back_pressure(serve: Serve, pki: Pki) -> None:
    """A handler that does not read stops the client; once it reads, everything arrives."""
    gone_on = asyncio.Event()

    async def late(request: web.BaseRequest) -> web.Response:
        await gone_on.wait()
        total = 0
        async for piece in request.content.iter_any():
            total += len(piece)
        return web.Response(text=str(total))

    size = 20_000_000
    running = await serve(open_site(pki, handler=late))
    async with connect(running.port, b"enroll.test") as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: enroll.test\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0

        async def push() -> None:
            nonlocal sent
            while sent < size:
                await client.send(b"x" * 50_000)
                sent += 50_000

        task = asyncio.create_task(push())
        await asyncio.sleep(0.3)
        stopped_at = sent
        assert stopped_at < size
        gone_on.set()
        await task
        assert (await client.answer()).text == str(size)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("size", [16_384, 16_385, 65_536, 65_537, 3_000_001])
async def test_bytes_arrive_as_they_were_sent(serve: Serve, pki: Pki, size: int, version: int) -> None:
    """Both ways, in one write or in many, whatever the size against a TLS record's."""
    content = random.Random(size).randbytes(size)

    async def echo(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"".join([piece async for piece in request.content.iter_any()]))

    running = await serve(open_site(pki, handler=echo))
    async with connect(running.port, b"enroll.test", version=version) as client:
        head = b"POST / HTTP/1.1\r\nHost: enroll.test\r\nContent-Length: %d\r\n\r\n" % size
        assert (await client.ask(head + content)).body == content


async def test_unfinished_handshakes_per_address(serve: Serve, pki: Pki) -> None:
    """V46: one address holds so many handshakes open and no more; finished ones do not count."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, handshakes_per_address=3))
    async with connect(running.port, b"enroll.test") as good:
        held = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(3)]
        await _until(lambda: len(running.listener._register.open) == 4)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        await _eof(reader)
        assert running.listener.counts["refused.handshakes"] == 1
        assert (await good.get(b"enroll.test")).status == 200
        for _, each in [*held, (reader, writer)]:
            each.close()
        await _until(lambda: len(running.listener._register.open) == 1)
    async with connect(running.port, b"enroll.test") as client:
        assert (await client.get(b"enroll.test")).status == 200


async def test_connections_per_address(serve: Serve, pki: Pki) -> None:
    """One address holds so many connections, idle ones too, and leaves the other places to others."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, connections_per_address=2))
    async with connect(running.port, b"enroll.test") as good:
        async with connect(running.port, b"enroll.test"):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            await _eof(reader)
            writer.close()
            assert running.listener.counts["refused.connections-of-address"] == 1
            assert (await good.get(b"enroll.test")).status == 200
        await _until(lambda: len(running.listener._register.open) == 1)
        async with connect(running.port, b"enroll.test") as client:
            assert (await client.get(b"enroll.test")).status == 200


async def test_connections_in_all(serve: Serve, pki: Pki) -> None:
    """More connections than the cap are ended at once; a freed place is given away again."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, connections=2))
    async with connect(running.port, b"enroll.test"):
        async with connect(running.port, b"enroll.test"):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            await _eof(reader)
            writer.close()
            assert running.listener.counts["refused.connections"] == 1
        await _until(lambda: len(running.listener._register.open) == 1)
        async with connect(running.port, b"enroll.test") as client:
            assert (await client.get(b"enroll.test")).status == 200


async def test_many_pipelined_requests_are_answered_in_order(serve: Serve, pki: Pki) -> None:
    """V42: a queue of requests is held back, not kept in memory, and every one is answered."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test") as client:
        task = asyncio.create_task(client.send(get(b"enroll.test") * 1_000))
        for _ in range(1_000):
            assert (await client.answer()).status == 200
        await task


@pytest.mark.parametrize("lines", [b"X: y\r\n" * 200, b"X: " + b"y" * 9_000 + b"\r\n"])
async def test_too_much_header(serve: Serve, pki: Pki, lines: bytes) -> None:
    """V42: more header lines or a longer one than the limit: 431 and the end."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test") as client:
        answer = await client.ask(b"GET / HTTP/1.1\r\nHost: enroll.test\r\n" + lines + b"\r\n")
        assert answer.status == 431
        assert (await client.end()).alert == "close_notify"
        assert "大きすぎ" in answer.text


async def test_good_clients_go_on(serve: Serve, pki: Pki) -> None:
    """V45: while slow clients of every kind are being ended, 50 good ones are served."""
    running: Running = await serve(open_site(pki), limits=replace(QUICK, handshake=1.5))
    # As many at a time as shake hands within that on a busy machine as well.
    turns = asyncio.Semaphore(5)
    slow = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(40)]

    async def good() -> int:
        async with turns, connect(running.port, b"enroll.test") as client:
            return sum([(await client.get(b"enroll.test")).status == 200 for _ in range(5)])

    assert await asyncio.gather(*(good() for _ in range(50))) == [5] * 50
    await _until(lambda: running.listener.counts["handshake.timeout"] == 40)
    for _, writer in slow:
        writer.close()


async def _eof(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65_536):
            pass
    except ConnectionError:
        pass


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)
