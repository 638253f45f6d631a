"""A PostgreSQL server for tests, and databases in it, each made from one template that has the tables.

One cluster for each process of tests, on a socket of its own, which ends with it. Nothing of it is to survive
a power cut, so it does not wait for its disk.

A database that a test is done with is emptied and lent to the next one (`lent`): to make one, and to have a
new connection learn its tables, costs more than most tests.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from graphlib import TopologicalSorter
from itertools import count
from pathlib import Path
from subprocess import DEVNULL, STDOUT, run
from typing import Any, TypeVar

import asyncpg
import pytest

from ca.databaseserver import Server, parse
from ca.postgresql.database import Database
from ca.postgresql.transaction import Reading
from ca.postgresql.transaction import run as run_work
from ca.storage import Recorder
from gateway.serving.deployment import SCHEMAS
from tests.started import started

T = TypeVar("T")

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NEEDED = pytest.mark.skipif(not PROGRAMS, reason="PostgreSQL is not installed: apt install postgresql")

_PATIENCE = 60.0
# What a server does for a crash, for its replicas, and for tables that are large: none of it for a test.
_CARELESS = tuple(
    word
    for each in (
        "fsync=off",
        "full_page_writes=off",
        "wal_level=minimal",
        "max_wal_senders=0",
        "max_wal_size=4GB",
        "checkpoint_timeout=1d",
        "bgwriter_lru_maxpages=0",
        "autovacuum=off",
        "jit=off",
        "shared_buffers=64MB",
    )
    for word in ("-c", each)
)


@dataclass(frozen=True)
class Cluster:
    """A server's directory, which is also where its socket is."""

    folder: Path

    def url(self, name: str, port: int = 5432) -> str:
        at = f"&port={port}" if port != 5432 else ""
        return f"postgresql://postgres@/{name}?host={self.folder}{at}"

    @contextmanager
    def running(self, *settings: str, durable: bool = False, port: int = 5432) -> Iterator[int]:
        """The server, until the end of the block; its process. ``durable``: it waits for its disk.
        ``settings``: more of them, as name=value."""
        command = [
            *(*as_postgres(), PROGRAMS[-1] / "postgres", "-D", self.folder / "data", "-k", self.folder),
            *("-c", "listen_addresses=", "-c", "max_connections=200"),
            # In its own directory: a server that is killed leaves what it has in the machine's memory.
            *("-c", "dynamic_shared_memory_type=mmap"),
            *("-c", f"port={port}", *(() if durable else _CARELESS)),
            *(word for each in settings for word in ("-c", each)),
        ]
        with (
            open(self.folder / "log", "ab") as log,
            started(command, stdin=DEVNULL, stdout=log, stderr=STDOUT, cwd="/") as server,
        ):
            ends = time.monotonic() + _PATIENCE
            while True:
                try:
                    _wait(_asked(self.url("postgres", port), "SELECT 1"))
                    break
                except (OSError, asyncpg.PostgresError):
                    if time.monotonic() > ends or server.poll() is not None:
                        raise
                    time.sleep(0.05)
            try:
                yield server.pid
            finally:
                # As in a crash, but at an end: a server that is killed leaves some that are not done yet.
                stop = [
                    *as_postgres(),
                    PROGRAMS[-1] / "pg_ctl",
                    "-D",
                    self.folder / "data",
                    "-m",
                    "immediate",
                ]
                run([*stop, "stop", "-w"], stdout=DEVNULL, stderr=DEVNULL, cwd="/")


def made(folder: Path) -> Cluster:
    """A new cluster in an empty directory, which is given to the user that the server runs as."""
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    initdb = [*as_postgres(), PROGRAMS[-1] / "initdb", "-D", folder / "data", "-U", "postgres"]
    run(
        [*initdb, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], check=True, stdout=DEVNULL, cwd="/"
    )
    return Cluster(folder)


@contextmanager
def temporary() -> Iterator[Cluster]:
    """A new cluster where every user may look into the directories above."""
    with _place() as folder:
        yield made(folder)


#: What a server needs in order to have replicas, as `Cluster.running` takes it.
WITH_REPLICAS = ("wal_level=replica", "max_wal_senders=8")


