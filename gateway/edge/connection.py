"""One TLS connection: a protocol for the socket below, the transport of the request handler above.

Bytes go socket -> memory BIO -> OpenSSL -> request handler and back. Every wait has an end: the
listener's sweep looks at `deadline` and calls `overdue`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast, final

from gateway.edge.addresses import peer_of, source
from gateway.edge.bios import RECORD, WIRE, Bios, bios
from gateway.edge.facts import Awaiting, ConnectionInfo, Limits
from gateway.edge.handshake import Handshake
from gateway.edge.proxyprotocol import NotProxied, parse
from gateway.edge.records import Records
from gateway.edge.tls import CloseNotify, TlsChannel, TlsError, failure_of, reason_of

# HTTP where TLS is spoken. No record begins with a capital letter (RFC 8446 B.1), nor a PROXY header so.
_SPOKEN_PLAINLY = re.compile(rb"[A-Z]{3,16} (?:[/*]|[A-Za-z0-9.\[\]:-]*:)")
_OPENING = 64
_WORDS = (
    "https:// で始まるアドレスを開いてください。 "
    "/ This port takes https only: write https:// in the address.\n"
).encode()
_USE_HTTPS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
) % (len(_WORDS), _WORDS)


class PlaintextHandler:
    """What a connection hands its plaintext to, and asks where it is: an `asyncio.Protocol` with more. A base
    instead of a protocol of typing's: mypyc then knows where each method is."""

    __slots__ = ("moves_to",)
    #: Set while the sites are being swapped: where the connection goes on after this request.
    moves_to: Callable[[], None] | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raise NotImplementedError

    def connection_lost(self, exc: BaseException | None) -> None:
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError

    def pause_writing(self) -> None:
        raise NotImplementedError

    def resume_writing(self) -> None:
        raise NotImplementedError

    def awaiting(self) -> Awaiting:
        """What it waits for, and so which limit runs."""
        raise NotImplementedError

    def rehome(self, info: ConnectionInfo) -> None:
        """Goes on under other facts: between two requests only."""
        raise NotImplementedError

    def close(self) -> None:
        """Makes the request that is being answered the last one."""
        raise NotImplementedError


class Port(Protocol):
    """Where a connection was accepted: the listener, as its connections see it."""

    limits: Limits

    @property
    def context(self) -> Any: ...
    def accept(self) -> Handshake: ...
    def is_proxy(self, address: str) -> bool: ...
    def admit(self, connection: TlsConnection, *, proxied: bool = False) -> bool: ...
    def readmit(self, connection: TlsConnection, source: bytes) -> bool: ...
    def release(self, connection: TlsConnection) -> None: ...
    def count(self, event: str) -> None: ...
    def settled(self, connection: TlsConnection, handshake: Handshake) -> bool: ...
    def note(self, reason: str, connection: TlsConnection, detail: str = "") -> None: ...
    def establish(
        self, connection: TlsConnection, handshake: Handshake, started: float
    ) -> tuple[ConnectionInfo, PlaintextHandler]: ...


