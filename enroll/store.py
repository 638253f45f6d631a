"""The statements of enroll's rooms under one name, and those about the audit trail and throttles themselves.

Functions take the transaction of a ``Storage.read`` or ``Storage.write``. People and applications stand in
``enroll/people/store.py``, enrollments and tickets in ``enroll/requests/store.py``; letters have a name of
their own (``enroll/mail/store.py``), and so has the protocol (``enroll/acme/store.py``).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import chain
from typing import Any

from ca.storage import LOOK, Transaction, inserting_many
from enroll.audit import Line, Said, placed, said
from enroll.people.store import (
    THEFT,
    USER_COLUMNS,
    Application,
    Organisation,
    PasswordBy,
    User,
    active_user,
    add_application,
    add_organisation,
    add_user,
    administrator,
    administrators,
    application,
    applications,
    as_application,
    as_user,
    change_organisation,
    change_user,
    chosen_profiles,
    count_users,
    decide_application,
    disable_organisation,
    disable_user,
    enable_organisation,
    enable_user,
    end_generation,
    forget_organisation,
    forget_user,
    hasten_application,
    known_users,
    move_applications,
    next_number,
    organisation,
    organisations,
    raise_number,
    reset_password,
    same_person,
    set_password,
    theft_reported,
    user,
    user_in_force,
    users,
    users_alike,
)
from enroll.requests.store import (
    ENROLLMENT_COLUMNS,
    Ticket,
    add_enrollment,
    add_ticket,
    as_enrollment,
    change_enrollment,
    count_by_state,
    drop_expired_tickets,
    drop_tickets,
    enrollment,
    enrollment_of,
    enrollment_with_user,
    enrollments_ending,
    enrollments_of,
    enrollments_of_organisation,
    enrollments_overdue,
    enrollments_unnoticed,
    is_followed,
    living_enrollments_of,
    mark_fetched,
    mark_opened,
    newest_opening,
    renewal_of,
    renewals_used_before,
    successor_of,
    ticket,
)

__all__ = (
    "ENROLLMENT_COLUMNS",
    "THEFT",
    "USER_COLUMNS",
    "Application",
    "LastLogin",
    "Organisation",
    "PasswordBy",
    "Ticket",
    "User",
    "active_user",
    "add_application",
    "add_enrollment",
    "add_organisation",
    "add_ticket",
    "add_user",
    "administrator",
    "administrators",
    "application",
    "applications",
    "as_application",
    "as_enrollment",
    "as_user",
    "audit",
    "audit_before",
    "audit_counted",
    "audit_hash",
    "audit_lines",
    "audit_page",
    "change_enrollment",
    "change_organisation",
    "change_user",
    "chosen_profiles",
    "clear_failures",
    "count_by_state",
    "count_users",
    "decide_application",
    "disable_organisation",
    "disable_user",
    "drop_expired_tickets",
    "drop_old_throttles",
    "drop_tickets",
    "enable_organisation",
    "enable_user",
    "end_generation",
    "enrollment",
    "enrollment_of",
    "enrollment_with_user",
    "enrollments_ending",
    "enrollments_of",
    "enrollments_of_organisation",
    "enrollments_overdue",
    "enrollments_unnoticed",
    "failures",
    "forget_organisation",
    "forget_user",
    "forgive_failure",
    "hasten_application",
    "is_followed",
    "known_users",
    "last_login",
    "living_enrollments_of",
    "mark_fetched",
    "mark_opened",
    "move_applications",
    "newest_opening",
    "next_number",
    "organisation",
    "organisations",
    "purge_audit",
    "raise_number",
    "record_failure",
    "renewal_of",
    "renewals_used_before",
    "reset_password",
    "retire_audit",
    "same_person",
    "set_password",
    "successor_of",
    "theft_reported",
    "ticket",
    "user",
    "user_in_force",
    "users",
    "users_alike",
)

Db = Transaction
# Lines of the audit trail that one statement writes at most.
_AT_ONCE = 32
# Number and hash of the last line: whoever goes on from it is alone until his commit.
_END = "SELECT value, said FROM counters WHERE name = 'audit'"
_ENDS = "UPDATE counters SET value = :number, said = :hash WHERE name = 'audit'"

# -- audit and throttles -------------------------------------------------------------------------


def audit(db: Db, at: int, actor: str, action: str, subject: str, **detail: Any) -> None:
    """One line of the audit trail, in the commit of what it tells of. Callers pass no secret: names, states,
    numbers."""
    db.gather(_write_audit, said(at, actor, action, subject, detail, secrets.token_hex(16)))


def _write_audit(db: Db, lines: Sequence[Said]) -> None:
    """All that were gathered, a few dozen in one statement."""
    end = db.one(_END)
    assert end is not None
    made = placed(lines, int(end["value"]) + 1, str(end["said"]))
    for first in range(0, len(made), _AT_ONCE):
        some = made[first : first + _AT_ONCE]
        statement, names = _inserting_audit(len(some))
        values = chain.from_iterable(each.__dict__.values() for each in some)
        db.defer(statement, dict(zip(names, values, strict=True)))
    db.defer(_ENDS, {"number": made[-1].id, "hash": made[-1].hash})


@cache
def _inserting_audit(count: int) -> tuple[str, Sequence[str]]:
    return inserting_many("audit", _LINE_COLUMNS, count)


def audit_lines(db: Db, after: int, limit: int) -> list[Line]:
    """So many lines after a number, oldest first."""
    db.settle()
    found = db.rows(
        f"SELECT {_LINE} FROM audit WHERE id > :after ORDER BY id LIMIT :limit{LOOK}",
        {"after": after, "limit": limit},
    )
    return [Line(*row) for row in found]


def audit_counted(db: Db) -> int:
    """How many lines were written, ever."""
    db.settle()
    row = db.one(f"SELECT value FROM counters WHERE name = 'audit'{LOOK}")
    assert row is not None
    return int(row[0])


def audit_hash(db: Db, number: int) -> str | None:
    """The hash of a line that is there."""
    db.settle()
    row = db.one(f"SELECT hash FROM audit WHERE id = :id{LOOK}", {"id": number})
    return None if row is None else str(row[0])


def purge_audit(db: Db, numbers: Sequence[int]) -> None:
    """Takes away what is personal in lines; the chain holds."""
    db.settle()
    for number in numbers:
        db.execute(
            "UPDATE audit SET detail = NULL, salt = NULL,"
            " actor = CASE WHEN actor LIKE 'address:%' THEN 'address' ELSE actor END WHERE id = :id",
            {"id": number},
        )


def retire_audit(db: Db, until: int) -> None:
    """Takes lines away up to a number. The line that says so is written before."""
    db.settle()
    db.execute("DELETE FROM audit WHERE id <= :until", {"until": until})


def audit_before(db: Db, at: int) -> int:
    """The last of the lines at the beginning that are all older than a moment; 0 if there is none."""
    db.settle()
    first = db.one(f"SELECT min(id) FROM audit WHERE at >= :at{LOOK}", {"at": at})
    if first is not None and first[0] is not None:
        return int(first[0]) - 1
    return audit_counted(db)


_LINE_COLUMNS = tuple(field.name for field in fields(Line))
_LINE = ", ".join(_LINE_COLUMNS)


@dataclass(frozen=True)
class LastLogin:
    """A user's last login, None if there was none, and how many failed since."""

    at: int | None
    address: str
    failed: int


