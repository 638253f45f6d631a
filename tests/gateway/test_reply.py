"""The lean answer says on the wire what `web.Response` would say."""

from __future__ import annotations

import pytest
from aiohttp import web
from OpenSSL import SSL

from gateway.wire.reply import Reply
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import connect, get
from tests.gateway.samples import open_site


async def answer(request: web.BaseRequest) -> Reply:
    status = int(request.raw_path[1:] or 200)
    return Reply(status, [("Content-Type", "text/plain"), ("Replay-Nonce", "abc")], b"said")


async def test_kept_alive_and_closed(serve: Serve, pki: Pki) -> None:
    """A connection is kept as long as the client and HTTP/1.1 will, and closed as announced."""
    running = await serve(open_site(pki, handler=answer))
    async with connect(running.port, b"enroll.test") as client:
        for _ in range(2):
            said = await client.get(b"enroll.test")
            assert (said.status, said.body, said.headers["replay-nonce"]) == (200, b"said", "abc")
            assert "connection" not in said.headers
            assert said.headers["date"].endswith(" GMT")
            assert said.headers["server"] == "sekisho"
        said = await client.get(b"enroll.test", b"/", b"Connection: close")
        assert said.headers["connection"] == "close"
        assert (await client.end()).alert == "close_notify"
    async with connect(running.port, b"enroll.test") as client:
        said = await client.ask(b"GET / HTTP/1.0\r\nHost: enroll.test\r\nConnection: keep-alive\r\n\r\n")
        assert said.headers["connection"] == "close"
        await client.end()


async def test_head_and_no_content(serve: Serve, pki: Pki) -> None:
    """HEAD has the length and not the body; 204 has neither (RFC 9110 8.6)."""
    running = await serve(open_site(pki, handler=answer))
    async with connect(running.port, b"enroll.test") as client:
        await client.send(get(b"enroll.test").replace(b"GET", b"HEAD") + get(b"enroll.test", b"/204"))
        raw = b""
        while raw.count(b"\r\n\r\n") < 2:
            raw += await client.some()
        head, none, rest = raw.split(b"\r\n\r\n")
        assert b"Content-Length: 4" in head
        assert none.startswith(b"HTTP/1.1 204 No Content")
        assert b"Content-Length" not in none
        assert rest == b""
        assert (await client.get(b"enroll.test", b"/404")).status == 404


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_long_bodies(serve: Serve, pki: Pki, version: int) -> None:
    """A body longer than every buffer arrives whole."""
    body = bytes(range(256)) * 10_000

    async def long(_: web.BaseRequest) -> Reply:
        return Reply(200, (), body)

    running = await serve(open_site(pki, handler=long))
    async with connect(running.port, b"enroll.test", version=version) as client:
        for _ in range(2):
            assert (await client.get(b"enroll.test")).body == body


@pytest.mark.parametrize("header", [("A", "b\r\nSet-Cookie: c"), ("A\n", "b"), ("A", "\0"), ("", "b")])
def test_headers_are_single_lines(header: tuple[str, str]) -> None:
    """No value of ours ends a header line."""
    with pytest.raises(ValueError, match="cannot be sent"):
        Reply(200, [header])


def test_headers_are_latin(pki: Pki) -> None:
    """Text beyond latin-1 is refused rather than mangled; within it, it is sent."""
    with pytest.raises(UnicodeEncodeError):
        Reply(200, [("A", "関所")])
    assert Reply(200, [("A", "é")]).status == 200
