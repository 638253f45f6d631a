"""取込: a file is sent, looked through, and proposed with a reason; nothing is recorded before somebody else
has approved it. What comes of it is a job (`jobs.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from enroll.exports import giving
from enroll.operators import imports, registers
from enroll.operators.imports import MOST_ROWS, Checked
from enroll.operators.viewing import Names
from enroll.people.csvfile import BadFile, Shape, failures_file
from enroll.refusals import Refusal
from gateway.sites.console import saying
from gateway.sites.console.asking import show
from gateway.sites.console.jobwords import FILES, UNPROPOSED, reason
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import PROPOSALS
from gateway.web import undecided, uploads
from gateway.web.pages import GATE, form, language_of, see_other, tell, told
from gateway.web.undecided import MARK
from gateway.web.words import Text

NEW, CHECKED = "/imports/new", f"/imports/checked/{{mark:{MARK}}}"
# Of the rows that are refused, and of those that are right, so many are listed.
LISTED = 50
# Columns of what there is to choose.
_CHOSEN = ("role", "notice_by", "language", "issue_password_by")
#: One file is looked through at a time in a process: the others wait, and logins do not.
LOOKING: web.AppKey[asyncio.Lock] = web.AppKey("looking through a file", asyncio.Lock)


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Asks for the file, and what all its rows have in common."""
    state = told(request)
    return show(
        request,
        "import_new.html",
        visitor,
        status=422 if state else 200,
        values=state.get("values", {}),
        problem=_problem(state),
        kinds={name: PROPOSALS[name] for name in imports.KINDS},
        shapes={name: each.shape for name, each in imports.KINDS.items()},
        written={name: _written(each.shape) for name, each in imports.KINDS.items()},
        most_rows=f"{MOST_ROWS:,}",
        most_size=f"{uploads.LARGEST // 1024 // 1024} MB",
    )


async def send(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Looks the file through, and keeps what it found for this session."""
    ra, sent = request.app[GATE].ra, await uploads.sent(request)
    name, file = sent.fields.get("kind", ""), sent.file
    values = {field: sent.fields.get(field, "") for field in ("kind", "hold_letters", "alike")}
    if name not in imports.KINDS:
        raise Refusal("invalid_input", field="form")
    if file is None:
        return tell(request, NEW, {"why": "none", "values": values})
    if file.content is None:
        return tell(request, NEW, {"why": "large", "values": values})
    options = {option: bool(values[option]) for option in imports.KINDS[name].options}
    try:
        async with request.app[LOOKING]:
            found = await imports.checked(ra, visitor.actor, name, file.content, file.name, options)
    except BadFile as bad:
        return tell(request, NEW, {"why": bad.why, "about": bad.about[:300], "values": values})
    if not sum(found.counts.values()):
        return tell(request, NEW, {"why": "no_rows", "values": values})
    mark = await undecided.keep(ra, visitor.session, found.as_json())
    return see_other(f"/imports/checked/{mark}")


async def outcome(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What would become of each row, and the form that proposes those that are right."""
    found, language, state = await _kept(request, visitor), language_of(request), told(request)
    if found is None:
        return _gone(request)
    refused = zip(found.refused.rows, found.problems, strict=True)
    listed = [(row, reason(problem, language)) for row, problem in list(refused)[:LISTED]]
    rows = found.payload["rows"]
    why = (problem.detail for problem in found.problems[:LISTED])
    await registers.note_rows(request.app[GATE].ra, visitor.actor, "rows", why)
    return show(
        request,
        "import_checked.html",
        visitor,
        status=422 if state else 200,
        found=found,
        path=request.path,
        kind=PROPOSALS[found.kind],
        refused=listed,
        good=rows[:LISTED],
        total=len(rows),
        columns=columns_of(found.kind, rows),
        said=said,
        alike=any(problem.field == "alike" for problem in found.problems),
        problem=UNPROPOSED.get(state.get("wrong", "")),
        values=state.get("values", {}),
    )


async def failures(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The rows that are refused, as the file that was sent."""
    found, language = await _kept(request, visitor), language_of(request)
    if found is None:
        return _gone(request)
    rows = [(row, reason(why, language)) for row, why in zip(found.refused.rows, found.problems, strict=True)]
    content = failures_file(found.refused, rows)
    await giving.tell_file(request.app[GATE].ra, visitor.actor, "refused-rows", content, len(rows))
    headers = {"Content-Type": "text/csv", "Content-Disposition": 'attachment; filename="refused.csv"'}
    return web.Response(body=content, headers=headers)


async def propose(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes the rows that are right: another operator decides, and then a job does them."""
    ra, fields = request.app[GATE].ra, await form(request)
    found, why = await _kept(request, visitor), fields.get("reason", "").strip()
    if found is None:
        return _gone(request)
    if not why:
        return tell(request, request.path, {"wrong": "reason", "values": {}})
    try:
        made = await imports.propose(ra, visitor.actor, found, why)
    except Refusal as refusal:
        if (refusal.code, refusal.field) not in (
            ("invalid_input", "reason"),
            ("invalid_input", "rows"),
            ("conflict", "proposal"),
        ):
            raise
        return tell(request, request.path, {"wrong": refusal.field, "values": {"reason": why[:500]}})
    await undecided.drop(ra, request.match_info["mark"])
    return see_other(f"/proposals/{made.number}?done=proposed")


async def _kept(request: web.Request, visitor: Visitor) -> Checked | None:
    mark = request.match_info["mark"]
    told = await undecided.kept(request.app[GATE].ra, visitor.session, mark)
    return None if told is None else Checked.from_json(told)


def _gone(request: web.Request) -> web.Response:
    return tell(request, NEW, {"why": "gone", "values": {}})


def _written(shape: Shape) -> list[tuple[Text, Text]]:
    """What may stand in a column where there is something to choose; first what an empty cell means."""
    found = list[tuple[Text, Text]]()
    for name in _CHOSEN:
        if codes := list(dict.fromkeys(shape.values.get(name, {}).values())):
            japanese = "・".join(said(name, code)[0] for code in codes)
            found.append(((shape.columns[name][1], shape.columns[name][0]), (japanese, ", ".join(codes))))
    return found


def _problem(state: Mapping[str, Any]) -> Text | None:
    """Why the file was not taken, with what of it is wrong."""
    words = FILES.get(state.get("why", ""))
    if words is None:
        return None
    about = state.get("about", "")
    return (f"{words[0]}（{about}）", f"{words[1]} ({about})") if about else words


def columns_of(kind: str, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """Of the rows that are listed the columns that say anything, each with its headings."""
    shape = imports.KINDS[kind].shape
    return [
        (name, words)
        for name, words in shape.columns.items()
        if any(each["given"].get(name) for each in rows[:LISTED])
    ]


def said(field: str, value: str) -> Text:
    """A cell as people read it: the words of what there is to choose."""
    if field not in _CHOSEN:
        return (value, value)
    return saying.words_of("user.add", field, value, Names({}, {}, {}, {}))
