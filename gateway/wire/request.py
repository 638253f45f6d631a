"""One request of a client as its `front` parsed it, and its body as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, final

from gateway.edge.connection import PlaintextHandler, TlsConnection
from gateway.edge.facts import ConnectionInfo, Verdict
from gateway.wire.cookies import ABSENT, Reading
from gateway.wire.fields import RawHeaders
from gateway.wire.framing import Noted


@final
class Fields:
    """The fields of a head, looked at once.

    ``lines``: what goes on, as it came. ``noted``: the values of what means something to the gate, by the
    name in lower case; some of these go on as well. ``cookie``: what it says of the site's session cookie.
    """

    __slots__ = ("cookie", "lines", "noted")

    def __init__(self, lines: list[bytes], noted: Noted, cookie: Reading = ABSENT) -> None:
        self.lines, self.noted, self.cookie = lines, noted, cookie


class Client(PlaintextHandler):
    """Whoever a request came from, as the relay sees it: the front of its connection."""

    __slots__ = ("info", "last", "on_lost", "transport", "writing_paused")
    info: ConnectionInfo
    #: None once the client is gone.
    transport: TlsConnection | None
    #: Who wants to know at once that the client left.
    on_lost: Callable[[], object] | None
    writing_paused: bool
    #: Whether the request that is being answered is the last one, whatever its head said.
    last: bool

    def write(self, data: bytes) -> None:
        """Writes to the client. Raises ConnectionResetError if it is gone."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Waits until the client takes more. Raises ConnectionResetError if it is gone."""
        raise NotImplementedError

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Goes on with a request in a task. Whatever it fails with ends the connection."""
        raise NotImplementedError

    def flow(self) -> None:
        """Lets the client send, or wait until what it sent has been taken."""
        raise NotImplementedError

    def forwarded(self, host: bytes) -> bytes:
        """The lines that say where this connection's requests come from."""
        raise NotImplementedError

    def answered(self, request: Request, status: int, keep: bool, *, cut: bool = False) -> None:
        """The answer is written, all of it unless ``cut``. ``keep``: the connection may go on, as its head
        said."""
        raise NotImplementedError

    def decline(self, request: Request, why: Exception | None = None) -> None:
        """Leaves the answer to the site's own pages, which are told why."""
        raise NotImplementedError

    def tunnel(self, receive: Callable[[bytes], None]) -> bytes:
        """From now on bytes go to ``receive`` unparsed; returns those that came before."""
        raise NotImplementedError


class BodyCut(Exception):
    """The body ended before its end: malformed, or the client is gone."""


class Request:
    """One request as it was parsed.

    ``headers``: raw fields in order. ``verdict``: who presented a certificate, judged for this request.
    ``subject``: whose session it belongs to, set by whoever finds it. ``began``: loop time of its head.
    """

    __slots__ = (
        "_parts",
        "_wait",
        "began",
        "broken",
        "complete",
        "fields",
        "front",
        "headers",
        "held_back",
        "keep_alive",
        "method",
        "size",
        "subject",
        "target",
        "trailers",
        "upgrade",
        "verdict",
        "version",
    )

    def __init__(
        self, front: Client, method: str, target: str, version: str, headers: RawHeaders, *, upgrade: bool
    ) -> None:
        self.front, self.method, self.target, self.version, self.headers = (
            front, method, target, version, headers,
        )  # fmt: skip
        self.upgrade, self.keep_alive = upgrade, True
        self.began = 0.0
        #: The same as the relay looks at them; set by it.
        self.fields: Fields | None = None
        self.verdict: Verdict | None = None
        self.subject: str | None = None
        self.trailers: RawHeaders = ()
        #: Whether all of its body has come, or never will; bytes of it that nobody has taken yet.
        self.complete, self.broken, self.size = False, False, 0
        #: Whether the client may be waiting for a 100 before it sends its body.
        self.held_back = False
        self._parts: list[bytes] = []
        self._wait: asyncio.Future[None] | None = None

    async def more(self) -> bytes:
        """What came of the body since the last call, at least one byte; b"" at its end. BodyCut."""
        while not self._parts:
            if self.broken:
                raise BodyCut
            if self.complete:
                return b""
            self._wait = asyncio.get_running_loop().create_future()
            try:
                await self._wait
            finally:
                self._wait = None
        return self.taken()

    def taken(self) -> bytes:
        """What came of the body since the last call; possibly nothing."""
        if not self._parts:
            return b""
        parts, self._parts, self.size = self._parts, [], 0
        self.front.flow()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # --- for the front ---

    def feed(self, data: bytes) -> None:
        self.held_back = False
        self._parts.append(data)
        self.size += len(data)
        self._wake()

    def end(self) -> None:
        self.complete = True
        self._wake()

    def cut(self) -> None:
        if not self.complete:
            self.broken = True
            self._wake()

    def _wake(self) -> None:
        if self._wait is not None and not self._wait.done():
            self._wait.set_result(None)


class Forwarder(Protocol):
    """Who takes the requests that are not for the site's own pages."""

    def claims(self, target: str) -> bool:
        """Whether a request is the upstream's by its target."""

    def begin(self, request: Request) -> None:
        """Answers it, now or later: by the front's `answered` or `decline`."""
