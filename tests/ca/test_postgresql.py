"""PostgreSQL as an engine: what is its own. Everything else is asked of it by the tests of ``enroll``, on it
by ``make test-engines ENGINE=postgresql``."""

import asyncio
import gc
import itertools
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

import pytest

asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed: pip install '.[postgres]'")

from ca.databaseserver import Server, parse  # noqa: E402
from ca.errors import ConfigError  # noqa: E402
from ca.postgresql import commits  # noqa: E402
from ca.postgresql import database as engine  # noqa: E402
from ca.postgresql.connection import Connection, check_fit  # noqa: E402
from ca.postgresql.database import Database  # noqa: E402
from ca.postgresql.tables import as_schema  # noqa: E402
from ca.postgresql.transaction import STANDS  # noqa: E402
from ca.postgresql.troubles import Unfit, ours  # noqa: E402
from ca.postgresql.whole import Whole  # noqa: E402
from ca.storage import (  # noqa: E402
    LOOK,
    UNTAKEN,
    Schema,
    Step,
    StorageClosed,
    StorageError,
    StorageTrouble,
    UniqueViolation,
    together,
)
from tests import cutting, databases  # noqa: E402

pytestmark = databases.NEEDED

SCHEMA = Schema(
    "room",
    (
        Step(
            "first", ("CREATE TABLE things (id IDENTITY, name TEXT NOT NULL UNIQUE, part BLOB, at INTEGER)",)
        ),
    ),
)


@pytest.fixture(scope="module")
def cluster():
    with databases.temporary() as cluster, cluster.running():
        yield cluster


@pytest.fixture
def url(cluster, request):
    name = "t" + str(abs(hash(request.node.nodeid)))
    databases._make(cluster, name, "template0")
    return cluster.url(name)


@pytest.fixture
def database(url, tmp_path):
    database = Database(databases.patient(url), tmp_path, [SCHEMA])
    yield database
    database.close()


def add(name):
    return lambda db: db.execute("INSERT INTO things (name) VALUES (:name)", {"name": name})


def names(database):
    return [
        row["name"] for row in database.read_now(lambda db: db.rows("SELECT name FROM things ORDER BY id"))
    ]


@pytest.fixture(scope="module")
def replica():
    """A server that can only be read, as one that follows another is."""
    with databases.temporary() as replica, replica.running("default_transaction_read_only=on"):
        yield replica


@pytest.mark.slow
def test_a_server_that_can_only_be_read_is_passed_over(cluster, replica, tmp_path):
    """Whichever comes first in the address, when it is opened and for every later connection."""
    for hosts in ((replica, cluster), (cluster, replica)):
        url = cluster.url("postgres").replace(
            str(cluster.folder), ",".join(str(each.folder) for each in hosts)
        )
        database = Database(url, tmp_path, [SCHEMA])
        try:
            database.write_now(add(hosts[0].folder.name))
            assert hosts[0].folder.name in names(database)
        finally:
            database.close()


def test_only_a_server_that_can_only_be_read(replica, tmp_path):
    """Is said to the operator, with what to look at, and is no fault of ours."""
    with pytest.raises(ConfigError, match=r"can only be read: .* see which is the primary"):
        Database(replica.url("postgres"), tmp_path, [SCHEMA])


