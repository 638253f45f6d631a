"""Every statement about jobs and the rows that they have done."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ca.storage import LOOK, Row, Transaction, all_of, count_of, inserting
from enroll.jobs.states import Event, State, before
from enroll.mail.store import BEGUN
from enroll.whose import Whose, in_own_name, own_names

Db = Transaction


@dataclass(frozen=True)
class Job:
    """A long work that was decided, and how far it is. ``payload`` is asked for by itself (`payload`)."""

    number: int
    kind: str
    subject: str
    proposal: int | None
    proposer: str
    proposed_by: str
    decided_by: str
    total: int
    made_at: int
    state: State = State.WAITING
    done: int = 0
    runner: str = ""
    heartbeat_at: int | None = None
    begun_at: int | None = None
    ended_at: int | None = None
    ended_by: str = ""
    problem: str = ""
    erased_at: int | None = None


@dataclass(frozen=True)
class Line:
    """What became of a row, and whom it was about: user ID, 証券番号 or serial. ``code``, ``field`` and
    ``detail``: of the refusal, if it was refused."""

    line: int
    result: str
    subject: str = ""
    request_id: str = ""
    code: str = ""
    field: str = ""
    detail: str = ""


_COLUMNS = (
    "number, kind, subject, proposal, proposer, proposed_by, decided_by, total, made_at, state, done, runner,"
    " heartbeat_at, begun_at, ended_at, ended_by, problem"
)


def add(db: Db, job: Job, payload: Mapping[str, Any] | None = None) -> int:
    """Records a job and returns its number; ``job.number`` is ignored. ``payload`` None: the proposal's."""
    row = asdict(job) | {"payload": None if payload is None else json.dumps(payload, ensure_ascii=False)}
    del row["number"]
    added = db.one(f"{inserting('jobs', row)} RETURNING number", row)
    assert added is not None
    return int(added[0])


def job(db: Db, number: int) -> Job | None:
    """One by its number."""
    row = db.one(f"SELECT {_COLUMNS} FROM jobs WHERE number = :number", {"number": number})
    return None if row is None else _job(row)


def jobs(
    db: Db,
    whose: Whose | None = None,
    kinds: Collection[str] | None = None,
    *,
    every: bool = True,
    before: int = 2**62,
    limit: int = 2**62,
) -> list[Job]:
    """Those that somebody may look at (None: all), before a number, newest first; ``kinds``: of these alone;
    without ``every`` those that are open."""
    terms, values = _of_jobs(whose, every)
    if kinds is not None:
        of = {f"of_{place}": kind for place, kind in enumerate(sorted(kinds))}
        terms.append(f"kind IN ({', '.join(f':{name}' for name in of)})")
        values |= of
    found = db.rows(
        f"SELECT {_COLUMNS} FROM jobs WHERE {all_of([*terms, 'number < :before'])}"
        f" ORDER BY number DESC LIMIT :limit{LOOK}",
        {**values, "before": before, "limit": limit},
    )
    return [_job(row) for row in found]


def count(db: Db, whose: Whose, *, every: bool = True, behind: int = 0) -> int:
    """How many of them there are; ``behind``: that are newer than this number."""
    terms, values = _of_jobs(whose, every)
    if behind:
        terms.append("number > :behind")
        values["behind"] = behind
    return count_of(db, "jobs", terms, values)


def _of_jobs(whose: Whose | None, every: bool) -> tuple[list[str], dict[str, Any]]:
    terms, values = list[str](), dict[str, Any]()
    if whose is not None:
        terms.append(whose.term)
        values |= whose.values
    if not every:
        terms.append("state IN ('waiting', 'running')")
    return terms, values


def waiting(db: Db) -> list[int]:
    """The numbers of those that are to be worked at, oldest first."""
    found = db.rows("SELECT number FROM jobs WHERE state IN ('waiting', 'running') ORDER BY number")
    return [int(row[0]) for row in found]


@dataclass(frozen=True)
class Standing:
    """How the jobs are that are not over: how many wait, run and have failed, and since when nobody was heard
    of at the one of the first two that has stood still longest; None where there is none."""

    waiting: int
    running: int
    failed: int
    still_since_at: int | None


def standing(db: Db) -> Standing:
    """Of all jobs."""
    row = db.one(
        "SELECT coalesce(sum(CASE WHEN state = 'waiting' THEN 1 ELSE 0 END), 0) AS waiting,"
        " coalesce(sum(CASE WHEN state = 'running' THEN 1 ELSE 0 END), 0) AS running,"
        " coalesce(sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), 0) AS failed,"
        " min(CASE WHEN state IN ('waiting', 'running') THEN coalesce(heartbeat_at, made_at) END) AS still"
        f" FROM jobs WHERE state IN ('waiting', 'running', 'failed'){LOOK}"
    )
    assert row is not None
    return Standing(int(row["waiting"]), int(row["running"]), int(row["failed"]), row["still"])


def payload(db: Db, number: int) -> dict[str, Any]:
    """What a job is to do, as it was proposed."""
    row = db.one(
        "SELECT coalesce(jobs.payload, proposals.payload) FROM jobs"
        f" LEFT JOIN proposals ON proposals.number = jobs.proposal WHERE jobs.number = :number{LOOK}",
        {"number": number},
    )
    assert row is not None
    found: dict[str, Any] = json.loads(row[0])
    return found


