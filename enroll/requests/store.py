"""Every statement about enrollments and the tickets of their files.

A change of an enrollment is compare-and-set on its state and count of downloads: of two racers one wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from ca.epochs import Place
from ca.storage import LOOK, Row, Transaction, Values, inserting, together
from enroll.people.store import USER_COLUMNS, User, active_user, user_of
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import ENDED, State

Db = Transaction

#: A person's private key, and the file with it, for as long as they may be fetched.
KEY = Place("enrollments", "request_id", "sealed_key")
FILE = Place("tickets", "token_hash", "sealed_p12")


@dataclass(frozen=True)
class Ticket:
    """A built PKCS#12 that waits for its Download button."""

    token_hash: str
    request_id: str
    filename: str
    sealed_p12: bytes
    created_at: int
    expires_at: int
    fetched_at: int | None = None


# -- enrollments ---------------------------------------------------------------------------------

# As in the partial index, word for word, so that the planner finds it.
_LIVING = "state NOT IN ('closed', 'superseded', 'renewed', 'revoked', 'withdrawn')"
_COLUMNS = tuple(field.name for field in fields(Enrollment))
_STATE = _COLUMNS.index("state")
#: Of the table ``enrollments``, in which they are numbered besides.
ENROLLMENT_COLUMNS = ", ".join(_COLUMNS)
_ENROLLMENT = f"SELECT {ENROLLMENT_COLUMNS} FROM enrollments"
_INSERT = f"{inserting('enrollments', _COLUMNS)} ON CONFLICT DO NOTHING"
_MUTABLE = tuple(name for name in _COLUMNS if name not in ("request_id", "kind", "user_id", "created_at"))


def add_enrollment(db: Db, enrollment: Enrollment) -> bool:
    """Records an enrollment; False when the request ID exists, or the certificate has a renewal."""
    return db.execute(_INSERT, _enrollment_row(enrollment)) > 0


def change_enrollment(db: Db, expected: Enrollment, changed: Enrollment) -> bool:
    """Compare-and-set on state and download count; False when another racer was first.

    Only what differs is written: an index is rewritten for each of its columns that a statement names.
    """
    differing = tuple(name for name in _MUTABLE if getattr(changed, name) != getattr(expected, name))
    columns = differing or ("downloads",)
    row = {name: getattr(changed, name) for name in columns} | {"request_id": changed.request_id}
    row |= {"expected_state": str(expected.state), "expected_downloads": expected.downloads}
    if "state" in row:
        row["state"] = str(changed.state)
    done = db.execute(_update(columns), row) > 0
    if done and changed.state in ENDED and expected.state not in ENDED:
        # With it ends the issue password that opened it.
        db.note("request.ended", request_id=changed.request_id, state=str(changed.state))
    return done


def mark_opened(db: Db, request_id: str, at: int) -> None:
    """When the page of a renewal was seen for the first time."""
    db.execute(
        "UPDATE enrollments SET opened_at = :at WHERE request_id = :request_id AND opened_at IS NULL",
        {"at": at, "request_id": request_id},
    )


@lru_cache(maxsize=256)
def _update(columns: tuple[str, ...]) -> str:
    return (
        f"UPDATE enrollments SET {', '.join(f'{name} = :{name}' for name in columns)} "
        "WHERE request_id = :request_id AND state = :expected_state AND downloads = :expected_downloads"
    )


def enrollment(db: Db, request_id: str) -> Enrollment | None:
    row = db.one(f"{_ENROLLMENT} WHERE request_id = :request_id", {"request_id": request_id})
    return None if row is None else as_enrollment(row)


_WITH_USER = (
    f"SELECT {', '.join(f'enrollments.{name}' for name in _COLUMNS)}, {USER_COLUMNS},"
    " users.disabled_at IS NULL AND organisations.disabled_at IS NULL"
    " FROM enrollments JOIN users ON users.user_id = enrollments.user_id"
    " JOIN organisations ON organisations.policy_number = users.policy_number"
    f" WHERE enrollments.request_id = :request_id{together('organisations')}"
)


def enrollment_with_user(db: Db, request_id: str) -> tuple[Enrollment, User | None] | None:
    """An enrollment, and its user unless that or the organisation is disabled."""
    row = db.one(_WITH_USER, {"request_id": request_id})
    if row is None:
        # There is none, or the user was just being taken into another organisation.
        found = enrollment(db, request_id)
        return None if found is None else (found, active_user(db, found.user_id))
    values = tuple(row)
    found, of_user = _enrollment(values[: len(_COLUMNS)]), values[len(_COLUMNS) : -1]
    return found, user_of(of_user) if values[-1] else None


