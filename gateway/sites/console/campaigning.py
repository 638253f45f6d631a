"""A campaign begins, writes to those who have not renewed, and ends: what is typed, and confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web

from ca.profiles import Audience
from ca.storage import Transaction
from enroll import campaigns, identifiers
from enroll.campaigns import Campaign, working
from enroll.campaigns.working import EVERY_DAYS, MOST_DAYS
from enroll.identifiers import number_in
from enroll.jst import day_of, start_of
from enroll.operators import asking
from enroll.operators.asking import Proposed
from enroll.refusals import Refusal
from gateway.sites.console.asking import show
from gateway.sites.console.campaigns import CAMPAIGNS, table_words, total_of
from gateway.sites.console.campaignwords import BEGINNING, ENDED, LETTERS_LEAVE, REMINDABLE
from gateway.sites.console.narrowing import typed_day
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.web.pages import GATE, form, see_other, tell, told

NEW = f"{CAMPAIGNS}/new"
_LONGEST = 100
# Field of a refusal -> what the form calls it.
_FIELDS = {
    "set": "from", "first_at": "from", "until_at": "to", "policy_number": "organisation", "issuer_id": "ca",
    "every_days": "every",
}  # fmt: skip


async def new(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Asks what a campaign is to be about."""
    state, ra = told(request), request.app[GATE].ra
    typed = {"every": str(EVERY_DAYS)} | state.get("typed", {})
    return show(
        request,
        "campaign_new.html",
        visitor,
        status=422 if state else 200,
        values=typed,
        errors={state["wrong"]: BEGINNING[state["wrong"]]} if state else {},
        issuers={each.issuer_id: (each.common_name,) * 2 for each in ra.authority.of(Audience.CLIENTS)},
        most=MOST_DAYS,
        today=day_of(ra.now()).isoformat(),
        **table_words(),
    )


async def begin(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Begins it. No letter leaves by that."""
    ra, fields = request.app[GATE].ra, await form(request)
    typed = {
        name: fields.get(name, "").strip()[:_LONGEST]
        for name in ("name", "from", "to", "organisation", "ca", "every")
    }
    try:
        done = await asking.ask(ra, visitor.actor, "campaign.begin", _payload(typed))
    except Refusal as refusal:
        wrong = _FIELDS.get(refusal.field, refusal.field)
        if refusal.code not in ("invalid_input", "not_found") or wrong not in BEGINNING:
            raise
        return tell(request, NEW, {"wrong": wrong, "typed": typed})
    assert not isinstance(done, Proposed), "no role proposes it"
    return see_other(f"{CAMPAIGNS}/{done.result['campaign']}?done=begun")


async def reminder(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Who would get a letter, why others would not, and what comes of it."""
    return await _reminder(request, visitor)


async def _reminder(request: web.Request, visitor: Visitor, error: str = "") -> web.StreamResponse:
    ra, number = request.app[GATE].ra, int(request.match_info["number"])

    def work(db: Transaction) -> tuple[Campaign, working.Remindable, asking.Step]:
        found = campaigns.known(db, number)
        due = working.remindable(db, ra, found)
        step = asking.step_of(db, ra, visitor.actor, "campaign.remind", _reminding(found, due))
        return found, due, step

    found, due, step = await ra.database.read_aside(work)
    why = [(words, getattr(due, name)) for name, words in REMINDABLE.items() if getattr(due, name)]
    return show(
        request,
        "campaign_remind.html",
        visitor,
        status=422 if error else 200,
        found=found,
        letters=len(due.numbers),
        why=why,
        alone=step == "do",
        letters_leave=LETTERS_LEAVE,
        error=error,
        **table_words(),
    )


async def remind(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Begins the job, or proposes it where there are many: of those whom the page has counted."""
    ra, fields, number = request.app[GATE].ra, await form(request), int(request.match_info["number"])
    reason = fields.get("reason", "").strip()
    found = await ra.database.read(lambda db: campaigns.known(db, number))
    due = await ra.database.read_aside(lambda db: working.remindable(db, ra, found))
    payload = _reminding(found, due)
    if not reason:
        return await _reminder(request, visitor, "reason")
    if fields.get("letters") != str(len(due.numbers)) or not due.numbers or found.ended_at is not None:
        return await _reminder(request, visitor, "changed")
    kind, actor = "campaign.remind", visitor.actor
    if await ra.database.read(lambda db: asking.step_of(db, ra, actor, kind, payload)) == "do":
        count = len(due.numbers)
        what = (f"{found.name}：更新の案内を{count}通送る", f"{found.name}: write {count} letters")
        if (asked := await confirmed(request, visitor, fields, what, LETTERS_LEAVE)) is not None:
            return asked
    done = await asking.ask(ra, actor, kind, payload, reason=reason)
    if isinstance(done, Proposed):
        return see_other(f"/proposals/{done.number}?done=proposed")
    return see_other(f"/jobs/{done.result['job']}?done=begun")


async def ending(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What becomes of a campaign that is ended."""
    return await _ending(request, visitor)


async def _ending(request: web.Request, visitor: Visitor, error: str = "") -> web.StreamResponse:
    found = await total_of(request, visitor)
    values = {"found": found.campaign, "total": found.total, "error": error, "ended": ENDED}
    status = 422 if error else 200
    return show(request, "campaign_end.html", visitor, status=status, **values, **table_words())


async def end(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Ends it, for good."""
    ra, fields, number = request.app[GATE].ra, await form(request), int(request.match_info["number"])
    reason = fields.get("reason", "").strip()
    found = await ra.database.read(lambda db: campaigns.known(db, number))
    if not reason:
        return await _ending(request, visitor, "reason")
    if found.ended_at is not None:
        return see_other(f"{CAMPAIGNS}/{number}")
    what = (f"キャンペーン「{found.name}」を終了する", f"End the campaign {found.name}")
    if (asked := await confirmed(request, visitor, fields, what, ENDED)) is not None:
        return asked
    await asking.ask(ra, visitor.actor, "campaign.end", {"campaign": number}, reason=reason)
    return see_other(f"{CAMPAIGNS}/{number}?done=over")


def _reminding(found: Campaign, due: working.Remindable) -> dict[str, Any]:
    return {"campaign": found.number, "numbers": list(due.numbers)}


def _payload(typed: Mapping[str, str]) -> dict[str, Any]:
    first, last = typed_day(typed, "from"), typed_day(typed, "to")
    number = identifiers.typed_policy_number(typed["organisation"])
    return {
        "name": typed["name"],
        "first_at": None if first is None else start_of(first),
        "until_at": None if last is None else start_of(last + timedelta(days=1)),
        "policy_number": number or None,
        "issuer_id": typed["ca"] or None,
        "every_days": number_in(typed["every"], 3) or 0,
    }
