"""WebSockets: their own upstream connection, nothing before the 101, one end for both sides (V44, V30)."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from ca.trust import VerifiedPeer
from gateway.proxy.identity import Caller
from gateway.proxy.relay import NotRelayed
from gateway.proxy.rules import LOGIN_ONLY
from gateway.proxy.waiting import Waits
from gateway.wire.request import Request
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import connect, get, head_of

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
OPENING = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + KEY,
)
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


async def capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A WebSocket server, as far as bytes go: answers in capitals."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(SWITCHING)
    while data := await reader.read(65_536):
        writer.write(data.upper())
        await writer.drain()


async def test_bytes_go_both_ways(stand: Stand, pki: Pki) -> None:
    """After a checked 101 every byte is handed on; the connection never goes back to the pool."""
    async with running(capitals) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING))
            head = await head_of(client)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Sec-WebSocket-Protocol: chat" in head
            for text in (b"one", b"GET / HTTP/1.1\r\nHost: login.test\r\n\r\n"):
                await client.send(text)
                got = b""
                while len(got) < len(text):
                    got += await client.some()
                assert got == text.upper()
            assert front.pool.open == 1
        async with asyncio.timeout(60):
            while front.pool.open:
                await asyncio.sleep(0.01)
    assert front.pool.resting() is None


async def test_a_websocket_has_a_connection_of_its_own(stand: Stand, pki: Pki) -> None:
    """V44: it takes no connection that rests after another request, whoever's that was."""
    connections: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(b"")
        while True:
            connections[number] += await reader.readuntil(b"\r\n\r\n")
            switches = b"GET /ws " in connections[number]
            writer.write(SWITCHING if switches else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test", b"/a")).body == b"ok"
            await client.send(get(b"login.test", b"/ws", *OPENING))
            assert (await head_of(client)).startswith(b"HTTP/1.1 101 ")
            assert [each[: each.index(b" HTTP")] for each in connections] == [b"GET /a", b"GET /ws"]


@pytest.mark.parametrize("early", [b"early", bytes(range(256)) * 40])
async def test_nothing_is_handed_on_before_the_101(stand: Stand, pki: Pki, early: bytes) -> None:
    """V44: what the client sends early waits until the upstream has agreed, and then arrives, all of it."""
    heard = b""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        reading = asyncio.create_task(reader.readexactly(len(early)))
        done, _ = await asyncio.wait([reading], timeout=0.1)
        assert not done
        await go.wait()
        writer.write(SWITCHING)
        heard = await reading
        writer.write(b"done")
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING) + early)
            await asked.wait()
            go.set()
            await head_of(client)
            while client.buffer != b"done":
                client.buffer += await client.some()
    assert heard == early


