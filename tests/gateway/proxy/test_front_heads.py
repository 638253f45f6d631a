"""What stands in a head and how long it may take, on a connection that pages and upstream share."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.edge.facts import Limits
from tests.gateway.proxy.deployments import (
    HOST,
    OK,
    QUICK,
    SOON,
    Build,
    chunked,
    post,
    relaying,
    statuses,
    until,
)
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import everything, get

# -- heads -------------------------------------------------------------------------------------------


async def test_a_head_in_single_bytes(deployment: Build) -> None:
    """One record for each byte, twice on one connection, is read as if it came at once."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
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
async def test_a_field_in_several_records(deployment: Build, pieces: tuple[bytes, ...]) -> None:
    """The space around a value belongs to none of its pieces."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
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
    ("line", "status"),
    [(b"GET ?x HTTP/1.1", 400), (b"GET  HTTP/1.1", 400), (b"GET /" + b"a" * 9_000 + b" HTTP/1.1", 414)],
)
async def test_a_header_seen_before_hides_no_target(deployment: Build, line: bytes, status: int) -> None:
    """A target that is none, or too long, is refused also below the very header of the last request."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).status == 200
            assert (await client.ask(line + b"\r\nHost: login.test\r\n\r\n")).status == status
    assert [seen.target for seen in upstream.requests] == ["/a"]
    assert upstream.raw[0].count(b"GET ") == 1


async def test_the_host_is_that_of_each_request(deployment: Build) -> None:
    """Requests of one connection may spell it in other ways, and the upstream hears how."""
    hosts = [HOST, b"login.test:443", b"LOGIN.test", b"LOGIN.test", HOST]
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            for host in hosts:
                assert (await client.get(host, b"/a")).status == 200
    assert [seen.values("host") for seen in upstream.requests] == [[host.decode()] for host in hosts]
    forwarded = [seen.values("x-forwarded-host") for seen in upstream.requests]
    assert forwarded == [[host.decode()] for host in hosts]


START = b"GET /a HTTP/1.1\r\nHost: login.test\r\n"
LIMITS = Limits()


@pytest.mark.parametrize(("stream", "status"), [
    (b"GET /" + b"a" * LIMITS.line_bytes + b" HTTP/1.1\r\nHost: login.test\r\n\r\n", 414),
    (START + b"X: " + b"a" * LIMITS.line_bytes + b"\r\n\r\n", 431),
    (START + b"a" * LIMITS.line_bytes + b": x\r\n\r\n", 431),
    (START + b"X: y\r\n" * LIMITS.headers + b"\r\n", 431),
    (START + (b"X: " + b"a" * 8_000 + b"\r\n") * 9, 431),
    (START + b"X: " + b"a" * 65_600, 431),
    (b"GET /" + b"a" * 65_600, 414),
    (b"\r\n" * 32_800, 400),
    (b"a" * 65_600, 400),
])  # fmt: skip
@pytest.mark.parametrize("after", [0, 1])
async def test_a_head_has_limits(deployment: Build, stream: bytes, status: int, after: int) -> None:
    """A line, a number of fields, or a head beyond them is refused by the status that says what is too much
    (RFC 6585 5, RFC 9110 15.5.15), and is the end, also when it never ends."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            if after:
                assert (await client.ask(post(b"/before", b"abc"))).status == 200
            await client.send(stream)
            assert (await client.answer()).status == status
            assert (await client.end()).alert == "close_notify"
    assert [seen.target for seen in upstream.requests] == ["/before"] * after


@pytest.mark.parametrize("stream", [
    b"GET /" + b"a" * (LIMITS.line_bytes - 1) + b" HTTP/1.1\r\nHost: login.test\r\n\r\n",
    START + b"X: y\r\n" * (LIMITS.headers - 1) + b"\r\n",
    START.replace(b"GET", b"POST") + b"Content-Length: 40000\r\n" + (b"X: " + b"a" * 4_000 + b"\r\n") * 10
    + b"\r\n" + b"z" * 40_000,
    b"\r\n" + START + b"\r\n",
])  # fmt: skip
async def test_a_head_within_the_limits_passes(deployment: Build, stream: bytes) -> None:
    """Up to each limit a request is handed on; the body behind a head does not count."""
    async with running(saying(OK)) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            assert (await client.ask(stream)).status == 200


@pytest.mark.parametrize("fields", [b"X: y\r\n" * 101, b"X: " + b"y" * LIMITS.line_bytes + b"\r\n"])
async def test_a_trailer_section_has_limits(deployment: Build, fields: bytes) -> None:
    """Too many fields after a body, or one too long: 400, the end, and no whole body for the upstream."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            await client.send(chunked(b"/a", b"3\r\nabc\r\n0\r\n" + fields + b"\r\n") + get(HOST, b"/b"))
            got, alert = await everything(client)
        assert (statuses(got), alert) == ([400], "close_notify")
        assert upstream.requests == []
        assert here.pool.open == 0


