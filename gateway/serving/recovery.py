"""A database that is older than its journal, brought level again.

A crash between a line of the journal and
its commit leaves one line of which nobody was told: that is carried out when the directory is opened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ca.store
from ca import apart, emergency, journal
from ca.errors import ConfigError
from ca.journal import BrokenJournal, Entry, Journal, Mark, Standing
from ca.published import store as published
from ca.published.store import RevocationList
from ca.sealing import Vault
from ca.storage import Transaction
from enroll import replaying, store
from enroll.ra import RegistrationAuthority
from enroll.replaying import Replay, Report
from gateway.serving.standing import REPLAY, compare, journal_of, put_away, said
from gateway.web.store import drop_every_session, drop_session

__all__ = ("Replayed", "begin_anew", "bring_level", "compare", "journal_of", "replay")

log = logging.getLogger("sekisho.recovery")


# More lists than can have been published since a backup whose journal is lost.
_LEAP = 1_000_000


@dataclass(frozen=True)
class Replayed:
    """What a replay came to: up to which line, how many it carried out, and what it did and lost."""

    since: int
    until: int
    lines: int
    #: When the first and the last of them were written (epoch seconds); 0 without any.
    first_at: int
    last_at: int
    sessions: int
    report: Report
    #: Files of keys of issuing CAs that were put away: they came back with the copy.
    keys_back: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self)}


def bring_level(data: Path, kept: Journal, ra: RegistrationAuthority) -> None:
    """`compare`, and carries out the one line that a crash may have left. ConfigError as there."""
    if compare(data, kept, ra.database) == "undecided":
        done = _carry_out(kept, ra, put_back=False)
        log.warning("line %d of the journal was not committed before the last stop: carried out", done.until)
        put_away(data, ra.database)


def replay(data: Path, kept: Journal, ra: RegistrationAuthority, keys: Vault | None = None) -> Replayed:
    """Brings an older database up to its journal; of a level one nothing is changed. ``keys``: by which the
    emergency stop is turned as it was last. ConfigError where the journal does not go on from what the
    database has seen."""
    found = journal.stands(kept, ra.database)
    if found not in ("level", "older", "undecided"):
        raise ConfigError(said(data, kept, found, _seen(kept, ra)))
    if found == "level":
        ra.database.write_now(lambda db: ca.store.is_compared(db, kept.node))
        seen = _seen(kept, ra)
        return Replayed(seen, seen, 0, 0, 0, 0, Report())
    done = _carry_out(kept, ra, put_back=True)
    turned = done.report.stop
    # A signer with keys of its own remembers by itself.
    its = keys if apart.home_of(data) is None else None
    if its is not None and turned is not None and emergency.read(data, its).number < turned["number"]:
        emergency.write(data, its, emergency.Stop(**turned))
    back = put_away(data, ra.database)
    return replace(done, keys_back=tuple(str(each.relative_to(data)) for each in back))


def begin_anew(data: Path, kept: Journal, ra: RegistrationAuthority, *, actor: str) -> Path | None:
    """Another journal, which goes on from what the database has seen; the old one is put aside, and returned.

    ConfigError for a database that only has to be brought up to the one there is.
    """
    found = journal.stands(kept, ra.database)
    if found in ("level", "older", "undecided"):
        hint = REPLAY.format(data=data)
        raise ConfigError(f"the journal is this database's: leave --new-journal out: {hint}")
    aside = None
    if kept.folder.exists() and any(kept.folder.iterdir()):
        aside = kept.folder.with_name(f"{journal.FOLDER}-until-{time.strftime('%Y%m%d-%H%M%S')}")
        kept.folder.rename(aside)
    mark = ra.database.read_now(lambda db: ca.store.journal_mark(db, kept.node))
    journal.begin(kept.folder, kept.ca, Mark(*mark), kept.node)
    ra.database.write_now(lambda db: _say_new(db, ra.now(), actor, found))
    return aside


def go_on_without(ra: RegistrationAuthority) -> int:
    """A restored database whose journal is lost: what can be made safe without knowing. Lists get numbers
    that none has had, sessions end; returns how many."""
    at = ra.now()

    def work(db: Transaction) -> int:
        latest = {each.issuer_id: each.number for each in published.published_lists(db)}
        ended = {issuer.issuer_id for issuer in ra.authority.issuers if issuer.discarded_at is not None}
        for name in {*latest, *(issuer.issuer_id for issuer in ra.authority.at_work)}:
            if name.partition(".")[0] in ended:  # no list follows its last one
                continue
            number = latest.get(name, 0) + _LEAP
            published.publish_list(db, RevocationList(name, number, 0, 0, "", 0, 0, -1))
        store.audit(db, at, replaying.ACTOR, "journal.lost", "journal")
        return drop_every_session(db)

    return ra.database.write_now(work)


def _say_new(db: Transaction, at: int, actor: str, why: Standing) -> None:
    db.note("journal.begun", why=why)
    store.audit(db, at, actor, "journal.begun", "journal", why=why)


def _carry_out(kept: Journal, ra: RegistrationAuthority, *, put_back: bool) -> Replayed:
    """``put_back``: whether the database is an older copy, and not one that a crash left a line behind."""
    at = ra.now()

    def work(db: Transaction) -> Replayed:
        since = Mark(*ca.store.hold_journal_mark(db, kept.node))
        lines = _lines(kept, since)
        told = ca.store.told_to_compare(db, kept.node)
        ca.store.is_compared(db, kept.node)
        # What this database was put back from is older than what each other node has in its journal. Once for
        # all: whoever has replayed since has said so to us. A copy may have such a word in it of an earlier
        # time, and there the journal goes on after it.
        if put_back and told <= max((each.at for each in lines), default=0):
            ca.store.were_put_back(db, kept.node, at)
        wanted = journal.committed(lines, since.number)
        report = Report()
        sessions = drop_every_session(db) if put_back else 0
        if wanted:
            until = wanted[-1].number
            for entry in wanted:
                _one(Replay(db, ra, at, report, answered=put_back), entry)
            span = {"since": since.number, "until": until}
            db.note(journal.REPLAYED, **span)
            store.audit(db, at, replaying.ACTOR, "journal.replayed", "journal", **span)
        times = [each.at for each in wanted] or [0]
        last = lines[-1].number if lines else since.number
        return Replayed(since.number, last, len(wanted), times[0], times[-1], sessions, report)

    return ra.database.write_now(work)


def _seen(kept: Journal, ra: RegistrationAuthority) -> int:
    return ra.database.read_now(lambda db: ca.store.journal_mark(db, kept.node))[0]


def _one(replay: Replay, entry: Entry) -> None:
    for note in entry.notes:
        kind, facts = note
        if kind == "session.ended":
            drop_session(replay.db, facts["token_hash"])
        else:
            replaying.carry_out(replay, note)


def _lines(kept: Journal, since: Mark) -> Sequence[Entry]:
    try:
        return list(journal.entries(kept.folder, since))
    except BrokenJournal as broken:
        raise ConfigError(
            f"{broken}: it was altered; put the newest copy of the journal into {kept.folder}, then again"
        ) from None
