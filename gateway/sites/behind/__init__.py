"""The host of the service behind the gate, where the portal has one of its own (``sites.portal``).

Nobody logs in here. Whoever is logged in at the portal brings a ticket: good once, for a minute, and with a
certificate of the same user only. It opens a session of this host, which no page of the portal takes.
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from enroll.refusals import Refusal
from enroll.requests.renewal import source_of
from gateway.sites.service.apart import keep_apart
from gateway.sites.service.visitors import LOGIN, OPEN, PORTAL, local_path, verified, visitor_of
from gateway.web import sessions
from gateway.web.context import Gate, Role
from gateway.web.pages import GATE, Handler, cookies_blocked, elsewhere, see_other, site_application

SITE = str(Role.BEHIND)


def application(gate: Gate) -> web.Application:
    """The site's own pages, which lead to the portal; every other path is for the upstream."""
    app = site_application(gate, Role.BEHIND, "gateway")
    keep_apart(app, gate)
    app.router.add_get("/login", _come_in)
    for path, there in (("/", PORTAL), ("/logout", "/logout"), ("/portal{rest:(?:/.*)?}", PORTAL)):
        app.router.add_get(path, _led_to(there))
    return app


async def _come_in(request: web.Request) -> web.StreamResponse:
    """With a ticket in, without one to the portal for it."""
    gate, peer = request.app[GATE], verified(request)
    following = local_path(request.query.get("next", ""))
    if await visitor_of(request, request.app) is not None:
        return see_other(following)
    if sessions.keeps_none(request, SITE):
        # Else the portal would send them back here, for ever.
        return await cookies_blocked(request, LOGIN)
    ticket = await sessions.take_over(gate.ra, request.query.get("ticket", ""))
    if ticket is None:
        page = f"{OPEN[1:]}?next={quote(following, safe='/')}"
        return see_other(elsewhere(request, gate.origins[Role.SERVICE], page))
    source = await gate.ra.database.read(lambda db: source_of(db, peer.fingerprint))
    if source.user_id != ticket.subject:
        raise Refusal("wrong_user")
    response = see_other(f"{LOGIN}?{sessions.ENTERED}&next={quote(following, safe='/')}")
    await sessions.start(
        gate.ra,
        response,
        SITE,
        ticket.subject,
        sessions.client_of(request),
        fingerprint=peer.fingerprint,
        password_mark=ticket.password_mark,
        opened_by=ticket.opened_by,
        previous=await sessions.find(gate.ra, request, SITE, fingerprint=peer.fingerprint),
    )
    return response


def _led_to(page: str) -> Handler:
    """A page of the portal's; what else was asked for is that page's own business."""

    async def lead(request: web.Request) -> web.StreamResponse:
        return see_other(elsewhere(request, request.app[GATE].origins[Role.SERVICE], page[1:]))

    return lead
