"""The register of open connections: whose they are, on which certificate, and how many one may hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from ca.trust import VerifiedPeer
from gateway.edge.connection import TlsConnection
from gateway.edge.facts import Limits, Verdict
from gateway.edge.headcount import Headcount

# Kinds of guests that are counted.
_HANDSHAKE, _CONNECTION, _CERTIFICATE = b"handshake ", b"connection ", b"certificate "


class Register:
    """A listener's. ``note``: told why a connection is turned away. ``headcount``: this worker's of several.

    `limits` are those of now: a reload brings others.
    """

    def __init__(
        self, limits: Limits, note: Callable[[str, TlsConnection], None], headcount: Headcount
    ) -> None:
        self.limits = limits
        #: Every connection there is, unfinished handshakes included.
        self.open: set[TlsConnection] = set()
        self._note = note
        self._headcount = headcount
        self._departed = asyncio.Event()
        # By fingerprint: when it ends, with its issuer, and who stands on it.
        self._by_certificate: dict[str, tuple[int, set[TlsConnection]]] = {}

    def admit(self, connection: TlsConnection, *, proxied: bool = False) -> bool:
        """Enters a new connection, or says no: too many in all, from its address, or unfinished from there.

        A load balancer's own address has no such limit: whom it speaks for is looked at by `readmit`.
        """
        self.open.add(connection)
        handshakes, connections = self._arrive(connection.source)
        if len(self.open) > self.limits.connections:
            self._note("refused.connections", connection)
            return False
        return proxied or self._few(connection, handshakes, connections)

    def readmit(self, connection: TlsConnection, source: bytes) -> bool:
        """Enters a connection under the address that its PROXY header tells."""
        self._headcount.leave(_HANDSHAKE + connection.source)
        self._headcount.leave(_CONNECTION + connection.source)
        connection.source = source
        handshakes, connections = self._arrive(source)
        return self._few(connection, handshakes, connections)

    def established(self, connection: TlsConnection, verdict: Verdict | None) -> None:
        """Its handshake is done. Last, when nothing can fail any more: `release` strikes off what the facts
        say is entered."""
        if isinstance(verdict, VerifiedPeer):
            self._stand_on(verdict, connection)
        self._headcount.leave(_HANDSHAKE + connection.source)

    def release(self, connection: TlsConnection) -> None:
        """Strikes a connection off."""
        if connection not in self.open:
            return  # it was gone before it was entered
        self.open.discard(connection)
        self._departed.set()
        self._headcount.leave(_CONNECTION + connection.source)
        info = connection.info
        if info is None:
            self._headcount.leave(_HANDSHAKE + connection.source)
        elif isinstance(info.verdict, VerifiedPeer):
            self._strike_off(info.verdict.fingerprint, connection)

    def of(self, fingerprint: str) -> tuple[TlsConnection, ...]:
        """Those whose peer verified with this certificate."""
        found = self._by_certificate.get(fingerprint)
        return () if found is None else tuple(found[1])

    def ended(self, at: int) -> list[str]:
        """The certificates that somebody stands on and that have ended."""
        return [each for each, (ends_at, _) in self._by_certificate.items() if ends_at < at]

    async def emptied(self, seconds: float) -> None:
        """Waits until every connection has ended, so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.open:
                    self._departed.clear()
                    await self._departed.wait()

    # --- within ---

    def _arrive(self, source: bytes) -> tuple[int, int]:
        """Counts one more; returns how many handshakes and connections its address has now."""
        return self._headcount.enter(_HANDSHAKE + source), self._headcount.enter(_CONNECTION + source)

    def _few(self, connection: TlsConnection, handshakes: int, connections: int) -> bool:
        if handshakes > self.limits.handshakes_per_address:
            self._note("refused.handshakes", connection)
            return False
        if connections > self.limits.connections_per_address:
            self._note("refused.connections-of-address", connection)
            return False
        return True

    def _stand_on(self, verified: VerifiedPeer, connection: TlsConnection) -> None:
        ends_at = min(verified.not_after_at, verified.issuer_not_after_at)
        _, same = self._by_certificate.setdefault(verified.fingerprint, (ends_at, set()))
        same.add(connection)
        number = self._headcount.enter(_CERTIFICATE + verified.fingerprint.encode())
        if number > self.limits.connections_per_certificate:
            self._note("refused.connections-per-certificate", connection)
            connection.abort()

    def _strike_off(self, fingerprint: str, connection: TlsConnection) -> None:
        _, same = self._by_certificate[fingerprint]
        same.remove(connection)
        if not same:
            del self._by_certificate[fingerprint]
        self._headcount.leave(_CERTIFICATE + fingerprint.encode())
