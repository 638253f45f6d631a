"""A small HTTP/1.1 server without TLS, for what anybody may read: lists, answers and certificates of CAs.

Whoever checks a certificate asks here, mostly through a cache, and knows nothing of us. So there is no
session, no page and no upstream, and everything is bounded: heads, bodies, requests ahead, connections, and
how long each of them may take.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, cast

import httptools

from gateway.wire import framing
from gateway.wire.reply import WITHOUT_CONTENT, http_date

log = logging.getLogger("sekisho.plain")

#: Connections of a process at a time; where there are more, the one that has been idle the longest makes
#: room.
MOST = 1_000
#: Bytes of a request line with its fields, and of a body: the largest request for an answer has some
#: hundreds.
MOST_HEAD, MOST_BODY = 8_192, 4_096
# Requests that are read before their turn; then the client waits.
_AHEAD = 8
_FIELDS = 50
# Seconds: for a whole request from its first byte, without one, and for a client to take what was written
# to it.
_REQUEST, _IDLE, _STALL = 10.0, 30.0, 30.0
_TURN = 1.0
_PIECE = 1 << 16


class Asked(NamedTuple):
    """A request, whole. ``fields``: by their names in lower case; of several the last."""

    method: str
    target: str
    fields: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Told:
    """An answer, which may be given again. ``body``: bytes, or an open file of ``size`` bytes, which is
    closed after it."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes | BinaryIO = b""
    size: int | None = None
    #: What it is counted as.
    kind: str = "other"
    # Its head as it was written last, and what that holds for: the second, and whether the connection stays.
    _head: bytes = field(default=b"", init=False, compare=False, repr=False)
    _head_of: tuple[int, bool] = field(default=(-1, False), init=False, compare=False, repr=False)

    def head(self, at: int, keep: bool) -> bytes:
        """Status line and fields, as they are written in a second (since the epoch)."""
        if self._head_of != (at, keep):
            fields = self.fields
            if self.status not in WITHOUT_CONTENT:
                fields = (*fields, ("Content-Length", str(self.length)))
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
            end = b"\r\n" if keep else b"Connection: close\r\n\r\n"
            self._head = b"%sDate: %s\r\n%s%s" % (_STATUS_LINES[self.status], http_date(at), lines, end)
            self._head_of = (at, keep)
        return self._head

    @property
    def length(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.size or 0


#: At once where it can be, or later; it raises nothing.
Answering = Callable[[Asked], Told | Awaitable[Told]]


class PlainServer:
    """See the module. ``answering`` may be replaced while it serves."""

    def __init__(self, answering: Answering, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.answering = answering
        self.monotonic = monotonic
        #: How many of each kind and status were answered.
        self.told: Counter[tuple[str, int]] = Counter()
        #: In the order in which they last did something.
        self.connections: dict[_Connection, None] = {}
        self._servers: list[asyncio.Server] = []
        self._turn: asyncio.TimerHandle | None = None

    async def start(self, socks: Iterable[socket.socket]) -> None:
        """Serves on bound sockets."""
        loop = asyncio.get_running_loop()
        for sock in socks:
            self._servers.append(await loop.create_server(lambda: _Connection(self), sock=sock))
        self._later(loop)

    @property
    def ports(self) -> Sequence[int]:
        return [each.sockets[0].getsockname()[1] for each in self._servers]

    async def stop(self) -> None:
        """Accepts nobody more, and ends everything."""
        for server in self._servers:
            server.close()
        if self._turn is not None:
            self._turn.cancel()
        for connection in list(self.connections):
            connection.end()
        # Their ends are told in the next turn of the loop.
        await asyncio.sleep(0)

    def sweep(self) -> None:
        """Ends who is too slow, at once: by now it is nobody who would read why."""
        now = self.monotonic()
        for connection in [each for each in self.connections if each.is_over(now)]:
            connection.end()

    def entered(self, connection: _Connection) -> None:
        if len(self.connections) >= MOST:
            next(iter(self.connections)).end()
        self.connections[connection] = None

    def moved(self, connection: _Connection) -> None:
        """It did something: the others make room first."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None

    def _later(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sweep()
        self._turn = loop.call_later(_TURN, self._later, loop)


class _Connection(asyncio.Protocol):
    """One client: its requests are answered one after the other, in their order."""

    def __init__(self, server: PlainServer) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast(Any, None)
        self._parser = httptools.HttpRequestParser(self)
        self._fields: dict[str, str] = {}
        self._url, self._body, self._head_size = b"", b"", 0
        self._waiting: list[tuple[Asked, bool]] = []
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Event | None = None
        self._refused = 0
        self._over = False
        # Whether a body is coming that the parser takes for another protocol.
        self._headless = False
        now = server.monotonic()
        # When it was opened or last answered; when the request that is coming began; when writing came to a
        # halt.
        self._rests_since: float = now
        self._begun_at: float | None = None
        self._stalled_at: float | None = None

    # -- asyncio's --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.entered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.pop(self, None)
        self._over = True
        if self._writable is not None:
            self._writable.set()
        if self._task is not None:
            self._task.cancel()
        self._parser = cast(Any, None)  # it refers to us, and we to it

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._server.moved(self)
        if self._begun_at is None:
            self._begun_at = self._server.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except (httptools.HttpParserError, ValueError):
            self._refuse(self._refused or 400)

    def eof_received(self) -> bool:
        # Who closed the way to us may still read: what was asked whole is answered.
        if self._task is None and not self._waiting:
            return False
        self._over = True
        return True

    def pause_writing(self) -> None:
        self._writable, self._stalled_at = asyncio.Event(), self._server.monotonic()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
        self._writable = self._stalled_at = None

    # -- the parser's --

    def on_message_begin(self) -> None:
        self._fields, self._url, self._body, self._head_size = {}, b"", b"", 0
        self._begun_at = self._server.monotonic()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._measure(len(url), 414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._measure(len(name) + len(value) + 4, 431)
        if len(self._fields) >= _FIELDS:
            self._too_much(431)
        self._fields[name.decode("latin-1").lower()] = value.strip(b" \t").decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._parser.get_http_version() == "1.1" and "host" not in self._fields:
            self._too_much(400)  # RFC 9112 section 3.2
        length = self._fields.get("content-length", "")
        if self._parser.get_method() == b"CONNECT":
            self._too_much(400)
        if length.isdigit() and int(length[:12]) > MOST_BODY:
            self._too_much(413)
        if self._fields.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if len(self._body) + len(body) > MOST_BODY:
            self._too_much(413)
        self._body += body

    def on_message_complete(self) -> None:
        upgrade = self._parser.should_upgrade()
        if upgrade and framing.FRAMES_BODY & {name.encode("latin-1") for name in self._fields}:
            self._headless = True  # llhttp takes it for the other protocol's; see `_stay`
            return
        method = self._parser.get_method().decode("ascii")
        asked = Asked(method, self._url.decode("latin-1"), self._fields, self._body)
        self._begun_at = None
        keep = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1" and not upgrade
        self._waiting.append((asked, keep))
        if len(self._waiting) >= _AHEAD:
            self._transport.pause_reading()
        if self._task is None:
            self._go_on()

    # -- within --

    def is_over(self, now: float) -> bool:
        if self._stalled_at is not None and now - self._stalled_at > _STALL:
            return True
        if self._begun_at is not None:
            return now - self._begun_at > _REQUEST
        return self._task is None and now - self._rests_since > _IDLE

    def end(self) -> None:
        self._server.connections.pop(self, None)
        self._transport.abort()

    def _stay(self, rest: bytes) -> None:
        """After a request with Upgrade (Java's HttpClient asks for HTTP/2): we stay with this protocol, and
        what follows is the request's body (RFC 9110 section 7.8)."""
        if not self._headless:
            return  # it had none, and is the last
        self._headless = False
        kept = (each for each in self._fields.items() if each[0].encode("latin-1") not in framing.UPGRADES)
        lines = "".join(f"{name}: {value}\r\n" for name, value in kept if name != "upgrade")
        head = b"%b %b HTTP/1.1\r\n%b" % (self._parser.get_method(), self._url, lines.encode("latin-1"))
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(head + b"Connection: close\r\n\r\n" + rest)

    def _measure(self, more: int, status: int) -> None:
        self._head_size += more
        if self._head_size > MOST_HEAD:
            self._too_much(status)

    def _too_much(self, status: int) -> None:
        self._refused = status
        raise ValueError("too much of it")

    def _refuse(self, status: int) -> None:
        """What is no request, or too much of one: said after what was asked before, and the last that is
        read."""
        self._over, self._begun_at = True, None
        self._transport.pause_reading()
        self._waiting.append((Asked("", "", {}, str(status).encode()), False))
        if self._task is None:
            self._go_on()

    def _go_on(self) -> None:
        """Answers what can be answered at once, and leaves the rest to a task."""
        while self._waiting and self._stalled_at is None:
            asked, keep = self._waiting[0]
            told = self._answer(asked)
            if not isinstance(told, Told) or not isinstance(told.body, bytes):
                self._task = asyncio.ensure_future(self._answer_later(told))
                return
            self._write(asked, told, keep)
        if self._waiting:
            self._task = asyncio.ensure_future(self._answer_later(None))

    def _answer(self, asked: Asked) -> Told | Awaitable[Told]:
        if not asked.method:
            return refusal(int(asked.body))
        return self._server.answering(asked)

    async def _answer_later(self, told: Told | Awaitable[Told] | None) -> None:
        if self._writable is not None:
            await self._writable.wait()
        if told is not None:
            found = told if isinstance(told, Told) else await told
            asked, keep = self._waiting[0]
            if isinstance(found.body, bytes):
                self._write(asked, found, keep)
            else:
                await self._write_file(asked, found, found.body, keep)
        self._task = None
        if not self._transport.is_closing():
            self._go_on()

    def _write(self, asked: Asked, told: Told, keep: bool) -> None:
        assert isinstance(told.body, bytes)
        head = told.head(int(time.time()), keep)
        self._transport.write(head if asked.method == "HEAD" else head + told.body)
        self._answered(told, keep)

    async def _write_file(self, asked: Asked, told: Told, file: BinaryIO, keep: bool) -> None:
        with file:
            self._transport.write(told.head(int(time.time()), keep))
            while asked.method != "HEAD" and (piece := file.read(_PIECE)):
                if self._writable is not None:
                    await self._writable.wait()
                if self._transport.is_closing():
                    return
                self._transport.write(piece)
                self._server.moved(self)
        self._answered(told, keep)

    def _answered(self, told: Told, keep: bool) -> None:
        self._server.told[told.kind, told.status] += 1
        self._waiting.pop(0)
        self._rests_since = self._server.monotonic()
        if not keep or (self._over and not self._waiting):
            self._over = True
            self._waiting.clear()
            self._transport.close()
        elif not self._over and len(self._waiting) == _AHEAD - 1:
            self._transport.resume_reading()


_WORDS: Mapping[int, str] = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {words}\r\nServer: sekisho\r\n".encode() for status, words in _WORDS.items()
}


def refusal(status: int, *fields: tuple[str, str]) -> Told:
    """A refusal in words; nobody is to keep it."""
    body = f"{status} {_WORDS[status]}\n".encode()
    kind = ("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")
    return Told(status, (*kind, *fields), body, kind="refused")
