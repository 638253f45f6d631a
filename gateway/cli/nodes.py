"""The nodes of a database on a server: data directories that share it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

import ca.store
from ca import datadir, journal
from ca.clock import SystemClock
from ca.errors import ConfigError
from ca.storage import Transaction
from enroll import store
from enroll.operators.roles import Act
from gateway.cli.caller import actor
from gateway.cli.frame import READS, Answer, answer, command, deployment_command, listing
from gateway.cli.root import GROUPS
from gateway.serving import nodes
from gateway.serving.database import database_of
from gateway.serving.deployment import SCHEMAS, Deployment
from gateway.serving.standing import journal_of, node_of, said


@command(GROUPS["node"], "join")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The data directory of another node, or a copy of it.",
)
def _join(data: Path, source: Path) -> Answer:
    """Make another node: a new data directory (--data) with the CA's keys and settings, and its own journal.

    The passphrase is that of the other one. The other one may be served meanwhile.
    """
    missing = nodes.join(source, data)
    found = {"data": str(data), "node": node_of(data), "missing": missing}
    return answer(
        {"node": found},
        f"{data} is a node of its own ({found['node'][:8]}), with the passphrase of {source}.",
        *(f"Not in it, and named by the settings: {each}; put it there" for each in missing),
        f"Next: look through {data / 'sekisho.toml'}, then: sekisho doctor --data {data}",
    )


@deployment_command(GROUPS["node"], "list", Act.STANDING, READS)
async def _list(deployment: Deployment) -> Answer:
    """The nodes that share the database, and which of them leads."""
    found, lead = await deployment.ra.database.read(lambda db: (ca.store.nodes(db), ca.store.lead(db)[0]))
    ours = node_of(deployment.data)
    records = [
        {
            "node": each.node_id or "-",
            "machine": each.name or "-",
            "line": each.number,
            "leads": each.node_id == lead and bool(lead),
            "this": each.node_id == ours,
            "behind": each.behind,
        }
        for each in found
    ]
    columns = {"node": "Node", "machine": "Machine", "line": "Line", "leads": "Leads", "this": "This one"}
    return listing("nodes", records, {**columns, "behind": "To be compared"})


@command(GROUPS["node"], "remove")
@click.argument("node")
def _remove(data: Path, node: str) -> Answer:
    """Forget a node that is gone for good, with its journal: nobody waits for that any more.

    What it revoked and issued since the database was put back is lost, unless a copy of its journal is
    brought back first: sekisho restore backup --journal DIR.
    """
    datadir.read_marker(data)
    datadir.check_owner(data)
    kept = journal_of(data)
    with closing(database_of(data, SCHEMAS, kept)) as database:
        if (stands := journal.stands(kept, database)) not in ("level", "undecided"):
            seen = database.read_now(lambda db: ca.store.journal_mark(db, kept.node))[0]
            raise ConfigError(said(data, kept, stands, seen))
        named = [each for each in database.read_now(ca.store.nodes) if each.node_id.startswith(node)]
        if len(named) != 1 or not node:
            raise ConfigError(f"{node!r} is no node, or more than one; see: sekisho node list --data {data}")
        (found,) = named
        if found.node_id == kept.node:
            raise ConfigError(f"{data} is that node itself; type it on another one")
        at, who = SystemClock().seconds(), actor()

        def work(db: Transaction) -> None:
            ca.store.drop_node(db, found.node_id)
            store.audit(db, at, who, "node.removed", found.node_id, machine=found.name, line=found.number)

        database.write_now(work)
    return answer({"node": asdict(found)}, f"{found.name} ({found.node_id[:8]}) is forgotten.")
