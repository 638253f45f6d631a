"""Every statement about print batches, and about letters while one holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ca.epochs import Place
from ca.storage import LOOK, Row, Transaction
from enroll.postcards.states import Event, State, after, before

Db = Transaction

#: A batch's PDF, passwords and all.
PDF = Place("postcard_batches", "number", "sealed_pdf")


@dataclass(frozen=True)
class Batch:
    """A print batch. ``kept``: its PDF is there."""

    number: int
    state: State
    cards: int
    job: int
    made_by: str
    made_at: int
    ready_at: int | None
    fetches: int
    fetched_at: int | None
    ended_at: int | None
    ended_by: str
    kept: bool


_COLUMNS = (
    "number, state, cards, job, made_by, made_at, ready_at, fetches, fetched_at, ended_at, ended_by,"
    " sealed_pdf IS NOT NULL AS kept"
)
# What nobody holds back, and no batch has.
_WAITS = (
    "mails.channel = 'postcard' AND mails.notice IN (0, 1, 2) AND mails.state = 'queued'"
    " AND mails.held_at IS NULL AND mails.batch IS NULL"
)
_ENABLED = "users.disabled_at IS NULL AND organisations.disabled_at IS NULL"


def next_number(db: Db) -> int:
    """Draws a batch's number."""
    row = db.one("UPDATE counters SET value = value + 1 WHERE name = 'postcard_batch' RETURNING value")
    assert row is not None
    return int(row[0])


def waiting(db: Db, *, disabled: bool = False) -> list[dict[str, Any]]:
    """The letters that could be printed, those of an organisation together, without their bodies; with
    ``disabled`` also to whom nothing is sent."""
    found = db.rows(
        "SELECT mails.id, mails.kind, mails.user_id, mails.recipient, mails.queued_at FROM mails"
        " JOIN users USING (user_id) JOIN organisations USING (policy_number)"
        f" WHERE {_WAITS}{'' if disabled else f' AND {_ENABLED}'}"
        " ORDER BY users.policy_number, users.user_id, mails.id"
    )
    return [{**row} for row in found]


def standing(db: Db) -> tuple[int, int | None]:
    """How many wait, and since when the oldest."""
    row = db.one(
        "SELECT count(*), min(queued_at) FROM mails JOIN users USING (user_id)"
        f" JOIN organisations USING (policy_number) WHERE {_WAITS} AND {_ENABLED}{LOOK}"
    )
    assert row is not None
    return int(row[0]), None if row[1] is None else int(row[1])


def letter(db: Db, number: int) -> dict[str, Any] | None:
    """A letter with its sealed body."""
    row = db.one("SELECT * FROM mails WHERE id = :id", {"id": number})
    return None if row is None else {**row}


def take(db: Db, batch: int, number: int) -> bool:
    """Has a batch hold a letter; False if it does not wait, or another has it. It counts as begun."""
    return (
        db.execute(
            f"UPDATE mails SET batch = :batch, attempts = attempts + 1 WHERE id = :id AND {_WAITS}",
            {"batch": batch, "id": number},
        )
        == 1
    )


def add(db: Db, batch: int, letters: Sequence[int], by: str, at: int, job: int) -> None:
    """Records a batch with its cards, in the order in which they are printed."""
    db.execute(
        "INSERT INTO postcard_batches (number, state, cards, job, made_by, made_at)"
        " VALUES (:number, 'making', :cards, :job, :by, :at)",
        {"number": batch, "cards": len(letters), "job": job, "by": by, "at": at},
    )
    for place, each in enumerate(letters, start=1):
        db.execute(
            "INSERT INTO postcard_cards (batch, place, letter) VALUES (:batch, :place, :letter)",
            {"batch": batch, "place": place, "letter": each},
        )


def batch(db: Db, number: int) -> Batch | None:
    """One by its number."""
    row = db.one(f"SELECT {_COLUMNS} FROM postcard_batches WHERE number = :number", {"number": number})
    return None if row is None else _batch(row)


def batches(db: Db, *, every: bool = True, before: int = 2**62, limit: int = 2**31) -> list[Batch]:
    """All before a number, newest first; without ``every`` those that hold cards."""
    narrowed = "" if every else " AND state IN ('making', 'ready')"
    found = db.rows(
        f"SELECT {_COLUMNS} FROM postcard_batches WHERE number < :before{narrowed}"
        " ORDER BY number DESC LIMIT :limit",
        {"before": before, "limit": limit},
    )
    return [_batch(row) for row in found]


