"""What a job does with each of its rows: one row of the table a kind.

Whoever runs a job (`running.py`) plans rows one after the other and does each in a transaction of its own, in
which it is also written down as done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

from ca.storage import Transaction, Work
from enroll.campaigns import working
from enroll.jobs import store as jobs
from enroll.jobs.states import Event, State, next_state
from enroll.jobs.store import Job, Line
from enroll.people import csvfile, importing, replacing, undoing
from enroll.people.importing import Organisations, Outcome, Row, Users
from enroll.postcards import keeping, printing
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.opening import draw_issue_password
from enroll.requests.transitions import end_certificate
from enroll.retention import erasing

Payload = Mapping[str, Any]
#: Kinds of imports, which come from a file and can be taken back.
IMPORTS = ("user.import", "organisation.import")


class Doing(Protocol):
    """What does a job's rows. It knows those that came earlier in this run."""

    def plan(self, row: Row) -> Line | None:
        """What is decided without changing anything; None for a row to do. Refusal for a wrong one."""
        ...

    async def work(self, row: Row) -> Work[Line]:
        """What does a row that was planned, in a transaction; whatever is slow is done. Refusal."""
        ...

    def done(self, row: Row, line: Line) -> None:
        """Learns that a row is done."""


@dataclass(frozen=True)
class Kind:
    """A kind of job."""

    rows: Callable[[Transaction, Payload], list[Row]]
    #: With the payload, and in whose name it is done.
    doing: Callable[[RegistrationAuthority, Payload, str], Doing]
    #: What happens when it is decided, in the same transaction. Refusal for what cannot be.
    begun: Callable[[Transaction, RegistrationAuthority, Payload, Job], None] = lambda db, ra, payload, job: (
        None
    )
    #: What happens when somebody stops it, in the same transaction; in whose name.
    cancelled: Callable[[Transaction, RegistrationAuthority, Payload, str], object] = (
        lambda db, ra, payload, by: None
    )


@dataclass
class _Each:
    """Rows that know nothing of each other: ``do`` does one, in its transaction."""

    do: Callable[[Transaction, Row], Line]

    def plan(self, row: Row) -> Line | None:
        return None

    async def work(self, row: Row) -> Work[Line]:
        return lambda db: self.do(db, row)

    def done(self, row: Row, line: Line) -> None:
        """Rows know nothing of each other."""


# -- imports ---------------------------------------------------------------------------------------------


@dataclass
class _Imported:
    register: importing.Register

    def plan(self, row: Row) -> Line | None:
        planned = self.register.plan(row)
        return None if planned is None else _line(self.register.completed(planned))

    async def work(self, row: Row) -> Work[Line]:
        work = await self.register.work(row)
        return lambda db: _line(work(db))

    def done(self, row: Row, line: Line) -> None:
        self.register.added(row, Outcome(row.line, line.result, line.subject, line.request_id))


def _line(outcome: Outcome) -> Line:
    return Line(outcome.line, outcome.result, outcome.user_id or outcome.policy_number, outcome.request_id)


def _of_file(db: Transaction, payload: Payload) -> list[Row]:
    return list(csvfile.table_again(payload).rows)


# -- an import taken back --------------------------------------------------------------------------------


def _undo(ra: RegistrationAuthority, payload: Payload, by: str) -> Doing:
    def do(db: Transaction, row: Row) -> Line:
        about = row.given["subject"]
        if payload["kind"] == "user.import":
            undoing.undo_user(db, ra, about, row.given["request_id"], actor=by)
        else:
            undoing.undo_organisation(db, ra, about, actor=by)
        return Line(row.line, "undone", about)

    return _Each(do)


def _added(db: Transaction, payload: Payload) -> list[Row]:
    found = jobs.lines(db, payload["job"], "added")
    return [Row(each.line, "", {"subject": each.subject, "request_id": each.request_id}) for each in found]


def may_be_undone(db: Transaction, found: Job) -> bool:
    """Whether an import could be taken back as a whole: `undoable`, for a button."""
    if found.kind not in IMPORTS or next_state(found.state, Event.UNDO) is None:
        return False
    return found.kind != "user.import" or not jobs.any_told(db, found.number)


def undoable(db: Transaction, number: int) -> Job:
    """An import that could be taken back as a whole. Refusal("not_found"), "conflict" with why not."""
    found = jobs.job(db, number)
    if found is None or found.kind not in IMPORTS:
        raise Refusal("not_found", field="job", detail=f"{number} is no import")
    if next_state(found.state, Event.UNDO) is None:
        raise Refusal("conflict", field="job", detail=f"job {number} is {found.state}")
    if found.kind == "user.import" and (left := jobs.count_told(db, number)):
        added = jobs.counted(db, number)["added"]
        detail = f"letters to {left} of {added} users have left: end them one by one (user disable)"
        raise Refusal("conflict", field="job", detail=detail)
    return found


def _mark_undone(db: Transaction, ra: RegistrationAuthority, payload: Payload, job: Job) -> None:
    undoable(db, payload["job"])
    if not jobs.end(db, payload["job"], Event.UNDO, State.UNDONE, ra.now()):
        raise Refusal("conflict", field="job")


