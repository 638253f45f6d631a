"""What a store may ask of a database, whichever it is: ``ca/sqlite.py``, or ``ca/postgresql``.

Statements are SQL that SQLite and PostgreSQL both have, with values as ``:name`` and a mapping beside them.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ca.errors import ConfigError

T = TypeVar("T")

Values = Mapping[str, Any]
#: What the journal is told of a transaction: a kind, and facts about it that JSON can say.
Note = tuple[str, Mapping[str, Any]]
#: MiB of an engine's own cache, where it has one: a million certificates must not make an order dearer.
CACHE_MIB = 64


# How a write holds the rows that a SELECT of its gives: the statement's last word. Without one nobody else
# changes or holds them until the write has ended.
#: The same, said aloud: what the statement counts, merges or asks of other rows is only looked at.
ALONE = " /* alone */"
#: As ALONE, but rows that somebody else holds are passed over: a queue.
UNTAKEN = " /* untaken */"
#: Not at all: what rests on them is checked by the statement that writes, or held by another row.
LOOK = " /* look */"


def together(*tables: str) -> str:
    """The word by which nobody changes rows of these tables, but others may hold them too: what many rely on
    and few change. Rows of the statement's other tables are held as by ``ALONE``."""
    return f" /* together: {' '.join(tables)} */"


class Row(Protocol):
    """A row: values by name or position, and by ``**row``. Iterating it gives the values in order."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def keys(self) -> Iterable[str]: ...


class Transaction(Protocol):
    """What work is given. It ends with the work.

    What a read sees is one state. What a write sees is what is committed by then, and holds: a row that a
    SELECT of its gave is not changed by others until the write has ended, unless the statement says ``LOOK``.
    That is said of rows; that there are none, or no more, or how many, a write knows only from a row that
    whoever adds one holds as well.
    """

    def execute(self, statement: str, values: Values = ..., /) -> int:
        """Carries a change out and returns how many rows it changed."""

    def one(self, statement: str, values: Values = ..., /) -> Row | None:
        """The first row, or None."""

    def rows(self, statement: str, values: Values = ..., /) -> Sequence[Row]:
        """All rows."""

    def note(self, kind: str, /, **facts: Any) -> None:
        """Has the journal tell of it (``ca/journal.py``) before this transaction is committed, if it is. For
        what must never go backwards, whatever copy of the database is put back. No secrets."""

    def gather(self, write: Gathered, row: Any, /) -> None:
        """Has ``write`` write a row before this transaction is committed, together with all others that were
        gathered for it meanwhile, by whomever. Only for rows that nothing can be wrong with by then: an error
        of ``write`` undoes everybody's work."""

    def defer(self, statement: str, values: Values, /) -> None:
        """Carries a change out of which nothing has to be known, before whatever is asked for next, or the
        commit. An engine may send it along with that: then an error of it is raised there."""

    def settle(self) -> None:
        """Has done now what was gathered: before rows are read, or changed, that may be among those."""


Work = Callable[[Transaction], T]
#: Writes rows that were gathered for it, in their order.
Gathered = Callable[[Transaction, Sequence[Any]], None]


class Gathering:
    """What a transaction has gathered, and what of that is written. A work that is undone takes along what it
    gathered, and what was written within it alone."""

    __slots__ = ("_rows", "_written")

    def __init__(self) -> None:
        self._rows: list[tuple[Gathered, Any]] = []
        self._written = 0

    def add(self, write: Gathered, row: Any) -> None:
        self._rows.append((write, row))

    def settle(self, db: Transaction) -> None:
        """Writes what was not written yet."""
        if self._written == len(self._rows):
            return
        waiting, self._written = self._rows[self._written :], len(self._rows)
        by_writer: dict[Gathered, list[Any]] = {}
        for write, row in waiting:
            by_writer.setdefault(write, []).append(row)
        for write, rows in by_writer.items():
            write(db, rows)

    def mark(self) -> tuple[int, int]:
        """Where it stands, for `back`."""
        return len(self._rows), self._written

    def back(self, mark: tuple[int, int]) -> None:
        """Since that mark nothing has happened. What was gathered before it and written after it is written
        again."""
        rows, self._written = mark
        del self._rows[rows:]


class Recorder(Protocol):
    """What an engine asks before it commits a transaction that has left notes."""

    def record(self, db: Transaction, notes: Sequence[Note]) -> Callable[[], None]:
        """The notes are on disk when this returns; what it returns is called after the commit. An error
        undoes the transaction. Of several processes one at a time is between the two."""

    def check(self, db: Transaction) -> None:
        """On a new connection: StorageTrouble if the database has lost what it had committed."""

    def close(self) -> None:
        """Lets go of its files."""