def enrollment_of(db: Db, serial: str) -> Enrollment | None:
    """The enrollment that a certificate came from."""
    row = db.one(f"{_ENROLLMENT} WHERE serial = :serial", {"serial": serial})
    return None if row is None else as_enrollment(row)


def renewal_of(db: Db, serial: str) -> Enrollment | None:
    """The renewal of a certificate, if one was opened."""
    row = db.one(
        f"{_ENROLLMENT} WHERE kind = 'renewal' AND replaces_serial = :serial",
        {"serial": serial},
    )
    return None if row is None else as_enrollment(row)


def successor_of(db: Db, serial: str) -> Enrollment | None:
    """The enrollment that replaced a certificate, through whichever door: its certificate exists, or is being
    made. That it ended since changes nothing: a certificate is replaced once."""
    row = db.one(
        f"{_ENROLLMENT} WHERE replaces_serial = :serial"
        " AND (issued_at IS NOT NULL OR state = 'processing') ORDER BY submitted_at LIMIT 1",
        {"serial": serial},
    )
    return None if row is None else as_enrollment(row)


def enrollments_of(db: Db, user_id: str) -> list[Enrollment]:
    """A user's enrollments, newest first."""
    found = db.rows(
        f"{_ENROLLMENT} WHERE user_id = :user_id ORDER BY created_at DESC, number DESC",
        {"user_id": user_id},
    )
    return [as_enrollment(row) for row in found]


def enrollments_of_organisation(db: Db, policy_number: str) -> list[Enrollment]:
    """What an organisation's users fetched or may fetch on the pages, newest first; nothing of programs."""
    found = db.rows(
        f"{_ENROLLMENT} WHERE door = 'page' AND user_id IN"
        " (SELECT user_id FROM users WHERE policy_number = :policy_number)"
        f" ORDER BY created_at DESC, number DESC{LOOK}",
        {"policy_number": policy_number},
    )
    return [as_enrollment(row) for row in found]


def is_followed(db: Db, user_id: str, common_name: str, not_after_at: int) -> bool:
    """Whether a certificate of the same name, live and in hand, ends after that moment."""
    found = db.one(
        "SELECT number FROM enrollments WHERE user_id = :user_id AND not_after_at > :not_after_at"
        " AND state IN ('issued', 'picked_up', 'in_use') AND state <> 'issued'"
        " AND common_name = :common_name LIMIT 1",
        {"user_id": user_id, "common_name": common_name, "not_after_at": not_after_at},
    )
    return found is not None


def living_enrollments_of(db: Db, user_id: str, passed: int) -> list[Enrollment]:
    """A user's enrollments that have not ended, newest first; however many went before, it costs these.

    ``passed``: a moment that has surely passed (``timekeeping.surely_passed``). Certificates that ended
    before it are left out; by a clock that runs ahead more would be, and escape whoever revokes them all.
    """
    found = db.rows(
        f"{_ENROLLMENT} WHERE user_id = :user_id AND {_LIVING}"
        " AND (not_after_at IS NULL OR not_after_at >= :passed) ORDER BY created_at DESC, number DESC",
        {"user_id": user_id, "passed": passed},
    )
    return [as_enrollment(row) for row in found]


def newest_opening(db: Db) -> int:
    """When the newest enrollment was opened; 0 if there is none."""
    row = db.one(f"SELECT created_at FROM enrollments ORDER BY number DESC LIMIT 1{LOOK}")
    return 0 if row is None else int(row["created_at"])


def count_by_state(db: Db) -> dict[str, int]:
    """How many enrollments are in each state. Reads the whole table: for reports, not for requests."""
    return _counts(db.rows(f"SELECT state, count(*) FROM enrollments GROUP BY state{LOOK}"))


def enrollments_ending(db: Db, after: int, until: int) -> list[Enrollment]:
    """Live enrollments whose certificate ends after one moment and not after another."""
    found = db.rows(
        f"{_ENROLLMENT} WHERE state IN ('issued', 'picked_up', 'in_use')"
        " AND not_after_at > :after AND not_after_at <= :until ORDER BY not_after_at",
        {"after": after, "until": until},
    )
    return [as_enrollment(row) for row in found]


