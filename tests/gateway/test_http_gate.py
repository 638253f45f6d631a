"""What a request must look like before any handler sees it (V11, V33, V34, V41, V44, V47)."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from aiohttp import http_parser
from aiohttp.http import HttpVersion
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import ConfigError
from gateway.edge.listener import authorities
from gateway.sites import acme as protocol
from gateway.wire.aiohttp_patches import demand_c_parser
from gateway.wire.http import short_page
from gateway.wire.reader import _READ
from gateway.wire.rules import Denial, denial
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import connect
from tests.gateway.samples import open_site

HOST = (b"Host", b"a.test")
OURS = authorities("a.test", (443, 8443))


def rule(
    method: str = "GET",
    target: str = "/",
    version: tuple[int, int] = (1, 1),
    headers: tuple[tuple[bytes, bytes], ...] = (HOST,),
) -> str | None:
    refused = denial(method, target, HttpVersion(*version), headers, OURS)
    return None if refused is None else refused.code


@pytest.mark.parametrize(
    "target",
    ["/", "/a/b.html", "/a//b", "/?q=1", "/a?x=../..", "/%E9%96%A2", "/a/.well-known", "/.well-known/acme",
     "/...", "/a..b/", "/a;v=1/b", "/a%2Fb", "/@x:y", "/?a//b", "/~u/(1)!*'", "/a.", "/..a"],
)  # fmt: skip
def test_targets_let_through(target: str) -> None:
    """Origin-form as browsers send it."""
    assert rule(target=target) is None


@pytest.mark.slow
@given(st.from_regex(_READ, fullmatch=True))
def test_what_is_read_without_a_parser_is_let_through(line: bytes) -> None:
    """A head that is asked for again is not looked at a second time: whatever target its short way reads, the
    gate has nothing against."""
    method, target, _ = line.decode("ascii").split(" ")
    assert rule(method, target) is None


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("*", "target-form"), ("http://a.test/", "target-form"), ("https://evil.test/", "target-form"),
        ("a.test:443", "target-form"), ("", "target-form"), ("?x", "target-form"),
        ("//evil.test/x", "target"), ("/\\evil.test", "target"), ("/a\\b", "target"), ("/a#b", "target"),
        ("/a b", "target"), ("/\x7f", "target"), ("/\u95a2", "target"), ("/a%", "target"),
        ("/a%zz", "target"), ("/a%00b", "target"), ("/..", "target"), ("/a/../b", "target"),
        ("/a/./b", "target"), ("/a/%2e%2E/b", "target"), ("/a/.%2e", "target"), ("/a/..;/b", "target"),
        ("/a/..;x=1/b", "target"),
        ("/a/..?q", "target"), ("/a/..%2fb", "target"), ("/a/%2e%2e%5cb", "target"),
    ],
)  # fmt: skip
def test_targets_refused(target: str, code: str) -> None:
    """V11, V47: what two readers could take for two different paths is nobody's path."""
    assert rule(target=target) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"method": "CONNECT", "target": "a.test:443"}, "method"),
        ({"method": "TRACE"}, "method"),
        ({"version": (2, 0)}, "version"),
        ({"version": (0, 9)}, "version"),
        ({"version": (1, 2)}, "version"),
        ({"version": (1, 0), "headers": ()}, "host-count"),
        ({"version": (1, 0), "headers": (HOST, (b"Transfer-Encoding", b"chunked"))}, "framing"),
        ({"headers": (HOST, HOST)}, "host-count"),
        ({"headers": (HOST, (b"X_Client_Cert", b"x"))}, "header-name"),
        ({"headers": (HOST, (b"X.Client.Cert", b"x"))}, "header-name"),
        ({"headers": (HOST, (b"Client-Cert\xc3\xa9", b"x"))}, "header-name"),
        ({"headers": ((b"Host", b"b.test"),)}, "host"),
        ({"headers": ((b"Host", b"a.test."),)}, "host"),
        ({"headers": ((b"Host", b""),)}, "host"),
    ],
)
def test_heads_refused(change: dict[str, object], code: str) -> None:
    """V34, V41, V44: each of these passes aiohttp's parser or might one day."""
    assert rule(**change) == code  # type: ignore[arg-type]


def test_heads_let_through() -> None:
    """The twins: HTTP/1.0 with Host, chunked on 1.1, a port of ours, capitals."""
    assert rule(version=(1, 0)) is None
    assert rule(headers=(HOST, (b"Transfer-Encoding", b"chunked"))) is None
    assert rule(headers=((b"hOST", b"A.Test:8443"),)) is None
    assert rule(headers=(HOST, (b"X-Client-Cert", b"x"))) is None


