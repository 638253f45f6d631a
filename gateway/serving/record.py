"""The record (the audit trail) of a deployment: its checkpoints, whether it is whole, and what leaves it.

A checkpoint is signed with a key of the gateway's own, and written into the journal as a note: so it is on
another machine within seconds, wherever the journal goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import journal
from ca.errors import ConfigError
from ca.journal import BrokenJournal
from ca.storage import Storage, Transaction
from enroll import store
from enroll.audit import (
    PURGED,
    RETIRED,
    Checkpoint,
    Line,
    Trouble,
    checkpoints_in,
    is_ours,
    key_of,
    ranges_of,
    sign,
    surviving,
    verify,
    written,
)
from enroll.ra import RegistrationAuthority
from gateway.serving.deployment import Deployment
from gateway.serving.standing import journal_of

_PURPOSE = "audit checkpoint"
#: A checkpoint is taken after so many lines, and so many seconds if there was any line.
LINES, SECONDS = 1_000, 3_600
_PAGE = 5_000


def key(ra: RegistrationAuthority) -> Ed25519PrivateKey:
    return key_of(ra.vault.derive(_PURPOSE))


def public_key(ra: RegistrationAuthority) -> str:
    """What checkpoints are verified by, hex (RFC 8032)."""
    return key(ra).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


class Keeper:
    """Takes checkpoints in good time, in the one process that leads."""

    def __init__(self) -> None:
        self._number = -1
        self._at = 0

    async def look(self, deployment: Deployment) -> Checkpoint | None:
        ra = deployment.ra
        counted, now = await ra.database.read(store.audit_counted), ra.now()
        due = counted - self._number >= LINES or not 0 <= now - self._at < SECONDS
        if counted == 0 or counted == self._number or not due:
            return None
        made = await take(deployment)
        self._number, self._at = made.number, now
        return made


async def take(deployment: Deployment) -> Checkpoint:
    """A checkpoint of the record as it is now, in the journal when this returns."""
    ra, ca_id, signing = deployment.ra, journal_of(deployment.data).ca, key(deployment.ra)

    def work(db: Transaction) -> Checkpoint:
        number = store.audit_counted(db)
        digest = store.audit_hash(db, number) or ""
        made = sign(signing, Checkpoint(ca_id, number, digest, ra.now()))
        db.note("checkpoint", **asdict(made))
        return made

    return await ra.database.write(work)


def troubles(deployment: Deployment, files: Sequence[tuple[Path, str]] = ()) -> Iterator[Trouble]:
    """Everything that is wrong with the record, by itself, by the checkpoints of the journal and by those in
    files (whose, and the text). ConfigError for a file without one."""
    ra, ca_id = deployment.ra, journal_of(deployment.data).ca
    public, found = key(ra).public_key(), _in_journal(deployment.data)
    for file, text in files:
        there = _in_file(file, text)
        forged = [each for each in there if not is_ours(public, each, ca_id)]
        for each in forged:
            yield Trouble(each.number, f"a checkpoint in {file} is not this gateway's, or was altered")
        found += [each for each in there if each not in forged]
    ours = [each for each in found if is_ours(public, each, ca_id)]
    if len(ours) < len(found):
        yield Trouble(0, "a checkpoint in the journal is not this gateway's, or was altered")
    yield from _twice(ours)
    yield from verify(lines(ra.database), ra.database.read_now(store.audit_counted), ours)


def _twice(checkpoints: Iterable[Checkpoint]) -> Iterator[Trouble]:
    """Two that disagree were both signed here: there were two records, as after a database was put back."""
    seen: dict[int, str] = {}
    for each in checkpoints:
        if seen.setdefault(each.number, each.hash) != each.hash:
            yield Trouble(each.number, "two checkpoints of this gateway disagree: there were two records")


def _in_file(file: Path, text: str) -> list[Checkpoint]:
    found = checkpoints_in(text)
    if not found:
        raise ConfigError(
            f"{file} has no checkpoint; name what sekisho audit checkpoint wrote, or the journal's copy"
        )
    return found


def _in_journal(data: Path) -> list[Checkpoint]:
    kept = data / journal.FOLDER
    told = []
    with suppress(BrokenJournal, ConfigError):  # what is wrong with it is told when the directory is opened
        for entry in journal.entries(kept, journal.begins_after(kept)):
            told += [(entry.number, kind, facts) for kind, facts in entry.notes]
    return surviving(told)


def lines(database: Storage, after: int = 0) -> Iterator[Line]:
    """All that are there, by number, a page at a time."""
    while page := database.read_now(lambda db, last=after: store.audit_lines(db, last, _PAGE)):  # type: ignore[misc]
        yield from page
        after = page[-1].id


# -- what leaves it ------------------------------------------------------------------------------------


def export(found: Iterable[Line], checkpoint: Checkpoint, public: str) -> Iterator[str]:
    """Lines for an auditor: each as JSON, then the signed checkpoint and the key that verifies it."""
    for each in found:
        yield json.dumps({"line": asdict(each)}, ensure_ascii=False)
    yield json.dumps({**json.loads(written(checkpoint)), "key": public}, ensure_ascii=False)


def retire(db: Transaction, at: int, actor: str, until: int) -> None:
    """Takes away what is older, up to a line; the record says so, and goes on from its hash."""
    digest = store.audit_hash(db, until)
    if digest is None:
        raise ConfigError(f"there is no line {until}; see which there are: sekisho audit show")
    store.audit(db, at, actor, RETIRED, "audit", why=f"{until} {digest}")
    store.retire_audit(db, until)


def purge(db: Transaction, at: int, actor: str, subject: str, numbers: Sequence[int]) -> None:
    """Takes away what is personal in lines; the record says in which."""
    store.audit(db, at, actor, PURGED, subject, why=ranges_of(numbers))
    store.purge_audit(db, numbers)
