"""``user import`` and ``org import``: many from a CSV file, a result for each row, safe to run again.

Who is recorded already is left as is: a person by what name and address mean (``enroll/people/sameness.py``),
an organisation by its 証券番号. So a run that was killed is repeated, and goes on where it ended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click

from ca.errors import ConfigError
from enroll.exports import giving
from enroll.operators import imports, registers
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act, Verdict
from enroll.people.csvfile import Table, failures_file, payload_of, table_in
from enroll.people.importing import Outcome, counted, run
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import Given, InputFile, OutputFile, acting, actor, write
from gateway.cli.failures import failure_of
from gateway.cli.frame import ASKS, Answer, deployment_command, listing, plain
from gateway.cli.output import Console
from gateway.cli.people import alike_option
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

# A line of progress after so many rows.
_PROGRESS = 500
# Without --json more rows than these that went well are counted, not listed.
_LISTED = 200


_FILE = click.argument("file", type=InputFile("CSV file"), metavar="FILE.csv")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_FAILURES = click.option(
    "--failures",
    type=OutputFile(),
    metavar="FILE.csv",
    help="Write the refused rows there, each with its reason in front: mend it and import that.",
)


@deployment_command(GROUPS["user"], "import", Act.RECORD, ASKS)
@_FILE
@_DRY_RUN
@_FAILURES
@click.option(
    "--hold-letters",
    is_flag=True,
    help="Keep the letters back until: sekisho mail release. The dates in them count from today.",
)
@alike_option
async def _import(
    deployment: Deployment, file: Given, dry_run: bool, failures: Path | None, hold_letters: bool, alike: bool
) -> Answer:
    """Add users from a CSV file (UTF-8 or CP932); rows that are wrong are refused one by one.

    The first line names the columns, in any order: policy_number (証券番号), name (氏名), mail
    (メールアドレス), and if wanted user_id (ユーザーID), role (権限: member, admin, 利用者, 管理者),
    notice_by (通知方法: mail, postcard, メール, はがき), language (言語: ja, en, 日本語, 英語), and for
    profiles that say them department (部署) and principal (UPN); reading (フリガナ) is found by the search.
    Postcards go to the organisation's address, or to the user's own: postal_code (郵便番号), prefecture
    (都道府県), city (市区町村), street (町名番地), building (建物名) and addressee (宛名).
    Running the same file again adds nobody twice, however name and address are typed. Whoever has the name
    or the mail address of somebody else is refused unless --alike says that it is meant.
    """
    options = {"hold_letters": hold_letters, "alike": alike}
    columns = {"line": "Line", "result": "Result", "user_id": "User ID"}
    wanted = (deployment, "user.import", options)
    return await _imported(*wanted, file, columns, dry_run=dry_run, failures=failures)


@deployment_command(GROUPS["org"], "import", Act.RECORD, ASKS)
@_FILE
@_DRY_RUN
@_FAILURES
async def _org_import(deployment: Deployment, file: Given, dry_run: bool, failures: Path | None) -> Answer:
    """Add organisations from a CSV file (UTF-8 or CP932); rows that are wrong are refused one by one.

    The first line names the columns, in any order: policy_number (証券番号), name (団体名), and if wanted
    lineages (台数), issue_password_by (パスワード通知方法: mail, postcard, admin, メール, はがき, 管理者),
    profile (プロファイル), country (国), and where postcards to its users go: postal_code (郵便番号),
    prefecture (都道府県), city (市区町村), street (町名番地), building (建物名) and addressee (宛名).
    """
    columns = {"line": "Line", "result": "Result", "policy_number": "Number"}
    options: Mapping[str, bool] = {}
    wanted = (deployment, "organisation.import", options)
    return await _imported(*wanted, file, columns, dry_run=dry_run, failures=failures)


async def _imported(
    deployment: Deployment,
    kind: str,
    options: Mapping[str, bool],
    file: Given,
    columns: dict[str, str],
    *,
    dry_run: bool,
    failures: Path | None,
) -> Answer:
    how = imports.KINDS[kind]
    table, register = (
        table_in(file.content, file.path, how.shape),
        how.register(deployment.ra, options, actor()),
    )
    if failures is not None:
        _begin_failures(failures, file.path, table)
    done: list[Outcome] = []
    alone = Verdict.DO in acting().may(Act.RECORD)
    # Who may not do it alone proposes the rows that could be added now.
    planned_only = dry_run or not alone
    began, total = time.monotonic(), len(table.rows)

    def told(count: int) -> None:
        if len(done) % _PROGRESS < count and total >= _PROGRESS:
            click.echo(_progress(done, total, time.monotonic() - began), err=True)

    try:
        await run(deployment.ra, table.rows, register, done, dry_run=planned_only, told=told)
    finally:
        if failures is not None:
            refused = _refused_rows(table, done)
            write(failures, refused)
    if failures is not None:
        await giving.tell_file(deployment.ra, acting(), "refused-rows", refused, counted(done)["refused"])
    # Who was there already, and who may be the same: none of it stands in the file.
    known = (each.user_id for each in done if each.result == "exists")
    why = (each.problem.detail for each in done if each.problem is not None)
    await registers.note_rows(deployment.ra, acting(), "rows", chain(known, why))
    found = _told(done, columns, planned_only, failures)
    if alone or dry_run:
        return found
    wanted = {each.line for each in done if each.result == "would_add"}
    if not wanted:
        return found
    payload = payload_of(table, file.path.name, wanted)
    asked_for = await asked(deployment, kind, {**payload, **options})
    assert isinstance(asked_for, Proposed)
    return _with(found, proposed(asked_for))


def _with(found: Answer, made: Answer) -> Answer:
    def show(console: Console) -> None:
        found.show(console)
        made.show(console)

    return Answer({**found.value, **made.value}, show, failed=found.failed)


def _begin_failures(failures: Path, file: Path, table: Table) -> None:
    if failures.resolve() == file.resolve():
        raise ConfigError(f"--failures {failures} is the file itself; name another one")
    # Now: after all the work it would be too late to hear that nothing can be written there.
    write(failures, failures_file(table, ()))


def _progress(done: Sequence[Outcome], total: int, seconds: float) -> str:
    refused = sum(each.result == "refused" for each in done)
    left = seconds / len(done) * (total - len(done))
    return f"{len(done):,} of {total:,} rows, {refused:,} refused; {left:.0f} s left"


def _record(outcome: Outcome) -> dict[str, Any]:
    failure = None if outcome.problem is None else failure_of(outcome.problem)
    said = {"field": failure.field if failure else "", "reason": failure.message if failure else ""}
    names = ("line", "result", "user_id", "request_id", "policy_number")
    return {name: getattr(outcome, name) for name in names} | said


def _refused_rows(table: Table, done: Sequence[Outcome]) -> bytes:
    reasons = {each.line: failure_of(each.problem).message for each in done if each.problem is not None}
    return failures_file(table, [(row, reasons[row.line]) for row in table.rows if row.line in reasons])


def _told(done: Sequence[Outcome], columns: dict[str, str], dry_run: bool, failures: Path | None) -> Answer:
    """The refused rows first: of 20,000 they are the ones to look at."""
    counts = counted(done)
    ordered = sorted(done, key=lambda each: each.result != "refused")
    shown = ordered[: counts["refused"] + _LISTED]
    after = [", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())]
    if len(shown) < len(ordered):
        after.insert(0, f"({len(ordered) - len(shown):,} more rows went well; --json lists them)")
    if failures is not None and counts["refused"]:
        after.append(f"The refused rows stand in {failures}: mend them there and import that file.")

    if any(each.problem is not None and each.problem.field == "alike" for each in done):
        after.append("Where the same name or mail address is meant, import those rows with --alike.")

    def show(console: Console) -> None:
        headings = columns | {"field": "Column", "reason": "Reason"}
        listing("rows", [_record(each) for each in shown], headings).show(console)
        for line in after:
            console.print(plain(line), soft_wrap=True)

    value = {"import": {"dry_run": dry_run, **counts}, "rows": [_record(each) for each in ordered]}
    return Answer(value, show, failed=counts["refused"] > 0)
