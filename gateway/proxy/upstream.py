"""An upstream: where it is, which of its addresses are well, and its kept-alive connections.

A pool belongs to one site. It is never shared, so that no answer can reach another site's visitor.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from ca.errors import ConfigError
from gateway.proxy.exchange import UpstreamConnection, UpstreamFault
from gateway.proxy.health import CAUSES, Health
from gateway.proxy.waiting import Waits

_TICK = 0.5
_WAITS = Waits()


@dataclass(frozen=True, slots=True)
class Address:
    """One server of an upstream. ``tls``: a context that trusts the pinned CA and nothing else."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """What stands behind a site. ``health``: a path asked regularly, below 500 is well; "" asks none."""

    addresses: tuple[Address, ...]
    health: str = ""
    connections: int = 1_000
    waits: Waits = _WAITS


def parse_addresses(
    urls: Iterable[str], *, ca_pem: str | None = None, server_name: str = ""
) -> tuple[Address, ...]:
    """The addresses of ``http://host:port`` or ``https://host:port``.

    An https upstream is trusted by ``ca_pem`` alone. Raises ConfigError.
    """
    addresses = tuple(_address(url, ca_pem, server_name) for url in urls)
    if not addresses:
        raise ConfigError("upstream: no address; write addresses = ['http://127.0.0.1:8000']")
    return addresses


def cause_of(error: OSError) -> str:
    """Why an address could not be reached, in a few words: for the operator, never for visitors."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'no reason given').lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError) or error.errno is None:
        return str(error) or "no answer in time"
    # asyncio has words of its own in `strerror`; a resolver's numbers are none of the system's.
    return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)


