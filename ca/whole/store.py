"""Every statement about tables as such, whichever they are: rows in the order of their key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ca.storage import LOOK, Reference, Row, Table, Transaction

# Of a page: characters and octets that it has about, and rows at most. A row is as long as it is.
_PAGE = 1 << 20
_MOST = 1_000
_FIRST = 16


def pages(db: Transaction, table: Table, columns: Sequence[str] = ()) -> Iterator[Sequence[Row]]:
    """All rows, by the table's key, so many at a time that a page has about a mebibyte. ``columns``: of them;
    all in the schema's order."""
    named, key = ", ".join(columns or table.columns), ", ".join(table.key)
    places = [(columns or table.columns).index(name) for name in table.key]
    marks = ", ".join(f":k{number}" for number in range(len(table.key)))
    behind, values, limit, longest = "", dict[str, Any](), _FIRST, 1
    while page := db.rows(
        f"SELECT {named} FROM {table.name}{behind} ORDER BY {key} LIMIT :limit{LOOK}",
        {**values, "limit": limit},
    ):
        yield page
        longest = max(longest, max(map(_size, page)))
        limit = max(1, min(_MOST, 4 * limit, _PAGE // longest))
        behind = f" WHERE ({key}) > ({marks})"
        values = {f"k{number}": page[-1][place] for number, place in enumerate(places)}


def is_empty(db: Transaction, table: Table) -> bool:
    """Whether it has no row."""
    return db.one(f"SELECT 1 FROM {table.name} LIMIT 1{LOOK}") is None


def highest(db: Transaction, table: Table, column: str) -> int:
    """The highest number of a column; 0 where there is none."""
    row = db.one(f"SELECT coalesce(max({column}), 0) FROM {table.name}{LOOK}")
    assert row is not None
    return int(row[0])


def astray(db: Transaction, table: Table, reference: Reference, most: int) -> Sequence[Row]:
    """The keys of rows whose reference points at nothing, and at what."""
    named = ", ".join(f"one.{name}" for name in table.key)
    return db.rows(
        f"SELECT {named}, one.{reference.column} FROM {table.name} AS one"
        f" LEFT JOIN {reference.table} AS other ON other.{reference.to} = one.{reference.column}"
        f" WHERE one.{reference.column} IS NOT NULL AND other.{reference.to} IS NULL"
        f" ORDER BY {named} LIMIT :most{LOOK}",
        {"most": most},
    )


def _size(row: Row) -> int:
    return sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
