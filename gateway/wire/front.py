"""What one client asks: llhttp reads its requests in its strict mode, and one after the other each goes to
the site's relay, if it has one, or to the site's own pages.

The pages are aiohttp's, in this process. They get the head as it was parsed, the body in framing of
our own, and with a request that the relay turned down the reason why, so that they can say it. Where one
request ends and the next begins is decided here and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, cast

import httptools
from aiohttp import web
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11

from ca.trust import VerifiedPeer
from gateway.edge.facts import Awaiting, ConnectionInfo, Limits, Served, Verdict
from gateway.wire import framing, http, oversize, reply
from gateway.wire.http import RequestProtocol
from gateway.wire.request import Connection, Forwarder, Request
from gateway.wire.sites import site_of

log = logging.getLogger("sekisho.proxy")

# Bytes of a body, or behind an upgrade, held for whoever reads more slowly; then the client waits.
_HIGH = 65_536
# A head of the largest fields that are allowed, all of them, is nobody's; browsers stop at far less.
_HEAD_BYTES = 65_536
# Requests that are parsed before their turn; more of them wait as the bytes they came as, a twentieth of the
# size. Parsed in pieces no longer than this, so that one record does not hold a thousand of them.
_AHEAD = 16
_PIECE = 2_048
# The request line of a plain read. In such a target there is nothing for the gate to refuse.
_READ = re.compile(rb"(GET|HEAD) ((?=/)%b) HTTP/1\.1" % http.PLAIN_TARGET.encode())
_VERSIONS = {"1.1": HttpVersion11, "1.0": HttpVersion10}


class _Unread(NamedTuple):
    """What was no request, or too much of one: the status of its answer, and what is known of it."""

    status: int
    method: str = "UNKNOWN"
    target: str = "/"


class Front(asyncio.Protocol):
    """See the module. Between the TLS connection below and the relay, one for each connection."""

    def __init__(
        self,
        info: ConnectionInfo,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        server_of: Callable[[ConnectionInfo], web.Server],
        recheck: Callable[[VerifiedPeer], Verdict],
    ) -> None:
        self.info, self._limits, self._loop, self._server_of, self._recheck = (
            info, limits, loop, server_of, recheck,
        )  # fmt: skip
        # Looked up now: when a request that runs is over, the sites may have been swapped.
        self._server = server_of(info)
        self._relay = _relay_of(info)
        self.transport: Connection | None = None
        self._wire: Connection | None = None
        #: Set while the sites are being swapped: where the connection goes on after this request.
        self.moves_to: Callable[[], None] | None = None
        #: Who wants to know at once that the client left.
        self.on_lost: Callable[[], object] | None = None
        self.writing_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._pages: RequestProtocol | None = None
        self._task: asyncio.Task[None] | None = None
        # Parsed and not begun; the one that is being answered, by the pages perhaps; and the one whose
        # body is still coming.
        self._queue: deque[Request | _Unread] = deque()
        self._current: Request | None = None
        self._paged: Request | None = None
        self._receiving: Request | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._size = self._fed = self._written = 0
        self._partial = self._priming = self._paused = False
        # Of a request that the pages answered before its body had come: whether they keep the connection.
        self._keeps: bool | None = None
        self._at_pages = self._chunked = False
        #: Whether the request that is being answered is the last one, whatever its head said.
        self.last = False
        #: The status of a head that is too large, as soon as that is known.
        self._excess = 0
        # Nothing is read any more; what comes is another protocol's; the last answer is written; the client
        # was in the middle of what we stopped reading.
        self._over = self._raw = self._ended = self._sending = False
        self._held = self._unparsed = b""
        self._forwarded = b"", b""
        # The header of the last request, if that was a plain read, and what it was parsed to.
        self._known: tuple[bytes, Request] | None = None
        self._receive: Callable[[bytes], None] | None = None

    # --- the protocol of the TLS connection below ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Its count outlives the connection, which `transport` does not.
        self.transport = self._wire = cast(Connection, transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._over = True
        for request in (self._receiving, self._current):
            if request is not None:
                request.cut()
        if self._pages is not None:
            self._pages.connection_lost(exc)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()
        self._wake_writers()
        self._queue.clear()
        self._unparsed = b""
        # The parser and we refer to each other, and so do we and the last request: freed at once.
        self._parser, self._known = cast(Any, None), None

    def data_received(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)
            return
        if self._raw:
            self._held += data
            self.flow()
            return
        if self._over and self._receiving is None:
            return
        rested = self._receiving is None and not self._partial and self._current is None and not self._queue
        if rested and not self.writing_paused and self._same(data):
            self._next()
            return
        if self._unparsed:
            self._unparsed += data
        else:
            self._parse(data)
        if self._current is None:
            if rested and len(self._queue) == 1 and self._receiving is None and not self._partial:
                self._learn(data)
            self._next()
        elif self._paged is not None:
            self._pump(self._paged)
        if self._queue or self._receiving is not None:
            self.flow()

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self._pages is not None:
            self._pages.pause_writing()

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self._pages is not None:
            self._pages.resume_writing()
        self._wake_writers()
        self._next()

    def awaiting(self) -> Awaiting:
        if self._receive is not None or (self._raw and not self._queue):
            return Awaiting.UPGRADED
        receiving = self._receiving
        if receiving is not None and not (receiving.held_back and receiving is self._current):
            return Awaiting.BODY
        if self._current is not None or self._queue:
            return Awaiting.HANDLER
        return Awaiting.HEAD if self._partial else Awaiting.REQUEST

    def close(self) -> None:
        """Makes the request that is being answered the last one."""
        self.last = True

    def rehome(self, info: ConnectionInfo) -> None:
        """Under new sites: the next request finds another relay, and other pages. Only between two."""
        self.info, self._server, self._relay, self._known = info, self._server_of(info), _relay_of(info), None
        pages, self._pages = self._pages, None
        if pages is not None:  # it holds on to its application: the next page has a new one
            pages.connection_lost(None)

    # --- for the relay ---

    def write(self, data: bytes) -> None:
        """Writes to the client. Raises ConnectionResetError if it is gone."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self.transport.write(data)

    async def drain(self) -> None:
        """Waits until the client takes more. Raises ConnectionResetError if it is gone."""
        while self.writing_paused and self.transport is not None:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Goes on with a request in a task. Whatever it fails with ends the connection."""
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._ran)

    def answered(self, request: Request, status: int, keep: bool, *, cut: bool = False) -> None:
        """The answer is written, all of it unless ``cut``. ``keep``: the connection may go on, as its head
        said."""
        self._log(
            request.method, request.target, request.verdict, request.subject, status, request.began, cut
        )
        self._finish(keep)

    def decline(self, request: Request, why: Exception | None = None) -> None:
        """Leaves the answer to the site's own pages, which are told why."""
        if self.transport is None:
            self.answered(request, http.CLIENT_GONE, False)
            return
        try:
            head, self._chunked = _head(request, with_body=why is None)
        except framing.Malformed as error:
            self.info.count(f"refused.{error}")
            status = self._say(_Unread(501 if str(error) == "transfer-encoding" else 400, request.method))
            self.answered(request, status, False)
            return
        pages = self._pages
        if pages is None:
            pages = self._pages = RequestProtocol(self._server, self.info, self._limits, self._loop)
            pages.on_answered = self._pages_answered
            pages.connection_made(cast(asyncio.Transport, _PagesTransport(self, pages)))
            if self.writing_paused:
                pages.pause_writing()
        pages.asked, pages.why, pages.subject = (request.method, request.target), why, request.subject
        pages.resume_count()
        self._at_pages = True
        # Whoever was turned down has no use for his body, part of which may be on its way upstream.
        self._paged = None if why is not None else request
        pages.data_received(head)
        if self._paged is not None:
            self._pump(request)

    def tunnel(self, receive: Callable[[bytes], None]) -> bytes:
        """From now on bytes go to ``receive`` unparsed; returns those that came before."""
        self._receive, self._raw = receive, True
        held, self._held = self._held, b""
        self.flow()
        return held

    def forwarded(self, host: bytes) -> bytes:
        """The lines that say where this connection's requests come from."""
        if self._forwarded[0] != host:
            self._forwarded = host, framing.forwarded(self.info.peer_address, host)
        return self._forwarded[1]

    def flow(self) -> None:
        """Lets the client send, or wait until what it sent has been taken."""
        if self.transport is None:
            return
        receiving = self._receiving
        if self._queue or len(self._held) > _HIGH or (receiving is not None and receiving.size > _HIGH):
            self._paused = True
            self.transport.pause_reading()
        elif self._paused:  # the pages may want a pause of their own
            self._paused = False
            self.transport.resume_reading()

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        if self._over:
            raise ValueError("nothing was to follow")
        self._fields, self._url, self._size, self._partial = [], b"", 0, True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.line_bytes:
            self._excess = 414
            raise ValueError("the target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        too_many = len(self._fields) >= self._limits.headers
        if too_many or len(name) + len(value) > self._limits.line_bytes or self._size > _HEAD_BYTES:
            if self._receiving is not None or self._size > _HEAD_BYTES:
                self._excess = 431
                raise ValueError("the header, or the trailer section, is too long")
            self._excess = 431  # read to its end: what is asked, and by whose page, decides the answer
            return
        # A value that came in two pieces has the space at its end still.
        self._fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self._partial = False
        if self._priming:
            self._fields = []
            return
        if self._excess:
            raise ValueError("the header is too long")
        parser, fields = self._parser, tuple(self._fields)
        request = Request(
            self,
            parser.get_method().decode("ascii"),
            self._url.decode("ascii"),
            parser.get_http_version(),
            fields,
            upgrade=parser.should_upgrade(),
        )
        request.keep_alive = parser.should_keep_alive()
        request.began = self._loop.time()
        self._fields, self._size, self._fed, self._url = [], 0, 0, b""
        self._receiving = request
        self._queue.append(request)

    def on_body(self, data: bytes) -> None:
        self._fed = 0
        if self._receiving is not None and not self._ended:
            self._receiving.feed(data)

    def on_message_complete(self) -> None:
        request = self._receiving
        if request is None:
            return
        if request.upgrade and not self._priming and framing.announces_body(request.headers):
            return  # llhttp takes it for the other protocol's; see `_upgraded`
        self._priming = False
        request.trailers = tuple(self._fields)
        request.end()
        self._receiving, self._fed = None, 0
        if not request.keep_alive:
            self._over = True
        if self._ended and self.transport is not None:
            self.transport.close()  # all of a body that nobody wanted has come

    # --- within ---

    def _parse(self, data: bytes) -> None:
        """Parses until enough requests wait for their turn, and keeps what is left."""
        at = 0
        while at < len(data):
            piece = data[at:]
            if self._receiving is None:
                if self._over:
                    return
                if len(self._queue) >= _AHEAD:
                    self._unparsed = piece
                    return
                self._partial = True  # until the parser says otherwise
                piece = piece[:_PIECE]
            at += len(piece)
            # Counted before it is parsed: a field, or a chunk's extension, without an end is never shown
            # to us.
            self._fed += len(piece)
            try:
                if self._fed > _HEAD_BYTES:
                    self._excess = 431 if self._url else 0
                    raise httptools.HttpParserError("no end of it")
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                self._upgraded(piece[upgrade.args[0] :] + data[at:])
                return
            except httptools.HttpParserError:
                self._malformed()
                return

    def _ran(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("relaying failed: %s", type(error).__name__, exc_info=error)
            self.info.abort()

    def _learn(self, data: bytes) -> None:
        """Remembers the header of a plain read that came alone and whole: most clients send it again."""
        line, _, header = data.partition(b"\r\n")
        request = self._queue[0]
        self._known = None
        if not isinstance(request, Request) or not request.keep_alive or request.upgrade:
            return
        if _READ.fullmatch(line) and not framing.announces_body(request.headers):
            self._known = header, request

    def _same(self, data: bytes) -> bool:
        """Whether this is a plain read with the very header of the last one: then it says the same."""
        if self._known is None:
            return False
        line, _, header = data.partition(b"\r\n")
        if header != self._known[0] or len(line) > self._limits.line_bytes:
            return False
        read = _READ.fullmatch(line)
        if read is None:
            return False
        known = self._known[1]
        method, target = read.groups()
        request = Request(
            self, method.decode("ascii"), target.decode("ascii"), "1.1", known.headers, upgrade=False
        )
        request.began, request.complete, request.fields = self._loop.time(), True, known.fields
        self._queue.append(request)
        return True

    def _next(self) -> None:
        """Begins the request whose turn it is."""
        if self._current is not None or not self._queue or self.writing_paused or self.transport is None:
            return
        request = self._queue.popleft()
        if self._unparsed and not self._queue:
            left, self._unparsed = self._unparsed, b""
            self._parse(left)
        if self._paused:
            self.flow()
        if isinstance(request, _Unread):
            status = self._say(request)
            self._log(request.method, request.target, None, None, status, self._loop.time())
            self._finish(False)
            return
        self._current = request
        relay = self._relay
        if relay is None or not relay.claims(request.target):
            self.decline(request)
            return
        # Looked at by the relay: it passed, and then it was the same header.
        refused = request.fields is None and http.refusal(
            request.method,
            request.target,
            _VERSIONS.get(request.version) or HttpVersion(*map(int, request.version.split("."))),
            request.headers,
            self.info.authorities,
        )
        request.verdict, barred = http.admission(self.info, self._recheck)
        if refused or barred:
            self.decline(request)  # the gate before the pages has the words, and counts
        else:
            relay.begin(request)

    def _finish(self, keep: bool) -> None:
        self._current = self._paged = self._keeps = self.on_lost = None
        self._at_pages = False
        if self.transport is None:
            return
        if not keep or self.last or (self._over and not self._queue):
            self._end()
            return
        moves, self.moves_to = self.moves_to, None
        if moves is not None:
            moves()
        if self._queue:
            self._loop.call_soon(self._next)

    def _end(self) -> None:
        """After the last answer: closes, once the client has had the time to see it (RFC 9112 9.6)."""
        self._over = self._ended = True
        self._queue.clear()
        self._unparsed = b""
        assert self.transport is not None
        if self._receiving is not None:
            self._receiving.taken()
        elif not self._sending:
            self.transport.close()
            return
        self._loop.call_later(self._limits.lingering, self.transport.close)
        self.flow()

    def _malformed(self) -> None:
        """What was sent is no request: answered when those before it are, and nothing after it is read."""
        if self._over:
            return
        self._over = True
        broken, self._receiving = self._receiving, None
        self._sending = broken is not None or self._excess != 0 or self._fed > _HEAD_BYTES
        if broken is None:
            self.info.count("refused.too-large" if self._excess else "refused.parser")
            self._queue.append(self._unread())
        else:
            broken.cut()

    def _upgraded(self, rest: bytes) -> None:
        """After a request with Upgrade (or CONNECT): what follows is the other protocol's, or its body."""
        request = self._receiving
        if request is None:
            self._raw, self._held = True, rest
            return
        # RFC 9110 7.8: a body comes before the switch, and there will be none.
        self._parser, self._priming = httptools.HttpRequestParser(self), True
        request.keep_alive = False
        lines = framing.lines_of(request.headers, framing.FRAMES_BODY.__contains__)
        try:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n%s" % (lines, rest))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._malformed()

    def _pump(self, request: Request) -> None:
        """Hands on to the pages what has come of a body."""
        pages, chunked = self._pages, self._chunked
        assert pages is not None
        data = request.taken()
        if data:
            pages.data_received(framing.chunk(data) if chunked else data)
        if request.broken:
            self._paged = None
            pages.break_body()
        elif request.complete and self._paged is request:
            self._paged = None
            if chunked:
                pages.data_received(framing.LAST_CHUNK)
        if self._paged is None and self._keeps is not None:
            self._finish(self._keeps)

    def _pages_answered(self, keep: bool) -> None:
        """Called by the pages. They still read, and drop, what comes of a body they had no use for."""
        self._written = 0 if self._wire is None else self._wire.written
        if self._paged is not None:
            self._keeps = keep
        else:
            self._finish(keep)

    def pages_closed(self, pages: RequestProtocol) -> None:
        """They close what they take for their connection: after an answer of theirs that is the end of it."""
        if self._pages is pages:
            self._pages = None
        if self._at_pages and self.transport is not None:
            self.transport.close()

    def _unread(self) -> _Unread:
        if not self._excess or not self._url:
            return _Unread(self._excess or 400)
        method, target = self._parser.get_method().decode("ascii"), self._url.decode("latin-1")
        if self._excess == 431 and oversize.asks_to_clear(method, target, self._fields):
            return _Unread(200, method, target)
        return _Unread(self._excess, method, target[: self._limits.line_bytes])

    def _say(self, unread: _Unread) -> int:
        """Answers what could not be read to its end; the status."""
        status = unread.status
        page = {200: oversize.cleared, 431: oversize.too_large}.get(status, lambda: http.short_page(status))
        headers, body = page()
        said = reply.whole(status, headers, body)
        self.write(said[: -len(body)] if unread.method == "HEAD" else said)
        return status

    def _log(
        self,
        method: str,
        target: str,
        verdict: Verdict | None,
        subject: str | None,
        status: int,
        began: float,
        cut: bool = False,
    ) -> None:
        written = 0 if self._wire is None else self._wire.written
        sent, self._written = written - self._written, written
        self.info.observer.served(
            self.info,
            Served(method, target, verdict, subject, status, sent, self._loop.time() - began, cut),
        )

    def _wake_writers(self) -> None:
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class _PagesTransport:
    """The connection as the pages see it: all of it, but that it is not theirs to close."""

    def __init__(self, front: Front, pages: RequestProtocol) -> None:
        self._front, self._pages, self._wire = front, pages, front.transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def close(self) -> None:
        self._front.pages_closed(self._pages)


def _relay_of(info: ConnectionInfo) -> Forwarder | None:
    site = site_of(info)
    return None if site is None else site.relay


def _head(request: Request, *, with_body: bool) -> tuple[bytes, bool]:
    """The head for the site's own pages: as it came, but that nothing is upgraded there, and that its framing
    is ours; and whether its body goes in chunks. Raises Malformed for a body that has no plain length."""
    left_out = framing.FRAMES_BODY | (framing.UPGRADES if request.upgrade else frozenset())
    close, body = request.upgrade, framing.NO_BODY
    if with_body:
        body = framing.body_in(request.headers)
    else:
        left_out |= {b"expect", b"connection"}
        close |= not (request.complete and request.keep_alive)
    head = b"%s %s HTTP/%s\r\n%s%s%s\r\n" % (
        request.method.encode("ascii"),
        request.target.encode("ascii"),
        request.version.encode("ascii"),
        framing.lines_of(request.headers, lambda name: name not in left_out),
        framing.framing_line(body),
        b"Connection: close\r\n" if close else b"",
    )
    return head, body.chunked
