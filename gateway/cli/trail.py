"""The audit trail for commands that open no data directory: it needs the database, and no passphrase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ca.datadir import read_marker
from ca.sqlite import Database
from enroll import store
from gateway.cli.caller import actor
from gateway.serving.deployment import DATABASE, SCHEMAS, clock_of
from gateway.serving.standing import compare, journal_of


@contextmanager
def trail(data: Path) -> Iterator[Callable[..., None]]:
    """``record(action, subject, **detail)``, by whose process this is. ConfigError as for a deployment."""
    read_marker(data)
    kept, clock = journal_of(data), clock_of(data)
    database = Database(data / DATABASE, SCHEMAS, cache_mib=1, journal=kept)

    def record(action: str, subject: str, **detail: Any) -> None:
        at = clock.seconds()
        database.write_now(lambda db: store.audit(db, at, actor(), action, subject, **detail))

    try:
        compare(data, kept, database)
        yield record
    finally:
        database.close()
