"""A database beside its journal: compared whenever a data directory is opened.

Nothing is served, signed or commanded over a database that is older.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import ca.store
from ca import datadir, journal
from ca.errors import ConfigError
from ca.generations import store as generations
from ca.journal import Journal, Standing
from ca.keyplaces import stem_of
from ca.storage import Storage

log = logging.getLogger("sekisho.recovery")

#: In a data directory whose database is on a server: what `Belonging` says.
NODE = "node.json"
#: What is typed for a database that is older.
REPLAY = "sekisho restore replay --data {data}"
# What else there is to say of a database that its journal does not fit -> and what to type.
_WORDS: dict[Standing, str] = {
    "older": "the database is older than its journal (it has seen line {seen} of {lines}): what was revoked "
    "and ended since would be good again; bring it up to it: {replay}",
    "newer": "the journal ends before the database does (line {lines} of {seen}): its end was cut off, or an "
    "old copy of it put back; put the newest copy into {folder}, or begin another one: {anew}",
    "forked": "the journal in {folder} has not the line {seen} that the database has seen: one of both is of "
    "another time; put back those that belong together, or begin another one: {anew}",
    "foreign": "the journal in {folder} is another CA's, or another node's; put this one's back there, or, "
    "if it is lost, begin another: {anew}",
    "missing": "the journal is missing in {folder}; put its newest copy there, or, if it is lost, begin "
    "another one: {anew}",
}


def journal_of(data: Path, root: str | None = None) -> Journal:
    """The journal of a data directory; made for a database that has seen no line yet."""
    return Journal(data / journal.FOLDER, root or datadir.identity(data), node_of(data))


def node_of(data: Path) -> str:
    """By which a database on a server tells this directory from others; "" where the database is in it."""
    known = belonging(data)
    return "" if known is None else known.node


@dataclass(frozen=True)
class Belonging:
    """What a directory remembers of a database on a server: which it is, and what it is called there."""

    node: str
    database: str


def belonging(data: Path) -> Belonging | None:
    """None for a directory that has its database in it. ConfigError for a file that cannot be read."""
    path = data / NODE
    try:
        return Belonging(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); see: ls -l {path}") from None
    except (ValueError, TypeError):
        raise ConfigError(
            f"{path} is damaged; put it back from a backup, or, if there is none, make this node anew: "
            "sekisho node join"
        ) from None


def compare(data: Path, kept: Journal, database: Storage, copy: str = "") -> Standing:
    """How the database stands: "level" or "undecided". ConfigError, with what to type, for anything else.

    ``copy``: where the journal is copied to: it may have been put back together with the database.
    """
    _compare_copy(data, kept, copy)
    found = journal.stands(kept, database)
    seen = database.read_now(lambda db: ca.store.journal_mark(db, kept.node))[0]
    if found == "missing" and seen == 0:
        journal.begin(kept.folder, kept.ca, node=kept.node)
        found = "level"
    if found in ("level", "undecided"):
        _compare_others(data, kept, database)
        kept.fits = True
        return found
    if found == "older" and kept.node:
        # Nodes that have nothing in their own journals to find it by are told.
        database.write_now(lambda db: ca.store.is_behind(db, kept.node))
    raise ConfigError(said(data, kept, found, seen))


def _compare_others(data: Path, kept: Journal, database: Storage) -> None:
    """Where several nodes share a database that was put back, each has its part of what came since."""
    others = [each for each in database.read_now(ca.store.nodes) if each.behind]
    if any(each.node_id == kept.node for each in others):
        database.write_now(lambda db: ca.store.is_compared(db, kept.node))
    others = [each for each in others if each.node_id != kept.node]
    if others:
        named = ", ".join(f"{each.name} ({each.node_id[:8]})" for each in others)
        raise ConfigError(
            "the database was put back from a copy, and not each node's journal was compared since: "
            f"{named}; type there: sekisho restore replay; or, if that journal is lost for good: sekisho "
            f"node remove ID --data {data}"
        )


def _compare_copy(data: Path, kept: Journal, copy: str) -> None:
    # One that cannot be reached keeps nobody from serving; a warning tells of it.
    copied = journal.tail_of(Path(copy)) if copy and os.access(copy, os.R_OK) else None
    ours = journal.tail_of(kept.folder)
    if (
        copied is not None
        and ours is not None
        and copied.ca == ours.ca
        and copied.mark.number > ours.mark.number
    ):
        raise ConfigError(
            f"the journal in {kept.folder} ends at line {ours.mark.number}, its copy in {copy} at "
            f"{copied.mark.number}: all of it was put back from a copy; bring it up to it: "
            f"{REPLAY.format(data=data)} --journal {copy}"
        )


def said(data: Path, kept: Journal, found: Standing, seen: int) -> str:
    """What is wrong with a database that has seen so many lines, and what to type."""
    tail = journal.tail_of(kept.folder)
    lines = tail.mark.number if tail is not None else 0
    replay = REPLAY.format(data=data)
    words = {"replay": replay, "anew": f"{replay} --new-journal"}
    return _WORDS[found].format(folder=kept.folder, seen=seen, lines=lines, **words)


def put_away(data: Path, database: Storage) -> list[Path]:
    """What the register says of issuing CAs that were put away an older copy of the marker does not know: it
    is told again. Returns the files of their keys, which came back with it."""
    rows, back = database.read_now(generations.rows), list[Path]()
    for row in datadir.read_marker(data, waiting=True)["issuers"]:
        known = rows.get(row["id"])
        if known is None or known.discarded_at is None or datadir.DISCARDED in row:
            continue
        datadir.discard(data, row["id"], known.discarded_at)
        file = data / f"{stem_of(row['id'])}.key"
        here = [file] if file.exists() else []
        log.warning(
            "%s was put away, and %s is older than that: its key is wanted no more%s",
            *(row["name"], data / datadir.MARKER, "".join(f"; destroy it: shred -u {each}" for each in here)),
        )
        back += here
    return back