# -- certificates ----------------------------------------------------------------------------------------


def _revoke(ra: RegistrationAuthority, payload: Payload, by: str) -> Doing:
    def do(db: Transaction, row: Row) -> Line:
        serial = row.given["serial"]
        revoked = end_certificate(db, ra, serial, payload["reason"], ra.now(), actor=by)
        return Line(row.line, "revoked" if revoked else "exists", serial)

    return _Each(do)


def _serials(db: Transaction, payload: Payload) -> list[Row]:
    return [Row(number, "", {"serial": each}) for number, each in enumerate(payload["serials"], start=1)]


@dataclass
class _Invited:
    """Whose certificate's issuing CA is trusted no more: each gets another one."""

    ra: RegistrationAuthority
    payload: Payload
    by: str

    def plan(self, row: Row) -> Line | None:
        ra, user_id, issuer_id = self.ra, row.given["user_id"], self.payload["issuer_id"]
        wanted = ra.database.read_now(lambda db: replacing.wanted(db, ra, issuer_id, user_id))
        return None if wanted else Line(row.line, "needless", user_id)

    async def work(self, row: Row) -> Work[Line]:
        drawn, user_id = await draw_issue_password(self.ra), row.given["user_id"]

        def work(db: Transaction) -> Line:
            request_id = replacing.replace(db, self.ra, self.payload, user_id, drawn, self.by)
            return Line(row.line, "invited" if request_id else "needless", user_id, request_id)

        return work

    def done(self, row: Row, line: Line) -> None:
        """Rows know nothing of each other."""


def _users(db: Transaction, payload: Payload) -> list[Row]:
    return [Row(number, "", {"user_id": each}) for number, each in enumerate(payload["users"], start=1)]


# -- reminders -------------------------------------------------------------------------------------------


def _remind(ra: RegistrationAuthority, payload: Payload, by: str) -> Doing:
    def do(db: Transaction, row: Row) -> Line:
        user_id, result = working.remind(db, ra, payload, int(row.given["number"]))
        return Line(row.line, result, user_id)

    return _Each(do)


def _numbers(db: Transaction, payload: Payload) -> list[Row]:
    return [Row(line, "", {"number": str(each)}) for line, each in enumerate(payload["numbers"], start=1)]


_REMINDING = Kind(
    _numbers,
    _remind,
    lambda db, ra, payload, job: working.begun_reminding(db, ra, payload, job.decided_by),
)


# -- what is personal ------------------------------------------------------------------------------------


def _erase(ra: RegistrationAuthority, payload: Payload, by: str) -> Doing:
    def do(db: Transaction, row: Row) -> Line:
        before = payload["before"][row.given["kind"]]
        return Line(row.line, *erasing.erase(db, ra, row.given, before, actor=by))

    return _Each(do)


def _pieces(db: Transaction, payload: Payload) -> list[Row]:
    return [Row(number, "", each) for number, each in enumerate(erasing.pieces(payload), start=1)]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "user.import": Kind(
            _of_file,
            lambda ra, payload, by: _Imported(Users(ra, payload["hold_letters"], payload["alike"], by)),
        ),
        "organisation.import": Kind(
            _of_file, lambda ra, payload, by: _Imported(Organisations(ra, by))
        ),
        "import.undo": Kind(
            _added, _undo, _mark_undone
        ),
        "certificate.revoke.bulk": Kind(_serials, _revoke),
        "ca.reissue": Kind(
            _users, _Invited, lambda db, ra, payload, job: replacing.check(db, ra, payload)
        ),
        "postcard.batch": Kind(
            printing.rows,
            printing.Drawn,
            lambda db, ra, payload, job: keeping.begin(
                db, ra, payload["batch"], payload["letters"], job.decided_by, job.number
            ),
            lambda db, ra, payload, by: keeping.give_back(
                db, ra, payload["batch"], by, why="its job was cancelled"
            ),
        ),
        "campaign.remind": _REMINDING,
        "campaign.remind.many": _REMINDING,
        "retention.apply": Kind(_pieces, _erase),
    }
)  # fmt: skip


def refused(line: int, problem: Refusal) -> Line:
    """A row that was refused."""
    return Line(line, "refused", code=problem.code, field=problem.field, detail=problem.detail)


def problem_of(line: Line) -> Refusal:
    """The refusal of a row, as it was raised."""
    return Refusal(line.code, field=line.field, detail=line.detail)


def begin(
    db: Transaction,
    ra: RegistrationAuthority,
    job: Job,
    payload: Payload,
    *,
    own: bool,
) -> int:
    """Records a job that was decided, inside the transaction that decides it; its number. ``own``: it is no
    proposal's, and keeps its payload itself. ``job.total`` is counted here."""
    kind = KINDS[job.kind]
    rows = len(kind.rows(db, payload))
    number = jobs.add(db, replace(job, total=rows), payload if own else None)
    kind.begun(db, ra, payload, replace(job, number=number))
    return number
