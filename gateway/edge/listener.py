"""The one TLS port: accepts, chooses sites, judges.

What happens on a connection is in `connection`, who has one in `register`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Protocol, cast

from ca.clock import Clock
from ca.trust import (
    NO_CERTIFICATE,
    CertificateState,
    Presentation,
    Rejection,
    StatusLookup,
    VerifiedPeer,
    judge,
    recheck,
    rejected,
    said_of,
)
from gateway.edge.connection import PlaintextHandler, TlsConnection
from gateway.edge.contexts import build_entry
from gateway.edge.facts import ConnectionInfo, Limits, Observer, Unobserved, Verdict
from gateway.edge.handshake import Entry, Handshake, begin
from gateway.edge.headcount import Headcount, headcounts
from gateway.edge.register import Register
from gateway.edge.tls import ClientCertificate, Site, SiteTable

Network = IPv4Network | IPv6Network

_CACHED_VERDICTS = 4_096
_BACKLOG = 1_024


class Wire(Protocol):
    """Makes a handler for each connection, and keeps what answers for the sites."""

    async def set_up(self, sites: Iterable[Site], recheck: Callable[[VerifiedPeer], Verdict]) -> None:
        """Makes ready what answers for these sites; what is there already stays."""

    def begin(self, info: ConnectionInfo, limits: Limits) -> PlaintextHandler:
        """The handler of a connection whose handshake is done."""

    def retire(self, used: Iterable[Site]) -> None:
        """What answers for none of these ends once nobody is served by it."""

    def sweep(self) -> None:
        """Cleans up after those that are over. Called now and then."""

    async def stop(self) -> None:
        """Ends all of them; what runs still is cut off."""


class Listener:
    """A TLS port with its sites. `start` it once, `swap` its sites at any time, `stop` it once.

    `wire`: makes a handler for each connection.
    `status`: from a certificate's fingerprint to what the index says of it; asked on every request.
    `public_ports`: ports that may stand in Host besides the one bound, when something in front
    of us forwards them.
    `proxies`: the networks of load balancers; every connection from there begins with a PROXY header.
    `headcount`: this worker's of several; None: there is no other.
    `ask`: whether what `status` will say of a fingerprint is at hand; if not, its second argument is called
    once it is. None: it always is.
    """

    def __init__(
        self,
        sites: Iterable[Site],
        *,
        wire: Wire,
        clock: Clock,
        status: StatusLookup,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        public_ports: Iterable[int] = (443,),
        proxies: Iterable[Network] = (),
        observer: Observer = Unobserved(),  # noqa: B008 (keeps nothing)
        headcount: Headcount | None = None,
        ask: Callable[[str, Callable[[], None]], bool] | None = None,
    ) -> None:
        self._ask = ask
        self.limits = limits
        self._proxies = tuple(proxies)
        self._observer = observer
        self.entry: Entry = build_entry(SiteTable(sites))
        self.counts: Counter[str] = Counter()
        # A connection's name in the logs: unique across workers and restarts, told to nobody.
        self._nonce, self._numbers = secrets.token_hex(4), itertools.count(1)
        self._clock = clock
        self._status = status
        self._public_ports = frozenset(public_ports)
        self._ports: frozenset[int] = self._public_ports
        self._wire = wire
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._register = Register(limits, self.note, headcount or headcounts(1)[0])
        # Whether anybody was turned away because nobody could be asked about him.
        self._unasked = False
        self._verdicts: dict[tuple[Site, bytes | None], VerifiedPeer] = {}
        self._authorities: dict[str | None, frozenset[bytes]] = {}

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        socks: Sequence[socket.socket] = (),
    ) -> int:
        """Opens the port (0: a free one) or takes sockets that are bound. Returns the (first one's) port."""
        loop = asyncio.get_running_loop()
        await self._wire.set_up(self.entry.table.sites, self._recheck)
        factory = cast(Callable[[], asyncio.Protocol], partial(TlsConnection, self, loop))
        if socks:
            self._servers = [await loop.create_server(factory, sock=sock, backlog=_BACKLOG) for sock in socks]
        else:
            self._servers = [await loop.create_server(factory, host, port, backlog=_BACKLOG)]
        servers: list[Any] = list(self._servers)  # asyncio's have a tuple of sockets, uvloop's a list
        listening = [sock for server in servers for sock in server.sockets]
        for sock in listening:
            # Accepted sockets inherit it: a peer that vanished is noticed on idle WebSockets too.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bound: int = listening[0].getsockname()[1]
        self._ports = self._public_ports | {bound}
        self._authorities.clear()
        self._sweeper = loop.call_later(self.limits.tick, self._sweep, loop)
        return bound

    def close(self) -> None:
        """Takes no more connections: whoever comes is refused at once. `stop` does the rest."""
        for server in self._servers:
            server.close()

    async def stop(self) -> None:
        """Stops accepting, lets running requests finish within `limits.drain`, ends the rest."""
        self.close()
        for connection in [each for each in self._register.open if each.info is None]:
            connection.abort()
        for connection in list(self._register.open):
            connection.retire()
        await self._register.emptied(self.limits.drain)
        await self._wire.stop()
        for connection in list(self._register.open):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            await server.wait_closed()

    async def swap(
        self, sites: Iterable[Site], *, limits: Limits | None = None, proxies: Iterable[Network] | None = None
    ) -> None:
        """Other sites (and limits, and load balancers) from the next handshake on.

        Raises ConfigError and changes nothing if the new sites are not in order. An open connection
        goes on with its next request at the site that now has its name, if that site asks for the same
        proof and the peer is nobody less there. Otherwise it ends after the request it is on, so that an
        old policy does not live on; at once, if the peer it verified is nobody to the new site. A
        handler that no site uses any more is cleaned up once its last connection is gone.
        """
        entry = build_entry(SiteTable(sites))
        await self._wire.set_up(entry.table.sites, self._recheck)
        self.entry = entry
        self.limits = self._register.limits = limits or self.limits
        self._proxies = self._proxies if proxies is None else tuple(proxies)
        self._verdicts.clear()
        self._authorities.clear()
        for connection in list(self._register.open):
            self._outlive(connection)
        self._wire.retire(entry.table.sites)

    def revoke(self, fingerprint: str) -> int:
        """Ends every connection whose peer verified with this certificate; returns how many."""
        connections = self._register.of(fingerprint)
        for connection in connections:
            connection.abort()
        return len(connections)

    def distrust(self, issuer_der: bytes) -> int:
        """Ends every connection whose peer verified with a certificate of this issuing CA; returns how
        many."""
        found = [
            connection
            for connection in self._register.open
            if connection.info is not None
            and isinstance(connection.info.verdict, VerifiedPeer)
            and connection.info.verdict.issuer_der == issuer_der
        ]
        for connection in found:
            connection.abort()
        return len(found)

    def reconsider(self, fingerprint: str) -> None:
        """Ends connections that were refused with this certificate, after their answers: it is good now."""
        self._reconsider(lambda refused: refused.fingerprint == fingerprint)

    def trust(self) -> None:
        """The same of all that were refused because their issuing CA is trusted no more: one is again."""
        self._reconsider(lambda refused: refused.state is CertificateState.DISTRUSTED)

    def ask_again(self) -> None:
        """The same of all about whom nobody could be asked: one can by now."""
        if self._unasked:
            self._unasked = False
            self._reconsider(lambda refused: refused.state is CertificateState.UNASKED)

    def _reconsider(self, meant: Callable[[Rejection], bool]) -> None:
        for connection in tuple(self._register.open):
            verdict = connection.info.verdict if connection.info is not None else None
            if isinstance(verdict, Rejection) and meant(verdict):
                connection.retire()

    def connections(self) -> tuple[ConnectionInfo, ...]:
        """The facts of every connection whose handshake is done."""
        return tuple(each.info for each in self._register.open if each.info is not None)

    def count(self, event: str) -> None:
        """Counts one event for the metrics."""
        self.counts[event] += 1

    @property
    def accepting(self) -> bool:
        """Whether new connections are taken."""
        return bool(self._servers) and all(server.is_serving() for server in self._servers)

    @property
    def open_connections(self) -> int:
        """How many connections there are, unfinished handshakes included."""
        return len(self._register.open)

    # --- called by connections ---

    @property
    def context(self) -> Any:
        """The TLS context that a handshake begins in."""
        return self.entry.context

    def accept(self) -> Handshake:
        """The handshake of a new connection, under the sites of now."""
        return begin(self.entry)

    def is_proxy(self, address: str) -> bool:
        """Whether this address is one of a load balancer that speaks the PROXY protocol."""
        if not self._proxies or not address:
            return False
        found = ip_address(address.partition("%")[0])
        return any(found in network for network in self._proxies)

    def note(self, reason: str, connection: TlsConnection, detail: str = "") -> None:
        """Counts why a connection ended, and tells it to the log."""
        self.count(reason)
        self._observer.refused(reason, connection.address, connection.port, detail)

    def admit(self, connection: TlsConnection, *, proxied: bool = False) -> bool:
        """Enters a new connection, or says no. ``proxied``: it will tell for whom it speaks."""
        return self._register.admit(connection, proxied=proxied)

    def readmit(self, connection: TlsConnection, source: bytes) -> bool:
        """Enters a connection under the address that its PROXY header tells, or says no."""
        return self._register.readmit(connection, source)

    def release(self, connection: TlsConnection) -> None:
        """Strikes a connection off the register."""
        self._register.release(connection)

    def settled(self, connection: TlsConnection, handshake: Handshake) -> bool:
        """Whether what the register says of whoever has finished a handshake is at hand. If not, the
        connection goes on once it is."""
        site = None if self._ask is None else self._site_now(handshake)
        if self._ask is None or site is None or site.client_certificate is ClientCertificate.NONE:
            return True
        leaf = handshake.leaf()
        return leaf is None or self._ask(hashlib.sha256(leaf).hexdigest(), connection.go_on)

    def establish(
        self, connection: TlsConnection, handshake: Handshake, started: float
    ) -> tuple[ConnectionInfo, PlaintextHandler]:
        """The facts of a finished handshake and the request handler for its site."""
        loop = asyncio.get_running_loop()
        at = self._clock.seconds()
        site = self._site_now(handshake)
        presented, verdict = NO_CERTIFICATE, None
        if site is not None and site.client_certificate is not ClientCertificate.NONE:
            assert site.anchors is not None
            presented = handshake.presentation()
            verdict = self._judge(presented, site, at)
            self._unasked |= isinstance(verdict, Rejection) and verdict.state is CertificateState.UNASKED
        version, cipher, group, alpn = handshake.agreed()
        info = ConnectionInfo(
            id=f"{self._nonce}-{next(self._numbers):x}",
            site=site,
            server_name=handshake.server_name,
            authorities=self._authorities_of(handshake.server_name),
            presentation=presented,
            verdict=verdict,
            peer_address=connection.address,
            peer_port=connection.port,
            tls_version=version,
            cipher=cipher,
            group=group,
            alpn=alpn,
            handshake_ms=(loop.time() - started) * 1000,
            abort=connection.abort,
            count=self.count,
            observer=self._observer,
            ask=self._asks(verdict),
        )
        handler = self._wire.begin(info, self.limits)
        self.count("handshake.done")
        self._observer.connected(info)
        self._register.established(connection, verdict)
        return info, handler

    # --- within ---

    def _judge(self, presented: Presentation, site: Site, at: int) -> VerifiedPeer | Rejection:
        """The judgement of a presentation, dearly bought by parsing and a signature check.

        Only what cannot change is remembered, and only of a handshake without any error: time and
        revocation are looked at again, each time (V26).
        """
        assert site.anchors is not None
        clean = presented.verified and not presented.errors
        known = self._verdicts.get((site, presented.leaf)) if clean else None
        if known is not None:
            return self._recheck(known)
        verdict = judge(presented, site.anchors, self._status, at)
        if clean and isinstance(verdict, VerifiedPeer):
            if len(self._verdicts) >= _CACHED_VERDICTS:
                self._verdicts.clear()
            self._verdicts[site, presented.leaf] = verdict
        return verdict

    def _site_now(self, handshake: Handshake) -> Site | None:
        """The site of a handshake, which may have begun before a swap and end after it.

        None, and so 421 to every request, if the site that has its name now asks for another proof:
        clients take that as a word to come again on a new connection (RFC 9110 15.5.20).
        """
        site = handshake.site
        if site is None or site in self.entry.by_site:
            return site
        now = self.entry.table.lookup(handshake.server_name or "")
        return now if now is not None and now.client_certificate is site.client_certificate else None

    def _outlive(self, connection: TlsConnection) -> None:
        """What becomes of a connection when the sites have been swapped."""
        info = connection.info
        if info is None or info.site is None or info.site in self.entry.by_site:
            return
        site = self.entry.table.lookup(info.server_name or "")
        same = site is not None and site.client_certificate is info.site.client_certificate
        verdict = info.verdict
        if site is not None and site.anchors is not None and verdict is not None:
            # What the register says is asked again with the next request; who is revoked is cut off.
            verdict = judge(info.presentation, site.anchors, said_of(verdict), self._clock.seconds())
        if isinstance(info.verdict, VerifiedPeer) and not isinstance(verdict, VerifiedPeer):
            if site is not None and site.anchors is not None:
                self.count("reload.no-longer-trusted")
                connection.abort()
                return
            same = False
        # Somebody who is more now than at the handshake is in no register: he comes again.
        if (
            site is None
            or not same
            or isinstance(verdict, VerifiedPeer) != isinstance(info.verdict, VerifiedPeer)
        ):
            connection.retire()
            return
        hosts = self._authorities_of(info.server_name)
        asks = self._asks(verdict)
        connection.move(replace(info, site=site, verdict=verdict, authorities=hosts, ask=asks))

    def _recheck(self, verified: VerifiedPeer) -> Verdict:
        state = recheck(verified, self._status, self._clock.seconds())
        return verified if state is CertificateState.VALID else rejected(verified, state)

    def _asks(self, verdict: Verdict | None) -> Callable[[Callable[[], None]], bool] | None:
        """What asks the register before each request of a peer."""
        if self._ask is None or not isinstance(verdict, VerifiedPeer):
            return None
        return partial(self._ask, verdict.fingerprint)

    def _authorities_of(self, server_name: str | None) -> frozenset[bytes]:
        known = self._authorities.get(server_name)
        if known is None:
            if len(self._authorities) >= _CACHED_VERDICTS:
                self._authorities.clear()
            known = self._authorities[server_name] = authorities(server_name, self._ports)
        return known

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = loop.call_later(self.limits.tick, self._sweep, loop)
        now = loop.time()
        for connection in [each for each in self._register.open if each.deadline <= now]:
            connection.overdue(now)
        at = self._clock.seconds()
        for fingerprint in self._register.ended(at):
            self.counts["expired"] += self.revoke(fingerprint)
        self._wire.sweep()


def authorities(server_name: str | None, ports: Iterable[int]) -> frozenset[bytes]:
    """The Host values that name a site: bare, or with one of the ports the site is reached by."""
    if server_name is None:
        return frozenset()
    name = server_name.encode("ascii")
    return frozenset((name, *(b"%s:%d" % (name, port) for port in ports)))
