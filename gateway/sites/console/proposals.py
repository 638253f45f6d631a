"""承認待ち: what somebody wants done, and somebody else decides, with a passkey for each decision."""

from __future__ import annotations

from aiohttp import web

from enroll.operators import asking
from enroll.operators.asking import may_decide, state_at
from enroll.operators.kinds import KINDS
from enroll.operators.roles import LABELS, roles_with
from enroll.operators.store import Proposal
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.sites.console.words import PROPOSALS, STATES
from gateway.web.pages import GATE, form, see_other, tell, told

_PAGE = 50


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Those that one may look at, newest first: that wait, or all."""
    ra, every = request.app[GATE].ra, request.query.get("state") == "all"
    typed = request.query.get("before", "")
    before = int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 15 else 2**62
    at = ra.now()

    shown = await ra.database.read(
        lambda db: asking.listed(db, visitor.actor, at, every=every, before=before)
    )
    page = shown[:_PAGE]
    return show(
        request,
        "proposals.html",
        visitor,
        found=[(each, state_at(each, at), may_decide(visitor.actor, each, at)) for each in page],
        further=page[-1].number if len(shown) > _PAGE else None,
        total=len(shown),
        every=every,
        kinds=PROPOSALS,
        states=STATES,
    )


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: what is to be done, what stood there, who may decide it, and until when."""
    found, at = await _known(request, visitor), request.app[GATE].ra.now()
    return show(
        request,
        "proposal.html",
        visitor,
        found=found,
        state=state_at(found, at),
        decides=may_decide(visitor.actor, found, at),
        own=found.proposer == visitor.actor.identity,
        deciders=roles_with(KINDS[found.kind].act, deciding=True),
        error=told(request).get("error", ""),
        done=request.query.get("done", ""),
        kinds=PROPOSALS,
        states=STATES,
        labels=LABELS,
    )


async def approve(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Carries it out, once the passkey was used for this very decision."""
    ra, fields, found = request.app[GATE].ra, await form(request), await _known(request, visitor)
    if not may_decide(visitor.actor, found, ra.now()):
        await asking.approve(ra, visitor.actor, found.number)  # which says why not
    ja, en = PROPOSALS[found.kind]
    waiting = await confirmed(
        request, visitor, fields, (f"承認：{ja}（{found.subject}）", f"Approve: {en} ({found.subject})")
    )
    if waiting is not None:
        return waiting
    await asking.approve(ra, visitor.actor, found.number, note=fields.get("note", ""))
    return see_other(f"/proposals/{found.number}?done=approved")


async def reject(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Turns it down, with a reason."""
    ra, fields, found = request.app[GATE].ra, await form(request), await _known(request, visitor)
    if not fields.get("note", "").strip():
        return tell(request, f"/proposals/{found.number}", {"error": "note"})
    ja, en = PROPOSALS[found.kind]
    waiting = await confirmed(
        request, visitor, fields, (f"却下：{ja}（{found.subject}）", f"Reject: {en} ({found.subject})")
    )
    if waiting is not None:
        return waiting
    await asking.reject(ra, visitor.actor, found.number, note=fields["note"].strip())
    return see_other(f"/proposals/{found.number}?done=rejected")


async def withdraw(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Takes one's own back."""
    found = await _known(request, visitor)
    await asking.withdraw(request.app[GATE].ra, visitor.actor, found.number)
    return see_other(f"/proposals/{found.number}?done=withdrawn")


async def _known(request: web.Request, visitor: Visitor) -> Proposal:
    """A proposal that one may look at; for anybody else there is none."""
    number = int(request.match_info["number"])
    ra = request.app[GATE].ra
    return await ra.database.read(lambda db: asking.seen(db, visitor.actor, number))
