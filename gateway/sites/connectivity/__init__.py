"""導通確認サイト: what the server sees of certificate, browser and connection, and what to do next.

Asks for a certificate and works without one. Serve this application on its own host and on
``hosts.fresh_hosts`` (the CA names advertised), and on ``hosts.probe_hosts`` with none advertised.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from cryptography.x509.oid import NameOID

from ca.trust import CertificateState, Rejection, VerifiedPeer
from enroll.jst import days_left
from enroll.mediatype import media_type
from enroll.ra import token_hash
from enroll.refusals import Refusal
from enroll.requests import renewal
from enroll.requests.renewal import Following
from gateway.sites.connectivity import findings, records, words
from gateway.sites.connectivity.findings import Check, Facts, Surroundings
from gateway.sites.connectivity.hosts import fresh_origin, is_probe, probe_origin
from gateway.sites.connectivity.report import MAX_BYTES, parse_report
from gateway.web import pages, references
from gateway.web.browsers import browser_of
from gateway.web.context import Gate, Role
from gateway.wire import cookies, http

_COOKIE = pages.CHECK_COOKIE
# What an intermediary adds and a browser never sends by itself.
_INTERMEDIARY_HEADERS = ("Via", "X-Forwarded-For", "Forwarded", "X-BlueCoat-Via", "X-Proxy-ID")
# Pages of the help site by target of a next step.
_HELP = {
    "pickup": "pickup",
    "verify": "verify",
    "reissue": "flow#reissue",
    "choose": "trouble#choose",
    "phone": "trouble#phone",
    "firefox": "trouble#firefox",
    "proxy": "trouble#proxy",
    "popups": "popups",
    "cookies": "cookies",
    "history": "history",
    "hosts": "hosts",
    "contact": "contact",
}


def application(gate: Gate) -> web.Application:
    """The connectivity test. Each visit is recorded under the reference number that it shows."""
    app = pages.site_application(gate, Role.CONNECTIVITY, "gateway.sites.connectivity")
    app.router.add_get("/", _test)
    app.router.add_get("/status.json", _status)
    app.router.add_get("/popup", _popup)
    app.router.add_get("/recorded/{key:[0-9a-f]{1,1000}}", _recorded)
    app.router.add_post("/report", _report)
    return app


async def _test(request: web.Request) -> web.StreamResponse:
    """The page; a browser without our cookie is sent round once, to see whether it keeps it."""
    if not cookies.read(request, _COOKIE).present and "c" not in request.query:
        language = request.query.get("lang", "")
        response = pages.see_other("/?c=1" + (f"&lang={language}" if language in ("ja", "en") else ""))
        token = secrets.token_urlsafe(24)
        response.set_cookie(
            _COOKIE, token, path="/", secure=True, httponly=True, samesite="Lax", max_age=3_600
        )
        return response
    gate, facts = request.app[pages.GATE], await _facts(request)
    reference = await references.note(
        gate.ra, str(Role.CONNECTIVITY), f"check.{facts.state.value}", **_detail(request, facts)
    )
    info = http.connection(request)
    return _page(
        request,
        _Seen(
            state=facts.state.value,
            at=facts.now,
            surroundings=facts,
            certificate=findings.certificate(facts),
            presented=_presented(request, facts),
            connection=[info.tls_version, info.cipher, info.group or ""],
            server_issuer=_server_issuer(request),
            reference=reference,
        ),
        headers={"Content-Security-Policy": pages.content_security_policy(*_tried(gate))},
    )


@dataclass(frozen=True)
class _Seen:
    """What one page shows. ``outcomes``: what a browser reported, where that is known already."""

    state: str
    at: int
    surroundings: Surroundings
    certificate: Check
    presented: Mapping[str, Any]
    connection: Sequence[str]
    server_issuer: str
    reference: str
    outcomes: Mapping[str, str] = field(default_factory=dict)
    clock_seconds: int | None = None
    recorded: bool = False


def _page(request: web.Request, seen: _Seen, headers: Mapping[str, str] | None = None) -> web.Response:
    return pages.render(
        request,
        "test.html",
        headers=headers,
        seen=seen,
        certificate=seen.certificate,
        checks=findings.checks(seen.surroundings),
        sites=findings.reachability(),
        links=_links(request, request.app[pages.GATE]),
        levels=words.LEVELS,
        targets=words.TARGETS,
        duration=words.duration,
        units=words.UNITS,
    )


async def _recorded(request: web.Request) -> web.StreamResponse:
    """The page that somebody saw, for the help desk: by a key that `sekisho reference show` makes."""
    gate = request.app[pages.GATE]
    reference = references.opened(gate.ra, request.match_info["key"])
    kept = await gate.ra.database.read(lambda db: references.found(db, reference)) if reference else None
    if kept is None or kept["site"] != str(Role.CONNECTIVITY):
        raise Refusal("not_found", field="reference")
    detail = kept["detail"]
    phones = gate.ra.settings.phones
    return _page(
        request,
        _Seen(
            state=detail["state"],
            at=kept["at"],
            surroundings=records.surroundings(detail, demo=gate.demo, phones=phones),
            certificate=records.certificate(detail),
            presented=detail["presented"],
            connection=detail["tls"],
            server_issuer=detail["server_issuer"],
            reference=kept["reference"],
            outcomes=detail.get("outcomes", {}),
            clock_seconds=detail.get("clock_seconds"),
            recorded=True,
        ),
    )


async def _status(request: web.Request) -> web.StreamResponse:
    """The same facts for scripts. What only a browser can tell is left ``open``."""
    facts = await _facts(request)
    gate, speak = request.app[pages.GATE], pages.speak(pages.language_of(request))
    links = _links(request, gate)

    def told(check: Check) -> dict[str, Any]:
        finding = check.finding
        steps = [{"text": speak(*step.text), "url": links.get(step.target)} for step in finding.steps]
        return {"name": check.name, "level": finding.level, "text": speak(*finding.text), "next": steps}

    checks = (findings.certificate(facts), *findings.checks(facts), *findings.reachability())
    info = http.connection(request)
    return web.json_response(
        {
            "now_at": facts.now,
            "certificate": {"state": facts.state.value, **_presented(request, facts)},
            "connection": {
                "tls_version": info.tls_version,
                "cipher": info.cipher,
                "group": info.group,
                "address": info.peer_address,
                "server_certificate_issuer": _server_issuer(request),
            },
            "browser": {"name": facts.browser.name, "phone": facts.browser.phone},
            "cookies": facts.cookies,
            "checks": [told(check) for check in checks],
        }
    )


async def _popup(request: web.Request) -> web.StreamResponse:
    """What the test window shows for the moment that it is open."""
    return pages.render(request, "popup.html")


async def _report(request: web.Request) -> web.StreamResponse:
    """What the page's script found, added to the visit's record; another number if that is not ours."""
    if media_type(request.headers.getall("Content-Type", [])) != "application/json":
        return web.json_response({"error": "send application/json"}, status=415)
    report = parse_report(await request.content.read(MAX_BYTES + 1))
    gate, facts = request.app[pages.GATE], await _facts(request)
    found = {"outcomes": dict(report.outcomes), "clock_seconds": report.clock_seconds}
    site = str(Role.CONNECTIVITY)
    reference = report.reference
    if not await references.amend(gate.ra, reference, site, _visit(request), **found):
        detail = _detail(request, facts) | found
        reference = await references.note(gate.ra, site, f"check.{facts.state.value}", **detail)
    return web.json_response({"reference": reference})


async def _facts(request: web.Request) -> Facts:
    gate, info = request.app[pages.GATE], http.connection(request)
    verdict = http.peer(request)
    if verdict is None:
        raise RuntimeError("the connectivity test is served on a site that does not ask for certificates")
    server_name = info.server_name or ""
    after = await _following(gate, verdict)
    probe = is_probe(gate, server_name)
    own = urlsplit(gate.origins[Role.CONNECTIVITY]).hostname
    return Facts(
        verdict=verdict,
        now=gate.now(),
        probe=probe,
        memory="fresh" if server_name != own else "remembered" if gate.try_suffix else "restart",
        browser=browser_of(request.headers),
        cookies=cookies.read(request, _COOKIE).present,
        proxied=any(name in request.headers for name in _INTERMEDIARY_HEADERS),
        tls_version=info.tls_version,
        renewal_days=gate.ra.settings.renewal_days,
        demo=gate.demo,
        phones=gate.ra.settings.phones,
        in_grace=pages.in_grace(gate, verdict),
        newer=after.newer,
        begun=after.begun is not None,
    )


async def _following(gate: Gate, verdict: VerifiedPeer | Rejection) -> Following:
    """What came after the certificate that is presented, if it is one of ours and good, or was reissued."""
    if isinstance(verdict, Rejection) and verdict.state in (
        CertificateState.REVOKED,
        CertificateState.DISTRUSTED,
    ):
        return Following(await pages.reissued_as(gate, verdict), None)
    if not isinstance(verdict, VerifiedPeer):
        return Following(None, None)
    at, fingerprint = gate.now(), verdict.fingerprint
    return await gate.ra.database.read(
        lambda db: renewal.following(db, at, renewal.source_of(db, fingerprint))
    )


def _presented(request: web.Request, facts: Facts) -> dict[str, Any]:
    """The certificate as R48 has people look for it; empty if there was none."""
    presentation, verdict = http.connection(request).presentation, facts.verdict
    if presentation.leaf is None:
        return {}
    told: dict[str, Any] = {
        # Windows shows SHA-1 as the thumbprint; it names a certificate here and proves nothing.
        "thumbprint_sha1": hashlib.sha1(presentation.leaf, usedforsecurity=False).hexdigest(),
        "fingerprint_sha256": verdict.fingerprint,
        "common_name": verdict.common_name,
        "issuer_name": verdict.issuer_name,
        "serial": verdict.serial,
        "not_before_at": verdict.not_before_at,
        "not_after_at": verdict.not_after_at,
    }
    if verdict.not_after_at:
        told["days_left"] = days_left(verdict.not_after_at, facts.now)
    return told


def _detail(request: web.Request, facts: Facts) -> dict[str, Any]:
    """What the help desk finds under the reference number. No secret is among it."""
    info = http.connection(request)
    named = facts.verdict
    return {
        "visit": _visit(request),
        "host": info.server_name,
        "probe": facts.probe,
        "common_name": named.common_name,
        "issuer": named.issuer_name,
        "serial": named.serial,
        "not_after_at": named.not_after_at,
        "tls": [info.tls_version, info.cipher, info.group],
        "address": info.peer_address,
        "browser": [facts.browser.name or str(facts.browser.family), facts.browser.phone],
        "cookies": facts.cookies,
        "proxied": facts.proxied,
        "presented": _presented(request, facts),
        "server_issuer": _server_issuer(request),
        **records.to_json(facts),
        "findings": {check.name: check.finding.level for check in findings.checks(facts)},
    }


def _visit(request: web.Request) -> str:
    """Names the visitor's cookie without telling it; empty without one."""
    cookie = cookies.read(request, _COOKIE).value
    return token_hash(cookie)[:16] if cookie else ""


