"""Backups, the way back out of one, and the drill that shows that both work."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import click

from ca import apart, datadir, journal
from ca.clock import SystemClock
from ca.errors import ConfigError
from ca.files import write_private, write_public
from ca.sealing import open_vaults
from enroll.jst import shown
from gateway.cli import ending
from gateway.cli.frame import PASSPHRASE_FILE, Answer, answer, command, listing, passphrase_from
from gateway.cli.restoring import journal_of_elsewhere, words_of
from gateway.cli.root import GROUPS, root
from gateway.cli.trail import trail
from gateway.serving import backup, drill, recovery
from gateway.serving.config import read_config
from gateway.serving.database import be_node
from gateway.serving.deployment import open_deployment
from gateway.serving.tokens import keys_in, pins_checked

_RESTORE = GROUPS["restore"]
_PATH = click.Path(path_type=Path, dir_okay=False)
_PLACE = click.Path(path_type=Path)


@command(root, "backup")
@click.option(
    "--to", type=_PLACE, required=True, metavar="FILE|DIR", help="In a directory: named by its time."
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    required=True,
    metavar="KEY|FILE",
    help="Public key (age1...), or a file with some: only who has the private key opens the backup.",
)
@click.option("--keep", type=click.IntRange(1, 10_000), default=None, help="Of a directory: only the newest.")
def _backup(data: Path, to: Path, recipients: tuple[str, ...], keep: int | None) -> Answer:
    """Write a backup of the data directory, encrypted, whether it is served or not. Needs no passphrase.

    Keep it, and the journal's copy, on another machine; the private key and the passphrase on neither.
    """
    datadir.read_marker(data)
    datadir.check_owner(data)
    if keep is not None and not to.is_dir():
        raise ConfigError(f"--keep is for a directory, and {to} is none: mkdir {to}")
    public = backup.recipients_of(recipients)
    # Opened first: what could keep it from the audit trail is said before anything is made.
    with trail(data) as record:
        try:
            made = backup.make(data, to, public, SystemClock().seconds())
        except ConfigError as error:
            record("backup.failed", "backup", why=str(error))
            raise
        record("backup.made", "backup", file=made.file, size=made.size, line=made.line)
    gone = backup.thin_out(to, keep) if keep is not None else []
    home = apart.home_of(data)
    return answer(
        {"backup": {**asdict(made), "removed": [str(path) for path in gone]}},
        f"{made.file}: {made.size / 2**20:.1f} MiB, "
        + (f"up to line {made.line} of the journal" if made.database else "without the database"),
        *([] if made.database else [_ELSEWHERE]),
        *([] if home is None else [f"The issuing keys are not in it: as root, keep a copy of {home}, once."]),
    )


@command(_RESTORE, "key")
@click.argument("file", type=_PATH)
def _key(data: Path, file: Path) -> Answer:
    """Make a key pair for backups: the private key into FILE, the public one into FILE.pub and printed."""
    told = file.with_name(file.name + ".pub")
    for each in (file, told):
        if each.exists():
            raise ConfigError(f"{each} is there already; name another file")
    secret, public = backup.new_key()
    write_private(file, f"# public key: {public}\n{secret}\n".encode())
    write_public(told, f"{public}\n".encode())
    return answer(
        {"key": {"file": str(file), "recipient": public, "recipient_file": str(told)}},
        public,
        f"{file} opens every backup that is made for this key: keep it away from this machine, twice.",
    )


@command(_RESTORE, "backup")
@click.argument("file", type=_PATH)
@click.option("--identity", type=_PATH, required=True, metavar="FILE", help="The private key.")
@journal_of_elsewhere(
    "The journal of the gateway that was lost, or its newest copy: what came after the backup."
)
@PASSPHRASE_FILE
def _restore(
    data: Path, passphrase_file: Path | None, file: Path, identity: Path, elsewhere: Path | None
) -> Answer:
    """Restore a backup into a new directory (--data), bring it up to the journal, and say what is lost."""
    identities = backup.identities_of(identity)
    if elsewhere is not None:
        _check_journal(elsewhere)
    with backup.opened(file, identities, data) as (shop, found):
        passphrase = passphrase_from(passphrase_file)
        try:
            open_vaults(shop / datadir.VAULT, passphrase)
        except ConfigError:
            raise ConfigError(
                f"the passphrase is not that of the gateway in {file}; type the one of {shown(found.at)}"
            ) from None
        on_server = bool(read_config(shop).database.url)
        if on_server and elsewhere is not None:
            shutil.copytree(elsewhere, shop / journal.FOLDER)
            be_node(shop, elsewhere)
        elif on_server:
            pass  # Another node than the one that was backed up, with a journal of its own.
        elif elsewhere is None:
            journal.begin(shop / journal.FOLDER, datadir.identity(shop), found.mark)
        else:
            shutil.copytree(elsewhere, shop / journal.FOLDER)
        lost = list[str]()
        if on_server:
            done, lines = None, [_as_it_was(elsewhere)]
        else:
            done, lost = asyncio.run(_brought_up(shop, passphrase, has_journal=elsewhere is not None))
            lines = words_of(done, data) if done is not None else _without_journal(found)
        value = done.as_json() if done is not None else None
    in_tokens = keys_in(data, read_config(data)).values()
    tokens = [f"{each}, by {each.token.module}; see: sekisho ca key show" for each in in_tokens]
    return answer(
        {"restore": {"data": str(data), "at": found.at, "replay": value, "tokens": tokens, "lost": lost}},
        f"{data} is the gateway as of {shown(found.at)} (sekisho {found.version}).",
        *lines,
        *(f"Never in a backup is what opens them, so lost are {each}" for each in lost),
        *(f"Not in it, and needed before anything is signed: {each}" for each in tokens),
        "Not in a backup: files of your own (tls.certificate, tls.key, password_file, pin_file), "
        "letters, logs.",
        f"Next: sekisho doctor --data {data}, then sekisho serve --data {data}",
    )


@command(root, "drill")
@PASSPHRASE_FILE
def _drill(data: Path, passphrase_file: Path | None) -> Answer:
    """Practise a disaster beside the running gateway: back up, restore, lose the database, replay, and prove.

    Nothing of the running one is changed, no letter leaves, and nothing of the exercise stays.
    """
    datadir.read_marker(data)
    datadir.check_owner(data)
    passphrase = passphrase_from(passphrase_file)
    keys = open_vaults(data / datadir.VAULT, passphrase).keys
    pins = pins_checked(data, keys)
    proofs = asyncio.run(drill.run(data, passphrase, SystemClock().seconds(), pins))
    bad = [each.promise for each in proofs if not each.kept]
    with trail(data) as record:
        record("drill.done", "backup", kept=len(proofs) - len(bad), broken=bad)
    columns = {"promise": "Promise", "kept": "Kept", "seen": "Seen"}
    found = listing("proofs", [asdict(each) for each in proofs], columns)
    return replace(found, value={**found.value, "ok": not bad}, failed=bool(bad))


# What is said of a database on a server.
_ELSEWHERE = (
    "The database is on a server, and is backed up there: pg_basebackup with its WAL (nothing is lost), or "
    "pg_dump. This file has keys, certificates and settings: docs/operations/postgresql.md"
)


def _check_journal(kept: Path) -> None:
    if not kept.is_dir() or journal.tail_of(kept) is None:
        raise ConfigError(f"{kept} is no journal; name the directory journal/ of the gateway, or its copy")


def _as_it_was(elsewhere: Path | None) -> str:
    if elsewhere is None:
        return "It is a new node of the database that database.url names, which is as it was."
    return (
        "It is the node that this journal is of, and the database that database.url names is as it was; if "
        "that was put back from a copy, first: sekisho restore replay, here and on every other node."
    )


def _without_journal(found: backup.Restored) -> list[str]:
    return [
        f"What was revoked and ended since (line {found.mark.number} of the journal) is not known here, and "
        "good again; sessions have ended, and lists go on with numbers that none has had.",
        "If there is a journal of later, restore again with --journal DIR.",
    ]


async def _brought_up(
    shop: Path, passphrase: str, *, has_journal: bool
) -> tuple[recovery.Replayed | None, list[str]]:
    """What came of it, and what cannot be opened any more."""
    deployment = open_deployment(shop, passphrase, compare=False)
    ra, done = deployment.ra, None
    try:
        kept = recovery.journal_of(shop)
        if has_journal:
            done = recovery.replay(shop, kept, ra, deployment.datadir.keys)
        else:
            recovery.go_on_without(ra)
        return done, ending.words_of(ra.database.read_now(ra.epochs.lost))
    finally:
        await deployment.close()
