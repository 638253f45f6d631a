"""What the gateway's tests share: a small PKI and listeners that end with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ca.anchors import TrustAnchors
from ca.clock import ManualClock
from ca.revocation import RevocationStatus
from gateway.edge.facts import Limits
from gateway.edge.headcount import Headcount, headcounts
from gateway.edge.listener import Listener
from gateway.edge.tls import Site
from gateway.wire.handlers import Handlers
from tests.gateway.rawtls import START, Issued, issue


@dataclass(frozen=True)
class Pki:
    """Two CAs, a server for every *.test, and a client certificate of each."""

    ca: Issued
    other_ca: Issued
    server: Issued
    client: Issued
    stranger: Issued
    anchors: TrustAnchors


@pytest.fixture(scope="session")
def pki() -> Pki:
    ca, other_ca = issue("CA-G4", ca=True), issue("CA-B", ca=True)
    hosts = ("*.test", "*.check.test")
    return Pki(
        ca=ca,
        other_ca=other_ca,
        server=issue("server", hosts=hosts, purpose=None),
        client=issue("1234567890", ca),
        stranger=issue("1234567890", other_ca),
        anchors=TrustAnchors.of([ca.certificate]),
    )


@dataclass
class Running:
    """A listener under test with what it depends on; `status` may be changed by fingerprint."""

    listener: Listener
    port: int
    clock: ManualClock
    status: dict[str, RevocationStatus]
    headcount: Headcount


Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a listener for sites; stops it when the test ends, and then nobody is counted as there."""
    running: list[Running] = []

    async def start(
        *sites: Site, limits: Limits | None = None, headcount: Headcount | None = None, **more: Any
    ) -> Running:
        clock = ManualClock(START)
        status: dict[str, RevocationStatus] = {}
        headcount = headcount or headcounts(1)[0]
        listener = Listener(
            sites,
            wire=Handlers(),
            clock=clock,
            status=lambda fingerprint: status.get(fingerprint, RevocationStatus.GOOD),
            limits=limits or Limits(tick=0.02, drain=0.2, lingering=0.2),
            headcount=headcount,
            **more,
        )
        running.append(Running(listener, await listener.start(), clock, status, headcount))
        return running[-1]

    yield start
    for each in running:
        await each.listener.stop()
        async with asyncio.timeout(60):
            while any(each.headcount._own):
                await asyncio.sleep(0.01)
