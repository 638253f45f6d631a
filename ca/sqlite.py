"""The SQLite engine: one file, one writer that commits concurrent requests together. Only this file knows it.

Whatever ``write`` returned is on disk (WAL, ``synchronous=FULL``): an answer given to a client
survives a power cut. Statements live in the stores, never here.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import queue
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ca.errors import ConfigError
from ca.files import sync_directory
from ca.storage import (
    CACHE_MIB,
    Filling,
    Gathered,
    Gathering,
    Note,
    Recorder,
    Reference,
    Row,
    Schema,
    Shape,
    StorageClosed,
    StorageError,
    StorageTrouble,
    Table,
    Transaction,
    UniqueViolation,
    Values,
    Work,
)

T = TypeVar("T")

# A batch larger than this makes the first request in it wait without saving a further fsync.
_BATCH = 256
# Pages that are copied and put on disk at once: 1 MiB, which is how long a commit meanwhile waits.
_COPIED = 256
# As sqlite-utils keeps account of them.
_STEPS = "SELECT migration_set, name FROM _sqlite_migrations ORDER BY migration_set, name"
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

# SQLite's primary result codes -> what is wrong with the file, and what to do. Any other is a fault of ours.
_TROUBLE = {
    sqlite3.SQLITE_NOTADB: "is damaged; restore it from a backup",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a backup",
    sqlite3.SQLITE_FULL: "cannot grow; make room, then again: df -h",
    sqlite3.SQLITE_READONLY: "cannot be written; see whose it is: ls -l",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; see whose it is: ls -l",
    sqlite3.SQLITE_IOERR: "cannot be read or written; make room, or see what is wrong: df -h; dmesg",
    sqlite3.SQLITE_LOCKED: "was held by this process itself; try again",
    # Of the write-ahead log: others were ahead at each of ten seconds' tries.
    sqlite3.SQLITE_PROTOCOL: "could not be reached between others; try again",
    # A step of another version has been taken meanwhile.
    sqlite3.SQLITE_SCHEMA: "was changed while it was read; try again",
    sqlite3.SQLITE_BUSY: f"was held by another process for {_BUSY_MS // 1_000} s; see by which: fuser",
}
_UNIQUE = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})


def _ours(error: sqlite3.Error) -> StorageError:
    """The same in the storage's own words."""
    code, name = getattr(error, "sqlite_errorcode", 0), getattr(error, "sqlite_errorname", "")
    if code in _UNIQUE:
        return UniqueViolation(str(error), name)
    # The low byte: what is above it tells kinds of one code apart.
    trouble = _TROUBLE.get(code & 0xFF)
    return StorageError(str(error), name) if trouble is None else StorageTrouble(str(error), name, trouble)


class _Connection:
    """A transaction on a connection that somebody else begins and ends. ``conn`` is for those who look from
    outside: tests, and measurements."""

    __slots__ = ("conn", "gathered", "notes")

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.notes: list[Note] = []
        self.gathered = Gathering()

    def note(self, kind: str, /, **facts: Any) -> None:
        self.notes.append((kind, facts))

    def gather(self, write: Gathered, row: Any, /) -> None:
        self.gathered.add(write, row)

    def defer(self, statement: str, values: Values, /) -> None:
        self.execute(statement, values)  # which takes no journey

    def settle(self) -> None:
        self.gathered.settle(self)

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        try:
            return self.conn.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise _ours(error) from error

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        try:
            row: Row | None = self.conn.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise _ours(error) from error
        return row

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        try:
            return self.conn.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _ours(error) from error


class _Reader(_Connection):
    """One in which nothing is written, and which says so at once."""

    __slots__ = ()

    def gather(self, write: Gathered, row: Any, /) -> None:
        write(self, [row])


@dataclass(frozen=True)
class SqliteSource:
    """A file for a process that only reads, and only once."""

    path: Path

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """The database as it is at one moment: nothing that is committed meanwhile is seen."""
        conn = _opened(self.path)
        try:
            _run(conn, "PRAGMA query_only = ON")
            _run(conn, "BEGIN")
            yield _Reader(conn)
        finally:
            conn.close()


