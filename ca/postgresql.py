"""The PostgreSQL engine: many connections, and transactions that give way to each other. Only this file
knows it.

Work is a plain function (``ca/storage.py``) and the driver, asyncpg, is asynchronous: each work runs in a
greenlet of its own, which gives way while the server is at it. All of them run in one thread with a loop of
its own, so that callers with and without a loop are served alike. What only reads sees one snapshot. What
writes is READ COMMITTED, holds what it reads (``ca/dialect.py``), and runs again when it had to give way.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import selectors
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import asyncpg
from asyncpg.protocol import NO_TIMEOUT
from greenlet import getcurrent, greenlet

from ca.databaseserver import Server, parse
from ca.dialect import held_in_postgresql, in_postgresql
from ca.errors import ConfigError
from ca.storage import (
    Condition,
    Filling,
    Gathered,
    Gathering,
    Note,
    Recorder,
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
    newer_than,
)

T = TypeVar("T")

# What pg_stat_activity says of a connection of ours.
_NAME = "sekisho"
# How often a transaction that gave way in a conflict is begun anew, and the first pause between, in seconds.
_TRIES = 12
_PAUSE = 0.002
# Seconds between two looks whether others have committed, until one has to be answered, and without an answer
# until the server is away: nobody waits for it then, and what was known of it is known no more.
_LOOK, _ANSWERS, AWAY = 0.5, 1.0, 2.0

# A commit that came to nothing, and one of which nobody knows, in our words.
_UNDONE, _UNKNOWN = "UNDONE", "UNKNOWN"
# A transaction gave way to another (serialization_failure, deadlock_detected); it is run again.
_CONFLICT = frozenset({"40001", "40P01", _UNDONE})
# A row came, or went, between two of its statements (unique_violation, foreign_key_violation): run again it
# sees what is there. So many times at most, since what is there for good it meets each time.
_MET = frozenset({"23505", "23503"})
_MEETINGS = 2
# By these a COMMIT is refused, and nothing of it is done. After any other error nobody knows.
_NOT_COMMITTED = ("22", "23", "25", "40001", "40P01")
# Seconds in which the server has to say whether it has committed: it may be on its way up again.
_ASKED = 20
# No commit finds this mark and goes on.
_NEVER = -1
# Seconds that a mark is kept by who uses it, and days until one that nobody uses is taken away.
_MARKED, _UNMARKED = 86_400, 30
_UNTOLD = (
    "did not say whether it has committed what was asked for last, and cannot be asked; see that it runs"
    " (pg_isready), and look up what became of it before it is asked for again"
)
# Classes of SQLSTATE -> what is wrong with the server, and what to do. Any other is a fault of ours.
_TROUBLE = {
    "08": "cannot be reached; see that it runs: pg_isready",
    "28": "does not let us in; see the user and the password in [database]",
    "3D": "is not there; make it: createdb",
    "53": "has no room left (disk, memory or connections); see its log",
    "57": "was stopped, or gave the statement up; see its log",
    "58": "has trouble with its disk; see its log",
    "25P03": "ended what stood still in the middle; see what stopped us",
    "25006": "can only be read: a replica, or one that is being taken over; see which is the primary",
    "55P03": "was held by another transaction for too long; see pg_stat_activity",
    "57014": "did not answer in time; see pg_stat_activity, and database.statement_seconds",
    "XX": "reports a fault of its own; see its log",
}
_UNREACHED = _TROUBLE["08"]
_UNTRUSTED = "has a server whose certificate is not believed; see database.ca, and whose name is in it"
_REPLICAS = _TROUBLE["25006"]
# What the driver raises; a time that is up is among the last.
_FAILED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_STALE = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
# Statements that a connection keeps prepared: those of the stores, and some that are put together.
_KNOWN = 512
# Seconds beyond its own limit after which nobody waits for the answer to a statement.
_OVERDUE = 5.0


def _ours(error: BaseException) -> StorageError:
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
    elif isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        trouble = _REPLICAS
    if trouble is None and isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        trouble = None if isinstance(error, asyncpg.DataError) else _UNREACHED
    said = str(error) or name  # of a time that is up nothing is said
    return StorageError(said, name) if trouble is None else StorageTrouble(said, name, trouble)


def _told(trouble: StorageTrouble) -> str:
    """For whoever opens it: what to mend, and what was said; of a time that is up, which says nothing, its
    name."""
    return f"the database {trouble.trouble} ({str(trouble) or trouble.name})"


class _Gone(StorageTrouble):
    """The connection was lost, and nothing had been committed by it."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """One with a row of `commit_marks`, in which each of its commits leaves a number: ``mark`` is the last
    one's. ``marked_at``: when it was given that row, by the machine's own clock."""

    slot = 0
    mark = 0
    marked_at = 0.0
    #: When it was asked for what is not answered yet; 0.0 while there is nothing.
    asked_at = 0.0

    def __init__(self, protocol: Any, transport: Any, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        self._known: dict[str, Any] = {}
        self._waiting: list[tuple[str, Sequence[Any]]] = []
        self._before, self._send = b"", transport.write
        # What waits leaves in one piece with what the driver writes next.
        transport.write = self._write_all

    def lay_by(self, text: str, values: Sequence[Any] = ()) -> None:
        """Has a statement sent with the next one, and done before it. Nothing that it gives is wanted; if it
        fails the next one does, with its error."""
        self._waiting.append((text, values))

    def forget(self, text: str) -> bool:
        """Nothing of what was laid by is to be done. Whether that statement was the first of it."""
        waiting, self._waiting, self._before = self._waiting, [], b""
        return bool(waiting) and waiting[0][0] == text

    def ask(self, text: str, values: Sequence[Any], limit: int, status: bool) -> Awaitable[Any]:
        """Rows of a statement, ``limit`` of them at most (0: all); with ``status`` also what became of it.
        Prepared once; ``Database._sweep`` sees to it that somebody answers. Of what the driver does for each
        statement of its callers it does half, and sets no timer."""
        prepared = self._known.get(text)
        self.asked_at = time.monotonic()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            if prepared is None or not all(each in self._known for each, _ in waiting):
                return self._ask_each(waiting, text, values, limit, status)
            self._before = b"".join([self._executed(each, its) for each, its in waiting])
        elif prepared is None:
            return self._ask_each((), text, values, limit, status)
        return self._asked(prepared, values, limit, status)

    async def _ask_each(
        self,
        waiting: Sequence[tuple[str, Sequence[Any]]],
        text: str,
        values: Sequence[Any],
        limit: int,
        status: bool,
    ) -> Any:
        """The same by a journey for each, which also prepares what is not known yet."""
        for each, its in waiting:
            await self._ask_first(each, its, 0, False)
        return await self._ask_first(text, values, limit, status)

    async def _ask_first(self, text: str, values: Sequence[Any], limit: int, status: bool) -> Any:
        return await self._asked(await self.know(text), values, limit, status)

    def _asked(self, prepared: Any, values: Sequence[Any], limit: int, status: bool) -> Awaitable[Any]:
        if self._protocol is None:  # it was let go of between two statements
            raise asyncpg.InterfaceError("the connection is closed")
        found = self._protocol.bind_execute(prepared._state, values, "", limit, status, NO_TIMEOUT)
        return cast(Awaitable[Any], found)

    async def know(self, text: str) -> Any:
        """The statement, prepared. By that alone the server begins a transaction: something has to be asked
        after it, before another one is begun."""
        prepared = self._known.get(text)
        if prepared is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            prepared = self._known[text] = await self.prepare(text)
        return prepared

    def _executed(self, text: str, values: Sequence[Any]) -> bytes:
        """The messages by which a prepared statement is done: Bind and Execute of the protocol 3.0."""
        return _bound(self._known[text]._state.name, values) + _EXECUTE

    def _write_all(self, content: bytes) -> None:
        if self._before:
            content, self._before = self._before + bytes(content), b""
        self._send(content)


# Execute: the unnamed portal, all rows.
_EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"
_AS_TEXT, _AS_OCTETS = b"\0\0", b"\0\1"
_NULL = b"\xff\xff\xff\xff"


def _bound(name: str, values: Sequence[Any]) -> bytes:
    """The message by which a prepared statement gets its values: octets as they are, all else as text, which
    the server reads as whatever it wants there. StorageError for what is neither."""
    formats, told = [], []
    for value in values:
        octets = isinstance(value, bytes)
        formats.append(_AS_OCTETS if octets else _AS_TEXT)
        if value is None:
            told.append(_NULL)
            continue
        content = value if octets else _text_of(value)
        told.append(len(content).to_bytes(4, "big") + content)
    count = len(told).to_bytes(2, "big")
    body = b"\0%b\0%b%b%b%b\0\0" % (name.encode(), count, b"".join(formats), count, b"".join(told))
    return b"B" + (len(body) + 4).to_bytes(4, "big") + body


def _text_of(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise StorageError("it is no text") from error
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return repr(value).encode()
    raise StorageError(f"a {type(value).__name__} is no value of a statement")


class _Greenlet(greenlet):  # type: ignore[misc]
    """In which a work runs; ``transaction`` is the one that it was given."""

    transaction: _Transaction


def _wait(awaitable: Awaitable[T]) -> T:
    """What a coroutine of the loop's gives, for the work that runs in this greenlet."""
    current = getcurrent()
    assert isinstance(current, _Greenlet)
    found: T = current.parent.switch(awaitable)
    return found


