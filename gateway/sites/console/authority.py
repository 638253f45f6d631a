"""認証局 and 設定: what doctor finds of the authority, each of its generations, and the settings in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ca.authority import Issuer
from ca.crls import number_and_time
from ca.generations.states import State
from ca.profiles import ROOT_LIST_LIFETIME, Audience
from ca.reading import Reading, read
from enroll.jst import days_left
from enroll.operators import asking, overseeing, viewing
from enroll.operators.actors import require
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act, Verdict
from enroll.refusals import LONGEST_LINE, Refusal
from gateway.sites.console import saying
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import PROPOSALS
from gateway.web.examined import Configured, Examined
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

CA, SETTINGS, CLOCK = "/ca", "/settings", "/ca/clock"
_CONFIRM = "clock.confirm"
#: Name of a check of doctor's -> what it is called.
CHECKS: Mapping[str, Text] = {
    "server certificate": ("サーバー証明書", "Server certificate"),
    "signer": ("署名の処理", "Signer"),
    "key": ("鍵", "Key"),
    "issuing CA": ("発行中の認証局", "Issuing CA"),
    "operators' CA": ("運用者用の認証局", "Operators' CA"),
    "earlier CA": ("以前の認証局", "Earlier CA"),
    "root": ("ルート認証局", "Root"),
    "server CA": ("サーバー用の認証局", "Server CA"),
    "cross-certificate": ("相互認証証明書", "Cross-certificate"),
    "CRL address": ("CRLの配布先", "CRL address"),
    "revocation list": ("失効リスト（CRL）", "Revocation list"),
    "root's list": ("ルートの失効リスト", "Root's list"),
}
#: How a finding stands -> words and the colour of its chip.
STANDS: Mapping[str, tuple[Text, str]] = {
    "ok": (("良好", "ok"), "good"),
    "notice": (("要注意", "notice"), "warn"),
    "bad": (("要対応", "bad"), "bad"),
}
#: What an issuing CA is -> words, the colour of its chip, and what is typed on the server to change that.
GENERATIONS: Mapping[State, tuple[Text, str, str]] = {
    State.STAGED: (("準備済み（未発行）", "staged"), "plain", "sekisho ca activate NAME --at DATE"),
    State.PLANNED: (("発行開始を予定", "planned"), "warn", "sekisho ca withdraw NAME"),
    State.ISSUING: (("発行中", "issuing"), "good", ""),
    State.EARLIER: (("以前の世代（証明書は有効）", "earlier"), "plain", "sekisho ca retire NAME"),
    State.RETURNING: (("再び発行する予定", "returning"), "warn", "sekisho ca withdraw NAME"),
    State.RETIRED: (("発行を終了（証明書は有効）", "retired"), "plain", ""),
    State.OVER: (("終了（鍵は不要）", "over"), "plain", "sekisho ca discard NAME"),
    State.DISCARDED: (("破棄済み", "discarded"), "plain", ""),
    State.DISTRUSTED: (("信頼を停止", "distrusted"), "bad", "sekisho ca reissue NAME"),
}
AUDIENCES: Mapping[Audience, Text] = {
    Audience.CLIENTS: ("利用者・プログラム", "people and programs"),
    Audience.OPERATORS: ("運用者", "operators"),
}
_WHY: Text = (
    f"理由を1行（{LONGEST_LINE}文字以内）で入力してください。",
    f"Please say why, in one line of up to {LONGEST_LINE} characters.",
)
_AGAIN: Text = (
    "同じ内容の起案がすでに承認を待っています。",
    "The same is proposed already, and waits.",
)
_ERRORS: Mapping[str, Text] = {"why": _WHY, "again": _AGAIN}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """認証局: keys, chains, days, lists and answers, with what doctor says of them."""
    gate = request.app[GATE]
    ra = gate.ra
    found = await ra.database.read_aside(lambda db: overseeing.overseen(db, ra, visitor.actor))
    examined = await gate.examined() if gate.examined is not None else Examined((), (), ra.now())
    names = await ra.database.read(
        lambda db: viewing.names_in(db, *({"by": each.proposed_by} for each in found.proposals))
    )
    state, only = told(request), request.query.get("only") == "attention"
    return show(
        request,
        "ca.html",
        visitor,
        found=found,
        examined=examined,
        findings=[each for each in examined.findings if not only or each.state != "ok"],
        only=only,
        roots=_roots(ra.authority.issuers),
        root_list=_root_list(ra.authority.root_list),
        days=lambda end: days_left(end, ra.now()),
        may_confirm=found.doubt is not None and visitor.may("settings", "PROPOSE"),
        subject=lambda each: saying.subject(each.kind, each.subject, names),
        who=lambda by: saying.who(by, names),
        error=_ERRORS.get(state.get("error", "")),
        checks=CHECKS,
        stands=STANDS,
        states=GENERATIONS,
        audiences=AUDIENCES,
        proposals=PROPOSALS,
    )


async def confirm_clock(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes that the clock, which is in doubt, is right; another CA officer decides."""
    ra, fields = request.app[GATE].ra, await form(request)
    why = fields.get("why", "").strip()
    if not why or not why.isprintable() or len(why) > LONGEST_LINE:
        return tell(request, CA, {"error": "why"})
    try:
        done = await asking.ask(ra, visitor.actor, _CONFIRM, {}, reason=why)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, CA, {"error": "again"})
    return see_other(f"/proposals/{done.number}?done=proposed" if isinstance(done, Proposed) else CA)


async def settings(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """設定, to be read: each value beside its default, and what the file says by now."""
    gate = request.app[GATE]
    require(visitor.actor, Act.SETTINGS, Verdict.READ)
    found = await gate.configured() if gate.configured is not None else Configured(())
    only = request.query.get("only", "")
    only = only if only in ("set", "pending") else ""
    rows = [
        each
        for each in found.settings
        if not only or (each.is_set if only == "set" else each.pending is not None)
    ]
    return show(
        request,
        "settings.html",
        visitor,
        found=found,
        rows=rows,
        only=only,
        counts={
            "": len(found.settings),
            "set": sum(each.is_set for each in found.settings),
            "pending": sum(each.pending is not None for each in found.settings),
        },
    )


def _roots(issuers: tuple[Issuer, ...]) -> list[Reading]:
    """What our issuing CAs stand below, each once."""
    return [read(der) for der in dict.fromkeys(each.chain[-1] for each in issuers if each.chain)]


def _root_list(der: bytes) -> dict[str, Any] | None:
    if not der:
        return None
    number, made_at = number_and_time(der)
    return {"number": number, "this_update_at": made_at, "next_update_at": made_at + ROOT_LIST_LIFETIME}
