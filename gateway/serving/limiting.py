"""Rate limits in front of the sites: forms that are sent, all below /acme/, the API (429, Retry-After)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from aiohttp import web

from ca.trust import VerifiedPeer
from enroll.acme.web import CORS
from enroll.problems import rate_limited
from gateway.edge.addresses import source
from gateway.serving.rates import Ledger, Rates
from gateway.sites import acme as protocol
from gateway.web.context import Role
from gateway.wire import http
from gateway.wire.ownpaths import is_own

Limit = Callable[[web.BaseRequest], web.StreamResponse | None]

#: Sites whose forms cost a password check, a key or a letter.
_WITH_FORMS = frozenset({Role.PICKUP, Role.RENEWAL, Role.SERVICE})


def limits_of(
    rates: Rates, help_url: str, ledger: Ledger, now: Callable[[], float] = time.monotonic
) -> Callable[[Role], Limit | None]:
    """From a site to its limit, None for sites without. All sites share the same counts."""

    def wait(request: web.BaseRequest, kind: bytes, address_rate: float, certificate_rate: float) -> int:
        """Seconds to wait, 0 for none."""

        def take(asker: str | bytes, rate: float) -> int:
            whose = asker.encode() if isinstance(asker, str) else asker
            return ledger.take(kind + whose, rate, rates.burst_seconds, now())

        seconds = take(source(http.connection(request).peer_address), address_rate)
        verdict = http.judged(request)
        if not seconds and isinstance(verdict, VerifiedPeer):
            seconds = take(verdict.fingerprint, certificate_rate)
        return seconds

    def limit(role: Role, request: web.BaseRequest) -> web.StreamResponse | None:
        # What is the upstream's is the upstream's to limit.
        if role is Role.SERVICE and not is_own(request.raw_path):
            return None
        if role is Role.API:
            seconds = wait(request, b"api ", rates.protocol_address, rates.protocol_certificate)
            return _of_the_api(seconds) if seconds else None
        if protocol.ours(request):
            seconds = wait(request, b"protocol ", rates.protocol_address, rates.protocol_certificate)
            return _problem(seconds, help_url, any_origin=role is Role.PICKUP) if seconds else None
        if request.method != "POST":
            return None
        seconds = wait(request, b"page ", rates.page_address, rates.page_certificate)
        return _page(seconds) if seconds else None

    return lambda role: partial(limit, role) if role in _WITH_FORMS | {Role.API} else None


def _page(wait: int) -> web.StreamResponse:
    response = http.page(429)
    response.headers["Retry-After"] = str(wait)
    return response


def _of_the_api(wait: int) -> web.StreamResponse:
    # Not above: as with the site itself (gateway/serving/assembly.py).
    from gateway.sites.api.entering import problem_answer, respond
    from gateway.sites.api.problems import later

    response = respond(problem_answer(later("rate_limited", wait)))
    response.force_close()
    return response


def _problem(wait: int, help_url: str, *, any_origin: bool) -> web.StreamResponse:
    problem = rate_limited(
        "too many requests from this address or certificate", retry_after=wait, help_url=help_url
    )
    headers = {**dict(problem.headers), "Cache-Control": "no-store", **(dict(CORS) if any_origin else {})}
    response = web.Response(
        status=problem.status,
        body=json.dumps(problem.to_json()).encode(),
        content_type="application/problem+json",
        headers=headers,
    )
    response.force_close()
    return response
