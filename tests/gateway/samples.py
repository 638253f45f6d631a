"""Sites of each policy, and a handler that says who the gate thinks is calling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from ca.trust import VerifiedPeer
from gateway.edge.tls import ClientCertificate
from gateway.wire.http import peer
from gateway.wire.sites import WebSite
from tests.gateway.conftest import Pki


async def who(request: web.BaseRequest) -> web.Response:
    """Says who the gate thinks is calling."""
    verdict = peer(request)
    if isinstance(verdict, VerifiedPeer):
        return web.Response(text=f"verified {verdict.common_name}")
    return web.Response(text="no policy" if verdict is None else verdict.state.value)


def login(pki: Pki, **more: Any) -> WebSite:
    """A site nobody enters without a verified certificate."""
    return _site(pki, "login", ("login.test",), ClientCertificate.REQUIRE, more)


def check(pki: Pki, **more: Any) -> WebSite:
    """A site that asks, with fresh hosts below it."""
    return _site(pki, "check", ("check.test", "*.check.test"), ClientCertificate.ASK, more)


def open_site(pki: Pki, **more: Any) -> WebSite:
    """A site that does not ask."""
    return _site(pki, "enroll", ("enroll.test",), ClientCertificate.NONE, more)


def _site(
    pki: Pki, name: str, hosts: tuple[str, ...], policy: ClientCertificate, more: dict[str, Any]
) -> WebSite:
    site = WebSite(
        name=name,
        hosts=hosts,
        handler=who,
        certificate=pki.server.for_server(),
        client_certificate=policy,
        anchors=pki.anchors,
        advertised=(pki.ca.certificate,),
    )
    return replace(site, **more)
