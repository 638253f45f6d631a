"""An import as an operator asks for it: a file is looked through without recording anything, and what could
be added is proposed. The rows go by the register that records them later (`enroll/jobs/kinds.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from enroll.operators import asking
from enroll.operators.actors import Actor, require_any
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act, Verdict
from enroll.people.csvfile import ORGANISATIONS, USERS, Shape, Table, payload_of, table_again, table_in
from enroll.people.importing import Organisations, Outcome, Register, Row, Users, counted, run
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

#: Rows of a file that somebody sends by a browser: as many users as one customer of ours has. Commands take
#: more, of a file that lies on the machine.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Kind:
    """A kind of import. ``options``: what is said of all its rows, each yes or no."""

    shape: Shape
    options: tuple[str, ...]
    #: With what the options are, and in whose name.
    register: Callable[[RegistrationAuthority, Mapping[str, bool], str], Register]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "user.import": Kind(
            USERS,
            ("hold_letters", "alike"),
            lambda ra, options, by: Users(ra, options["hold_letters"], options["alike"], by),
        ),
        "organisation.import": Kind(ORGANISATIONS, (), lambda ra, options, by: Organisations(ra, by)),
    }
)


@dataclass(frozen=True)
class Checked:
    """A file that was looked through. ``payload``: what a proposal of the rows that could be added has."""

    kind: str
    payload: Mapping[str, Any]
    #: The rows that are refused, as a table of the same kind, and why, in its order.
    refused: Table
    problems: tuple[Refusal, ...]
    counts: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON, for `from_json`."""
        rows = {row.line for row in self.refused.rows}
        return {
            "kind": self.kind,
            "payload": dict(self.payload),
            "refused": payload_of(self.refused, "", rows),
            "problems": [[each.code, each.field, each.detail] for each in self.problems],
            "counts": dict(self.counts),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Checked:
        problems = tuple(
            Refusal(code, field=field, detail=detail) for code, field, detail in told["problems"]
        )
        return cls(told["kind"], told["payload"], table_again(told["refused"]), problems, told["counts"])


async def checked(
    ra: RegistrationAuthority,
    actor: Actor,
    name: str,
    content: bytes,
    file: str,
    options: Mapping[str, bool],
) -> Checked:
    """What would become of each row of a file. Refusal("not_permitted") for who may not propose it;
    `csvfile.BadFile` for a file of which no row is read."""
    require_any(actor, Act.RECORD, Verdict.PROPOSE | Verdict.DO)
    kind = KINDS[name]
    wanted = {option: options.get(option, False) for option in kind.options}
    table = await ra.workers.run_in_thread(table_in, content, Path(file), kind.shape, MOST_ROWS)
    done = list[Outcome]()
    await run(ra, table.rows, kind.register(ra, wanted, actor.name), done, dry_run=True)
    problems = {each.line: each.problem for each in done if each.problem is not None}
    rows = tuple(row for row in table.rows if row.line in problems)
    good = {each.line for each in done if each.result == "would_add"}
    return Checked(
        name,
        {**payload_of(table, file, good), **wanted},
        Table(table.heading, tuple(Row(row.line, row.text, row.given) for row in rows), table.encoding),
        tuple(problems[row.line] for row in rows),
        counted(done),
    )


async def propose(ra: RegistrationAuthority, actor: Actor, found: Checked, reason: str) -> Proposed:
    """Proposes the rows that could be added when the file was looked through; what has changed since, the job
    finds. Refusal: "invalid_input" for none, "not_permitted", "conflict" for what waits already."""
    if not found.payload["rows"]:
        raise Refusal("invalid_input", field="rows", detail="there is no row to add")
    made = await asking.ask(ra, actor, found.kind, found.payload, reason=reason)
    assert isinstance(made, Proposed), "no role records anything alone"
    return made
