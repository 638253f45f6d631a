"""Jobs: what was decided and takes long, how far it is, and what became of each row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ca.errors import ConfigError
from enroll.certificates import ending
from enroll.exports import giving
from enroll.jobs import running, viewing
from enroll.jobs import store as jobs
from enroll.jobs.kinds import IMPORTS, problem_of
from enroll.jobs.states import OPEN, State
from enroll.jobs.store import Job, Line
from enroll.operators import registers
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.refusals import Refusal
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import Given, InputFile, OutputFile, acting, is_far, write
from gateway.cli.certificates import OFFERED, unknown
from gateway.cli.failures import failure_of
from gateway.cli.frame import ASKS, READS, Answer, answer, deployment_command, detail, listing
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_JOB = GROUPS["job"]
_NUMBER = click.argument("number", type=int)
# Of the rows of a job: so many are shown; all are in --json.
_SHOWN = 20
# Seconds between two lines of progress.
_TELL = 2.0


@deployment_command(_JOB, "list", Act.STANDING, READS)
@click.option("--all", "every", is_flag=True, help="Those that are over, too.")
async def _list(deployment: Deployment, every: bool) -> Answer:
    """List the jobs that wait or run, of what your role may look at."""
    found = deployment.ra.database.read_now(lambda db: viewing.listed(db, acting(), every=every))
    columns = {
        "number": "No.", "kind": "Kind", "subject": "About", "state": "State", "done": "Done", "total": "Of",
        "proposed_by": "By", "decided_by": "Decided by", "made_at": "Made", "ended_at": "Ended",
    }  # fmt: skip
    return listing("jobs", [_record(each) for each in found], columns)


@deployment_command(_JOB, "show", Act.STANDING, READS)
@_NUMBER
async def _show(deployment: Deployment, number: int) -> Answer:
    """Show a job: how far it is, and what became of its rows, those refused first."""

    def read(db: Any) -> tuple[Job, dict[str, int], list[Line]]:
        found = viewing.seen(db, acting(), number)
        return found, jobs.counted(db, number), viewing.first_lines(db, found, 2**31)

    found, counts, rows = deployment.ra.database.read_now(read)
    told = (text for each in rows for text in (each.subject, each.detail))
    await registers.note_rows(deployment.ra, acting(), "rows", told)
    lines = _counted(counts)
    lines += [f"line {each.line}  {each.result}  {each.subject}  {_why(each)}" for each in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        lines.append(f"({len(rows) - _SHOWN:,} more rows; --json lists them)")
    lines += _next(found, counts, deployment)
    record = _record(found) | {"counts": counts}
    return detail("job", record | {"rows": [asdict(each) | {"reason": _why(each)} for each in rows]}, *lines)


def _next(found: Job, counts: Mapping[str, int], deployment: Deployment) -> list[str]:
    """What there is to type."""
    told = []
    if found.state in OPEN:
        told.append(f"To stop it before its next row: sekisho job cancel {found.number}")
        if not is_far() and not running.alive(found, deployment.ra.now()):
            told.append(f"Nobody does it at the moment; to do it now: sekisho job run {found.number}")
    if found.state is State.FAILED:
        told.append(f"See why in the log; to let it go on: sekisho job resume {found.number}")
    if found.kind in IMPORTS and counts.get("refused"):
        told.append(f"The refused rows as a file: sekisho job failures {found.number} FILE.csv")
    return told


@deployment_command(_JOB, "failures", Act.STANDING, READS)
@_NUMBER
@click.argument("file", type=OutputFile(), metavar="FILE.csv")
async def _failures(deployment: Deployment, number: int, file: Path) -> Answer:
    """Write the refused rows of an import as the same CSV, each with its reason in front, to mend."""

    def read(db: Any) -> tuple[bytes, int]:
        found = viewing.seen(db, acting(), number)
        return viewing.failures(db, found, _words), jobs.counted(db, number).get("refused", 0)

    content, count = deployment.ra.database.read_now(read)
    await giving.tell_file(deployment.ra, acting(), "refused-rows", content, count, job=number)
    write(file, content)
    return answer({"failures": {"job": number, "file": str(file), "rows": count}}, f"{file}: {count} rows")


@deployment_command(_JOB, "cancel", Act.STANDING, READS)
@_NUMBER
async def _cancel(deployment: Deployment, number: int) -> Answer:
    """Stop a job before its next row; what is done stays done."""
    await viewing.cancel(deployment.ra, acting(), number)
    found = deployment.ra.database.read_now(lambda db: viewing.seen(db, acting(), number))
    return detail("cancelled", _record(found), f"{found.done} of {found.total} rows are done, and stay so.")


@deployment_command(_JOB, "resume", Act.STANDING, READS)
@_NUMBER
async def _resume(deployment: Deployment, number: int) -> Answer:
    """Let a job that has failed go on behind its last row."""
    await viewing.resume(deployment.ra, acting(), number)
    return await after(deployment, number)


@deployment_command(_JOB, "run", Act.STANDING, READS)
@_NUMBER
async def _run(deployment: Deployment, number: int) -> Answer:
    """Do a job here and now, where no gateway runs; a running one does it by itself."""
    found = deployment.ra.database.read_now(lambda db: viewing.seen(db, acting(), number))
    if not viewing.may_stop(acting(), found):
        raise Refusal("not_permitted", field="job")
    return await after(deployment, number)


@deployment_command(_JOB, "undo", Act.RECORD, ASKS)
@_NUMBER
async def _undo(deployment: Deployment, number: int) -> Answer:
    """Take an import back as long as no letter has left (user import --hold-letters); it takes two people."""
    found = deployment.ra.database.read_now(lambda db: viewing.seen(db, acting(), number))
    done = await asked(deployment, "import.undo", viewing.undo_payload(found))
    return proposed(done) if isinstance(done, Proposed) else await after(deployment, done.result["job"])


@deployment_command(GROUPS["cert"], "revoke-list", Act.REVOKE_MANY, ASKS)
@click.argument("file", type=InputFile("list of certificates", dash=True))
@click.option("--reason", type=click.Choice(OFFERED), default="unspecified", show_default=True)
async def _revoke_list(deployment: Deployment, file: Given, reason: str) -> Answer:
    """Revoke many certificates: a file with one serial, common name or fingerprint a line ('-': standard
    input). It takes two people, and is done by a job."""
    lines = file.content.decode("utf-8-sig", "replace").splitlines()
    found = deployment.ra.database.read_now(lambda db: ending.marked(db, lines))
    if found.unknown:
        raise unknown(found.unknown[0])
    if not found.records:
        raise ConfigError(f"{file} names no certificate; write one serial a line")
    done = await asked(deployment, "certificate.revoke.bulk", ending.of_many(found.serials, reason))
    return proposed(done) if isinstance(done, Proposed) else await after(deployment, done.result["job"])


async def after(deployment: Deployment, number: int) -> Answer:
    """What follows when a job was begun: the gateway does it; where none runs, this command does."""
    if is_far():
        found = deployment.ra.database.read_now(lambda db: jobs.job(db, number))
        assert found is not None
        line = f"Job {number} is done by the gateway: sekisho job show {number}"
        return detail("job", _record(found), line)
    told, began = 0.0, time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told > _TELL or done == total:
            told = now
            left = (now - began) / done * (total - done)
            click.echo(f"job {number}: {done:,} of {total:,} rows; {left:.0f} s left", err=True)

    ran = await running.run(deployment.ra, number, running.new_runner(), told=tell)
    if ran is None:
        detail_ = f"job {number} is over, or somebody else does it: sekisho job show {number}"
        raise Refusal("conflict", field="job", detail=detail_)
    counts = deployment.ra.database.read_now(lambda db: jobs.counted(db, number))
    return detail(
        "job", _record(ran) | {"counts": counts}, *_counted(counts), *_next(ran, counts, deployment)
    )


def _counted(counts: Mapping[str, int]) -> list[str]:
    """How many rows ended in which way, in a line if there are any."""
    return [", ".join(f"{name}: {count}" for name, count in counts.items())] if counts else []


def _record(found: Job) -> dict[str, Any]:
    record = asdict(found) | {"state": str(found.state)}
    for name in ("runner", "proposer"):
        del record[name]
    return record


def _why(line: Line) -> str:
    return _words(problem_of(line)) if line.code else ""


def _words(problem: Refusal) -> str:
    return failure_of(problem).message
