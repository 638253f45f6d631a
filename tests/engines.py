"""Another engine than SQLite's, to show that nothing rests on how quickly and how simply that one answers.

It is the same file behind a pause before and after each read and write, in which others have their turn, and
works are run, undone and run again at random, as by an engine that gives way in a conflict. Chosen by
``SEKISHO_TEST_ENGINE=hesitant``; ``SEKISHO_TEST_SEED`` repeats a run. ``SEKISHO_TEST_ENGINE=postgresql`` is a
real one, in a server that the tests start (tests/databases.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from ca.sqlite import Database
from ca.storage import Source, Storage, Transaction, Work
from tests import databases

T = TypeVar("T")

VARIABLE = "SEKISHO_TEST_ENGINE"
IN_A_FILE = pytest.mark.skipif(
    os.environ.get(VARIABLE) == "postgresql", reason="looks into the file of the one engine that has one"
)
_SEED = "SEKISHO_TEST_SEED"


def on_engine(database: Database) -> Storage:
    """The database by the engine that was chosen."""
    chosen = os.environ.get(VARIABLE, "sqlite")
    if chosen == "sqlite":
        return database
    if chosen == "postgresql":
        return in_a_cluster(database)
    return Hesitant(database, Random(os.environ.get(_SEED, "sekisho")))


def in_a_cluster(database: Database) -> Storage:
    """A database of PostgreSQL's that stands for that file: the same one each time the file is opened."""
    journal, database._journal = database._journal, None
    database.close()
    return databases.lent(database.path, database.folder, journal)


def named(path: Path) -> None:
    """To be called before it is opened: processes that are forked find what stands for this file as well."""
    if os.environ.get(VARIABLE) == "postgresql":
        databases.url_of(path)


class Hesitant:
    """See the module. Everything that tests look at from outside is the database's own."""

    def __init__(self, database: Database, random: Random) -> None:
        self._database, self._random = database, random

    @property
    def path(self) -> Path:
        return self._database.path

    @property
    def folder(self) -> Path:
        return self._database.folder

    @property
    def shared(self) -> bool:
        return self._database.shared

    @property
    def source(self) -> Source:
        return self._database.source

    async def read(self, work: Work[T]) -> T:
        await asyncio.sleep(0)
        found = self.read_now(work)
        await asyncio.sleep(0)
        return found

    async def read_aside(self, work: Work[T]) -> T:
        return await asyncio.to_thread(self.read_now, work)

    async def write(self, work: Work[T]) -> T:
        return await asyncio.shield(self._write(work))

    async def _write(self, work: Work[T]) -> T:
        await asyncio.sleep(0)
        try:
            return await self._database.write(self._again(work))
        finally:
            await asyncio.sleep(0)

    def read_now(self, work: Work[T]) -> T:
        return self._database.read_now(self._again(work))

    def write_now(self, work: Work[T]) -> T:
        return self._database.write_now(self._again(work))

    def holds_up(self) -> bool:
        return False

    def changed(self) -> int:
        return self._database.changed()

    def size(self) -> int:
        return self._database.size()

    def condition(self) -> None:
        return None

    def hold(self, lost: Callable[[], None]) -> None:
        self._database.hold(lost)

    def scrub(self) -> None:
        self._database.scrub()

    def close(self) -> None:
        self._database.close()

    def _again(self, work: Work[T]) -> Work[T]:
        """The work, or the work run in vain first: what it did or raised then is as if it had not been."""
        if self._random.random() < 0.5:
            return work

        def twice(db: Transaction) -> T:
            noted, gathered = len(db.notes), db.gathered.mark()
            db.execute("SAVEPOINT in_vain")
            try:
                work(db)
            except Exception:
                pass
            finally:
                db.execute("ROLLBACK TO in_vain")
                db.execute("RELEASE in_vain")
                del db.notes[noted:]
                db.gathered.back(gathered)
            return work(db)

        return twice
