"""非常時の権限: what somebody took by the passphrase, and the word of an auditor who has looked at it."""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from ca.storage import Transaction
from enroll.jst import day_of
from enroll.operators import emergency, viewing
from enroll.operators.roles import LABELS
from enroll.operators.store import Glass
from enroll.refusals import Refusal, check_line
from gateway.sites.console import saying
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

LIST = "/emergencies"
REVIEW = LIST + "/{number:[0-9]{1,12}}"
#: What was refused -> why.
WRONG: dict[str, Text] = {
    "note": (
        "確認した内容を、1行・500文字以内で入力してください。",
        "Say what you have found, in one line of up to 500 characters.",
    ),
    "conflict": ("すでに点検済みです。", "Somebody has looked at it already."),
}


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Those that nobody has looked at yet, or all."""
    ra, every = request.app[GATE].ra, request.query.get("state") == "all"
    state, at = told(request), ra.now()

    def work(db: Transaction) -> tuple[list[Glass], viewing.Names]:
        found = viewing.emergencies(db, visitor.actor, every=every)
        return found, viewing.names_in(db, *({"reviewed_by": each.reviewed_by} for each in found))

    found, names = await ra.database.read(work)
    return show(
        request,
        "emergencies.html",
        visitor,
        status=422 if state else 200,
        found=found,
        every=every,
        at=at,
        lines=_lines,
        problem=WRONG.get(state.get("wrong", "")),
        wrong=state.get("number"),
        note=state.get("note", ""),
        who=lambda by: saying.who(by, names),
        reviewed="done" in request.query,
        labels=LABELS,
    )


async def review(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """It was looked at, once the passkey was used; the role ends with it."""
    ra, number, fields = request.app[GATE].ra, int(request.match_info["number"]), await form(request)
    note = fields.get("note", "").strip()
    try:
        check_line("note", note, needed=True)
    except Refusal:
        return _back(number, "note", note, request)
    what = (
        f"非常時の権限{number}を点検済みにする：{note}。この権限は直ちに終わります。取り消せません",
        f"Emergency {number} was looked at: {note}. Its role ends at once, for good",
    )
    if (asked := await confirmed(request, visitor, fields, what)) is not None:
        return asked
    try:
        await emergency.review(ra, visitor.actor, number, note)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return _back(number, "conflict", note, request)
    return see_other(f"{LIST}?done=1")


def _back(number: int, wrong: str, note: str, request: web.Request) -> web.StreamResponse:
    return tell(request, LIST, {"wrong": wrong, "number": number, "note": note[:1000]})


def _lines(glass: Glass) -> str:
    """Where the record has what was done with it."""
    days = {"from": day_of(glass.opened_at).isoformat(), "to": day_of(glass.ends_at).isoformat()}
    return "/audit?" + urlencode({"actor": f"break-glass:{glass.account}/{glass.role}", **days})