class Source(Protocol):
    """What is handed to another process, so that it may look at the database for itself."""

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """The database as it is at one moment."""


class Storage(Protocol):
    """An opened database, safe to share between threads and tasks.

    Work is a plain function of a transaction. It may be run again from its beginning (an engine that many
    share gives way in a conflict), so it does nothing outside its transaction; and whatever has to be the
    same in each run (a token, a serial, a moment) is drawn before it.

    A commit that was asked for, and whose answer was lost on its way, is looked up: it was made, and the work
    is done, or it was not, and the work is run again. If nobody can be asked, StorageTrouble says so.
    """

    @property
    def folder(self) -> Path:
        """In which directory lies what is no row: lists, the outbox."""

    @property
    def shared(self) -> bool:
        """Whether several directories share it, each with files of its own."""

    async def read(self, work: Work[T]) -> T:
        """Runs work that only reads. It sees everything whose ``write`` has returned.

        Never believe afterwards that nothing has changed since: a ``write`` checks again.
        """

    async def read_aside(self, work: Work[T]) -> T:
        """``read`` for work that looks at whole tables: nobody else waits for it."""

    async def write(self, work: Work[T]) -> T:
        """Runs work as one transaction and returns when it is on disk.

        An exception from the work undoes it and is raised here. If the caller is cancelled the work is
        still done.
        """

    def read_now(self, work: Work[T]) -> T:
        """``read`` for callers without an event loop; blocks."""

    def write_now(self, work: Work[T]) -> T:
        """``write`` for callers without an event loop; blocks."""

    def holds_up(self) -> bool:
        """Whether an event loop would have to wait for ``read_now`` here: whoever runs in one awaits ``read``
        where this is so."""

    def changed(self) -> int:
        """A number that differs from an earlier one of this thread's if anything was committed in between,
        by whatever process; where nobody can say that for two seconds it differs each time, and is negative.
        Much cheaper than any look-up."""

    @property
    def source(self) -> Source:
        """How another process reads it."""

    def size(self) -> int:
        """How many bytes it takes. Blocks."""

    def condition(self) -> Condition | None:
        """How its server is; None for an engine that has none. Blocks."""

    def hold(self, lost: Callable[[], None]) -> None:
        """Opens now whatever it is ever to open, for a process that may open nothing afterwards. ``lost`` is
        called, in a thread of the engine's, when that does not do any more. Blocks."""

    def scrub(self) -> None:
        """Does away with what the engine still keeps of values that were wiped. Blocks."""

    def close(self) -> None:
        """Finishes the work handed in so far and lets go."""


async def unblocked(database: Storage, asks: Callable[[], T]) -> T:
    """What is given by what calls ``read_now``: in a thread where an event loop would have to wait for it."""
    if not database.holds_up():
        return asks()
    import asyncio  # here, since most commands load this module and never come so far

    return await asyncio.to_thread(asks)


@dataclass(frozen=True)
class Condition:
    """How a database server is. ``loses``: its settings by which it may lose what it has committed;
    ``connections``: of everybody, and how many there may be; ``ahead``: seconds of its clock before ours."""

    where: str
    version: str
    writable: bool
    loses: tuple[str, ...]
    connections: int
    most: int
    ahead: float


@dataclass(frozen=True)
class Step:
    """One change of the tables: its name, for good, and its statements.

    Types are INTEGER (64 bits), REAL, TEXT (ordered by code point), BLOB, and IDENTITY: the primary key that
    the database numbers by itself, upwards.
    """

    name: str
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Schema:
    """The tables of a room, as the steps that lead to them. What was released is never edited."""

    room: str
    steps: tuple[Step, ...]


#: What a database's tables are: table -> what of it (``column serial``, ``index certificates_held``) -> how
#: the engine says that. Of two that are alike no word differs.
Shape = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Reference:
    """A column whose values are another table's."""

    column: str
    table: str
    to: str