async def _run(work: Work[T], transaction: _Transaction) -> T:
    """Runs a work to its end and awaits, in its stead, what it waits for."""
    running = _Greenlet(work)
    running.transaction = transaction
    found = running.switch(transaction)
    while not running.dead:
        try:
            value = await found
        except BaseException as error:
            found = running.throw(error)
        else:
            found = running.switch(value)
    result: T = found
    return result


class _Transaction:
    """A transaction on a connection that somebody else begins and ends."""

    __slots__ = ("connection", "gathered", "notes", "wrote")

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self.notes: list[Note] = []
        self.gathered = Gathering()
        self.wrote = False

    def note(self, kind: str, /, **facts: Any) -> None:
        self.notes.append((kind, facts))

    def gather(self, write: Gathered, row: Any, /) -> None:
        self.gathered.add(write, row)

    def defer(self, statement: str, values: Values, /) -> None:
        text, names = self._text(statement)
        self.connection.lay_by(text, tuple(map(values.__getitem__, names)))

    def settle(self) -> None:
        # What is deferred is done before whatever is asked next.
        self.gathered.settle(self)

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        _, status, _ = self._ask(self._asked(statement, values, 0, True))
        count: bytes = status.rpartition(b" ")[2]
        return int(count) if count.isdigit() else 0

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        found = self._ask(self._asked(statement, values, 1))
        return found[0] if found else None

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        found: Sequence[Row] = self._ask(self._asked(statement, values, 0))
        return found

    def _asked(self, statement: str, values: Values, limit: int, status: bool = False) -> Awaitable[Any]:
        text, names = self._text(statement)
        return self.connection.ask(text, tuple(map(values.__getitem__, names)), limit, status)

    def _text(self, statement: str) -> tuple[str, tuple[str, ...]]:
        text, names, writes = held_in_postgresql(statement)
        self.wrote |= writes
        return text, names

    def _ask(self, awaitable: Awaitable[T]) -> T:
        try:
            return _wait(awaitable)
        except _STALE as error:
            # Tables were changed since it was prepared, by a newer node: a fresh connection learns them anew.
            self.connection.terminate()
            raise _Gone(str(error), type(error).__name__, _UNREACHED) from error
        except _FAILED as error:
            raise _ours(error) from error
        finally:
            self.connection.asked_at = 0.0