class Pool:
    """The connections to one upstream. `start` and `stop` it on the loop that uses it."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.waits = upstream.waits
        self.counts: Counter[str] = Counter()
        self._idle: list[deque[UpstreamConnection]] = [deque() for _ in upstream.addresses]
        self._open: set[UpstreamConnection] = set()
        self._opening = 0
        self._ending = False
        self._down_until = [0.0] * len(upstream.addresses)
        self._health = [Health(str(each), upstream.waits.down) for each in upstream.addresses]
        self._turn = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._checks: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to watch time, and the addresses' health if a path is named."""
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(_TICK, self._sweep)
        if self.upstream.health:
            self._checks = asyncio.create_task(self._check_forever())

    async def end(self) -> None:
        """Ends what rests; running exchanges and WebSockets go on to their own end (a reload)."""
        self._ending = True
        if self._checks is not None:
            self._checks.cancel()
            await asyncio.wait({self._checks})
        for idle in self._idle:
            while idle:
                idle.popleft().abort("ended")

    async def stop(self) -> None:
        """Ends every connection."""
        await self.end()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort("stopped")
        await asyncio.sleep(0)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it was started on. Asking asyncio costs a system call each time, on Python 3.11."""
        assert self._loop is not None, "start the pool first"
        return self._loop

    @property
    def open(self) -> int:
        """Open connections, resting ones included."""
        return len(self._open)

    def healthy(self) -> tuple[bool, ...]:
        """Of each address, whether it is taken to be well."""
        now = self._now()
        return tuple(until <= now for until in self._down_until)

    def well_by_address(self) -> dict[str, bool]:
        """Of each address, whether the last that we heard of it was good."""
        found: dict[str, bool] = {}
        for address, health in zip(map(str, self.upstream.addresses), self._health, strict=True):
            found[address] = found.get(address, True) and health.well
        return found

    def resting(self, unsafe: bool = False) -> UpstreamConnection | None:
        """A kept-alive connection, if one is there. ``unsafe``: the request may not be sent twice."""
        oldest = self._now() - (self.waits.rest_unsafe if unsafe else self.waits.rest)
        for _ in self._idle:
            self._turn = (self._turn + 1) % len(self._idle)
            idle = self._idle[self._turn]
            while idle and idle[-1].idle_since >= oldest:
                connection = idle.pop()
                if connection.reusable:
                    return connection
                connection.abort("rested")
        return None

    async def fresh(self, avoid: int | None = None) -> UpstreamConnection:
        """A new connection to an address that is well, or was longest ago not. Raises UpstreamFault."""
        fault = UpstreamFault("unreachable")
        for number in self._order(avoid):
            if len(self._open) + self._opening >= self.upstream.connections:
                raise UpstreamFault("full")
            try:
                return await self._connect(number)
            except OSError as error:
                code = "connect-timeout" if isinstance(error, TimeoutError) else "unreachable"
                self.failed(number, code, cause_of(error))
        raise fault

    def give_back(self, connection: UpstreamConnection) -> None:
        """Takes a connection after its exchange: to rest if nothing was odd, else to its end."""
        connection.deadline = float("inf")
        if not self._health[connection.key].well and connection.complete:
            self._health[connection.key].recovered(self._now())
        if not connection.reusable or self._ending:
            connection.abort()
            return
        connection.idle_since = self._now()
        self._idle[connection.key].append(connection)
        self._down_until[connection.key] = 0.0

    def failed(self, number: int, code: str, cause: str = "") -> None:
        """Notes that an address let us down: it is passed over for a while. ``cause``: for the log only."""
        self.counts[code] += 1
        now = self._now()
        self._down_until[number] = now + self.waits.down
        self._health[number].failed(code, cause, now)

    # --- within ---

    def _order(self, avoid: int | None) -> list[int]:
        self._turn = (self._turn + 1) % len(self._down_until)
        now = self._now()
        turns = range(self._turn, self._turn + len(self._down_until))
        numbers = [turn % len(self._down_until) for turn in turns]
        return sorted(numbers, key=lambda n: (n == avoid, max(0.0, self._down_until[n] - now)))

    async def _connect(self, number: int) -> UpstreamConnection:
        loop, address = self.loop, self.upstream.addresses[number]
        self._opening += 1
        try:
            async with asyncio.timeout(self.waits.connect):
                _, made = await loop.create_connection(
                    lambda: cast(asyncio.Protocol, UpstreamConnection(loop, number, self._lost)),
                    address.host,
                    address.port,
                    ssl=address.tls,
                    server_hostname=(address.server_name or address.host) if address.tls else None,
                )
        finally:
            self._opening -= 1
        connection = cast(UpstreamConnection, made)
        self._open.add(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(_TICK, self._sweep)
        if not connection.alive:
            self._open.discard(connection)
            raise ConnectionResetError(errno.ECONNRESET, "")
        if self._health[number].connecting_failed:
            self._health[number].recovered(self._now())
        return connection

    def _lost(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle[connection.key].remove(connection)

    def _sweep(self) -> None:
        over = self._ending and not self._open
        self._sweeper = None if over else self.loop.call_later(_TICK, self._sweep)
        now = self.loop.time()
        for connection in [each for each in self._open if each.deadline <= now]:
            connection.abort("timeout")
        for idle in self._idle:
            while idle and idle[0].idle_since <= now - self.waits.rest:
                idle.popleft().abort("rested")

    async def _check_forever(self) -> None:
        while True:
            for number in range(len(self.upstream.addresses)):
                await self._check(number)
            await asyncio.sleep(self.waits.check)

    async def _check(self, number: int) -> None:
        address = self.upstream.addresses[number]
        connection: UpstreamConnection | None = None
        try:
            connection = await self._connect(number)
            connection.deadline = self._now() + self.waits.connect
            host = (address.server_name or address.host).encode("ascii")
            connection.begin(
                b"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sekisho-health\r\nConnection: close\r\n\r\n"
                % (self.upstream.health.encode("ascii"), host),
                bodiless=False,
            )
            head = await connection.head()
            if head.status < 500:
                self._down_until[number] = 0.0
                self._health[number].recovered(self._now())
            else:
                self.failed(number, "unwell", f"{self.upstream.health} answers {head.status}")
        except OSError as error:
            self.failed(number, "unreachable", cause_of(error))
        except UpstreamFault as fault:
            self.failed(number, "unwell", f"{self.upstream.health}: {CAUSES.get(fault.code, fault.code)}")
        finally:
            if connection is not None:
                connection.abort("checked")

    def _now(self) -> float:
        return self.loop.time()


def _address(url: str, ca_pem: str | None, server_name: str) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port, parts = None, urlsplit("")
    extra = parts.path not in ("", "/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or extra:
        raise ConfigError(
            f"upstream {url!r}: write it as http://127.0.0.1:8000 or https://app.example.jp:8443"
        )
    if parts.scheme == "http":
        return Address(parts.hostname, port or 80)
    if not ca_pem:
        raise ConfigError(f"upstream {url!r}: name the CA that its certificate comes from: ca = 'ca.pem'")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no CA of the system, host name checked
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise ConfigError("upstream: the CA file holds no certificate; export it as PEM") from None
    if not context.get_ca_certs():
        raise ConfigError("upstream: the CA file holds no CA certificate; export it as PEM")
    return Address(parts.hostname, port or 443, context, server_name)
