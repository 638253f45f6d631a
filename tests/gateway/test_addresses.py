"""Several addresses, both families, one reader of who comes."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ca.errors import ConfigError
from gateway.edge import addresses
from gateway.edge.facts import Limits
from gateway.edge.listener import Listener
from gateway.running.ports import listening
from gateway.wire.http import connection
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import RawClient, client_context, get, raw_tls
from tests.gateway.samples import open_site
from tests.ports import free_port

_V4, _V6 = "127.0.0.1", "::1"


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:DB8::0:7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        # Neither "compatible" (RFC 4291 2.5.5.1) nor translated (RFC 6052): nobody's socket tells these.
        ("::192.0.2.7", "::c000:207"),
        ("64:ff9b::192.0.2.7", "64:ff9b::c000:207"),
    ],
)
def test_an_address_has_one_spelling(told: str, address: str) -> None:
    """Of an IPv4 visitor the IPv4 one, whichever socket took him."""
    assert addresses.plain(told) == address
    assert addresses.peer_of((told, 7)) == addresses.peer_of((told, 7, 0, 0)) == (address, 7)


@pytest.mark.parametrize("name", [None, "", "/run/socket", (), ("x",), (None, 1)])
def test_who_has_no_address_is_nobody(name: object) -> None:
    """A peer that is gone already, or a socket of another kind."""
    assert addresses.peer_of(name) is None


async def _who(request: web.BaseRequest) -> web.Response:
    return web.Response(text=connection(request).peer_address)


async def _come(listener: Listener, host: str, port: int, header: bytes = b"") -> RawClient:
    reader, writer = await asyncio.open_connection(host, port)
    client = RawClient(reader, writer, raw_tls(b"enroll.test", client_context()))
    writer.write(header)
    await client.handshake()
    return client


async def _asked(listener: Listener, host: str, port: int, header: bytes = b"") -> str:
    client = await _come(listener, host, port, header)
    said = (await client.ask(get(b"enroll.test"))).text
    client.writer.close()
    return said


async def _on(serve: Serve, pki: Pki, hosts: tuple[str, ...], **more: Any) -> tuple[Listener, int]:
    port = free_port()
    listener = (await serve(open_site(pki, handler=_who), **more)).listener
    # The fixture's own port is closed, and opened again as the configuration says.
    listener.close()
    await listener.start(socks=listening(hosts, port, 16))
    return listener, port


@pytest.mark.parametrize("hosts", [(_V4, _V6), ("::",), ("::", "0.0.0.0"), ("0.0.0.0", _V6)], ids=" ".join)
async def test_both_families_are_served(serve: Serve, pki: Pki, hosts: tuple[str, ...]) -> None:
    """By a list, by :: alone, by :: and 0.0.0.0: each visitor has the address that he came from."""
    listener, port = await _on(serve, pki, hosts)
    assert await _asked(listener, _V4, port) == _V4
    assert await _asked(listener, _V6, port) == _V6
    assert listener.accepting
    listener.close()
    for host in (_V4, _V6):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
    assert not listener.accepting


async def test_one_address_is_one(serve: Serve, pki: Pki) -> None:
    """Only what is listened on answers: an address of the other family is refused."""
    _, port = await _on(serve, pki, (_V6,))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(_V4, port)


async def test_a_mapped_visitor_is_one_visitor(serve: Serve, pki: Pki) -> None:
    """By :: an IPv4 address has its own cap, and not one that all of IPv4 shares within ::ffff:0:0/96."""
    limits = Limits(tick=0.02, drain=0.2, connections_per_address=1)
    listener, port = await _on(serve, pki, ("::",), limits=limits)
    first = await _come(listener, _V4, port)
    assert (await first.ask(get(b"enroll.test"))).text == _V4
    refused, _ = await asyncio.open_connection(_V4, port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await refused.readexactly(1)
    assert listener.counts["refused.connections-of-address"] == 1
    # Another address of IPv4 has its own, and so has IPv6.
    reader, writer = await asyncio.open_connection(_V4, port, local_addr=("127.0.0.2", 0))
    other = RawClient(reader, writer, raw_tls(b"enroll.test", client_context()))
    await other.handshake()
    assert (await other.ask(get(b"enroll.test"))).text == "127.0.0.2"
    other.writer.close()
    assert await _asked(listener, _V6, port) == _V6
    first.writer.close()


async def test_a_mapped_load_balancer_is_trusted(serve: Serve, pki: Pki) -> None:
    """By :: a load balancer of IPv4 is in the network that the settings name; nobody else is."""
    header = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 12345 443\r\n"
    listener, port = await _on(serve, pki, ("::",), proxies=(ip_network("127.0.0.0/8"),))
    assert await _asked(listener, _V4, port, header) == "192.0.2.7"
    assert await _asked(listener, _V6, port) == _V6


def test_an_address_that_cannot_be_used_leaves_none_open(tmp_path: Path) -> None:
    """It is named, and those before it in the list are closed again."""
    port = free_port()
    with pytest.raises(ConfigError, match=rf"listen.host: 192.0.2.1 port {port} cannot be used"):
        listening((_V4, "192.0.2.1"), port, 16)
    with socket.socket() as visitor:
        assert visitor.connect_ex((_V4, port)) == errno.ECONNREFUSED
