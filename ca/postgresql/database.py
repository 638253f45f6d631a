"""An opened database: many connections, transactions that give way to each other, and a look at what others
commit."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import asyncpg
from greenlet import getcurrent

from ca.databaseserver import Server, parse
from ca.errors import ConfigError
from ca.postgresql.commits import MARK, NOT_COMMITTED, UNDONE, UNKNOWN, marked, was_committed
from ca.postgresql.connection import NAME, connect
from ca.postgresql.tables import migrate
from ca.postgresql.transaction import (
    READ,
    STANDS,
    WRITE,
    Blocking,
    Greenlet,
    Loop,
    Reading,
    Writing,
    over,
    run,
)
from ca.postgresql.troubles import FAILED, LOST, UNREACHED, Gone, ours, told
from ca.storage import (
    Condition,
    Recorder,
    Schema,
    StorageClosed,
    StorageError,
    StorageTrouble,
    Transaction,
    Work,
)

T = TypeVar("T")

# How often a transaction that gave way in a conflict is begun anew, and the first pause between, in seconds.
_TRIES = 12
_PAUSE = 0.002
# Seconds between two looks whether others have committed, until one has to be answered, and without an answer
# until the server is away: nobody waits for it then, and what was known of it is known no more.
_LOOK, _ANSWERS, AWAY = 0.5, 1.0, 2.0

# A transaction gave way to another (serialization_failure, deadlock_detected); it is run again.
_CONFLICT = frozenset({"40001", "40P01", UNDONE})
# A row came, or went, between two of its statements (unique_violation, foreign_key_violation): run again it
# sees what is there. So many times at most, since what is there for good it meets each time.
_MET = frozenset({"23505", "23503"})
_MEETINGS = 2
# Seconds beyond its own limit after which nobody waits for the answer to a statement.
_OVERDUE = 5.0
# For how long a write stands still (`STANDS`) the server counts from one statement to the next. Who was
# stopped in the middle of one (it has been parsed, or half of what it gives is on its way) is none of its
# business, whatever waits: so it is ended by whoever sees it twice. state_change is when the last piece came;
# a COPY is one statement, however long.
_STUCK = f"""
    SELECT held.pid, held.state_change::text FROM pg_stat_activity held
    WHERE held.datname = current_database() AND held.usename = current_user
    AND held.application_name = '{NAME}' AND held.state = 'active' AND held.wait_event_type = 'Client'
    AND held.backend_xid IS NOT NULL AND held.query NOT LIKE 'COPY %'
    AND held.state_change < clock_timestamp() - interval '{STANDS} s'
    AND EXISTS (
        SELECT FROM pg_stat_activity waits
        WHERE waits.wait_event_type = 'Lock' AND held.pid = ANY(pg_blocking_pids(waits.pid))
    )