def enrollments_unnoticed(
    db: Db, kind: str, after: int, until: int, door: str | None = None
) -> list[Enrollment]:
    """Those of them, of a door's or of all, for which no letter of a kind waits or has left, by what it is
    sent for (`enroll.mail.occasions.cause_of_notice`). Most have theirs for weeks: nothing else of these is
    read."""
    of_door = "" if door is None else " AND door = :door"
    found = db.rows(
        f"{_ENROLLMENT} WHERE state IN ('issued', 'picked_up', 'in_use')"
        f" AND not_after_at > :after AND not_after_at <= :until{of_door}"
        " AND NOT EXISTS (SELECT 1 FROM mails"
        " WHERE mails.cause = CAST(:kind AS TEXT) || ':' || enrollments.serial"
        " AND (mails.sent_at IS NOT NULL OR mails.state NOT IN ('failed', 'cancelled')))"
        f" ORDER BY not_after_at{LOOK}",
        {"kind": kind, "after": after, "until": until} | ({} if door is None else {"door": door}),
    )
    return [as_enrollment(row) for row in found]


def enrollments_overdue(db: Db, at: int) -> list[Enrollment]:
    """Enrollments whose window has ended and that still hold a key, or are a program's that never came.

    People's that wait, and renewals, are over by their date alone (``enrollment.state_at``).
    """
    found = db.rows(
        f"{_ENROLLMENT} WHERE window_ends_at <= :at AND"
        # What is being signed is left alone: it was submitted in time (E7).
        " (sealed_key IS NOT NULL AND state <> 'processing'"
        " OR kind = 'protocol' AND state IN ('accepted', 'announced', 'authenticated'))",
        {"at": at},
    )
    return [as_enrollment(row) for row in found]


def renewals_used_before(db: Db, used: int, now: int) -> list[Enrollment]:
    """Renewals in use since before a moment whose predecessor still lives now (the optional part of D3)."""
    found = db.rows(
        f"SELECT {', '.join('new.' + name for name in _COLUMNS)} FROM enrollments AS old JOIN enrollments"
        " AS new ON new.replaces_serial = old.serial"
        " WHERE old.state IN ('issued', 'picked_up', 'in_use') AND old.not_after_at >= :now"
        " AND new.kind = 'renewal' AND new.state = 'in_use' AND new.used_at <= :used",
        {"now": now, "used": used},
    )
    return [as_enrollment(row) for row in found]


def _enrollment_row(enrollment: Enrollment) -> dict[str, Any]:
    return {name: getattr(enrollment, name) for name in _COLUMNS} | {"state": str(enrollment.state)}


def as_enrollment(row: Row) -> Enrollment:
    """The enrollment in a row of ``ENROLLMENT_COLUMNS``, and maybe more."""
    return _enrollment([row[name] for name in _COLUMNS])


def _enrollment(values: Sequence[Any]) -> Enrollment:
    told = list(values)
    told[_STATE] = State(told[_STATE])
    return Enrollment(*told)


# -- tickets -------------------------------------------------------------------------------------


def add_ticket(db: Db, ticket: Ticket) -> None:
    _insert(db, "tickets", asdict(ticket))


def ticket(db: Db, token_hash: str) -> Ticket | None:
    row = db.one("SELECT * FROM tickets WHERE token_hash = :token_hash", {"token_hash": token_hash})
    return None if row is None else Ticket(**row)


def mark_fetched(db: Db, token_hash: str, at: int) -> bool:
    """True for the first fetch of a ticket, False for each further one."""
    return _changed(
        db,
        "UPDATE tickets SET fetched_at = :at WHERE token_hash = :token_hash AND fetched_at IS NULL",
        {"at": at, "token_hash": token_hash},
    )


def drop_tickets(db: Db, request_id: str) -> None:
    db.execute("DELETE FROM tickets WHERE request_id = :request_id", {"request_id": request_id})


def drop_expired_tickets(db: Db, at: int) -> int:
    return db.execute("DELETE FROM tickets WHERE expires_at <= :at", {"at": at})


def _changed(db: Db, statement: str, values: Values) -> bool:
    return db.execute(statement, values) > 0


def _insert(db: Db, table: str, row: Values) -> None:
    db.execute(inserting(table, row), row)


def _counts(found: Iterable[Row]) -> dict[str, int]:
    return {row[0]: row[1] for row in found}
