"""The gateway's own tables: sessions, and the reference numbers that people tell the help desk."""

from __future__ import annotations

import sqlite_utils
from sqlite_utils.migrations import Migrations

migrations = Migrations("gateway")


@migrations()
def sessions_and_references(db: sqlite_utils.Database) -> None:
    db.execute(
        """
        CREATE TABLE sessions (
            token_hash TEXT PRIMARY KEY,
            site TEXT NOT NULL,
            subject TEXT NOT NULL,        -- user ID; request ID on the pick-up site
            fingerprint TEXT NOT NULL,    -- of the certificate it is bound to; '' where none is asked
            data TEXT NOT NULL,           -- JSON, no secret
            created_at INTEGER NOT NULL,
            seen_at INTEGER NOT NULL,
            ends_at INTEGER NOT NULL
        ) STRICT
        """
    )
    db.execute("CREATE INDEX sessions_by_subject ON sessions(subject)")
    db.execute("CREATE INDEX sessions_by_end ON sessions(ends_at)")
    db.execute(
        """
        CREATE TABLE desk_references (
            reference TEXT PRIMARY KEY,
            at INTEGER NOT NULL,
            site TEXT NOT NULL,
            code TEXT NOT NULL,
            detail TEXT NOT NULL          -- JSON, no secret
        ) STRICT
        """
    )
    db.execute("CREATE INDEX desk_references_by_age ON desk_references(at)")


@migrations()
def references_by_kind(db: sqlite_utils.Database) -> None:
    """Only so many records of a kind are kept; the index ends with the rowid, which is their order."""
    db.execute("CREATE INDEX desk_references_by_kind ON desk_references(site, code)")


@migrations()
def sessions_by_password(db: sqlite_utils.Database) -> None:
    """The mark of the password that opened a session; '' on sites without one."""
    db.execute("ALTER TABLE sessions ADD COLUMN password_mark TEXT NOT NULL DEFAULT ''")


@migrations()
def sessions_told_apart(db: sqlite_utils.Database) -> None:
    """From where and with what a session was opened, for those who look whether it is theirs."""
    db.execute("ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE sessions ADD COLUMN browser TEXT NOT NULL DEFAULT ''")


@migrations()
def sessions_by_certificate(db: sqlite_utils.Database) -> None:
    """What ends with a certificate is found by its fingerprint."""
    db.execute("CREATE INDEX sessions_by_certificate ON sessions(fingerprint) WHERE fingerprint <> ''")


@migrations()
def sessions_of_two_hosts(db: sqlite_utils.Database) -> None:
    """The session, on the portal's own host, that one on the host of the service came from."""
    db.execute("ALTER TABLE sessions ADD COLUMN opened_by TEXT NOT NULL DEFAULT ''")
    db.execute("CREATE INDEX sessions_by_opener ON sessions(opened_by) WHERE opened_by <> ''")