@pytest.mark.slow
@given(st.text(max_size=30), st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=4))
def test_any_head_has_an_answer(target: str, headers: list[tuple[bytes, bytes]]) -> None:
    """For any head the gate answers with a refusal or lets through; it raises nothing."""
    answer = denial("GET", "/" + target, HttpVersion(1, 1), tuple(headers), OURS)
    assert answer is None or isinstance(answer, Denial)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET http://enroll.test/ HTTP/1.1\r\nHost: enroll.test\r\n\r\n", 400),
        (b"GET https://evil.test/ HTTP/1.1\r\nHost: enroll.test\r\n\r\n", 400),
        (b"GET //evil.test/ HTTP/1.1\r\nHost: enroll.test\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: enroll.test\r\n\r\n", 400),
        (b"CONNECT enroll.test:443 HTTP/1.1\r\nHost: enroll.test\r\n\r\n", 501),
        (b"GET / HTTP/1.0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: enroll.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: enroll.test\r\nHost: login.test\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : enroll.test\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: enroll.test\r\nX_Y: z\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: enroll.test\r\nContent-Length: 1\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: enroll.test\r\nContent-Length: +1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400),
    ],
)  # fmt: skip
async def test_on_the_wire(serve: Serve, pki: Pki, words: bytes, status: int) -> None:
    """Over a real connection each of these is refused with a page in both languages, and the end."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test") as client:
        answer = await client.ask(words)
        assert answer.status == status
        assert 'lang="ja"' in answer.text
        assert 'lang="en"' in answer.text
        assert answer.headers["server"] == "sekisho"
        assert (await client.end()).alert == "close_notify"


@pytest.mark.parametrize(
    ("target", "lines", "status", "kind"),
    [
        (b"/acme/order/%00", b"", 400, "malformed"),
        (b"/acme/new-order", b"X_Y: z\r\n", 400, "malformed"),
        (b"/acme/" + b"a" * 9000, b"", 414, "malformed"),
        (b"/acme/directory", b"X: " + b"a" * 9000 + b"\r\n", 431, "malformed"),
        (b"/acme/directory", b"Host: evil.test\r\n", 400, "malformed"),
        (b"/acme/broken", b"", 500, "serverInternal"),
        (b"/page/%00", b"", 400, ""),
        (b"/page", b"X: " + b"a" * 9000 + b"\r\n", 431, ""),
    ],
)
@pytest.mark.parametrize("any_origin", [True, False])
async def test_the_protocol_gets_problem_documents(
    serve: Serve, pki: Pki, target: bytes, lines: bytes, status: int, kind: str, any_origin: bool
) -> None:
    """RFC 8555 6.7: below /acme/ also of what is refused before the protocol sees it; the twins are pages."""

    async def broken(_: object) -> None:
        raise RuntimeError

    running = await serve(open_site(pki, handler=broken, says=protocol.says(any_origin=any_origin)))
    async with connect(running.port, b"enroll.test") as client:
        answer = await client.ask(b"GET %s HTTP/1.1\r\nHost: enroll.test\r\n%s\r\n" % (target, lines))
    assert answer.status == status
    assert ("access-control-allow-origin" in answer.headers) is (any_origin and bool(kind))
    if kind:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = json.loads(answer.body)
        assert (problem["type"], problem["status"]) == (f"urn:ietf:params:acme:error:{kind}", status)
        assert answer.headers["link"] == '</acme/directory>;rel="index"'
    else:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_another_servers_target_has_no_directory(serve: Serve, pki: Pki) -> None:
    """RFC 9110 section 15.5.20: a link would lead to whom the request was meant for."""
    running = await serve(open_site(pki, says=protocol.says(any_origin=True)))
    async with connect(running.port, b"enroll.test") as client:
        answer = await client.ask(b"GET /acme/directory HTTP/1.1\r\nHost: evil.test\r\n\r\n")
    assert (answer.status, answer.headers["content-type"]) == (421, "application/problem+json")
    assert "link" not in answer.headers


async def test_our_own_fault_says_nothing(serve: Serve, pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a handler is a 500 without detail, and one entry in the log."""

    async def broken(_: object) -> None:
        raise RuntimeError("secret detail")

    running = await serve(open_site(pki, handler=broken))
    async with connect(running.port, b"enroll.test") as client:
        answer = await client.get(b"enroll.test")
    assert answer.status == 500
    assert "secret" not in answer.text
    assert [record.message for record in caplog.records] == ["request failed: RuntimeError"]


def test_the_python_parser_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """V41: aiohttp's pure-Python parser is laxer; we do not start on it."""
    demand_c_parser()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(ConfigError, match="AIOHTTP_NO_EXTENSIONS"):
        demand_c_parser()


@pytest.mark.parametrize("status", [400, 403, 408, 413, 414, 417, 421, 429, 500, 501, 502, 503, 504, 505])
def test_a_short_page_is_in_both_languages(status: int) -> None:
    """Each status that the gate or the relay answers with says in Japanese what happened; English follows."""
    phrase = HTTPStatus(status).phrase
    _, body = short_page(status)
    japanese, english = body.decode().split('<p lang="en">')
    assert english == f"{phrase}.</p></html>\n"
    words = japanese.partition("</h1><p>")[2]
    assert words != f"{phrase}</p>"
    assert words.endswith("。</p>")
