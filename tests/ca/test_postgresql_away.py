"""A server that is away: noticed in two seconds, refused at once until it is back, and then all is well."""

import asyncio
import gc
import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("asyncpg", reason="asyncpg is not installed: pip install '.[postgres]'")

from ca.databaseserver import parse
from ca.errors import ConfigError
from ca.postgresql.database import AWAY, Database
from ca.revocation import RevocationStatus
from ca.storage import Schema, Step, StorageTrouble
from gateway.serving.statuses import Statuses
from tests import databases, wires
from tests.ports import free_port
from tests.wires import CUT, DEAF, OPEN

pytestmark = databases.NEEDED

PATIENCE = 60.0
SCHEMA = Schema("room", (Step("first", ("CREATE TABLE things (id IDENTITY, name TEXT NOT NULL UNIQUE)",)),))


@pytest.fixture(scope="module")
def cluster():
    with databases.temporary() as cluster, cluster.running():
        yield cluster


@pytest.fixture
def wire(cluster):
    with wires.wire(cluster.folder) as wire:
        yield wire


@pytest.fixture
def opened(cluster, wire, tmp_path, request):
    """The database by the wire, behind another host at which nobody is."""
    name = "t" + str(abs(hash(request.node.nodeid)))
    databases._make(cluster, name, "template0")
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{wire.port}"
    server = replace(parse(f"postgresql://postgres@{hosts}/{name}"), tls=False)
    database = Database(server, tmp_path, [SCHEMA])
    yield database
    wire.become(OPEN)
    database.close()


async def test_whoever_looks_by_another_connection_knows_nothing_of_before(opened):
    """It may be another server by now, whose numbers say nothing about what was read from the first."""
    await until(lambda: not unknown(opened))
    before = opened.changed()
    looking = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE :query"
    query = {"query": "SELECT pg_current_snapshot%"}
    await opened.read(lambda db: db.rows(f"{looking} AND datname = current_database()", query))
    await until(lambda: not unknown(opened) and opened.changed() != before)


def one(db):
    return db.one("SELECT 1")[0]


def add(name):
    return lambda db: db.execute("INSERT INTO things (name) VALUES (:name)", {"name": name})


async def until(found):
    async with asyncio.timeout(PATIENCE):
        while not found():
            await asyncio.sleep(0.02)


def is_away(database):
    return database._away is not None


def unknown(database):
    return database.changed() != database.changed()


@pytest.mark.parametrize("mood", [DEAF, CUT])
async def test_away_and_back(opened, wire, mood):
    """What is asked meanwhile is refused, what waited is cut off; back, it goes on by itself."""
    assert await opened.read(one) == 1
    await until(lambda: not unknown(opened))
    wire.become(mood)
    waiting = asyncio.create_task(opened.read(one))
    await until(lambda: is_away(opened))
    with pytest.raises(StorageTrouble):
        await waiting
    assert unknown(opened)
    begun = time.monotonic()
    for work in (opened.read(one), opened.write(add("meanwhile"))):
        with pytest.raises(StorageTrouble):
            await work
    with pytest.raises(StorageTrouble):
        await asyncio.to_thread(opened.read_now, one)
    # Nobody was waited for: not even one of the deadlines, of five seconds and more.
    assert time.monotonic() - begun < 5
    wire.become(OPEN)
    await until(lambda: not is_away(opened))
    await opened.write(add("after"))
    assert [row[0] for row in await opened.read(lambda db: db.rows("SELECT name FROM things"))] == ["after"]
    await until(lambda: not unknown(opened))


async def test_who_closes_waits_for_no_server_that_is_silent(opened, wire):
    """What is still asked of it is cut off as ever, and connections that rest are let go of."""
    asked = threading.Event()
    await asyncio.gather(*(opened.write(add(f"{n}")) for n in range(4)))

    def work(db):
        one(db)
        wire.become(DEAF)
        asked.set()
        return one(db)

    waiting = asyncio.create_task(opened.read(work))
    await asyncio.to_thread(asked.wait, PATIENCE)
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(opened.close)
    with pytest.raises(StorageTrouble):
        await waiting


async def test_resting_connections_to_a_silent_server_are_let_go_of(opened, wire):
    """Whoever closes asks each of them for something, and waits for all together as long as for one."""
    await asyncio.gather(*(opened.write(add(f"{n}")) for n in range(4)))
    wire.become(DEAF)
    begun = time.monotonic()
    await asyncio.to_thread(opened.close)
    assert time.monotonic() - begun < 2 * opened._server.connect + 10


class Silencing:
    """A journal that makes the server silent when a new connection is to be compared."""

    def __init__(self, wire):
        self.wire = wire

    def check(self, db):
        self.wire.become(DEAF)
        one(db)

    def close(self):
        pass


def test_a_server_that_is_silent_while_it_is_compared_is_waited_for_no_longer(cluster, wire, tmp_path):
    databases._make(cluster, "compared", "template0")
    server = replace(parse(f"postgresql://postgres@127.0.0.1:{wire.port}/compared"), tls=False, statement=0.5)
    with pytest.raises(ConfigError, match="cannot be reached"):
        Database(server, tmp_path, made=False, journal=Silencing(wire))


