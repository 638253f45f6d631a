"""``user export`` and ``org export``: what is recorded, as the CSV files that ``import`` takes, for a new
data directory: a root that is given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from enroll import listings, store
from enroll.listings import Wanted
from enroll.operators.roles import Act
from enroll.people.csvfile import ORGANISATIONS, USERS, Shape, table_of
from gateway.cli.caller import OutputFile, actor, write
from gateway.cli.frame import READS, Answer, answer, deployment_command
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_FILE = click.argument("file", type=OutputFile(), metavar="FILE.csv")


@deployment_command(GROUPS["user"], "export", Act.RECORD, READS)
@_FILE
async def _users(deployment: Deployment, file: Path) -> Answer:
    """Write every user to a CSV file that user import takes; who is disabled is left out.

    No password and no certificate is in it, only what identifies people: keep it as carefully as the rest.
    """
    found = list(listings.users(deployment.ra.database, Wanted()))
    closed = {each.policy_number for each in _organisations(deployment) if each.disabled_at is not None}
    kept = [each for each in found if each.disabled_at is None and each.policy_number not in closed]
    return await _exported(
        deployment, file, USERS, "users.exported", [asdict(each) for each in kept], len(found)
    )


@deployment_command(GROUPS["org"], "export", Act.RECORD, READS)
@_FILE
async def _orgs(deployment: Deployment, file: Path) -> Answer:
    """Write every organisation to a CSV file that org import takes; what is disabled is left out."""
    found = _organisations(deployment)
    kept = [asdict(each) for each in found if each.disabled_at is None]
    return await _exported(deployment, file, ORGANISATIONS, "organisations.exported", kept, len(found))


def _organisations(deployment: Deployment) -> Sequence[store.Organisation]:
    return deployment.ra.database.read_now(store.organisations)


async def _exported(
    deployment: Deployment, file: Path, shape: Shape, act: str, records: Sequence[dict[str, Any]], of: int
) -> Answer:
    ra, by = deployment.ra, actor()
    write(file, table_of(shape, records))
    await ra.database.write(
        lambda db: store.audit(db, ra.now(), by, act, "export", file=str(file), rows=len(records))
    )
    left = of - len(records)
    return answer(
        {"export": {"file": str(file), "rows": len(records), "left_out": left}},
        f"{file}: {len(records)} rows; left out, since they are disabled: {left}",
    )
