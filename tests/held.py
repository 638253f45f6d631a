"""What writes read without holding it, found by every test, on the engine that has one writer.

SQLite holds whatever a write reads. Another engine holds the rows that a SELECT gives (``ca/dialect.py``),
and not what one counts, merges, or asks of other rows in between. Such a statement says in its last word that
somebody has thought of it (``ca/storage.py``); one that does not fails here, wherever a write runs it.

So does a write that holds a row together with others and then wants it alone: two that do wait for each
other, until the server ends one of them after a second.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

from ca import sqlite
from ca.dialect import holding, holds_all
from ca.storage import Row, Transaction, Values, Work

_ALONE, _TOGETHER = (
    re.compile(r"FOR NO KEY UPDATE OF ([\w, ]+?)(?: FOR|$)"),
    re.compile(r"FOR SHARE OF ([\w, ]+)"),
)
_CHANGES = re.compile(r"\s*(?:UPDATE|DELETE FROM) (\w+)")

#: A table, and by which values rows of it were asked for.
Rows = tuple[str, frozenset[tuple[str, Any]]]


class _Watched(sqlite._Connection):
    """The transactions of a writer. ``alone``, ``together``: what the work that runs now holds."""

    __slots__ = ("alone", "together")

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__(conn)
        self.alone, self.together = set[Rows](), set[Rows]()

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        changed = super().execute(statement, values)
        if changed and (found := _CHANGES.match(statement)):
            self._take((found[1], _told(values)), statement)
        return changed

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        _look_at(statement)
        found = super().one(statement, values)
        if found is not None:
            self._hold(statement, values)
        return found

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        _look_at(statement)
        found = super().rows(statement, values)
        if found:
            self._hold(statement, values)
        return found

    def _hold(self, statement: str, values: Values) -> None:
        words = holding(statement)
        for table in _named(_ALONE, words):
            self._take((table, _told(values)), statement)
        for table in _named(_TOGETHER, words):
            rows = table, _told(values)
            if not any(_same(each, rows) for each in self.alone):
                self.together.add(rows)

    def _take(self, rows: Rows, statement: str) -> None:
        assert not any(_same(each, rows) for each in self.together), (
            f"a write wants alone what it holds together with others; hold it alone at once: {statement}"
        )
        self.alone.add(rows)


class _Job(sqlite._Job):
    """Each work holds what it holds: others of the same commit are transactions of their own elsewhere."""

    __slots__ = ()

    def __init__(self, work: Work[Any], *more: Any) -> None:
        super().__init__(_begun(work), *more)


def _begun(work: Work[Any]) -> Work[Any]:
    def begun(db: Transaction) -> Any:
        if isinstance(db, _Watched):
            db.alone.clear()
            db.together.clear()
        return work(db)

    return begun


def _told(values: Values) -> frozenset[tuple[str, Any]]:
    return frozenset((name, each) for name, each in values.items() if isinstance(each, str | int))


def _named(words: re.Pattern[str], held: str) -> list[str]:
    found = words.search(held)
    return found[1].split(", ") if found else []


def _same(some: Rows, others: Rows) -> bool:
    """Whether they are rows of one table that were asked for by the same values, as far as can be told."""
    return some[0] == others[0] and some[1] <= others[1]


def _look_at(statement: str) -> None:
    assert holds_all(statement), (
        f"a write looks at what it does not hold, and says no word of it: {statement}"
    )


def watch() -> None:
    """From now on, in this process, and in those that it forks."""
    sqlite._Connection, sqlite._Job = _Watched, _Job  # type: ignore[misc]
