"""The tables of the ground. Only migrations change them."""

from __future__ import annotations

import sqlite_utils
from sqlite_utils.migrations import Migrations

migrations = Migrations("ca")


@migrations()
def certificates(db: sqlite_utils.Database) -> None:
    """One row per serial. `reserved` is written before signing, `issued` with the DER after it.

    The partial indexes hold only the few rows they are about, so a million good certificates cost
    them nothing; revocation_number counts revocations and never goes back, unlike a clock.
    """
    for statement in (
        """
        CREATE TABLE certificates (
            serial TEXT PRIMARY KEY NOT NULL,
            issuer_id TEXT NOT NULL,
            profile TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('reserved', 'issued', 'revoked')),
            subject_cn TEXT NOT NULL,
            spki_sha256 TEXT NOT NULL,
            not_before_at INTEGER NOT NULL,
            not_after_at INTEGER NOT NULL,
            reserved_at INTEGER NOT NULL,
            issued_at INTEGER,
            template TEXT NOT NULL,
            der BLOB,
            fingerprint TEXT UNIQUE,
            revoked_at INTEGER,
            revocation_reason INTEGER,
            revocation_number INTEGER,
            order_id TEXT UNIQUE,
            CHECK ((status = 'reserved') = (der IS NULL)),
            CHECK ((der IS NULL) = (fingerprint IS NULL)),
            CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
            CHECK ((status = 'revoked') = (revocation_number IS NOT NULL))
        ) STRICT
        """,
        "CREATE INDEX certificates_reserved ON certificates (reserved_at) WHERE status = 'reserved'",
        "CREATE UNIQUE INDEX certificates_revoked ON certificates (revocation_number)"
        " WHERE status = 'revoked'",
        "CREATE INDEX certificates_subject_cn ON certificates (subject_cn)",
        "CREATE INDEX certificates_not_after_at ON certificates (not_after_at)",
        """
        CREATE TABLE crl_numbers (
            issuer_id TEXT PRIMARY KEY NOT NULL,
            number INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
    ):
        db.execute(statement)


@migrations()
def without_their_ends(db: sqlite_utils.Database) -> None:
    """Which ones end when is asked of enrollments: here the index cost every issuance, and served nobody."""
    db.execute("DROP INDEX certificates_not_after_at")


@migrations()
def last_look_at_the_clock(db: sqlite_utils.Database) -> None:
    """The last reading of the clock that was believed (ca.timekeeping), and up to which row an operator has
    said that certificates from a clock that ran ahead prove nothing."""
    db.execute(
        """
        CREATE TABLE clock (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            wall_at INTEGER NOT NULL,
            awake REAL NOT NULL,
            boot TEXT NOT NULL,
            confirmed_row INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """
    )
