"""Every statement about sessions and the desk's reference numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ca.epochs import Place
from ca.storage import LOOK, Row, Transaction, Values, inserting

# -- sessions ------------------------------------------------------------------------------------


def add_session(db: Transaction, row: Values) -> None:
    """Records a session, with a value for every column."""
    db.execute(inserting("sessions", row), row)


def session(db: Transaction, token_hash: str) -> Row | None:
    """A session by the hash of its token, over or not."""
    return db.one("SELECT * FROM sessions WHERE token_hash = :token_hash", {"token_hash": token_hash})


def take_session(db: Transaction, token_hash: str, site: str) -> Row | None:
    """Takes a session of a site away; the row as it was, or None. Of two that take it one gets it."""
    return db.one(
        "DELETE FROM sessions WHERE token_hash = :token_hash AND site = :site RETURNING *",
        {"token_hash": token_hash, "site": site},
    )


def touch_session(db: Transaction, token_hash: str, at: int) -> None:
    """Records a session's last use."""
    db.execute(
        "UPDATE sessions SET seen_at = :at WHERE token_hash = :token_hash",
        {"at": at, "token_hash": token_hash},
    )


def change_session(db: Transaction, token_hash: str, data: Mapping[str, Any]) -> None:
    """Changes values in a session's data; None removes one."""
    values = {"token_hash": token_hash}
    found = db.one("SELECT data FROM sessions WHERE token_hash = :token_hash", values)
    if found is not None:
        merged = {name: value for name, value in (json.loads(found[0]) | data).items() if value is not None}
        db.execute(
            "UPDATE sessions SET data = :data WHERE token_hash = :token_hash",
            {**values, "data": json.dumps(merged)},
        )


def drop_session(db: Transaction, token_hash: str) -> None:
    """Ends a session, and those on other hosts that came from it."""
    values = {"token_hash": token_hash}
    found = db.execute("DELETE FROM sessions WHERE token_hash = :token_hash", values)
    found += db.execute("DELETE FROM sessions WHERE opened_by = :token_hash AND opened_by <> ''", values)
    if found:
        db.note("session.ended", token_hash=token_hash)


def drop_sessions_of(db: Transaction, subject: str, but: str) -> Sequence[Row]:
    """Ends the sessions of a subject but one; each one's hash, site and subject."""
    where = "subject = :subject AND token_hash <> :but"
    return _dropped(db, where, {"subject": subject, "but": but})


def drop_sessions_with(db: Transaction, fingerprint: str) -> Sequence[Row]:
    """Ends the sessions that are bound to a certificate."""
    return _dropped(db, _BOUND, {"fingerprint": fingerprint})


def drop_every_session(db: Transaction) -> int:
    """Ends whatever is open; how many that was."""
    ended = db.execute("DELETE FROM sessions")
    if ended:
        db.note("sessions.ended", count=ended)
    return ended


def drop_sessions_named(db: Transaction, number: str, subject: str | None) -> Sequence[Row]:
    """Ends the session that a number of `open_sessions` names (of this subject)."""
    mine = " AND subject = :subject" if subject is not None else ""
    values = {"number": number, "subject": subject}
    return _dropped(db, f"substr(token_hash, 1, 16) = :number{mine}", values)


def drop_sessions_over(db: Transaction, at: int, idle: int) -> None:
    """Takes away what is over, by its end or because nobody used it for ``idle`` seconds."""
    db.execute(
        "DELETE FROM sessions WHERE ends_at <= :at OR seen_at <= :idle_since OR seen_at > :unheard_of",
        {"at": at, "idle_since": at - idle, "unheard_of": at + idle},
    )


def has_session_with(db: Transaction, fingerprint: str) -> bool:
    """Whether a session is bound to a certificate."""
    return db.one(f"SELECT 1 FROM sessions WHERE {_BOUND}", {"fingerprint": fingerprint}) is not None


def bound_sessions(db: Transaction) -> list[str]:
    """The fingerprints of certificates that sessions are bound to."""
    return [
        row[0] for row in db.rows(f"SELECT DISTINCT fingerprint FROM sessions WHERE fingerprint <> ''{LOOK}")
    ]


def open_sessions(
    db: Transaction, at: int, idle: int, subject: str | None, but_sites: tuple[str, str]
) -> list[dict[str, Any]]:
    """Open sessions, newest first. ``id`` names one without opening it."""
    mine, (one, other) = " AND subject = :subject" if subject is not None else "", but_sites
    found = db.rows(
        "SELECT substr(token_hash, 1, 16) AS id, site, subject, address, browser, fingerprint, created_at,"
        " seen_at, ends_at FROM sessions"
        f" WHERE ends_at > :at AND seen_at > :idle_since AND site <> :one AND site <> :other{mine}"
        " ORDER BY created_at DESC, token_hash",
        {"at": at, "idle_since": at - idle, "subject": subject, "one": one, "other": other},
    )
    return [{**row} for row in found]