def copy_database(path: Path, to: Path) -> None:
    """Copies a database as it is at one moment, while others write. ConfigError for one that cannot be read;
    OSError where the copy finds no room."""
    to.touch(mode=0o600)
    source, target = _connect(path), sqlite3.connect(to, isolation_level=None)
    written = os.open(to, os.O_WRONLY | os.O_CLOEXEC)
    try:
        source.execute("PRAGMA query_only = ON")
        # Who finds half a copy throws it away: it needs no journal of its own, and is on disk piece by piece.
        # Held back to the end, all of it would be written at once, and commits meanwhile would wait for it.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        # Within one transaction nothing that is committed meanwhile makes it begin anew. In pieces, between
        # which the writer gets at the disk.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        source.backup(target, pages=_COPIED, progress=lambda *_: os.fdatasync(written))
        os.fsync(written)
    except sqlite3.Error as error:
        found = _ours(error)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to)) from error
        if not isinstance(found, StorageTrouble):
            raise found from error
        raise ConfigError(f"{path} {found.trouble}") from error
    finally:
        target.close()
        source.close()
        os.close(written)


def migrations_of(path: Path) -> list[tuple[str, str]]:
    """The steps that a database has taken: room and name of each."""
    conn = _opened(path)
    try:
        return [(row[0], row[1]) for row in conn.execute(_STEPS)]
    except sqlite3.Error as error:
        raise _ours(error) from error
    finally:
        conn.close()


# -- as a whole ----------------------------------------------------------------------------------------

# What of a file is looked at by itself; the rest is in the text by which the table was made.
_OURS = "name NOT LIKE 'sqlite!_%' ESCAPE '!' AND tbl_name NOT LIKE '!_sqlite!_%' ESCAPE '!'"
# Troubles that the engine is asked for at most.
_TOLD = 20
_TAKEN = "SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'"


def layout(schemas: Sequence[Schema]) -> tuple[Table, ...]:
    """The tables of schemas, each behind those that it refers to."""
    with _in_memory(schemas) as db:
        named = db.rows(f"SELECT name FROM sqlite_schema WHERE type = 'table' AND {_OURS} ORDER BY rootpage")
        return tuple(_table(db, row[0]) for row in named)


@contextmanager
def _in_memory(schemas: Sequence[Schema]) -> Iterator[_Reader]:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.row_factory = sqlite3.Row
    try:
        for schema in schemas:
            for step in schema.steps:
                for statement in step.statements:
                    conn.execute(in_sqlite(statement))
        yield _Reader(conn)
    finally:
        conn.close()


def _table(db: Transaction, name: str) -> Table:
    columns = db.rows("SELECT name, type, pk FROM pragma_table_info(:name) ORDER BY cid", {"name": name})
    key = tuple(row[0] for row in sorted((row for row in columns if row[2]), key=lambda row: row[2]))
    refers = db.rows('SELECT "from", "table", "to" FROM pragma_foreign_key_list(:name)', {"name": name})
    without = db.one(
        "SELECT wr FROM pragma_table_list WHERE name = :name AND schema = 'main'", {"name": name}
    )
    assert without is not None
    return Table(
        name,
        tuple(row[0] for row in columns),
        key,
        tuple(row[0] for row in columns if row[1] in ("TEXT", "BLOB")),
        tuple(Reference(*row) for row in refers),
        "" if without[0] else key[0],
    )


def _shape(db: Transaction) -> Shape:
    found: dict[str, dict[str, str]] = {}
    for kind, name, table, text in db.rows(
        f"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE {_OURS} ORDER BY name"
    ):
        parts = found.setdefault(table, {})
        if kind != "table":
            parts[f"{kind} {name}"] = _normal(text or "")
            continue
        parts["definition"] = _normal(text)
        for row in db.rows(
            'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(:name)', {"name": name}
        ):
            said = (row[1], "NOT NULL" if row[2] else "", f"DEFAULT {row[3]}" if row[3] is not None else "")
            parts[f"column {row[0]}"] = " ".join(each for each in said if each)
    return found


