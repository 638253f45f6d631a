"""What there is to see for whoever comes in: the home page, 権限, and the list of operators."""

from __future__ import annotations

from aiohttp import web

from enroll.operators import viewing
from enroll.operators.roles import LABELS, Act, Role, permitted
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import ACTS, KINDS
from gateway.web.pages import GATE


async def home(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What needs attention, as far as the roles allow to see it."""
    gate = request.app[GATE]
    ra = gate.ra
    found = await ra.database.read(lambda db: viewing.standing(db, ra, visitor.actor))
    counts = {**found}
    if visitor.may("ca") and gate.examined is not None:
        counts["authority"] = sum(each.state != "ok" for each in (await gate.examined()).findings)
    soon = viewing.last_day(ra.now())
    return show(request, "home.html", visitor, standing=counts, soon=soon, labels=LABELS)


async def permissions(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """権限: the whole table, with the own roles marked."""
    rows = [(ACTS[act], [permitted([role], act) for role in Role]) for act in Act]
    return show(request, "permissions.html", visitor, rows=rows, roles=list(Role), labels=LABELS)


async def operator_list(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Who works here; or those alone whose certificate ends soon, or has."""
    ra, ending = request.app[GATE].ra, request.query.get("certificate") == "ending"
    at = ra.now()
    found = await ra.database.read(lambda db: viewing.listed(db, at, visitor.actor, ending=ending))
    return show(
        request,
        "operators.html",
        visitor,
        found=found,
        ending=ending,
        at=at,
        labels=LABELS,
        kinds=KINDS,
    )
