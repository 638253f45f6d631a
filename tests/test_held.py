"""What stands behind every write of every test finds those that would wait for each other elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca.sqlite import Database
from ca.storage import Schema, Step, Transaction, together

_SCHEMA = Schema("room", (Step("first", ("CREATE TABLE things (name TEXT PRIMARY KEY, of TEXT)",)),))
_ONE = "SELECT * FROM things WHERE name = :name"
_CHANGE = "UPDATE things SET of = :of WHERE name = :name"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path / "db", [_SCHEMA])
    for name in "ab":
        made.write_now(lambda db, name=name: db.execute("INSERT INTO things VALUES (:a, '')", {"a": name}))
    return made


def _shared(db: Transaction, name: str) -> None:
    assert db.one(_ONE + together("things"), {"name": name})


def _held(db: Transaction, name: str) -> None:
    assert db.one(_ONE, {"name": name})


def _changed(db: Transaction, name: str) -> None:
    assert db.execute(_CHANGE, {"name": name, "of": "x"}) == 1


@pytest.mark.parametrize("wants", [_held, _changed])
def test_together_and_then_alone_is_found(database: Database, wants: object) -> None:
    def work(db: Transaction) -> None:
        _shared(db, "a")
        wants(db, "a")  # type: ignore[operator]

    with pytest.raises(AssertionError, match="alone what it holds together"):
        database.write_now(work)
    database.close()


def test_what_is_held_alone_at_once_is_none(database: Database) -> None:
    """Nor is another row, nor what another work held, be it in the same commit, nor one that only reads."""

    def work(db: Transaction) -> None:
        _held(db, "a")
        _shared(db, "a")
        _changed(db, "a")
        _shared(db, "b")

    database.write_now(work)
    database.write_now(lambda db: _changed(db, "b"))
    database.read_now(lambda db: (_shared(db, "a"), _held(db, "a")))
    database.close()
