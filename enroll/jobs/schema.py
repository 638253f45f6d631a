"""The tables of jobs. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from ca.storage import Schema, Step

_JOBS = (
    """
    CREATE TABLE jobs (
        number IDENTITY,
        kind TEXT NOT NULL,                    -- as of a proposal
        subject TEXT NOT NULL,                 -- what it is about
        proposal INTEGER UNIQUE,               -- whose payload it carries out
        payload TEXT,                          -- JSON; NULL: that of the proposal
        proposer TEXT NOT NULL,                -- who it is, and as the trail says it
        proposed_by TEXT NOT NULL,
        decided_by TEXT NOT NULL,              -- in whose name each row is done
        state TEXT NOT NULL,
        total INTEGER NOT NULL,                -- rows
        done INTEGER NOT NULL DEFAULT 0,
        runner TEXT NOT NULL DEFAULT '',       -- who has it
        heartbeat_at INTEGER,                  -- when that one was heard of last
        made_at INTEGER NOT NULL,
        begun_at INTEGER,
        ended_at INTEGER,
        ended_by TEXT NOT NULL DEFAULT '',     -- who has cancelled it
        problem TEXT NOT NULL DEFAULT '',      -- why it failed
        erased_at INTEGER                      -- as of users
    )
    """,
    # All that a list is narrowed by, for its count.
    "CREATE INDEX jobs_listed ON jobs(number, state, kind, proposer)",
    "CREATE INDEX jobs_open ON jobs(number) WHERE state IN ('waiting', 'running')",
    # A row is here if, and only if, what it does is done: both are one transaction.
    """
    CREATE TABLE job_rows (
        job INTEGER NOT NULL REFERENCES jobs(number),
        line INTEGER NOT NULL,
        result TEXT NOT NULL,                  -- as enroll/people/importing.py has it
        subject TEXT NOT NULL DEFAULT '',      -- whom it is about: user ID, 証券番号, serial
        request_id TEXT NOT NULL DEFAULT '',
        code TEXT NOT NULL DEFAULT '',         -- of the refusal
        field TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (job, line)
    )
    """,
    "CREATE INDEX job_rows_refused ON job_rows(job, line) WHERE result = 'refused'",
)

SCHEMA = Schema("jobs", (Step("jobs", _JOBS),))