@pytest.mark.parametrize(
    "answer",
    [
        SWITCHING.replace(ACCEPT, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_another_switch_is_no_switch(stand: Stand, pki: Pki, answer: bytes) -> None:
    """A 101 that does not answer this very handshake is 502, not a tunnel."""
    async with running(saying(answer)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test", b"/ws", *OPENING)).status == 502
        assert front.pool.open == 0


async def test_a_declined_upgrade_ends_the_connection(stand: Stand, pki: Pki) -> None:
    """V41: a request hidden behind a declined upgrade is not answered, and the upstream sees one request."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING) + get(b"login.test", b"/hidden"))
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            await client.end()
        assert [seen.target for seen in upstream.requests] == ["/ws"]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"),
        (*OPENING[:3], b"Sec-WebSocket-Key: short"),
        (*OPENING, b"Sec-WebSocket-Key: " + KEY),
        (*OPENING[:2], b"Sec-WebSocket-Version: 8", OPENING[3]),
        (*OPENING, b"Content-Length: 5"),
    ],
)
async def test_half_a_handshake_is_400(stand: Stand, pki: Pki, lines: tuple[bytes, ...]) -> None:
    """A WebSocket request that no client of the standard sends is refused; the upstream is not asked."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.ask(get(b"login.test", b"/ws", *lines) + b"hello")).status == 400
        assert upstream.requests == []


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"websocket, h2c", b"h2c, websocket"])
async def test_other_upgrades_are_not_offered(stand: Stand, pki: Pki, upgrade: bytes) -> None:
    """V43: the request goes on without its Upgrade (RFC 9110 7.8), and is the last on its connection."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            lines = (b"Upgrade: " + upgrade, b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA")
            answer = await client.get(b"login.test", b"/", *lines)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert not {"upgrade", "connection", "http2-settings"} & set(upstream.requests[0].names)


@pytest.mark.parametrize("by", ["revocation", "expiry"])
async def test_a_tunnel_ends_with_its_certificate(stand: Stand, pki: Pki, by: str) -> None:
    """V30: revocation and expiry end a WebSocket on both sides."""
    async with running(capitals) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING))
            await head_of(client)
            last = int(pki.client.certificate.not_valid_after_utc.timestamp())
            if by == "revocation":
                assert front.running.listener.revoke(pki.client.fingerprint) == 1
            else:
                front.running.clock.set(last + 1)
            await asyncio.wait_for(client.end(), 60)
            async with asyncio.timeout(60):
                while front.pool.open:
                    await asyncio.sleep(0.01)


async def test_a_tunnel_outlives_a_reload(stand: Stand, pki: Pki) -> None:
    """The pool of a configuration that was replaced rests nothing, and lets what runs go on."""
    async with running(capitals) as port, recording() as upstream:
        front = await stand(f"http://127.0.0.1:{port}")
        other = await stand(upstream.url)
        async with (
            connect(front.port, b"login.test", certificate=pki.client) as client,
            connect(other.port, b"login.test", certificate=pki.client) as visitor,
        ):
            await client.send(get(b"login.test", b"/ws", *OPENING))
            await head_of(client)
            await visitor.get(b"login.test")
            assert (front.pool.open, other.pool.open) == (1, 1)
            await front.pool.end()
            await other.pool.end()
            await client.send(b"still")
            assert await client.some() == b"STILL"
            await visitor.get(b"login.test")
            async with asyncio.timeout(60):
                while other.pool.open:
                    await asyncio.sleep(0.01)
            assert front.pool.open == 1
        async with asyncio.timeout(60):
            while front.pool.open:
                await asyncio.sleep(0.01)


async def test_the_end_of_one_side_ends_the_other(stand: Stand, pki: Pki) -> None:
    """What the upstream said last still arrives; then the client's connection is closed."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHING + b"bye")
        await writer.drain()
        writer.close()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING))
            await head_of(client)
            while client.buffer != b"bye":
                client.buffer += await client.some()
            await asyncio.wait_for(client.end(), 60)


async def test_a_tunnel_on_which_nothing_moves_is_ended(stand: Stand, pki: Pki) -> None:
    """An idle WebSocket has a limit of its own."""
    async with running(capitals) as port:
        front = await stand(f"http://127.0.0.1:{port}", waits=Waits(tunnel=0.1))
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING))
            await head_of(client)
            await asyncio.wait_for(client.end(), 60)


async def test_a_tunnel_ends_when_its_login_does(stand: Stand, pki: Pki) -> None:
    """Whoever logged out is found out on an open WebSocket within the interval of the recheck."""
    logged_in, waits = True, Waits(recheck=0.05)

    async def login(request: Request) -> Caller:
        assert isinstance(request.verdict, VerifiedPeer)
        if not logged_in:
            raise NotRelayed(403, "login")
        return Caller(request.verdict, "A1", level="login")

    async with running(capitals) as port:
        front = await stand(f"http://127.0.0.1:{port}", rules=LOGIN_ONLY, login=login, waits=waits)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING))
            await head_of(client)
            await asyncio.sleep(0.2)
            await client.send(b"still")
            assert await client.some() == b"STILL"
            logged_in = False
            await asyncio.wait_for(client.end(), 60)


async def test_a_client_that_does_not_read_stops_the_upstream(stand: Stand, pki: Pki) -> None:
    """Back-pressure holds in a tunnel, in the direction of the client and in that of the upstream."""
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHING)
        while sent < 30_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/ws", *OPENING))
            await head_of(client)
            got, before = len(client.buffer), -1
            async with asyncio.timeout(60):
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.2)
            assert sent < 20_000_000
            while got < 30_000_000:
                got += len(await client.some())
            assert got == 30_000_000
