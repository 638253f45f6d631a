"""The tables of campaigns: which certificates each is about. What became of them is in the register alone;
what was counted of that is kept, since it takes long."""

from __future__ import annotations

from ca.storage import Schema, Step

_CAMPAIGNS = (
    """
    CREATE TABLE campaigns (
        number IDENTITY,
        name TEXT NOT NULL,
        first_at INTEGER,                      -- certificates that end from this second on; NULL: whenever
        until_at INTEGER,                      -- and before this one
        policy_number TEXT REFERENCES organisations(policy_number),
        issuer_id TEXT,                        -- and are of this issuing CA
        every_days INTEGER NOT NULL,           -- nobody gets a reminder sooner after another letter
        begun_at INTEGER NOT NULL,
        begun_by TEXT NOT NULL,
        ended_at INTEGER,
        ended_by TEXT NOT NULL DEFAULT ''
    )
    """,
    # What takes long to count, as of a moment (`keeping`): of a campaign, or of the generations.
    """
    CREATE TABLE kept_counts (
        name TEXT PRIMARY KEY,
        at INTEGER NOT NULL,
        sums TEXT NOT NULL,                    -- JSON
        parts TEXT NOT NULL                    -- JSON: organisation by organisation
    )
    """,
)

SCHEMA = Schema("campaigns", (Step("campaigns", _CAMPAIGNS),))
