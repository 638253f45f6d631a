"""One client's requests, one after the other: each goes to the site's relay, if it has one, or to the site's
own pages, and its answer is told to the log.

The pages are aiohttp's, in this process. They get the head as it was parsed, the body in framing of
our own, and with a request that the relay turned down the reason why, so that they can say it. What may
follow what stands in `wire/turns.py`; here it is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11

from ca.trust import VerifiedPeer
from gateway.edge.connection import TlsConnection
from gateway.edge.facts import Awaiting, ConnectionInfo, Limits, Verdict
from gateway.edge.served import Served
from gateway.wire import framing, http, oversize, reply, rules, turns
from gateway.wire.http import RequestProtocol
from gateway.wire.reader import Reader, Unread
from gateway.wire.request import Client, Forwarder, Request
from gateway.wire.rules import Denial
from gateway.wire.sites import site_of
from gateway.wire.turns import STEPPED, Effect, Reading, Step, Turn, goes_on

log = logging.getLogger("sekisho.proxy")

# Bytes of a body, or behind an upgrade, held for whoever reads more slowly; then the client waits.
_HIGH = 65_536
_VERSIONS = {"1.1": HttpVersion11, "1.0": HttpVersion10}
# By event: state -> next state and effects. Bound here, as every request passes.
_BEGIN: Final = STEPPED[Step.BEGIN]
_ANSWERED: Final = STEPPED[Step.ANSWERED]
_ANSWERED_LAST: Final = STEPPED[Step.ANSWERED_LAST]
_IDLE: Final = Turn.IDLE
_REST: Final = Reading.REST
_OVER: Final = Reading.OVER
_TORN: Final = Reading.TORN
_NEXT: Final = Effect.NEXT
_STOP: Final = Effect.STOP


class Front(Client):
    """See the module. Between the TLS connection below and the relay, one for each connection.

    An `asyncio.Protocol` in all but its base, which would cost the class that mypyc makes of it.
    """

    __slots__ = (
        "_asked",
        "_asking",
        "_chunked",
        "_current",
        "_drained",
        "_forwarded",
        "_limits",
        "_loop",
        "_pages",
        "_paused",
        "_queue",
        "_reader",
        "_receive",
        "_recheck",
        "_relay",
        "_server",
        "_server_of",
        "_task",
        "_turn",
        "_wire",
        "_written",
    )

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
        self.transport = None
        self._wire: TlsConnection | None = None
        #: Set while the sites are being swapped: where the connection goes on after this request.
        self.moves_to = None
        #: Who wants to know at once that the client left.
        self.on_lost = None
        self.writing_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._reader = Reader(self, limits, loop)
        self._queue = self._reader.queue
        # Whose turn it is, and who has it.
        self._current: Request | None = None
        self._turn = _IDLE
        #: Whether the request that is being answered is the last one, whatever its head said.
        self.last = False
        self._pages: RequestProtocol | None = None
        # Whether the body of the request at the pages goes there in chunks.
        self._chunked = False
        # Whether the register is being asked for the request in turn, and whether it has just answered.
        self._asking = self._asked = False
        self._task: asyncio.Task[None] | None = None
        # Where bytes behind an upgrade go.
        self._receive: Callable[[bytes], None] | None = None
        # Whether the client waits until we have taken what it sent.
        self._paused = False
        self._written = 0
        self._forwarded = b"", b""

    # --- the protocol of the TLS connection below ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Its count outlives the connection, which `transport` does not.
        self.transport = self._wire = cast(TlsConnection, transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._turn, _ = STEPPED[Step.LOST][self._turn]
        self._reader.lost()
        if self._pages is not None:
            self._pages.connection_lost(exc)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()
        self._wake_writers()

    def data_received(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)
            return
        reader, queue = self._reader, self._queue
        rested = reader.state is _REST and self._turn is _IDLE and not queue
        if rested and not self.writing_paused and reader.recall(data):
            self._next()
            return
        if reader.state is _OVER or reader.state is _TORN:
            return
        reader.read(data)
        if reader.state is Reading.FOREIGN and not queue:
            self.flow()
            return
        if self._current is None:
            if rested and reader.state is _REST and len(queue) == 1:
                reader.learn(data)
            self._next()
        elif self._turn in turns.FED:
            self._feed(self._current)
        if queue or reader.receiving is not None:
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
        reader, current = self._reader, self._current
        held_back = current is not None and current.held_back and current is reader.receiving
        return turns.awaiting(reader.state, self._turn, bool(self._queue), held_back)

    def close(self) -> None:
        """Makes the request that is being answered the last one."""
        self.last = True

    def rehome(self, info: ConnectionInfo) -> None:
        """Under new sites: the next request finds another relay, and other pages. Only between two."""
        self.info, self._server, self._relay = info, self._server_of(info), _relay_of(info)
        self._reader.forget()
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
        self._answered(keep)

    def decline(self, request: Request, why: Exception | None = None, barred: Denial | None = None) -> None:
        """Leaves the answer to the site's own pages, which are told why. ``barred``: why the site's policy
        turns the peer away. By the time that the pages look it might let him in, and they have nothing for
        whom they let in."""
        if self.transport is None:
            self.answered(request, http.CLIENT_GONE, False)
            return
        try:
            head, self._chunked = _head(request, with_body=why is None)
        except framing.Malformed as error:
            self.info.count(f"refused.{error}")
            status = 501 if str(error) == "transfer-encoding" else 400
            self._say(Unread(status, request.method, request.target))
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
        pages.barred = None if barred is None else (request.verdict, barred)
        pages.resume_count()
        # Whoever was turned down has no use for his body, part of which may be on its way upstream.
        self._turn, _ = STEPPED[Step.FEED if why is None else Step.PAGE][self._turn]
        pages.data_received(head)
        if why is None:
            self._feed(request)

    def tunnel(self, receive: Callable[[bytes], None]) -> bytes:
        """From now on bytes go to ``receive`` unparsed; returns those that came before."""
        self._turn, _ = STEPPED[Step.SWITCH][self._turn]
        self._receive = receive
        held, self._reader.held = self._reader.held, b""
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
        held, receiving = self._reader.held, self._reader.receiving
        if self._queue or len(held) > _HIGH or (receiving is not None and receiving.size > _HIGH):
            self._paused = True
            self.transport.pause_reading()
        elif self._paused:  # the pages may want a pause of their own
            self._paused = False
            self.transport.resume_reading()

    def pages_closed(self, pages: RequestProtocol) -> None:
        """They close what they take for their connection: after an answer of theirs that is the end of it."""
        if self._pages is pages:
            self._pages = None
        self._turn, effects = STEPPED[Step.HANG_UP][self._turn]
        self._do(effects)

    # --- within ---

    def _ran(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("relaying failed: %s", type(error).__name__, exc_info=error)
            self.info.abort()

    def _next(self) -> None:
        """Begins the request whose turn it is."""
        if self._turn is not _IDLE or not self._queue or self.writing_paused or self._asking:
            return
        ask = self.info.ask
        if ask is not None and not self._asked and not ask(self._go_on):
            self._asking = True
            return
        request = self._queue.pop(0)
        self._reader.read_on()
        if self._paused:
            self.flow()
        if isinstance(request, Unread):
            status = self._say(request)
            self._log(request.method, request.target, None, None, status, self._loop.time())
            self._answered(False)
            return
        self._turn, _ = _BEGIN[self._turn]
        self._current = request
        relay = self._relay
        if relay is None or not relay.claims(request.target):
            self.decline(request)
            return
        # Looked at by the relay: it passed, and then it was the same header.
        refused = request.fields is None and rules.denial(
            request.method,
            request.target,
            _VERSIONS.get(request.version) or HttpVersion(*map(int, request.version.split("."))),
            request.headers,
            self.info.authorities,
        )
        request.verdict, barred = rules.admission(self.info, self._recheck)
        if refused or barred:
            self.decline(request, barred=barred)  # the gate before the pages has the words, and counts
        else:
            relay.begin(request)

    def _go_on(self) -> None:
        """What the register says of the peer is at hand."""
        self._asking = False
        if self.transport is not None:
            self._asked = True
            self._next()
            self._asked = False

    def _answered(self, keep: bool) -> None:
        """The answer in turn is written. ``keep``: another one may follow, by the head of this one."""
        kept = goes_on(keep, self.last, not self._queue, self._reader.state)
        self._turn, effects = (_ANSWERED if kept else _ANSWERED_LAST)[self._turn]
        self._do(effects)

    def _do(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if effect is _NEXT:
                self._current = self.on_lost = None
                if self.moves_to is not None:
                    moves, self.moves_to = self.moves_to, None
                    moves()
                if self._queue:
                    self._loop.call_soon(self._next)
            elif effect is _STOP:
                self._current = self.on_lost = None
                self._do(self._reader.stop())
            elif self.transport is not None:
                if effect is Effect.LINGER:
                    self._loop.call_later(self._limits.lingering, self.transport.close)
                    self.flow()
                elif effect is Effect.CLOSE:
                    self.transport.close()

    def _feed(self, request: Request) -> None:
        """Hands on to the pages what has come of a body."""
        pages, chunked = self._pages, self._chunked
        assert pages is not None
        data = request.taken()
        if data:
            pages.data_received(framing.chunk(data) if chunked else data)
        if request.broken:
            pages.break_body()
        elif not request.complete:
            return
        elif chunked:
            pages.data_received(framing.LAST_CHUNK)
        kept = goes_on(True, self.last, not self._queue, self._reader.state)
        self._turn, effects = STEPPED[Step.FED if kept else Step.FED_LAST][self._turn]
        self._do(effects)

    def _pages_answered(self, keep: bool) -> None:
        """Called by the pages."""
        self._written = 0 if self._wire is None else self._wire.written
        self._answered(keep)

    def _say(self, unread: Unread) -> int:
        """Answers what could not be read to its end; the status."""
        status = unread.status
        page = {200: oversize.cleared, 431: oversize.too_large}.get(status, lambda: http.short_page(status))
        own = None
        if status >= 400:
            own = http.said(site_of(self.info), Denial(status, "unread"), unread.target)
        headers, body = own or page()
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
