"""Every statement of the registers of organisations and users: what narrows one, a page of it, how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ca.storage import Row, Transaction, all_of, count_of
from enroll.listings.store import Term, keys

#: When a row was recorded (0 where that does not order them), and what names it: where a page begins.
Place = tuple[int, str]


@dataclass(frozen=True)
class Organisations:
    """Which organisations are asked for; None: whichever. ``terms``: what the search finds them by."""

    state: str | None = None
    issue_password_by: str | None = None
    terms: Sequence[Term] | None = None
    newest: bool = False


@dataclass(frozen=True)
class Users:
    """Which users are asked for; None: whichever. ``ends_before``: a certificate that is good ends from
    ``at`` on, and before then; ``certificate`` False: there is none that is good."""

    at: int
    user_id: str | None = None
    policy_number: str | None = None
    state: str | None = None
    role: str | None = None
    ends_before: int | None = None
    certificate: bool = True
    bounced: bool = False
    terms: Sequence[Term] | None = None
    newest: bool = False


def organisations(db: Transaction, wanted: Organisations, after: Place | None, limit: int) -> list[Row]:
    """By number, or the newest first, each with how many users it has, and how many of them are in use."""
    terms, values = _of_organisations(wanted)
    return _page(
        db, _ORGANISATIONS, "o.policy_number", "o.created_at", wanted.newest, terms, values, after, limit
    )


def count_organisations(db: Transaction, wanted: Organisations, up_to: Place | None = None) -> int:
    """How many there are; ``up_to`` and with one of them, in the order of `organisations`."""
    terms, values = _of_organisations(wanted)
    return _count(
        db, "organisations o", "o.policy_number", "o.created_at", wanted.newest, terms, values, up_to
    )


def users(db: Transaction, wanted: Users, after: Place | None, limit: int) -> list[Row]:
    """By user ID, or the newest first, each with the organisation, and how certificates and mails stand."""
    terms, values = _of_users(wanted)
    return _page(db, _USERS, "u.user_id", "u.created_at", wanted.newest, terms, values, after, limit)


def count_users(db: Transaction, wanted: Users, up_to: Place | None = None) -> int:
    """How many there are; ``up_to`` and with one of them, in the order of `users`."""
    terms, values = _of_users(wanted)
    return _count(db, _JOINED, "u.user_id", "u.created_at", wanted.newest, terms, values, up_to)


def _page(
    db: Transaction, select: str, key: str, since: str, newest: bool,
    terms: list[str], values: dict[str, Any], after: Place | None, limit: int,
) -> list[Row]:  # fmt: skip
    if after is not None:
        terms = [*terms, _behind(key, since, newest)]
        values = {**values, **_values(after, newest)}
    order = f"{since} DESC, {key}" if newest else key
    statement = f"{select} WHERE {all_of(terms)} ORDER BY {order} LIMIT :limit"
    return list(db.rows(statement, {**values, "limit": limit}))


def _count(
    db: Transaction, tables: str, key: str, since: str, newest: bool,
    terms: list[str], values: dict[str, Any], up_to: Place | None,
) -> int:  # fmt: skip
    if up_to is not None:
        terms = [*terms, f"NOT {_behind(key, since, newest)}"]
        values = {**values, **_values(up_to, newest)}
    return count_of(db, tables, terms, values)


def _behind(key: str, since: str, newest: bool) -> str:
    """What comes behind a row."""
    if newest:
        return f"({since} <= :last_at AND ({since} < :last_at OR {key} > :last))"
    return f"({key} > :last)"


def _values(place: Place, newest: bool) -> dict[str, Any]:
    """Of a row; when it was recorded is of no use to the order by key."""
    return {"last": place[1]} | ({"last_at": place[0]} if newest else {})


def _of_organisations(wanted: Organisations) -> tuple[list[str], dict[str, Any]]:
    terms, values = list[str](), dict[str, Any]()
    if wanted.state is not None:
        terms.append(f"o.disabled_at IS {'NOT ' if wanted.state == 'stopped' else ''}NULL")
    if wanted.issue_password_by is not None:
        terms.append("o.issue_password_by = :issue_password_by")
        values["issue_password_by"] = wanted.issue_password_by
    return _found("organisations", "o.policy_number", wanted.terms, terms, values)


def _of_users(wanted: Users) -> tuple[list[str], dict[str, Any]]:
    terms, values = list[str](), dict[str, Any]()
    if wanted.state is not None:
        terms.append(_STATES[wanted.state])
    for column in ("user_id", "policy_number", "role"):
        if getattr(wanted, column) is not None:
            terms.append(f"u.{column} = :{column}")
            values[column] = getattr(wanted, column)
    if wanted.ends_before is not None:
        terms.append(f"EXISTS (SELECT 1 {_GOOD} AND e.not_after_at < :ends_before)")
        values |= {"at": wanted.at, "ends_before": wanted.ends_before}
    if not wanted.certificate:
        terms.append(f"NOT EXISTS (SELECT 1 {_GOOD})")
        values["at"] = wanted.at
    if wanted.bounced:
        terms.append(_BOUNCED)
    return _found("users", "u.user_id", wanted.terms, terms, values)


def _found(
    group: str, key: str, looked_for: Sequence[Term] | None, terms: list[str], values: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """With what somebody typed, which may mean nothing."""
    if looked_for is None:
        return terms, values
    if not looked_for:
        return [*terms, "1 = 0"], values
    found, named = keys(group, looked_for)
    return [*terms, f"{key} IN ({found})"], values | named


_JOINED = "users u JOIN organisations o ON o.policy_number = u.policy_number"
# A user's certificates that are good, by the register: the index has those in people's hands, or on the way.
_GOOD = (
    "FROM enrollments e WHERE e.user_id = u.user_id AND e.state IN ('issued', 'picked_up', 'in_use')"
    " AND e.not_after_at >= :at"
)
_HELD = (
    "EXISTS (SELECT 1 FROM enrollments h JOIN certificates c ON c.serial = h.serial"
    " WHERE h.user_id = u.user_id AND h.state IN ('issued', 'picked_up', 'in_use') AND c.status = 'held')"
)
# The newest letter to the address that is recorded now came back, or was refused.
_BOUNCED = (
    "EXISTS (SELECT 1 FROM mails m WHERE m.user_id = u.user_id AND m.channel = 'mail' AND m.state = 'failed'"
    " AND m.recipient = u.mail AND NOT EXISTS (SELECT 1 FROM mails n WHERE n.user_id = m.user_id"
    " AND n.recipient = m.recipient AND n.id > m.id))"
)
#: State of a user -> the term.
_STATES: Mapping[str, str] = {
    "active": "u.disabled_at IS NULL AND o.disabled_at IS NULL",
    "stopped": "(u.disabled_at IS NOT NULL OR o.disabled_at IS NOT NULL)",
    # The other way round: certificates that are held are few, and an index of their own.
    "held": "u.user_id IN (SELECT h.user_id FROM certificates c JOIN enrollments h ON h.serial = c.serial"
    " WHERE c.status = 'held' AND h.state IN ('issued', 'picked_up', 'in_use'))",
}
_ORGANISATIONS = (
    "SELECT o.*, (SELECT count(*) FROM users u WHERE u.policy_number = o.policy_number) AS users,"
    " (SELECT count(*) FROM users u WHERE u.policy_number = o.policy_number AND u.disabled_at IS NULL)"
    " AS active FROM organisations o"
)
_USERS = (
    "SELECT u.user_id, u.policy_number, u.name, u.reading, u.mail, u.role, u.notice_by, u.language,"
    " u.department, u.principal, u.postal_code, u.prefecture, u.city, u.street, u.building, u.addressee,"
    " u.created_at, u.disabled_at, o.name AS organisation,"
    " o.disabled_at AS organisation_disabled_at,"
    " (SELECT max(e.not_after_at) FROM enrollments e WHERE e.user_id = u.user_id"
    " AND e.state IN ('issued', 'picked_up', 'in_use')) AS ends_at,"
    f" {_HELD} AS held, {_BOUNCED} AS bounced FROM {_JOINED}"
)
