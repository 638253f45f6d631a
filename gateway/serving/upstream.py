"""The proxy behind the online service: its login, its pages for what fails, its settings.

The service keeps its own paths (`OWN`); every other one is the upstream's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from aiohttp import web

from ca.errors import ConfigError
from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll import store, timekeeping
from enroll.ra import token_hash
from enroll.refusals import Refusal
from enroll.requests.issuance import check_entitled
from enroll.requests.renewal import check_lives, source_of
from gateway.proxy import products
from gateway.proxy.addresses import Addresses
from gateway.proxy.callers import RememberedCallers
from gateway.proxy.identity import JWKS_PATH, Caller, Identity, KeySet, jwks, open_keys
from gateway.proxy.relay import NotRelayed, Proxied, Relay, explained
from gateway.proxy.rules import Rules, rules_of
from gateway.proxy.upstream import Pool, Upstream, parse_addresses
from gateway.proxy.waiting import PathWaits, Waits, path_waits
from gateway.serving.config import Config
from gateway.serving.deployment import Deployment
from gateway.sites.service import visitors
from gateway.sites.service.upstreams import CLOSED, FIRST, UPSTREAM, WORKERS, First
from gateway.web import references
from gateway.web.context import Gate, Role
from gateway.web.pages import EVERY_PATH, GATE, SITE, see_other, words_page
from gateway.web.sessions import cookie_name, settled_until
from gateway.web.words import ABOUT_CERTIFICATE, REFUSALS, Words
from gateway.wire import http
from gateway.wire.ownpaths import OWN, is_own
from gateway.wire.request import Request

#: Why the upstream failed, for the operator who looks up a reference number.
_CAUSES: Mapping[str, str] = {
    "unreachable": "no address of [upstream] took the connection; see that the service runs",
    "full": "as many connections were in use as [upstream] connections allows",
    "timeout": "the service took the request and did not answer in time",
    "closed": "the service ended the connection before it answered",
    "cut": "the service ended the connection within the head of its answer",
    "malformed": "what the service answered is not HTTP/1.1 that can be handed on",
    "service_worker": "a page asked for a service worker; [upstream] service_workers names where it may",
    "old_worker": "a service worker from before is in the browser; it was told to drop it",
    "switched": "the service changed to a protocol that nobody asked for",
}


@dataclass(frozen=True)
class Route:
    """Everything about the upstream that the configuration says, checked."""

    upstream: Upstream
    rules: Rules
    identity: Identity
    workers: tuple[str, ...] = ()
    waits: PathWaits | None = None
    others: tuple[str, ...] = products.NAMES
    addresses: Addresses | None = None


def prepare(deployment: Deployment, gate: Gate) -> Route | None:
    """The upstream of the configuration, or None if there is none. ConfigError names the setting."""
    config, keys = deployment.config, assertion_keys(deployment)
    if not config.upstream.addresses:
        return None
    try:
        settings, upstream = config.upstream, _upstream(deployment, config)
        return Route(
            upstream,
            _rules(config),
            _identity(config, gate, keys),
            settings.service_workers,
            path_waits(upstream.waits, settings.waits),
            settings.taken_off,
            _addresses(config, upstream) if settings.rewrite_addresses else None,
        )
    except ConfigError as error:
        raise ConfigError(f"[upstream] {error}") from None


def mount(app: web.Application, gate: Gate, route: Route) -> Relay:
    """Hands every path that is not the service's own to the upstream, after the service's login."""
    site = app[SITE]
    pool, cookie = Pool(route.upstream), cookie_name(site)
    relay = Relay(
        Proxied(
            pool,
            route.identity,
            route.rules,
            cookie,
            OWN,
            route.workers,
            route.waits,
            route.others,
            route.addresses,
        ),
        now=gate.now,
        login=RememberedCallers(gate.ra, _session_key, partial(_logged_in, gate, site)),
        certificate=RememberedCallers(gate.ra, _certificate_key, partial(_with_certificate, gate)),
    )

    async def no_100(_: web.Request) -> None:
        """Nobody reads the body of a request that goes no further."""

    async def run(_: web.Application) -> None:
        await pool.start()

    async def end(_: web.Application) -> None:
        await pool.end()

    app.router.add_route("*", EVERY_PATH, explained(_failed), expect_handler=no_100)
    app.on_startup.append(run)
    app.on_cleanup.append(end)
    return relay


def publish(app: web.Application, keys: KeySet) -> None:
    """The assertion's public keys, for upstreams to fetch."""
    body = jwks(keys)

    async def show(_: web.Request) -> web.Response:
        return web.json_response(body, headers={"Cache-Control": "public, max-age=3600"})

    app.router.add_get(JWKS_PATH, show)


def assertion_keys(deployment: Deployment) -> KeySet:
    """The keys of the data directory, made and rotated as time goes by."""
    believed = deployment.files.frozen or timekeeping.doubt_at_once(deployment.ra) is None
    at, vault = deployment.ra.now(), deployment.datadir.vault
    return open_keys(deployment.data, vault, at, deployment.files, believed=believed)


def _session_key(request: Request) -> str:
    return f"{_certificate_key(request)} {token_hash(_token(request))}"


def _token(request: Request) -> str:
    assert request.fields is not None  # since `Relay.begin`
    return request.fields.cookie.value


def _certificate_key(request: Request) -> str:
    assert isinstance(request.verdict, VerifiedPeer)
    return request.verdict.fingerprint


