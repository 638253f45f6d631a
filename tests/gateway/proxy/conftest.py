"""A proxy on a real TLS port in front of upstreams of the tests'."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web

from gateway.edge.facts import Limits
from gateway.proxy.identity import Caller, Identity, KeySet, rotated
from gateway.proxy.relay import Proxied, Relay, explained
from gateway.proxy.rules import Rules, rules_of
from gateway.proxy.upstream import Address, Pool, Upstream, parse_addresses
from gateway.proxy.waiting import Waits
from gateway.wire.request import Request
from tests.gateway.conftest import Pki, Running, Serve
from tests.gateway.proxy.deployments import Build, Deployment, Log, pages
from tests.gateway.rawtls import START
from tests.gateway.samples import login

AT = int(START.timestamp())
KEYS = rotated(rotated(KeySet(()), AT), AT)
IDENTITY = Identity(
    KEYS,
    issuer="https://help.test",
    audience="https://login.test",
    plain={"X-Remote-User": "user", "X-Cert-Serial": "serial"},
)
CERTIFICATE_ONLY = rules_of({"/public": "public"}, "certificate")


@dataclass
class Asking:
    """Callers of whom none is known: each time they are asked for."""

    find: Callable[[Request], Awaitable[Caller]]

    def known(self, request: Request) -> Caller | None:
        return None


@dataclass
class Front:
    """The running gate with the pool behind it."""

    running: Running
    pool: Pool

    @property
    def port(self) -> int:
        return self.running.port

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.running.listener.counts)


Stand = Callable[..., Awaitable[Front]]


@pytest.fixture
async def stand(serve: Serve, pki: Pki) -> AsyncIterator[Stand]:
    """Stands a proxy in front of ``urls``, as ``site``; ``around`` may wrap its relay. ``more``: further
    settings of `Proxied`."""
    pools: list[Pool] = []

    async def start(
        *urls: str,
        rules: Rules = CERTIFICATE_ONLY,
        site: Callable[..., Any] = login,
        waits: Waits = Waits(),  # noqa: B008 (frozen)
        health: str = "",
        connections: int = 100,
        ca_pem: str | None = None,
        server_name: str = "",
        identity: Identity = IDENTITY,
        cookie: str = "",
        limits: Any = None,
        own: frozenset[str] = frozenset(),
        workers: tuple[str, ...] = (),
        more: Mapping[str, Any] = MappingProxyType({}),
        handler: Any = None,
        around: Callable[[Relay], Any] = lambda relay: relay,
        **admit: Callable[[Request], Awaitable[Caller]],
    ) -> Front:
        addresses = parse_addresses(urls, ca_pem=ca_pem, server_name=server_name)
        pool = Pool(Upstream(addresses, health, connections, waits))
        await pool.start()
        pools.append(pool)
        running: list[Running] = []
        callers = {name: Asking(find) for name, find in admit.items()}
        proxied = Proxied(pool, identity, rules, cookie, own, workers, **more)
        relay = Relay(proxied, now=lambda: running[0].clock.seconds(), **callers)
        behind = replace(site(pki), handler=handler or explained(), relay=around(relay))
        running.append(await serve(behind, limits=limits))
        return Front(running[0], pool)

    yield start
    for pool in pools:
        await pool.stop()


@pytest.fixture
async def deployment(serve: Serve, pki: Pki) -> AsyncIterator[Build]:
    """Builds one in front of ``urls``; ``needs``: what the upstream's paths ask for."""
    pools: list[Pool] = []

    async def build(
        *urls: str,
        needs: str = "certificate",
        waits: Waits = Waits(),  # noqa: B008 (frozen)
        limits: Limits | None = None,
        addresses: tuple[Address, ...] = (),
        app: web.Application | None = None,
        **admit: Callable[[Request], Awaitable[Caller]],
    ) -> Deployment:
        pool = Pool(Upstream(addresses or parse_addresses(urls), waits=waits))
        await pool.start()
        pools.append(pool)
        proxied = Proxied(pool, IDENTITY, rules_of({"/free": "public"}, needs), "sid", frozenset({"own"}))
        callers = {name: Asking(find) for name, find in admit.items()}
        relay = Relay(proxied, now=lambda: 1_775_000_000, **callers)
        site, log = replace(login(pki), handler=app or pages(), relay=relay), Log()
        return Deployment(await serve(site, limits=limits, observer=log), pool, log, site, pki)

    yield build
    for pool in pools:
        await pool.stop()
