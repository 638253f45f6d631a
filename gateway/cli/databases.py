"""The database as a whole: whether it is sound, and how it gets to a server and back."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from ca import apart
from ca.errors import ConfigError
from gateway.cli.caller import actor
from gateway.cli.frame import Answer, answer, both, command, listing
from gateway.cli.root import GROUPS
from gateway.serving import checking, copying
from gateway.serving.config import FILE_NAME
from gateway.serving.copying import Copied
from gateway.serving.database import DATABASE

_DB = GROUPS["db"]
# Of a digest, what people compare by eye.
_SHOWN = 16


@command(_DB, "copy")
@click.option("--to", metavar="URL", help="An empty database on a server: postgresql://user@host/name")
@click.option("--from", "source", metavar="URL", help="The database on a server that --data is a node of.")
def _copy(data: Path, to: str | None, source: str | None) -> Answer:
    """Move the register from its file in the data directory onto a PostgreSQL server, or back into the file.

    Everything is stopped meanwhile. All of it is copied or nothing, counted and compared; what was copied
    from is served no more. Cut off at whatever point, the same command again finishes it.
    """
    if (to is None) == (source is None):
        raise ConfigError(
            "say where to or where from, one of both: sekisho db copy --to postgresql://user@host/name, or "
            "--from the same for the way back"
        )
    who = actor()
    if to is not None:
        done, lines = copying.to_server(data, to, who), _on_server(data, to)
    else:
        assert source is not None
        done = copying.from_server(data, source, who)
        lines = _in_file(data, done)
    rows = sum(each.rows for each in done.sums)
    began = "Was copied before, and is compared again" if done.before else "Copied and compared"
    table = listing(
        "tables",
        [asdict(each) | {"digest": each.digest[:_SHOWN]} for each in done.sums],
        {"table": "Table", "rows": "Rows", "digest": "SHA-256 on both sides"},
    )
    value = {
        "copy": {
            **{"from": done.source, "to": done.target, "node": done.node, "rows": rows},
            "finished": done.before,
            "tables": [asdict(each) for each in done.sums],
        }
    }
    shown = both(table, answer({}, f"{began}: {rows:,} rows, {done.source} -> {done.target}.", *lines))
    return replace(shown, value=value)


@command(_DB, "check")
def _check(data: Path) -> Answer:
    """Compare the tables with what this version makes, and what is in them with itself, journal and keys.

    On either engine, in one snapshot, while the gateway serves or not; needs no passphrase, writes
    nothing. Each finding is a line that ends with what to type. Exits with 1 if there is one.
    """
    found = list(checking.troubles(data))
    value = {"ok": not found, "troubles": [asdict(each) for each in found]}
    if not found:
        return answer(value, "The database is sound.")
    return answer(value, *(f"{each.check}: {each.what}; {each.hint}" for each in found), failed=True)


def _on_server(data: Path, url: str) -> list[str]:
    home = apart.home_of(data)
    return [
        f"{data} is a node of that database now. Not copied, since they are this directory's: window/ (keys "
        "of what opens for a while), journal/, crls/, outbox/, the log; they stay where they are.",
        f'Next: write into [database] of {data / FILE_NAME}: url = "{url}"',
        *([f"and into that of {home / FILE_NAME}, where the signer reads it."] if home is not None else []),
        f"Then: sekisho doctor --data {data}, sekisho db check --data {data}, and sekisho serve. Another "
        f"node: sekisho node join --from {data} --data DIR2",
        f"{data / DATABASE} is served no more and still has everybody in it: once the server is backed up, "
        f"rm {data / DATABASE}*",
    ]


def _in_file(data: Path, done: Copied) -> list[str]:
    lost = (
        f"{done.keys} keys of windows are not in {data / 'window'}, where what they seal opens to "
        "nobody: before it is served copy them from another node's directory: cp -an NODE/window/. "
        f"{data / 'window'}/"
    )
    return [
        f"{data} has its register in {DATABASE} now, and is the only one that does.",
        *([lost] if done.keys else []),
        *(
            f"{each.name} ({each.node_id[:8]}) is no node any more, and is refused: keep its journal/ as "
            "long as yours; letters in its outbox/ were not sent"
            for each in done.nodes
        ),
        f'Next: write into [database] of {data / FILE_NAME}: url = ""',
        f"Then: sekisho doctor --data {data}, sekisho db check --data {data}, and sekisho serve.",
        "The database on the server is served no more and still has everybody in it: once there is a backup "
        "(sekisho backup), dropdb it there.",
    ]
