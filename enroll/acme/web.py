"""The protocol over HTTP: one low-level aiohttp handler and one renderer of problems.

What all answers have in common (nonce, links, CORS, caching, errors) is added in one place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict

from ca.storage import is_out_of_order
from ca.trust import VerifiedPeer
from enroll.acme import store
from enroll.acme.accounts import Account
from enroll.acme.jws import MAX_BODY, VerifiedRequest, present, prove
from enroll.acme.remembered import AccountChanged
from enroll.acme.resources import RESOURCES, Answer, Exchange, find_resource
from enroll.acme.server import AcmeServer, problem_of
from enroll.mediatype import media_type
from enroll.problems import Problem, malformed
from enroll.refusals import Refusal

log = logging.getLogger("sekisho.acme")

#: Tells who presented a certificate on a request's connection; judged for this very request.
PeerOf = Callable[[web.BaseRequest], VerifiedPeer | None]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Headers = list[tuple[str, str]]
Respond = Callable[[int, Headers, bytes], web.StreamResponse]

_PROBLEM = "application/problem+json"
# Seconds until it is worth trying again when the disk or the database is at fault: somebody has to look.
_LATER = 60
#: RFC 8555 section 6.1: any origin may use the protocol from a browser, and may read what it needs. Not
#: where the certificate is the authorisation: see ``_by_a_page``.
CORS: Headers = [
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Link, Location, Replay-Nonce, Retry-After"),
]
_PREFLIGHT: Headers = [
    ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
    ("Access-Control-Allow-Headers", "Content-Type"),
    ("Access-Control-Max-Age", "86400"),
]


def respond(status: int, headers: Headers, body: bytes) -> web.StreamResponse:
    """An answer as aiohttp's own response."""
    return web.Response(status=status, headers=CIMultiDict(headers), body=body)


def handler(server: AcmeServer, peer_of: PeerOf = lambda _: None, respond: Respond = respond) -> Handler:
    """The handler of one door, for every path below its root; ``respond`` makes what it returns.

    On a site with mutual TLS ``peer_of`` hands over the verified peer; elsewhere there is none.
    """
    parts = urlsplit(server.urls.root)
    origin, prefix = f"{parts.scheme}://{parts.netloc}", parts.path
    # RFC 8555 section 7.1: the index is on every resource but the directory.
    index = ("Link", f'<{server.urls.to("directory")}>;rel="index"')
    common: Headers = [*([] if server.by_certificate else CORS), ("Cache-Control", "no-store")]

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        found: tuple[str, tuple[str, ...]] | None = None
        try:
            if server.by_certificate and _by_a_page(request):
                raise Problem("unauthorized", "no web page may ask where a certificate is the proof")
            if path.startswith(prefix):
                found = find_resource(path[len(prefix) :])
            if found is None:
                raise malformed("there is no such resource", status=404)
            answer = await _answer(server, request, *found, origin + request.raw_path, query, peer_of)
        except Problem as problem:
            answer = _problem(problem)
        except Refusal as refusal:
            answer = _problem(problem_of(refusal))
        except web.RequestPayloadError:
            answer = _problem(malformed("the body cannot be read"))
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as error:
            # Ours. The log says what; the client learns only that it may try again.
            log.exception("%s %s failed", request.method, path)
            answer = _problem(_ours(error))
        headers = [*answer.headers, *common]
        # RFC 8555 section 6.5 wants a nonce in answers to POST. Nobody needs one of whoever only reads the
        # directory, and one client library (ruby's acme-client) trips over it.
        if found is None or found[0] != "directory" or request.method == "POST":
            headers.append(("Replay-Nonce", server.nonces.fresh(server.ra.now())))
        if found is None or found[0] != "directory":
            headers.append(index)
        if answer.content_type:
            headers.append(("Content-Type", answer.content_type))
        return respond(answer.status, headers, answer.body)

    return handle


def _ours(error: Exception) -> Problem:
    """A fault of ours: 503 where the disk or the database is at fault, since nothing was done and it may be
    asked for again (RFC 9110 section 15.6.4)."""
    if not is_out_of_order(error):
        return Problem("serverInternal", "the server failed; try again later")
    later = (("Retry-After", str(_LATER)),)
    said = "the server cannot record anything at the moment; nothing was done, try again later"
    return Problem("serverInternal", said, status=503, headers=later)


def _by_a_page(request: web.BaseRequest) -> bool:
    """Whether a script in a browser asks.

    A browser presents its visitor's certificate whoever's script asks, even with credentials omitted: the
    script's author would get a certificate in the visitor's name for a key of his own. Browsers add these
    headers themselves; other clients have no use for them.
    """
    sites = request.headers.getall("Sec-Fetch-Site", [])
    return "Origin" in request.headers or any(site != "none" for site in sites)