"""


@dataclass(frozen=True)
class PostgresSource:
    """An address for a process that only reads, and only once."""

    server: Server

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """The database as it is at one moment: nothing that is committed meanwhile is seen."""
        loop, connection = Loop(), None
        try:
            connection = loop.result(connect(self.server))
            loop.result(connection.execute(READ))
            yield Blocking(connection, loop)
        except FAILED as error:
            raise ours(error) from error
        finally:
            loop.close(connection)


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
        self._loop = Loop()
        try:
            if made:
                self._loop.result(migrate(server, schemas))
            self._looking = self._loop.result(self._begin())
        except BaseException as error:
            self._loop.close()
            found = ours(error) if isinstance(error, FAILED) else error
            if isinstance(found, StorageTrouble):
                raise ConfigError(told(found)) from error
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
        if isinstance(current, Greenlet):  # within another one's work
            return work(current.transaction)
        return self._loop.result(self._open(self._reading(work)))

    def write_now(self, work: Work[T]) -> T:
        return self._loop.result(self._open(self._writing(work)))

    def holds_up(self) -> bool:
        return not isinstance(getcurrent(), Greenlet) and asyncio._get_running_loop() is not None

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
        connection = await connect(self._server)
        if self._journal is not None:
            # It may be another server than before, one that has taken over and lost what was committed last.
            try:
                async with asyncio.timeout(self._server.statement + _OVERDUE):  # nobody sweeps yet
                    await connection.execute(READ)
                    await run(self._journal.check, Reading(connection))
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
        eye = await connect(self._server)
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
        # Until nobody waits any more a server that does not answer is noticed as ever.
        others = asyncio.all_tasks() - {asyncio.current_task(), self._looking}
        await asyncio.gather(*others, return_exceptions=True)
        self._looking.cancel()
        self._sweeping.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(_parted(each, self._server.connect) for each in self._idle))
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
                    if eye.is_closed():  # it may be another server, which has other numbers
                        eye, seen = await connect(quick), ""
                    now = await eye.fetchval("SELECT pg_current_snapshot()::text", timeout=_ANSWERS)
                except FAILED as error:
                    # Whoever asks for something is told; here there is nobody to tell.
                    eye.terminate()
                    self._unheard(error)
                    continue
                if self._away is not None:
                    self._away, self._gave_up = None, asyncio.get_running_loop().create_future()
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
        found = ours(error)
        told = (
            found if isinstance(found, StorageTrouble) else StorageTrouble(str(found), found.name, UNREACHED)
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
            except FAILED as error:
                raise ours(error) from error
            self._used.add(connection)
            try:
                return await use(connection)
            except (*LOST, StorageTrouble) as error:
                found = ours(error)
                if asyncpg.InternalClientError in (type(error), type(error.__cause__)):
                    # The server has ended it while we asked for nothing, and the driver has not noticed yet.
                    connection.terminate()
                if connection.is_closed() and found.name != UNKNOWN:
                    raise Gone(str(found), found.name, UNREACHED) from error
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
            connection.lay_by(READ)
            try:
                return await run(work, Reading(connection))
            finally:
                await over(connection, READ, "COMMIT")

        return await self._again(use)

    async def _writing(self, work: Work[T]) -> T:
        async def use(connection: asyncpg.Connection) -> T:
            transaction = Writing(connection)
            await marked(connection)
            for statement in WRITE:
                connection.lay_by(statement)
            try:
                found = await run(_settled(work), transaction)
                if self._journal is not None and transaction.notes:
                    await self._commit_told(transaction, self._journal)
                else:
                    await self._commit(transaction)
            except BaseException:
                await over(connection, WRITE[0], "ROLLBACK")
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
                if error.name in _MET or isinstance(error, Gone):
                    # What is there for good is met again, and so is a server that is gone.
                    met += 1
                    if met > _MEETINGS:
                        raise
                    if isinstance(error, Gone):
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

    async def _commit_told(self, transaction: Writing, journal: Recorder) -> None:
        """Commits what the journal has to tell of first; one at a time is between the two."""
        async with self._telling:
            done = await run(_recorded(transaction, journal), transaction)
            await self._commit(transaction)
            done()

    async def _commit(self, transaction: Writing) -> None:
        """Commits. Where no answer comes it finds out what became of it; one that came to nothing is a
        conflict."""
        connection = transaction.connection
        if not transaction.wrote:
            await over(connection, WRITE[0], "COMMIT")
            return
        mark = connection.mark + 1
        connection.lay_by(MARK, (connection.mark, mark, connection.slot))
        try:
            await connection.ask("COMMIT", (), 0, False)
        except FAILED as error:
            refused = (getattr(error, "sqlstate", None) or "").startswith(NOT_COMMITTED)
            # What stands before a COMMIT has failed, if the transaction is still there.
            if refused or (not connection.is_closed() and connection.is_in_transaction()):
                raise
            connection.terminate()
            if not await was_committed(self._made, connection.slot, mark, self._server.connect):
                raise StorageError("the commit came to nothing", UNDONE) from error
        finally:
            connection.asked_at = 0.0
        connection.mark = mark


async def _parted(connection: asyncpg.Connection, seconds: float) -> None:
    """In good order, if the server answers in so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await connection.execute(f"DELETE FROM commit_marks WHERE slot = {connection.slot}")
            await connection.close()
    except FAILED:
        connection.terminate()


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
        assert isinstance(db, Writing)
        db.gathered.settle(db)
        return found

    return both


def _recorded(transaction: Writing, journal: Recorder) -> Work[Callable[[], None]]:
    def work(db: Transaction) -> Callable[[], None]:
        return journal.record(db, transaction.notes)

    return work


async def _without(eye: asyncpg.Connection, before: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Ends whoever is stuck (`_STUCK`), and was so before; who is now. A server that is no PostgreSQL may not
    know of any."""
    try:
        now = {(row[0], row[1]) for row in await eye.fetch(_STUCK, timeout=_ANSWERS)}
        for pid, _ in now & before:
            await eye.fetchval("SELECT pg_terminate_backend($1)", pid, timeout=_ANSWERS)
    except FAILED:  # whether it is away the next look shows
        return set()
    return now
