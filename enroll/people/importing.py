"""What the rows of an import are recorded in: users, and organisations.

Each knows those who are recorded, and those who come earlier in the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, cast

from ca.storage import Transaction, Work, unblocked
from enroll import store
from enroll.identifiers import number_in
from enroll.people import sameness
from enroll.people.likeness import check_unlike
from enroll.people.postal import FIELDS as POSTAL
from enroll.people.register import Person, admission, check_organisation, check_person, record_organisation
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

# So many rows share a transaction. Logins wait for it meanwhile, some tenths of a second at most.
_AT_ONCE = 50


@dataclass(frozen=True)
class Row:
    """A line of the file: its cells by column, or why it is no row."""

    line: int
    text: str
    given: Mapping[str, str]
    problem: Refusal | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a row. ``result``: added, would_add, exists or refused, which has its problem."""

    line: int
    result: str
    user_id: str = ""
    request_id: str = ""
    policy_number: str = ""
    problem: Refusal | None = None


class Register(Protocol):
    """What rows are recorded in."""

    def plan(self, row: Row) -> Outcome | None:
        """What is decided without recording anything; None for a row to add. Refusal for a wrong one."""
        ...

    async def work(self, row: Row) -> Work[Outcome]:
        """What records a row that was planned, in a transaction; whatever is slow is done. Refusal."""
        ...

    def added(self, row: Row, outcome: Outcome) -> None:
        """Learns that a row is recorded."""

    def completed(self, outcome: Outcome) -> Outcome:
        """The outcome with what was not known yet when it was planned."""
        ...


async def run(
    ra: RegistrationAuthority,
    rows: Sequence[Row],
    register: Register,
    done: list[Outcome],
    *,
    dry_run: bool = False,
    told: Callable[[int], None] = lambda count: None,
) -> None:
    """Records rows, some at a time; fills ``done`` in the order of the file. ``told``: how many more are
    done."""
    for start in range(0, len(rows), _AT_ONCE):
        chunk = rows[start : start + _AT_ONCE]
        plans = await unblocked(ra.database, partial(_all_planned, register, chunk))
        made = await asyncio.gather(
            *(_perform(ra, register, row, plan, dry_run) for row, plan in zip(chunk, plans, strict=True))
        )
        done += map(register.completed, made)
        told(len(chunk))


def counted(done: Sequence[Outcome]) -> dict[str, int]:
    """How many rows ended in which way."""
    counts = dict.fromkeys(("added", "would_add", "exists", "refused"), 0)
    for each in done:
        counts[each.result] += 1
    return counts


def _all_planned(register: Register, rows: Sequence[Row]) -> list[Outcome | None]:
    """Who is known is decided one after the other, so that a row twice in the file is found."""
    return [_planned(register, row) for row in rows]


def _planned(register: Register, row: Row) -> Outcome | None:
    try:
        if row.problem is not None:
            raise row.problem
        return register.plan(row)
    except Refusal as problem:
        return _refused(row.line, problem)


async def _perform(
    ra: RegistrationAuthority, register: Register, row: Row, plan: Outcome | None, dry_run: bool
) -> Outcome:
    if plan is not None:
        return plan
    if dry_run:
        return Outcome(row.line, "would_add", row.given.get("user_id", ""))
    try:
        made = await ra.database.write(await register.work(row))
    except Refusal as problem:
        return _refused(row.line, problem)
    register.added(row, made)
    return made


def _refused(line: int, problem: Refusal) -> Outcome:
    # Without where it was raised: of 20,000 rows that would be kept as long as the outcomes.
    return Outcome(line, "refused", problem=problem.with_traceback(None))


#: Organisation, name and address as people are compared by them.
_Same = tuple[str, str, str]


