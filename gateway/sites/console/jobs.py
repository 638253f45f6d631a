"""ジョブ: what was decided and takes long, and what became of each row; 取込 are jobs of a file."""

from __future__ import annotations

from aiohttp import web

from ca.storage import Transaction
from enroll.exports import giving
from enroll.identifiers import number_in
from enroll.jobs import store as jobs
from enroll.jobs import viewing
from enroll.jobs.kinds import IMPORTS, may_be_undone
from enroll.jobs.states import OPEN
from enroll.jobs.store import Job, Line
from enroll.operators import asking, registers
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.operators.viewing import Names, names_in
from enroll.refusals import Refusal
from gateway.sites.console import saying
from gateway.sites.console.asking import show
from gateway.sites.console.jobwords import RESULTS, STATES, reason, stopped_by
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import PROPOSALS
from gateway.web.pages import GATE, language_of, see_other

JOBS, IMPORT = "/jobs", "/imports/{number:[0-9]{1,12}}"
JOB = JOBS + "/{number:[0-9]{1,12}}"
_PAGE = 50
#: Kind of an import -> where those are that its rows are about.
_LEADS = {"user.import": "/users", "organisation.import": "/organisations"}


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Those that one may look at, newest first: that are open, or all."""
    ra, every = request.app[GATE].ra, request.query.get("state") == "all"
    typed = number_in(request.query.get("before", ""), 14)
    before = 2**62 if typed is None else typed

    def read(db: Transaction) -> tuple[list[Job], int, int, Names]:
        actor = visitor.actor
        page = viewing.listed(db, actor, every=every, before=before, limit=_PAGE + 1)
        newer = viewing.count(db, actor, every=every, behind=page[0].number) if page else 0
        return page, newer, viewing.count(db, actor, every=every), _names(db, page[:_PAGE])

    there, newer, total, names = await ra.database.read(read)
    page = there[:_PAGE]
    return show(
        request,
        "jobs.html",
        visitor,
        found=[(each, saying.subject(each.kind, each.subject, names)) for each in page],
        who=lambda told: saying.who(told, names),
        further=page[-1].number if len(there) > _PAGE else None,
        first=newer + 1,
        total=total,
        every=every,
        kinds=PROPOSALS,
        states=STATES,
        imports=IMPORTS,
    )


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: how far it is, what became of its rows, and what can be done about it."""
    number, ra = int(request.match_info["number"]), request.app[GATE].ra

    def read(db: Transaction) -> tuple[Job, dict[str, int], list[Line], bool, Names]:
        found = viewing.seen(db, visitor.actor, number)
        if request.path.startswith("/imports/") and found.kind not in IMPORTS:
            raise Refusal("not_found", field="job")
        may = visitor.may(Act.RECORD, "PROPOSE") and may_be_undone(db, found)
        lines = viewing.first_lines(db, found, _PAGE)
        return found, jobs.counted(db, number), lines, may, _names(db, [found])

    found, counts, lines, may_undo, names = await ra.database.read_aside(read)
    told = (text for each in lines for text in (each.subject, each.detail))
    await registers.note_rows(ra, visitor.actor, "rows", told)
    language = language_of(request)
    return show(
        request,
        "job.html",
        visitor,
        found=found,
        subject=saying.subject(found.kind, found.subject, names),
        who=lambda told: saying.who(told, names),
        counts=counts,
        lines=[(each, reason(each, language)) for each in lines],
        open=found.state in OPEN,
        may_stop=viewing.may_stop(visitor.actor, found),
        may_undo=may_undo,
        is_import=found.kind in IMPORTS,
        at=ra.now(),
        done=request.query.get("done", ""),
        kinds=PROPOSALS,
        states=STATES,
        results=RESULTS,
        stopped_by=stopped_by,
        about=lambda line: saying.row(found.kind, line.subject),
        leads=_LEADS,
    )


async def cancel(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Stops it before its next row."""
    number = int(request.match_info["number"])
    await viewing.cancel(request.app[GATE].ra, visitor.actor, number)
    return see_other(f"{JOBS}/{number}?done=cancelled")


async def resume(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Lets one that has failed go on."""
    number = int(request.match_info["number"])
    await viewing.resume(request.app[GATE].ra, visitor.actor, number)
    return see_other(f"{JOBS}/{number}?done=resumed")


async def failures(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The refused rows of an import, as the file that it came in."""
    number, language = int(request.match_info["number"]), language_of(request)

    def read(db: Transaction) -> tuple[bytes, int]:
        found = viewing.seen(db, visitor.actor, number)
        content = viewing.failures(db, found, lambda problem: reason(problem, language))
        return content, jobs.counted(db, number).get("refused", 0)

    ra = request.app[GATE].ra
    content, rows = await ra.database.read_aside(read)
    await giving.tell_file(ra, visitor.actor, "refused-rows", content, rows, job=number)
    disposition = f'attachment; filename="failures-{number}.csv"'
    return web.Response(
        body=content, headers={"Content-Type": "text/csv", "Content-Disposition": disposition}
    )


async def undo(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes that an import is taken back: somebody else decides that, too."""
    number, ra = int(request.match_info["number"]), request.app[GATE].ra
    found = await ra.database.read(lambda db: viewing.seen(db, visitor.actor, number))
    made = await asking.ask(ra, visitor.actor, "import.undo", viewing.undo_payload(found))
    assert isinstance(made, Proposed), "no role records anything alone"
    return see_other(f"/proposals/{made.number}?done=proposed")


def _names(db: Transaction, found: list[Job]) -> Names:
    facts = ("proposed_by", "decided_by", "ended_by")
    return names_in(db, *({name: getattr(each, name) for name in facts} for each in found))
