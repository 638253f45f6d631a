"""The whole flow, and issuance through the protocol, on an engine that pauses and repeats (tests/engines.py).

All tests of ``enroll`` run on it by ``make test-engines``.
"""

import asyncio

import pytest

from ca.sqlite import Database
from ca.storage import StorageError
from tests.engines import VARIABLE, Hesitant, on_engine
from tests.enroll.acme.test_acme_issuing import *  # noqa: F403
from tests.enroll.test_flow import *  # noqa: F403


@pytest.fixture(autouse=True)
def another_engine(monkeypatch):
    monkeypatch.setenv(VARIABLE, "hesitant")


@pytest.fixture
def database(tmp_path):
    database = on_engine(Database(tmp_path / "t.db"))
    database.write_now(lambda db: db.execute("CREATE TABLE IF NOT EXISTS t (x)"))
    yield database
    database.close()


async def test_work_is_repeated_and_counts_once(database):
    """It pauses and runs works in vain, or the tests above show nothing; what is written is there once."""
    assert isinstance(database, Hesitant)
    runs, turns = [], []

    async def others():
        for _ in range(1_000_000):
            turns.append(1)
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    for _ in range(40):
        await database.write(lambda db: (runs.append(1), db.execute("INSERT INTO t VALUES (1)")))
    assert 45 < len(runs) < 75
    assert await database.read(lambda db: db.one("SELECT count(*) FROM t")[0]) == 40
    assert len(turns) >= 80
    beside.cancel()


async def test_work_that_fails_leaves_nothing(database):
    """However often it was run."""
    for _ in range(10):
        with pytest.raises(StorageError):
            await database.write(
                lambda db: (db.execute("INSERT INTO t VALUES (1)"), db.execute("no statement"))
            )
    assert database.read_now(lambda db: db.one("SELECT count(*) FROM t")[0]) == 0
