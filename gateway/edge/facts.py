"""What the storeys of the gateway tell each other about a connection, as values and protocols.

Nothing here does anything: who reads the socket, who reads HTTP and who keeps the log meet in these names,
and so import none of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from ca.trust import Presentation, Rejection, VerifiedPeer
from gateway.edge.served import Served
from gateway.edge.tls import Site

#: Who presented a certificate, and what is thought of it.
Verdict = VerifiedPeer | Rejection


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may take of us. Seconds, bytes or counts; each default says why.

    The clocks of TLS and HTTP are separate, so that a slow client is closed in the phase it is slow in.
    """

    proxy_header: float = 3.0  # a load balancer sends it with its first packet
    handshake: float = 10.0  # a phone on a bad line needs two round trips; a human picks no certificate here
    head: float = 15.0  # from the first byte of a request to the end of its header
    idle: float = 75.0  # between requests; as nginx
    stall: float = 20.0  # a window in which a body, or a response being sent, has to move `stall_bytes`
    stall_bytes: int = 2_048  # about 100 bytes a second: slower than any line people use
    lingering: float = 5.0  # reading on after an early answer, so that the client gets to see it
    drain: float = 10.0  # for running requests when the listener stops
    tick: float = 0.5  # how often limits and expiries are looked at
    handshake_bytes: int = 262_144  # a 16 KB ClientHello in one-byte records, or a chain of 100 KB
    barren_bytes: int = 65_536  # records without data: KeyUpdate, warnings, empty records
    line_bytes: int = 8_190
    headers: int = 100
    connections: int = 10_000
    connections_per_address: int = 2_000  # 200 browsers of one company; nobody alone takes every place
    connections_per_certificate: int = 200  # a person has a browser or two, six connections a host
    handshakes_per_address: int = 100  # unfinished ones; a company behind one address finishes each in ms


class Awaiting(Enum):
    """What a connection is waiting for, and so which of the limits is running."""

    REQUEST = "request"
    HEAD = "head"
    BODY = "body"
    HANDLER = "handler"
    UPGRADED = "upgraded"


class Observer(Protocol):
    """Whoever keeps the logs and the figures. Called on the way: it has to be quick and must not raise."""

    def connected(self, info: ConnectionInfo) -> None:
        """A handshake is done."""

    def served(self, info: ConnectionInfo, served: Served) -> None:
        """A request is answered."""

    def refused(self, reason: str, address: str, port: int, detail: str) -> None:
        """A connection ended because of its peer: a stable word, and what OpenSSL said."""


class Unobserved:
    """Keeps nothing."""

    def connected(self, info: ConnectionInfo) -> None:
        return

    def served(self, info: ConnectionInfo, served: Served) -> None:
        return

    def refused(self, reason: str, address: str, port: int, detail: str) -> None:
        return


@dataclass(frozen=True, slots=True, eq=False)
class ConnectionInfo:
    """The facts about one connection, fixed when its handshake finished.

    `site` is the object the SNI chose (None: no site, every request gets 421) and stays the policy
    of this connection whatever is reloaded. `verdict` is the judgement at the handshake (None on a
    NONE site); a request's own is `gateway.wire.http.peer(request)`.
    """

    id: str
    site: Site | None
    server_name: str | None
    authorities: frozenset[bytes]
    presentation: Presentation
    verdict: Verdict | None
    peer_address: str
    peer_port: int
    tls_version: str
    cipher: str
    group: str | None
    alpn: str
    handshake_ms: float
    abort: Callable[[], None] = field(repr=False)
    count: Callable[[str], None] = field(repr=False)
    observer: Observer = field(repr=False)
    #: Before each request of whom the register is asked: whether its answer is at hand; if not, what is given
    #: is called once it is. None: it always is.
    ask: Callable[[Callable[[], None]], bool] | None = field(default=None, repr=False)