async def _logged_in(gate: Gate, site: str, request: Request) -> tuple[Caller, int]:
    """Who is logged in. Raises NotRelayed for everybody else, Refusal for whoever lost his right."""
    peer, at = request.verdict, gate.now()
    assert isinstance(peer, VerifiedPeer)
    if gate.closed_until(at) is not None:
        raise NotRelayed(503, "closed")
    visitor = await visitors.visitor_with(gate.ra, peer, _token(request), site)
    if visitor is None:
        raise NotRelayed(403, "login")
    user, session = visitor.user, visitor.session
    if user.password_initial:
        request.subject = user.user_id
        raise NotRelayed(403, "password")
    caller = Caller(peer, user.user_id, user.policy_number, "login", session.token_hash)
    closes_at = gate.hours.closes_at(at) if gate.hours is not None else None
    return caller, min(settled_until(session), closes_at or sys.maxsize)


async def _with_certificate(gate: Gate, request: Request) -> tuple[Caller, int]:
    """Whose certificate it is. Raises Refusal when the certificate or its user lost its right."""
    peer = request.verdict
    assert isinstance(peer, VerifiedPeer)
    user = await gate.ra.database.read(lambda db: _holder(db, gate, peer.fingerprint))
    return Caller(peer, user.user_id, user.policy_number), peer.not_after_at


def _holder(db: Transaction, gate: Gate, fingerprint: str) -> store.User:
    source = source_of(db, fingerprint)
    check_entitled(db, source.user_id)
    check_lives(db, gate.ra, source)
    user = store.user(db, source.user_id)
    if user is None:
        raise Refusal("unknown_certificate")
    return user


async def _failed(request: web.BaseRequest, status: int, code: str) -> web.StreamResponse:
    """The page for what the relay did not hand on. Whoever asked for a page is led to the login."""
    assert isinstance(request, web.Request)
    if code == "closed":
        return await _words(
            request, CLOSED, code, at=request.app[GATE].closed_until(request.app[GATE].now()) or 0
        )
    first = FIRST.get(code)
    if first is not None:
        return await _before(request, code, first)
    words = WORKERS.get(code) or REFUSALS.get(code) or UPSTREAM.get(status) or UPSTREAM[400]
    about = Role.SERVICE if code in ABOUT_CERTIFICATE else None
    response = await _words(request, words, code, about=about)
    response.set_status(status)
    if code == "old_worker":
        # The only thing that makes a browser forget it: no status does (w3c/ServiceWorker issue 204). Its
        # caches, and what else the upstream's pages have stored, go with it.
        response.headers["Clear-Site-Data"] = '"storage"'
    return response


async def _before(request: web.Request, code: str, first: First) -> web.StreamResponse:
    """Not 401: RFC 9110 15.5.2 asks for a challenge with it, and none of HTTP's own fits a form."""
    there = visitors.by_way_of(first.page, request)
    if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", ""):
        return see_other(there)
    return await _words(request, first.words, code, first=((there, first.link),))


async def _words(request: web.Request, words: Words, code: str, **values: Any) -> web.Response:
    ra = request.app[GATE].ra
    reference = await references.note(ra, visitors.SITE, code, path=request.path, **_known(request, code))
    return words_page(request, words, reference=reference, **values)


def _known(request: web.Request, code: str) -> dict[str, str]:
    """What the help desk wants to know besides: who it was, and what the code means."""
    peer = http.peer(request)
    known = {
        "user": cast(http.RequestProtocol, request.protocol).subject,
        "common_name": peer.common_name if peer is not None else None,
        "cause": _CAUSES.get(code),
    }
    return {name: value for name, value in known.items() if value}


def _upstream(deployment: Deployment, config: Config) -> Upstream:
    settings = config.upstream
    pem = deployment.files.read(deployment.data / settings.ca, "upstream CA") if settings.ca else None
    ca = pem.decode("ascii", "replace") if pem is not None else None
    addresses = parse_addresses(settings.addresses, ca_pem=ca, server_name=settings.server_name)
    waits = Waits(
        connect=settings.connect_seconds,
        answer=settings.answer_seconds,
        body=settings.body_seconds,
        tunnel=settings.tunnel_seconds,
    )
    return Upstream(addresses, settings.health, settings.connections, waits)


def _addresses(config: Config, upstream: Upstream) -> Addresses:
    names = [host for host in config.sites.service if not host.startswith("*.")]
    return Addresses(names, [(each.host, each.port) for each in upstream.addresses])


def _rules(config: Config) -> Rules:
    settings = config.upstream
    for name, paths in (("public", settings.public), ("certificate", settings.certificate)):
        for path in paths:
            if is_own(path):
                raise ConfigError(f"{name}: {path!r} is a page of our own, which nothing opens; remove it")
    table = dict.fromkeys(settings.public, "public") | dict.fromkeys(settings.certificate, "certificate")
    if len(table) != len(settings.public) + len(settings.certificate):
        raise ConfigError("public, certificate: a path stands in both; remove one")
    return rules_of(table, "login")


def _identity(config: Config, gate: Gate, keys: KeySet) -> Identity:
    pairs = [header.partition("=") for header in config.upstream.headers]
    plain = {name.strip(): word.strip() for name, _, word in pairs}
    return Identity(keys, gate.origins[Role.HELP], gate.behind, plain)
