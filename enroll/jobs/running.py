"""Jobs are done: row by row, each in one transaction with its own progress, by whoever has taken the job.

A runner that is killed leaves each row done and written down, or neither; the next one goes on behind them.
Between batches it rests as long as it has worked, so that logins never wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence

from ca.storage import Transaction, is_out_of_order, unblocked
from enroll import store, timekeeping
from enroll.jobs import store as jobs
from enroll.jobs.kinds import KINDS, Doing, refused
from enroll.jobs.states import Event, State, next_state
from enroll.jobs.store import Job, Line
from enroll.people.importing import Row
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

log = logging.getLogger("sekisho.jobs")

#: Seconds without a word after which a runner is taken for dead.
STALE = 30
#: Rows that are done at a time: whoever else writes, as a login does, waits for no more of them.
BATCH = 4
# Refusals that are about the moment and not about the row: it is tried again.
_LATER = frozenset({"clock_in_doubt", "issuing_later"})

#: Called after each batch with what is done, of how many.
Told = Callable[[int, int], None]


class _Lost(Exception):
    """The job is not ours any more: cancelled, or taken over. What this row did is undone by that."""


def new_runner() -> str:
    """A name for somebody who runs jobs, unlike any other's."""
    return secrets.token_hex(8)


def alive(job: Job, at: int) -> bool:
    """Whether somebody does a job, and was heard of."""
    return job.state is State.RUNNING and job.heartbeat_at is not None and abs(at - job.heartbeat_at) < STALE


async def work(ra: RegistrationAuthority, runner: str, *, rest: float = 0.0) -> None:
    """Does what waits, one job after the other, oldest first. ``rest``: seconds more after each row."""
    for number in await ra.database.read(jobs.waiting):
        await run(ra, number, runner, rest=rest)


async def run(
    ra: RegistrationAuthority,
    number: int,
    runner: str,
    *,
    told: Told = lambda done, total: None,
    rest: float = 0.0,
) -> Job | None:
    """Does a job to its end, or to where it is cancelled; the job as it is then. None if it is another's, or
    over already. Whatever stops it is raised, and it goes on later; after a fault of ours it has failed."""
    at = ra.now()
    taken = await ra.database.write(lambda db: jobs.claim(db, number, runner, at, STALE))
    if taken is None:
        return None
    try:
        await _rows(ra, taken, runner, told, rest)
        await ra.database.write(lambda db: _finish(db, ra, taken, runner))
    except _Lost:
        pass
    except Refusal as problem:
        if problem.code not in _LATER:
            await _failed(ra, taken, runner, problem)
            raise
        log.info("job %d waits until certificates can be dated and signed again", number)
    except Exception as problem:
        if not is_out_of_order(problem):
            await _failed(ra, taken, runner, problem)
        raise
    return await ra.database.read(lambda db: jobs.job(db, number))


async def _rows(ra: RegistrationAuthority, job: Job, runner: str, told: Told, rest: float) -> None:
    kind = KINDS[job.kind]

    def look(db: Transaction) -> tuple[Doing, list[Row], int]:
        payload = jobs.payload(db, job.number)
        done = jobs.done_lines(db, job.number)
        rows = [row for row in kind.rows(db, payload) if row.line not in done]
        return kind.doing(ra, payload, job.decided_by), rows, len(done)

    doing, rows, done = await ra.database.read_aside(look)
    most = 1 if rest else BATCH
    for start in range(0, len(rows), most):
        began, chunk = time.monotonic(), rows[start : start + most]
        await _batch(ra, job, runner, doing, chunk)
        done += len(chunk)
        told(done, job.total)
        await asyncio.sleep(rest + time.monotonic() - began)


async def _batch(ra: RegistrationAuthority, job: Job, runner: str, doing: Doing, rows: Sequence[Row]) -> None:
    # Planned one after the other, so that a row twice in the file is found.
    plans = await unblocked(ra.database, lambda: [_plan(doing, row) for row in rows])
    planned = zip(rows, plans, strict=True)
    tasks = [asyncio.ensure_future(_row(ra, job, runner, doing, row, plan)) for row, plan in planned]
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        task.result()


async def _row(
    ra: RegistrationAuthority, job: Job, runner: str, doing: Doing, row: Row, plan: Line | None
) -> None:
    if plan is None:
        try:
            made = await _done(ra, job, runner, doing, row)
        except Refusal as problem:
            if problem.code in _LATER:
                raise
            plan = refused(row.line, problem)
        else:
            doing.done(row, made)
            return
    told = plan
    await ra.database.write(lambda db: _advance(db, ra, job, runner, told))


async def _done(ra: RegistrationAuthority, job: Job, runner: str, doing: Doing, row: Row) -> Line:
    effect = await doing.work(row)

    def work(db: Transaction) -> Line:
        timekeeping.check(ra, db)
        line = effect(db)
        _advance(db, ra, job, runner, line)
        return line

    return await ra.database.write(work)


def _plan(doing: Doing, row: Row) -> Line | None:
    try:
        if row.problem is not None:
            raise row.problem
        return doing.plan(row)
    except Refusal as problem:
        return refused(row.line, problem)


def _advance(db: Transaction, ra: RegistrationAuthority, job: Job, runner: str, line: Line) -> None:
    if not jobs.advance(db, job.number, runner, line, ra.now()):
        raise _Lost


def _finish(db: Transaction, ra: RegistrationAuthority, job: Job, runner: str) -> None:
    at = ra.now()
    if not jobs.end(db, job.number, Event.FINISH, State.DONE, at, runner=runner):
        raise _Lost
    counts = jobs.counted(db, job.number)
    store.audit(db, at, job.decided_by, "job.done", str(job.number), kind=job.kind, **counts)


async def _failed(ra: RegistrationAuthority, job: Job, runner: str, problem: Exception) -> None:
    # Its words may quote what somebody typed: they are in the log, if anywhere.
    why = problem.code if isinstance(problem, Refusal) else type(problem).__name__

    def fail(db: Transaction) -> None:
        at = ra.now()
        if jobs.end(db, job.number, Event.FAIL, State.FAILED, at, runner=runner, problem=why):
            store.audit(db, at, job.decided_by, "job.failed", str(job.number), kind=job.kind, problem=why)

    await ra.database.write(fail)


async def cancel(ra: RegistrationAuthority, number: int, by: str) -> None:
    """Stops a job before its next row. Refusal("conflict") for one that is over. Who may is the caller's."""
    await ra.database.write(lambda db: _move(db, ra, number, Event.CANCEL, by))


async def resume(ra: RegistrationAuthority, number: int, by: str) -> None:
    """Lets a job that has failed go on. Refusal as above."""
    await ra.database.write(lambda db: _move(db, ra, number, Event.RESUME, by))


def _move(db: Transaction, ra: RegistrationAuthority, number: int, event: Event, by: str) -> None:
    found = jobs.job(db, number)
    if found is None:
        raise Refusal("not_found", field="job")
    state, at = next_state(found.state, event), ra.now()
    if state is None or not jobs.end(db, number, event, state, at, by=by):
        raise Refusal("conflict", field="job", detail=f"job {number} is {found.state} already")
    if event is Event.CANCEL:
        KINDS[found.kind].cancelled(db, ra, jobs.payload(db, number), by)
    store.audit(db, at, by, f"job.{event}", str(number), kind=found.kind, done=found.done, total=found.total)
