"""One connection to an upstream: a request out, its answer in, strictly one after the other.

Parsed by llhttp in its strict mode. Anything odd (a byte that nobody asked for, two lengths, a second
answer) ends the connection for good, so that no other request is ever answered by it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast, final

import httptools

from gateway.proxy import heads, recalling
from gateway.wire.fields import RawHeaders
from gateway.wire.reply import WITHOUT_CONTENT
from gateway.wire.request import Fields

# Bytes of an answer held for a client that reads more slowly; then the upstream waits as well.
_HIGH = 262_144
_HEAD_BYTES = 65_536
_HEAD_FIELDS = 200
_INTERIM = 16


class UpstreamFault(Exception):
    """The upstream failed us. ``code``: a stable word; ``answered``: whether a byte of an answer came."""

    def __init__(self, code: str, *, answered: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.answered = answered


@final
class Head:
    """The head of an answer. ``length``: the bytes of body announced by Content-Length; None: chunked, or
    until the end of the connection."""

    __slots__ = ("fields", "length", "reason", "status")

    def __init__(self, status: int, reason: bytes, fields: Fields, length: int | None) -> None:
        self.status, self.reason, self.fields, self.length = status, reason, fields, length


@final
class UpstreamConnection:
    """See the module. Made by the pool; `reusable` says whether it may go back there.

    An `asyncio.Protocol` in all but its base, which would cost the class that mypyc makes of it.
    """

    __slots__ = (
        "_answered",
        "_bodiless",
        "_expecting",
        "_fed",
        "_fields",
        "_first",
        "_heads",
        "_keep",
        "_loop",
        "_memory",
        "_on_lost",
        "_parser",
        "_parts",
        "_paused",
        "_reason",
        "_size",
        "_status",
        "_trailers",
        "_transport",
        "_tunnel",
        "_until_close",
        "_wait_read",
        "_wait_write",
        "_write_paused",
        "complete",
        "deadline",
        "fault",
        "idle_since",
        "key",
        "notify",
        "upgraded",
        "used",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, key: int, on_lost: Callable[..., None]) -> None:
        self._loop, self.key, self._on_lost = loop, key, on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._memory = recalling.Memory()
        # The first bytes of an answer, while they are parsed and worth remembering.
        self._first = b""
        self._tunnel: Callable[[bytes], None] | None = None
        self._wait_read: asyncio.Future[None] | None = None
        self._wait_write: asyncio.Future[None] | None = None
        self._paused = self._write_paused = False
        self._heads: list[Head] = []
        self._parts: list[bytes] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._trailers: RawHeaders = ()
        self._reason = b""
        self._size = self._fed = self._status = 0
        self._keep = self._expecting = self._bodiless = self._answered = self._until_close = False
        self.complete = True
        self.upgraded: bytes | None = None
        #: Called instead of waking who waits, when something came or the connection failed.
        self.notify: Callable[[UpstreamConnection], None] | None = None
        self.fault: str | None = None
        self.used = 0
        #: Loop times: when the wait that is running ends; when the last exchange did.
        self.deadline = self.idle_since = float("inf")

    # --- for those who send a request ---

    @property
    def alive(self) -> bool:
        return self.fault is None and self._transport is not None

    @property
    def reusable(self) -> bool:
        """Whether the exchange is over and left nothing behind."""
        return self.alive and self.complete and self._keep and not self._expecting and self.upgraded is None

    def begin(self, data: bytes, *, bodiless: bool) -> None:
        """Sends a request head (and body). ``bodiless``: the answer has no body, as to HEAD."""
        self._keep = self._answered = self._until_close = False
        self.notify = None
        self.complete, self._expecting, self._bodiless = False, True, bodiless
        self._heads, self._parts, self._fields, self._trailers = [], [], [], ()
        self._size = self._fed = self._status = 0
        self.used += 1
        self.write(data)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Waits until the upstream takes more. Raises UpstreamFault."""
        while self._write_paused and self.fault is None:
            self._wait_write = self._loop.create_future()
            await self._wait_write
        if self.fault is not None:
            raise UpstreamFault(self.fault, answered=self._answered)

    async def head(self) -> Head:
        """The next head: interim ones first, as they come. Raises UpstreamFault."""
        while not self._heads or self.fault == "malformed":
            if self.fault is not None:
                raise UpstreamFault(self.fault, answered=self._answered)
            await self._more()
        return self._heads.pop(0)

    def whole(self) -> Head | None:
        """The head of an answer that is here to its end, with no interim one before it; else None."""
        if not self.complete or self.fault is not None or len(self._heads) != 1:
            return None
        head = self._heads[0]
        return self._heads.pop() if head.status >= 200 else None

    async def body(self) -> bytes:
        """What came of the body since the last call, at least one byte; b"" at its end. UpstreamFault."""
        while not self._parts:
            if self.complete:
                return b""
            if self.fault is not None:
                raise UpstreamFault(self.fault, answered=True)
            await self._more()
        return self.taken()

    def taken(self) -> bytes:
        """What came of the body since the last call; possibly nothing."""
        parts, self._parts, self._size = self._parts, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def trailers(self) -> RawHeaders:
        """The fields after a chunked body, once `complete`."""
        return self._trailers

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    def tunnel(self, receive: Callable[[bytes], None]) -> bytes:
        """From now on bytes go to ``receive`` unparsed; returns those that came after the 101."""
        self._tunnel = receive
        return self.upgraded or b""

    @property
    def writing_paused(self) -> bool:
        return self._write_paused

    async def ended(self, seconds: float) -> bool:
        """Waits for the end of the connection, so long at most; whether it came."""
        try:
            async with asyncio.timeout(seconds):
                while self.fault is None:
                    await self._more()
        except TimeoutError:
            return self.fault is not None
        return True

    def abort(self, fault: str = "ended") -> None:
        """Ends the connection now."""
        self._failed(fault)
        if self._transport is not None:
            self._transport.abort()

    # --- the protocol of the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel(data)
            return
        if not self._expecting:
            self.abort("unasked")  # bytes that answer no request must not answer the next one
            return
        if not self._answered and not self._bodiless:
            found = self._memory.recall(data)
            if found is not None:
                self._recalled(found)
                return
            self._first = data if self._memory.tried else b""
        self._answered = True
        # Counted before it is parsed: a field, or a chunk's extension, without an end is never shown to us.
        self._fed += len(data)
        if self._fed > _HEAD_BYTES + _HIGH:
            self.abort("malformed")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.upgraded = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            # RFC 9112 6.3 rule 1: an answer to HEAD, a 204 and a 304 end with their head. It is handed on;
            # what came behind it is nobody's.
            whole = self.complete and (self._bodiless or self._status in WITHOUT_CONTENT)
            self.abort("surplus" if whole else "malformed")
        self._first = b""
        self._arrived()

    def _arrived(self) -> None:
        if self._size > _HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self._transport = self._transport, None
        until_close = self._until_close and self._expecting and exc is None and self.fault is None
        if until_close and _said_so(transport):
            self._over()  # RFC 9112 6.3 rule 8
        if self._tunnel is not None and exc is None:
            self._failed("closed-cleanly")
        self._failed("cut" if self._answered else "closed")
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        waiter, self._wait_write = self._wait_write, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        if not self._expecting:
            raise ValueError("an answer that nobody asked for")

    def on_status(self, reason: bytes) -> None:
        self._reason += reason  # it may come in two pieces, and so may a value, with the space at its end

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value if value[-1:] > b" " else value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        status, version = parser.get_status_code(), parser.get_http_version()
        if version not in ("1.1", "1.0") or not 100 <= status <= 599:
            raise ValueError("no answer of HTTP/1.1")
        if len(self._heads) >= _INTERIM:
            raise ValueError("too many interim answers")
        raw, self._fields = self._fields, []
        if len(raw) > _HEAD_FIELDS or (self._fed > _HEAD_BYTES and _size(raw) > _HEAD_BYTES):
            raise ValueError("the head is too long")
        fields = heads.sorted_answer(raw)
        length, chunked = _framing(fields)
        self._heads.append(Head(status, heads.reason_of(status, self._reason), fields, length))
        if self._first and version == "1.1":
            recalling.learn(self._first, status, self._reason, raw)
        self._first, self._reason, self._status = b"", b"", status
        if status >= 200:
            self._until_close = length is None and not chunked
            announced = status in WITHOUT_CONTENT and (length or chunked)  # it may be on its way still
            self._keep = parser.should_keep_alive() and version == "1.1" and not announced
            if self._bodiless:
                # llhttp knows nothing of the request: it would wait for the body that HEAD leaves out.
                self._parser = httptools.HttpResponseParser(self)
                self._over()

    def on_body(self, data: bytes) -> None:
        if self._bodiless:
            raise ValueError("a body that must not be")
        self._parts.append(data)
        self._size += len(data)
        self._fed = 0

    def on_chunk_header(self) -> None:
        if self._bodiless:
            raise ValueError("a body that must not be")

    def on_message_complete(self) -> None:
        if self._status >= 200 and self._expecting:
            if len(self._fields) > _HEAD_FIELDS or _size(self._fields) > _HEAD_BYTES:
                raise ValueError("the trailer section is too long")
            self._trailers, self._fields = tuple(self._fields), []
            self._over()

    # --- within ---

    def _recalled(self, found: recalling.Recalled) -> None:
        """What the parser's callbacks make of a whole answer. The parser itself waits for the next one."""
        self._answered = self._keep = True
        self._status = found.status
        self._heads.append(Head(found.status, found.reason, found.fields, len(found.body)))
        if found.body:
            self._parts.append(found.body)
            self._size = len(found.body)
        self._over()
        self._arrived()

    def _over(self) -> None:
        self.complete, self._expecting = True, False

    def _failed(self, fault: str) -> None:
        if self.fault is None:
            self.fault = fault
        self.resume_writing()
        self._wake()

    async def _more(self) -> None:
        self._wait_read = self._loop.create_future()
        try:
            await self._wait_read
        finally:
            self._wait_read = None

    def _wake(self) -> None:
        notify, waiter = self.notify, self._wait_read
        if notify is not None:
            notify(self)
        elif waiter is not None and not waiter.done():
            waiter.set_result(None)


def _said_so(transport: asyncio.Transport | None) -> bool:
    """Whether the upstream itself ended the connection: over TLS by close_notify, since anybody can send a
    FIN (RFC 9112 9.8)."""
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        tls.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except (ssl.SSLError, OSError):
        return False
    return False


def _size(fields: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in fields)


def _framing(fields: Fields) -> tuple[int | None, bool]:
    """(Content-Length, chunked). llhttp refuses both together, and either of them twice."""
    codings = fields.noted.get(b"transfer-encoding")
    if codings is not None and [each.lower() for each in codings] != [b"chunked"]:
        raise ValueError("a transfer coding that is not ours to undo")
    lengths = fields.noted.get(b"content-length")
    return None if lengths is None else int(lengths[-1]), codings is not None
