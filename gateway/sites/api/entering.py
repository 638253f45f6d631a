"""What every request of the API passes: who asks, from where, whether they may, once, and how it is
answered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from ca.storage import in_log, is_out_of_order
from ca.trust import VerifiedPeer
from enroll import repeats
from enroll.operators import actors
from enroll.operators.actors import Actor
from enroll.operators.roles import Act, Verdict
from enroll.refusals import Refusal
from enroll.repeats import Before
from enroll.repeats.store import Repeat
from gateway.sites.api import reading
from gateway.sites.api.calls import Answer, Call, unpacked
from gateway.sites.api.problems import MEDIA_TYPE, PASSING, Problem, later, of_denial, of_refusal
from gateway.sites.api.reading import LONGEST_BODY, LONGEST_FILE, Input, Nothing
from gateway.web.context import Gate
from gateway.wire import http
from gateway.wire.rules import Denial
from gateway.wire.sites import Said

log = logging.getLogger("sekisho.api")

Handler = Callable[[Call], Awaitable[Answer]]
LOOKING: web.AppKey[asyncio.Lock] = web.AppKey("looking through a file", asyncio.Lock)
JSON, CSV = "application/json", "text/csv"
#: Of every answer: it is for whoever asked, and no page.
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}


@dataclass(frozen=True)
class Route:
    """A method of a resource. ``act`` None: any service's, and the function says which of them; else some of
    ``wanted`` is asked of the roles. ``body``: what a POST or PATCH has, as JSON; None for a file of CSV."""

    method: str
    path: str
    handler: Handler
    act: Act | None = None
    wanted: Verdict = Verdict.READ
    query: type[Input] = Nothing
    body: type[Input] | None = Nothing


async def answered(request: web.Request, gate: Gate, route: Route) -> web.StreamResponse:
    """What a service gets for a request."""
    actor = await who(request, gate)
    if route.act is not None:
        actors.require_any(actor, route.act, route.wanted)
    query = reading.query_of(request.query, route.query)
    names, looking = dict(request.match_info), request.app[LOOKING]
    if route.method == "POST":
        key, (body, content) = reading.key_of(request), await _body(request, route)
        # The query is a part of what is asked for; the body as its bytes are.
        digest = repeats.digest_of(b"POST", request.raw_path.encode(), content)
        return respond(await _once(Call(gate, actor, names, query, body, looking), route, key, digest))
    if route.method == "PATCH":
        tags, (body, _) = reading.if_match_of(request), await _body(request, route)
        return respond(await route.handler(Call(gate, actor, names, query, body, looking, if_match=tags)))
    return respond(await route.handler(Call(gate, actor, names, query, None, looking)))


async def who(request: web.BaseRequest, gate: Gate) -> Actor:
    """The service that asks. Refusal("not_permitted") for a person, a stranger and another address."""
    peer = http.peer(request)
    if not isinstance(peer, VerifiedPeer):
        raise Problem("no_certificate")
    address = http.connection(request).peer_address
    actor = await gate.ra.database.read(lambda db: actors.of_service(db, peer.fingerprint, address))
    request[http.SUBJECT] = actor.identity
    return actor


async def _body(request: web.BaseRequest, route: Route) -> tuple[Any, bytes]:
    if route.body is None:
        reading.check_media_type(request, CSV)
        content = await reading.body_of(request, LONGEST_FILE)
        return content, content
    content = await reading.body_of(request, LONGEST_BODY)
    if content:
        reading.check_media_type(request, JSON)
    return reading.json_of(content, route.body), content


async def _once(call: Call, route: Route, key: str, digest: str) -> Answer:
    """Does it, or answers as before; what is refused for good is answered so again."""
    ra = call.ra
    assert call.actor.operator is not None
    try:
        claimed = await repeats.claim(ra, call.actor.operator, key, digest)
    except repeats.InFlight as other:
        raise later("in_flight", other.seconds) from None
    except repeats.AnotherBody:
        raise Problem("key_reused") from None
    if isinstance(claimed, Before):
        return unpacked(claimed.answer)
    try:
        return await route.handler(replace(call, claimed=claimed))
    except (Problem, Refusal) as refused:
        problem = of_refusal(refused, ra.now()) if isinstance(refused, Refusal) else refused
        await _keep(call, claimed, problem)
        raise problem from None
    except BaseException:
        # Whether it was done the row says: released is only what has no answer.
        await repeats.release(ra, claimed)
        raise


async def _keep(call: Call, claimed: Repeat, problem: Problem) -> None:
    if problem.status in PASSING:
        await repeats.release(call.ra, claimed)
    else:
        await repeats.finish(call.ra, claimed, problem_answer(problem).packed())


def problem_answer(problem: Problem) -> Answer:
    """A problem document."""
    return Answer(problem.document(), problem.status, {"Content-Type": MEDIA_TYPE, **problem.headers})


def respond(answer: Answer) -> web.Response:
    """An answer as aiohttp has it."""
    headers, body = _written(answer)
    return web.Response(status=answer.status, body=body, headers=headers)


def unheard(why: Denial, _target: str) -> Said:
    """What is answered where the wire refuses a request before it is looked at here."""
    headers, body = _written(problem_answer(of_denial(why)))
    return tuple(headers.items()), body


def _written(answer: Answer) -> tuple[dict[str, str], bytes]:
    kind, body = answer.raw or (JSON, json.dumps(answer.value, ensure_ascii=False).encode() + b"\n")
    return {"Content-Type": kind, **HEADERS, **answer.headers}, body


async def problem_of(request: web.BaseRequest, gate: Gate, error: Exception) -> web.Response:
    """Whatever went wrong, as a problem document; ours is told by the log alone."""
    if isinstance(error, Refusal):
        error = of_refusal(error, gate.now())
    if isinstance(error, web.HTTPMethodNotAllowed):
        error = Problem("method_not_allowed", headers={"Allow": ", ".join(sorted(error.allowed_methods))})
    if isinstance(error, web.HTTPNotFound):
        error = Problem("not_found", "there is no such resource")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        error = Problem("too_large")
    if not isinstance(error, Problem):
        log.error("%s %s failed: %s", request.method, request.path, in_log(error), exc_info=error)
        error = later("out_of_order") if is_out_of_order(error) else Problem("internal")
    return respond(problem_answer(error))
