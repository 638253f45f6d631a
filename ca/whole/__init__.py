"""All of a database copied into another one, and whether both are the same: page by page, by key.

Nothing here knows what the tables are about, nor which engine has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ca.errors import ConfigError
from ca.storage import Filling, Row, Shape, StorageError, StorageTrouble, Table, Transaction
from ca.whole import store


@dataclass(frozen=True)
class Sum:
    """What a table has: its rows, and SHA-256 (hex) over them in the order of their key, each as Python's
    ``ascii`` of its values in the schema's order, and a line feed."""

    table: str
    rows: int
    digest: str


def copied(source: Transaction, target: Filling, tables: Iterable[Table]) -> Iterator[Sum]:
    """Copies tables, each behind those that it refers to, and says of each what was read. ConfigError for a
    row that the other engine does not take."""
    for table in tables:
        summed = _Summed()
        for page in store.pages(source, table):
            summed.add(page)
            try:
                target.put(table.name, table.columns, [tuple(row) for row in page])
            except StorageTrouble:
                raise  # no row's fault
            except StorageError as error:
                first, last = (_key(table, page[at]) for at in (0, -1))
                raise ConfigError(
                    f"{table.name}, a row from {first} to {last} is not taken there ({error.name}): nothing "
                    "was copied; see what is wrong with it: sekisho db check"
                ) from error
        if table.identity:
            target.go_on(table.name, table.identity)
        yield Sum(table.name, summed.rows, summed.digest)


def sums(db: Transaction, tables: Iterable[Table]) -> Iterator[Sum]:
    """The same of tables that are there."""
    for table in tables:
        summed = _Summed()
        for page in store.pages(db, table):
            summed.add(page)
        yield Sum(table.name, summed.rows, summed.digest)


def differences(found: Shape, made: Shape) -> list[str]:
    """What of tables is not as it would be made, in words; a table's definition only if nothing smaller says
    what of it differs."""
    wrong = [f"table {name} is missing" for name in sorted(made.keys() - found.keys())]
    wrong += [f"table {name} is none of ours" for name in sorted(found.keys() - made.keys())]
    for name in sorted(made.keys() & found.keys()):
        own = list(_parts(name, found[name], made[name]))
        wrong += [each for part, each in own if part != "definition" or len(own) == 1]
    return wrong


def _parts(table: str, found: Mapping[str, str], made: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for part in sorted(made.keys() | found.keys()):
        if part not in found:
            yield part, f"table {table}: {part} is missing"
        elif part not in made:
            yield part, f"table {table}: {part} is none of ours"
        elif found[part] != made[part]:
            yield part, f"table {table}: {part} is {found[part]!r}, and not {made[part]!r}"


class _Summed:
    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()

    def add(self, page: Sequence[Row]) -> None:
        self.rows += len(page)
        self._digest.update("".join(f"{tuple(row)!a}\n" for row in page).encode())

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


def _key(table: Table, row: Row) -> str:
    return " ".join(str(row[name]) for name in table.key)
