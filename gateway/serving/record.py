"""The record (the audit trail) of a deployment: its checkpoints, whether it is whole, and what leaves it.

A checkpoint is signed by whoever has the issuing keys (`checkpoints`), and is a note in the journal: so it is
on another machine within seconds, wherever the journal goes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ca import journal, memory
from ca.errors import ConfigError
from ca.journal import BrokenJournal
from ca.memory import Memory
from ca.signerlink import Message, RemoteSigner
from ca.signing import NoSignature
from ca.storage import Storage, Transaction
from enroll import store
from enroll.audit import (
    Checkpoint,
    Line,
    Trouble,
    Verified,
    checkpoints_in,
    is_ours,
    surviving,
    verify,
    written,
)
from gateway.running import rundir
from gateway.serving import checkpoints
from gateway.serving.checkpoints import Checkpoints, Forked
from gateway.serving.deployment import Deployment
from gateway.serving.standing import journal_of

log = logging.getLogger("sekisho.server")

#: A checkpoint is taken after so many lines, and so many seconds if there was any line.
LINES, SECONDS = 1_000, 3_600
_PAGE = 5_000
#: What a page verifies while somebody waits, and so many troubles it tells: a few seconds of one thread.
MOST_LINES, MOST_TOLD = 100_000, 50


def public_key(deployment: Deployment) -> str:
    """What checkpoints are verified by, hex (RFC 8032). ConfigError where neither keys nor signer are."""
    keys = deployment.datadir.keys
    if keys is not None:
        return checkpoints.public_key(keys)
    return str(_asked(deployment, {"ask": "audit key"})["key"])


class Keeper:
    """Takes checkpoints in good time, in the one process that leads."""

    def __init__(self) -> None:
        self._number = -1
        self._at = 0
        self._trouble = ""

    async def look(self, deployment: Deployment) -> Checkpoint | None:
        ra = deployment.ra
        counted, now = await ra.database.read(store.audit_counted), ra.now()
        due = counted - self._number >= LINES or not 0 <= now - self._at < SECONDS
        if counted == 0 or counted == self._number or not due:
            return None
        try:
            made = await take(deployment)
        except ConfigError as why:
            if str(why) != self._trouble:
                self._trouble = str(why)
                log.error("no checkpoint of the record: %s", why)
            return None
        self._number, self._at, self._trouble = made.number, now, ""
        return made


async def take(deployment: Deployment) -> Checkpoint:
    """A checkpoint of the record as it is now, in the journal when this returns. ConfigError, with what to
    do, where it is refused or nobody signs."""
    made = await asyncio.to_thread(_signed, deployment)
    await deployment.ra.database.write(lambda db: db.note("checkpoint", **asdict(made)))
    return made


def _signed(deployment: Deployment) -> Checkpoint:
    with _memory(deployment) as memory:
        if memory is None:
            return Checkpoint(**_asked(deployment, {"ask": "checkpoint"})["checkpoint"])
        keys, ra = deployment.datadir.keys, deployment.ra
        assert keys is not None
        try:
            return Checkpoints(journal_of(deployment.data).ca, keys, memory).take(ra.database, ra.now())
        except Forked as forked:
            raise ConfigError(str(forked)) from None


def adopt(deployment: Deployment) -> tuple[int, str]:
    """Lets whoever signs go on from the record as it is, whatever was signed for; returns what that was:
    line and hash. ConfigError where nobody is there."""
    keys = deployment.datadir.keys
    assert keys is not None  # a command has the passphrase
    with _memory(deployment) as memory:
        if memory is None:
            status = _asked(deployment, {"ask": "status"})
            before = int(status["line"]), str(status["hash"])
            sealed = base64.b64encode(checkpoints.sealed(keys, *before)).decode()
            _asked(deployment, {"ask": "adopt", "sealed": sealed})
        else:
            before = memory.seen.line, memory.seen.hash
            Checkpoints(journal_of(deployment.data).ca, keys, memory).adopt(*before)
    return before


@contextmanager
def _memory(deployment: Deployment) -> Iterator[Memory | None]:
    """What was signed for last, for whoever has the keys and is alone with them; None: ask the signer."""
    keys, data = deployment.datadir.keys, deployment.data
    lock = None
    if keys is not None and not isinstance(deployment.datadir.authority.signer, RemoteSigner):
        lock = rundir.take(rundir.run_directory(data) / rundir.SIGNER)
    if lock is None or keys is None:
        yield None
        return
    kept = Memory(data / memory.FILE, keys)
    try:
        yield kept
    finally:
        kept.close()
        lock.close()


def _asked(deployment: Deployment, message: Message) -> Message:
    signer = deployment.datadir.authority.signer
    if not isinstance(signer, RemoteSigner):
        signer = RemoteSigner(rundir.run_directory(deployment.data))
    try:
        told = signer.ask_now(message)
    except NoSignature as gone:
        raise ConfigError(f"{gone}; start it: sekisho serve, or systemctl start sekisho-signer") from None
    if why := told.get("refused") or told.get("later"):
        raise ConfigError(f"the signer says: {why}")
    return told


def troubles(deployment: Deployment, files: Sequence[tuple[Path, str]] = ()) -> Iterator[Trouble]:
    """Everything that is wrong with the record, by itself, by the checkpoints of the journal and by those in
    files (whose, and the text). ConfigError for a file without one."""
    ra, ca_id = deployment.ra, journal_of(deployment.data).ca
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key(deployment)))
    found = _in_journal(deployment.data)
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
    # Lines are written meanwhile: those that were there at one moment are looked at.
    newest, last = ra.database.read_now(_extent)
    yield from verify(takewhile(lambda each: each.id <= last, lines(ra.database)), newest, ours)


def _extent(db: Transaction) -> tuple[int, int]:
    """How many lines the register has counted, and up to which there are any."""
    newest = store.audit_counted(db)
    beyond = store.audit_lines(db, newest, _PAGE)
    return newest, beyond[-1].id if beyond else newest


def verifier(deployment: Deployment) -> Callable[[], Awaitable[Verified]]:
    """Verifies the record for a page, one at a time and in a thread. ConfigError as for `troubles`."""
    alone = asyncio.Lock()

    async def verified() -> Verified:
        async with alone:
            return await asyncio.to_thread(_verified, deployment)

    return verified


def _verified(deployment: Deployment) -> Verified:
    counted = deployment.ra.database.read_now(store.audit_counted)
    if counted > MOST_LINES:
        return Verified(counted, many=True)
    found = tuple(islice(troubles(deployment), MOST_TOLD + 1))
    return Verified(counted, found[:MOST_TOLD], more=len(found) > MOST_TOLD)


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


async def head(deployment: Deployment) -> Mapping[str, Any]:
    """The last line of an export: a checkpoint that is taken now, and the key for it. ConfigError."""
    made = await take(deployment)
    return {**json.loads(written(made)), "key": await asyncio.to_thread(public_key, deployment)}