def change_nothing(db: Transaction) -> None:
    """Takes the right to write and gives it back: fails on a database that is locked, damaged or
    read-only."""
    db.execute("UPDATE sessions SET ends_at = ends_at WHERE token_hash = ''")


# -- what a session has sent and not decided about ------------------------------------------------


#: What was sent, personal and maybe secret.
UPLOAD = Place("uploads", "mark", "sealed")


def add_upload(db: Transaction, row: Values, most: int) -> None:
    """Keeps what was sent in a session; of its subject's the newest ``most`` stay."""
    # Held, since each who adds one has a session: else of many at once each would count without the others.
    db.rows(
        "SELECT token_hash FROM sessions WHERE subject = :subject ORDER BY token_hash",
        {"subject": row["subject"]},
    )
    db.execute(inserting("uploads", row), row)
    db.execute(
        "DELETE FROM uploads WHERE subject = :subject AND number NOT IN"
        " (SELECT number FROM uploads WHERE subject = :subject ORDER BY number DESC LIMIT :most)",
        {"subject": row["subject"], "most": most},
    )


def upload(db: Transaction, mark: str, session: str) -> bytes | None:
    """What was sent in this session, sealed."""
    values = {"mark": mark, "session": session}
    row = db.one("SELECT sealed FROM uploads WHERE mark = :mark AND session = :session", values)
    return None if row is None else bytes(row["sealed"])


def drop_upload(db: Transaction, mark: str) -> None:
    """Takes away what was decided about."""
    db.execute("DELETE FROM uploads WHERE mark = :mark", {"mark": mark})


# -- reference numbers ---------------------------------------------------------------------------


def add_reference(
    db: Transaction, reference: str, at: int, site: str, code: str, detail: str, about: str = ""
) -> None:
    values = {"reference": reference, "at": at, "site": site, "code": code, "about": about, "detail": detail}
    db.execute(inserting("desk_references", values), values)


def reference(db: Transaction, reference: str) -> Row | None:
    return db.one("SELECT * FROM desk_references WHERE reference = :reference", {"reference": reference})


def references_about(db: Transaction, names: Sequence[str], limit: int) -> Sequence[Row]:
    """The newest records about one of some names."""
    values = {f"name_{number}": name for number, name in enumerate(names)}
    among = ", ".join(f":{name}" for name in values)
    return db.rows(
        f"SELECT * FROM desk_references WHERE about IN ({among}) AND about <> ''"
        " ORDER BY +number DESC LIMIT :limit",
        {**values, "limit": limit},
    )


def amend_reference(db: Transaction, reference: str, detail: str) -> None:
    db.execute(
        "UPDATE desk_references SET detail = :detail WHERE reference = :reference",
        {"detail": detail, "reference": reference},
    )


def references_by_cause(db: Transaction, since: int, until: int) -> Sequence[Row]:
    """How many of each site and code there are within some time, the most frequent first; none of a check
    that found nothing wrong."""
    return db.rows(
        "SELECT site, code, count(*) AS count FROM desk_references"
        # "+at": by the index of causes, in which all of this is, and in their order.
        " WHERE +at >= :since AND +at < :until AND code <> 'check.valid'"
        f" GROUP BY site, code ORDER BY count(*) DESC, site, code{LOOK}",
        {"since": since, "until": until},
    )


def drop_old_references(db: Transaction, at: int) -> None:
    """Takes away what was recorded up to a moment."""
    db.execute("DELETE FROM desk_references WHERE at <= :at", {"at": at})


def keep_references(db: Transaction, site: str, code: str, most: int) -> None:
    """Takes away the oldest of a kind, so that no more than ``most`` are left."""
    db.execute(
        "DELETE FROM desk_references WHERE site = :site AND code = :code AND number <="
        " (SELECT number FROM desk_references WHERE site = :site AND code = :code"
        " ORDER BY number DESC LIMIT 1 OFFSET :most)",
        {"site": site, "code": code, "most": most},
    )


_BOUND = "fingerprint = :fingerprint AND fingerprint <> ''"


def _dropped(db: Transaction, where: str, values: Values) -> Sequence[Row]:
    ended = db.rows(f"DELETE FROM sessions WHERE {where} RETURNING token_hash, site, subject", values)
    for row in ended:
        db.note("session.ended", token_hash=row["token_hash"])
        drop_session(db, row["token_hash"])
    return ended
