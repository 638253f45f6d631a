"""What a test sees when it looks into the database from outside, by statements of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ca.storage import Gathered, Row, Storage, Transaction, Values
from gateway.serving.deployment import SCHEMAS


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
