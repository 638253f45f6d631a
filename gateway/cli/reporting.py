"""``report``: the figures of the console's reports, as a table or as JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from enroll.operators.roles import Act
from enroll.reports import Row, Week, wanted
from gateway.cli.caller import acting
from gateway.cli.frame import READS, Answer, deployment_command, listing
from gateway.cli.registers import of_organisation
from gateway.cli.root import root
from gateway.serving.deployment import Deployment
from gateway.web import reports
from gateway.web.reports import KINDS

_DAY = click.DateTime(["%Y-%m-%d"])
_ENGLISH = 1


@deployment_command(root, "report", Act.REPORTS, READS)
@click.argument("name", type=click.Choice(list(KINDS)))
@click.option("--from", "first", type=_DAY, default=None, metavar="DAY", help="From this day on, in Japan.")
@click.option("--to", "last", type=_DAY, default=None, metavar="DAY", help="Up to this day, and on it.")
@of_organisation("Only this organisation's users.")
async def _report(
    deployment: Deployment,
    name: str,
    first: datetime | None,
    last: datetime | None,
    policy_number: str | None,
) -> Answer:
    """Show how many certificates end or were issued, were picked up, failures and bounces, week by week.

    Without days: the 13 weeks up to today, and of expiring the next 13.
    """
    ra, kind = deployment.ra, KINDS[name]
    if policy_number is not None and not kind.narrowed:
        raise click.UsageError(f"{name} is not by organisation: leave --org out")
    at = ra.now()
    since, until = reports.default_period(name, at)
    asked = wanted(
        since if first is None else first.date(), until if last is None else last.date(), policy_number
    )
    found = await ra.database.read(lambda db: reports.made(db, at, acting(), name, asked))
    period: dict[str, Any] = {"first": asked.first.isoformat(), "last": asked.last.isoformat()}
    period |= {} if policy_number is None else {"organisation": policy_number}
    totals = dict(zip(found.columns, found.totals, strict=True))
    records = [_of(row) | dict(zip(found.columns, row.values, strict=True)) for row in found.rows]
    of = {"first": "First day", "last": "Last day"} if kind.narrowed else {"site": "Site", "code": "Cause"}
    heads = of | {each: words[_ENGLISH] for each, words in kind.columns.items()}
    shown = [*records, {next(iter(of)): "Total", **totals}]
    return replace(
        listing("rows", shown, heads), value={"report": name, **period, "rows": records, "totals": totals}
    )


def _of(row: Row) -> dict[str, Any]:
    if isinstance(row.of, Week):
        return {"first": row.of.first.isoformat(), "last": row.of.last.isoformat()}
    return {"site": row.of.site, "code": row.of.code}