@final
class TlsConnection:
    """See the module. Made by the listener for each accepted socket.

    An `asyncio.Protocol` and an `asyncio.Transport` in all but its bases, which would cost the class that
    mypyc makes of it.
    """

    __slots__ = (
        "_barren",
        "_bios",
        "_body",
        "_body_mark",
        "_closing",
        "_handshake",
        "_http",
        "_last",
        "_limits",
        "_listener",
        "_loop",
        "_opening",
        "_parting",
        "_phase",
        "_proxied",
        "_raw",
        "_raw_paused",
        "_read_paused",
        "_records",
        "_sent",
        "_sent_mark",
        "_settled",
        "_settling",
        "_started",
        "_tls",
        "_unread",
        "_write_paused",
        "address",
        "deadline",
        "info",
        "port",
        "source",
        "written",
    )

    def __init__(self, listener: Port, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._limits = listener.limits
        self._loop = loop
        self._raw: asyncio.Transport | None = None
        self._tls: TlsChannel | None = None
        self._bios: Bios | None = None
        self._handshake: Handshake | None = None
        self._http: PlaintextHandler | None = None
        self.info: ConnectionInfo | None = None
        # What came of a PROXY header; None where none is expected, or once it is read.
        self._proxied: bytearray | None = None
        self._closing = self._read_paused = self._raw_paused = self._write_paused = False
        # Whether the register is being asked about the peer, and whether it has answered.
        self._settling = self._settled = False
        # What the connection began with; whether it spoke HTTP without TLS, and has been told.
        self._opening, self._parting = b"", False
        self._phase: Awaiting | None = None
        self._records, self._unread = Records(), 0
        self._barren = self._body = self._body_mark = self._sent = self._sent_mark = 0
        self._started = self._last = self.deadline = 0.0
        self.address, self.port = "", 0
        self.source = b""  # whose connection it is, to the caps
        self.written = 0  # bytes that the request handler has written

    # --- the protocol of the socket below ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        peer = peer_of(transport.get_extra_info("peername"))
        if peer is None:
            # Reset before it was accepted, as a load balancer's check is: nobody to serve, judge or name.
            self._listener.count("peer.gone")
            self.abort()
            return
        self.address, self.port = peer
        self.source = source(self.address)
        self._started = self._last = self._loop.time()
        if self._listener.is_proxy(self.address):
            # Counted as its own until it has said for whom it speaks.
            self._proxied, self.source = bytearray(), b"proxy " + self.source
            self.deadline = self._started + self._limits.proxy_header
        if not self._listener.admit(self, proxied=self._proxied is not None):
            self.abort()
        elif self._proxied is None:
            self._begin()

    def data_received(self, data: bytes) -> None:
        if self._proxied is not None:
            data = self._after_proxy_header(data)
            if not data:
                return
        bios = self._bios
        if bios is None or (self._closing and self._http is None):
            return
        self._unread += self._records.ended_in(data)
        bios.put(data)
        self._barren += len(data)
        if self._http is None:
            self._opening = self._opening or data[:_OPENING]
            if self._barren > self._limits.handshake_bytes:
                self._fail("handshake.too-long")
                return
            if self._advance():
                self._read(flush=False)
            return
        self._read()

    def eof_received(self) -> bool:
        return False  # the socket is closed; a TLS half-close is not offered

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._listener.release(self)
        http, self._http = self._http, None
        if http is not None:
            http.connection_lost(exc)
        # It and the OpenSSL connection refer to each other: broken here, freed at once.
        if self._handshake is not None:
            self._handshake.over()
        self._tls = self._bios = self._handshake = None

    def pause_writing(self) -> None:
        self._write_paused = True
        self._sent_mark = self._drained()
        self.deadline = self._loop.time() + self._limits.stall
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._body_mark = self._body
        self.deadline = self._loop.time() + self._limits.stall
        if self._http is not None:
            self._http.resume_writing()

    # --- the transport of the request handler above ---

    def write(self, data: Any) -> None:
        bios = self._bios
        if bios is None or self._closing or not data:
            return
        try:
            if len(data) <= RECORD:
                bios.write(data if isinstance(data, bytes) else bytes(data))
                self._flush()
            else:
                self._write_long(bios, memoryview(data))
        except TlsError:
            self.abort()
            return
        self._last = self._loop.time()
        self.written += len(data)

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._tls is not None and self.info is not None:
            try:
                self._tls.shutdown()
                self._flush()
            except TlsError:
                pass
        self._finish()

    def abort(self) -> None:
        """Ends the connection now, whatever is running on it; nothing unsent is sent."""
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def move(self, info: ConnectionInfo) -> None:
        """Goes on under other facts: now, or after the request it is on.

        WebSockets stay where they are, to their own end.
        """
        if self._http is None or self._http.awaiting() is Awaiting.UPGRADED:
            return
        if self._http.awaiting() is Awaiting.HANDLER or self._http.awaiting() is Awaiting.BODY:
            self._http.moves_to = partial(self._move, info)
        else:
            self._move(info)

    def _move(self, info: ConnectionInfo) -> None:
        if self._http is not None and not self._closing:
            self.info = info
            self._http.rehome(info)

    def retire(self) -> None:
        """Ends the connection after the request it is on; WebSockets go on to their own end."""
        if self._http is None or self._http.awaiting() is Awaiting.REQUEST:
            self.close()
        elif self._http.awaiting() is not Awaiting.UPGRADED:
            self._http.close()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            if self._raw is not None and not self._closing and not self._raw_paused:
                self._raw_paused = True
                self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            if self._raw is not None and not self._closing:
                self._loop.call_soon(self._read)

    def is_reading(self) -> bool:
        return not self._read_paused and not self._closing

    def get_write_buffer_size(self) -> int:
        return 0 if self._raw is None else self._raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._raw is not None:
            self._raw.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self if self._http is None else self._http)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return (self.address, self.port)
        if name == "sslcontext":  # aiohttp: https, not http
            return self._listener.context
        if name == "sekisho.connection":
            return self.info
        if name == "sockname" and self._raw is not None:
            return self._raw.get_extra_info(name, default)
        return default  # `socket` as well: writing to it would pass by TLS

    # --- time ---

    def overdue(self, now: float) -> None:
        """Called once `deadline` has passed: ends the connection, or sets the next deadline."""
        if self._proxied is not None:
            self._fail("proxy-header.timeout")
        elif self._parting:
            self.abort()
        elif self._http is None:
            self._fail("handshake.timeout")
        elif self._closing or self._write_paused:
            drained = self._drained()
            self._demand(drained - self._sent_mark, now, "slow-reader")
            self._sent_mark = drained
        else:
            self._overdue_reading(now, self._http)

    def _overdue_reading(self, now: float, http: PlaintextHandler) -> None:
        awaiting = http.awaiting()
        if awaiting is not Awaiting.REQUEST and self._enters(awaiting, now):
            return  # it began without a byte from the client, as when it is told to go on
        if awaiting is Awaiting.HEAD:
            self._fail("head.timeout")
        elif awaiting is Awaiting.REQUEST and now - self._last >= self._limits.idle:
            self._listener.count("idle.timeout")
            self.close()
        elif awaiting is Awaiting.REQUEST:
            self.deadline = self._last + self._limits.idle
        elif awaiting is Awaiting.BODY and not self._read_paused:
            self._demand(self._body - self._body_mark, now, "slow-body")
        else:
            self.deadline = now + self._limits.stall
        self._body_mark = self._body

    def _demand(self, moved: int, now: float, fault: str) -> None:
        if moved < self._limits.stall_bytes:
            self._fail(fault)
        else:
            self.deadline = now + self._limits.stall

    def _drained(self) -> int:
        """Bytes on the wire that the kernel has taken from us."""
        return self._sent - self.get_write_buffer_size()

    # --- the middle ---

    def _begin(self) -> None:
        """From here on it is TLS, under the handshake's own limit."""
        self.deadline = self._loop.time() + self._limits.handshake
        self._handshake = self._listener.accept()
        self._tls = self._handshake.session
        self._bios = bios(self._tls)

    def _after_proxy_header(self, data: bytes) -> bytes:
        """What follows the PROXY header; nothing as long as it is not whole, or if it is none."""
        assert self._proxied is not None
        if self._closing:
            return b""
        self._proxied += data
        received = bytes(self._proxied)
        try:
            header = parse(received)
        except NotProxied as error:
            self._fail(f"proxy-header.{error}")
            return b""
        if header is None:
            return b""
        self._proxied = None
        if header.address is not None:
            self.address, self.port = header.address, header.port
        if not self._listener.readmit(self, source(self.address)):
            self.abort()
            return b""
        self._begin()
        return received[header.length :]

    def _advance(self) -> bool:
        """One step of the handshake; True once it is done."""
        handshake = self._handshake
        assert handshake is not None
        try:
            if not handshake.advance():
                self._flush()
                return False
        except Exception as error:  # TlsError, or whatever a callback raised: either way it dies here
            plainly = failure_of(error) == "plaintext" or _SPOKEN_PLAINLY.match(self._opening)
            word = "plaintext" if plainly else failure_of(error)
            self._listener.note(f"handshake.failed.{word}", self, reason_of(error))
            if plainly:
                self._say_https()
            else:
                self._finish()
            return False
        self._barren = 0
        if not self._settled:
            if self._settling:
                return False
            if not self._listener.settled(self, handshake):
                self._settling = True
                self._flush()
                if self._raw is not None and not self._raw_paused:
                    # Resumed when what has come by then is read.
                    self._raw_paused = True
                    self._raw.pause_reading()
                return False
        self.info, self._http = self._listener.establish(self, handshake, self._started)
        # It would keep the sites of this moment for the connection's life.
        handshake.over()
        self._handshake = None
        # Our Finished, or TLS 1.3's (useless) tickets: not held back for the first answer, because a
        # client with Nagle's algorithm holds its request back until something of ours acknowledges.
        self._flush()
        assert self._bios is not None
        self._bios.trim()
        now = self._loop.time()
        self._last, self.deadline = now, now + self._limits.idle
        self._http.connection_made(cast(asyncio.Transport, self))
        if self._write_paused:
            self._http.pause_writing()
        return True

    def go_on(self) -> None:
        """What the register says of the peer is at hand (`Port.settled`)."""
        self._settled = True
        if self._handshake is not None and not self._closing and self._advance():
            self._read(flush=False)

    def _read(self, flush: bool = True) -> None:
        """Hands on what OpenSSL can decrypt, until the handler above asks for a pause."""
        bios, http = self._bios, self._http
        if bios is None or http is None:
            return
        got = 0
        try:
            # To ask OpenSSL in vain costs an exception, a tenth of a small request.
            while self._unread and not self._read_paused and not self._closing:
                data = bios.read()
                if not data:
                    self._unread = 0  # some were TLS's own
                    break
                self._unread -= 1
                got += len(data)
                http.data_received(data)
        except CloseNotify:
            self.close()
            return
        except TlsError:
            self._finish()
            return
        if self._raw_paused and not self._read_paused and not self._closing and self._raw is not None:
            # Only now: what OpenSSL holds must be gone before there is more of it.
            self._raw_paused = False
            self._raw.resume_reading()
        self._account(http, got)
        if flush and not got:
            self._flush()  # what was read was TLS's own; its answers else go out with the next data

    def _account(self, http: PlaintextHandler, got: int) -> None:
        # Every record costs 22 bytes and more around its data. Whoever sends those without data
        # (KeyUpdate, warnings, empty records) makes us work for nothing.
        self._barren = max(0, self._barren - 32 * got)
        if self._barren > self._limits.barren_bytes:
            self._fail("barren")
            return
        if not got:
            return
        self._body += got
        now = self._last = self._loop.time()
        self._enters(http.awaiting(), now)

    def _enters(self, phase: Awaiting, now: float) -> bool:
        """Gives a phase its whole time when it begins; whether one did."""
        if phase is self._phase:
            return False
        self._phase = phase
        self._body_mark = self._body
        self.deadline = now + (self._limits.head if phase is Awaiting.HEAD else self._limits.stall)
        return True

    def _flush(self) -> None:
        """Sends what OpenSSL wants on the wire."""
        bios, raw = self._bios, self._raw
        if bios is None or raw is None:
            return
        while data := bios.take():
            raw.write(data)
            self._sent += len(data)
            if len(data) < WIRE:
                return

    def _write_long(self, bios: Bios, data: memoryview) -> None:
        # SSL_write takes at most one record a call (pyOpenSSL sets ENABLE_PARTIAL_WRITE).
        at = 0
        while at < len(data):
            end = min(at + WIRE, len(data))
            while at < end:
                at += bios.write(bytes(data[at : min(at + RECORD, end)]))
            self._flush()

    def _say_https(self) -> None:
        """Tells whoever spoke HTTP without TLS, in the one line that he can read, and hears no more."""
        self._closing = self._parting = True
        self.deadline = self._loop.time() + self._limits.lingering
        if self._raw is not None:
            self._raw.write(_USE_HTTPS)
            self._raw.write_eof()  # and then the end: bytes of his that are on the way would take it from him

    def _finish(self) -> None:
        """Closes once OpenSSL's last words (an alert, close_notify; none to plaintext) are sent."""
        self._flush()
        self._closing = True
        self._sent_mark = self._drained()
        self.deadline = self._loop.time() + self._limits.stall
        if self._raw is not None:
            self._raw.close()

    def _fail(self, reason: str) -> None:
        self._listener.note(reason, self)
        self.abort()