def last_login(db: Db, user_id: str) -> LastLogin:
    """What the trail has of a user's logins."""
    db.settle()
    row = db.one(
        "SELECT id, at, detail FROM audit WHERE subject = :user_id AND action = 'login'"
        f" ORDER BY at DESC, id DESC LIMIT 1{LOOK}",
        {"user_id": user_id},
    )
    failed = db.one(
        "SELECT count(*) AS n FROM audit WHERE subject = :user_id AND action = 'login.refused'"
        f" AND id > :number{LOOK}",
        {"user_id": user_id, "number": row["id"] if row else 0},
    )
    address = str(json.loads(row["detail"] or "{}").get("address", "")) if row else ""
    return LastLogin(row["at"] if row else None, address, failed["n"] if failed else 0)


def submitted_by(db: Db, request_id: str) -> str | None:
    """Who handed in what a request needed for its certificate, by the trail."""
    db.settle()
    row = db.one(
        "SELECT actor FROM audit WHERE subject = :request_id AND action = 'enrollment.submit'"
        f" ORDER BY id DESC LIMIT 1{LOOK}",
        {"request_id": request_id},
    )
    return None if row is None else str(row["actor"])


def audit_page(db: Db, subject: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest lines of the trail, narrowed to a subject, newest first."""
    db.settle()
    where = "WHERE subject = :subject" if subject is not None else ""
    found = db.rows(
        f"SELECT * FROM audit {where} ORDER BY id DESC LIMIT :limit{LOOK}",
        {"subject": subject, "limit": limit},
    )
    return [{**row, "detail": json.loads(row["detail"] or "{}")} for row in found]


def failures(db: Db, key: str, since: int, at: int) -> tuple[int, int]:
    """Failed attempts recorded under a key in the period that is open at ``at``, and when it began.

    A period that begins in the future was opened by a clock that ran ahead: it is over.
    """
    row = db.one(
        "SELECT failures, since_at FROM throttles WHERE key = :key AND since_at > :since AND since_at <= :at",
        {"key": key, "since": since, "at": at},
    )
    return (0, 0) if row is None else (row["failures"], row["since_at"])


def record_failure(db: Db, key: str, at: int, since: int) -> tuple[int, int]:
    """Counts a failed attempt; a period that ended starts anew. How many there are by now, and since when."""
    row = db.one(
        "INSERT INTO throttles (key, failures, since_at) VALUES (:key, 1, :at) ON CONFLICT (key) DO"
        " UPDATE SET"
        f" failures = CASE WHEN {_OPEN} THEN throttles.failures + 1 ELSE 1 END,"
        f" since_at = CASE WHEN {_OPEN} THEN throttles.since_at ELSE :at END RETURNING failures, since_at",
        {"key": key, "at": at, "since": since},
    )
    assert row is not None
    return int(row[0]), int(row[1])


_OPEN = "throttles.since_at > :since AND throttles.since_at <= :at"


def forgive_failure(db: Db, key: str) -> None:
    """Takes one failure off again; without any left the key is forgotten."""
    db.execute("UPDATE throttles SET failures = failures - 1 WHERE key = :key", {"key": key})
    db.execute("DELETE FROM throttles WHERE key = :key AND failures <= 0", {"key": key})


def clear_failures(db: Db, key: str) -> None:
    db.execute("DELETE FROM throttles WHERE key = :key", {"key": key})


def drop_old_throttles(db: Db, since: int, at: int) -> None:
    db.execute("DELETE FROM throttles WHERE since_at <= :since OR since_at > :at", {"since": since, "at": at})
