"""The record: whether it is whole, what leaves it, and what is taken out of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ca.errors import ConfigError
from ca.journal import files_of
from enroll import identifiers, store
from enroll.audit import written
from enroll.exports.giving import found_again
from enroll.jst import shown, start_of
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import Given, InputFile, OutputFile, actor, write
from gateway.cli.frame import (
    ASKS,
    READS,
    Answer,
    answer,
    deployment_command,
    listing,
    passphrase_command,
)
from gateway.cli.root import GROUPS
from gateway.serving import record
from gateway.serving.deployment import Deployment

_AUDIT = GROUPS["audit"]
_FILE = OutputFile()


class _Checkpoints(InputFile):
    """A file of them, or a copy of the journal."""

    def read(self, path: Path) -> bytes:
        files = files_of(path)
        return b"\n".join(map(super().read, files)) if files else super().read(path)


class _Exported(InputFile):
    """A file that was exported, of any length: its SHA-256 in hex, and its last line."""

    def read(self, path: Path) -> bytes:
        digest, last = hashlib.sha256(), b""
        try:
            with path.open("rb") as file:
                for line in file:
                    digest.update(line)
                    last = line
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        return digest.hexdigest().encode() + b" " + last


_DAY = click.DateTime(["%Y-%m-%d"])


@deployment_command(_AUDIT, "verify", Act.AUDIT, READS)
@click.option(
    "--checkpoint",
    "files",
    type=_Checkpoints("checkpoint"),
    multiple=True,
    metavar="FILE|DIR",
    help="Checkpoints that left this machine: a file of them, the journal's copy, or another machine's log.",
)
@click.option(
    "--export",
    "exported",
    type=_Exported("export"),
    multiple=True,
    metavar="FILE",
    help="A file that was exported: whether it is whole, and as it was given.",
)
async def _verify(deployment: Deployment, files: tuple[Given, ...], exported: tuple[Given, ...]) -> Answer:
    """Check the whole record, line by line, and say where it was tampered with.

    By itself it tells what was altered, added, taken out or moved; that its end was cut off, or that all of
    it was written anew, is told by checkpoints, up to the newest one.
    """
    found = [
        asdict(each)
        for each in record.troubles(
            deployment, [(each.path, each.content.decode("utf-8", "replace")) for each in files]
        )
    ]
    counted = deployment.ra.database.read_now(store.audit_counted)
    known = list[dict[str, Any]]()
    for each in exported:
        digest, _, last = each.content.decode("utf-8", "replace").partition(" ")
        try:
            told = deployment.ra.database.read_now(lambda db: found_again(db, last, digest))  # noqa: B023
        except ValueError as wrong:
            found.append({"number": 0, "what": f"{each.path}: {wrong}"})
        else:
            known.append({"file": str(each.path), **asdict(told)})
    if not found:
        lines = [
            f"{each['file']} is whole: {each['table']}, {each['rows']:,} rows, by {each['by']},"
            f" {shown(each['at'])}"
            for each in known
        ]
        value = {"troubles": [], "ok": True, "lines": counted, "exports": known}
        return answer(value, f"The record is whole: {counted} lines.", *lines)
    answered = listing("troubles", found, {"number": "Line", "what": "What"})
    return replace(answered, value={**answered.value, "ok": False, "lines": counted}, failed=True)


@deployment_command(_AUDIT, "checkpoint", Act.AUDIT, READS)
@click.argument("file", type=_FILE)
async def _checkpoint(deployment: Deployment, file: Path) -> Answer:
    """Write a signed checkpoint of the record as it is now to a file, to be carried away."""
    made = await record.take(deployment)
    write(file, written(made).encode() + b"\n")
    return answer({"checkpoint": asdict(made)}, f"{file}: line {made.number}, {made.hash}")


@passphrase_command(_AUDIT, "adopt")
async def _adopt(deployment: Deployment) -> Answer:
    """Go on from the record as it is, after a database was put back: what a checkpoint has seen is lost.

    Until then no other checkpoint is signed: the record does not go on from the last one.
    """
    ra, by = deployment.ra, actor()
    line, digest = record.adopt(deployment)
    why = f"{line} {digest}"
    await ra.database.write(lambda db: store.audit(db, ra.now(), by, "audit.adopted", "audit", why=why))
    made = await record.take(deployment)
    return answer(
        {"adopted": {"line": line, "hash": digest, "checkpoint": asdict(made)}},
        f"Signed for was line {line}; from now on it is line {made.number}.",
    )


@deployment_command(_AUDIT, "retire", Act.PURGE, ASKS)
@click.option("--before", type=_DAY, required=True, metavar="DAY", help="Lines of earlier days, in Japan.")
async def _retire(deployment: Deployment, before: datetime) -> Answer:
    """Take away what is older than a day. The rest stays verifiable; export it first."""
    moment = start_of(before.date())
    if not await deployment.ra.database.read(lambda db: store.audit_before(db, moment)):
        return answer({"retired": 0}, "Nothing is older.")
    # Signed for first: what is gone cannot be looked at any more.
    await record.take(deployment)
    found = await asked(deployment, "audit.retire", {"before": moment})
    if isinstance(found, Proposed):
        return proposed(found)
    until = found.result["retired"]
    return answer({"retired": until}, f"Taken away: all lines up to {until}")


@deployment_command(_AUDIT, "purge", Act.PURGE, ASKS)
@click.argument("user_id", callback=lambda _, __, typed: identifiers.typed_user_id(typed))
async def _purge(deployment: Deployment, user_id: str) -> Answer:
    """Take away what is personal in the lines about a user: details, and from where. The chain holds."""
    found = await asked(deployment, "audit.purge", {"user_id": user_id})
    if isinstance(found, Proposed):
        return proposed(found)
    count = found.result["purged"]
    return answer({"purged": count}, f"Purged: {count} lines about {user_id}")
