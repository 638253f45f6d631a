"""One SQLite file, one writer that commits concurrent requests together.

Whatever ``write`` returned is on disk (WAL, ``synchronous=FULL``): an answer given to a client
survives a power cut. Statements live in the stores, never here.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlite_utils
from sqlite_utils.migrations import Migrations

from ca.errors import ConfigError

T = TypeVar("T")
Work = Callable[[sqlite_utils.Database], T]

# A batch larger than this makes the first request in it wait without saving a further fsync.
_BATCH = 256
# How long a writer waits for another process (a worker, the command line) to commit, in ms.
_BUSY_MS = 15_000

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "trusted_schema = OFF",
    # What is wiped is overwritten. Debian's SQLite does so by itself, others do not.
    "secure_delete = ON",
    f"busy_timeout = {_BUSY_MS}",
)
#: MiB of page cache of each connection: a million certificates must not make an order dearer.
CACHE_MIB = 64


def rows(
    db: sqlite_utils.Database, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()
) -> list[dict[str, Any]]:
    """All rows of a statement as dictionaries, fetched at once so that no read stays open.

    ``Database.query`` of sqlite-utils wraps every statement in a savepoint; this does not.
    """
    cursor = db.execute(statement, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


# SQLite's primary result codes -> what is wrong with the file, and what to do. Any other is a fault of ours.
_TROUBLE = {
    sqlite3.SQLITE_NOTADB: "is damaged; restore it from a backup",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a backup",
    sqlite3.SQLITE_FULL: "cannot grow; make room, then again: df -h",
    sqlite3.SQLITE_READONLY: "cannot be written; see whose it is: ls -l",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; see whose it is: ls -l",
    sqlite3.SQLITE_IOERR: "cannot be read or written; make room, or see what is wrong: df -h; dmesg",
    sqlite3.SQLITE_LOCKED: "was held by this process itself; try again",
    sqlite3.SQLITE_BUSY: f"was held by another process for {_BUSY_MS // 1_000} s; see by which: fuser",
}


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO})


def trouble_of(error: BaseException) -> str | None:
    """What the operator has to mend, in words that follow the name of the file; None if nothing."""
    if not isinstance(error, sqlite3.Error):
        return None
    # The low byte: what is above it tells kinds of one code apart.
    return _TROUBLE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)


def is_out_of_order(error: BaseException) -> bool:
    """Whether the database, or the disk that it is on, is at fault: for the operator to mend, and nobody
    else. What failed is undone, and may be asked for again."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return trouble_of(error) is not None


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite_utils.Database]:
    """A database as it is at one moment, for a process that only reads, and only once: nothing that is
    committed meanwhile is seen."""
    db = _connect(path)
    try:
        db.conn.execute("PRAGMA query_only = ON")
        db.conn.execute("BEGIN")
        yield db
    finally:
        db.conn.close()


class DatabaseClosed(RuntimeError):
    """Work was handed in after ``close``."""


class Database:
    """An opened database. Safe to share between threads and tasks.

    ``cache_mib``: the most that each of its connections (the writer, one for each thread that reads) keeps
    of the file in memory. ConfigError for a file that the operator has to mend.
    """

    def __init__(
        self, path: Path, migrations: Sequence[Migrations] = (), *, cache_mib: int = CACHE_MIB
    ) -> None:
        self.path = path
        self._cache_mib = cache_mib
        _migrate(path, migrations)
        self._local = threading.local()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._writer = threading.Thread(target=self._run, name="database-writer", daemon=True)
        self._writer.start()

    def read(self) -> sqlite_utils.Database:
        """This thread's reading connection. It sees everything whose ``write`` has returned."""
        reader: sqlite_utils.Database | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = _connect(self.path, self._cache_mib)
            reader.conn.execute("PRAGMA query_only = ON")
            self._local.reader = reader
            with self._readers_lock:
                self._readers.append(reader.conn)
        return reader

    def version(self) -> int:
        """A number that differs from an earlier one of this thread's if anything was committed in between.

        By whatever connection of whatever process. Much cheaper than any look-up.
        """
        number: int = self.read().conn.execute("PRAGMA data_version").fetchone()[0]
        return number

    async def write(self, work: Work[T]) -> T:
        """Runs ``work`` in a transaction shared with whatever else waits; returns when it is on disk.

        An exception from ``work`` undoes only that work and is raised here. If the caller is
        cancelled the work is still done.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._submit(_Job(work, future, loop))
        return await future

    def write_now(self, work: Work[T]) -> T:
        """``write`` for callers without an event loop; blocks."""
        future: Future[T] = Future()
        self._submit(_Job(work, future, None))
        return future.result()

    def scrub(self) -> None:
        """Empties the write-ahead log, in which what was wiped from the file still stands.

        Blocks for an fsync. While somebody reads or writes it leaves the log for the next time.
        """
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
        finally:
            connection.close()

    def close(self) -> None:
        """Finishes the work handed in so far and closes every connection."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
            self._readers.clear()

    def _submit(self, job: _Job) -> None:
        if self._closed:
            raise DatabaseClosed(f"the database {self.path.name} is closed")
        self._queue.put(job)

    def _run(self) -> None:
        db = _connect(self.path, self._cache_mib)
        last = False
        while not last:
            jobs: list[_Job] = []
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) >= _BATCH:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            last = job is None
            if jobs:
                _deliver(_commit(db.conn, db, jobs))
        db.conn.close()


class _Job:
    """Work that waits for the writer, and where its outcome goes."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work[Any], future: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        self.work = work
        self.future = future
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None


def _commit(conn: sqlite3.Connection, db: sqlite_utils.Database, jobs: list[_Job]) -> list[_Job]:
    """Runs the jobs in one transaction, each in a savepoint of its own."""
    try:
        conn.execute("BEGIN IMMEDIATE")
        for job in jobs:
            conn.execute("SAVEPOINT job")
            try:
                job.result = job.work(db)
            except BaseException as error:
                job.error = error
                conn.execute("ROLLBACK TO job")
            conn.execute("RELEASE job")
        conn.execute("COMMIT")
    except BaseException as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        for job in jobs:
            job.error = job.error or error
    return jobs


def _deliver(jobs: list[_Job]) -> None:
    """Hands the outcomes back, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        if job.loop is None:
            _settle(job)
        else:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, waiting)
        except RuntimeError:
            # The loop has ended; the work is on disk and nobody waits for it.
            continue


def _settle_all(jobs: list[_Job]) -> None:
    for job in jobs:
        _settle(job)


def _settle(job: _Job) -> None:
    if job.future.done():
        return
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.result)


def _connect(path: Path, cache_mib: int = CACHE_MIB) -> sqlite_utils.Database:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    db = sqlite_utils.Database(connection)
    for pragma in (*_PRAGMAS, f"cache_size = {-1024 * cache_mib}"):  # negative: KiB, not pages
        connection.execute(f"PRAGMA {pragma}")
    return db


def _migrate(path: Path, migrations: Sequence[Migrations]) -> None:
    """Brings the schema up to date; processes that start together take turns. ConfigError as `trouble_of`."""
    with open(path.with_name(path.name + ".lock"), "a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        path.touch(mode=0o600)
        try:
            db = _connect(path)
            try:
                for migration in migrations:
                    migration.apply(db)
            finally:
                db.conn.close()
        except sqlite3.Error as error:
            trouble = trouble_of(error)
            if trouble is None:
                raise
            raise ConfigError(f"{path} {trouble}") from error
