"""The gateway's own tables: sessions, and the reference numbers that people tell the help desk."""

from __future__ import annotations

from ca.storage import Schema, Step

_SESSIONS = """
    CREATE TABLE sessions (
        token_hash TEXT PRIMARY KEY,
        site TEXT NOT NULL,
        subject TEXT NOT NULL,        -- user ID; request ID on the pick-up site
        fingerprint TEXT NOT NULL,    -- of the certificate it is bound to; '' where none is asked
        data TEXT NOT NULL,           -- JSON, no secret
        created_at INTEGER NOT NULL,
        seen_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL,
        password_mark TEXT NOT NULL,  -- of the password that opened it; '' on sites without one
        address TEXT NOT NULL,        -- from where and with what, for those who look whether it is theirs
        browser TEXT NOT NULL,
        opened_by TEXT NOT NULL       -- the session on the portal's host that one on another came from, or ''
    )
"""
_REFERENCES = """
    CREATE TABLE desk_references (
        number IDENTITY,
        reference TEXT NOT NULL UNIQUE,
        at INTEGER NOT NULL,
        site TEXT NOT NULL,
        code TEXT NOT NULL,
        about TEXT NOT NULL DEFAULT '',  -- the user ID or common name of whose page it was, if that is known
        detail TEXT NOT NULL          -- JSON, no secret
    )
"""
# What was read of a file that somebody sent, until they have decided about it; gone with the session.
_UPLOADS = """
    CREATE TABLE uploads (
        number IDENTITY,
        mark TEXT NOT NULL UNIQUE,    -- drawn: names it in addresses
        session TEXT NOT NULL REFERENCES sessions(token_hash) ON DELETE CASCADE,
        subject TEXT NOT NULL,        -- whose session
        sealed BLOB NOT NULL,         -- JSON, packed, under an epoch's key
        created_at INTEGER NOT NULL
    )
"""

SCHEMA = Schema(
    "gateway",
    (
        Step(
            "sessions",
            (
                _SESSIONS,
                "CREATE INDEX sessions_by_subject ON sessions (subject)",
                "CREATE INDEX sessions_by_end ON sessions (ends_at)",
                # What ends with a certificate, or with another session, is found by it.
                "CREATE INDEX sessions_by_certificate ON sessions (fingerprint) WHERE fingerprint <> ''",
                "CREATE INDEX sessions_by_opener ON sessions (opened_by) WHERE opened_by <> ''",
            ),
        ),
        Step(
            "uploads",
            (
                _UPLOADS,
                "CREATE INDEX uploads_by_session ON uploads (session)",
                "CREATE INDEX uploads_by_subject ON uploads (subject, number)",
            ),
        ),
        Step(
            "references",
            (
                _REFERENCES,
                "CREATE INDEX desk_references_about ON desk_references (about, number) WHERE about <> ''",
                "CREATE INDEX desk_references_by_age ON desk_references (at)",
                "CREATE INDEX desk_references_by_cause ON desk_references (site, code, at)",
                # Only so many records of a kind are kept.
                "CREATE INDEX desk_references_by_kind ON desk_references (site, code, number)",
            ),
        ),
    ),
)