def count(db: Db, *, every: bool = True, behind: int = 0) -> int:
    """How many those are; ``behind``: that are newer than a number."""
    narrowed = "" if every else " AND state IN ('making', 'ready')"
    row = db.one(
        f"SELECT count(*) FROM postcard_batches WHERE number > :behind{narrowed}{LOOK}", {"behind": behind}
    )
    assert row is not None
    return int(row[0])


def cards(db: Db, number: int) -> list[dict[str, Any]]:
    """A batch's cards in their order, each with its letter's kind, user, state, and the batch that has it."""
    found = db.rows(
        "SELECT postcard_cards.place, postcard_cards.letter, mails.kind, mails.user_id, mails.recipient,"
        " mails.state, mails.batch AS held_by FROM postcard_cards"
        " LEFT JOIN mails ON mails.id = postcard_cards.letter"
        f" WHERE postcard_cards.batch = :batch ORDER BY postcard_cards.place{LOOK}",
        {"batch": number},
    )
    return [{**row} for row in found]


def drawn(db: Db, number: int, sealed: bytes, at: int) -> bool:
    """Keeps a batch's PDF; False if it is not being made any more."""
    return _moved(db, number, Event.DRAWN, "sealed_pdf = :sealed, ready_at = :at", sealed=sealed, at=at)


def printed(db: Db, number: int, by: str, at: int) -> bool:
    """Ends a batch, and wipes its PDF and its letters, which have left; False if it is over already."""
    if not _moved(db, number, Event.PRINT, _ENDS, by=by, at=at):
        return False
    db.execute(
        "UPDATE mails SET state = 'sent', sent_at = :at, result = :result, sealed_body = NULL, batch = NULL"
        " WHERE batch = :batch AND state = 'queued'",
        {"at": at, "result": f"printed in batch {number}", "batch": number},
    )
    return True


def cancelled(db: Db, number: int, by: str, at: int) -> bool:
    """Ends a batch and wipes its PDF; its letters wait again. False if it is over already."""
    if not _moved(db, number, Event.CANCEL, _ENDS, by=by, at=at):
        return False
    db.execute("UPDATE mails SET batch = NULL WHERE batch = :batch", {"batch": number})
    return True


_ENDS = "sealed_pdf = NULL, ended_at = :at, ended_by = :by"


def fetched(db: Db, number: int, at: int, *, again: bool) -> bytes | None:
    """Counts that somebody has the PDF, and returns it sealed; None where there is none, or it was fetched
    before, or, with ``again``, never."""
    row = db.one(
        "UPDATE postcard_batches SET fetches = fetches + 1, fetched_at = coalesce(fetched_at, :at)"
        " WHERE number = :number AND state = 'ready' AND sealed_pdf IS NOT NULL"
        f" AND fetches {'>' if again else '='} 0 RETURNING sealed_pdf",
        {"number": number, "at": at},
    )
    return None if row is None else bytes(row[0])


def old(db: Db, ready_before: int) -> list[Batch]:
    """Those whose PDF has been there for too long."""
    found = db.rows(
        f"SELECT {_COLUMNS} FROM postcard_batches"
        " WHERE state IN ('making', 'ready') AND sealed_pdf IS NOT NULL AND ready_at <= :before",
        {"before": ready_before},
    )
    return [_batch(row) for row in found]


def wipe(db: Db, number: int) -> None:
    """Wipes a PDF."""
    db.execute("UPDATE postcard_batches SET sealed_pdf = NULL WHERE number = :number", {"number": number})


def _moved(db: Db, number: int, event: Event, changes: str, **values: Any) -> bool:
    states = ", ".join(f"'{each}'" for each in before(event))
    statement = (
        f"UPDATE postcard_batches SET state = :state, {changes}"
        f" WHERE number = :number AND state IN ({states})"
    )
    return db.execute(statement, {"state": str(after(event)), "number": number, **values}) == 1


def _batch(row: Row) -> Batch:
    values = {**row}
    return Batch(**{**values, "state": State(values["state"]), "kept": bool(values["kept"])})
