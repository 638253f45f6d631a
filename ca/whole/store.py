"""Every statement about tables as such, whichever they are: rows in the order of their key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from ca.storage import LOOK, Reference, Row, Table, Transaction

# Characters and octets of a page, or one row that has more, and rows at most.
_LONGEST = 1 << 20
_MOST = 1_000


def pages(db: Transaction, table: Table) -> Iterator[Sequence[Row]]:
    """All rows in the order of the key, so many at a time as have a mebibyte: whoever reads them needs no
    more memory for a table of whatever length."""
    named, key = ", ".join(table.columns), ", ".join(table.key)
    marks = ", ".join(f":k{number}" for number in range(len(table.key)))
    size = " + ".join(f"coalesce(length({name}), 0)" for name in table.long) or "0"
    behind, values = "", dict[str, Any]()
    while sizes := db.rows(
        f"SELECT {size} AS size FROM {table.name}{behind} ORDER BY {key} LIMIT :limit{LOOK}",
        {**values, "limit": _MOST},
    ):
        lengths = accumulate(int(row[0]) for row in sizes)
        limit = max(1, sum(length <= _LONGEST for length in lengths))
        page = db.rows(
            f"SELECT {named} FROM {table.name}{behind} ORDER BY {key} LIMIT :limit{LOOK}",
            {**values, "limit": limit},
        )
        yield page
        behind = f" WHERE ({key}) > ({marks})"
        values = {f"k{number}": page[-1][name] for number, name in enumerate(table.key)}


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
