"""What writes read without holding it, found by every test, on the engine that has one writer.

SQLite holds whatever a write reads. Another engine holds the rows that a SELECT gives (``ca/dialect.py``),
and not what one counts, merges, or asks of other rows in between. Such a statement says in its last word that
somebody has thought of it (``ca/storage.py``); one that does not fails here, wherever a write runs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ca import sqlite
from ca.dialect import holds_all
from ca.storage import Row, Values


class _Watched(sqlite._Connection):
    """The transaction of a write."""

    __slots__ = ()

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        _look_at(statement)
        return super().one(statement, values)

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        _look_at(statement)
        return super().rows(statement, values)


def _look_at(statement: str) -> None:
    assert holds_all(statement), (
        f"a write looks at what it does not hold, and says no word of it: {statement}"
    )


def watch() -> None:
    """From now on, in this process, and in those that it forks."""
    sqlite._Connection = _Watched  # type: ignore[misc]
