"""``retention``: how long what is personal is kept, what is over, and its erasing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.refusals import Refusal
from enroll.retention import erasing
from gateway.cli.asked import asked, proposed
from gateway.cli.frame import ASKS, READS, Answer, deployment_command, listing
from gateway.cli.jobs import after
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_RETENTION = GROUPS["retention"]
_COLUMNS = {
    "kind": "Of", "days": "Days", "before_at": "Over up to", "count": "Over", "taken": "What is taken away",
}  # fmt: skip


@deployment_command(_RETENTION, "show", Act.PURGE, READS)
async def _show(deployment: Deployment) -> Answer:
    """Show the table of periods ([retention] in sekisho.toml; 0: for good), and what is over by now."""
    return listing("retention", await _over(deployment), _COLUMNS)


@deployment_command(_RETENTION, "apply", Act.PURGE, ASKS)
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and change nothing.")
async def _apply(deployment: Deployment, dry_run: bool) -> Answer:
    """Erase what is personal in all that is over, for good; it takes two, and a job does it.

    Certificates, requests and the chain of the trail stay. What was ended by then and came back is left.
    """
    ra = deployment.ra
    try:
        payload = await ra.database.read(lambda db: erasing.payload(db, ra.settings.periods, ra.now()))
    except Refusal:
        if not dry_run:
            raise
        payload = {"counts": {}}
    if dry_run:
        counts = payload["counts"]
        told = [
            each | {"count": counts[each["kind"]]}
            for each in await _over(deployment)
            if each["kind"] in counts
        ]
        return listing("retention", told, _COLUMNS)
    found = await asked(deployment, "retention.apply", payload)
    if isinstance(found, Proposed):
        return proposed(found)
    return await after(deployment, found.result["job"])


async def _over(deployment: Deployment) -> list[dict[str, Any]]:
    ra = deployment.ra
    found = await ra.database.read(lambda db: erasing.over(db, ra.settings.periods, ra.now()))
    return [{**asdict(each), "before_at": each.before} for each in found]