@contextmanager
def replica(primary: Cluster) -> Iterator[Cluster]:
    """One that follows another, which runs `WITH_REPLICAS`."""
    with _place() as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        address = f"host={primary.folder} user=postgres application_name=replica"
        words = ("-D", folder / "data", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", address)
        run([*as_postgres(), PROGRAMS[-1] / "pg_basebackup", *words], check=True, stdout=DEVNULL, cwd="/")
        yield Cluster(folder)


@contextmanager
def _place() -> Iterator[Path]:
    # The name is short, since a socket's path is; not a directory of pytest's, which are the user's alone.
    folder = Path(tempfile.mkdtemp(prefix="sekisho-pg-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def patient(url: str) -> Server:
    """For whoever does not test how long a server is waited for: it is as slow as the machine is busy."""
    return replace(parse(url), connect=_PATIENCE, statement=_PATIENCE, lock=_PATIENCE)


def url_of(path: Path) -> str:
    """The address of the database that stands for a file, for whichever process; made if it is not there."""
    if path in _loans:
        return _loans[path].url
    cluster, name = _shared(), _name_of(path)
    _make(cluster, name, _template())
    _named.add(path)
    return cluster.url(name)


def copied(path: Path, to: Path) -> str:
    """The address of a copy of a database, to which nobody is connected; it stands for another file."""
    url_of(path)
    cluster, name = _shared(), _name_of(to)
    _make(cluster, name, _name_of(path))
    return cluster.url(name)


def _name_of(path: Path) -> str:
    return "t" + hashlib.sha256(str(path).encode()).hexdigest()[:16]


_given: list[Cluster] = []


def shared_from_now_on(cluster: Cluster) -> None:
    """Databases are made in this one, which somebody else has started and ends."""
    _given.append(cluster)


@cache
def _shared() -> Cluster:
    if _given:
        return _given[-1]
    kept = ExitStack()
    cluster = kept.enter_context(temporary())
    kept.enter_context(cluster.running())
    # Only now: what was registered last, such as the end of what started it, is called first.
    atexit.register(kept.close)
    return cluster


@cache
def _template() -> str:
    cluster, name = _shared(), "made"
    _make(cluster, name, "template0")
    Database(patient(cluster.url(name)), Path(), SCHEMAS).close()
    return name


def _make(cluster: Cluster, name: str, template: str) -> None:
    with suppress(asyncpg.DuplicateDatabaseError):
        _wait(_asked(cluster.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))


# -- databases that go from test to test ----------------------------------------------------------------

# What has more rows than this at its end, or other tables, is not emptied: it costs less to make one.
_MANY = 5_000
# What stays as it is: who makes tables has made them, and connections have their marks.
_KEPT = ("schema_steps", "commit_marks")
_TABLES = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    f" AND relname NOT IN {_KEPT}"
)
_REFERENCES = (
    "SELECT f.relname, t.relname FROM pg_constraint c JOIN pg_class f ON f.oid = c.conrelid"
    " JOIN pg_class t ON t.oid = c.confrelid WHERE c.contype = 'f' AND c.conrelid <> c.confrelid"
)
_SHAPE = (
    "(SELECT max(oid)::text || count(*) || sum(relnatts) FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace)"
    " || (SELECT count(*) FROM pg_trigger) || (SELECT count(*) FROM pg_constraint)"
)
_EMPTIED = """
CREATE FUNCTION lent.emptied() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    gone bigint := 0;
    found bigint;
BEGIN
    IF (SELECT shape FROM lent.shape) <> {shape} THEN
        RETURN -1;
    END IF;
    {each}
    RETURN gone;
END $$
"""
_DELETED = "DELETE FROM public.{0}; GET DIAGNOSTICS found = ROW_COUNT; gone := gone + found;"
_NUMBERS = (
    "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
    " AND relname NOT LIKE 'commit_marks%'"
)
_NUMBERED = "IF (SELECT is_called FROM public.{0}) THEN PERFORM setval('public.{0}', 1, false); END IF;"


class _Loan:
    """A database of this process alone. ``holders``: how many have it open; ``resting``: who has closed it
    last, with its connections, as long as nobody has it open."""

    def __init__(self, url: str) -> None:
        self.url, self.holders = url, 0
        self.resting: Lent | None = None


class Lent(Database):
    """An opened database that takes over the connections of whoever had it before."""

    #: Its server runs as long as we do, and is silent only where the machine is busy.
    patience = _PATIENCE

    def __init__(self, loan: _Loan, folder: Path, journal: Recorder | None) -> None:
        before, loan.resting = loan.resting, None
        self._loan = loan
        if before is None:
            super().__init__(patient(loan.url), folder, journal=journal, made=False)
            loan.holders += 1
            return
        # All that it knew of the server, and nothing of what it did.
        self.__dict__.update(vars(before))
        self._folder, self._journal, self._lost = folder, journal, None
        self._closed, self._committed, self._heard_at = False, 0, time.monotonic()
        try:
            # As on each connection that is made, and with the errors of that.
            if journal is not None:
                self._loop.result(self._on_connection(self._compared))
        except BaseException:
            loan.resting = before
            raise
        self._looking = self._loop.result(self._begin())
        loan.holders += 1

    async def _compared(self, connection: asyncpg.Connection) -> None:
        assert self._journal is not None
        async with connection.transaction(readonly=True):
            await run_work(self._journal.check, Reading(connection))

    def close(self) -> None:
        if self._closed:
            return
        self._loan.holders -= 1
        if self._loan.holders or self._loan.resting is not None:
            super().close()
            return
        self._closed = True
        self._lost = None
        self._loop.result(self._rest())
        self._loan.resting = self
        if self._journal is not None:
            self._journal.close()

    async def _rest(self) -> None:
        self._looking.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task(), self._looking}
        await asyncio.gather(self._looking, *others, return_exceptions=True)

    def emptied(self) -> bool:
        """Whether it is as it was made."""

        async def use(connection: asyncpg.Connection) -> int:
            return int(await connection.fetchval("SELECT lent.emptied()"))

        return 0 <= self._loop.result(self._on_connection(use)) <= _MANY

    def end(self) -> None:
        self._looking = self._loop.result(self._begin())
        self._closed = False
        super().close()


_named: set[Path] = set()
_loans: dict[Path, _Loan] = {}
_returned: list[_Loan] = []
_lender: list[int] = []


def lend_from_now_on() -> None:
    """In this process databases are lent; whoever does says when they come back (`back`)."""
    _lender[:] = [os.getpid()]


def lent(path: Path, folder: Path, journal: Recorder | None) -> Database:
    """The database that stands for a file, opened: the same each time, in this process. It is the
    one that has its name (`url_of`) where somebody has asked for that, or none is lent."""
    if _lender != [os.getpid()] or path in _named:
        return Database(patient(url_of(path)), folder, journal=journal, made=False)
    if path not in _loans:
        _loans[path] = _another()
    return Lent(_loans[path], folder, journal)


def back(below: Path) -> None:
    """Nobody wants what is in the databases of this directory any more."""
    for path in [each for each in _loans if each.is_relative_to(below)]:
        loan = _loans.pop(path)
        if loan.holders == 0 and loan.resting is not None:
            _returned.append(loan)


def _another() -> _Loan:
    while _returned:
        loan = _returned.pop()
        assert loan.resting is not None
        if loan.resting.emptied():
            return loan
        loan.resting.end()
    cluster = _shared()
    name = f"lent{next(_numbers)}"
    _make(cluster, name, _lendable())
    return _Loan(cluster.url(name))


_numbers = count(1)


@cache
def _lendable() -> str:
    """Their template: beside its tables stands what a new one has in them, and how to be so again."""
    cluster, name = _shared(), "lendable"
    _make(cluster, name, _template())
    _wait(_prepared(cluster.url(name)))
    return name


async def _prepared(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=_PATIENCE)
    try:
        await connection.execute("CREATE SCHEMA lent")
        refers: dict[str, set[str]] = {each["relname"]: set() for each in await connection.fetch(_TABLES)}
        for each, to in await connection.fetch(_REFERENCES):
            refers[each].add(to)
        # Whoever refers to others after them.
        tables = list(TopologicalSorter(refers).static_order())
        filled = [
            each for each in tables if await connection.fetchval(f"SELECT EXISTS (SELECT FROM public.{each})")
        ]
        for each in filled:
            await connection.execute(f"CREATE TABLE lent.{each} AS TABLE public.{each}")
        await connection.execute(f"CREATE TABLE lent.shape AS SELECT {_SHAPE} AS shape")
        again = [f"INSERT INTO public.{each} SELECT * FROM lent.{each};" for each in filled]
        numbers = [_NUMBERED.format(each["relname"]) for each in await connection.fetch(_NUMBERS)]
        statements = [*map(_DELETED.format, reversed(tables)), *again, *numbers]
        await connection.execute(_EMPTIED.format(shape=_SHAPE, each="\n    ".join(statements)))
    finally:
        await connection.close()


async def _asked(url: str, statement: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=_PATIENCE)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Wherever it is asked for, be it on an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def as_postgres() -> list[str]:
    """The server refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
