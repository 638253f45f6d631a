"""承認待ち: what somebody wants done, and somebody else decides, with a passkey for each decision."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ca.storage import Transaction
from enroll.identifiers import number_in
from enroll.jobs.kinds import KINDS as JOBS
from enroll.operators import asking, imports, registers, viewing
from enroll.operators.asking import may_decide, state_at
from enroll.operators.kinds import KINDS
from enroll.operators.roles import LABELS, roles_with
from enroll.operators.store import Proposal
from enroll.operators.viewing import Names
from gateway.sites.console import importing, saying
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.sites.console.words import PROPOSALS, STATES
from gateway.web import sessions
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

_PAGE = 50


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Those that one may look at, newest first: that wait, or all."""
    ra, every = request.app[GATE].ra, request.query.get("state") == "all"
    typed, at = number_in(request.query.get("before", ""), 14), ra.now()
    before = 2**62 if typed is None else typed

    def work(db: Transaction) -> tuple[list[Proposal], int, int, set[int], Names]:
        actor = visitor.actor
        page = asking.listed(db, actor, at, every=every, before=before, limit=_PAGE + 1)
        shown = page[:_PAGE]
        newer = asking.count(db, actor, at, every=every, behind=shown[0].number) if shown else 0
        decides = {each.number for each in shown if may_decide(db, actor, each, at)}
        total = asking.count(db, actor, at, every=every)
        return page, newer, total, decides, viewing.names_in(db, *map(_facts, shown))

    found, newer, total, decides, names = await ra.database.read(work)
    page = found[:_PAGE]
    await registers.note_proposals(ra, visitor.actor, page, list(names.users))
    return show(
        request,
        "proposals.html",
        visitor,
        found=[(each, state_at(each, at), each.number in decides) for each in page],
        subject=lambda each: saying.subject(each.kind, each.subject, names, each.before),
        lead=lambda each: saying.lead(each.kind, each.subject, names) if visitor.may("search") else "",
        who=lambda told: saying.who(told, names),
        further=page[-1].number if len(found) > _PAGE else None,
        first=newer + 1,
        total=total,
        every=every,
        kinds=PROPOSALS,
        states=STATES,
    )


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: what is to be done, what stood there, who may decide it, and until when."""
    ra, found = request.app[GATE].ra, await _known(request, visitor)
    at = ra.now()
    names, decides = await ra.database.read(
        lambda db: (viewing.names_in(db, _facts(found)), may_decide(db, visitor.actor, found, at))
    )
    await registers.note_proposals(ra, visitor.actor, [found], list(names.users))
    different, same = saying.lines(found.kind, found.payload, found.before, names)
    rows = found.payload.get("rows", ()) if found.kind in imports.KINDS else ()
    return show(
        request,
        "proposal.html",
        visitor,
        found=found,
        subject=saying.subject(found.kind, found.subject, names, found.before),
        lead=saying.lead(found.kind, found.subject, names) if visitor.may("search") else "",
        different=different,
        same=same,
        who=lambda told: saying.who(told, names),
        state=state_at(found, at),
        decides=decides,
        own=found.proposer == visitor.actor.identity,
        deciders=roles_with(KINDS[found.kind].act, deciding=True),
        approved=_approved(found),
        rows=rows[: importing.LISTED],
        total=len(rows),
        columns=importing.columns_of(found.kind, rows) if rows else (),
        said=importing.said,
        error=told(request).get("error", ""),
        done=request.query.get("done", ""),
        kinds=PROPOSALS,
        states=STATES,
        labels=LABELS,
    )


async def approve(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Carries it out, once the passkey was used for this very decision."""
    ra, fields, found = request.app[GATE].ra, await form(request), await _known(request, visitor)
    at = ra.now()
    if not await ra.database.read(lambda db: may_decide(db, visitor.actor, found, at)):
        await asking.approve(ra, visitor.actor, found.number)  # which says why not
    what = await _called(request, found, "承認", "Approve")
    waiting = await confirmed(request, visitor, fields, what, _approved(found))
    if waiting is not None:
        return waiting
    done = await asking.approve(ra, visitor.actor, found.number, note=fields.get("note", ""))
    await sessions.end_by(ra, found.kind, found.payload, done.result, actor=visitor.actor.name)
    return see_other(f"/proposals/{found.number}?done=approved")


async def reject(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Turns it down, with a reason."""
    ra, fields, found = request.app[GATE].ra, await form(request), await _known(request, visitor)
    if not fields.get("note", "").strip():
        return tell(request, f"/proposals/{found.number}", {"error": "note"})
    what = await _called(request, found, "却下", "Reject")
    waiting = await confirmed(request, visitor, fields, what, _REJECTED)
    if waiting is not None:
        return waiting
    await asking.reject(ra, visitor.actor, found.number, note=fields["note"].strip())
    return see_other(f"/proposals/{found.number}?done=rejected")


async def withdraw(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Takes one's own back."""
    found = await _known(request, visitor)
    await asking.withdraw(request.app[GATE].ra, visitor.actor, found.number)
    return see_other(f"/proposals/{found.number}?done=withdrawn")


_REJECTED: Text = (
    "却下した起案は承認できません。同じ操作が必要な場合は、もう一度起案します。",
    "What was rejected is not approved any more; if the same is wanted, it is proposed again.",
)


def _approved(found: Proposal) -> Text:
    """What comes of an approval."""
    if found.kind.endswith(".import"):
        return (
            "承認すると、取込がすぐに始まります。取り込んだ後も、通知が送られるまでは取り消せます。",
            "Approving begins the import at once. It can be taken back until a letter leaves.",
        )
    if found.kind in JOBS:
        return (
            "承認すると、ジョブがすぐに始まります。途中で中止できますが、済んだ行は元に戻りません。",
            "Approving begins a job at once. It can be stopped, but not what it has done by then.",
        )
    if KINDS[found.kind].told_once:
        return (
            "承認すると、起案した運用者が期限までに実行でき、秘密の値はその運用者の画面に1回だけ表示されます。取り消せません。",
            "Once approved, who has proposed it carries it out, and alone reads its secret, once. An "
            "approval is not taken back.",
        )
    return ("承認すると直ちに実行され、取り消せません。", "Approving carries it out at once, for good.")


async def _called(request: web.Request, found: Proposal, verb_ja: str, verb_en: str) -> Text:
    """What is decided, for the page that asks for the passkey."""
    names = await request.app[GATE].ra.database.read(lambda db: viewing.names_in(db, _facts(found)))
    ja, en = PROPOSALS[found.kind]
    about_ja, about_en = saying.subject(found.kind, found.subject, names, found.before)
    return (f"{verb_ja}：{ja} {about_ja}", f"{verb_en}: {en}, {about_en}")


def _facts(found: Proposal) -> dict[str, Any]:
    by = {"proposed_by": found.proposed_by, "decided_by": found.decided_by}
    return {"payload": found.payload, "before": found.before, **by}


async def _known(request: web.Request, visitor: Visitor) -> Proposal:
    """A proposal that one may look at; for anybody else there is none."""
    number = int(request.match_info["number"])
    ra = request.app[GATE].ra
    return await ra.database.read(lambda db: asking.seen(db, visitor.actor, number))
