"""/v1/jobs and /v1/imports: what has many rows, how far it is, and a file that is proposed as an import."""

from __future__ import annotations

from typing import Any, Literal

from ca.storage import Transaction
from enroll.exports import giving
from enroll.jobs import store, viewing
from enroll.jobs.kinds import IMPORTS
from enroll.jobs.store import Job
from enroll.operators import imports, registers
from enroll.operators.imports import Checked
from enroll.operators.registers import Page
from enroll.people.csvfile import BadFile
from enroll.refusals import Refusal
from gateway.sites.api import records
from gateway.sites.api.asked import ask
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.sites.api.problems import Problem
from gateway.sites.api.reading import Input, Line, Name, Paged, cursor_of, numbers_after

_KINDS = {"users": "user.import", "organisations": "organisation.import"}
#: Refused rows that an answer names.
MOST_REFUSED = 200


class NewImport(Input, frozen=True):
    """What a file is: the query beside it."""

    kind: Literal["users", "organisations"]
    file: Name = "import.csv"
    hold_letters: bool = False
    alike: bool = False
    dry_run: bool = False
    reason: Line = ""


class Some(Paged, frozen=True):
    """Which jobs are listed: all, or those that are not over."""

    state: Literal["open"] | None = None


async def jobs_listed(call: Call) -> Answer:
    """Every job that one may see, newest first."""
    return await _listed(call, None)


async def imports_listed(call: Call) -> Answer:
    """The same, imports alone."""
    return await _listed(call, IMPORTS)


async def _listed(call: Call, kinds: tuple[str, ...] | None) -> Answer:
    asked: Some = call.query
    after = numbers_after(asked.cursor)

    def work(db: Transaction) -> Page[Job]:
        last, every = after[0] if after else None, asked.state is None
        return registers.jobs_of(db, call.actor, kinds, last, asked.limit, every=every)

    page = await call.read(work)
    following = cursor_of(page.rows[-1].number) if page.further else ""
    return Answer(records.page([records.job(each) for each in page.rows], following))


async def job_shown(call: Call) -> Answer:
    """One, with how many rows ended in which way."""
    return one(await call.read(lambda db: _record(db, call, every=True)))


async def import_shown(call: Call) -> Answer:
    """The same of an import."""
    return one(await call.read(lambda db: _record(db, call, every=False)))


async def failures(call: Call) -> Answer:
    """The refused rows of an import as the same CSV, each with its reason in front."""

    number = call.number("job")

    def work(db: Transaction) -> tuple[bytes, int]:
        found = viewing.seen(db, call.actor, number)
        content = viewing.failures(db, found, lambda refusal: str(refusal))
        return content, store.counted(db, number).get("refused", 0)

    content, rows = await call.read(work)
    await giving.tell_file(call.ra, call.actor, "refused-rows", content, rows, job=number)
    return Answer(raw=("text/csv", content))


async def cancel(call: Call) -> Answer:
    """Stops a job before its next row."""
    number = call.number("job")
    return await call.once(lambda ra: viewing.cancel(ra, call.actor, number), _standing(number))


async def resume(call: Call) -> Answer:
    """Lets one that has failed go on."""
    number = call.number("job")
    return await call.once(lambda ra: viewing.resume(ra, call.actor, number), _standing(number))


async def undo(call: Call) -> Answer:
    """Proposes that an import is taken back."""
    number = call.number("job")
    found: Job = await call.read(lambda db: viewing.seen(db, call.actor, number))
    payload = viewing.undo_payload(found)
    return await ask(call, "import.undo", payload, call.body.reason, lambda db: _of(db, number))


async def propose_import(call: Call) -> Answer:
    """Looks at each row of a file, and proposes those that could be added now."""
    query: NewImport = call.query
    kind = _KINDS[query.kind]
    options = {"hold_letters": query.hold_letters, "alike": query.alike}
    try:
        async with call.looking:
            found = await imports.checked(call.ra, call.actor, kind, call.body, query.file, options)
    except BadFile as bad:
        raise Problem("invalid_input", str(bad), field="body") from None
    told = _outcome(found)
    why = (problem.detail for problem in found.problems[:MOST_REFUSED])
    await registers.note_rows(call.ra, call.actor, "rows", why)
    if query.dry_run or not found.payload["rows"]:
        return await call.once(_nothing, lambda db, _: Answer(told))
    return await ask(call, kind, found.payload, query.reason, lambda db: told, beside=told)


def _outcome(found: Checked) -> dict[str, Any]:
    refused = [
        {"line": row.line, "field": problem.field, "reason": str(problem)}
        for row, problem in zip(found.refused.rows, found.problems, strict=True)
    ]
    counts = {name: found.counts[name] for name in ("would_add", "exists", "refused")}
    return {"counts": counts, "refused": refused[:MOST_REFUSED]}


async def _nothing(ra: Any) -> None:
    """There is nothing to do: what is told is kept."""
    await ra.database.write(lambda db: None)


def _record(db: Transaction, call: Call, *, every: bool) -> Record:
    number = call.number("job")
    found = viewing.seen(db, call.actor, number)
    if not every and found.kind not in IMPORTS:
        raise Refusal("not_found", field="job", detail=f"{number} is no import")
    return records.job(found, store.counted(db, number))


def _standing(number: int) -> Any:
    return lambda db, _: one(_of(db, number))


def _of(db: Transaction, number: int) -> Record:
    found = store.job(db, number)
    assert found is not None
    return records.job(found)
