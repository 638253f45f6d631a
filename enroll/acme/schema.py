"""The tables of the protocol. Identifiers begin with their time, so that rows are added at the end."""

from __future__ import annotations

from ca.storage import Schema, Step

_TABLES = (
    """
    CREATE TABLE acme_credentials (
        kid TEXT PRIMARY KEY REFERENCES enrollments(request_id),
        user_id TEXT NOT NULL REFERENCES users(user_id),
        sealed_key BLOB NOT NULL,
        common_name TEXT NOT NULL,             -- of every certificate that it leads to
        profile TEXT NOT NULL,
        quota INTEGER NOT NULL,                -- certificates outside the renewal period
        account_id TEXT,                       -- bound once, for good
        generation INTEGER NOT NULL,           -- of the user, when it was made; dead in any later one
        created_at INTEGER NOT NULL,
        bound_at INTEGER,
        withdrawn_at INTEGER
    )
    """,
    "CREATE INDEX acme_credentials_by_user ON acme_credentials(user_id)",
    """
    CREATE TABLE acme_accounts (
        id TEXT PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users(user_id),
        jwk TEXT NOT NULL,
        spki_sha256 TEXT NOT NULL UNIQUE,      -- one account per key, deactivated ones included
        status TEXT NOT NULL CHECK (status IN ('valid', 'deactivated', 'revoked')),
        contacts TEXT NOT NULL,                -- JSON
        created_at INTEGER NOT NULL,
        terms_agreed_at INTEGER,
        kid TEXT UNIQUE REFERENCES acme_credentials(kid),
        binding TEXT                           -- JSON, as the client sent it
    )
    """,
    "CREATE INDEX acme_accounts_by_certificate ON acme_accounts(user_id, created_at) WHERE kid IS NULL",
    """
    CREATE TABLE acme_orders (
        id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES acme_accounts(id),
        number INTEGER NOT NULL,               -- of the account's orders, in the order of their coming
        request_id TEXT UNIQUE REFERENCES enrollments(request_id), -- NULL until it is authorised
        identifiers TEXT NOT NULL,             -- JSON, as the client sent them
        authorization_ids TEXT NOT NULL,       -- JSON
        profile TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        replaces TEXT,                         -- as the client sent it
        source_serial TEXT,                    -- certificate that has to be presented
        open INTEGER NOT NULL DEFAULT 1        -- 0 once it has its certificate or was given up
    )
    """,
    "CREATE UNIQUE INDEX acme_orders_by_account ON acme_orders(account_id, number)",
    "CREATE INDEX acme_orders_open ON acme_orders(account_id, expires_at) WHERE open = 1",
    "CREATE INDEX acme_orders_by_replaces ON acme_orders(replaces) WHERE replaces IS NOT NULL",
    """
    CREATE TABLE acme_authorizations (
        id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES acme_accounts(id),
        type TEXT NOT NULL,
        value TEXT NOT NULL,                   -- as the client sent it
        status TEXT NOT NULL CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated', 'revoked')),
        expires_at INTEGER NOT NULL,
        challenge_type TEXT NOT NULL,
        token TEXT NOT NULL,
        validated_at INTEGER,
        order_id TEXT                          -- where it is for one order only
    )
    """,
    "CREATE INDEX acme_authorizations_of_account ON acme_authorizations(account_id, value)",
)


# Spent, where nodes share the database: enroll/acme/nonces.py.
_NONCES = (
    "CREATE TABLE acme_nonces (number INTEGER PRIMARY KEY, until_at INTEGER NOT NULL)",
    "CREATE INDEX acme_nonces_by_end ON acme_nonces(until_at)",
)

SCHEMA = Schema("acme", (Step("protocol", (*_TABLES, *_NONCES)),))
