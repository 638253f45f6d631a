"""``user import``: many users from a CSV file, a result for each row, safe to run again.

Every line is parsed by itself: a row that is broken, hostile or unknown is refused and told, and takes
no other row with it. A person who is recorded already (same user ID, or same organisation, name and
mail address) is left as is.
"""

from __future__ import annotations

import asyncio
import codecs
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.progress import Progress

from ca.errors import ConfigError
from ca.files import read_file
from enroll import store
from enroll.office import Office
from enroll.people import Person, add_user, check_person
from enroll.refusals import Refusal
from gateway.cli.failures import failure_of
from gateway.cli.frame import Answer, actor, house_command, listing
from gateway.cli.root import GROUPS
from gateway.house import House

#: Column -> the headings it goes by. The first three are required.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "policy_number": ("policy_number", "証券番号"),
    "name": ("name", "氏名"),
    "mail": ("mail", "メールアドレス"),
    "user_id": ("user_id", "ユーザーID"),
    "role": ("role", "権限"),
    "notice_by": ("notice_by", "通知方法"),
}
_REQUIRED = ("policy_number", "name", "mail")
#: Values in Japanese, and what they mean. An empty cell is the default.
_VALUES: Mapping[str, Mapping[str, str]] = {
    "role": {"": "member", "一般": "member", "利用者": "member", "管理者": "admin"},
    "notice_by": {"": "mail", "メール": "mail", "はがき": "postcard"},
}
# A file of 100,000 users is a tenth of this.
_LARGEST = 64 * 1024 * 1024
_LONGEST_LINE = 4_096
# Hashing is the slow part and runs in two threads; more at once would only queue.
_AT_ONCE = 4
_UNREADABLE = "�"


@dataclass(frozen=True)
class Row:
    """A line of the file: a person, or why it is none."""

    line: int
    person: Person | None
    problem: Refusal | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a row. ``result``: added, would_add, exists or refused."""

    line: int
    result: str
    user_id: str = ""
    request_id: str = ""
    field: str = ""
    reason: str = ""


@house_command(GROUPS["user"], "import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.csv")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
async def _import(house: House, file: Path, dry_run: bool) -> Answer:
    """Add users from a CSV file (UTF-8 or CP932); rows that are wrong are refused one by one.

    The first line names the columns, in any order: policy_number (証券番号), name (氏名), mail
    (メールアドレス), and if wanted user_id (ユーザーID), role (権限: member, admin, 利用者, 管理者) and
    notice_by (通知方法: mail, postcard, メール, はがき). Running the same file again adds nobody twice.
    """
    rows = list(read_rows(text_of(read_file(file, "CSV file"), file), file))
    outcomes = await _run(house.office, rows, dry_run)
    counts = dict.fromkeys(("added", "would_add", "exists", "refused"), 0)
    for each in outcomes:
        counts[each.result] += 1
    columns = {
        "line": "Line",
        "result": "Result",
        "user_id": "User ID",
        "field": "Column",
        "reason": "Reason",
    }
    table = listing("rows", [asdict(each) for each in outcomes], columns)

    def show(console: Console) -> None:
        table.show(console)
        console.print(", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items()))

    value = {"import": {"dry_run": dry_run, **counts}, **table.value}
    return Answer(value, show, failed=counts["refused"] > 0)


def text_of(content: bytes, file: Path) -> str:
    """The file's text. Bytes that are neither UTF-8 nor CP932 are marked, and lose only their row."""
    if len(content) > _LARGEST:
        raise ConfigError(
            f"{file} has more than {_LARGEST // 1024 // 1024} MiB; split it and import the parts"
        )
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f'{file} is in UTF-16; save it again as "CSV UTF-8" and import that')
    # Line by line, because a row of rubbish must not make mojibake of the others: text in CP932 is
    # hardly ever valid UTF-8.
    telling = [line for line in content.split(b"\n") if not line.isascii()]
    utf8 = sum(_is_utf8(line) for line in telling)
    return content.decode("utf-8-sig" if 2 * utf8 >= len(telling) else "cp932", "replace")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_rows(text: str, file: Path) -> Iterator[Row]:
    """The rows of a file after its heading. ConfigError when the heading does not name the columns."""
    # Not splitlines(): a stray U+2028 in a name must not make two rows of it.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    heading = _cells(lines[0]) or []
    columns = _columns(heading, file)
    for number, line in enumerate(lines[1:], start=2):
        if line.strip(" \t,"):
            yield _row(number, line, columns)


