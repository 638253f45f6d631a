"""運用者の起案: an operator is proposed here, by whoever has no account on the machine; another decides."""

from __future__ import annotations

from aiohttp import web

from enroll.languages import LANGUAGES
from enroll.operators import asking
from enroll.operators.asking import Proposed
from enroll.operators.roles import LABELS, Role
from enroll.refusals import Refusal
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import ADMITTING
from gateway.web.pages import GATE, form, see_other, tell, told

NEW = "/operators/new"
# Field that was refused -> what the form calls it.
_FIELDS = {"operator": "name", "taken": "name", "name": "display"}
_TYPED = ("name", "display", "mail", "language")


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Asks who is to work here, and as what."""
    state = told(request)
    return show(
        request,
        "admit.html",
        visitor,
        status=422 if state else 200,
        typed=state.get("typed", {}),
        wrong=_FIELDS.get(state.get("wrong", ""), state.get("wrong", "")),
        problem=ADMITTING.get(state.get("wrong", "")),
        roles=list(Role),
        labels=LABELS,
    )


async def propose(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes it: the one-time code goes to the operator alone, by mail, once somebody else has approved."""
    ra, fields = request.app[GATE].ra, await form(request)
    typed = {name: fields.get(name, "").strip() for name in _TYPED}
    typed["language"] = typed["language"] if typed["language"] in LANGUAGES else LANGUAGES[0]
    roles = [str(role) for role in Role if fields.get(f"role-{role}")]
    reason = fields.get("reason", "").strip()
    kept = typed | {"roles": roles, "reason": reason}
    if not typed["mail"]:
        return tell(request, NEW, {"wrong": "mail", "typed": kept})
    payload = {**typed, "display": typed["display"] or typed["name"], "roles": roles}
    payload |= {"kind": "person", "account": ""}
    try:
        found = await asking.ask(ra, visitor.actor, "operator.add", payload, reason=reason)
    except Refusal as refusal:
        if refusal.code not in ("invalid_input", "conflict"):
            raise
        wrong = "taken" if (refusal.code, refusal.field) == ("conflict", "operator") else refusal.field
        return tell(request, NEW, {"wrong": wrong, "typed": kept})
    assert isinstance(found, Proposed), "nobody adds an operator alone at the console"
    return see_other(f"/proposals/{found.number}?done=proposed")
