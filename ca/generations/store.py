"""Every statement about generations of issuing CAs. What is written is a note in the journal, too: no copy of
the database that is put back makes one issue, or be trusted, or wanted, again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from ca.generations.states import Row
from ca.storage import LOOK, Transaction, inserting

_COLUMNS = (
    "issuer_id, active_at, planned_at, retired_at, over_at, distrusted_at, discarded_at, reason,"
    " change_number"
)


def rows(db: Transaction) -> dict[str, Row]:
    """What is written down, by the issuer's id. A handful of rows."""
    return {row[0]: Row(*row) for row in db.rows(f"SELECT {_COLUMNS} FROM generations{LOOK}")}


def write(db: Transaction, before: Row, after: Row) -> bool:
    """Writes one down. False if somebody else did since ``before`` was read: nothing has changed.

    Whether its certificates are good is a change like that of a certificate, and numbered with those.
    """
    if (before.distrusted_at is None) != (after.distrusted_at is None):
        after = _numbered(db, after)
    fields = asdict(after)
    changed = db.execute(
        f"{_writing(fields)} WHERE coalesce(generations.active_at, -1) = :was_active"
        " AND coalesce(generations.planned_at, -1) = :was_planned"
        " AND coalesce(generations.retired_at, -1) = :was_retired"
        " AND coalesce(generations.over_at, -1) = :was_over"
        " AND coalesce(generations.distrusted_at, -1) = :was_distrusted"
        " AND coalesce(generations.discarded_at, -1) = :was_discarded",
        {
            **fields,
            "was_active": _or_none(before.active_at),
            "was_planned": _or_none(before.planned_at),
            "was_retired": _or_none(before.retired_at),
            "was_over": _or_none(before.over_at),
            "was_distrusted": _or_none(before.distrusted_at),
            "was_discarded": _or_none(before.discarded_at),
        },
    )
    if changed:
        db.note("generation", **fields)
    return changed == 1


def restore(db: Transaction, row: Row) -> None:
    """Writes one down as the journal has it, whatever is here: a database that was put back has forgotten
    it."""
    fields = asdict(_numbered(db, row))
    db.execute(_writing(fields), fields)
    db.note("generation", **fields)


def changed_since(db: Transaction, number: int) -> list[Row]:
    """Those whose certificates became no good, or good again, by changes above a number: poll it, as
    `ca.store.changed_since`."""
    return sorted(
        (row for row in rows(db).values() if row.change_number > number), key=lambda row: row.change_number
    )


def last_change(db: Transaction) -> int:
    """The number of the last change as `changed_since` has them; 0 before the first."""
    return max((row.change_number for row in rows(db).values()), default=0)


def warn_once(db: Transaction, ca_id: str, step: str, at: int) -> bool:
    """Records that operators are told of a CA's end; False if they were before."""
    values = {"ca_id": ca_id, "step": step, "told_at": at}
    return db.execute(f"{inserting('ca_warnings', values)} ON CONFLICT DO NOTHING", values) == 1


def _writing(fields: Mapping[str, object]) -> str:
    set_to = ", ".join(f"{name} = excluded.{name}" for name in fields if name != "issuer_id")
    return f"{inserting('generations', fields)} ON CONFLICT (issuer_id) DO UPDATE SET {set_to}"


def _or_none(at: int | None) -> int:
    return -1 if at is None else at


def _numbered(db: Transaction, row: Row) -> Row:
    found = db.one("UPDATE counters SET value = value + 1 WHERE name = 'changes' RETURNING value")
    assert found is not None
    return Row(**{**asdict(row), "change_number": int(found[0])})