def _columns(heading: Sequence[str], file: Path) -> list[str]:
    names = {word.lower(): column for column, words in COLUMNS.items() for word in words}
    found = [names.get(word.strip().lower(), "") for word in heading]
    unknown = [word for word, column in zip(heading, found, strict=True) if not column]
    missing = [column for column in _REQUIRED if column not in found]
    wanted = (
        "policy_number,name,mail[,user_id,role,notice_by]"
        " or 証券番号,氏名,メールアドレス[,ユーザーID,権限,通知方法], with commas"
    )
    if unknown or missing or len(set(found)) != len(found):
        wrong = [*(f"unknown {word[:40]!r}" for word in unknown[:5]), *(f"missing {m}" for m in missing)]
        raise ConfigError(f"{file}: the first line must be {wanted} ({', '.join(wrong) or 'a column twice'})")
    return found


def _row(number: int, line: str, columns: Sequence[str]) -> Row:
    cells = _cells(line)
    if cells is None:
        return Row(
            number, None, Refusal("invalid_input", detail="not a CSV row: a quote is not closed on its line")
        )
    if len(line) > _LONGEST_LINE:
        return Row(number, None, Refusal("invalid_input", detail=f"longer than {_LONGEST_LINE} characters"))
    if _UNREADABLE in line:
        return Row(number, None, Refusal("invalid_input", detail="characters in no known encoding"))
    if len(cells) != len(columns):
        detail = f"{len(cells)} cells, but the first line names {len(columns)} columns"
        return Row(number, None, Refusal("invalid_input", detail=detail))
    given = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
    for column, words in _VALUES.items():
        value = given.get(column, "")
        given[column] = words.get(value, value)
    try:
        return Row(number, check_person(Person(**cast(Any, given))))
    except Refusal as problem:
        return Row(number, None, problem)


def _cells(line: str) -> list[str] | None:
    """The cells of one line; None when it is not CSV by itself."""
    try:
        parsed = list(csv.reader([line], strict=True))
    except csv.Error:
        return None
    return parsed[0] if len(parsed) == 1 else None


async def _run(office: Office, rows: Sequence[Row], dry_run: bool) -> list[Outcome]:
    known = _Known.of(office)
    outcomes: list[Outcome] = []
    stderr = Console(file=sys.stderr)
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task("users", total=len(rows))
        for start in range(0, len(rows), _AT_ONCE):
            chunk = rows[start : start + _AT_ONCE]
            # Who is known is decided one after the other, so that a row twice in the file is found.
            plans = [known.plan(row) for row in chunk]
            outcomes += await asyncio.gather(
                *(_perform(office, row, plan, dry_run) for row, plan in zip(chunk, plans, strict=True))
            )
            progress.advance(task, len(chunk))
    return outcomes


async def _perform(office: Office, row: Row, plan: Outcome | None, dry_run: bool) -> Outcome:
    if plan is not None:
        return plan
    assert row.person is not None
    if dry_run:
        return Outcome(row.line, "would_add", row.person.user_id)
    try:
        made = await add_user(office, row.person, channel="paper", actor=actor())
    except Refusal as problem:
        return _refused(row.line, problem)
    return Outcome(row.line, "added", made.user_id, made.request_id)


@dataclass
class _Known:
    """Who is recorded, or comes earlier in the file."""

    organisations: Mapping[str, bool]
    people: dict[tuple[str, str, str], str]
    user_ids: dict[str, tuple[str, str, str]]

    @classmethod
    def of(cls, office: Office) -> _Known:
        db = office.database.read()
        users = store.users(db)
        return cls(
            {each.policy_number: each.disabled_at is None for each in store.organisations(db)},
            {(u.policy_number, u.name, u.mail): u.user_id for u in users},
            {u.user_id: (u.policy_number, u.name, u.mail) for u in users},
        )

    def plan(self, row: Row) -> Outcome | None:
        """What is decided without recording anybody; None for a person to add."""
        if row.person is None or row.problem is not None:
            return _refused(row.line, row.problem or Refusal("invalid_input"))
        person = row.person
        same = (person.policy_number, person.name, person.mail)
        if person.user_id in self.user_ids:
            if self.user_ids[person.user_id] == same:
                return Outcome(row.line, "exists", person.user_id)
            recorded = self.user_ids[person.user_id]
            detail = f"user ID {person.user_id} is another person's"
            if recorded[:2] == same[:2]:
                detail = (
                    f"recorded with {recorded[2]}; if that is wrong: "
                    f"sekisho user change {person.user_id} --mail {person.mail}"
                )
            return _refused(row.line, Refusal("conflict", field="user_id", detail=detail))
        if same in self.people and person.user_id in ("", self.people[same]):
            return Outcome(row.line, "exists", self.people[same])
        if not self.organisations.get(person.policy_number, False):
            code = "user_disabled" if person.policy_number in self.organisations else "not_found"
            return _refused(row.line, Refusal(code, field="policy_number"))
        self.people[same] = person.user_id
        if person.user_id:
            self.user_ids[person.user_id] = same
        return None


def _refused(line: int, problem: Refusal) -> Outcome:
    failure = failure_of(problem)
    return Outcome(line, "refused", field=failure.field, reason=failure.message)
