"""The tables of operators. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from ca.storage import Schema, Step

_OPERATORS = (
    """
    CREATE TABLE operators (
        number IDENTITY,
        name TEXT NOT NULL UNIQUE,             -- as one types it; never given to anybody else
        display TEXT NOT NULL,                 -- as people read it
        kind TEXT NOT NULL CHECK (kind IN ('person', 'service')),
        roles TEXT NOT NULL,                   -- JSON: a list
        mail TEXT NOT NULL DEFAULT '',
        account TEXT NOT NULL DEFAULT '',      -- of the machine: whose commands are this operator's
        networks TEXT NOT NULL DEFAULT '[]',   -- JSON: where a service may come from
        language TEXT NOT NULL DEFAULT 'ja' CHECK (language IN ('ja', 'en')),
        handle TEXT NOT NULL UNIQUE,           -- random; what passkeys know them by
        added_at INTEGER NOT NULL,
        added_by TEXT NOT NULL,
        ended_at INTEGER,
        ended_by TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE UNIQUE INDEX operators_by_account ON operators(account) WHERE account <> '' AND ended_at IS NULL",
    """
    CREATE TABLE operator_codes (
        code_hash TEXT PRIMARY KEY,            -- SHA-256 of what was told once
        operator INTEGER NOT NULL REFERENCES operators(number),
        made_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL,
        used_at INTEGER,
        certificate TEXT,                      -- serial of the one that it was used for
        enrolled_at INTEGER                    -- when that one made a passkey
    )
    """,
    "CREATE INDEX operator_codes_of ON operator_codes(operator)",
    """
    CREATE TABLE operator_certificates (
        serial TEXT PRIMARY KEY,               -- as in `certificates`
        operator INTEGER NOT NULL REFERENCES operators(number),
        fingerprint TEXT NOT NULL UNIQUE,
        added_at INTEGER NOT NULL,
        ended_at INTEGER
    )
    """,
    "CREATE INDEX operator_certificates_of ON operator_certificates(operator)",
    """
    CREATE TABLE operator_passkeys (
        credential_id TEXT PRIMARY KEY,        -- base64url
        operator INTEGER NOT NULL REFERENCES operators(number),
        public_key BLOB NOT NULL,              -- COSE, as the browser told it
        sign_count INTEGER NOT NULL,
        label TEXT NOT NULL,
        added_at INTEGER NOT NULL,
        used_at INTEGER,
        ended_at INTEGER
    )
    """,
    "CREATE INDEX operator_passkeys_of ON operator_passkeys(operator)",
    """
    CREATE TABLE proposals (
        number IDENTITY,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,                 -- what it is about
        payload TEXT NOT NULL,                 -- JSON: what is to be done, checked
        before TEXT NOT NULL,                  -- JSON: what stood there when it was proposed
        digest TEXT NOT NULL,                  -- of that: anything else voids it
        proposer TEXT NOT NULL,                -- who it is: never who decides
        proposed_by TEXT NOT NULL,             -- as the trail says it
        reason TEXT NOT NULL DEFAULT '',
        made_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        decider TEXT,
        decided_by TEXT,
        decided_at INTEGER,
        note TEXT NOT NULL DEFAULT '',
        result TEXT NOT NULL DEFAULT '{}',     -- JSON: what came of it
        done_at INTEGER,                       -- when all of it was carried out
        erased_at INTEGER                      -- as of users
    )
    """,
    "CREATE INDEX proposals_open ON proposals(expires_at) WHERE state = 'pending'",
    # All that a list is narrowed by: its rows have whole files in them, and are counted without a look.
    "CREATE INDEX proposals_listed ON proposals(number, state, kind, proposer, expires_at)",
    "CREATE INDEX proposals_by_subject ON proposals(subject)",
    "CREATE INDEX proposals_undone ON proposals(number) WHERE state = 'approved' AND done_at IS NULL",
    """
    CREATE TABLE break_glass (
        number IDENTITY,
        account TEXT NOT NULL,                 -- of the machine
        identity TEXT NOT NULL,                -- who it is, as in proposals
        role TEXT NOT NULL,
        reason TEXT NOT NULL,
        opened_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL,
        due_at INTEGER NOT NULL,               -- until when an auditor is to look at it
        reviewed_at INTEGER,
        reviewed_by TEXT NOT NULL DEFAULT '',
        note TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX break_glass_of ON break_glass(account, ends_at)",
    "CREATE INDEX break_glass_due ON break_glass(due_at) WHERE reviewed_at IS NULL",
)

# Who adds an operator, or a proposal (`ca.store.take_turns`).
_TURNS = ("INSERT INTO counters (name, value) VALUES ('operators', 0)",)

SCHEMA = Schema("operators", (Step("operators", _OPERATORS), Step("turns", _TURNS)))