class _Reader(_Transaction):
    """One in which nothing is written, and which says so at once."""

    __slots__ = ()

    def gather(self, write: Gathered, row: Any, /) -> None:
        write(self, [row])

    def defer(self, statement: str, values: Values, /) -> None:
        self.execute(statement, values)

    def _text(self, statement: str) -> tuple[str, tuple[str, ...]]:
        return in_postgresql(statement)


class _Blocking(_Reader):
    """The same for a caller that is no work: each statement blocks."""

    __slots__ = ("_loop",)

    def __init__(self, connection: asyncpg.Connection, loop: _Loop) -> None:
        super().__init__(connection)
        self._loop = loop

    def _ask(self, awaitable: Awaitable[T]) -> T:
        async def answer() -> T:
            # Nobody sweeps here.
            return await asyncio.wait_for(awaitable, self.connection._config.command_timeout)

        try:
            return self._loop.result(answer())
        except _FAILED as error:
            raise _ours(error) from error


class _Selector(selectors.DefaultSelector):
    """Which does not look each time for what has come while there is something to do: each look is a system
    call, and gives the interpreter away to another thread."""

    _passed = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0 and self._passed < _UNSEEN:
            self._passed += 1
            return []
        self._passed = 0
        return super().select(timeout)


# Turns of the loop that are taken without a look.
_UNSEEN = 3


class _Loop:
    """A thread with an event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.SelectorEventLoop(_Selector())
        self._thread = threading.Thread(target=self.loop.run_forever, name="database", daemon=True)
        self._thread.start()

    def result(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it gives; blocks."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass(frozen=True)
class PostgresSource:
    """An address for a process that only reads, and only once."""

    server: Server

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """The database as it is at one moment: nothing that is committed meanwhile is seen."""
        loop = _Loop()
        try:
            connection = loop.result(_connect(self.server))
            try:
                loop.result(connection.execute(_READ))
                yield _Blocking(connection, loop)
            finally:
                loop.result(connection.close())
        except _FAILED as error:
            raise _ours(error) from error
        finally:
            loop.close()


_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Seconds in which a write asks for its next statement, or it is undone, and run again: what it holds is
# wanted by others, and whoever was stopped in the middle of it does not know.
_STANDS = 6
_WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    f"SET LOCAL idle_in_transaction_session_timeout = '{_STANDS}s'",
)
# The server counts that from one statement to the next. Who was stopped in the middle of one (it has been
# parsed, or half of what it gives is on its way) is none of its business, whatever waits: so it is ended by
# whoever sees it twice. state_change is when the last piece came; a COPY is one statement, however long.
_STUCK = f"""
    SELECT held.pid, held.state_change::text FROM pg_stat_activity held
    WHERE held.datname = current_database() AND held.usename = current_user
    AND held.application_name = '{_NAME}' AND held.state = 'active' AND held.wait_event_type = 'Client'
    AND held.backend_xid IS NOT NULL AND held.query NOT LIKE 'COPY %'
    AND held.state_change < clock_timestamp() - interval '{_STANDS} s'
    AND EXISTS (
        SELECT FROM pg_stat_activity waits
        WHERE waits.wait_event_type = 'Lock' AND held.pid = ANY(pg_blocking_pids(waits.pid))
    )
