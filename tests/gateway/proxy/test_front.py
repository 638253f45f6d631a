"""One connection, two who answer: the site's own pages and the upstream. What clients may do to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from aiohttp import web

from gateway.edge.facts import Limits
from tests.gateway.proxy.deployments import (
    HOST,
    OK,
    QUICK,
    SOON,
    Build,
    chunked,
    held_up,
    pages,
    post,
    statuses,
    until,
)
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import everything, get, head_of


@pytest.mark.parametrize("size", [5, 16_000])
async def test_a_body_behind_a_head_as_large_as_may_be(deployment: Build, size: int) -> None:
    """Head and body have limits of their own: a body in the next record arrives as it was sent."""
    body = (b"hello" * size)[:size]
    here = await deployment("http://127.0.0.1:1")
    async with here.client() as client:
        lines = [b"X-%d: " % number + b"x" * 7_990 for number in range(8)]
        await client.send(post(b"/own/echo", b"", *lines, length=size))
        await asyncio.sleep(0.05)
        await client.send(body)
        answer = await asyncio.wait_for(client.answer(), 60)
        assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(("said", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
async def test_where_a_page_posts_from_is_asked_without_origin_too(
    deployment: Build, said: str, status: int
) -> None:
    """V40: Sec-Fetch-Site alone is enough to refuse what another site's page does."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            asked = post(b"/a", b"x", f"Sec-Fetch-Site: {said}".encode())
            assert (await client.ask(asked)).status == status
    assert len(upstream.requests) == (status == 200)


async def test_a_broken_body_never_becomes_content(deployment: Build) -> None:
    """Whoever reads it is told; the visitor gets 400, and the log no fault of ours."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            await client.send(chunked(b"/own/echo", b"3\r\nabc\r\n"))
            await asyncio.sleep(0.05)
            await client.send(b"zz\r\n")
            got, _ = await everything(client)
            assert statuses(got) == [400]


async def test_who_is_told_to_go_on_has_the_whole_time(deployment: Build) -> None:
    """The 100 comes late in a window that began when the client was still waiting: a new one begins."""
    window = 1.5

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(1.9 * window)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(3_000)
        writer.write(OK)
        await reader.read()

    async with running(late) as port:
        here = await deployment(f"http://127.0.0.1:{port}", limits=replace(QUICK, stall=window))
        async with here.client() as client:
            await client.send(post(b"/a", b"", b"Expect: 100-continue", length=3_000))
            assert (await head_of(client)).startswith(b"HTTP/1.1 100 ")
            await asyncio.sleep(0.2 * window)
            await client.send(bytes(3_000))
            assert (await client.answer()).body == b"ok"


# -- one after the other -----------------------------------------------------------------------------


async def test_pages_and_the_upstream_answer_in_turn(deployment: Build) -> None:
    """Pipelined requests that alternate between both are answered in the order in which they came."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
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


async def test_many_small_requests_at_once(deployment: Build) -> None:
    """Hundreds in one go, every third one for a page, are all answered, and in order."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
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
async def test_nothing_is_asked_behind_the_last_answer(deployment: Build, first: bytes, pieces: int) -> None:
    """What is pipelined behind the last request of a connection reaches neither page nor upstream."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
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
async def test_what_is_malformed_is_refused_in_its_turn(deployment: Build, broken: bytes) -> None:
    """Those before it are answered, it is 400, and nothing behind it is read."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
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
    deployment: Build, target: bytes, lines: bytes
) -> None:
    """aiohttp calls whatever its own parser refuses UNKNOWN; the log says what was asked."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            answer = await client.ask(b"PUT " + target + b" HTTP/1.1\r\n" + lines + b"\r\n")
        assert (answer.status, upstream.requests) == (400, [])
    assert here.log.lines() == [("PUT", target.decode("ascii"), 400)]


async def test_who_does_not_read_is_not_answered_ahead(deployment: Build) -> None:
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
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            sending = asyncio.create_task(client.send(get(HOST, b"/a") * 300))
            before = -1
            async with asyncio.timeout(60):
                while before != begun:
                    before = begun
                    await asyncio.sleep(0.1)
            assert begun < 150
            for _ in range(300):
                assert len((await client.answer()).body) == size
            await sending


