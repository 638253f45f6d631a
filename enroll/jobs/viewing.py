"""Whose jobs are whose: what somebody sees of them, and who may stop one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ca.storage import Transaction
from enroll.jobs import running
from enroll.jobs import store as jobs
from enroll.jobs.kinds import IMPORTS, problem_of
from enroll.jobs.store import Job, Line
from enroll.operators import actors
from enroll.operators.actors import Actor
from enroll.operators.kinds import KINDS, whose
from enroll.operators.roles import Verdict
from enroll.people import csvfile
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal


def visible(actor: Actor, job: Job) -> bool:
    """Whether somebody may look at a job: their own, and those of an act that they may read."""
    return job.proposer == actor.identity or bool(actor.may(KINDS[job.kind].act) & Verdict.READ)


def seen(db: Transaction, actor: Actor, number: int) -> Job:
    """A job that somebody may look at. Refusal("not_found"): for anybody else there is none."""
    found = jobs.job(db, number)
    if found is None or not visible(actor, found):
        raise Refusal("not_found", field="job")
    return found


def listed(
    db: Transaction,
    actor: Actor,
    kinds: Collection[str] | None = None,
    *,
    every: bool = True,
    before: int = 2**62,
    limit: int = 2**62,
) -> list[Job]:
    """Those that somebody may look at (`visible`), newest first, so many before a number; ``kinds``: of these
    alone; without ``every`` those that are open."""
    return jobs.jobs(db, whose(actor), kinds, every=every, before=before, limit=limit)


def count(db: Transaction, actor: Actor, *, every: bool = True, behind: int = 0) -> int:
    """How many those are; ``behind``: that are newer than a number."""
    return jobs.count(db, whose(actor), every=every, behind=behind)


def may_stop(actor: Actor, job: Job) -> bool:
    """Whether somebody is to be shown a button: who has proposed it, and who could have decided it."""
    return job.proposer == actor.identity or actor.decides(KINDS[job.kind].act)


async def cancel(ra: RegistrationAuthority, actor: Actor, number: int) -> None:
    """Stops a job before its next row. Refusal: "not_found", "not_permitted", "conflict"."""
    await running.cancel(ra, number, await ra.database.read(lambda db: _stopping(db, ra, actor, number)))


async def resume(ra: RegistrationAuthority, actor: Actor, number: int) -> None:
    """Lets a job that has failed go on. Refusal as above."""
    await running.resume(ra, number, await ra.database.read(lambda db: _stopping(db, ra, actor, number)))


def _stopping(db: Transaction, ra: RegistrationAuthority, actor: Actor, number: int) -> str:
    now, found = actors.asked_again(db, actor, ra.now()), seen(db, actor, number)
    if not may_stop(now, found):
        raise actors.refusal(now, KINDS[found.kind].act, deciding=True)
    return now.name


def undo_payload(job: Job) -> dict[str, Any]:
    """What is proposed when an import is to be taken back."""
    return {"job": job.number, "kind": job.kind, "subject": job.subject}


def failures(db: Transaction, job: Job, reason: csvfile.Reason) -> bytes:
    """The rows of an import that were refused, as the file that they came in. ``reason``: in the reader's
    words. Refusal("not_found") where there is no such file."""
    if job.kind not in IMPORTS:
        raise Refusal("not_found", field="job", detail=f"{job.number} is no import")
    table = csvfile.table_again(jobs.payload(db, job.number))
    why = {each.line: reason(problem_of(each)) for each in jobs.lines(db, job.number, "refused")}
    return csvfile.failures_file(table, [(row, why[row.line]) for row in table.rows if row.line in why])


def first_lines(db: Transaction, job: Job, most: int) -> list[Line]:
    """Of each way in which rows ended the first ones, those refused before the others."""
    found = jobs.lines(db, job.number, "refused", limit=most)
    return (
        found
        + [each for each in jobs.lines(db, job.number, limit=most) if each.result != "refused"][
            : most - len(found)
        ]
    )
