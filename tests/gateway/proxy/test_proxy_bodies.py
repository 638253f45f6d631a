"""Bodies, expectations, trailers and interim answers."""

from __future__ import annotations

import asyncio
import resource

import pytest
from aiohttp import web

from gateway.proxy.relay import Relay
from gateway.wire.fields import RawHeaders
from gateway.wire.request import Request
from tests.gateway.conftest import Pki, Serve
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import RawClient, connect, get
from tests.gateway.samples import login

CHUNKED = b"POST /x HTTP/1.1\r\nHost: login.test\r\nTransfer-Encoding: chunked\r\n"
BIG = 24 * 1_048_576
PIECE = b"0123456789abcdef" * 4_096


async def until(client: RawClient, end: bytes) -> bytes:
    """Everything up to ``end``."""
    data = client.buffer
    while end not in data:
        data += await client.some()
    client.buffer = b""
    return data


async def test_a_chunked_body_arrives_whole(stand: Stand, pki: Pki) -> None:
    """Chunk extensions are dropped on the way up (RFC 9112 7.1.1); a trailer field is nobody's header."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(CHUNKED + b"Trailer: X-T\r\n\r\n3;a=b\r\nabc\r\n")
            await asyncio.sleep(0.02)
            answer = await client.ask(b"2\r\nde\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n")
            assert (answer.body, "connection" in answer.headers) == (b"abcde", False)
            assert (await client.get(b"login.test", b"/next")).status == 200
    first, second = upstream.requests
    assert first.values("transfer-encoding") == ["chunked"]
    assert first.values("trailer") == ["X-T"]
    assert "x-t" not in first.names
    assert first.values("host") == ["login.test"]
    assert (second.target, "x-t" in second.names) == ("/next", False)
    assert b"\r\n0\r\nX-T: 1\r\n\r\n" in upstream.raw[0]


@pytest.mark.parametrize("field", [b"X-Leak: 1", b"Host: evil", b"Cookie: a=b", b"Upgrade: websocket"])
async def test_a_trailer_field_does_not_reach_the_next_request(stand: Stand, pki: Pki, field: bytes) -> None:
    """W1: what is pipelined behind a chunked body with a trailer is the request that was sent."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            trailer = b"0\r\n" + field + b"\r\n\r\n"
            await client.send(CHUNKED + b"\r\n3\r\nabc\r\n" + trailer + get(b"login.test", b"/second"))
            assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        assert [seen.target for seen in upstream.requests] == ["/x", "/second"]
        name = field.partition(b":")[0].lower().decode()
        assert upstream.requests[1].values(name) == (["login.test"] if name == "host" else [])


@pytest.mark.parametrize("field", [b"Content-Length: 50", b"Transfer-Encoding: chunked", b"no colon"])
async def test_a_trailer_section_that_frames_is_refused(stand: Stand, pki: Pki, field: bytes) -> None:
    """W1: nothing behind it is answered, and the upstream hears of neither."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            trailer = b"0\r\n" + field + b"\r\n\r\n"
            await client.send(CHUNKED + b"\r\n3\r\nabc\r\n" + trailer + get(b"login.test", b"/second"))
            assert (await client.answer()).status == 400
            await client.end()
        assert upstream.requests == []


@pytest.mark.parametrize("entitled", [True, False])
async def test_a_trailer_field_is_nobodys_on_pages(serve: Serve, pki: Pki, entitled: bool) -> None:
    """The same on pages of our own, those for visitors who are refused included."""
    seen: list[RawHeaders] = []

    async def page(request: web.BaseRequest) -> web.Response:
        seen.append(request.raw_headers)
        return web.Response(body=await request.read())

    running = await serve(login(pki, handler=page, refused=page))
    certificate = pki.client if entitled else None
    async with connect(running.port, b"login.test", certificate=certificate) as client:
        trailer = b"0\r\nX-Leak: 50\r\n\r\n"
        await client.send(CHUNKED + b"\r\n3\r\nabc\r\n" + trailer + get(b"login.test", b"/second"))
        assert [(await client.answer()).body for _ in range(2)] == [b"abc", b""]
    assert [dict(headers).get(b"X-Leak") for headers in seen] == [None, None]


async def test_less_than_announced_is_never_left_behind(stand: Stand, pki: Pki) -> None:
    """W1: a length that the parser did not see ends the upstream connection within the request."""
    async with recording() as upstream:
        front = await stand(upstream.url, around=Lying)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test")).status == 400
        assert front.pool.open == 0
        assert upstream.requests == []


class Lying:
    """A relay that is shown a Content-Length that was not there."""

    def __init__(self, relay: Relay) -> None:
        self._relay, self.claims = relay, relay.claims

    def begin(self, request: Request) -> None:
        request.headers = (*request.headers, (b"Content-Length", b"5"))
        self._relay.begin(request)


async def test_a_broken_chunked_body_reaches_nobody_as_whole(stand: Stand, pki: Pki) -> None:
    """A body whose framing breaks ends the upstream connection within it; the client gets 400."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(CHUNKED + b"\r\n3\r\nabc\r\n")
            await asyncio.sleep(0.05)
            assert (await client.ask(b"zz\r\n")).status == 400
        assert upstream.requests == []
        assert front.pool.open == 0


