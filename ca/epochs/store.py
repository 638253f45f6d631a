"""Every statement about epochs, and about what is sealed under them, wherever it is. Keys are in no table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ca.epochs.keyfiles import NAME_BYTES
from ca.storage import LOOK, UNTAKEN, Row, Transaction, inserting, together

_VERSION = b"w1"
#: Of what is sealed, before what the epoch's key opens.
HEAD_BYTES = len(_VERSION) + NAME_BYTES


@dataclass(frozen=True)
class Place:
    """A column that has something sealed, or NULL, and the unique one that names its records."""

    table: str
    record: str
    column: str


@dataclass(frozen=True)
class Epoch:
    """A period whose key is its own. ``used_at``: since when every node may seal under it. ``retired_at``:
    since when nothing is sealed under it, nor will be."""

    number: int
    name: bytes
    begun_at: int
    used_at: int | None
    retired_at: int | None


@dataclass(frozen=True)
class Ask:
    """A node wants the key of an epoch (`ca.epochs.sharing`)."""

    epoch: bytes
    public: bytes
    tag: bytes
    asked_at: int


def head_of(name: bytes) -> bytes:
    """How everything begins that is sealed under an epoch's key."""
    return _VERSION + name


# -- epochs ----------------------------------------------------------------------------------------------

_EPOCH = "SELECT number, name, begun_at, used_at, retired_at FROM epochs"


def begin(db: Transaction, name: bytes, at: int, used_at: int | None) -> None:
    """Begins an epoch, whose key is on disk."""
    values = {"name": name, "begun_at": at, "used_at": used_at}
    db.execute(inserting("epochs", values), values)


def use(db: Transaction, name: bytes, at: int) -> None:
    """Every node may seal under it from now on."""
    db.execute(
        "UPDATE epochs SET used_at = :at WHERE name = :name AND used_at IS NULL", {"at": at, "name": name}
    )


def open_ones(db: Transaction) -> Sequence[Epoch]:
    """Those under which something is sealed, or may be, the newest first."""
    # Whoever seals in one holds it together with others who do: nobody retires it until that is committed.
    statement = f"{_EPOCH} WHERE retired_at IS NULL ORDER BY number DESC{together('epochs')}"
    return [_of(row) for row in db.rows(statement)]


def every(db: Transaction) -> Sequence[Epoch]:
    """Those as well that are retired and whose key is still to be destroyed, the newest first."""
    return [_of(row) for row in db.rows(f"{_EPOCH} ORDER BY number DESC{LOOK}")]


def hold(db: Transaction, name: bytes) -> bool:
    """Keeps everybody from sealing in an epoch until this write has ended. False if somebody does just now,
    or it is retired."""
    row = db.one(f"{_EPOCH} WHERE name = :name AND retired_at IS NULL{UNTAKEN}", {"name": name})
    return row is not None


def retire(db: Transaction, name: bytes, at: int) -> None:
    """Nothing is sealed under it any more: said in the transaction that holds it and has looked."""
    db.execute(
        "UPDATE epochs SET retired_at = :at WHERE name = :name AND retired_at IS NULL",
        {"at": at, "name": name},
    )


def drop(db: Transaction, name: bytes) -> None:
    """Forgets an epoch whose key was destroyed, and who asked for it."""
    db.execute("DELETE FROM epoch_asks WHERE epoch = :name", {"name": name})
    db.execute("DELETE FROM epochs WHERE name = :name AND retired_at IS NOT NULL", {"name": name})


def _of(row: Row) -> Epoch:
    number, name, begun_at, used_at, retired_at = row
    return Epoch(number, bytes(name), begun_at, used_at, retired_at)


# -- keys on their way to another node -------------------------------------------------------------------


def ask(db: Transaction, wanted: Ask) -> None:
    """Publishes that a key is wanted."""
    values = asdict(wanted)
    db.execute(inserting("epoch_asks", values), values)


def asks(db: Transaction) -> Sequence[Ask]:
    """Those that nobody has answered."""
    found = db.rows(f"SELECT epoch, public, tag, asked_at FROM epoch_asks WHERE wrapped IS NULL{LOOK}")
    return [Ask(bytes(row[0]), bytes(row[1]), bytes(row[2]), row[3]) for row in found]


def give(db: Transaction, public: bytes, wrapped: bytes) -> None:
    """Answers one; the first answer stays."""
    db.execute(
        "UPDATE epoch_asks SET wrapped = :wrapped WHERE public = :public AND wrapped IS NULL",
        {"wrapped": wrapped, "public": public},
    )


def given(db: Transaction, public: bytes) -> bytes | None:
    """What was answered."""
    row = db.one(f"SELECT wrapped FROM epoch_asks WHERE public = :public{LOOK}", {"public": public})
    return None if row is None or row[0] is None else bytes(row[0])


def drop_ask(db: Transaction, public: bytes) -> None:
    """Takes one back that is over."""
    db.execute("DELETE FROM epoch_asks WHERE public = :public", {"public": public})


# -- what is sealed --------------------------------------------------------------------------------------


def under(db: Transaction, place: Place, name: bytes) -> list[str | int]:
    """The records of a place that are sealed under an epoch."""
    found = db.rows(
        f"SELECT {place.record} FROM {place.table} WHERE {_under(place)}{LOOK}", {"head": head_of(name)}
    )
    return [row[0] for row in found]


def count(db: Transaction, place: Place, name: bytes) -> int:
    """How many those are."""
    row = db.one(f"SELECT count(*) FROM {place.table} WHERE {_under(place)}{LOOK}", {"head": head_of(name)})
    assert row is not None
    return int(row[0])


def any_under(db: Transaction, place: Place, name: bytes) -> bool:
    """Whether there is one."""
    found = db.one(
        f"SELECT 1 FROM {place.table} WHERE {_under(place)} LIMIT 1{LOOK}", {"head": head_of(name)}
    )
    return found is not None


def astray(db: Transaction, place: Place, most: int) -> list[str]:
    """Records of a place that are sealed under no epoch that is open: nothing opens them, or nothing will."""
    found = db.rows(
        f"SELECT one.{place.record} FROM {place.table} AS one WHERE one.{place.column} IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM epochs WHERE epochs.retired_at IS NULL"
        f" AND substr(one.{place.column}, {len(_VERSION) + 1}, {NAME_BYTES}) = epochs.name)"
        f" ORDER BY one.{place.record} LIMIT :most{LOOK}",
        {"most": most},
    )
    return [str(row[0]) for row in found]


def sealed_in(db: Transaction, place: Place, record: str | int) -> bytes | None:
    """What a record's place has."""
    row = db.one(
        f"SELECT {place.column} FROM {place.table} WHERE {place.record} = :record", {"record": record}
    )
    return None if row is None or row[0] is None else bytes(row[0])


def put(db: Transaction, place: Place, record: str | int, sealed: bytes) -> None:
    """Has it there instead."""
    db.execute(
        f"UPDATE {place.table} SET {place.column} = :sealed WHERE {place.record} = :record",
        {"sealed": sealed, "record": record},
    )


# Both say first what the partial indexes say of these columns, so that the planner finds them.
def _under(place: Place) -> str:
    return f"{place.column} IS NOT NULL AND substr({place.column}, 1, {HEAD_BYTES}) = :head"