def _normal(text: str) -> str:
    """A statement without comments, and with single spaces where there must be one."""
    bare = " ".join(re.sub(r"--[^\n]*", " ", text).split())
    return re.sub(r"\s*([(),])\s*", r"\1", bare)


class _Filling(_Reader):
    """A file that nobody else knows of yet."""

    __slots__ = ()

    def clear(self, tables: Sequence[str], /) -> None:
        for table in tables:
            self.execute(f"DELETE FROM {table}")

    def put(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        marks = ", ".join("?" * len(columns))
        try:
            self.conn.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
        except sqlite3.Error as error:
            raise _ours(error) from error

    def go_on(self, table: str, column: str, /) -> None:
        """It does: the next number is one more than the highest."""


@dataclass(frozen=True)
class Whole:
    """A file as a whole (`ca.storage.Whole`)."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return self.path.exists()

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        with _told(self.path), SqliteSource(self.path).snapshot() as db:
            yield db

    @contextmanager
    def held(self, tables: Sequence[Table]) -> Iterator[Transaction]:
        with _told(self.path):
            conn = _connect(self.path)
            try:
                conn.execute("BEGIN IMMEDIATE")
                yield _Reader(conn)
                conn.execute("COMMIT")
            finally:
                conn.close()

    @contextmanager
    def filling(self, schemas: Sequence[Schema]) -> Iterator[Filling]:
        draft = self.path.with_name(f".{self.path.name}.copying")
        draft.unlink(missing_ok=True)
        try:
            with _told(self.path):
                _migrate(draft, schemas)
                conn = _connect(draft)
                try:
                    # Who finds half of it begins anew: it needs no journal of its own.
                    conn.execute("PRAGMA journal_mode = OFF")
                    conn.execute("PRAGMA synchronous = OFF")
                    conn.execute("BEGIN IMMEDIATE")
                    yield _Filling(conn)
                    conn.execute("COMMIT")
                finally:
                    conn.close()
            written = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(written)
            finally:
                os.close(written)
            draft.replace(self.path)
            sync_directory(self.path.parent)
        finally:
            for end in ("", "-wal", "-shm", ".lock"):
                draft.with_name(draft.name + end).unlink(missing_ok=True)

    def shape(self, db: Transaction) -> Shape:
        return _shape(db)

    def made_shape(self, schemas: Sequence[Schema]) -> Shape:
        with _in_memory(schemas) as db:
            return _shape(db)

    def steps(self, db: Transaction) -> frozenset[tuple[str, str]]:
        if db.one(_TAKEN) is None:
            return frozenset()
        return frozenset((row[0], row[1]) for row in db.rows(_STEPS))

    def damage(self, db: Transaction) -> Sequence[str]:
        found = [str(row[0]) for row in db.rows(f"PRAGMA integrity_check({_TOLD})")]
        return [] if found == ["ok"] else found

    def numbering(self, db: Transaction, table: str, column: str) -> int | None:
        return None

    def others(self, db: Transaction) -> Sequence[str]:
        return ()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What is wrong with the file is the operator's to mend."""
    try:
        yield
    except sqlite3.Error as error:
        found = _ours(error)
        if not isinstance(found, StorageTrouble):
            raise found from error
        raise ConfigError(f"{path} {found.trouble}") from error


class Database:
    """An opened database. Safe to share between threads and tasks.

    ``cache_mib``: the most that each of its connections (the writer, one for each thread that reads, as many
    as ever read aside at once) keeps of the file in memory. ``journal``: who is told of notes before they are
    committed; without one nobody is. ``made``: False for a file that is somebody else's to make and to bring
    up to date. ConfigError for a file that the operator has to mend.
    """

    def __init__(
        self,
        path: Path,
        schemas: Sequence[Schema] = (),
        *,
        cache_mib: int = CACHE_MIB,
        journal: Recorder | None = None,
        made: bool = True,
    ) -> None:
        self.path = path
        self._journal = journal
        self._cache_mib = cache_mib
        if made:
            _migrate(path, schemas)
        self._local = threading.local()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._readers: list[sqlite3.Connection] = []
        # Those for whole tables that nobody uses, the one that was used last at the end.
        self._idle: list[_Reader] = []
        self._readers_lock = threading.Lock()
        self._writer = threading.Thread(target=self._run, name="database-writer", daemon=True)
        self._writer.start()

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def shared(self) -> bool:
        return False

    @property
    def source(self) -> SqliteSource:
        return SqliteSource(self.path)

    def holds_up(self) -> bool:
        return False  # it answers at once

    async def read(self, work: Work[T]) -> T:
        """At once: a page out of the cache takes less time than to hand it to a thread and back."""
        return self.read_now(work)

    def read_now(self, work: Work[T]) -> T:
        reader: _Reader | None = getattr(self._local, "lent", None)
        return self._read(self._reader() if reader is None else reader, work)

    def _read(self, reader: _Reader, work: Work[T]) -> T:
        conn = reader.conn
        if conn.in_transaction:  # within another one's work
            return work(reader)
        _run(conn, "BEGIN")
        try:
            return work(reader)
        finally:
            _end(conn)

    async def read_aside(self, work: Work[T]) -> T:
        return await asyncio.to_thread(self._read_aside, work)

    def _read_aside(self, work: Work[T]) -> T:
        """By the connection that did so last: it has in its cache what is asked again and again. With one for
        each of the threads, which take turns, every page would be read from the file anew."""
        self._check_open()
        with self._readers_lock:
            reader = self._idle.pop() if self._idle else None
        reader = self._opened() if reader is None else reader
        self._local.lent = reader
        try:
            return self._read(reader, work)
        finally:
            self._local.lent = None
            with self._readers_lock:
                self._idle.append(reader)

    def changed(self) -> int:
        row = self._reader().one("PRAGMA data_version")
        assert row is not None
        return int(row[0])

    def _reader(self) -> _Reader:
        """This thread's reading connection."""
        self._check_open()
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._opened()
        return reader

    def _opened(self) -> _Reader:
        try:
            reader = _Reader(_connect(self.path, self._cache_mib))
            reader.conn.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise _ours(error) from error
        with self._readers_lock:
            self._readers.append(reader.conn)
        return reader

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosed(f"the database {self.path.name} is closed")

    async def write(self, work: Work[T]) -> T:
        """In a transaction shared with whatever else waits, and a savepoint of its own."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._submit(_Job(work, future, loop))
        return await future

    def write_now(self, work: Work[T]) -> T:
        future: Future[T] = Future()
        self._submit(_Job(work, future, None))
        return future.result()

    def size(self) -> int:
        found = (self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm"))
        return sum(each.stat().st_size for each in found if each.exists())

    def condition(self) -> None:
        return None

    def hold(self, lost: Callable[[], None]) -> None:
        """Files are not lost."""
        self.read_now(lambda db: db.one("SELECT count(*) FROM sqlite_schema"))

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
                raise _ours(error) from error
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
            raise StorageClosed(f"the database {self.path.name} is closed")
        self._queue.put(job)

    def _run(self) -> None:
        # Whoever only reads never has it.
        db: _Connection | None = None
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
            if not jobs:
                continue
            try:
                db = db or _Connection(_connect(self.path, self._cache_mib))
            except Exception as error:
                # Whatever it is (no memory is none of SQLite's): who waits is told, the next one is tried.
                for each in jobs:
                    each.error = _ours(error) if isinstance(error, sqlite3.Error) else error
            else:
                _commit(db, jobs, self._journal)
            _deliver(jobs)
        if db is not None:
            db.conn.close()
        if self._journal is not None:
            self._journal.close()


class _Job:
    """Work that waits for the writer, and where its outcome goes."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work[Any], future: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        self.work = work
        self.future = future
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None


def _commit(db: _Connection, jobs: list[_Job], journal: Recorder | None) -> list[_Job]:
    """Runs the jobs in one transaction, each in a savepoint of its own; what they gathered is written, and
    what they noted is in the journal, before that is committed."""
    conn = db.conn
    db.notes.clear()
    db.gathered = Gathering()
    try:
        # From here to COMMIT no other process writes, be it to the journal.
        conn.execute("BEGIN IMMEDIATE")
        for job in jobs:
            conn.execute("SAVEPOINT job")
            noted, gathered = len(db.notes), db.gathered.mark()
            try:
                job.result = job.work(db)
            except BaseException as error:
                job.error = error
                conn.execute("ROLLBACK TO job")
                del db.notes[noted:]
                db.gathered.back(gathered)
            conn.execute("RELEASE job")
        db.settle()
        done = journal.record(db, db.notes) if journal is not None and db.notes else None
        conn.execute("COMMIT")
        if done is not None:
            done()
    except BaseException as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        found = _ours(error) if isinstance(error, sqlite3.Error) else error
        found.__cause__ = None if found is error else error
        for job in jobs:
            job.error = job.error or found
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


def _run(conn: sqlite3.Connection, statement: str) -> None:
    try:
        conn.execute(statement)
    except sqlite3.Error as error:
        raise _ours(error) from error


def _end(conn: sqlite3.Connection) -> None:
    if conn.in_transaction:  # which some errors end by themselves
        _run(conn, "COMMIT")


def _opened(path: Path, cache_mib: int = CACHE_MIB) -> sqlite3.Connection:
    try:
        return _connect(path, cache_mib)
    except sqlite3.Error as error:
        raise _ours(error) from error


def _connect(path: Path, cache_mib: int = CACHE_MIB) -> sqlite3.Connection:
    # Never made here: what it may be read by is said where it is made.
    where = f"{path.absolute().as_uri()}?mode=rw"
    conn = sqlite3.connect(
        where, uri=True, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    conn.row_factory = sqlite3.Row
    for pragma in (*_PRAGMAS, f"cache_size = {-1024 * cache_mib}"):  # negative: KiB, not pages
        conn.execute(f"PRAGMA {pragma}")
    return conn


def _migrate(path: Path, schemas: Sequence[Schema]) -> None:
    """Brings the tables up to date; processes that start together take turns. ConfigError for a file that the
    operator has to mend."""
    with open(path.with_name(path.name + ".lock"), "a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        path.touch(mode=0o600)
        try:
            conn = _connect(path)
            # Which sqlite-utils expects of a connection.
            conn.row_factory = None
            try:
                if not _is_level(conn, schemas):
                    _bring_level(conn, schemas)
            finally:
                conn.close()
        except sqlite3.Error as error:
            found = _ours(error)
            if not isinstance(found, StorageTrouble):
                raise found from error
            raise ConfigError(f"{path} {found.trouble}") from error


def _is_level(conn: sqlite3.Connection, schemas: Sequence[Schema]) -> bool:
    """Whether each step has been taken. sqlite-utils would say the same, but to load it costs every command
    and every start a twentieth of a second of a core."""
    if conn.execute(_TAKEN).fetchone() is None:
        return False
    taken = set(conn.execute(_STEPS))
    return all((schema.room, step.name) in taken for schema in schemas for step in schema.steps)


def _bring_level(conn: sqlite3.Connection, schemas: Sequence[Schema]) -> None:
    """Takes the steps that were not; sqlite-utils keeps account of them."""
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

    for schema in schemas:
        found = Migrations(schema.room)
        for step in schema.steps:

            def apply(db: sqlite_utils.Database, statements: Sequence[str] = step.statements) -> None:
                for statement in statements:
                    db.execute(in_sqlite(statement))

            found(name=step.name)(apply)
        found.apply(sqlite_utils.Database(conn))


_TABLE = re.compile(r"(\s*--[^\n]*\n)*\s*CREATE TABLE\b")
_IDENTITY = re.compile(r"\bIDENTITY\b")


@lru_cache(maxsize=256)
def in_sqlite(statement: str) -> str:
    """A statement of a schema in SQLite's words: tables hold to their types, and those that the database does
    not number are stored in the order of their key."""
    if _TABLE.match(statement) is None:
        return statement
    numbered, found = _IDENTITY.subn("INTEGER PRIMARY KEY", statement)
    return f"{numbered.rstrip()} STRICT{'' if found else ', WITHOUT ROWID'}"