async def test_100_continue_comes_from_the_upstream(stand: Stand, pki: Pki) -> None:
    """The client is told to go on when the upstream says so, and not before."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Expect: 100-continue\r\n" in head
        asked.set()
        await go.wait()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(
                b"PUT / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            await asked.wait()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.some(), 0.05)
            go.set()
            assert await client.some() == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await client.ask(b"hello")).body == b"hello"


async def test_a_refusal_instead_of_100_arrives_without_the_body(stand: Stand, pki: Pki) -> None:
    """A final answer to an expectation is handed on, and the connection ends: the body was never sent."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!"
    async with running(saying(refusal)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            answer = await client.ask(
                b"PUT / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"no!", "close")
            await asyncio.wait_for(client.end(), 60)
        assert front.pool.open == 0


async def test_another_expectation_is_417(stand: Stand, pki: Pki) -> None:
    """We know of 100-continue only (RFC 9110 10.1.1), and the upstream is not asked."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test", b"/", b"Expect: tea")).status == 417
        assert upstream.requests == []


async def test_trailers_and_interim_answers_come_through(stand: Stand, pki: Pki) -> None:
    """103 goes to the client before the answer, a trailer field after it; a cookie there does not."""
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n"
    )
    async with running(saying(answer)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/", b"TE: trailers", b"Connection: TE"))
            got = await until(client, b"X-Sum: 7\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert got.endswith(b"3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "line"), [(b"204 No Content", b""), (b"304 Not Modified", b"ETag: a\r\n")]
)
async def test_answers_without_a_body(stand: Stand, pki: Pki, status: bytes, line: bytes) -> None:
    """204 and 304 end with their head, and the connection goes on."""
    answer = b"HTTP/1.1 %s\r\n%s\r\n" % (status, line)
    async with running(saying(answer, answer)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            for _ in range(2):
                await client.send(get(b"login.test"))
                got = await until(client, b"\r\n\r\n")
                assert got.startswith(b"HTTP/1.1 " + status)
                assert b"Transfer-Encoding" not in got
                assert b"Content-Length" not in got
        assert front.pool.open == 1


async def test_http_10_clients_get_their_answer_until_the_end(stand: Stand, pki: Pki) -> None:
    """No chunks for a client of HTTP/1.0 (RFC 9112 6.1): the body ends with the connection."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with running(saying(answer)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test").replace(b"HTTP/1.1", b"HTTP/1.0"))
            got = await until(client, b"abc")
            assert (await client.end()).alert == "close_notify"
    assert got.endswith(b"\r\n\r\nabc")
    assert b"chunked" not in got


async def test_an_event_stream_is_not_held_back(stand: Stand, pki: Pki) -> None:
    """Each event arrives when it is sent, not when the next one is."""
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go.wait()
        writer.write(b"data: 2\n\n")
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test"))
            await asyncio.wait_for(until(client, b"data: 1\n\n"), 60)
            go.set()
            await asyncio.wait_for(until(client, b"data: 2\n\n"), 60)


@pytest.mark.parametrize("by", ["revocation", "expiry"])
async def test_a_slow_download_ends_with_its_certificate(stand: Stand, pki: Pki, by: str) -> None:
    """V30: within a body as well, and the upstream's connection with it."""
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
    async with running(saying(begun)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test"))
            await until(client, b"abc")
            if by == "revocation":
                front.running.listener.revoke(pki.client.fingerprint)
            else:
                last = int(pki.client.certificate.not_valid_after_utc.timestamp())
                front.running.clock.set(last + 1)
            assert (await asyncio.wait_for(client.end(), 60)).alert != "close_notify"
            async with asyncio.timeout(60):
                while front.pool.open:
                    await asyncio.sleep(0.01)


async def test_a_large_download_waits_for_a_slow_client(stand: Stand, pki: Pki) -> None:
    """While the client does not read, the upstream is not read either: memory is bounded."""
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        while sent < BIG:
            writer.write(PIECE)
            await writer.drain()
            sent += len(PIECE)
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test"))
            head = await until(client, b"\r\n\r\n")
            before = -1
            async with asyncio.timeout(60):
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.2)
            assert sent < BIG * 3 // 4
            got = len(head.partition(b"\r\n\r\n")[2])
            while got < BIG:
                got += len(await client.some())
            assert got == BIG


async def test_a_large_upload_waits_for_a_slow_upstream(stand: Stand, pki: Pki) -> None:
    """While the upstream does not read, the client is not read either; then all of it arrives."""
    go, got = asyncio.Event(), 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        while got < BIG:
            got += len(await reader.read(262_144))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(b"PUT / HTTP/1.1\r\nHost: login.test\r\nContent-Length: %d\r\n\r\n" % BIG)
            sent = 0

            async def feed() -> None:
                nonlocal sent
                while sent < BIG:
                    await client.send(PIECE)
                    sent += len(PIECE)

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            feeding = asyncio.create_task(feed())
            before = -1
            async with asyncio.timeout(60):
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.2)
            assert sent < BIG * 3 // 4
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 16_384
            go.set()
            await feeding
            assert (await client.answer()).body == b"ok"
            assert got == BIG


async def test_an_answer_before_the_end_of_the_upload(stand: Stand, pki: Pki) -> None:
    """An early answer reaches a client that is still sending; neither connection is used again."""
    async with running(saying(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            answer = await client.ask(CHUNKED + b"\r\n3\r\nabc\r\n")
            assert (answer.status, answer.headers["connection"]) == (403, "close")
            await asyncio.wait_for(client.end(), 60)
        assert front.pool.open == 0