#: A database as somebody may have prepared it -> how it is made, what is typed in it, and what is said of it.
UNFIT = {
    "no rights": ("", (), r"does not let our user do what it has to; .* OWNER TO"),
    "no schema": ("OWNER keeper", ("ALTER ROLE keeper SET search_path = ''",), "see the search_path"),
    "only reading": (
        "OWNER keeper",
        ("ALTER ROLE keeper SET default_transaction_read_only = on",),
        "that our user may write: default_transaction_read_only",
    ),
    "few connections": (
        "OWNER keeper",
        ("ALTER ROLE keeper CONNECTION LIMIT 1",),
        r"has no room left .*connections.* \(too many connections",
    ),
    "no connections": (
        "OWNER keeper ALLOW_CONNECTIONS false",
        (),
        "takes no connections now; .* ALLOW_CONNECTIONS true",
    ),
    "octets": ("OWNER keeper ENCODING 'SQL_ASCII'", (), r"as UTF-8; make it anew: createdb .*\(SQL_ASCII\)"),
    "others' tables": (
        "OWNER keeper",
        ("CREATE TABLE things (id int)", "CREATE VIEW seen AS SELECT 1"),
        r"none of ours \(seen, things\): name one of its own",
    ),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_database_that_is_none_for_us(cluster, tmp_path, what):
    """Is said to the operator with what to type, and is no fault of ours."""
    made, typed, said = UNFIT[what]
    for each in (
        "DROP DATABASE IF EXISTS unfit WITH (FORCE)",
        "DROP ROLE IF EXISTS keeper",
        "CREATE ROLE keeper LOGIN",
    ):
        databases._wait(databases._asked(cluster.url("postgres"), each))
    databases._wait(
        databases._asked(cluster.url("postgres"), f"CREATE DATABASE unfit {made} TEMPLATE template0")
    )
    for each in typed:
        databases._wait(databases._asked(cluster.url("unfit"), each))
    with pytest.raises(ConfigError, match=said):
        Database(cluster.url("unfit").replace("postgres@", "keeper@"), tmp_path, [SCHEMA])


@pytest.fixture
def silent():
    """A server's address that takes connections and says nothing; whom it has taken."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/x", listener


@pytest.fixture
def interrupted():
    """Ctrl-C is a KeyboardInterrupt in this thread, whatever those who run the tests make of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield partial(signal.pthread_kill, threading.main_thread().ident, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("while_it", ["connects", "asks"])
def test_who_is_stopped_while_the_server_is_at_it_leaves_nothing(url, silent, interrupted, caplog, while_it):
    """Ctrl-C in a look at all of a database, or in a copy: no connection, no task, and nothing to read."""
    address, listener = silent
    before = {*threading.enumerate()}

    def stop():
        if while_it == "connects":
            held.enter_context(listener.accept()[0])  # closed before, that would be an answer
        else:
            end = time.monotonic() + 60
            while not databases._wait(databases._asked(url, asked)):
                assert time.monotonic() < end
                time.sleep(0.01)
        interrupted()

    asked = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
    with ThreadPoolExecutor(1) as threads, ExitStack() as held:
        stopping = threads.submit(stop)
        side = Whole(replace(parse(address if while_it == "connects" else url), tls=False))
        with pytest.raises(KeyboardInterrupt), side.snapshot() as db:
            db.rows("SELECT pg_sleep(60)")
        stopping.result()
    gc.collect()
    assert [each.getMessage() for each in caplog.records] == []
    assert {*threading.enumerate()} <= before


def test_a_server_that_is_too_old():
    """Is refused by its version, with what to do; the oldest that is known is not."""
    check_fit(13, "UTF8")
    with pytest.raises(Unfit) as refused:
        check_fit(12, "UTF8")
    assert "PostgreSQL 13 or newer" in ours(refused.value).trouble


#: What may be set for a database, or a role, and is nothing to us -> what a connection of ours has instead.
SETTINGS = {
    # It would end a signer, which rests all night and goes when its connections do.
    "idle_session_timeout": ("100ms", "0"),
    # Who waits for another node that makes the tables would not see them.
    "default_transaction_isolation": ("serializable", "read committed"),
    # LIKE ... ESCAPE '\\' would be no statement.
    "standard_conforming_strings": ("off", "on"),
    "statement_timeout": ("1ms", "1min"),
    "timezone": ("Asia/Tokyo", "UTC"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_set_for_others_is_nothing_to_us(cluster, url, tmp_path, name):
    """Whatever operators of the server like: ours are the same on each."""
    value, instead = SETTINGS[name]
    database = urlsplit(url).path[1:]
    databases._wait(
        databases._asked(cluster.url("postgres"), f"ALTER DATABASE {database} SET {name} = '{value}'")
    )
    opened = Database(databases.patient(url), tmp_path, [SCHEMA])
    try:
        found = opened.read_now(lambda db: db.one("SELECT current_setting(:name)", {"name": name})[0])
        assert found == instead
    finally:
        opened.close()


def test_types_of_a_schema():
    """64 bits, ordered by code point; what stands in a string, and what makes no table, is left alone."""
    assert as_schema(
        "CREATE TABLE t (id IDENTITY, a INTEGER, b TEXT CHECK (b <> 'TEXT'), c BLOB, d REAL)"
    ) == (
        "CREATE TABLE t (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a BIGINT,"
        " b TEXT COLLATE \"C\" CHECK (b <> 'TEXT'), c BYTEA, d DOUBLE PRECISION)"
    )
    assert as_schema("CREATE INDEX i ON t (TEXT)") == "CREATE INDEX i ON t (TEXT)"
    # An apostrophe in a comment begins no text, which would hide the types up to the next one.
    told = as_schema("-- a row's\nCREATE TABLE t (n IDENTITY, -- ours' TEXT\n b BLOB CHECK (b <> 'TEXT'))")
    assert told.startswith("-- a row's\nCREATE TABLE t (n BIGINT GENERATED")
    assert told.endswith("-- ours' TEXT\n b BYTEA CHECK (b <> 'TEXT'))")


async def test_what_is_written_is_there_and_what_failed_is_not(database):
    """An error of the work undoes all of it, and is raised as it is; the number of rows is told."""
    assert await database.write(add("one")) == 1
    with pytest.raises(ZeroDivisionError):
        await database.write(lambda db: (add("two")(db), 1 // 0))
    assert names(database) == ["one"]
    assert await database.write(lambda db: db.execute("UPDATE things SET at = :at", {"at": 2**62})) == 1
    row = await database.read(lambda db: db.one("SELECT name, at, sum(at) OVER () FROM things"))
    assert [*row] == ["one", 2**62, 2**62]


@pytest.mark.parametrize("ask", ["read", "write"])
async def test_an_error_of_a_work_s_own_file_is_none_of_the_server_s(database, ask):
    """It is raised as it is, and undoes what was written; the twin, of the server, is the operator's."""

    def work(db):
        if ask == "write":
            add("one")(db)
        raise PermissionError(13, "no key of an epoch", "window/1")

    with pytest.raises(PermissionError, match="no key"):
        await getattr(database, ask)(work)
    with pytest.raises(StorageTrouble, match="terminating"):
        await getattr(database, ask)(lambda db: db.one("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert names(database) == []


async def test_errors_are_in_the_storage_s_words(database):
    """A row that is there, a statement that is none, and a character that text cannot have."""
    await database.write(add("one"))
    with pytest.raises(UniqueViolation):
        await database.write(add("one"))
    for statement, values in (("no statement", {}), ("SELECT :a", {"a": "\0"})):
        with pytest.raises(StorageError) as failed:
            await database.read(lambda db, s=statement, v=values: db.one(s, v))
        assert not isinstance(failed.value, StorageTrouble)
    assert names(database) == ["one"]


async def test_reading_is_of_one_moment_and_changes_nothing(database):
    """What is committed meanwhile is not seen, and a work that reads cannot write."""
    with database.source.snapshot() as db:
        assert db.rows("SELECT name FROM things") == []
        await database.write(add("meanwhile"))
        assert db.rows("SELECT name FROM things") == []
    assert names(database) == ["meanwhile"]
    with pytest.raises(StorageTrouble):
        await database.read(add("two"))


async def test_a_cap_that_twenty_race_for_holds(database):
    """What is counted is counted again by whoever waited for the row that all of them hold."""
    await database.write(add("whole"))

    def at_most_ten(number):
        def work(db):
            assert db.one("SELECT id FROM things WHERE name = 'whole'") is not None
            if db.one(f"SELECT count(*) FROM things{LOOK}")[0] > 10:
                return False
            return db.execute("INSERT INTO things (name) VALUES (:name)", {"name": str(number)}) == 1

        return work

    done = await asyncio.gather(*(database.write(at_most_ten(number)) for number in range(20)))
    assert (sum(done), len(names(database))) == (10, 11)


async def test_what_was_read_is_not_changed_by_others(database):
    """Twenty add one each to what they have read: none is lost, although none compares."""
    await database.write(add("one"))

    def work(db):
        at = db.one("SELECT at FROM things WHERE name = 'one'")[0] or 0
        db.execute("UPDATE things SET at = :at WHERE name = 'one'", {"at": at + 1})

    await asyncio.gather(*(database.write(work) for _ in range(20)))
    assert (await database.read(lambda db: db.one("SELECT at FROM things")))[0] == 20


@pytest.mark.parametrize(
    ("word", "beside", "given"),
    [
        ("", UNTAKEN, False),
        (together("things"), UNTAKEN, False),
        (together("things"), together("things"), True),
        (LOOK, UNTAKEN, True),
    ],
)
async def test_what_others_get_beside_a_write_that_has_read(database, url, tmp_path, word, beside, given):
    """A row that is held alone, or together, is nobody's to take; together others hold it too; a look holds
    nothing."""
    await database.write(add("one"))
    other = Database(databases.patient(url), tmp_path, [SCHEMA])
    got = []

    def take(db):
        return db.one(f"SELECT name FROM things{beside}")

    def work(db):
        assert db.one(f"SELECT name FROM things{word}") is not None
        got.append(other.write_now(take))

    try:
        await database.write(work)
    finally:
        other.close()
    assert (got[0] is not None) is given


async def test_a_queue_gives_each_to_one(database):
    """Rows that somebody else holds are passed over: of six at once nobody gets another's."""
    for number in range(6):
        await database.write(add(str(number)))

    def take(db):
        found = db.one(f"SELECT id FROM things WHERE at IS NULL ORDER BY id LIMIT 1{UNTAKEN}")
        if found is not None:
            db.execute("UPDATE things SET at = 1 WHERE id = :id", {"id": found[0]})
        return None if found is None else found[0]

    taken = [
        each for _ in range(2) for each in await asyncio.gather(*(database.write(take) for _ in range(6)))
    ]
    got = [each for each in taken if each is not None]
    assert (len(got), len(set(got))) == (6, 6)


async def test_many_who_share_a_row_and_want_it_alone_each_give_way_once(database, url):
    """All deadlock, and all but one begin anew; one after the other, not all against all again."""
    name = urlsplit(url).path[1:]
    await databases._asked(url, f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
    await database.write(add("counter"))
    await database.write(lambda db: db.execute("UPDATE things SET at = 0"))
    database._let_go_of_idle()
    runs = []

    def once_more(db):
        first = db.one(f"SELECT at FROM things{together('things')}")["at"]
        runs.append(first)
        db.execute("UPDATE things SET at = :at", {"at": first + 1})

    await asyncio.gather(*(database.write(once_more) for _ in range(6)))
    assert database.read_now(lambda db: db.one("SELECT at FROM things")["at"]) == 6
    assert len(runs) <= 3 * 6  # and not all against all, 21 and more


async def test_a_row_that_came_in_between_is_seen(database):
    """Twenty who find none and add it: one does, the others find it; what is there for good is an error."""

    def work(db):
        if db.one("SELECT id FROM things WHERE name = 'one'") is not None:
            return False
        return add("one")(db) == 1

    assert sum(await asyncio.gather(*(database.write(work) for _ in range(20)))) == 1
    with pytest.raises(UniqueViolation):
        await database.write(add("one"))


async def test_a_caller_who_is_cancelled_takes_nothing_back(database):
    """The work is done all the same, and to its end."""
    began, go_on = threading.Event(), threading.Event()

    def work(db):
        add("one")(db)
        began.set()
        go_on.wait(60)

    asked = asyncio.create_task(database.write(work))
    await asyncio.to_thread(began.wait, 60)
    asked.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await database.write(add("two"))
    assert sorted(names(database)) == ["one", "two"]


async def test_others_commits_are_noticed(database, url, tmp_path):
    """Own ones at once, other processes' within a second; and nothing is noticed where nothing happens."""
    before = database.changed()
    await database.write(add("one"))
    own = database.changed()
    assert own != before
    other = Database(databases.patient(url), tmp_path, [SCHEMA])
    try:
        await other.write(add("two"))
        async with asyncio.timeout(60):
            while database.changed() == own:
                await asyncio.sleep(0.05)
    finally:
        other.close()


def test_ten_at_once_make_the_tables_once(url, tmp_path):
    """Nodes that start together take turns."""
    with ThreadPoolExecutor(10) as nodes:
        opened = list(nodes.map(lambda _: Database(databases.patient(url), tmp_path, [SCHEMA]), range(10)))
    for each in opened:
        each.close()


def test_a_newer_schema_is_refused(database, url, tmp_path):
    """By a program that does not know its last step; one that has nothing to do with the room comes in."""
    newer = Schema("room", (*SCHEMA.steps, Step("second", ("ALTER TABLE things ADD COLUMN more TEXT",))))
    Database(url, tmp_path, [newer]).close()
    with pytest.raises(ConfigError, match="newer sekisho"):
        Database(url, tmp_path, [SCHEMA])
    Database(url, tmp_path, [Schema("other", ())]).close()


def test_a_time_that_is_up_has_a_word():
    """Operators read it in brackets."""
    assert str(ours(TimeoutError())) == "TimeoutError"


def test_who_cannot_be_reached_or_is_not_there_is_named(cluster, tmp_path):
    """With what to type; an address with a password is none, and is not repeated."""
    with pytest.raises(ConfigError, match=r"is not there; see database\.url, or make it: createdb NAME"):
        Database(cluster.url("nowhere"), tmp_path)
    addresses = (f"postgresql://me@/x?host={tmp_path}", "postgresql://me@db.invalid/x")
    for url, made in itertools.product(addresses, (True, False)):
        with pytest.raises(
            ConfigError, match=r"cannot be reached; see database\.url, .*: pg_isready -h HOST"
        ):
            Database(url, tmp_path, made=made)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        silent = Server((deaf.getsockname()[:2],), "me", "x", tls=False, connect=0.1)
        with pytest.raises(ConfigError, match=r"cannot be reached; .* \(TimeoutError\)"):
            Database(silent, tmp_path)


def test_who_speaks_no_tls_is_named(tmp_path):
    """It was reached: what to type is about TLS. "N" is PostgreSQL's answer to SSLRequest."""
    with socket.create_server(("127.0.0.1", 0)) as plain, ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: plain.accept()[0].sendall(b"N"))
        with pytest.raises(ConfigError, match=r"speaks no TLS; .* database\.sslmode = 'disable'"):
            Database(Server((plain.getsockname()[:2],), "me", "x"), tmp_path)


async def test_a_server_that_dies_is_trouble_until_it_is_back(tmp_path):
    """What was asked for meanwhile fails as the operator's to mend, what was committed is there after."""
    with databases.temporary() as cluster:
        with cluster.running():
            databases._make(cluster, "t", "template0")
            database = Database(cluster.url("t"), tmp_path, [SCHEMA])
            await database.write(add("before"))
        try:
            for ask in (database.read, database.write):
                with pytest.raises(StorageTrouble):
                    await ask(lambda db: db.one("SELECT 1"))
            with cluster.running():
                await database.write(add("after"))
                assert names(database) == ["before", "after"]
        finally:
            database.close()
    with pytest.raises(StorageClosed):
        await database.read(lambda db: None)


# -- a commit whose answer is lost -------------------------------------------------------------------------


@pytest.fixture
def way(cluster, tmp_path):
    with cutting.way(cluster.folder, tmp_path / "way") as way:
        yield way


@pytest.fixture
def by_way(way, url, tmp_path):
    database = Database(url.replace(str(way.server), way.host), tmp_path, [SCHEMA])
    yield database
    way.open = True
    database.close()


@pytest.mark.parametrize(("cut", "runs"), [("", 1), ("before", 2), ("after", 1), ("late", 2)])
async def test_a_commit_without_an_answer_is_looked_up(by_way, way, cut, runs):
    """It was made, and is not made again; or it was not, and the work is run once more: then it never will
    be, even if it is only on its way."""
    ran = []

    def work(db):
        ran.append(len(ran))
        add(f"run {ran[-1]}")(db)
        return ran[-1]

    await by_way.write(add("before"))
    way.cut = cut
    told = await by_way.write(work)
    assert (len(ran), way.cuts) == (runs, 1 if cut else 0)
    assert told == ran[-1]
    if cut == "late":
        assert b"23502" in way.let_go()
    assert names(by_way) == ["before", f"run {ran[-1]}"]
    await by_way.write(add("after"))


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_twenty_at_once_lose_nothing_and_do_nothing_twice(by_way, way, cut):
    """Of which some lose their answer."""
    done = []
    for _ in range(3):
        way.cut = cut
        done += await asyncio.gather(*(by_way.write(add(f"{len(done)} {n}")) for n in range(20)))
    assert (len(done), len(names(by_way)), way.cuts) == (60, 60, 3)


async def test_an_outcome_that_nobody_can_be_asked_for_is_not_guessed(by_way, way, monkeypatch):
    """Nothing is run again, and whoever asked is told that it is not known; nothing else is wrong after."""
    monkeypatch.setattr(commits, "_ASKED", 0.2)
    ran = []
    await by_way.write(add("before"))
    way.cut, way.open = "after", False
    with pytest.raises(StorageTrouble) as unknown:
        await by_way.write(lambda db: (ran.append(1), add("one")(db)))
    assert (unknown.value.name, len(ran)) == ("UNKNOWN", 1)
    assert "did not say whether it has committed" in unknown.value.trouble
    way.open = True
    await by_way.write(add("after"))
    assert names(by_way) == ["before", "one", "after"]


class Checked:
    """A journal of which it matters only that a new connection is asked something; ``asks``: what, once."""

    asks = ""

    def check(self, db):
        asks, self.asks = self.asks, ""
        if asks:
            db.one(asks)

    def record(self, db, notes):
        return lambda: None

    def close(self):
        pass


async def test_an_outcome_is_asked_for_again_where_a_new_connection_is_lost_at_once(way, url, tmp_path):
    """Be it before anything could be looked up: nothing is run again by a guess."""
    journal, ran = Checked(), []
    server = databases.patient(url.replace(str(way.server), way.host))
    database = Database(server, tmp_path, [SCHEMA], journal=journal)
    try:
        await database.write(add("before"))
        journal.asks, way.cut = "SELECT pg_terminate_backend(pg_backend_pid())", "after"
        await database.write(lambda db: (ran.append(1), add(f"run {len(ran)}")(db)))
        assert (names(database), journal.asks) == (["before", "run 1"], "")
    finally:
        database.close()


async def test_a_connection_that_is_lost_before_the_commit_is_none_of_the_work_s(database, cluster):
    """The work runs again by another one, as one that had to give way."""
    ran = []

    def work(db):
        ran.append(db.one("SELECT pg_backend_pid()")[0])
        add("one")(db)
        if len(ran) == 1:
            killed.append(end(ran[0]))
            db.one("SELECT 1")

    def end(pid):
        return databases._wait(
            databases._asked(cluster.url("postgres"), "SELECT pg_terminate_backend($1)", pid)
        )

    killed = []
    await database.write(work)
    assert (len(ran), len(killed), names(database)) == (2, 1, ["one"])
    assert len(set(ran)) == 2


@pytest.fixture
def journeys(monkeypatch):
    """What was written to the server, each time."""
    sent, write_all = [], Connection._write_all
    monkeypatch.setattr(
        Connection,
        "_write_all",
        lambda self, content: (sent.append(self._before + bytes(content)), write_all(self, content))[1],
    )
    return sent


async def test_what_is_deferred_goes_with_what_is_asked_next(journeys, database):
    """In its order, and so does the beginning; what is left goes with the commit. Nothing of it is there when
    the work has failed, or one of them has."""
    await database.write(lambda db: db.execute("CREATE TABLE others (name TEXT UNIQUE)"))

    def work(*some, then=lambda db: None):
        def both(db):
            for table, name in some:
                db.defer(f"INSERT INTO {table} (name) VALUES (:name)", {"name": name})
            return then(db)

        return both

    def names_in(db):
        return len(db.rows("SELECT name FROM things ORDER BY id"))

    async def written(*some, **more):
        # Once before: what is sent for the first time on a connection is prepared by itself.
        await database.write(work(("things", "0"), ("others", "0"), then=names_in))
        await database.write(lambda db: [db.execute(f"DELETE FROM {of} WHERE name = '0'") for of in _BOTH])
        journeys.clear()
        found = await database.write(work(*some, **more))
        return found, len(journeys)

    assert await written(("things", "one"), ("others", "two")) == (None, 1)
    assert await written(("things", "two"), ("things", "three"), then=names_in) == (3, 2)
    assert names(database) == ["one", "two", "three"]
    assert await written() == (None, 0)
    with pytest.raises(ZeroDivisionError):
        await database.write(work(("things", "five"), then=lambda db: 1 // 0))
    with pytest.raises(UniqueViolation):
        await database.write(work(("things", "five"), ("others", "two")))
    with pytest.raises(UniqueViolation):
        await database.write(work(("things", "five"), ("others", "two"), then=names_in))
    assert names(database) == ["one", "two", "three"]


_BOTH = ("things", "others")


async def test_values_of_what_is_deferred_are_what_they_were(database):
    """Numbers, text, octets and nothing, as by a statement of its own; what is none of these is refused."""
    values = ["four", -(2**62), 0.1, None, "\N{HIRAGANA LETTER A}'\\x", b"\0\\x\xff", True, b""]
    names = [f"v{number}" for number in range(len(values))]
    columns = ["TEXT", "BIGINT", "FLOAT8", "TEXT", "TEXT", "BYTEA", "BIGINT", "BYTEA"]
    table = ", ".join(f"{name} {of}" for name, of in zip(names, columns, strict=True))
    await database.write(lambda db: db.execute(f"CREATE TABLE kinds ({table})"))
    insert = f"INSERT INTO kinds VALUES ({', '.join(f':{name}' for name in names)})"
    given = dict(zip(names, values, strict=True))
    for _ in range(2):  # prepared, and known
        await database.write(lambda db: db.defer(insert, given))
    found = await database.read(lambda db: [tuple(row) for row in db.rows("SELECT * FROM kinds")])
    assert found == [tuple(values)] * 2
    for wrong in ([1], "\ud800", "a\0b"):
        with pytest.raises(StorageError):
            await database.write(lambda db, v=wrong: db.defer(insert, {**given, "v4": v}))
    assert len(await database.read(lambda db: db.rows("SELECT 1 FROM kinds"))) == 2


async def test_a_new_connection_may_begin_in_any_way(database, monkeypatch):
    """Nothing that was prepared for it has begun a transaction that still stands."""
    monkeypatch.setattr(engine, "WRITE", ("BEGIN ISOLATION LEVEL SERIALIZABLE",))
    for number in range(2):
        await database.write(lambda db, n=number: (db.rows("SELECT name FROM things"), add(str(n))(db)))
    assert names(database) == ["0", "1"]


async def test_a_commit_before_which_something_fails_is_none(database):
    """The error is that of the statement, and nothing is looked up, or done again."""
    ran, slow = [], "UPDATE things SET name = CAST(pg_sleep(:long) AS TEXT) WHERE name = :name"

    def work(name):
        def late(db):
            ran.append(name)
            db.execute("SET LOCAL statement_timeout = '1s'")
            db.defer(slow, {"long": 5, "name": name})

        return late

    await database.write(add("one"))
    await database.write(work("two"))  # prepared, and does nothing
    with pytest.raises(StorageTrouble) as given_up:
        await database.write(work("one"))
    assert (given_up.value.name, ran, names(database)) == ("57014", ["two", "one"], ["one"])


async def test_a_connection_on_which_nobody_answers_is_let_go_of(database):
    """The work runs again by another one; one that is answered in time is left alone."""
    ran, asked = [], threading.Event()

    def work(db):
        ran.append(db.one("SELECT pg_backend_pid()")[0])
        asked.set()
        if len(ran) == 1:
            db.one("SELECT pg_sleep(30)")
        return add("one")(db)

    waits = asyncio.create_task(database.write(work))
    await asyncio.to_thread(asked.wait, 60)
    async with asyncio.timeout(60):
        while not (silent := [each for each in database._used if each.asked_at]):
            await asyncio.sleep(0.001)

        async def sweep(asked_at):
            silent[0].asked_at = asked_at
            database._sweeping.cancel()
            database._sweep()
            return silent[0].is_closed()

        late = time.monotonic() - database._server.statement - 5
        assert not await asyncio.to_thread(database._loop.result, sweep(late + 4))
        assert await asyncio.to_thread(database._loop.result, sweep(late - 1))
        assert await waits == 1
    assert (len(set(ran)), names(database)) == (2, ["one"])


@pytest.mark.parametrize("known", [True, False])
async def test_a_connection_that_is_let_go_of_between_two_statements_is_none_of_the_work_s(database, known):
    """As by a server that is found to be away: the work runs again by another one, whether the statement that
    it would have made next was made by that one before or not."""
    text, runs = "SELECT 1", []
    if known:
        await database.read(lambda db: db.one(text))

    def work(db):
        runs.append(db.one("SELECT pg_backend_pid()")[0])
        if len(runs) == 1:
            db.connection.terminate()
        return db.one(text)[0]

    assert await database.read(work) == 1
    assert len(set(runs)) == 2


async def test_who_was_stopped_in_the_middle_of_a_statement_holds_nobody_up(
    database, url, tmp_path, monkeypatch
):
    """The server ends whoever asks for nothing between two statements. Where it has parsed one, and waits for
    the rest, it waits for ever: another node ends that, once somebody waits for its rows. Waking up it does
    its work again."""
    soon = engine._STUCK.replace(f"'{STANDS} s'", "'10 ms'")
    monkeypatch.setattr(engine, "_STUCK", soon)
    await database.write(add("one"))
    stopped, woken, runs = threading.Event(), threading.Event(), []
    prepare = Connection.prepare

    async def stops(self, text):
        found = await prepare(self, text)
        if "stopped" in text and not stopped.is_set():
            stopped.set()
            await asyncio.to_thread(woken.wait, 60)
        return found

    monkeypatch.setattr(Connection, "prepare", stops)

    def work(db):
        runs.append(db.one("SELECT pg_backend_pid()")[0])
        db.execute("UPDATE things SET part = NULL WHERE name = 'one'")
        return db.execute("UPDATE things SET name = 'stopped' WHERE name = 'one'")

    looking = await asyncpg.connect(url)
    other = Database(databases.patient(url), tmp_path / "other", [SCHEMA])
    try:
        stopping = asyncio.create_task(database.write(work))
        await asyncio.to_thread(stopped.wait, 60)
        how = "SELECT state, wait_event FROM pg_stat_activity WHERE pid = $1"
        async with asyncio.timeout(60):
            while tuple(await looking.fetchrow(how, runs[0])) != ("active", "ClientRead"):
                await asyncio.sleep(0.01)
            await looking.execute("SELECT pg_sleep(0.02)")
            assert await looking.fetch(engine._STUCK) == []  # for which nobody waits
            await other.write(lambda db: db.execute("UPDATE things SET at = 1 WHERE name = 'one'"))
        assert await looking.fetchrow(how, runs[0]) is None
        woken.set()
        assert await stopping == 1
    finally:
        woken.set()
        other.close()
        await looking.close()
    assert (len(set(runs)), names(database)) == (2, ["stopped"])


async def test_tables_that_a_newer_node_has_changed_are_read_as_they_are(database, cluster, url):
    """A connection has its statements prepared. What they give by now is another row."""
    everything = "SELECT * FROM things"
    await database.write(add("one"))
    assert len(await database.read(lambda db: db.one(everything))) == 4
    await databases._asked(url, "ALTER TABLE things ADD COLUMN more TEXT")
    assert len(await database.read(lambda db: db.one(everything))) == 5
    assert len(await database.write(lambda db: db.one(everything))) == 5


@pytest.mark.slow
async def test_a_server_that_is_killed_under_load_loses_no_answer_and_does_nothing_twice(tmp_path):
    """kill -9 of one of its processes has it lose every connection and its memory, and begin anew from its
    log. What was answered is there; what failed is not, and is done when it is asked for again."""
    answered, kills = [], int(os.environ.get("SEKISHO_TEST_KILLS", "12")) // 4
    with databases.temporary() as cluster, cluster.running(durable=True):
        databases._make(cluster, "t", "template0")
        database = Database(cluster.url("t"), tmp_path, [SCHEMA])
        ends = asyncio.Event()

        try:
            writers = [
                asyncio.create_task(_write_until(ends, database, number, answered)) for number in range(12)
            ]
            for kill in range(kills):
                await _more(answered, 30 + kill % 7, writers)
                os.kill(await _one_of_its_processes(cluster), signal.SIGKILL)
            ends.set()
            async with asyncio.timeout(60):
                await asyncio.gather(*writers)
            assert sorted(await _once_it_is_back(database)) == sorted(answered)
        finally:
            database.close()


@pytest.mark.slow
async def test_a_replica_that_takes_over_under_load_has_all_that_was_answered(tmp_path):
    """The primary, which waits for its replica, is gone. Until the other one is promoted nothing is written
    anywhere; then work goes on there, and what was answered is there once. Of whom nobody could be asked
    whether it was committed may be there or not."""
    answered, doubted, ends = [], [], asyncio.Event()

    with databases.temporary() as first, ExitStack() as there:
        there.enter_context(first.running(*databases.WITH_REPLICAS))
        databases._make(first, "t", "template0")
        with databases.replica(first) as second, second.running(*databases.WITH_REPLICAS):
            for statement in ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"):
                await databases._asked(first.url("t"), statement)
            hosts = first.url("t").replace(str(first.folder), f"{first.folder},{second.folder}")
            database = Database(hosts, tmp_path, [SCHEMA])
            try:
                writers = [
                    asyncio.create_task(_write_until(ends, database, number, answered, doubted))
                    for number in range(8)
                ]
                await _more(answered, 60, writers)
                await asyncio.to_thread(there.close)
                with pytest.raises(StorageTrouble):
                    await database.write(add("nowhere"))
                # It waits for nobody, as whoever promotes one has it.
                for statement in (
                    "ALTER SYSTEM SET synchronous_standby_names = ''",
                    "SELECT pg_reload_conf()",
                    "SELECT pg_promote(false)",
                ):
                    await databases._asked(second.url("t"), statement)
                await _more(answered, 60, writers)
                ends.set()
                async with asyncio.timeout(60):
                    await asyncio.gather(*writers)
                kept = await _once_it_is_back(database)
            finally:
                ends.set()
                database.close()
    assert len(kept) == len(set(kept))
    assert set(answered) <= set(kept) <= {*answered, *doubted}


async def _write_until(ends, database, writer, answered, doubted=None):
    """Adds one after the other. Without ``doubted`` there is to be none of whom nobody could be asked."""
    number = 0
    while not ends.is_set():
        name = f"{writer} {number}"
        try:
            await database.write(add(name))
        except StorageTrouble as error:
            if error.name != "UNKNOWN":
                # A second one of its name would be a UniqueViolation, and end the test.
                await asyncio.sleep(0.02)
                continue
            if doubted is None:
                raise
            doubted.append(name)
        else:
            answered.append(name)
        number += 1


async def _more(answered, count, writers):
    """Waits until so many more were answered."""
    enough = len(answered) + count
    async with asyncio.timeout(60):
        while len(answered) < enough:
            assert not any(each.done() for each in writers)
            await asyncio.sleep(0.001)


async def _once_it_is_back(database):
    """The names, from a server that may be at its log still: away, for whoever asks after two seconds."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncio.to_thread(names, database)
            except StorageTrouble:
                await asyncio.sleep(0.02)


async def _one_of_its_processes(cluster):
    question = "SELECT pid FROM pg_stat_activity WHERE datname = 't' LIMIT 1"
    async with asyncio.timeout(60):
        while True:
            try:
                found = await databases._asked(cluster.url("postgres"), question)
            except (OSError, asyncpg.PostgresError):
                found = []
            if found:
                return found[0]["pid"]
            await asyncio.sleep(0.01)
