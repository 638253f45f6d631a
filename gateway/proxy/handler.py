"""From a request that passed the gate to the upstream and back.

The answer is written to the client's connection as it comes, in our own framing; aiohttp is told only
that it has been. What ends early on one side ends the other side at once, and never as if it were whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import cast

from aiohttp import web
from aiohttp.http import HttpVersion11

from ca.trust import VerifiedPeer
from gateway import http
from gateway.identity import Caller, Identity, header_lines
from gateway.proxy import heads
from gateway.proxy.exchange import Head, UpstreamConnection, UpstreamFault
from gateway.proxy.heads import Body, Malformed
from gateway.proxy.rules import LOGIN_ONLY, Access, Rules, access
from gateway.proxy.tunnel import tunnel
from gateway.proxy.upstream import Pool

#: Who is calling, or what to answer instead.
Admit = Callable[[web.BaseRequest], Awaitable[Caller | web.StreamResponse]]
#: The page for a status and the stable word for why.
Fail = Callable[[web.BaseRequest, int, str], Awaitable[web.StreamResponse]]

# RFC 9110 9.2.2: what may be sent a second time when no byte of an answer came.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
_STATUS_OF_FAULT = {"timeout": 504, "connect-timeout": 504, "full": 503, "client": 400}
_STATUS_OF_MALFORMED = {"expect": 417, "transfer-encoding": 501}
# nginx's number for a client that left before its answer; never on the wire.
_CLIENT_GONE = 499


@dataclass(frozen=True, slots=True)
class Proxied:
    """What a site hands on, under which rules, and what it says of the caller.

    ``cookie``: the name of our session cookie, which neither reaches the upstream nor may be set by it.
    """

    pool: Pool
    identity: Identity
    rules: Rules = LOGIN_ONLY
    cookie: str = ""


class _Foreign(Exception):
    """Another site's page is behind this request."""


class Relayed(web.StreamResponse):
    """An answer that has been written already."""

    def __init__(self, status: int, keep: bool) -> None:
        super().__init__(status=status)
        self._keep_alive = keep

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def plain_failure(_: web.BaseRequest, status: int, code: str) -> web.StreamResponse:
    """The short page for a site without pages of its own."""
    return http.page(status)


