"""An operator's own page: another one-time code, other roles, or the end, proposed by one and decided by
another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from enroll.operators import asking, viewing
from enroll.operators.asking import Proposed
from enroll.operators.roles import LABELS, Role
from enroll.refusals import Refusal
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import KINDS
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

LIST = "/operators"
OPERATOR = LIST + "/{name:[a-z][a-z0-9._-]{1,31}}"
# What the form proposes -> the kind.
_ASKED: Mapping[str, str] = {"code": "operator.code", "roles": "operator.change", "end": "operator.end"}
#: What was refused -> why.
WRONG: Mapping[str, Text] = {
    "roles": (
        "役割を、現在と違うように選択してください。",
        "Choose roles that are not those of today.",
    ),
    "what": ("起案する操作を選択してください。", "Choose what to propose."),
    "reason": (
        "理由を、1行・500文字以内で入力してください。",
        "Say why, in one line of up to 500 characters.",
    ),
    "mail": (
        "メールアドレスの登録がないため、コードを送れません。先に登録してください："
        "sekisho operator change ID --mail ADDRESS",
        "There is no email address to send a code to. First record one: "
        "sekisho operator change ID --mail ADDRESS",
    ),
    "proposal": (
        "同じ内容の起案がすでに承認を待っています。「承認待ち」でご確認ください。",
        "The same is proposed already, and waits: see “Proposals”.",
    ),
}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Who it is, with which certificates and passkeys, and what can be proposed."""
    ra, state = request.app[GATE].ra, told(request)
    at, name = ra.now(), request.match_info["name"]
    found = await ra.database.read(lambda db: viewing.one(db, at, visitor.actor, name))
    return show(
        request,
        "operator.html",
        visitor,
        status=422 if state else 200,
        found=found,
        at=at,
        typed=state.get("typed", {}),
        wrong=state.get("wrong", ""),
        problem=WRONG.get(state.get("wrong", "")),
        labels=LABELS,
        roles=list(Role),
        kinds=KINDS,
        may_propose=visitor.may("operators", "PROPOSE"),
    )


async def propose(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes it: the code goes to the operator alone, by mail, once somebody else has approved."""
    ra, name, fields = request.app[GATE].ra, request.match_info["name"], await form(request)
    typed: dict[str, Any] = {each: fields.get(each, "").strip() for each in ("what", "reason")}
    typed["roles"] = [str(role) for role in Role if fields.get(f"role-{role}")]
    wrong = "what" if typed["what"] not in _ASKED else "" if typed["reason"] else "reason"
    payload: dict[str, Any] = {"name": name}
    if not wrong and typed["what"] == "roles":
        found = await ra.database.read(lambda db: viewing.one(db, ra.now(), visitor.actor, name))
        wrong = "roles" if set(typed["roles"]) in (set(), set(found.operator.roles)) else ""
        payload["changes"] = {"roles": typed["roles"]}
    if not wrong:
        try:
            made = await asking.ask(ra, visitor.actor, _ASKED[typed["what"]], payload, reason=typed["reason"])
            assert isinstance(made, Proposed), "nobody does that alone at the console"
            return see_other(f"/proposals/{made.number}?done=proposed")
        except Refusal as refusal:
            if refusal.code not in ("invalid_input", "conflict"):
                raise
            wrong = refusal.field
    return tell(request, f"{LIST}/{name}", {"wrong": wrong, "typed": typed})
