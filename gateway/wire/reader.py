"""What one client sends, as requests: read by llhttp in its strict mode, they wait here for their turn.

Where one request ends and the next begins is decided here and nowhere else; what a byte means at which moment
stands in `wire/turns.py`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, NamedTuple, cast

import httptools

from gateway.edge.facts import Limits
from gateway.wire import framing, oversize, rules
from gateway.wire.request import Client, Request
from gateway.wire.turns import HEARD, Effect, Heard, Reading

# A head of the largest fields that are allowed, all of them, is nobody's; browsers stop at far less.
_HEAD_BYTES = 65_536
# Requests that are parsed before their turn; more of them wait as the bytes they came as, a twentieth of the
# size. Parsed in pieces no longer than this, so that one record does not hold a thousand of them.
_AHEAD = 16
_PIECE = 2_048
# The request line of a plain read. In such a target there is nothing for the gate to refuse.
_READ = re.compile(rb"(GET|HEAD) ((?=/)%b) HTTP/1\.1" % rules.PLAIN_TARGET.encode())
# By event: state -> next state and effects. Bound here, as every request passes.
_BYTES: Final = HEARD[Heard.BYTES]
_BEGIN: Final = HEARD[Heard.BEGIN]
_HEAD_END: Final = HEARD[Heard.HEAD_END]
_END: Final = HEARD[Heard.END]
_END_LAST: Final = HEARD[Heard.END_LAST]
_BODY: Final = Reading.BODY
_LATE: Final = Reading.LATE
_PASSING: Final = Reading.PASSING
_FOREIGN: Final = Reading.FOREIGN
_OVER: Final = Reading.OVER
_TORN: Final = Reading.TORN


class Unread(NamedTuple):
    """What was no request, or too much of one: the status of its answer, and what is known of it."""

    status: int
    method: str = "UNKNOWN"
    target: str = "/"


class Reader:
    """See the module. One for each connection, between its `Front` and the parser."""

    __slots__ = (
        "_client",
        "_excess",
        "_fed",
        "_fields",
        "_known",
        "_limits",
        "_loop",
        "_parser",
        "_size",
        "_unparsed",
        "_url",
        "held",
        "queue",
        "receiving",
        "state",
    )

    def __init__(self, client: Client, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        # None once it is gone.
        self._client: Client | None = client
        self._limits, self._loop = limits, loop
        self._parser = httptools.HttpRequestParser(self)
        self.state = Reading.REST
        #: Read and not begun; and the one whose body is still coming.
        # A list, of `_AHEAD` at most: an empty deque takes half a kibibyte of each idle connection.
        self.queue: list[Request | Unread] = []
        self.receiving: Request | None = None
        #: Bytes of another protocol that nobody has taken yet.
        self.held = b""
        self._unparsed = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._url = b""
        # Bytes of the head's fields, and of what was fed since the parser last showed anything.
        self._size = self._fed = 0
        # The status of a head that is too large, as soon as that is known.
        self._excess = 0
        # The header of the last request, if that was a plain read, and what it was parsed to.
        self._known: tuple[bytes, Request] | None = None

    def recall(self, data: bytes) -> bool:
        """Between two requests: whether this is a plain read with the very header of the last one, which says
        the same. It is in the queue then."""
        if self._known is None:
            return False
        line, _, header = data.partition(b"\r\n")
        if header != self._known[0] or len(line) > self._limits.line_bytes:
            return False
        read = _READ.fullmatch(line)
        if read is None:
            return False
        known, client = self._known[1], self._client
        assert client is not None
        method, target = read.groups()
        request = Request(
            client, method.decode("ascii"), target.decode("ascii"), "1.1", known.headers, upgrade=False
        )
        request.began, request.complete, request.fields = self._loop.time(), True, known.fields
        self.queue.append(request)
        return True

    def learn(self, data: bytes) -> None:
        """Remembers the header of a plain read that came alone and whole: most clients send it again."""
        line, _, header = data.partition(b"\r\n")
        request = self.queue[0]
        self._known = None
        if not isinstance(request, Request) or not request.keep_alive or request.upgrade:
            return
        if _READ.fullmatch(line) and not framing.announces_body(request.headers):
            self._known = header, request

    def forget(self) -> None:
        """What was learnt is not so any more."""
        self._known = None

    def read(self, data: bytes) -> None:
        """Parses until enough requests wait for their turn, and keeps what is left."""
        if self.state is _FOREIGN:
            self.held += data
        elif self._unparsed:
            self._unparsed += data
        else:
            self._parse(data)

    def read_on(self) -> None:
        """Reads what waited as bytes, now that nothing else waits."""
        if self._unparsed and not self.queue:
            left, self._unparsed = self._unparsed, b""
            self._parse(left)

    def stop(self) -> tuple[Effect, ...]:
        """Reads nothing more: the last answer is written. Returns what becomes of the connection."""
        effects = self._hear(Heard.STOP)
        self.queue.clear()
        self._unparsed = b""
        if self.receiving is not None:
            self.receiving.taken()
        return effects

    def lost(self) -> None:
        """The client is gone."""
        self._do(self._hear(Heard.LOST))
        self.queue.clear()
        self._unparsed = b""
        # The parser and we refer to each other, and so do we, the front and the last request: freed at once.
        self._parser, self._known, self._client = cast(Any, None), None, None

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        if self.state is _OVER:
            raise ValueError("nothing was to follow")
        self.state, _ = _BEGIN[self.state]
        self._fields, self._url, self._size = [], b"", 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.line_bytes:
            self._excess = 414
            raise ValueError("the target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        too_many = len(self._fields) >= self._limits.headers
        if too_many or len(name) + len(value) > self._limits.line_bytes or self._size > _HEAD_BYTES:
            if self.receiving is not None or self._size > _HEAD_BYTES:
                self._excess = 431
                raise ValueError("the header, or the trailer section, is too long")
            self._excess = 431  # read to its end: what is asked, and by whose page, decides the answer
            return
        # A value that came in two pieces has the space at its end still.
        self._fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        if self.state is _LATE:
            self._fields = []
            return
        if self._excess:
            raise ValueError("the header is too long")
        parser, client, fields = self._parser, self._client, tuple(self._fields)
        assert client is not None
        request = Request(
            client,
            parser.get_method().decode("ascii"),
            self._url.decode("ascii"),
            parser.get_http_version(),
            fields,
            upgrade=parser.should_upgrade(),
        )
        request.keep_alive = parser.should_keep_alive()
        request.began = self._loop.time()
        self._fields, self._size, self._fed, self._url = [], 0, 0, b""
        self.state, _ = _HEAD_END[self.state]
        self.receiving = request
        self.queue.append(request)

    def on_body(self, data: bytes) -> None:
        self._fed = 0
        if self.receiving is not None and self.state is not _PASSING:
            self.receiving.feed(data)

    def on_message_complete(self) -> None:
        request = self.receiving
        if request is None:
            return
        if self.state is _BODY and request.upgrade and framing.announces_body(request.headers):
            return  # llhttp takes it for the other protocol's; see `_switched`
        request.trailers = tuple(self._fields)
        request.end()
        self.receiving, self._fed = None, 0
        self.state, effects = (_END if request.keep_alive else _END_LAST)[self.state]
        if effects:
            self._do(effects)

    # --- within ---

    def _hear(self, event: Heard) -> tuple[Effect, ...]:
        self.state, effects = HEARD[event][self.state]
        return effects

    def _do(self, effects: tuple[Effect, ...]) -> None:
        client = self._client
        for effect in effects:
            if effect is Effect.CUT:
                broken, self.receiving = self.receiving, None
                assert broken is not None
                broken.cut()
            elif effect is Effect.REJECT:
                assert client is not None
                client.info.count("refused.too-large" if self._excess else "refused.parser")
                self.queue.append(self._unread())
            elif client is not None and client.transport is not None:
                client.transport.close()  # CLOSE: all of a body that nobody wanted has come

    def _parse(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            piece = data[at:]
            if self.receiving is None:
                if self.state is _OVER or self.state is _TORN:
                    return
                if len(self.queue) >= _AHEAD:
                    self._unparsed = piece
                    return
                self.state, _ = _BYTES[self.state]
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
                self._switched(piece[upgrade.args[0] :] + data[at:])
                return
            except httptools.HttpParserError:
                self._malformed()
                return

    def _malformed(self) -> None:
        """What was sent is no request: answered when those before it are, and nothing after it is read."""
        large = self._excess != 0 or self._fed > _HEAD_BYTES
        self._do(self._hear(Heard.TOO_LARGE if large else Heard.MALFORMED))

    def _switched(self, rest: bytes) -> None:
        """After a request with Upgrade (or CONNECT): what follows is the other protocol's, or its body."""
        request = self.receiving
        if Effect.UNSWITCH not in self._hear(Heard.SWITCH):
            self.held = rest
            return
        assert request is not None
        # RFC 9110 7.8: a body comes before the switch, and there will be none.
        self._parser = httptools.HttpRequestParser(self)
        request.keep_alive = False
        lines = framing.lines_of(request.headers, framing.FRAMES_BODY.__contains__)
        try:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n%s" % (lines, rest))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._malformed()

    def _unread(self) -> Unread:
        if not self._excess or not self._url:
            return Unread(self._excess or 400)
        method, target = self._parser.get_method().decode("ascii"), self._url.decode("latin-1")
        if self._excess == 431 and oversize.asks_to_clear(method, target, self._fields):
            return Unread(200, method, target)
        return Unread(self._excess, method, target[: self._limits.line_bytes])