def _links(request: web.Request, gate: Gate) -> dict[str, str]:
    """Target of a next step -> URL. Fresh hosts and other sites do not know our cookies: the language goes
    along."""
    server_name = http.connection(request).server_name or ""

    def to(origin: str, page: str = "") -> str:
        return pages.elsewhere(request, origin, page)

    links = {name: to(gate.origins[Role.HELP], page) for name, page in _HELP.items()}
    if gate.try_suffix:
        links |= {"fresh": to(fresh_origin(gate)), "probe": to(probe_origin(gate, server_name))}
    # Who came to a fresh host chose otherwise before: the sites' own hosts may have that remembered.
    again = server_name != urlsplit(gate.origins[Role.CONNECTIVITY]).hostname

    def asking(role: Role) -> str:
        return to(gate.fresh_origin(role) if again and role in gate.fresh else gate.origins[role])

    tried = (Role.PICKUP, Role.HELP, Role.RENEWAL, Role.SERVICE)
    return (
        links
        | {str(role): asking(role) for role in (Role.RENEWAL, Role.SERVICE)}
        | {f"reach-{role}": to(gate.origins[role]) for role in tried}
    )


def _server_issuer(request: web.Request) -> str:
    """Who issued our own certificate: where the browser shows another name, something is between us."""
    site = http.connection(request).site
    if site is None:
        return ""
    issuer = site.certificate.chain[0].issuer
    names = issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else issuer.rfc4514_string()


def _tried(gate: Gate) -> list[str]:
    """The origins that the page's script fetches an icon from."""
    return [gate.origins[role] for role in findings.TRIED]
