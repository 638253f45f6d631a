"""Statements of what is personal, and how old: nothing is deleted, columns are emptied and say when."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ca.storage import ALONE, LOOK, Transaction

#: What a user who was erased is called.
NOBODY = "（抹消済み）"
#: Names of members in JSON whose values are personal.
PERSONAL = frozenset(
    {
        "name", "mail", "reading", "department", "principal", "postal_code", "prefecture", "city", "street",
        "building", "addressee", "note", "reason", "rows", "file", "display",
    }
)  # fmt: skip
#: What has a certificate at hand still, although the user was ended, is nobody who left.
_LEFT = (
    "erased_at IS NULL AND disabled_at <= :before AND NOT EXISTS (SELECT 1 FROM enrollments"
    " JOIN certificates ON certificates.serial = enrollments.serial WHERE enrollments.user_id = users.user_id"
    " AND certificates.status <> 'revoked' AND certificates.not_after_at >= :at)"
)


@dataclass(frozen=True)
class Kept:
    """A table whose rows are emptied: how its rows are numbered, which are old, what else goes."""

    table: str
    number: str
    over: str
    documents: tuple[str, ...] = ()
    emptied: str = ""
    #: What else goes with a row of that number, at a moment.
    also: Callable[[Transaction, int, int], object] = lambda db, number, at: None


KEPT: Mapping[str, Kept] = MappingProxyType(
    {
        "letters": Kept(
            "mails",
            "id",
            "created_at <= :before AND state <> 'queued'",
            emptied="recipient = '', subject = '', shown_body = '', sealed_body = NULL, result = ''",
            also=lambda db, number, at: db.execute(
                "UPDATE mail_history SET said = '' WHERE letter = :number", {"number": number}
            ),
        ),
        "applications": Kept("applications", "id", "decided_at <= :before", ("person",), "note = ''"),
        "jobs": Kept(
            "jobs",
            "number",
            "ended_at <= :before",
            ("payload",),
            "subject = ''",
            lambda db, number, at: _of_job(db, number, at),
        ),
        "proposals": Kept(
            "proposals",
            "number",
            "made_at <= :before AND (state <> 'pending' OR expires_at <= :before)",
            ("payload", "before", "result"),
            "reason = '', note = ''",
        ),
    }
)


@dataclass(frozen=True)
class Due:
    """How many are over, and between which numbers they are; 0 for people, who have none."""

    count: int
    first: int = 0
    last: int = 0


def left(db: Transaction, before: int, at: int, limit: int) -> list[str]:
    """User IDs of who left before a moment, and has no certificate any more; the first of them."""
    found = db.rows(
        f"SELECT user_id FROM users WHERE {_LEFT} ORDER BY disabled_at, user_id LIMIT :limit{LOOK}",
        {"before": before, "at": at, "limit": limit},
    )
    return [row["user_id"] for row in found]


def has_left(db: Transaction, user_id: str, before: int, at: int) -> bool:
    """Whether this user did."""
    values = {"user_id": user_id, "before": before, "at": at}
    return db.one(f"SELECT 1 FROM users WHERE user_id = :user_id AND {_LEFT}{ALONE}", values) is not None


def count_left(db: Transaction, before: int, at: int) -> int:
    """How many they are."""
    row = db.one(f"SELECT count(*) AS n FROM users WHERE {_LEFT}{LOOK}", {"before": before, "at": at})
    return 0 if row is None else int(row["n"])


def due(db: Transaction, kind: str, before: int) -> Due:
    """What of a kind is over before a moment."""
    kept = KEPT[kind]
    row = db.one(
        f"SELECT count(*) AS n, min({kept.number}) AS first, max({kept.number}) AS last FROM {kept.table}"
        f" WHERE erased_at IS NULL AND {kept.over}{LOOK}",
        {"before": before},
    )
    return Due(0) if row is None or not row["n"] else Due(row["n"], row["first"], row["last"])


def empty(db: Transaction, kind: str, first: int, last: int, before: int, at: int) -> int:
    """Takes away what is personal of a kind, in what is over of these numbers; how many they were."""
    kept = KEPT[kind]
    return _emptied(
        db,
        kept,
        f"{kept.number} BETWEEN :first AND :last AND {kept.over}",
        {"first": first, "last": last, "before": before},
        at,
    )


def empty_user(db: Transaction, user_id: str, at: int) -> None:
    """Takes away what is personal about a user, but in the trail."""
    mine = {"user_id": user_id}
    # One who was proposed had no user ID yet: the proposal is about a name until now.
    db.execute(
        "UPDATE proposals SET subject = :user_id WHERE kind = 'user.add' AND result LIKE :result ESCAPE '\\'",
        {**mine, "result": '%"' + user_id.replace("_", "\\_") + '"%'},
    )
    of_user = (
        "user_id = :user_id OR request_id IN (SELECT request_id FROM enrollments WHERE user_id = :user_id)"
    )
    about = (
        "subject = :user_id OR (kind LIKE 'application.%' AND subject IN"
        f" (SELECT CAST(id AS TEXT) FROM applications WHERE {of_user}))"
    )
    _emptied(db, KEPT["proposals"], f"({about})", mine, at)
    _emptied(db, KEPT["applications"], f"({of_user})", mine, at)
    _emptied(db, KEPT["letters"], "user_id = :user_id", mine, at)
    db.execute("UPDATE job_rows SET detail = '' WHERE subject = :user_id", mine)
    db.execute("UPDATE acme_accounts SET contacts = '[]' WHERE user_id = :user_id", mine)
    db.execute("DELETE FROM search_keys WHERE kind = 'user' AND id = :user_id", mine)
    db.execute(
        "UPDATE users SET name = :nobody, mail = :nobody, reading = '', department = '', principal = '',"
        " postal_code = '', prefecture = '', city = '', street = '', building = '', addressee = '',"
        " password_hash = '', name_key = '', mail_key = '', erased_at = :at WHERE user_id = :user_id",
        {**mine, "nobody": NOBODY, "at": at},
    )
    db.note("user.erased", user_id=user_id, at=at)


def _emptied(db: Transaction, kept: Kept, where: str, values: Mapping[str, Any], at: int) -> int:
    columns = ", ".join((f"{kept.number} AS number", *kept.documents))
    rows = db.rows(
        f"SELECT {columns} FROM {kept.table} WHERE erased_at IS NULL AND {where}{ALONE}", dict(values)
    )
    blank: Callable[[str | None], str | None] = lambda text: text and _written(blanked(json.loads(text)))  # noqa: E731
    sets = ", ".join((*(f"{each} = :{each}" for each in kept.documents), *filter(None, [kept.emptied])))
    for row in rows:
        told = {each: blank(row[each]) for each in kept.documents}
        db.execute(
            f"UPDATE {kept.table} SET {sets}, erased_at = :at WHERE {kept.number} = :number",
            {**told, "number": row["number"], "at": at},
        )
        kept.also(db, row["number"], at)
    return len(rows)


def _of_job(db: Transaction, number: int, at: int) -> None:
    # What it carries out is the proposal's, which is kept longer: its rows go with the job's.
    db.execute("UPDATE job_rows SET detail = '' WHERE job = :number", {"number": number})
    about = "number = (SELECT proposal FROM jobs WHERE number = :number)"
    _emptied(db, KEPT["proposals"], about, {"number": number}, at)


def blanked(value: Any, *, personal: bool = False) -> Any:
    """The same document without what is personal: texts are empty, lists have nothing, keys stay."""
    if isinstance(value, dict):
        return {name: blanked(each, personal=personal or name in PERSONAL) for name, each in value.items()}
    if not personal:
        return [blanked(each) for each in value] if isinstance(value, list) else value
    return [] if isinstance(value, list) else "" if isinstance(value, str) else value


def _written(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)
