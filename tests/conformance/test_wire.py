"""The suite's HTTP: bytes go out as given, and what is not HTTP is told apart from a refusal."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

import conformance
from conformance.draft import DROP, Draft, Twist, compose, pad
from conformance.jose import new_key
from conformance.wire import DROP_HEADER, Answer, Broken, Call, origin_of, read_answer, request_bytes


async def read(data: bytes, method: str = "GET") -> tuple[Answer, bool]:
    reader = asyncio.StreamReader(limit=1024)
    reader.feed_data(data)
    reader.feed_eof()
    return await read_answer(reader, method)


async def test_content_length() -> None:
    """A body of known length; the connection can be kept."""
    answer, keep = await read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi")
    assert (answer.status, answer.body, answer.header("x"), keep) == (200, b"hi", "y", True)


async def test_chunked() -> None:
    """A body in chunks."""
    answer, keep = await read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n1\r\n!\r\n0\r\n\r\n"
    )
    assert (answer.body, keep) == (b"hi!", True)


async def test_until_close() -> None:
    """A body without length ends with the connection, which is not kept."""
    answer, keep = await read(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    assert (answer.body, keep) == (b"all of it", False)


async def test_interim_answers_are_passed_over() -> None:
    """100 Continue comes before the answer."""
    answer, _ = await read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    assert answer.status == 204


async def test_head_has_no_body() -> None:
    """The Content-Length of an answer to HEAD is not waited for."""
    answer, keep = await read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD")
    assert (answer.body, keep) == (b"", True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2000,
    ],
)
async def test_not_http(data: bytes) -> None:
    """No answer, half an answer and another protocol raise, and are never read as an answer."""
    with pytest.raises((ValueError, EOFError, asyncio.LimitOverrunError)):
        await read(data)


def test_target_is_not_normalised() -> None:
    """The request target goes out as it stands."""
    sent = request_bytes(Call("GET", "https://host:1/a/../b//c?%zz"))
    assert sent.startswith(b"GET /a/../b//c?%zz HTTP/1.1\r\nHost: host:1\r\n")


def test_headers_can_be_taken_away() -> None:
    """A twist can leave out a header that would be sent."""
    sent = request_bytes(
        Call("POST", "https://host/", {"User-Agent": DROP_HEADER, "Content-Length": "7"}, b"x")
    )
    assert b"User-Agent" not in sent
    assert sent.endswith(b"Content-Length: 7\r\n\r\nx")


def test_origin() -> None:
    """A URL without host or of another scheme leads nowhere."""
    assert origin_of("https://Host.example/x") == ("https", "host.example", 443)
    for url in ("ftp://host/", "https:///x", "nonsense"):
        with pytest.raises(Broken):
            origin_of(url)


def test_twists_bend_one_thing() -> None:
    """An honest draft and its twist differ in what the twist names."""
    draft = Draft("https://acme.example/a", b"{}", new_key(), "https://acme.example/acct/1")
    honest = compose(draft, "n1")
    padded = compose(draft, "n1", Twist(members=pad("protected")))
    bare = compose(draft, "n1", Twist(protected={"kid": DROP}))
    assert Answer(200, (), honest.body).object().keys() == {"protected", "payload", "signature"}
    assert str(Answer(200, (), padded.body).object()["protected"]).endswith("=")
    assert (
        Answer(200, (), bare.body).object()["protected"] != Answer(200, (), honest.body).object()["protected"]
    )


def test_suite_is_a_stranger() -> None:
    """The suite imports itself, the standard library and cryptography; nothing of the product."""
    folder = Path(conformance.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not {name.split(".")[0] for name in names} & {
                "ca",
                "enroll",
                "gateway",
                "aiohttp",
                "OpenSSL",
            }, path