async def _answer(
    server: AcmeServer,
    request: web.BaseRequest,
    resource_name: str,
    names: tuple[str, ...],
    url: str,
    query: str,
    peer_of: PeerOf,
) -> Answer:
    resource = RESOURCES[resource_name]
    method = request.method
    if method == "OPTIONS" and not server.by_certificate:
        return Answer(204, headers=tuple(_PREFLIGHT))
    if method in ("GET", "HEAD") and resource.get is not None:
        if resource_name == "newNonce":
            # RFC 8555 section 7.2: 200 to HEAD, 204 to GET.
            return Answer(200 if method == "HEAD" else 204)
        return await resource.get(server, names)
    if method != "POST" or resource.post is None:
        allowed = [
            *(["GET", "HEAD"] if resource.get else []),
            *(["POST"] if resource.post else []),
            # PROTOCOL.md section 13.6: where the certificate is the proof there are no preflights.
            *([] if server.by_certificate else ["OPTIONS"]),
        ]
        raise Problem(
            "malformed",
            f"{method} is not allowed here",
            status=405,
            headers=[("Allow", ", ".join(allowed))],
        )
    if "Replay-Nonce" in request.headers:
        # RFC 8555 section 6.5.1: it MUST NOT be in a request; the nonce belongs into the JWS.
        raise malformed("the header Replay-Nonce is for answers; put the nonce into the protected header")
    body, spending = await _body(request), list[Awaitable[None]]()

    def spend(nonce: str) -> None:
        if (waits := server.nonces.spend(nonce, server.ra.now())) is not None:
            spending.append(waits)

    try:
        presented = present(
            body,
            media_type(request.headers.getall("Content-Type", [])),
            url=url,
            signer=resource.signer,
            spend=spend,
        )
    finally:
        # Whatever else is wrong: it is invalid once it has appeared in a request (RFC 8555 section 6.5).
        for each in spending:
            await each

    def asked(verified: VerifiedRequest[Account]) -> Awaitable[Answer]:
        assert resource.post is not None
        return resource.post(Exchange(server, verified, names, _query(query), peer_of(request)))

    if presented.kid is None:
        return await asked(prove(presented, None))
    account_id = server.urls.identifier("account", presented.kid) or ""
    known = server.accounts.get(account_id) if resource.confirms else None
    refused: Problem | None = None
    if known is not None:
        try:
            verified = prove(presented, known)
        except Problem as problem:
            refused = problem  # unless the account is another by now
        else:
            with suppress(AccountChanged):
                return await asked(verified)
    account = await server.ra.database.read(lambda db: store.account(db, account_id))
    if refused is not None and account == known:
        raise refused
    if account is not None:
        server.accounts.keep(account)
    return await asked(prove(presented, account))


async def _body(request: web.BaseRequest) -> bytes:
    """The body, up to the bound; whoever sends more learns so without being read to the end."""
    length = request.content_length
    chunks: list[bytes] = []
    size = 0
    while length is None or length <= MAX_BODY:
        chunk = await request.content.read(MAX_BODY + 1)
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        if size > MAX_BODY:
            break
        chunks.append(chunk)
    raise malformed(f"the body is larger than {MAX_BODY} bytes", status=413)


def unheard(status: int, directory: str) -> tuple[Headers, bytes]:
    """Header fields and body of what HTTP alone refuses, before the protocol has seen a request.

    ``status``: that of the answer (RFC 8555 section 6.7 has no types for these: "malformed" is the client's
    fault, "serverInternal" ours). ``directory``: its path on the same host (section 7.1: the index is on
    every resource). With 421 there is none: the target is another server's (RFC 9110 section 15.5.20).
    """
    ours = status in (500, 502, 503, 504)
    problem = Problem(
        "serverInternal" if ours else "malformed", HTTPStatus(status).phrase.lower(), status=status
    )
    headers: Headers = [("Content-Type", _PROBLEM), ("Cache-Control", "no-store")]
    if status != HTTPStatus.MISDIRECTED_REQUEST:
        headers.append(("Link", f'<{directory}>;rel="index"'))
    return headers, _problem(problem).body


def _query(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split("&") if part)
    return {name: value for name, _, value in pairs}


def _problem(problem: Problem) -> Answer:
    body = json.dumps(problem.to_json(), ensure_ascii=False).encode("utf-8", "replace")
    return Answer(problem.status, body, _PROBLEM, problem.headers)
