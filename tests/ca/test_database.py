import asyncio
import sqlite3
import threading

import pytest

from ca.errors import ConfigError
from ca.sqlite import Database
from ca.storage import Schema, Step, StorageClosed, StorageError, StorageTrouble, UniqueViolation
from tests.looking import look, rows

SCHEMA = Schema("test", (Step("first", ("CREATE TABLE numbers (n INTEGER PRIMARY KEY)",)),))


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "test.db", [SCHEMA])
    yield database
    database.close()


def insert(n):
    return lambda db: db.execute("INSERT INTO numbers(n) VALUES (?)", [n])


def numbers(database):
    return [row["n"] for row in rows(look(database), "SELECT n FROM numbers ORDER BY n")]


async def test_written_work_is_seen_by_readers(database):
    """What write() returned is visible to every reader."""
    assert await database.write(insert(1)) == 1
    assert numbers(database) == [1]


def test_what_is_level_is_not_brought_level_again(tmp_path, monkeypatch):
    """Each step is taken once, a later one too; with all of them taken sqlite-utils is not asked."""
    later = Schema("test", (*SCHEMA.steps, Step("second", ("CREATE TABLE more (n INTEGER PRIMARY KEY)",))))
    other = Schema("other", (Step("first", ("CREATE TABLE others (n INTEGER PRIMARY KEY)",)),))
    for schemas in ([SCHEMA], [later], [later, other]):
        Database(tmp_path / "test.db", schemas).close()
    asked = []
    monkeypatch.setattr("ca.sqlite._bring_level", lambda *_: asked.append(1))
    database = Database(tmp_path / "test.db", [later, other])
    tables = {row["name"] for row in rows(look(database), "SELECT name FROM sqlite_master")}
    database.close()
    assert (asked, tables >= {"numbers", "more", "others"}) == ([], True)


async def test_a_failing_work_undoes_only_itself(database):
    """Works that share a commit do not share their failures."""
    outcomes = await asyncio.gather(
        *(database.write(insert(n)) for n in (1, 2, 2, 3)), return_exceptions=True
    )
    assert [type(o) for o in outcomes] == [int, int, UniqueViolation, int]
    assert numbers(database) == [1, 2, 3]


async def test_concurrent_works_share_commits(database):
    """A hundred concurrent works need far fewer than a hundred commits."""
    seen = []
    await asyncio.gather(
        *(database.write(lambda db, n=n: (insert(n)(db), seen.append(n))) for n in range(100))
    )
    assert sorted(seen) == list(range(100))
    assert numbers(database) == list(range(100))


async def test_who_reads_aside_one_after_the_other_has_one_cache(database):
    """Whichever thread it is: the connection that read last goes on; of two at once each has its own."""
    used, both = [], threading.Barrier(2, timeout=60)

    def work(db):
        used.append((db.conn, threading.get_ident()))
        # A read within it is one of the same state.
        assert database.read_now(lambda within: within) is db

    def meet(db):
        both.wait()
        work(db)

    # Each in a thread of its own.
    for _ in range(5):
        thread = threading.Thread(target=asyncio.run, args=(database.read_aside(work),))
        thread.start()
        thread.join()
    assert (len({conn for conn, _ in used}), len(used)) == (1, 5)
    used.clear()
    await asyncio.gather(database.read_aside(meet), database.read_aside(meet))
    assert len({conn for conn, _ in used}) == 2
    await asyncio.gather(database.read_aside(work), database.read_aside(meet), database.read_aside(meet))
    assert len(database._readers) <= 4


def test_two_processes_worth_of_connections_write(tmp_path):
    """A second opener of the same file writes too, and both see both."""
    with_one = Database(tmp_path / "two.db", [SCHEMA])
    with_two = Database(tmp_path / "two.db", [SCHEMA])
    with_one.write_now(insert(1))
    with_two.write_now(insert(2))
    assert numbers(with_one) == numbers(with_two) == [1, 2]
    with_one.close()
    with_two.close()


def test_readers_cannot_write(database):
    """The reading connection refuses statements that change anything."""
    with pytest.raises(StorageTrouble, match="readonly"):
        look(database).execute("INSERT INTO numbers(n) VALUES (9)")


def test_every_connection_has_the_cache_that_was_asked_for(tmp_path):
    """What a connection keeps of the file in memory is bounded by cache_mib, for readers and the writer."""

    def kib(db):
        return -db.one("PRAGMA cache_size")[0]

    database = Database(tmp_path / "small.db", [SCHEMA], cache_mib=3)
    try:
        assert database.read_now(kib) == database.write_now(kib) == 3 * 1024
    finally:
        database.close()


def test_closed_database_refuses_work(database):
    """Work handed in after close() is refused, not lost in silence."""
    database.close()
    with pytest.raises(StorageClosed):
        database.write_now(insert(1))


def test_the_file_is_private(database):
    """The database holds sealed secrets and hashes: nobody else on the machine reads it."""
    assert database.path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_none(tmp_path):
    """A damaged file, or a directory in its place, is the operator's to mend: named, with what to do."""
    (tmp_path / "damaged").write_bytes(b"no database at all" * 300)
    (tmp_path / "directory").mkdir()
    for name, words in (("damaged", "is damaged; restore it"), ("directory", "cannot be opened; see")):
        with pytest.raises(ConfigError) as caught:
            Database(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name} {words}")


