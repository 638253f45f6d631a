"""The PROXY protocol: the address behind a load balancer, from trusted addresses only."""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.facts import Limits
from gateway.edge.proxyprotocol import Header, NotProxied, parse
from gateway.wire.http import connection
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import Closed, RawClient, client_context, get, raw_tls
from tests.gateway.samples import open_site

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V4 = ip_address("192.0.2.7").packed + ip_address("198.51.100.1").packed + b"\x30\x39\x01\xbb"
_V6 = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + b"\x30\x39\x01\xbb"
_MAPPED = IPv6Address("::ffff:192.0.2.7").packed + IPv6Address("::1").packed + b"\x30\x39\x01\xbb"
_TLV = b"\x04\x00\x03abc"


def version2(command: int, family: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return _SIGNATURE + bytes((command, family)) + size.to_bytes(2) + payload


GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n", ("192.0.2.7", 12_345)),
    (b"PROXY TCP6 2001:db8:0:0::7 2001:db8::1 12345 443\r\n", ("2001:db8::7", 12_345)),
    (b"PROXY UNKNOWN\r\n", (None, 0)),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", (None, 0)),
    (version2(0x21, 0x11, _V4), ("192.0.2.7", 12_345)),
    (version2(0x21, 0x21, _V6), ("2001:db8::7", 12_345)),
    (version2(0x21, 0x21, _MAPPED), ("192.0.2.7", 12_345)),
    (version2(0x21, 0x11, _V4 + _TLV), ("192.0.2.7", 12_345)),
    (version2(0x20, 0x00, b""), (None, 0)),
    (version2(0x20, 0x11, _V4), (None, 0)),
    (version2(0x21, 0x00, b""), (None, 0)),
    (version2(0x21, 0x31, bytes(216)), (None, 0)),
]

BAD = [
    (b"\x16\x03\x01\x02\x00", "signature"),
    (b"GET / HTTP/1.1\r\n", "signature"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\n", "line"),
    (b"PROXY  TCP4 192.0.2.7 198.51.100.1 12345 443\r\n", "line"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345\r\n", "line"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443 \r\n", "line"),
    (b"PROXY UDP4 192.0.2.7 198.51.100.1 12345 443\r\n", "line"),
    (b"PROXY TCP4 \xe3\x81\x82 198.51.100.1 12345 443\r\n", "line"),
    (b"PROXY TCP4 2001:db8::7 2001:db8::1 12345 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.07 198.51.100.1 12345 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 012345 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", "address"),
    (b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 443\r\n", "address"),
    (b"PROXY UNKNOWN " + b"x" * 107, "length"),
    (_SIGNATURE[:-1] + b"\r", "signature"),
    (version2(0x22, 0x11, _V4), "command"),
    (version2(0x11, 0x11, _V4), "command"),
    (version2(0x21, 0x12, _V4), "family"),
    (version2(0x21, 0x41, _V4), "family"),
    (version2(0x21, 0x11, _V4[:-1]), "length"),
    (version2(0x21, 0x21, _V4), "length"),
    (version2(0x21, 0x11, _V4, 60_000), "length"),
]


@pytest.mark.parametrize(("data", "told"), GOOD)
def test_headers(data: bytes, told: tuple[str | None, int]) -> None:
    """Each form tells the source and where TLS begins, however it is cut."""
    for at in range(len(data)):
        assert parse(data[:at]) is None
    assert parse(data) == Header(*told, len(data))
    assert parse(data + b"\x16\x03\x01") == Header(*told, len(data))


@pytest.mark.parametrize(("data", "reason"), BAD)
def test_no_headers(data: bytes, reason: str) -> None:
    """Anything else is refused by its reason, and never waited for."""
    with pytest.raises(NotProxied) as refused:
        parse(data)
    assert str(refused.value) == reason


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY TCP4 ", _SIGNATURE, _SIGNATURE + b"!\x11"]))
def test_any_bytes(data: bytes, start: bytes) -> None:
    """For any bytes the parser answers or refuses, and never reads past what it has."""
    try:
        found = parse(start + data)
    except NotProxied:
        return
    assert found is None or found.length <= len(start + data)


async def _through(port: int, header: bytes, pki: Pki) -> Any:
    """A client behind a load balancer, which sends the header in front of the client's own bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer, raw_tls(b"enroll.test", client_context()))
    writer.write(header)
    return client


async def _address(request: web.BaseRequest) -> web.Response:
    info = connection(request)
    return web.Response(text=f"{info.peer_address} {info.peer_port}")


_TRUSTED = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(("data", "told"), GOOD)
async def test_the_address_is_the_visitors(
    serve: Serve, pki: Pki, data: bytes, told: tuple[str | None, int]
) -> None:
    """Behind a trusted load balancer a connection's address is the one that the header tells."""
    running = await serve(open_site(pki, handler=_address), proxies=_TRUSTED)
    client = await _through(running.port, data, pki)
    await client.handshake()
    said = (await client.ask(get(b"enroll.test"))).text
    assert said == f"{told[0]} {told[1]}" if told[0] else said.startswith("127.0.0.1 ")
    client.writer.close()


@pytest.mark.parametrize(("data", "reason"), BAD)
async def test_a_wrong_header_ends_the_connection(serve: Serve, pki: Pki, data: bytes, reason: str) -> None:
    """A trusted load balancer without a header, or with a bad one, is closed before any TLS."""
    running = await serve(open_site(pki), proxies=_TRUSTED)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(data)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 60)
    writer.close()
    assert running.listener.counts[f"proxy-header.{reason}"] == 1


async def test_strangers_have_no_say(serve: Serve, pki: Pki) -> None:
    """From any other address the header is no TLS, and a plain connection keeps its own address."""
    running = await serve(open_site(pki, handler=_address), proxies=(ip_network("192.0.2.0/24"),))
    client = await _through(running.port, GOOD[0][0], pki)
    with pytest.raises(Closed):
        await client.handshake()
    plain = await _through(running.port, b"", pki)
    await plain.handshake()
    assert (await plain.ask(get(b"enroll.test"))).text.startswith("127.0.0.1 ")
    plain.writer.close()


async def test_a_header_has_its_own_limit(serve: Serve, pki: Pki) -> None:
    """Half a header is waited for as long as its own limit says, not as long as a handshake."""
    limits = Limits(tick=0.02, proxy_header=0.05, handshake=60)
    running = await serve(open_site(pki), proxies=_TRUSTED, limits=limits)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"PROXY TCP4 ")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 60)
    writer.close()
    assert running.listener.counts["proxy-header.timeout"] == 1


async def test_handshakes_count_by_the_visitors_address(serve: Serve, pki: Pki) -> None:
    """The cap on unfinished handshakes holds for each visitor behind one load balancer, not for all."""
    limits = Limits(tick=0.02, handshakes_per_address=1)
    running = await serve(open_site(pki), proxies=_TRUSTED, limits=limits)
    writers = []
    for last in (7, 7, 8):
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"PROXY TCP4 192.0.2.%d 198.51.100.1 12345 443\r\n" % last)
        writers.append(writer)
    async with asyncio.timeout(60):
        while (running.listener.counts["refused.handshakes"], running.listener.open_connections) != (1, 2):
            await asyncio.sleep(0.01)
    for writer in writers:
        writer.close()
