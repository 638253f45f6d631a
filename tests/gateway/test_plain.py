"""The server of plain HTTP: what it takes, what it refuses, and that nobody keeps it busy or waiting."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pytest

from gateway.wire import plain
from gateway.wire.plain import MOST_BODY, MOST_HEAD, Asked, Told
from tests.gateway.plainly import PATIENCE, Plainly, plainly, read

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LARGE = bytes(range(256)) * 4_000


def _echo(asked: Asked) -> Told | asyncio.Future[Told]:
    if asked.target == "/large":
        return Told(200, (), io.BytesIO(LARGE), len(LARGE))
    told = Told(200, (("X-Asked", f"{asked.method} {asked.target}"),), asked.body or b"hello")
    if asked.target == "/later":
        later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(later.set_result, told)
        return later
    return told


@pytest.fixture
async def served() -> AsyncIterator[Plainly]:
    async with plainly(_echo) as served:
        yield served


async def test_a_request_is_answered(served: Plainly) -> None:
    """With its length, a date and who we are; HEAD without the body; the last one says that it is."""
    status, fields, body = await served.ask("/x")
    assert (status, body) == (200, b"hello")
    assert fields["x-asked"] == "GET /x"
    assert (fields["content-length"], fields["server"], fields["connection"]) == ("5", "sekisho", "close")
    assert fields["date"].endswith(" GMT")
    status, fields, body = await served.ask("/x", method="HEAD")
    assert (status, fields["content-length"], body) == (200, "5", b"")


@pytest.mark.parametrize("path", [b"/x", b"/later", b"/large"])
async def test_many_requests_on_one_connection_are_answered_in_their_order(
    served: Plainly, path: bytes
) -> None:
    """RFC 9112 section 9.3.2: pipelined, more than are read ahead, at once and later, short and long."""
    asked = [b"/%d" % i for i in range(5)] + [path] * 12 + [b"/end"]
    said = await served.say(b"".join(GET % each for each in asked[:-1]) + LAST % asked[-1])
    seen = []
    while said:
        _, fields, rest = read(said)
        length = int(fields["content-length"])
        seen.append(fields.get("x-asked", "GET /large").removeprefix("GET ").encode())
        said = rest[length:]
    assert seen == asked


async def test_a_body_comes_whole_however_it_is_framed(served: Plainly) -> None:
    """By its length, in chunks, in pieces, after a 100 that was asked for."""
    assert (await served.ask("/x", b"abc"))[2] == b"abc"
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert read(await served.say(head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"))[2] == b"abc"
    said = await served.say(
        head.replace(b"Transfer-Encoding: chunked", b"Expect: 100-continue\r\nContent-Length: 3") + b"abc"
    )
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_who_asks_for_another_protocol_stays_with_this_one(served: Plainly, body: bytes) -> None:
    """RFC 9110 section 7.8: Java's HttpClient asks for HTTP/2 with its first request, body or not."""
    head = b"GET / HTTP/1.1\r\n" if not body else b"POST / HTTP/1.1\r\nContent-Length: 3\r\n"
    upgrade = b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    status, fields, found = read(await served.say(head + upgrade + b"HTTP2-Settings: A\r\n\r\n" + body))
    assert (status, found, fields["connection"]) == (200, body or b"hello", "close")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # RFC 9112 section 3.2: without Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /" + b"a" * MOST_HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * MOST_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: a\r\n" % i for i in range(60)) + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY + 1), 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         + (b"800\r\n" + b"a" * 2_048 + b"\r\n") * 3, 413),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_refused_and_ends(served: Plainly, said: bytes, status: int) -> None:
    """Malformed or huge: one answer in plain words that nobody keeps, and nothing after it is read."""
    answered = await served.say(said + LAST % b"/smuggled")
    found, fields, body = read(answered)
    assert found == status
    assert (fields["connection"], fields["cache-control"]) == ("close", "no-store")
    assert body.startswith(b"%d " % status)
    assert b"smuggled" not in answered


async def test_a_body_of_the_most_is_taken(served: Plainly) -> None:
    """The twin: as much as is allowed."""
    assert (await served.ask("/x", b"a" * MOST_BODY))[0] == 200


async def _ends(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(b"", 30), (b"GET / HT", 10), (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", 10)],
)
async def test_who_is_slow_is_hung_up_on(served: Plainly, said: bytes, seconds: int) -> None:
    """Without a request for half a minute, or in the middle of one for ten seconds, however it drips."""
    reader, writer = await served.connect()
    writer.write(said)
    await writer.drain()
    async with asyncio.timeout(PATIENCE):
        while said and not any(each._begun_at for each in served.server.connections):
            await asyncio.sleep(0.01)
        while not served.server.connections:
            await asyncio.sleep(0.01)
    served.seconds.now += seconds
    served.server.sweep()
    assert len(served.server.connections) == 1
    served.seconds.now += 0.5
    served.server.sweep()
    assert served.server.connections == {}
    assert await _ends(reader)
    writer.close()


async def test_who_does_not_read_is_hung_up_on(served: Plainly) -> None:
    """A long list is written as fast as it is read; who reads nothing of it for half a minute is gone."""
    _, writer = await served.connect()
    writer.write((GET % b"/large") * 8)
    async with asyncio.timeout(PATIENCE):
        while not any(each._stalled_at for each in served.server.connections):
            await asyncio.sleep(0.01)
    served.seconds.now += 31
    served.server.sweep()
    assert served.server.connections == {}
    writer.close()


async def test_the_one_that_is_idle_the_longest_makes_room(
    served: Plainly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is kept out by connections that say nothing."""
    monkeypatch.setattr(plain, "MOST", 2)
    first, second = await served.connect(), await served.connect()
    first[1].write(GET % b"/x")
    assert (await first[0].readuntil(b"hello")).startswith(b"HTTP/1.1 200")
    third = await served.connect()
    assert await _ends(second[0])
    for _, writer in (first, third):
        writer.write(LAST % b"/y")
    assert b"GET /y" in await first[0].read()
    assert b"GET /y" in await third[0].read()
    for _, writer in (first, second, third):
        writer.close()


async def test_who_closed_the_way_to_us_is_still_answered(served: Plainly) -> None:
    """A half-closed connection is read to its end; without a request it ends."""
    for path, found in ((b"/later", b"hello"), (b"/large", LARGE[-9:])):
        reader, writer = await served.connect()
        writer.write(GET % path)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read(-1)).endswith(found)
        writer.close()


async def test_what_is_answered_is_counted(served: Plainly) -> None:
    """By kind and status, for the metrics."""
    await served.ask("/x")
    await served.say(b"nonsense\r\n\r\n")
    assert served.server.told == {("other", 200): 1, ("refused", 400): 1}
