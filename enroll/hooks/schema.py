"""The tables of webhooks. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from ca.storage import Schema, Step

_WEBHOOKS = (
    """
    CREATE TABLE webhook_endpoints (
        number IDENTITY,
        name TEXT NOT NULL UNIQUE,             -- as one types it; never given to another one
        url TEXT NOT NULL,
        events TEXT NOT NULL,                  -- JSON: a list of types, 'request.*' or '*'
        state TEXT NOT NULL CHECK (state IN ('active', 'stopped', 'ended')),
        why TEXT NOT NULL DEFAULT '',          -- it is stopped
        sealed_secret BLOB,                    -- wiped when it ends
        sealed_before BLOB,                    -- the secret before, while receivers change over
        before_until_at INTEGER,               -- until when that one signs as well
        read_to INTEGER NOT NULL,              -- line of the record up to which it was told
        ends_to_at INTEGER NOT NULL,           -- up to which end of certificates it was told
        held_until_at INTEGER NOT NULL DEFAULT 0, -- its receiver wants to be left alone
        added_at INTEGER NOT NULL,
        added_by TEXT NOT NULL,
        version INTEGER NOT NULL DEFAULT 1     -- of two that change it one is first
    )
    """,
    """
    CREATE TABLE webhook_deliveries (
        number IDENTITY,
        endpoint INTEGER NOT NULL REFERENCES webhook_endpoints(number),
        message TEXT NOT NULL,                 -- the event's name: the same in each try
        event TEXT NOT NULL,
        body TEXT NOT NULL,                    -- as it is signed
        happened_at INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
        tries INTEGER NOT NULL DEFAULT 0,      -- since it was queued last
        attempts INTEGER NOT NULL DEFAULT 0,   -- how often it was taken: names the one that has it
        claimed_until_at INTEGER NOT NULL DEFAULT 0,
        next_at INTEGER NOT NULL,
        tried_at INTEGER,                      -- last
        ended_at INTEGER,
        status INTEGER NOT NULL DEFAULT 0,     -- of the last answer; 0: none
        result TEXT NOT NULL DEFAULT '',
        UNIQUE (endpoint, message)
    )
    """,
    "CREATE INDEX webhook_deliveries_due ON webhook_deliveries(endpoint, next_at) WHERE state = 'waiting'",
    "CREATE INDEX webhook_deliveries_dead ON webhook_deliveries(endpoint, number) WHERE state = 'dead'",
    "CREATE INDEX webhook_deliveries_of ON webhook_deliveries(endpoint, state, number)",
    "CREATE INDEX webhook_deliveries_over ON webhook_deliveries(ended_at) WHERE ended_at IS NOT NULL",
    # Who adds an endpoint (`ca.store.take_turns`).
    "INSERT INTO counters (name, value) VALUES ('endpoints', 0)",
)

SCHEMA = Schema("hooks", (Step("webhooks", _WEBHOOKS),))