@pytest.mark.parametrize(("begun", "status"), [
    (START + b"X: ", 431), (chunked(b"/a", b"3\r\nabc\r\n0\r\nX: "), 400), (chunked(b"/a", b"3;x="), 400),
    (chunked(b"/a", b"zz\r\n"), 400),
])  # fmt: skip
async def test_who_sends_without_an_end_sees_why_it_ends(
    deployment: Build, begun: bytes, status: int
) -> None:
    """A field, a trailer, a chunk's extension that never end are refused, which is not lost as he goes on."""
    async with recording() as upstream:
        here = await deployment(upstream.url, limits=Limits(tick=0.02, drain=0.2, lingering=5))
        async with here.client() as client:
            await client.send(begun)
            for _ in range(60):
                await client.send(b"y" * 50_000)
                await asyncio.sleep(0)  # let the gate answer in between
            assert (await asyncio.wait_for(client.answer(), 60)).status == status
        assert upstream.requests == []


@pytest.mark.parametrize("piece", [b"\r\n", b"X-A: b\r\n"])
@pytest.mark.parametrize("before", [b"/a", b"/own/page"])
async def test_a_head_has_its_time(deployment: Build, piece: bytes, before: bytes) -> None:
    """Dripped empty lines, or fields, end with the head's limit, after any kind of answer."""
    async with recording() as upstream:
        here = await deployment(upstream.url, limits=replace(QUICK, head=SOON))
        async with here.client() as client:
            assert (await client.get(HOST, before)).status == 200
            await client.send(b"" if piece == b"\r\n" else START)

            async def drip() -> None:
                while True:
                    await client.send(piece)
                    await asyncio.sleep(0.03)

            dripping = asyncio.create_task(drip())
            await asyncio.wait_for(client.end(), 60)
            dripping.cancel()
        assert here.counts["head.timeout"] == 1


@pytest.mark.parametrize("target", [b"/a", b"/own/page"])
async def test_idle_connections_end(deployment: Build, target: bytes) -> None:
    """After an answer of either kind a connection rests so long and ends with a goodbye."""
    async with recording() as upstream:
        here = await deployment(upstream.url, limits=replace(QUICK, idle=1.5))
        async with here.client() as client:
            assert (await client.get(HOST, target)).status == 200
            assert (await asyncio.wait_for(client.end(), 60)).alert == "close_notify"
        assert here.counts["idle.timeout"] == 1


@pytest.mark.parametrize("target", [b"/a", b"/own/echo"])
async def test_slow_bodies_end(deployment: Build, target: bytes) -> None:
    """A body that drips ends, wherever it goes, and takes the upstream's connection along."""

    async def sink(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass

    async with running(sink) as port:
        here = await deployment(f"http://127.0.0.1:{port}", limits=replace(QUICK, stall=SOON))
        async with here.client() as client:
            await client.send(post(target, b"", length=800))

            async def drip() -> None:
                while True:
                    await client.send(b"x")
                    await asyncio.sleep(0.03)

            dripping = asyncio.create_task(drip())
            await asyncio.wait_for(client.end(), 60)
            dripping.cancel()
        assert here.counts["slow-body"] == 1
        await until(lambda: here.pool.open == 0 and not relaying() and len(here.log.entries) == 1)


async def test_who_takes_nothing_ends(deployment: Build) -> None:
    """A client that does not read an endless answer ends, and so does the upstream's connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}", limits=replace(QUICK, stall=SOON))
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            await until(lambda: here.counts.get("slow-reader") == 1)
        await until(lambda: here.pool.open == 0 and not relaying() and len(here.log.entries) == 1)


@pytest.mark.parametrize("target", [b"/own/echo", b"/a"])
@pytest.mark.parametrize(
    ("coding", "status"),
    [(b"chunked", 200), (b"CHUNKED", 200), (b"gzip, chunked", 501), (b"x, chunked", 501)],
)
async def test_pages_and_upstream_read_one_framing(
    deployment: Build, target: bytes, coding: bytes, status: int
) -> None:
    """How long a body is was read once: a coding that is nobody's to undo is refused by both alike, and what
    either gets has a framing of ours."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            rest = b"3\r\nabc\r\n0\r\n\r\n"
            await client.send(chunked(target, rest).replace(b"Encoding: chunked", b"Encoding: " + coding))
            answer = await client.answer()
            assert answer.status == status
            if status == 200:
                assert answer.body == b"abc"
            assert here.counts.get("refused.transfer-encoding", 0) == (status == 501)
