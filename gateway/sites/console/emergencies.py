"""非常時の権限: what somebody took by the passphrase, and the word of an auditor who has looked at it."""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from ca.storage import Transaction
from enroll.jst import day_of
from enroll.operators import emergency, viewing
from enroll.operators import store as operators
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
    found = await ra.database.read(lambda db: operators.glass(db, number))
    if found is None:
        raise Refusal("not_found", field="break_glass")
    ja, en = LABELS[found.role]
    what = (
        f"{found.account}の非常時の権限{number}（{ja}）を点検済みにする：{note}",
        f"Emergency {number} of {found.account} ({en}) was looked at: {note}",
    )
    if (asked := await confirmed(request, visitor, fields, what, _REVIEWED)) is not None:
        return asked
    try:
        await emergency.review(ra, visitor.actor, number, note)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return _back(number, "conflict", note, request)
    return see_other(f"{LIST}?done=1")


_REVIEWED: Text = (
    "この権限は、まだ有効であれば直ちに終わり、点検待ちの表示が消えます。点検した人と内容は監査記録に残ります。取り消せません。",
    "The role ends at once if it is still in force, and nobody is asked to look at it any more. The record "
    "has who did, and what was found. It cannot be undone.",
)


def _back(number: int, wrong: str, note: str, request: web.Request) -> web.StreamResponse:
    return tell(request, LIST, {"wrong": wrong, "number": number, "note": note[:1000]})


def _lines(glass: Glass) -> str:
    """Where the record has what was done with it."""
    days = {"from": day_of(glass.opened_at).isoformat(), "to": day_of(glass.ends_at).isoformat()}
    return "/audit?" + urlencode({"actor": f"break-glass:{glass.account}/{glass.role}", **days})