def proxy_handler(
    proxied: Proxied,
    *,
    now: Callable[[], int],
    login: Admit | None = None,
    certificate: Admit | None = None,
    fail: Fail = plain_failure,
) -> http.LowLevelHandler:
    """A handler that hands requests on: bare for a listener's site, or a route of its application.

    ``now``: seconds since the epoch. ``login``, ``certificate``: who is calling on paths that need the
    one or the other; without ``login`` nobody is let in there, without ``certificate`` everybody with
    a verified one is, unnamed.
    """
    relay = _Relay(proxied, now, fail)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        level = access(proxied.rules, request.raw_path)
        verdict = http.peer(request)
        admit = login if level is Access.LOGIN else certificate if level is Access.CERTIFICATE else None
        if not isinstance(verdict, VerifiedPeer):
            if level is not Access.PUBLIC:
                return await fail(request, 403, "unknown_certificate")
            return await relay(request, None, None)
        if level is Access.LOGIN and login is None:
            return await fail(request, 403, "not_permitted")
        caller = Caller(verdict) if admit is None else await admit(request)
        return await relay(request, caller, admit) if isinstance(caller, Caller) else caller

    return handle


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as it goes out, with what decides how its answer comes back."""

    web: web.BaseRequest
    protocol: http.RequestProtocol
    head: bytes
    body: Body
    key: bytes | None
    expect: bool
    retry: bool
    current: Callable[[], Awaitable[bool]]


class _Relay:
    """The work behind `proxy_handler`, with what is the same for all requests of a site."""

    def __init__(self, proxied: Proxied, now: Callable[[], int], fail: Fail) -> None:
        self._pool = proxied.pool
        self._waits = proxied.pool.waits
        self._now = now
        self._fail = fail
        self._off = heads.taken_off(proxied.identity.names)
        self._lines = header_lines(proxied.identity)
        self._cookie = proxied.cookie.encode("ascii")
        self._cookies = (self._cookie,) if proxied.cookie else ()

    async def __call__(
        self, request: web.BaseRequest, caller: Caller | None, admit: Admit | None
    ) -> web.StreamResponse:
        info = http.connection(request)
        try:
            asked = self._asked(request, caller, admit)
        except _Foreign:
            info.count("refused.cross-site")
            return await self._fail(request, 403, "cross_site")
        except Malformed as error:
            info.count(f"refused.{error}")
            return await self._fail(request, _STATUS_OF_MALFORMED.get(str(error), 400), "bad_request")
        try:
            connection, upload, head = await self._ask(asked)
        except UpstreamFault as fault:
            info.count(f"upstream.{fault.code}")
            return await self._fail(request, _STATUS_OF_FAULT.get(fault.code, 502), fault.code)
        except ConnectionError:
            return Relayed(_CLIENT_GONE, False)
        try:
            if head.status == 101:
                return await self._switch(asked, connection, head)
            return await self._answer(asked, connection, upload, head)
        except (UpstreamFault, ConnectionError) as error:
            # The answer has begun: only an aborted connection tells the client that it is not whole.
            info.count(f"upstream.{error.code if isinstance(error, UpstreamFault) else 'client-gone'}")
            info.abort()
            return Relayed(head.status, False)
        except BaseException:  # stopped within an answer, or a fault of ours: no page may follow
            info.abort()
            raise
        finally:
            asked.protocol.on_lost = None
            if upload is not None and not upload.done():
                upload.cancel()
            if not connection.complete:
                connection.abort()

    def _asked(self, request: web.BaseRequest, caller: Caller | None, admit: Admit | None) -> _Request:
        headers = request.raw_headers
        body = heads.body_of(headers)
        key = heads.websocket_key(request.method, headers)
        expect = heads.expects_continue(headers) and body.expected
        host = heads.values_of(headers, b"host")[0]
        if heads.foreign(request.method, headers, host, websocket=key is not None):
            raise _Foreign
        ours = heads.forwarded(http.connection(request).peer_address, host)
        if caller is not None:
            ours += self._lines(caller, self._now())
        head = heads.request_head(
            request.method,
            request.raw_path,
            headers,
            off=self._off,
            host=host,
            body=body,
            ours=ours,
            cookie=self._cookie,
            expect=expect,
            websocket=key is not None,
        )

        async def current() -> bool:
            try:
                return admit is None or isinstance(await admit(request), Caller)
            except Exception:
                return False  # whatever the reason: not let in now is not let in

        retry = request.method in _IDEMPOTENT and not body.expected and key is None
        protocol = cast(http.RequestProtocol, request.protocol)
        return _Request(request, protocol, head, body, key, expect, retry, current)

    async def _ask(self, asked: _Request) -> tuple[UpstreamConnection, asyncio.Task[None] | None, Head]:
        """Sends the request, and once more if that is allowed and nothing came back. UpstreamFault."""
        pool = self._pool
        connection = pool.resting(unsafe=not asked.retry) if asked.key is None else None
        rested = connection is not None
        attempts, avoid = 1 + len(pool.upstream.addresses) if asked.retry else 1, None
        while True:
            if connection is None:
                connection = await pool.fresh(avoid)
            upload: asyncio.Task[None] | None = None
            try:
                upload = self._send(asked, connection)
                return connection, upload, await self._head(asked, connection)
            except BaseException as error:
                if upload is not None:
                    upload.cancel()
                connection.abort()
                asked.protocol.on_lost = None
                attempts -= 1
                fault = error if isinstance(error, UpstreamFault) else None
                if fault is None or fault.answered or fault.code != "closed":
                    raise
                if not rested:
                    pool.failed(connection.key, "closed")
                    avoid = connection.key
                if attempts <= 0 or not asked.retry or asked.protocol.transport is None:
                    raise
                connection, rested = None, False

    def _send(self, asked: _Request, connection: UpstreamConnection) -> asyncio.Task[None] | None:
        """Writes the head and what is there of the body; the rest follows in a task."""
        protocol, content = asked.protocol, asked.web.content
        if protocol.transport is None:
            raise ConnectionResetError("the client is gone")
        protocol.on_lost = connection.abort
        bodiless = asked.web.method == "HEAD"
        connection.deadline = self._pool.loop.time() + self._waits.answer
        if not asked.body.expected:
            connection.begin(asked.head, bodiless=bodiless)
            return None
        # A small body is mostly here together with its head: one write, and no task.
        if asked.body.length and content.is_eof() and content.total_bytes == asked.body.length:
            connection.begin(asked.head + content.read_nowait(), bodiless=bodiless)
            return None
        connection.begin(asked.head, bodiless=bodiless)
        return asyncio.create_task(self._upload(asked, connection))

    async def _upload(self, asked: _Request, connection: UpstreamConnection) -> None:
        """Sends the body as it comes from the client, no faster than the upstream takes it."""
        content, chunked, loop = asked.web.content, asked.body.chunked, self._pool.loop
        left = asked.body.length or 0
        try:
            while data := await content.readany():
                left -= len(data)
                connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
                connection.deadline = loop.time() + self._waits.answer
                await connection.drain()
                if not asked.expect:
                    connection.deadline = float("inf")  # the client's own limits are running now
            if chunked:
                connection.write(b"0\r\n\r\n")
            elif left:  # never leave a connection on which less was sent than announced
                connection.abort("client")
            connection.deadline = loop.time() + self._waits.answer
        except UpstreamFault:
            return
        except Exception:  # the client's framing broke, or the client is gone: nothing whole can follow
            connection.abort("client")

    async def _head(self, asked: _Request, connection: UpstreamConnection) -> Head:
        """The final head (or a 101), interim ones handed on before (RFC 9110 15.2)."""
        while True:
            head = await connection.head()
            if head.status >= 200:
                return head
            if head.status == 101:
                if asked.key is None or not heads.accepted(asked.key, head.headers):
                    raise UpstreamFault("switched", answered=True)
                return head
            known = asked.web.version >= HttpVersion11 and (head.status != 100 or asked.expect)
            if known and asked.protocol.transport is not None:
                asked.protocol.transport.write(heads.interim_head(head.status, head.reason, head.headers))

    async def _answer(
        self,
        asked: _Request,
        connection: UpstreamConnection,
        upload: asyncio.Task[None] | None,
        head: Head,
    ) -> web.StreamResponse:
        request = asked.web
        modern = request.version >= HttpVersion11
        bodiless = request.method == "HEAD" or head.status in (204, 304)
        chunked = not bodiless and head.length is None and modern
        close = (
            not (modern and request.keep_alive)
            or (upload is not None and not upload.done())
            or asked.body.chunked  # see gateway.http
            or bool(heads.values_of(request.raw_headers, b"upgrade"))
        )
        dated = bool(heads.values_of(head.headers, b"date"))
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        if head.length is not None and head.status != 204:
            framing = b"Content-Length: %d\r\n" % head.length
        start = heads.response_head(
            head.status,
            head.reason,
            head.headers,
            framing=framing,
            close=close,
            cookies=self._cookies,
            date=b"" if dated else formatdate(self._now(), usegmt=True).encode(),
        )
        await self._stream(asked, connection, start, chunked)
        if upload is None or upload.done():
            self._pool.give_back(connection)
        else:
            connection.abort()
        return Relayed(head.status, not close)

    async def _stream(
        self, asked: _Request, connection: UpstreamConnection, start: bytes, chunked: bool
    ) -> None:
        """Writes the head with what has come, then the rest as it comes, at the client's pace."""
        loop, protocol = self._pool.loop, asked.protocol
        data, due = connection.taken(), loop.time() + self._waits.recheck
        piece = start + (_chunk(data) if chunked and data else data)
        while True:
            done = connection.complete  # and `piece` holds all there is: nothing was awaited since
            if done and chunked:
                piece += heads.trailer_section(connection.trailers)
            _write(protocol, piece)
            if done:
                return
            if protocol.writing_paused:
                connection.deadline = float("inf")  # the client is slow, which has a limit of its own
                await asked.web.writer.drain()
            if loop.time() >= due:
                due = loop.time() + self._waits.recheck
                if not await asked.current():
                    raise UpstreamFault("no-longer-entitled", answered=True)
            connection.deadline = loop.time() + self._waits.body
            data = await connection.body()
            piece = _chunk(data) if chunked and data else data

    async def _switch(
        self, asked: _Request, connection: UpstreamConnection, head: Head
    ) -> web.StreamResponse:
        transport = asked.protocol.transport
        if transport is None:
            raise UpstreamFault("client-gone", answered=True)
        transport.write(heads.switching_head(head.reason, head.headers))
        await tunnel(
            asked.protocol,
            asked.web.writer,
            connection,
            idle=self._waits.tunnel,
            recheck=self._waits.recheck,
            current=asked.current,
        )
        return Relayed(101, False)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _write(protocol: http.RequestProtocol, piece: bytes) -> None:
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    transport.write(piece)
