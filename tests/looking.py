"""What a test sees when it looks into the database from outside, by statements of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ca.storage import Gathered, Row, Storage, Transaction, Values, Work
from gateway.serving.deployment import SCHEMAS

T = TypeVar("T")


def look(database: Storage) -> Transaction:
    """A transaction in which each statement is a read of its own: always of what is there now."""
    return _Look(database)


_TABLE = re.compile(r"(?:\s*--[^\n]*\n)*\s*CREATE TABLE (\w+)")


class _Look:
    def __init__(self, database: Storage) -> None:
        self._database = database

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        return self._database.read_now(lambda db: db.execute(statement, values))

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        return self._database.read_now(lambda db: db.one(statement, values))

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        return self._database.read_now(lambda db: db.rows(statement, values))

    def note(self, kind: str, /, **facts: Any) -> None:
        raise AssertionError("nothing is changed by looking")

    def gather(self, write: Gathered, row: Any, /) -> None:
        raise AssertionError("nothing is changed by looking")

    def defer(self, statement: str, values: Values, /) -> None:
        raise AssertionError("nothing is changed by looking")

    def settle(self) -> None:
        """Nothing was gathered."""


def tables() -> list[str]:
    """The names of all tables, as the rooms' schemas make them."""
    statements = (each for schema in SCHEMAS for step in schema.steps for each in step.statements)
    return [found[1] for each in statements if (found := _TABLE.match(each))]


def cells(database: Storage) -> Iterator[tuple[str, str, Any]]:
    """Everything that stands in the database: table, column, value."""
    db = look(database)
    for table in tables():
        for row in db.rows(f"SELECT * FROM {table}"):
            yield from ((table, name, row[name]) for name in row.keys())  # noqa: SIM118  a row is no mapping


class Counting:
    """A database that counts what asks to write: ``writes``."""

    def __init__(self, database: Storage) -> None:
        self._database, self.writes = database, 0

    async def write(self, work: Work[T]) -> T:
        self.writes += 1
        return await self._database.write(work)

    def write_now(self, work: Work[T]) -> T:
        self.writes += 1
        return self._database.write_now(work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


@contextmanager
def refusing(database: Storage, table: str) -> Iterator[None]:
    """Each change of one of the table's rows is a fault of the database's."""
    trigger = f"CREATE TRIGGER refuses BEFORE UPDATE ON {table} "
    made, ends = [trigger + "BEGIN SELECT RAISE(ABORT, 'no'); END"], ["DROP TRIGGER refuses"]
    if database.shared:
        function = "CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS"
        made = [
            f"{function} 'BEGIN RAISE EXCEPTION ''no''; END'",
            trigger + "FOR EACH ROW EXECUTE FUNCTION refuses()",
        ]
        ends = ["DROP FUNCTION refuses() CASCADE"]
    database.write_now(lambda db: [db.execute(each) for each in made])
    try:
        yield
    finally:
        database.write_now(lambda db: [db.execute(each) for each in ends])


def rows(
    db: Transaction, statement: str, values: Mapping[str, Any] | Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """All rows as dictionaries, which can be compared and searched."""
    return [{**row} for row in db.rows(statement, values)]  # type: ignore[arg-type]


class _Told:
    """A transaction that is written down."""

    def __init__(self, db: Transaction, asked: list[tuple[str, Values]]) -> None:
        self._db, self._asked = db, asked

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        self._asked.append((statement, values))
        return self._db.execute(statement, values)

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        self._asked.append((statement, values))
        return self._db.one(statement, values)

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        self._asked.append((statement, values))
        return self._db.rows(statement, values)

    def note(self, kind: str, /, **facts: Any) -> None:
        self._db.note(kind, **facts)

    def gather(self, write: Gathered, row: Any, /) -> None:
        self._db.gather(write, row)

    def defer(self, statement: str, values: Values, /) -> None:
        self._asked.append((statement, values))
        self._db.defer(statement, values)

    def settle(self) -> None:
        self._db.settle()


def told(db: Transaction, asked: list[tuple[str, Values]]) -> Transaction:
    """The same transaction, which adds every statement and its values to a list."""
    return _Told(db, asked)
