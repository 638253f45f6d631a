"""団体: the customers, listed, each with its users and what is recorded of it; what changes is proposed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ca.storage import Transaction
from enroll import rosters, store
from enroll.identifiers import number_in, typed_policy_number
from enroll.operators import store as operators
from enroll.operators.actors import require
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Proposal
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.rosters import WantedOrganisations, WantedUsers
from gateway.sites.console import recording
from gateway.sites.console.asking import show
from gateway.sites.console.fields import PASSWORD_BY
from gateway.sites.console.finding_words import KINDS
from gateway.sites.console.narrowing import Narrowed, narrowed
from gateway.sites.console.recording import ORGANISATION
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import PROPOSALS
from gateway.web.pages import GATE, form, told
from gateway.web.words import Text

LIST, NEW = "/organisations", "/organisations/new"
ONE = LIST + "/{policy_number:[0-9A-Z-]{3,20}}"
#: Field of the address -> what may stand there; the first is what holds without it.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "state": ("", "active", "stopped"),
    "issue_password_by": ("", *PASSWORD_BY),
    "sort": ("number", "newest"),
}
#: What narrows the list: names in the address.
FILTERS = (*_CHOICES, "q")
STATES: Mapping[str, Text] = {"active": ("利用中", "in use"), "stopped": ("利用停止", "disabled")}
#: Act on one -> the kind of proposal.
ACTS: Mapping[str, str] = {
    "change": "organisation.change",
    "disable": "organisation.disable",
    "enable": "organisation.enable",
}


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A page of them, narrowed as the address says."""
    ra, found = request.app[GATE].ra, narrowed(request.query, LIST, _CHOICES)
    wanted = _wanted(found)
    page = await ra.database.read(lambda db: rosters.organisations(db, visitor.actor, wanted, found.after))
    return show(
        request, "organisations.html", visitor, page=page, password_by=PASSWORD_BY, **_list(found, page)
    )


def asked(
    _: RegistrationAuthority, query: Mapping[str, str]
) -> tuple[WantedOrganisations, Mapping[str, str]]:
    """What an address asks for, and what of it narrows the list. Refusal("invalid_input")."""
    found = narrowed(query, LIST, _CHOICES)
    return _wanted(found), found.said


def _wanted(found: Narrowed) -> WantedOrganisations:
    return WantedOrganisations(
        found.text,
        found.chosen["state"],  # type: ignore[arg-type]  # one of the table
        found.chosen["issue_password_by"],
        found.chosen["sort"] == "newest",
    )


def _list(found: Narrowed, page: rosters.Page) -> dict[str, Any]:
    return {"found": found, "following": found.following(page.following)}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: what is recorded, its users, what waits for a decision, and the forms."""
    ra, number = request.app[GATE].ra, request.match_info["policy_number"]

    def read(db: Transaction) -> tuple[store.Organisation, list[Proposal]]:
        require(visitor.actor, Act.SEARCH, Verdict.READ)
        kinds = [*ACTS.values(), "organisation.add"]
        return _known(db, number), operators.proposals_about(db, kinds, number)

    organisation, waiting = await ra.database.read(read)
    users = await rosters.users(ra, visitor.actor, WantedUsers(policy_number=number))
    state = recording.again(told(request))
    return show(
        request,
        "organisation.html",
        visitor,
        status=422 if state["sent"] else 200,
        found=organisation,
        path=f"{LIST}/{number}",
        users=users,
        waiting=waiting if visitor.may("record") else [],
        kinds=PROPOSALS,
        roles=KINDS,
        password_by=PASSWORD_BY,
        stands=recording.shown(organisation, ORGANISATION),
        default_lineages=ra.settings.lineages,
        default_profile=ra.settings.person_profile,
        done=request.query.get("done", ""),
        **state,
        **_form_of(request, "organisation.change"),
    )


async def new(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The form of one more."""
    state = recording.again(told(request))
    return show(
        request,
        "organisation_new.html",
        visitor,
        status=422 if state["sent"] else 200,
        **state,
        **_form_of(request, "organisation.add"),
    )


async def add(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes one more."""
    fields = await form(request)
    typed = recording.read(fields, ORGANISATION)
    payload = {**typed, **_meant(typed)}
    reason = fields.get("reason", "").strip()
    return await recording.ask(request, visitor, "organisation.add", payload, reason, NEW, fields)


async def change(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes what is different about one."""
    number, fields = request.match_info["policy_number"], await form(request)
    organisation = await request.app[GATE].ra.database.read(lambda db: _known(db, number))
    typed = recording.read(fields, ORGANISATION)
    changes = recording.different(
        {**typed, "policy_number": typed_policy_number(typed["policy_number"])}, organisation, ORGANISATION
    )
    payload = {"policy_number": number, "changes": {**changes, **_meant(changes)}}
    return await _ask(request, visitor, "organisation.change", payload, fields)


async def disable(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes that nobody of it logs in, enrolls or gets mails."""
    payload = {"policy_number": request.match_info["policy_number"]}
    return await _ask(request, visitor, "organisation.disable", payload, await form(request))


async def enable(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes to take that back."""
    payload = {"policy_number": request.match_info["policy_number"]}
    return await _ask(request, visitor, "organisation.enable", payload, await form(request))


async def _ask(
    request: web.Request, visitor: Visitor, kind: str, payload: Mapping[str, Any], fields: Mapping[str, str]
) -> web.Response:
    here, reason = f"{LIST}/{request.match_info['policy_number']}", fields.get("reason", "").strip()
    return await recording.ask(request, visitor, kind, payload, reason, here, fields)


def _meant(typed: Mapping[str, str]) -> dict[str, Any]:
    """Of the fields those that are no text, and numbers as they are stored. What is none is refused later."""
    meant = dict[str, Any]()
    if "lineages" in typed:
        count = number_in(typed["lineages"], 4)
        meant["lineages"] = None if not typed["lineages"] else 0 if count is None else count
    if "policy_number" in typed:
        meant["policy_number"] = typed_policy_number(typed["policy_number"])
    return meant


def _known(db: Transaction, number: str) -> store.Organisation:
    found = store.organisation(db, number)
    if found is None:
        raise Refusal("not_found", field="policy_number")
    return found


def _form_of(request: web.Request, kind: str) -> dict[str, Any]:
    """What the form needs: its fields, what they are called, and what there is to choose."""
    return {
        "fields": ORGANISATION,
        "labels": recording.labels(kind, ORGANISATION),
        "choices": recording.choices_of(request),
    }