"""
# The number that a commit leaves, and which it has to find there.
_MARK = "UPDATE commit_marks SET mark = CASE mark WHEN $1 THEN $2::bigint END, at = now() WHERE slot = $3"


class Database:
    """An opened database. Safe to share between threads and tasks.

    ``server``: which, or its address without a password. ``folder``: where lies what is no row. ``journal``:
    who is told of notes before they are committed. ``made``: False for one that is somebody else's to bring
    up to date. ConfigError for one that the operator has to mend.
    """

    #: Seconds without an answer after which nobody waits for the server any more.
    patience: ClassVar[float] = AWAY

    def __init__(
        self,
        server: Server | str,
        folder: Path,
        schemas: Sequence[Schema] = (),
        *,
        journal: Recorder | None = None,
        made: bool = True,
    ) -> None:
        self._server = server = parse(server) if isinstance(server, str) else server
        self._folder = folder
        self._journal = journal
        self._closed = False
        self._committed = 0
        self._doubts = itertools.count(1)
        self._idle: list[asyncpg.Connection] = []
        self._used: set[asyncpg.Connection] = set()
        self._running: set[asyncio.Task[Any]] = set()
        # When a look began that was answered last; the error of one since then, once the server is away.
        self._heard_at = time.monotonic()
        self._away: StorageTrouble | None = None
        self._free = asyncio.Semaphore(server.pool)
        # Of this process's transactions one at a time asks for the mark of the journal: the others would each
        # wait for its row on a connection.
        self._telling = asyncio.Lock()
        self._yielding = asyncio.Lock()
        # Since `hold`: no connection is made any more.
        self._lost: Callable[[], None] | None = None
        self._loop = _Loop()
        try:
            if made:
                self._loop.result(_migrate(server, schemas))
            self._looking = self._loop.result(self._begin())
        except StorageTrouble as error:
            self._loop.close()
            raise ConfigError(_told(error)) from error
        except BaseException:
            self._loop.close()
            raise

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def shared(self) -> bool:
        return True

    @property
    def source(self) -> PostgresSource:
        return PostgresSource(self._server)

    async def read(self, work: Work[T]) -> T:
        return await self._from_here(self._reading(work))

    async def read_aside(self, work: Work[T]) -> T:
        return await self.read(work)

    async def write(self, work: Work[T]) -> T:
        return await self._from_here(self._writing(work))

    def read_now(self, work: Work[T]) -> T:
        current = getcurrent()
        if isinstance(current, _Greenlet):  # within another one's work
            return work(current.transaction)
        return self._loop.result(self._open(self._reading(work)))

    def write_now(self, work: Work[T]) -> T:
        return self._loop.result(self._open(self._writing(work)))

    def holds_up(self) -> bool:
        return not isinstance(getcurrent(), _Greenlet) and asyncio._get_running_loop() is not None

    def changed(self) -> int:
        """What others have committed shows after half a second at the latest."""
        if time.monotonic() - self._heard_at > AWAY:
            return -next(self._doubts)
        return self._committed

    def scrub(self) -> None:
        """Nothing: what was wiped stays in the server's files and log, its replicas and archives, until they
        are written over. So nothing may rest on wiping here (docs/ARCHITECTURE.md)."""

    def size(self) -> int:
        return int(self._asked("SELECT pg_database_size(current_database())")[0])

    def condition(self) -> Condition:
        before = time.time()
        row = self._asked(
            "SELECT current_setting('server_version'), pg_is_in_recovery(),"
            " current_setting('default_transaction_read_only'), current_setting('synchronous_commit'),"
            " current_setting('fsync'), current_setting('full_page_writes'),"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
            " current_setting('max_connections')::integer"
            " - current_setting('superuser_reserved_connections')::integer,"
            " extract(epoch FROM clock_timestamp())::double precision"
        )
        # Half of the way there and back.
        ahead = row[8] - (before + time.time()) / 2
        writable = not row[1] and row[2] == "off"
        names = ("synchronous_commit", "fsync", "full_page_writes")
        loses = tuple(f"{name} is off" for name, value in zip(names, row[3:6], strict=True) if value == "off")
        return Condition(str(self._server), row[0], writable, loses, row[6], row[7], ahead)

    def hold(self, lost: Callable[[], None]) -> None:
        self._loop.result(self._hold(lost))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._lost = None
        self._loop.result(self._end())
        self._loop.close()
        if self._journal is not None:
            self._journal.close()

    def _asked(self, question: str) -> Any:
        """What only a server can be asked, as one row, outside of everybody's work."""

        async def use(connection: asyncpg.Connection) -> Any:
            return await connection.fetchrow(question)

        return self._loop.result(self._open(self._on_connection(use)))

    async def _hold(self, lost: Callable[[], None]) -> None:
        # Looking makes connections anew. Without it nothing that was known is known, and all is asked.
        self._looking.cancel()
        made = [await self._taken() for _ in range(self._server.pool)]
        for connection in made:
            connection.add_termination_listener(lambda _: self._is_lost())
            await self._put(connection)
        self._lost = lost

    def _is_lost(self) -> None:
        if self._lost is not None:
            self._lost()

    async def _made(self) -> asyncpg.Connection:
        connection = await _connect(self._server)
        if self._journal is not None:
            # It may be another server than before, one that has taken over and lost what was committed last.
            try:
                await connection.execute(_READ)
                await _run(self._journal.check, _Reader(connection))
                await connection.execute("COMMIT")
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def _from_here(self, coroutine: Coroutine[Any, Any, T]) -> T:
        # If the caller is cancelled the work is still done.
        here = asyncio.get_running_loop()
        told: asyncio.Future[T] = here.create_future()
        self._loop.loop.call_soon_threadsafe(self._begin_for, here, told, self._open(coroutine))
        return await told

    def _begin_for(
        self, here: asyncio.AbstractEventLoop, told: asyncio.Future[T], coroutine: Coroutine[Any, Any, T]
    ) -> None:
        task = self._loop.loop.create_task(coroutine)
        # The loop itself keeps weak references only.
        self._running.add(task)
        task.add_done_callback(partial(self._is_done, here, told))

    def _is_done(
        self, here: asyncio.AbstractEventLoop, told: asyncio.Future[T], task: asyncio.Task[T]
    ) -> None:
        self._running.discard(task)
        _heard(task)
        with suppress(RuntimeError):  # whose loop is over waits for nothing any more
            here.call_soon_threadsafe(_tell, told, task)

    def _open(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        if self._closed:
            coroutine.close()
            raise StorageClosed("the database is closed")
        return coroutine

    async def _begin(self) -> asyncio.Task[None]:
        self._gave_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._put(await self._taken())
        eye = await _connect(self._server)
        self._heard_at = time.monotonic()
        self._sweep()
        return asyncio.get_running_loop().create_task(self._look(eye))

    def _sweep(self) -> None:
        """Lets go, each second, of connections on which nobody answers: a wire may be cut of which neither
        end hears."""
        overdue = time.monotonic() - self._server.statement - _OVERDUE
        for connection in tuple(self._used):
            if 0.0 < connection.asked_at < overdue:
                connection.terminate()
        self._sweeping = self._loop.loop.call_later(1.0, self._sweep)

    async def _end(self) -> None:
        self._looking.cancel()
        self._sweeping.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task(), self._looking}
        await asyncio.gather(self._looking, *others, return_exceptions=True)
        for connection in self._idle:
            with suppress(*_FAILED):
                await connection.execute(f"DELETE FROM commit_marks WHERE slot = {connection.slot}")
            await connection.close()
        self._idle.clear()

    async def _look(self, eye: asyncpg.Connection) -> None:
        """Notices what others commit, and when the server is away: by a connection of its own, which waits
        for nobody's work."""
        seen, quick = "", replace(self._server, connect=min(self._server.connect, _ANSWERS))
        stuck = set[tuple[int, str]]()
        try:
            for turn in itertools.count():
                await asyncio.sleep(_LOOK)
                begun = time.monotonic()
                try:
                    if eye.is_closed():
                        eye = await _connect(quick)
                    now = await eye.fetchval("SELECT pg_current_snapshot()::text", timeout=_ANSWERS)
                except _FAILED as error:
                    # Whoever asks for something is told; here there is nobody to tell.
                    eye.terminate()
                    self._unheard(error)
                    continue
                if self._away is not None:
                    self._away, self._gave_up = None, asyncio.get_running_loop().create_future()
                    seen = ""
                if now != seen:
                    seen = now
                    self._committed += 1
                # Last: another thread, or whoever wakes, would take what was known before for what was heard.
                self._heard_at = begun
                if turn % 2:
                    stuck = await _without(eye, stuck)
        finally:
            eye.terminate()

    def _unheard(self, error: BaseException) -> None:
        """Once it was not heard of for so long nobody waits for the server any more: what is asked for is
        refused at once until it answers again, and what waits is cut off. What was being committed is looked
        up."""
        if self._away is not None or time.monotonic() - self._heard_at < self.patience:
            return
        found = _ours(error)
        told = (
            found if isinstance(found, StorageTrouble) else StorageTrouble(str(found), found.name, _UNREACHED)
        )
        self._away = told
        self._gave_up.set_result(None)
        self._let_go_of_idle()
        for connection in tuple(self._used):
            connection.terminate()

    async def _taken(self) -> asyncpg.Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._made()

    async def _put(self, connection: asyncpg.Connection) -> None:
        if not connection.is_closed():
            self._idle.append(connection)

    async def _on_connection(self, use: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        async with self._free:
            self._is_there()
            try:
                connection = await self._reached()
            except _FAILED as error:
                raise _ours(error) from error
            self._used.add(connection)
            try:
                return await use(connection)
            except (*_FAILED, StorageTrouble) as error:
                found = _ours(error)
                if asyncpg.InternalClientError in (type(error), type(error.__cause__)):
                    # The server has ended it while we asked for nothing, and the driver has not noticed yet.
                    connection.terminate()
                if connection.is_closed() and found.name != _UNKNOWN:
                    raise _Gone(str(found), found.name, _UNREACHED) from error
                raise found from error
            finally:
                self._used.discard(connection)
                await self._put(connection)

    def _is_there(self) -> None:
        """StorageTrouble while the server is away."""
        if self._away is not None:
            raise StorageTrouble(str(self._away), self._away.name, self._away.trouble)

    async def _reached(self) -> asyncpg.Connection:
        """A connection, unless the server is found to be away before there is one."""
        if self._idle:
            return await self._taken()
        taking, gave_up = asyncio.ensure_future(self._taken()), self._gave_up
        taking.add_done_callback(_heard)
        try:
            await asyncio.wait({taking, gave_up}, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                self._is_there()
            return await taking
        finally:
            taking.cancel()

    async def _reading(self, work: Work[T]) -> T:
        async def use(connection: asyncpg.Connection) -> T:
            connection.lay_by(_READ)
            try:
                return await _run(work, _Reader(connection))
            finally:
                await _over(connection, _READ, "COMMIT")

        return await self._again(use)

    async def _writing(self, work: Work[T]) -> T:
        async def use(connection: asyncpg.Connection) -> T:
            transaction = _Transaction(connection)
            await _marked(connection)
            for statement in _WRITE:
                connection.lay_by(statement)
            try:
                found = await _run(_settled(work), transaction)
                if self._journal is not None and transaction.notes:
                    await self._commit_told(transaction, self._journal)
                else:
                    await self._commit(transaction)
            except BaseException:
                await _over(connection, _WRITE[0], "ROLLBACK")
                raise
            self._committed += 1
            return found

        return await self._again(use)

    async def _again(self, use: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Does it, and again where it has come to nothing by what others did: a conflict, a row that came or
        went between two statements of ours, a connection that was lost before the commit."""
        pause, met, gave_way = _PAUSE, 0, False
        for _ in range(_TRIES - 1):
            try:
                # Of those who gave way one goes on at a time: many who have each a share of a row and want it
                # alone would meet once more, and PostgreSQL takes a second to notice that.
                async with self._yielding if gave_way else nullcontext():
                    return await self._on_connection(use)
            except StorageError as error:
                if error.name in _MET or isinstance(error, _Gone):
                    # What is there for good is met again, and so is a server that is gone.
                    met += 1
                    if met > _MEETINGS:
                        raise
                    if isinstance(error, _Gone):
                        self._let_go_of_idle()
                elif error.name not in _CONFLICT:
                    raise
                gave_way = error.name in _CONFLICT
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause *= 2
        return await self._on_connection(use)

    def _let_go_of_idle(self) -> None:
        """A server that let go of one connection has let go of the others."""
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()

    async def _commit_told(self, transaction: _Transaction, journal: Recorder) -> None:
        """Commits what the journal has to tell of first; one at a time is between the two."""
        async with self._telling:
            done = await _run(_recorded(transaction, journal), transaction)
            await self._commit(transaction)
            done()

    async def _commit(self, transaction: _Transaction) -> None:
        """Commits. Where no answer comes it finds out what became of it; one that came to nothing is a
        conflict."""
        connection = transaction.connection
        if not transaction.wrote:
            await _over(connection, _WRITE[0], "COMMIT")
            return
        mark = connection.mark + 1
        connection.lay_by(_MARK, (connection.mark, mark, connection.slot))
        try:
            await connection.ask("COMMIT", (), 0, False)
        except _FAILED as error:
            refused = (getattr(error, "sqlstate", None) or "").startswith(_NOT_COMMITTED)
            # What stands before a COMMIT has failed, if the transaction is still there.
            if refused or (not connection.is_closed() and connection.is_in_transaction()):
                raise
            connection.terminate()
            if not await self._was_committed(connection.slot, mark):
                raise StorageError("the commit came to nothing", _UNDONE) from error
        finally:
            connection.asked_at = 0.0
        connection.mark = mark

    async def _was_committed(self, slot: int, mark: int) -> bool:
        """Whether a commit was made whose answer was lost. If not it never will be, be it on its way still:
        the mark that it has to find is another one by then. StorageTrouble if nobody can say."""
        ends, pause = time.monotonic() + _ASKED, _PAUSE
        while True:
            try:
                connection = await self._made()
                try:
                    async with connection.transaction():
                        found = await connection.fetchval(
                            "SELECT mark FROM commit_marks WHERE slot = $1 FOR UPDATE",
                            slot,
                            timeout=self._server.connect,
                        )
                        if found == mark - 1:
                            await connection.execute(
                                f"UPDATE commit_marks SET mark = {_NEVER} WHERE slot = {slot}"
                            )
                finally:
                    connection.terminate()
            except _FAILED as error:
                if time.monotonic() > ends:
                    raise StorageTrouble(str(error), _UNKNOWN, _UNTOLD) from error
            else:
                if found is None:
                    raise StorageTrouble(f"no mark {slot}", _UNKNOWN, _UNTOLD)
                return bool(found == mark)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)


def _heard(done: asyncio.Future[Any]) -> None:
    """Whoever was to be told may have left: then nobody is, and the loop logs no error of it."""
    if not done.cancelled():
        done.exception()


def _tell(told: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    """In the loop of whoever waits: what came of it."""
    error = None if task.cancelled() else task.exception()
    if told.done():
        return
    if task.cancelled():
        told.cancel()
    elif error is not None:
        told.set_exception(error)
    else:
        told.set_result(task.result())


def _settled(work: Work[T]) -> Work[T]:
    """The work, and then what it has gathered."""

    def both(db: Transaction) -> T:
        found = work(db)
        assert isinstance(db, _Transaction)
        db.gathered.settle(db)
        return found

    return both


def _recorded(transaction: _Transaction, journal: Recorder) -> Work[Callable[[], None]]:
    def work(db: Transaction) -> Callable[[], None]:
        return journal.record(db, transaction.notes)

    return work


async def _marked(connection: asyncpg.Connection) -> None:
    """Sees to it that what is committed by this connection leaves a mark."""
    now = time.monotonic()
    if connection.slot and now - connection.marked_at < _MARKED:
        return
    # So that both leave in one piece: a mark without its commit would have whoever looks it up wait.
    for each in (_MARK, "COMMIT"):
        await connection.know(each)
    connection.slot = await connection.fetchval("INSERT INTO commit_marks (mark) VALUES (0) RETURNING slot")
    connection.mark, connection.marked_at = 0, now


async def _over(connection: _Connection, begun: str, statement: str) -> None:
    """Ends a transaction that nothing hangs on, if anything of it was sent; a connection that cannot even do
    that is let go of. ``begun``: how it begins."""
    if connection.forget(begun):
        return
    try:
        await connection.ask(statement, (), 0, False)
    except _FAILED:
        connection.terminate()
    finally:
        connection.asked_at = 0.0


async def _without(eye: asyncpg.Connection, before: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Ends whoever is stuck (`_STUCK`), and was so before; who is now. A server that is no PostgreSQL may not
    know of any."""
    try:
        now = {(row[0], row[1]) for row in await eye.fetch(_STUCK, timeout=_ANSWERS)}
        for pid, _ in now & before:
            await eye.fetchval("SELECT pg_terminate_backend($1)", pid, timeout=_ANSWERS)
    except _FAILED:  # whether it is away the next look shows
        return set()
    return now


async def _connect(server: Server, known_as: str = _NAME) -> asyncpg.Connection:
    """To the first of the hosts that can be written to. ``known_as``: what its pg_stat_activity says."""
    context = _context(server) if any(not host.startswith("/") for host, _ in server.hosts) else None
    failed: Exception | None = None
    for host, port in server.hosts:
        try:
            connection = await _connect_to(host, port, server, context, known_as)
        except _FAILED as error:
            # One that says why is told of before one that only was away, or is a replica.
            if failed is None or isinstance(failed, OSError | asyncpg.TargetServerAttributeNotMatched):
                failed = error
            continue
        return connection
    assert failed is not None
    raise failed


@lru_cache(maxsize=4)
def _context(server: Server) -> ssl.SSLContext | None:
    return ssl.create_default_context(cadata=server.ca or None) if server.tls else None


async def _connect_to(
    host: str, port: int, server: Server, context: ssl.SSLContext | None, known_as: str
) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        connection_class=_Connection,
        host=host,
        port=port,
        user=server.user or None,
        database=server.name,
        password=server.password or None,
        ssl=context or False,
        target_session_attrs="read-write",
        # The driver's own would be for all hosts together, and one that is silent would use it up.
        timeout=server.connect,
        command_timeout=server.statement + 5,
        statement_cache_size=512,
        max_cached_statement_lifetime=0,
        server_settings={
            "application_name": known_as,
            "statement_timeout": f"{server.statement:g}s",
            "lock_timeout": f"{server.lock:g}s",
            "idle_in_transaction_session_timeout": f"{2 * server.statement:g}s",
            "timezone": "UTC",
            "synchronous_commit": "on",
        },
    )
    # sum() of integers is a numeric there.
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text"
    )
    return connection


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


# -- as a whole ----------------------------------------------------------------------------------------

# Seconds for a statement of whoever looks at all of it, or copies it.
_LONG = 600.0
_NAMESPACE = "SELECT oid FROM pg_namespace WHERE nspname = current_schema()"
_TEMPORARY = "SELECT pg_my_temp_schema()"
# Kind of what a table is made of -> what there is of it in a namespace: table, name, how it is said. {} is
# the namespace. What a key or a UNIQUE is made by is said by the constraint.
_PARTS = {
    "table": "SELECT c.relname::text, c.relkind::text, concat_ws(' ', c.relkind::text, CASE WHEN"
    " c.relrowsecurity THEN 'row security' END) FROM pg_class c WHERE c.relnamespace = ({})"
    " AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    "column": "SELECT c.relname::text, a.attname::text, concat_ws(' ', format_type(a.atttypid, a.atttypmod),"
    " 'COLLATE ' || nullif(o.collname, 'default')::text, CASE WHEN a.attnotnull THEN 'NOT NULL' END,"
    " CASE WHEN a.attidentity <> '' THEN 'IDENTITY' END, 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    " LEFT JOIN pg_collation o ON o.oid = a.attcollation"
    " WHERE c.relnamespace = ({}) AND c.relkind IN ('r', 'p')",
    "constraint": "SELECT c.relname::text, pg_get_constraintdef(k.oid), CASE WHEN k.convalidated THEN 'holds'"
    " ELSE 'was never looked at' END FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
    " WHERE c.relnamespace = ({})",
    "index": "SELECT t.relname::text, c.relname::text, concat_ws(' ', regexp_replace(pg_get_indexdef(c.oid),"
    " ' ON (ONLY )?[^ ]+\\.', ' ON '), CASE WHEN NOT (i.indisvalid AND i.indisready) THEN 'INVALID' END)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid"
    " WHERE c.relnamespace = ({}) AND NOT EXISTS"
    " (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))",
    "trigger": "SELECT c.relname::text, g.tgname::text, CASE WHEN g.tgisinternal THEN 'does nothing' ELSE"
    " pg_get_triggerdef(g.oid) END FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid"
    " WHERE c.relnamespace = ({}) AND (NOT g.tgisinternal OR g.tgenabled NOT IN ('O', 'A'))",
}


def _shape(db: Transaction, namespace: str) -> Shape:
    found: dict[str, dict[str, str]] = {}
    for kind, statement in _PARTS.items():
        for table, name, said in db.rows(statement.format(namespace)):
            part = kind if kind == "table" else f"{kind} {name}"
            parts = found.setdefault(str(table), {})
            # Two constraints that say the same are two.
            parts[part] = f"{parts[part]}, {said}" if part in parts else str(said)
    return found


class _Filling(_Blocking):
    """A transaction in which tables are filled."""

    __slots__ = ()

    def clear(self, tables: Sequence[str], /) -> None:
        self.execute(f"TRUNCATE {', '.join(tables)}")

    def put(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        self._ask(self.connection.copy_records_to_table(table, columns=columns, records=rows))

    def go_on(self, table: str, column: str, /) -> None:
        self.one(
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 1),"
            f" max({column}) IS NOT NULL) FROM {table}"
        )


@dataclass(frozen=True)
class Whole:
    """A database on a server as a whole (`ca.storage.Whole`)."""

    server: Server

    @property
    def name(self) -> str:
        return str(self.server)

    def exists(self) -> bool:
        with self.snapshot() as db:
            found = db.one("SELECT to_regclass('belongs_to') IS NOT NULL")
        return bool(found is not None and found[0])

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        with self._connected() as (loop, connection):
            loop.result(connection.execute(_READ))
            yield _Blocking(connection, loop)

    @contextmanager
    def held(self, tables: Sequence[Table]) -> Iterator[Transaction]:
        names = ", ".join((*(each.name for each in tables), "schema_steps", "commit_marks"))
        with self._connected() as (loop, connection):
            loop.result(connection.execute("; ".join(_WRITE)))
            loop.result(connection.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
            yield _Blocking(connection, loop)
            loop.result(connection.execute("COMMIT"))

    @contextmanager
    def filling(self, schemas: Sequence[Schema]) -> Iterator[Filling]:
        with self._connected() as (loop, connection):
            loop.result(_make_ledger(connection))
            loop.result(connection.execute("; ".join(_WRITE)))
            loop.result(_bring_level(connection, schemas))
            yield _Filling(connection, loop)
            loop.result(connection.execute("COMMIT"))

    def shape(self, db: Transaction) -> Shape:
        return _shape(db, _NAMESPACE)

    def made_shape(self, schemas: Sequence[Schema]) -> Shape:
        # Nobody else sees what is temporary, and nothing of it is left.
        async def make(connection: asyncpg.Connection) -> None:
            await connection.execute("; ".join(_WRITE))
            await connection.execute("SET LOCAL search_path = pg_temp")
            for statement in (_LEDGER, _MARKS):
                await connection.execute(statement)
            for schema in schemas:
                for step in schema.steps:
                    for statement in step.statements:
                        await connection.execute(as_schema(statement))

        with self._connected() as (loop, connection):
            loop.result(make(connection))
            found = _shape(_Blocking(connection, loop), _TEMPORARY)
            loop.result(connection.execute("ROLLBACK"))
        return found

    def steps(self, db: Transaction) -> frozenset[tuple[str, str]]:
        found = db.rows("SELECT room, name FROM schema_steps WHERE room <> :room", {"room": _ROOM})
        return frozenset((row[0], row[1]) for row in found)

    def damage(self, db: Transaction) -> Sequence[str]:
        # What is wrong with its files the server's own tools say: pg_amcheck.
        never = db.rows(
            "SELECT slot FROM commit_marks WHERE mark < :never ORDER BY slot LIMIT 20", {"never": _NEVER}
        )
        return [f"commit_marks: slot {row[0]} has a mark that no commit leaves" for row in never]

    def numbering(self, db: Transaction, table: str, column: str) -> int | None:
        row = db.one(
            "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(:table, :column)::regclass), 0)",
            {"table": table, "column": column},
        )
        return None if row is None or row[0] is None else int(row[0])

    def others(self, db: Transaction) -> Sequence[str]:
        rows = db.rows(
            "SELECT coalesce(client_addr::text, 'this machine'), count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = :name"
            " AND pid <> pg_backend_pid() GROUP BY 1 ORDER BY 1",
            {"name": _NAME},
        )
        return [f"{row[0]} ({row[1]} connections)" for row in rows]

    @contextmanager
    def _connected(self) -> Iterator[tuple[_Loop, asyncpg.Connection]]:
        """ConfigError for whatever of the server is the operator's to mend."""
        loop = _Loop()
        try:
            long = max(_LONG, self.server.statement)
            named = replace(self.server, statement=long)
            connection = loop.result(_connect(named, f"{_NAME} whole"))
            try:
                yield loop, connection
            finally:
                # A transaction that did not come to its end comes to nothing by this.
                connection.terminate()
        except (*_FAILED, StorageTrouble) as error:
            found = _ours(error)
            if not isinstance(found, StorageTrouble):
                raise found from error
            raise ConfigError(_told(found)) from error
        finally:
            loop.close()


_LEDGER = (
    'CREATE TABLE IF NOT EXISTS schema_steps (room TEXT COLLATE "C" NOT NULL, name TEXT COLLATE "C" NOT NULL,'
    " at BIGINT NOT NULL, PRIMARY KEY (room, name))"
)
_MARKS = (
    "CREATE TABLE IF NOT EXISTS commit_marks (slot BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
    " mark BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now())"
)
_ROOM, _LOCK = "*", "lock"
_STEPS = "SELECT room, name FROM schema_steps WHERE room <> $1"


async def _migrate(server: Server, schemas: Sequence[Schema]) -> None:
    """Brings the tables up to date; nodes that start together take turns. ConfigError for a schema that is
    newer than this program."""
    try:
        connection = await _connect(server)
    except _FAILED as error:
        raise _ours(error) from error
    try:
        await _make_ledger(connection)
        async with connection.transaction():
            await _bring_level(connection, schemas)
    except _FAILED as error:
        raise _ours(error) from error
    finally:
        await connection.close()


async def _bring_level(connection: asyncpg.Connection, schemas: Sequence[Schema]) -> None:
    """Takes the steps that were not, in a transaction that somebody else ends."""
    await connection.execute(
        "SELECT 1 FROM schema_steps WHERE room = $1 AND name = $2 FOR UPDATE", _ROOM, _LOCK
    )
    rows = await connection.fetch(_STEPS, _ROOM)
    taken = {(row[0], row[1]) for row in rows}
    if newer := newer_than(schemas, taken):
        raise ConfigError(newer)
    for schema in schemas:
        for step in schema.steps:
            if (schema.room, step.name) in taken:
                continue
            for statement in step.statements:
                await connection.execute(as_schema(statement))
            await connection.execute(
                "INSERT INTO schema_steps VALUES ($1, $2, $3)", schema.room, step.name, int(time.time())
            )


async def _make_ledger(connection: asyncpg.Connection) -> None:
    # IF NOT EXISTS does not hold against a node that makes it in the same moment; then it is there.
    there = (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError)
    for table in (_LEDGER, _MARKS):
        with suppress(*there):
            await connection.execute(table)
    await connection.execute(f"DELETE FROM commit_marks WHERE at < now() - interval '{_UNMARKED} days'")
    await connection.execute(
        "INSERT INTO schema_steps VALUES ($1, $2, 0) ON CONFLICT (room, name) DO NOTHING", _ROOM, _LOCK
    )


_TABLE = re.compile(r"(\s*--[^\n]*\n)*\s*(CREATE|ALTER) TABLE\b")
_TYPES = {
    "IDENTITY": "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "TEXT": 'TEXT COLLATE "C"',
    "BLOB": "BYTEA",
}
# An apostrophe in a comment begins no text.
_TYPE = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\b(" + "|".join(_TYPES) + r")\b")


def as_schema(statement: str) -> str:
    """A statement of a schema in PostgreSQL's words. Text is ordered by code point, as SQLite orders it."""
    if _TABLE.match(statement) is None:
        return statement
    return _TYPE.sub(lambda found: _TYPES[found[1]] if found[1] else found[0], statement)