async def test_requests_in_records_of_their_own_wait(deployment: Build) -> None:
    """Who sends one after the other, and reads no answer, is held back like who sends all at once."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000))
            await writer.drain()

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            sent, total, request = 1, 4_000, get(HOST, b"/a", b"X: " + b"x" * 8_000)

            def answered() -> bool:
                return len(here.log.entries) == sent

            await client.send(request)
            await until(answered)
            with suppress(TimeoutError):  # none is answered any more
                while True:
                    await client.send(request)
                    sent += 1
                    await until(answered, 0.3)

            async def feed() -> None:
                nonlocal sent
                while sent < total:
                    await client.send(request)
                    sent += 1

            feeding, before = asyncio.create_task(feed()), -1
            async with asyncio.timeout(60):
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.2)
            feeding.cancel()
            assert sent < total


@pytest.mark.parametrize("target", [b"/up", b"/own/count"])
async def test_a_body_behind_a_slow_answer_waits(deployment: Build, target: bytes) -> None:
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
        here = await deployment(f"http://127.0.0.1:{port}", app=pages(("POST", "/own/count", count)))
        async with here.client() as client:

            async def feed() -> None:
                nonlocal sent
                await client.send(get(HOST, b"/slow") + post(target, b"", length=size))
                while sent < size:
                    await client.send(bytes(100_000))
                    sent += 100_000

            feeding, before = asyncio.create_task(feed()), -1
            async with asyncio.timeout(60):
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.1)
            assert sent < size
            go.set()
            assert (await client.answer()).body == b"ok"
            assert (await client.answer()).body == b"%d" % size
            await feeding


async def test_a_page_that_is_slow_to_read_stops_the_client(deployment: Build) -> None:
    """An upload to a page is held back while nobody reads it; what is pipelined behind it is answered."""
    size, sent, go = 16_000_000, 0, asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        await go.wait()
        return web.Response(text=str(sum([len(piece) async for piece in request.content.iter_any()])))

    async with recording() as upstream:
        here = await deployment(upstream.url, app=pages(("POST", "/own/late", late)))
        async with here.client() as client:

            async def feed() -> None:
                nonlocal sent
                await client.send(post(b"/own/late", b"", length=size))
                while sent < size:
                    await client.send(bytes(100_000))
                    sent += 100_000
                await client.send(get(HOST, b"/a") * 100)

            feeding, before = asyncio.create_task(feed()), -1
            async with asyncio.timeout(60):
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.1)
            assert sent < size
            go.set()
            assert (await client.answer()).text == str(size)
            for number in range(100):
                assert (await client.answer()).body == b"request %d" % (number + 1)
            await feeding


# -- bodies that nobody wanted -----------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3_000])
async def test_a_page_may_answer_before_the_body_came(deployment: Build, times: int) -> None:
    """What comes of the body afterwards is no request, and those behind it are, for whomever."""
    async with recording() as upstream:
        here = await deployment(upstream.url, limits=Limits(tick=0.02, drain=0.2, lingering=5))
        async with here.client() as client:
            body = get(HOST, b"/hidden") * times
            assert (await client.ask(post(b"/own/page", b"", length=len(body)))).body == b"own /own/page"
            await client.send(body[:20])
            await client.send(body[20:] + get(HOST, b"/own/page") + get(HOST, b"/b"))
            async with asyncio.timeout(60):
                assert [(await client.answer()).body for _ in range(2)] == [b"own /own/page", b"request 1"]
    assert [seen.target for seen in upstream.requests] == ["/b"]
    assert here.log.lines() == [("POST", "/own/page", 200), ("GET", "/own/page", 200), ("GET", "/b", 200)]


async def test_a_body_of_somebody_turned_down_is_no_request(deployment: Build) -> None:
    """Who needs a login gets 403: with all of his body there he goes on, else the connection ends."""
    async with recording() as upstream:
        here = await deployment(upstream.url, needs="login")
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
            assert (await asyncio.wait_for(client.end(), 60)).alert == "close_notify"
    assert [seen.target for seen in upstream.requests] == ["/free/b", "/free/b"]
    assert [each[2] for each in here.log.lines()] == [403, 200, 403, 200, 403]


async def test_a_whole_chunked_body_over_a_rested_connection(deployment: Build) -> None:
    """A body in chunks that came with its head arrives and is answered, on the connection of the last one."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).status == 200
            assert (await client.ask(chunked(b"/b", b"3\r\nabc\r\n0\r\n\r\n"))).body == b"abc"
    assert [(seen.body, seen.connection) for seen in upstream.requests] == [(b"", 0), (b"abc", 0)]


async def test_a_body_that_breaks_with_its_head_ends_the_page(deployment: Build) -> None:
    """A page does not wait for the rest of a body whose framing broke in the record of its head."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            await client.send(chunked(b"/own/echo", b"zz\r\n"))
            await asyncio.wait_for(client.end(), 60)


async def test_who_is_turned_down_sees_why_while_he_sends(deployment: Build) -> None:
    """The page of a refusal is not lost to who is still in the middle of a large body."""
    limits = Limits(tick=0.02, drain=0.2, lingering=5)
    here = await deployment("http://127.0.0.1:1", needs="login", limits=limits)
    async with here.client() as client:
        await client.send(post(b"/a", b"", length=3_000_000))
        for _ in range(60):
            await client.send(bytes(50_000))
            await asyncio.sleep(0)  # let the gate answer in between
        assert (await client.answer()).status == 403


async def test_an_expectation_is_met_by_who_answers(deployment: Build) -> None:
    """A page says 100 itself; an upstream's 100 is handed on; who is turned down gets none."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(3)
        writer.write(OK)
        await reader.read()

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        expecting = (b"Expect: 100-continue",)
        async with here.client() as client:
            for target in (b"/a", b"/own/echo"):
                await client.send(post(target, b"", *expecting, length=3))
                assert (await head_of(client)).startswith(b"HTTP/1.1 100 ")
                assert (await client.ask(b"abc")).status == 200
            foreign = post(b"/a", b"", *expecting, b"Origin: https://evil.test", length=3)
            answer = await client.ask(foreign)
            assert (answer.status, answer.body) == (403, b"cross_site")
            assert (await asyncio.wait_for(client.end(), 60)).alert == "close_notify"


