"""What the driver and the server raise, in the storage's own words (`ca.errors`, `ca.storage`)."""

from __future__ import annotations

import ssl

import asyncpg

from ca.storage import StorageError, StorageTrouble, UniqueViolation

# Classes of SQLSTATE -> what is wrong with the server, and what to do. Any other is a fault of ours.
_TROUBLE = {
    "08": "cannot be reached; see database.url, and that it runs: pg_isready -h HOST",
    "28": "does not let us in; see the user and the password in [database]",
    "3F000": "has no schema that tables could be made in; see the search_path of our user: ALTER ROLE USER "
    "RESET search_path",
    "42501": "does not let our user do what it has to; make that user the owner of it, and of its tables: "
    "ALTER DATABASE NAME OWNER TO USER",
    "55000": "takes no connections now; see its log, and whether it was closed: ALTER DATABASE NAME "
    "ALLOW_CONNECTIONS true",
    "3D": "is not there; see database.url, or make it: createdb NAME",
    "53": "has no room left (disk, memory or connections); see its log, and there: df -h, free -h, "
    "SHOW max_connections",
    "57": "was stopped, or gave the statement up; see its log",
    "58": "has trouble with its disk; see its log",
    "25P03": "ended what stood still in the middle; see what stopped us",
    "25006": "can only be read: a replica, or one that is being taken over; see which is the primary, and "
    "that our user may write: default_transaction_read_only",
    "55P03": "was held by another transaction for too long; see pg_stat_activity",
    "57014": "did not answer in time; see pg_stat_activity, and database.statement_seconds",
    "XX": "reports a fault of its own; see its log",
}
UNREACHED = _TROUBLE["08"]
_UNTRUSTED = "has a server whose certificate is not believed; see database.ca, and whose name is in it"
_PLAIN = "has a server that speaks no TLS; set ssl = on there, or write database.sslmode = 'disable'"
_REPLICAS = _TROUBLE["25006"]
# What the driver raises on a connection, where any other OSError is of a work's own; and where it makes one.
_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
LOST = (*_DRIVER, ConnectionError, TimeoutError)
FAILED = (*_DRIVER, OSError)
STALE = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)


class Unfit(asyncpg.InterfaceError):  # type: ignore[misc]
    """A database that answers, and is none for us. ``trouble``: what the operator has to mend."""

    def __init__(self, said: str, trouble: str) -> None:
        super().__init__(said)
        self.trouble = trouble


def ours(error: BaseException) -> StorageError:
    """The same in the storage's own words."""
    if isinstance(error, StorageError):
        return error
    code = getattr(error, "sqlstate", None) or ""
    name = code or type(error).__name__
    if code == "23505":
        return UniqueViolation(str(error), name)
    trouble = _TROUBLE.get(code) or _TROUBLE.get(code[:2])
    if isinstance(error, ssl.SSLCertVerificationError):
        trouble = _UNTRUSTED
    elif isinstance(error, ConnectionError) and "SSL upgrade" in str(error):  # the driver's own words
        trouble = _PLAIN
    elif isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        trouble = _REPLICAS
    elif isinstance(error, Unfit):
        trouble = error.trouble
    if trouble is None and isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        trouble = None if isinstance(error, asyncpg.DataError) else UNREACHED
    said = str(error) or name  # of a time that is up nothing is said
    return StorageError(said, name) if trouble is None else StorageTrouble(said, name, trouble)


def told(trouble: StorageTrouble) -> str:
    """For whoever opens a database: what to mend, and what was said."""
    return f"the database {trouble.trouble} ({trouble})"


class Gone(StorageTrouble):
    """The connection was lost, and nothing had been committed by it."""
