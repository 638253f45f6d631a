"""The table of what was asked with an Idempotency-Key. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from ca.storage import Schema, Step

_REPEATS = (
    """
    CREATE TABLE repeats (
        account INTEGER NOT NULL,              -- number of the operator who asks: keys are an account's own
        key TEXT NOT NULL,                     -- as it was sent
        digest TEXT NOT NULL,                  -- SHA-256 of what was asked for
        claim TEXT NOT NULL UNIQUE,            -- of whoever is at it, drawn
        claimed_at INTEGER NOT NULL,
        answer BLOB,                           -- sealed; NULL: still at it
        PRIMARY KEY (account, key)
    )
    """,
    "CREATE INDEX repeats_by_age ON repeats(claimed_at)",
)

SCHEMA = Schema("repeats", (Step("repeats", _REPEATS),))
