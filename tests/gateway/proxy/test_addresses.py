"""Addresses in answers: nobody is led past the gate, or to a port that asks for no certificate."""

from __future__ import annotations

import pytest

from gateway.proxy.addresses import Addresses
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.upstreams import running, saying
from tests.gateway.rawtls import connect, get, head_of

HERE = Addresses(
    ("service.example.jp", "sekisho.example.jp"),
    [("127.0.0.1", 8000), ("app.internal", 8080), ("::1", 8000), ("plain", 80)],
)
HOST = b"service.example.jp:8443"
#: What is written, and what of it the visitor's browser gets; None: the same.
TABLE: dict[str, str | None] = {
    "http://service.example.jp:8443/x": "https://service.example.jp:8443/x",
    "http://service.example.jp/x?y#z": "https://service.example.jp:8443/x?y#z",
    "https://service.example.jp/x": "https://service.example.jp:8443/x",
    "http://SERVICE.example.jp:80": "https://service.example.jp:8443",
    "HTTP://service.example.jp:443?x": "https://service.example.jp:8443?x",
    "//service.example.jp/x": "https://service.example.jp:8443/x",
    "http://service.example.jp:8000/x": "https://service.example.jp:8443/x",
    "http://127.0.0.1:8000/x": "https://service.example.jp:8443/x",
    "https://app.internal:8080/": "https://service.example.jp:8443/",
    "http://[::1]:8000/x": "https://service.example.jp:8443/x",
    "http://plain/x": "https://service.example.jp:8443/x",
    "http://sekisho.example.jp/x": "https://sekisho.example.jp:8443/x",
    "https://service.example.jp:8443/x": None,
    "/x": None,
    "x/y": None,
    "": None,
    "?x": None,
    "http://elsewhere.example.jp/": None,
    "http://service.example.jp.evil.test/": None,
    "http://service.example.jp@evil.test/": None,
    "http://service.example.jp:80@evil.test/": None,
    "http://evil.test/http://service.example.jp/": None,
    "http://service.example.jp:9443/": None,
    "http://127.0.0.1:8001/": None,
    "http://127.0.0.1/": None,
    "http://service.example.jp\\x": None,
    "ftp://service.example.jp/": None,
    "javascript://service.example.jp/": None,
}


@pytest.mark.parametrize(("written", "got"), TABLE.items())
def test_an_absolute_address_of_ours_is_that_of_the_request(written: str, got: str | None) -> None:
    """By another scheme or a port that is the upstream's, in each field that holds an address; what is
    another host's, another service's on this one, or relative, stays as it is."""
    wanted = written if got is None else got
    for name in ("Location", "location", "Content-Location"):
        (line,) = HERE.lines([f"{name}: {written}\r\n".encode()], HOST)
        assert line == f"{name}: {wanted}\r\n".encode()
    if written:
        for before in ("0;url=", "5; URL='", '3 ; url = "', "1, ", "0 "):
            (line,) = HERE.lines([f"Refresh: {before}{written}\r\n".encode()], HOST)
            assert line == f"Refresh: {before}{wanted}\r\n".encode()
    for other in ("Link", "X-Location", "Set-Cookie"):
        assert HERE.lines([f"{other}: {written}\r\n".encode()], HOST) == [f"{other}: {written}\r\n".encode()]


def test_the_usual_port_is_left_out() -> None:
    """The address is the one in the browser's own line: Host says how it was typed."""
    (line,) = HERE.lines([b"Location: http://sekisho.example.jp:8000/x\r\n"], b"service.example.jp")
    assert line == b"Location: https://sekisho.example.jp/x\r\n"


async def test_on_the_way(stand: Stand, pki: Pki) -> None:
    """Answers with and without a body; without the setting everything stays as it came."""
    lines = b"Location: http://login.test/x\r\nRefresh: 1;url=http://login.test:80/\r\nX: y\r\n"
    answer = b"HTTP/1.1 302 Found\r\n" + lines + b"Content-Length: 2\r\n\r\nok"
    for rewrites, scheme, port in ((Addresses((), ()), b"https", b""), (None, b"http", b":80")):
        async with running(saying(answer, answer)) as listening:
            front = await stand(f"http://127.0.0.1:{listening}", more={"addresses": rewrites})
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                await client.send(get(b"login.test"))
                head = await head_of(client)
        assert b"Location: %s://login.test/x\r\n" % scheme in head
        assert b"Refresh: 1;url=%s://login.test%s/\r\n" % (scheme, port) in head
        assert b"X: y" in head