@pytest.fixture
def unheard(caplog):
    """What asyncio says of errors that nobody was told of."""

    def said():
        # It is said when the last who could have asked is gone.
        gc.collect()
        return [each.getMessage() for each in caplog.records if each.name == "asyncio"]

    return said


@pytest.mark.parametrize("ask", ["read", "write"])
async def test_whoever_has_left_is_told_nothing(opened, wire, unheard, ask):
    """A caller that was cancelled is not there when its work fails: asyncio logs no error of that. The twin,
    who waits, is told."""
    await until(lambda: not unknown(opened))
    held, go_on = threading.Event(), threading.Event()

    def work(db):
        held.set()
        go_on.wait(PATIENCE)
        return one(db)

    leaves = asyncio.create_task(getattr(opened, ask)(work))
    await asyncio.to_thread(held.wait, PATIENCE)
    # Only now: before, it might be done already.
    waits = asyncio.create_task(getattr(opened, ask)(one))
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    wire.become(CUT)
    go_on.set()
    with pytest.raises(StorageTrouble):
        await waits
    await until(lambda: is_away(opened) and not opened._used)
    del leaves, waits
    assert unheard() == []


async def test_slow_is_not_away(opened, wire):
    """A server that takes its time is waited for; one that takes longer than a look waits is away."""
    wire.become(OPEN, 0.05)
    assert await opened.read(one) == 1
    await asyncio.sleep(2 * AWAY)
    assert not is_away(opened)
    assert await opened.write(add("slowly")) == 1
    wire.become(OPEN, 5.0)
    await until(lambda: is_away(opened))
    wire.become(OPEN)
    await until(lambda: not is_away(opened))


async def test_whoever_wakes_knows_nothing(opened):
    """A process that stood still for longer than two seconds asks before it believes what it knew."""
    await until(lambda: not unknown(opened))
    held, go_on = threading.Event(), threading.Event()
    opened._loop.loop.call_soon_threadsafe(lambda: (held.set(), go_on.wait(PATIENCE)))
    await asyncio.to_thread(held.wait)
    await until(lambda: unknown(opened))
    assert not is_away(opened)
    go_on.set()
    await until(lambda: not unknown(opened))


async def test_the_loop_goes_on_while_a_silent_server_is_asked_for_somebody(opened, wire, monkeypatch):
    """Who comes waits until it is known that nobody can be asked; everybody else is served meanwhile. What
    was asked before a commit is nobody's answer who comes after it."""
    asked = []
    monkeypatch.setattr(
        "ca.store.certificate_status",
        lambda db, each: (asked.append(each), one(db), RevocationStatus.GOOD)[2],
    )
    statuses, told = Statuses(opened), []

    def ask(who):
        return statuses.ready(who, lambda: told.append((who, statuses(who))))

    assert not ask("00")
    await until(lambda: told)
    assert (told, ask("00"), statuses("00"), asked) == (
        [("00", RevocationStatus.GOOD)],
        True,
        RevocationStatus.GOOD,
        ["00"],
    )
    waiting = ask("01"), await opened.write(add("one")), ask("01"), ask("01")
    assert waiting == (False, 1, False, False)
    await until(lambda: len(told) == 4)
    assert asked.count("01") == 2
    wire.become(DEAF)
    assert not ask("02")
    turns = 0
    async with asyncio.timeout(PATIENCE):
        while len(told) == 4:
            turns += 1
            await asyncio.sleep(0)
    assert (told[4:], turns > 100) == ([("02", RevocationStatus.UNASKED)], True)
    assert statuses("02") is RevocationStatus.UNASKED


async def test_what_was_heard_counts_once_it_is_taken_in(cluster, tmp_path):
    """At no moment is a look said to be answered while what it has seen does not show yet: another thread may
    ask at any moment, and a process stand still at any."""
    databases._make(cluster, "taken_in", "template0")
    at_once, afterwards = [], []

    class Watched(Database):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "_heard_at" and "_looking" in self.__dict__:
                at_once.append(self._committed)
                self._loop.loop.call_soon(lambda: afterwards.append(self._committed))

    server = parse(f"postgresql://postgres@/taken_in?host={cluster.folder}")
    watched, other = (kind(server, tmp_path, [SCHEMA]) for kind in (Watched, Database))
    try:
        for number in range(3):
            before = watched.changed()
            await other.write(add(f"by another one {number}"))
            await until(lambda before=before: watched.changed() > before)
        await until(lambda: afterwards and afterwards[-1] == watched.changed())
    finally:
        other.close()
        watched.close()
    assert max(afterwards) >= 3
    assert at_once[: len(afterwards)] == afterwards


def test_of_whom_nobody_can_say_anything(opened, wire, monkeypatch):
    """A status that was known is asked again; where nobody answers it is none."""
    monkeypatch.setattr("ca.store.certificate_status", lambda db, _: one(db) and RevocationStatus.GOOD)
    statuses = Statuses(opened)
    assert statuses("00") is RevocationStatus.GOOD
    wire.become(CUT)
    ends = time.monotonic() + PATIENCE
    while statuses("00") is RevocationStatus.GOOD:
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert statuses("00") is RevocationStatus.UNASKED
    wire.become(OPEN)
    while statuses("00") is not RevocationStatus.GOOD:
        assert time.monotonic() < ends
        time.sleep(0.02)