async def test_who_waits_for_a_100_is_not_slow(deployment: Build) -> None:
    """A body that its sender holds back is not late before the upstream asked for it; then it is."""
    heard, go = asyncio.Event(), asyncio.Event()

    script = held_up(heard, go, b"HTTP/1.1 100 Continue\r\n\r\n")

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}", limits=replace(QUICK, stall=SOON))
        async with here.client() as client:
            await client.send(post(b"/a", b"", b"Expect: 100-continue", length=900))
            await heard.wait()
            await asyncio.sleep(2.5 * SOON)
            assert here.running.listener.open_connections == 1
            go.set()
            assert (await head_of(client)).startswith(b"HTTP/1.1 100 ")
            await asyncio.wait_for(client.end(), 60)
        assert here.counts["slow-body"] == 1


# -- other protocols ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [b"/a", b"/own/echo"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("step", [0, 1, 7])
async def test_a_body_before_a_switch_arrives(
    deployment: Build, target: bytes, framing: str, step: int
) -> None:
    """An Upgrade that we do not know is left out, the body is handed on whole, and it was the last."""
    upgrade = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA")
    body = get(HOST, b"/free/hidden")
    if framing == "length":
        stream = post(target, body, *upgrade)
    else:
        stream = chunked(target, b"%x\r\n%b\r\n0\r\nX-T: 1\r\n\r\n" % (len(body), body), *upgrade)
    stream += get(HOST, b"/free/behind")
    async with recording() as upstream:
        here = await deployment(upstream.url)
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
    deployment: Build, second: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one is answered without, as the last one, and what is behind its body is not read."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            await client.send(post(b"/1", b"abc", b"Connection: Upgrade", b"Upgrade: h2c") + second)
            got, alert = await everything(client)
        assert (statuses(got), alert) == ([200], "close_notify")
    assert [(seen.target, seen.body) for seen in upstream.requests] == [("/1", b"abc")]
    assert "Fatal error" not in caplog.text


@pytest.mark.parametrize(("request_", "status"), [
    (b"CONNECT login.test:443 HTTP/1.1\r\nHost: login.test\r\n\r\nraw", 501),
    (b"CONNECT login.test:443 HTTP/1.1\r\nHost: login.test\r\nContent-Length: 3\r\n\r\nraw", 501),
    (get(HOST, b"/a").replace(b"GET", b"TRACE"), 501),
    (get(HOST, b"/own/page").replace(b"GET", b"TRACE"), 501),
    (get(HOST, b"*").replace(b"GET", b"OPTIONS"), 400),
    (get(HOST, b"http://login.test/a"), 400),
    (get(HOST, b"https://login.test/own/page"), 400),
    (get(HOST, b"/a").replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
    (get(HOST, b"/own/page").replace(b"HTTP/1.1", b"HTTP/0.9"), 505),
    (b"GET /a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (get(HOST, b"/a").replace(b"GET", b"BREW"), 400),
    (b"SOURCE /a ICE/1.0\r\nHost: login.test\r\n\r\n", 501),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
])  # fmt: skip
async def test_what_is_no_request_for_us(deployment: Build, request_: bytes, status: int) -> None:
    """Refused with its status, once, and the connection ends; the upstream never hears of it."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            assert (await client.ask(request_)).status == status
            assert (await client.end()).alert == "close_notify"
    assert upstream.requests == []
    assert [each.status for each in here.log.entries] == [status]


# -- trailers ----------------------------------------------------------------------------------------

FORBIDDEN = (
    b"Host", b"Cookie", b"Authorization", b"Proxy-Authorization", b"Content-Type", b"Content_Length",
    b"Transfer_Encoding", b"Client-Cert", b"client_cert_chain", b"Sekisho-Assertion", b"SEKISHO_ASSERTION",
    b"X-Remote-User", b"X_Remote_User", b"X_Forwarded_For", b"X.Forwarded.Host", b"Forwarded", b"X-Real-IP",
    b"X-HTTP-Method-Override", b"Upgrade", b"Connection", b"Expect", b"TE", b"Trailer", b"Range",
)  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_a_request_trailer_says_nothing_of_the_gates(deployment: Build, name: bytes) -> None:
    """A field that would be believed of the gate, or frame or route a message, does not pass after a body."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
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
async def test_an_answers_trailer_sets_nothing(deployment: Build, name: bytes) -> None:
    """Nor does one that would set a cookie, a type or a place after the body of an answer."""
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Good: 1\r\n%b: evil\r\n\r\n"
    ) % name
    async with running(saying(answer, OK)) as port:
        here = await deployment(f"http://127.0.0.1:{port}")
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            got = b""
            while not got.endswith(b"X-Good: 1\r\n\r\n"):
                got += await client.some()
            assert b"evil" not in got
            assert (await client.get(HOST, b"/b")).body == b"ok"