@dataclass(frozen=True)
class Table:
    """A table as its schema has it. ``key``: the columns that name a row, in their order; ``long``: those
    that have text or octets, of whatever length; ``identity``: the one that the database numbers, or ""."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    long: tuple[str, ...]
    references: tuple[Reference, ...]
    identity: str


class Filling(Transaction, Protocol):
    """A database that is being filled: nothing of it is there for anybody else before all of it is."""

    def clear(self, tables: Sequence[str], /) -> None:
        """Takes every row of these tables away."""

    def put(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        """Adds rows as they are, numbers included."""

    def go_on(self, table: str, column: str, /) -> None:
        """Has the database number that column on from the highest that is there."""


class Whole(Protocol):
    """A database as a whole, for whoever compares or copies all of it: nobody opens it for work by this."""

    @property
    def name(self) -> str:
        """As operators know it; says no password."""

    def exists(self) -> bool:
        """Whether it has tables. ConfigError where nobody can tell."""

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """As it is at one moment, whoever writes to it meanwhile."""

    def held(self, tables: Sequence[Table]) -> AbstractContextManager[Transaction]:
        """Nobody else writes to it until the block has ended; what the block writes is committed by its end,
        unless that is an exception."""

    def filling(self, schemas: Sequence[Schema]) -> AbstractContextManager[Filling]:
        """The same of one that is new, or has been filled before: its tables are made first. Committed, as a
        whole, by the end of the block. ConfigError for one that is newer than the schemas."""

    def shape(self, db: Transaction) -> Shape:
        """Its tables as they are."""

    def made_shape(self, schemas: Sequence[Schema]) -> Shape:
        """How they would be if they were made now."""

    def steps(self, db: Transaction) -> frozenset[tuple[str, str]]:
        """The steps that it has taken: room and name of each."""

    def damage(self, db: Transaction) -> Sequence[str]:
        """What the engine itself finds wrong, where it can be asked."""

    def numbering(self, db: Transaction, table: str, column: str) -> int | None:
        """The last number that it has given to that column; None where it goes by the rows alone."""

    def others(self, db: Transaction) -> Sequence[str]:
        """Who else is connected to it, where a server can tell."""


def newer_than(schemas: Iterable[Schema], taken: Iterable[tuple[str, str]]) -> str:
    """What is to be said of a database that has taken steps which these schemas do not have; "" for any
    other. Rooms that they do not have are another's."""
    known = {(schema.room, step.name) for schema in schemas for step in schema.steps}
    rooms = {room for room, _ in known}
    steps = ", ".join(f"{room}: {name}" for room, name in sorted(set(taken) - known) if room in rooms)
    if not steps:
        return ""
    return (
        f"the database has been used by a newer sekisho ({steps}); run that one, or: pip install -U sekisho"
    )


class StorageError(Exception):
    """A statement failed; unless it is of a kind below the fault is ours. ``name``: in the engine's words,
    without anything that the statement said."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name or type(self).__name__


class UniqueViolation(StorageError):
    """There is such a row already. The transaction is over: where that is no accident, ask with
    ``ON CONFLICT (...) DO NOTHING``."""


class StorageTrouble(StorageError):
    """The database, or the disk below it, is at fault. What failed is undone, and may be asked for again.
    ``trouble``: what the operator has to mend, in words that follow the database's name."""

    def __init__(self, message: str, name: str, trouble: str) -> None:
        super().__init__(message, name)
        self.trouble = trouble


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO})


def is_out_of_order(error: BaseException) -> bool:
    """Whether the database, or the disk that it is on, is at fault: for the operator to mend, and nobody
    else. What failed is undone, and may be asked for again."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return isinstance(error, StorageTrouble)


def in_log(error: BaseException) -> str:
    """An error as the log has it: the operator's to mend in words, with what to type; anything else by its
    type and place, since its own words may quote what somebody typed."""
    if isinstance(error, StorageTrouble):
        return f"the database {error.trouble}"
    if isinstance(error, ConfigError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        if is_out_of_order(error):
            return f"{name}; make room, or see what is wrong: df -h; dmesg"
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return " in ".join([name, *(f"{each.name}:{each.lineno}" for each in frames)])


class StorageClosed(RuntimeError):
    """Work was handed in after ``close``."""


def inserting(table: str, columns: Iterable[str]) -> str:
    """A statement that records a row whose values are named as its columns are."""
    names = list(columns)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})"


def inserting_many(table: str, columns: Sequence[str], count: int) -> tuple[str, Sequence[str]]:
    """A statement that records so many rows, and the names of their values, row by row. An engine takes some
    thousand names at once."""
    rows = [[f"{name}_{number}" for name in columns] for number in range(count)]
    values = ", ".join(f"({', '.join(':' + name for name in row)})" for row in rows)
    names = [each for row in rows for each in row]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}", names


def all_of(terms: Iterable[str]) -> str:
    """What a statement says after WHERE of rows for which each of these holds: of all, for none."""
    return " AND ".join(terms) or "1 = 1"


def count_of(db: Transaction, tables: str, terms: Iterable[str], values: Values) -> int:
    """How many rows there are for which each of these holds; nothing is held by that."""
    row = db.one(f"SELECT count(*) AS n FROM {tables} WHERE {all_of(terms)}{LOOK}", values)
    assert row is not None
    return int(row["n"])
