"""What there is to see for whoever comes in: the home page, 権限, and the list of operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from ca.storage import Transaction
from enroll.operators import queue, registers, viewing
from enroll.operators.queue import Task
from enroll.operators.roles import LABELS, Act, Role, permitted
from enroll.operators.store import Glass, Proposal
from enroll.operators.viewing import Names
from enroll.store import Application
from gateway.sites.console import saying
from gateway.sites.console.applications import about
from gateway.sites.console.asking import show
from gateway.sites.console.due import due
from gateway.sites.console.emergencies import LIST as EMERGENCIES
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import ACTS, KINDS, PROPOSALS
from gateway.sites.service.words import KINDS as APPLICATIONS
from gateway.web.pages import GATE
from gateway.web.words import Text


async def home(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What needs attention, as far as the roles allow to see it."""
    gate = request.app[GATE]
    ra = gate.ra

    def work(db: Transaction) -> tuple[Mapping[str, Any], Sequence[Task], Names]:
        tasks = queue.queue(db, ra, visitor.actor)
        return viewing.standing(db, ra, visitor.actor), tasks, viewing.names_in(db, *map(_named, tasks))

    found, tasks, names = await ra.database.read(work)
    await registers.note_queue(ra, visitor.actor, [each.about for each in tasks], list(names.users))
    counts = {**found}
    if visitor.may("ca") and gate.examined is not None:
        counts["authority"] = sum(each.state != "ok" for each in (await gate.examined()).findings)
    soon = viewing.last_day(ra.now())
    at = ra.now()
    mine = [(*_said(each, names), due(each.due_at, at)) for each in tasks]
    return show(
        request, "home.html", visitor, mine=mine, most=queue.MOST, standing=counts, soon=soon, labels=LABELS
    )


def _named(task: Task) -> Mapping[str, Any]:
    """Facts whose names a row says."""
    match task.about:
        case Proposal() as found:
            return {"payload": found.payload, "before": found.before, "proposed_by": found.proposed_by}
        case Application() as found:
            return {"user_id": found.user_id, "policy_number": found.policy_number}
        case Glass() as found:
            return {}


def _said(task: Task, names: Names) -> tuple[str, Text, Text]:
    """Where it is done, what it is, and about whom or what."""
    match task.about:
        case Proposal() as found:
            said = saying.subject(found.kind, found.subject, names)
            return f"/proposals/{found.number}", PROPOSALS[found.kind], said
        case Application() as found:
            ja, en = APPLICATIONS[found.kind]
            said = about(found, names.users.get(found.user_id, ""))
            return f"/applications/{found.id}", (f"申請：{ja}", f"Application: {en}"), said
        case Glass() as found:
            ja, en = LABELS[found.role]
            said = (f"{found.account}、{ja}", f"{found.account}, {en}")
            return EMERGENCIES, ("非常時の権限の点検", "Emergency to be looked at"), said


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