def claim(db: Db, number: int, runner: str, at: int, stale: int) -> Job | None:
    """Takes a job that nobody has, or whose runner was not heard of within ``stale`` seconds of ``at``: its
    clock may be a little ahead of ours. None if it is somebody's, or over: of two that ask one gets it."""
    row = db.one(
        "UPDATE jobs SET state = 'running', runner = :runner, heartbeat_at = :at,"
        " begun_at = coalesce(begun_at, :at) WHERE number = :number AND (state = 'waiting'"
        " OR (state = 'running'"
        " AND (runner = :runner OR heartbeat_at <= :stale_at OR heartbeat_at >= :ahead_at)))"
        f" RETURNING {_COLUMNS}",
        {"number": number, "runner": runner, "at": at, "stale_at": at - stale, "ahead_at": at + stale},
    )
    return None if row is None else _job(row)


def advance(db: Db, number: int, runner: str, line: Line, at: int) -> bool:
    """Records that a row is done, in the transaction that does it. False if the job is not this runner's any
    more, or the row was done before: then what the transaction did is to be undone."""
    counted = db.execute(
        "UPDATE jobs SET done = done + 1, heartbeat_at = :at"
        " WHERE number = :number AND runner = :runner AND state = 'running'",
        {"number": number, "runner": runner, "at": at},
    )
    row = asdict(line) | {"job": number}
    return counted == 1 and db.execute(f"{inserting('job_rows', row)} ON CONFLICT DO NOTHING", row) == 1


def end(
    db: Db,
    number: int,
    event: Event,
    state: State,
    at: int,
    *,
    runner: str | None = None,
    by: str = "",
    problem: str = "",
) -> bool:
    """Moves a job on. False where the event is refused; with ``runner``: where it is not that one's."""
    states = ", ".join(f"'{each}'" for each in before(event))
    narrowed = "" if runner is None else " AND runner = :runner"
    ended_at = None if state in (State.WAITING, State.RUNNING) else at
    values = {"number": number, "state": state, "ended_at": ended_at, "by": by, "problem": problem}
    return (
        db.execute(
            "UPDATE jobs SET state = :state, ended_at = :ended_at, ended_by = :by, problem = :problem,"
            f" runner = '' WHERE number = :number AND state IN ({states}){narrowed}",
            values | ({} if runner is None else {"runner": runner}),
        )
        == 1
    )


def rows_of(db: Db, kind: str, own: str, since: int) -> int:
    """How many rows the jobs of a kind have that were decided in somebody's name (`Actor.own`) since a
    moment, by whichever door."""
    row = db.one(
        "SELECT coalesce(sum(total), 0) FROM jobs"
        # Whoever begins one alone is held by that (`asking._do`).
        f" WHERE kind = :kind AND {in_own_name('decided_by')} AND made_at > :since{LOOK}",
        {"kind": kind, **own_names(own), "since": since},
    )
    assert row is not None
    return int(row[0])


def done_lines(db: Db, number: int) -> set[int]:
    """The lines that are done."""
    return {int(row[0]) for row in db.rows("SELECT line FROM job_rows WHERE job = :job", {"job": number})}


def counted(db: Db, number: int) -> dict[str, int]:
    """How many rows ended in which way."""
    found = db.rows(
        f"SELECT result, count(*) FROM job_rows WHERE job = :job GROUP BY result ORDER BY result{LOOK}",
        {"job": number},
    )
    return {str(row[0]): int(row[1]) for row in found}


def count_told(db: Db, number: int) -> int:
    """How many users an import has added to whom, or about whose request, a letter has left
    (`mail.store.any_begun`)."""
    row = db.one(f"SELECT count(*) AS n FROM {_TOLD}{LOOK}", {"job": number})
    assert row is not None
    return int(row["n"])


def any_told(db: Db, number: int) -> bool:
    """Whether there is one: known by the first."""
    return db.one(f"SELECT 1 FROM {_TOLD} LIMIT 1{LOOK}", {"job": number}) is not None


_TOLD = (
    "job_rows r WHERE r.job = :job AND r.result = 'added' AND ("
    f"EXISTS (SELECT 1 FROM mails WHERE mails.user_id = r.subject AND {BEGUN})"
    f" OR EXISTS (SELECT 1 FROM mails WHERE mails.request_id = r.request_id AND {BEGUN}))"
)


def lines(
    db: Db, number: int, result: str | None = None, *, after: int = -1, limit: int = 2**62
) -> list[Line]:
    """What became of rows, by their lines; ``result``: of those alone that ended so."""
    narrowed = "" if result is None else " AND result = :result"
    found = db.rows(
        "SELECT line, result, subject, request_id, code, field, detail FROM job_rows"
        f" WHERE job = :job AND line > :after{narrowed} ORDER BY line LIMIT :limit",
        {"job": number, "after": after, "limit": limit} | ({} if result is None else {"result": result}),
    )
    return [Line(**_values(row)) for row in found]


def of_proposals(db: Db, numbers: Sequence[int]) -> dict[int, int]:
    """Proposal -> the job that carries it out."""
    found = {}
    for number in numbers:
        row = db.one("SELECT number FROM jobs WHERE proposal = :proposal", {"proposal": number})
        if row is not None:
            found[number] = int(row[0])
    return found


def _job(row: Row) -> Job:
    values = _values(row)
    return Job(**{**values, "state": State(values["state"])})


def _values(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118  a row is no mapping
