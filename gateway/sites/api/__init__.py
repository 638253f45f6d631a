"""The registration API: other systems look things up and ask for them, by certificate, as service accounts.

How a resource is added: what it does is a function of `enroll` that asks the table of roles itself; a module
here has its handlers (`Call` to `Answer`) and the shapes of its bodies and queries (`reading.Input`),
`records.py` how it looks, `table.py` a `Route` for each method, `openapi.yaml` its description. A POST does
what it does by `Call.once` (or `asked.ask`, where it may take two), which keeps the answer under its
Idempotency-Key; a PATCH by `Call.changing`, which holds If-Match. tests/gateway/sites/test_api.py has a row
for each route: who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from ca.trust import CertificateState, Rejection
from enroll import generations
from gateway.sites.api.entering import LOOKING, Route, answered, problem_of, unheard
from gateway.sites.api.problems import Problem, later
from gateway.sites.api.reading import LONGEST_FILE
from gateway.sites.api.table import ROUTES
from gateway.web.context import Gate
from gateway.web.pages import Handler
from gateway.wire import http

__all__ = ["application", "refused", "unheard"]


def application(gate: Gate) -> web.Application:
    """The site as an application. It must stand behind a listener that requires an operator's certificate."""

    @web.middleware
    async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            await generations.ready(gate.ra)
            return await handler(request)
        except ConnectionError:
            raise
        except Exception as error:
            return await problem_of(request, gate, error)

    app = web.Application(middlewares=[problems], client_max_size=LONGEST_FILE)
    app[LOOKING] = asyncio.Lock()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _served(gate, route))
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, _served(gate, route))
    return app


def _served(gate: Gate, route: Route) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        return await answered(request, gate, route)

    return serve


def refused(gate: Gate) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """What is answered to those without a good operator's certificate."""

    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        verdict = http.peer(request)
        unasked = isinstance(verdict, Rejection) and verdict.state is CertificateState.UNASKED
        return await problem_of(
            request, gate, later("out_of_order") if unasked else Problem("no_certificate")
        )

    return refuse
