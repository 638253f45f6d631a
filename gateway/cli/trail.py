"""The audit trail for commands that open no data directory: it needs the database, and no passphrase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ca.clock import Clock
from ca.datadir import read_marker
from ca.storage import Storage, Transaction
from enroll import store
from gateway.cli.caller import actor
from gateway.serving.database import database_of
from gateway.serving.deployment import SCHEMAS, clock_of
from gateway.serving.standing import compare, journal_of

R = TypeVar("R")


@dataclass(frozen=True)
class Trail:
    """An open one. ``read``: as of the storage."""

    _database: Storage
    _clock: Clock

    def __call__(self, action: str, subject: str, **detail: Any) -> None:
        """Records an act, by whose process this is."""
        at = self._clock.seconds()
        self._database.write_now(lambda db: store.audit(db, at, actor(), action, subject, **detail))

    def read(self, work: Callable[[Transaction], R]) -> R:
        return self._database.read_now(work)


@contextmanager
def trail(data: Path) -> Iterator[Trail]:
    """The trail of a data directory. ConfigError as for a deployment."""
    read_marker(data)
    kept, clock = journal_of(data), clock_of(data)
    database = database_of(data, SCHEMAS, kept)
    try:
        compare(data, kept, database)
        yield Trail(database, clock)
    finally:
        database.close()