@dataclass
class Users:
    """Users: those recorded, and those who come earlier in the file."""

    ra: RegistrationAuthority
    hold_letters: bool
    alike: bool
    by: str
    _people: dict[_Same, str] = field(default_factory=dict)
    _user_ids: dict[str, Person] = field(default_factory=dict)
    _organisations: dict[str, bool] = field(default_factory=dict)
    _drawn: dict[int, _Same] = field(default_factory=dict)
    #: Mail address, or organisation and name, as they are compared -> the line that had it last.
    _lines: dict[str | tuple[str, str], int] = field(default_factory=dict)

    def plan(self, row: Row) -> Outcome | None:
        person = check_person(Person(**cast(Any, row.given)))
        same = _same(person)
        if person.user_id and (recorded := self._of_user_id(person.user_id)) is not None:
            return self._of_known_id(row.line, person, recorded)
        known = self._known(person, same)
        if known is not None and person.user_id in ("", known):
            if not known:
                # The row before it, of this very transaction: its user ID is being drawn.
                self._drawn[row.line] = same
            return Outcome(row.line, "exists", known)
        if not self._open(person.policy_number):
            code = "user_disabled" if person.policy_number in self._organisations else "not_found"
            raise Refusal(code, field="policy_number")
        if not self.alike:
            self._check_unlike(person)
        self._lines |= dict.fromkeys((same[:2], same[2]), row.line)
        self._people[same] = person.user_id
        if person.user_id:
            self._user_ids[person.user_id] = person
        return None

    def _check_unlike(self, person: Person) -> None:
        number, name, mail = _same(person)
        for what, key in (("mail address", mail), ("name", (number, name))):
            if key in self._lines:
                raise Refusal("conflict", field="alike", detail=f"the same {what} as line {self._lines[key]}")
        self.ra.database.read_now(lambda db: check_unlike(db, person))

    async def work(self, row: Row) -> Work[Outcome]:
        person, line = Person(**cast(Any, row.given)), row.line
        admitted = await admission(
            self.ra, person, channel="paper", actor=self.by, hold_letters=self.hold_letters
        )

        def work(db: Transaction) -> Outcome:
            made = admitted(db)
            return Outcome(line, "added", made.user_id, made.request_id)

        return work

    def added(self, row: Row, outcome: Outcome) -> None:
        person = check_person(Person(**cast(Any, row.given)))
        self._people[_same(person)] = outcome.user_id

    def completed(self, outcome: Outcome) -> Outcome:
        same = self._drawn.pop(outcome.line, None)
        return outcome if same is None else replace(outcome, user_id=self._people[same])

    def _of_known_id(self, line: int, person: Person, recorded: Person) -> Outcome:
        if _same(recorded) == _same(person):
            return Outcome(line, "exists", person.user_id)
        detail = f"user ID {person.user_id} is another person's"
        if _same(recorded)[:2] == _same(person)[:2]:
            detail = (
                f"recorded with {recorded.mail}; if that is wrong: "
                f"sekisho user change {person.user_id} --mail {person.mail}"
            )
        raise Refusal("conflict", field="user_id", detail=detail)

    def _of_user_id(self, user_id: str) -> Person | None:
        if user_id in self._user_ids:
            return self._user_ids[user_id]
        found = self.ra.database.read_now(lambda db: store.user(db, user_id))
        return None if found is None else Person(found.policy_number, found.name, found.mail, user_id)

    def _known(self, person: Person, same: _Same) -> str | None:
        """The person's user ID; "" where it is drawn together with this row's, None for a new person."""
        if same in self._people:
            return self._people[same]
        found = self.ra.database.read_now(
            lambda db: store.same_person(db, person.policy_number, person.name, person.mail)
        )
        return person.user_id if person.user_id in found else next(iter(found), None)

    def _open(self, policy_number: str) -> bool:
        """Whether the organisation is there and not disabled. Not looked up again for each of its rows."""
        if policy_number not in self._organisations:
            found = self.ra.database.read_now(lambda db: store.organisation(db, policy_number))
            if found is None:
                return False
            self._organisations[policy_number] = found.disabled_at is None
        return self._organisations[policy_number]


def _same(person: Person) -> _Same:
    return person.policy_number, sameness.name_key(person.name), sameness.mail_key(person.mail)


#: What else a row may say of an organisation.
_MORE = ("profile", "country", *POSTAL)


@dataclass
class Organisations:
    """Organisations: those recorded, and those earlier in the file."""

    ra: RegistrationAuthority
    by: str
    _known: dict[str, store.Organisation] = field(default_factory=dict)

    def plan(self, row: Row) -> Outcome | None:
        wanted = self._wanted(row)
        number = wanted.policy_number
        recorded = self._known.get(number) or self.ra.database.read_now(
            lambda db: store.organisation(db, number)
        )
        if recorded is None:
            self._known[number] = wanted
            return None
        if sameness.name_key(recorded.name) == sameness.name_key(wanted.name):
            return Outcome(row.line, "exists", policy_number=number)
        detail = (
            f"{number} is recorded as {recorded.name}; if that is wrong: sekisho org change {number} --name"
        )
        raise Refusal("conflict", field="policy_number", detail=detail)

    async def work(self, row: Row) -> Work[Outcome]:
        wanted, line = self._wanted(row), row.line

        def work(db: Transaction) -> Outcome:
            made = record_organisation(db, wanted, actor=self.by)
            return Outcome(line, "added", policy_number=made.policy_number)

        return work

    def added(self, row: Row, outcome: Outcome) -> None:
        """Planned is known already."""

    def completed(self, outcome: Outcome) -> Outcome:
        return outcome

    def _wanted(self, row: Row) -> store.Organisation:
        lineages = row.given.get("lineages", "")
        if lineages and number_in(lineages, 4) is None:
            raise Refusal("invalid_input", field="lineages")
        by = row.given["issue_password_by"]
        if by not in ("mail", "postcard", "admin"):
            raise Refusal("invalid_input", field="issue_password_by")
        return check_organisation(
            store.Organisation(
                row.given["policy_number"],
                row.given["name"],
                self.ra.now(),
                int(lineages) if lineages else None,
                cast(store.PasswordBy, by),
                **cast(Any, {name: row.given.get(name, "") for name in _MORE}),
            ),
            self.ra,
        )
