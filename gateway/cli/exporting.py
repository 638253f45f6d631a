"""``export``: every list of the console as a file, as it comes, to standard output."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import click

from enroll.exports import NAMES
from enroll.operators.roles import Act
from enroll.refusals import Refusal
from gateway.cli.caller import acting
from gateway.cli.frame import READS, Answer, Streamed, deployment_command
from gateway.cli.output import Lines
from gateway.cli.root import root
from gateway.serving import record
from gateway.serving.deployment import Deployment


def _pairs(_: click.Context, __: click.Parameter, typed: tuple[str, ...]) -> tuple[str, ...]:
    for each in typed:
        if not each.partition("=")[1]:
            raise click.UsageError(f"--filter {each}: write NAME=VALUE, such as state=active")
    return typed


# Whose each export is, its table says (`enroll/exports/tables.py`): it is asked before a row is read.
@deployment_command(root, "export", Act.STANDING, READS)
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@click.argument("number", type=int, required=False)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="What narrows it, by the names in the address of the list on the console; again for more.",
)
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option(
    "--lang",
    type=click.Choice(["ja", "en"]),
    default="en",
    show_default=True,
    help="Of a CSV file: ja has words for people, en the names and values of the API.",
)
async def _export(
    deployment: Deployment, name: str, number: int | None, filters: tuple[str, ...], form: str, lang: str
) -> Answer:
    """Write a list to standard output, all of it: sekisho export users > users.csv

    NAME: users, organisations, certificates, applications, letters, audit, proposals, jobs, campaign NUMBER,
    campaign-people NUMBER, or report- and a report's name. The last line says how many rows there were: a
    file without it has broken off. Who took what stands in the record, with the file's SHA-256.
    """
    # Not above: what the console is made of takes longer to load than most commands take.
    from enroll.exports import giving
    from enroll.exports.forms import JsonDocument
    from enroll.exports.tables import Closing, checkpoint_of
    from gateway.sites.console.exporting import OFFERED, form_of

    offered, ra = OFFERED[name], deployment.ra
    if bool(offered.of) is not (number is not None):
        of = "which one: add its number" if offered.of else f"{name} is not by number: leave {number} out"
        raise click.UsageError(f"export {name}: {of}")
    query = dict(each.split("=", 1) for each in filters) | ({"number": str(number)} if offered.of else {})
    for each in query:
        if each not in (*offered.filters, offered.of):
            there = ", ".join(offered.filters) or "nothing"
            raise click.UsageError(f"--filter {each}: {name} is narrowed by {there}")
    try:
        wanted, said = offered.asked(ra, query)
    except Refusal as refusal:
        if refusal.field not in offered.filters:
            raise
        typed = query.get(refusal.field, "")
        raise click.UsageError(f"--filter {refusal.field}={typed}: it is narrowed by no such value") from None

    async def head() -> Closing:
        return checkpoint_of(await record.head(deployment))

    told = dict[str, Any]()

    async def parts(as_json: bool) -> AsyncGenerator[bytes]:
        written = JsonDocument() if as_json else form_of(form, offered.table, lang)
        begin = partial(giving.begun, ra, acting(), offered.table, written, wanted, said)
        made = await begin(closing=head if offered.table.signed else None)
        async with aclosing(giving.parts(made)) as coming:
            async for part in coming:
                yield part
        told.update(rows=made.tally.rows, sha256=made.tally.digest.hexdigest(), export=made.number)

    def show(_: Any) -> None:
        line = f"{told['rows']:,} rows; SHA-256 {told['sha256']}; in the record: export {told['export']}"
        Lines((line,)).write(sys.stderr)

    return Streamed({}, show, parts=parts)
