"""The suite against servers that are wrong, absent or ill-disposed: it says what is the matter, and ends."""

from __future__ import annotations

import asyncio
import json
import re
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from conformance import preflight
from conformance.credentials import Credential, Credentials, Usage
from conformance.run import GONE, Limits, run
from conformance.verdict import expect
from conformance.wire import BODY_LIMIT, Broken, Call, Wire, client_context
from conformance.world import World
from tests.conformance.test_run import made

Write = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
NAMES = ({"type": "dns", "value": "a.example"},)


@asynccontextmanager
async def server(answer: Write) -> AsyncIterator[str]:
    """Plain HTTP; ``answer`` is given each whole request. Yields the URL of its root."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"\r\ncontent-length: *([0-9]+)", head.lower())
                length = int(found[1]) if found else 0
                await answer(head + await reader.readexactly(length), writer)
                await writer.drain()
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as opened:
        yield f"http://127.0.0.1:{opened.sockets[0].getsockname()[1]}"


def reply(status: int, body: bytes, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Replay-Nonce: AAAAAAAAAAAAAAAAAAAAAAAA")
    return "\r\n".join((*lines, *headers, "", "")).encode() + body


def world(url: str, bindings: tuple[Credential, ...] = ()) -> World:
    return World(f"{url}/dir", Wire(client_context(None)), Credentials(bindings))


Members = dict[str, object]


def acme(at: list[str], refusal: Members | None = None, meta: Members | None = None) -> Write:
    """A server with a directory, which refuses every POST by this problem; None: it never answers one."""

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"GET /dir"):
            names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
            body = {**{name: f"{at[0]}/{name}" for name in names}, "meta": meta or {}}
            writer.write(reply(200, json.dumps(body).encode(), "Content-Type: application/json"))
        elif request.startswith((b"GET", b"HEAD")):
            writer.write(reply(204, b""))
        elif refusal is not None:
            kind = "Content-Type: application/problem+json"
            writer.write(reply(int(str(refusal["status"])), json.dumps(refusal).encode(), kind))

    return answer


def refusal(status: int, kind: str, detail: str = "") -> Members:
    return {"status": status, "type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}


async def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    """However many pieces it comes in (RFC 9112 6.3)."""

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 70_000)
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(b"b" * 70_000)
        await writer.drain()
        writer.close()

    async with server(answer) as url:
        got = await Wire(client_context(None)).send(Call("GET", url))
    assert got.body == b"a" * 70_000 + b"b" * 70_000


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Content-Length: 1073741824\r\n\r\n",
        b"Content-Length: +5\r\n\r\n",
        b"\r\n",
    ],
)
async def test_no_answer_takes_all_memory(head: bytes) -> None:
    """What announces or sends more than BODY_LIMIT is refused before there is no memory left for it."""
    stop = asyncio.Event()

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        while not stop.is_set() and not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with server(answer) as url:
        with pytest.raises(Broken, match=r"octets|no number"):
            await Wire(client_context(None)).send(Call("GET", url))
        stop.set()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * BODY_LIMIT // 1024


async def test_long_answers_are_not_all_kept() -> None:
    """The log for the audit keeps the beginning of a long body, the case sees all of it."""

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b"x" * 1_000_000))

    async with server(answer) as url:
        asked = world(url)
        assert len((await asked.get(url)).body) == 1_000_000
        await asked.close()
    assert sum(len(one.answer.body) for one in asked.log) <= 16_384


async def test_a_server_that_only_answers_get_is_not_waited_for() -> None:
    """Whether it is there at all is asked by a POST: one that hangs on those costs two cases, not all."""
    at = [""]
    async with server(acme(at)) as url:
        at[0] = url
        asked = world(url)

        async def posts(world: World) -> None:
            expect(await world.post(await world.keep("x", never), url))

        async def never() -> object:
            await asyncio.Event().wait()

        results = await run(asked, [made(f"p.{n}", posts) for n in range(4)], Limits(0.05))
        await asked.close()
    assert [one.outcome for one in results] == ["HANG", "HANG", "BLOCKED", "BLOCKED"]
    assert results[-1].detail == GONE


@pytest.mark.parametrize(
    ("refused", "bound", "said"),
    [
        (refusal(400, "invalidContact"), False, "add --contact mailto:"),
        (refusal(400, "malformed", "Contact missing"), False, "add --contact mailto:"),
        (refusal(403, "externalAccountRequired"), False, "give some in --credentials FILE"),
        (refusal(403, "unauthorized"), True, "is k1 bound already"),
        (refusal(429, "rateLimited"), True, "wait until its limit is over"),
    ],
)
async def test_what_an_option_can_mend_ends_the_run(refused: Members, bound: bool, said: str) -> None:
    """An account refused for want of a contact, a binding or a fresh credential: said before any case."""
    given = tuple(Credential(f"k{n}" if bound else "", b"k" * 32, NAMES, reusable=not bound) for n in (1, 2))
    at = [""]
    async with server(acme(at, refused)) as url:
        at[0] = url
        asked = world(url, given)
        with pytest.raises(Usage, match=f"no account can be made.*{said}"):
            await preflight.look(asked)
        await asked.close()


async def test_what_no_option_can_mend_is_for_the_cases() -> None:
    """The twin: a refusal without a remedy is the server's, and the run goes on to say so case by case."""
    at = [""]
    async with server(acme(at, refusal(400, "serverInternal"))) as url:
        at[0] = url
        asked = world(url, (Credential("", b"", NAMES, reusable=True),))
        found = await preflight.look(asked)
        await asked.close()
    assert found.lines[0] == f"server   {url}/dir"


@pytest.mark.parametrize(
    ("status", "body"), [(404, b"<html>"), (200, b"<html>"), (200, b"[]"), (200, b'{"issuer": "oidc"}')]
)
async def test_what_is_no_directory_is_said_to_be_none(status: int, body: bytes) -> None:
    """A page, or another kind of JSON, at the URL that was given: status 2 and which URL to give."""

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(status, body, "Content-Type: text/html"))

    async with server(answer) as url:
        asked = world(url)
        with pytest.raises(Usage, match=r"is no ACME directory \(.*give the URL that clients"):
            await preflight.look(asked)
        await asked.close()


async def test_a_required_resource_that_is_missing_blocks() -> None:
    """Not SKIP, as for what a server may leave out (RFC 8555 7.1.1)."""

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b'{"newNonce": "https://x/n"}', "Content-Type: application/json"))

    async def needs(world: World) -> None:
        await world.resource("keyChange")

    async def may_do_without(world: World) -> None:
        await world.resource("newAuthz")

    async with server(answer) as url:
        asked = world(url)
        results = await run(asked, [made("r.a", needs), made("r.b", may_do_without)], Limits(5))
        await asked.close()
    assert [one.outcome for one in results] == ["BLOCKED", "SKIP"]
    assert results[0].detail == "keyChange: the directory does not list it"