def test_whose_trouble_it_is(database):
    """A statement of ours that is wrong is no trouble of the operator's."""
    with pytest.raises(StorageError) as caught:
        database.read_now(lambda db: db.rows("SELECT nothing FROM nowhere"))
    assert type(caught.value) is StorageError


def test_what_is_wiped_is_gone_from_the_files(database):
    """E1: neither the file nor its log keeps a value that was overwritten, once the log was emptied."""
    log = database.path.with_name("test.db-wal")
    secret = b"sealed" * 30
    database.write_now(lambda db: db.execute("CREATE TABLE keys(k BLOB)"))
    database.write_now(lambda db: db.execute("INSERT INTO keys VALUES (?)", [secret]))
    database.write_now(lambda db: db.execute("UPDATE keys SET k = NULL"))
    assert secret in log.read_bytes()
    database.scrub()
    assert secret not in log.read_bytes() + database.path.read_bytes()
    assert look(database).one("PRAGMA secure_delete")[0] == 1


def test_emptying_the_log_waits_for_nobody(database):
    """A reader or a writer of another process keeps the log, and the next time empties it."""
    log = database.path.with_name("test.db-wal")
    other = sqlite3.connect(database.path, isolation_level=None)
    for statement in ("BEGIN", "BEGIN IMMEDIATE"):
        database.write_now(insert(len(statement)))
        other.execute(statement)
        other.execute("SELECT * FROM numbers").fetchall()
        database.scrub()
        assert log.stat().st_size > 0
        other.execute("ROLLBACK")
        database.scrub()
        assert log.stat().st_size == 0
    other.close()


async def test_a_read_sees_one_state(database):
    """What is committed between two statements of one read is not seen by it, and by the next one it is."""
    database.write_now(insert(1))

    def count_twice(db):
        before = len(db.rows("SELECT n FROM numbers"))
        database.write_now(insert(2))
        return before, len(db.rows("SELECT n FROM numbers"))

    assert await database.read(count_twice) == (1, 1)
    assert await database.read(lambda db: len(db.rows("SELECT n FROM numbers"))) == 2
    assert await database.read(lambda db: database.read_now(lambda again: again is db))


async def test_the_number_changes_with_a_commit_only(database):
    """``changed`` is the sign that anything was committed: by whomever, and never by a read."""
    number = database.changed()
    numbers(database)
    assert database.changed() == number
    database.write_now(insert(1))
    assert database.changed() != number


async def test_a_read_after_the_end_is_refused(database):
    """As work is: nothing is answered out of a database that was closed."""
    numbers(database)
    database.close()
    with pytest.raises(StorageClosed):
        await database.read(lambda db: db.one("SELECT 1"))


async def together(database, *works):
    """What works that share one commit come to: a work before them lasts until all of them wait."""
    running, waiting = threading.Event(), threading.Event()

    def first(db):
        running.set()
        waiting.wait()

    before = asyncio.ensure_future(database.write(first))
    await asyncio.sleep(0)
    await asyncio.to_thread(running.wait)
    others = [asyncio.ensure_future(database.write(each)) for each in works]
    await asyncio.sleep(0)
    waiting.set()
    await before
    return await asyncio.gather(*others, return_exceptions=True)


def gathering(written):
    """Works that gather a number, and perhaps more; ``written`` is told what was written at once."""

    def write(db, some):
        written.append(list(some))
        for n in some:
            insert(n)(db)

    def work(n, then=lambda db: None):
        def both(db):
            db.gather(write, n)
            return then(db)

        return both

    return work


def fails(db):
    raise ValueError


def settles(db):
    db.settle()


def settles_and_fails(db):
    db.settle()
    raise ValueError


async def test_what_is_gathered_is_written_at_once(database):
    """Before the commit, for all works that share it; what one of them gathered goes with it."""
    written = []
    work = gathering(written)
    outcomes = await together(database, work(1), work(2, fails), work(3))
    assert [type(each) for each in outcomes] == [type(None), ValueError, type(None)]
    assert (written, numbers(database)) == ([[1, 3]], [1, 3])


async def test_what_is_settled_is_written_before_it_is_read(database):
    """That of the works before, too; and if the one that asked for it fails, theirs is written once more."""
    written = []
    work = gathering(written)
    read = work(2, lambda db: [db.settle(), [row["n"] for row in db.rows("SELECT n FROM numbers")]][1])
    assert await together(database, work(1), read, work(3)) == [None, [1, 2], None]
    assert written == [[1, 2], [3]]
    assert (await together(database, work(4), work(5, settles_and_fails), work(6)))[::2] == [None, None]
    assert written[2:] == [[4, 5], [4, 6]]
    assert numbers(database) == [1, 2, 3, 4, 6]
    await together(database, work(7, settles), work(8, fails), work(9))
    assert numbers(database) == [1, 2, 3, 4, 6, 7, 9]


def test_readers_gather_nothing(database):
    """What nobody would write is refused, as any other change is."""
    with pytest.raises(StorageTrouble, match="readonly"):
        database.read_now(gathering([])(1))
