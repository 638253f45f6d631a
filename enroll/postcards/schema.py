"""The tables of print batches. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from ca.storage import Schema, Step

_BATCHES = (
    """
    CREATE TABLE postcard_batches (
        number INTEGER PRIMARY KEY,            -- by a counter
        state TEXT NOT NULL,
        cards INTEGER NOT NULL,
        job INTEGER NOT NULL,                  -- which draws it
        made_by TEXT NOT NULL,
        made_at INTEGER NOT NULL,
        ready_at INTEGER,
        sealed_pdf BLOB,                       -- has secrets; wiped once printed, cancelled or too old
        fetches INTEGER NOT NULL DEFAULT 0,    -- beyond the first one: reprints
        fetched_at INTEGER,                    -- first
        ended_at INTEGER,                      -- printed, or cancelled
        ended_by TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX postcard_batches_open ON postcard_batches(number) WHERE state IN ('making', 'ready')",
    # Whose letter lay in which batch, for good: mails.batch has the one that holds it now.
    """
    CREATE TABLE postcard_cards (
        batch INTEGER NOT NULL REFERENCES postcard_batches(number),
        place INTEGER NOT NULL,
        letter INTEGER NOT NULL,
        PRIMARY KEY (batch, place)
    )
    """,
    "INSERT INTO counters (name, value) VALUES ('postcard_batch', 0)",
)

SCHEMA = Schema("postcards", (Step("batches", _BATCHES),))
