"""Every statement of the list of certificates: a page and how many there are, by an index that has all that
it is narrowed by (`ca/schema.py`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ca.storage import ALONE, LOOK, Row, Transaction, all_of, count_of

State = Literal["reserved", "issued", "expired", "held", "revoked", "distrusted"]
Order = Literal["newest", "ending"]
#: Where a page ends: the value that orders the list, and the number.
Place = tuple[int, int]


@dataclass(frozen=True)
class Wanted:
    """What narrows the list; None for what does not. Ends are seconds since the epoch."""

    state: State | None = None
    issuer_id: str | None = None
    profile: str | None = None
    door: str | None = None
    policy_number: str | None = None
    ends_from: int | None = None
    ends_before: int | None = None


def page(
    db: Transaction,
    wanted: Wanted,
    order: Order,
    at: int,
    distrusted: Collection[str],
    after: Place | None,
    limit: int,
) -> list[Row]:
    """So many certificates after a place, without their bytes, with whose each is. ``at``: the moment by
    which they have ended; ``distrusted``: the IDs of issuing CAs that are trusted no more."""
    column, direction = _ORDERS[order]
    terms, values = _terms(wanted, at, distrusted)
    if after is not None:
        terms.append(_BEHIND[order])
        values |= {"last": after[0], "last_number": after[1]}
    # First the keys, by the index alone: the rows are wide. "+": what is held or reserved, and what is an
    # organisation's, is found by an index of its own, and then put in order.
    aside = "+" if wanted.state in ("held", "reserved") or wanted.policy_number is not None else ""
    keys = (
        f"SELECT number FROM certificates WHERE {all_of(terms)}"
        f" ORDER BY {aside}{column} {direction}, number {direction} LIMIT :limit"
    )
    numbers = [row["number"] for row in db.rows(keys, {**values, "limit": limit})]
    found = {row["number"]: row for row in _rows(db, numbers)}
    return [found[number] for number in numbers]


def count(db: Transaction, wanted: Wanted, at: int, distrusted: Collection[str]) -> int:
    """How many there are in all."""
    if _is_tallied(wanted):
        if wanted.state is None:
            return _of_kind(db, wanted)
        # Most of all: what is no other state is left. The others are few, or an index ends where they do.
        others: tuple[State, ...] = ("issued", "reserved", "held", "revoked")
        all_of_kind = _of_kind(db, replace(wanted, state=None))
        return all_of_kind - sum(count(db, replace(wanted, state=each), at, ()) for each in others)
    terms, values = _terms(wanted, at, distrusted)
    if wanted.state in ("held", "revoked"):
        # In words that the partial indexes have: these are few.
        terms.append("change_number IS NOT NULL")
    return count_of(db, "certificates", terms, values)


def count_around(
    db: Transaction, wanted: Wanted, order: Order, at: int, distrusted: Collection[str], place: Place
) -> tuple[int, int]:
    """How many there are up to and with a place, and how many behind it."""
    terms, values = _terms(wanted, at, distrusted)
    values |= {"last": place[0], "last_number": place[1]}
    ahead = count_of(db, "certificates", [*terms, _AHEAD[order]], values)
    if _is_tallied(wanted):
        # All of them are counted sooner than those behind, and most pages are among the first.
        return ahead, count(db, wanted, at, distrusted) - ahead
    return ahead, count_of(db, "certificates", [*terms, _BEHIND[order]], values)


def tally(db: Transaction, settled_at: int, most: int) -> int:
    """Counts on, so many certificates at most; returns how many that were. Up to the first one that may be
    taken back yet, and the last one that was reserved by ``settled_at``: whatever has a lower number is
    committed by now, and stays."""
    row = db.one(f"SELECT value FROM counters WHERE name = 'tallied'{ALONE}")
    assert row is not None
    last = db.one(
        "SELECT number FROM certificates WHERE reserved_at <= :settled"
        f" ORDER BY reserved_at DESC, number DESC LIMIT 1{LOOK}",
        {"settled": settled_at},
    )
    waits = db.one(f"SELECT min(number) AS n FROM certificates WHERE status = 'reserved'{LOOK}")
    assert waits is not None
    bounds = [] if waits["n"] is None else [int(waits["n"]) - 1]
    values = {"above": int(row["value"])}
    values["upto"] = min(values["above"] + most, 0 if last is None else int(last["number"]), *bounds)
    if values["upto"] <= values["above"]:
        return 0
    db.execute(
        "INSERT INTO certificate_tally (issuer_id, profile, door, certificates)"
        " SELECT issuer_id, profile, door, count(*) FROM certificates"
        " WHERE number > :above AND number <= :upto GROUP BY issuer_id, profile, door"
        " ON CONFLICT (issuer_id, profile, door) DO UPDATE SET"
        " certificates = certificate_tally.certificates + excluded.certificates",
        values,
    )
    db.execute("UPDATE counters SET value = :upto WHERE name = 'tallied'", {"upto": values["upto"]})
    return values["upto"] - values["above"]


def _is_tallied(wanted: Wanted) -> bool:
    """Whether it is narrowed by nothing but what certificates are counted by beforehand, and by no state but
    that of most."""
    further = (wanted.policy_number, wanted.ends_from, wanted.ends_before)
    return wanted.state in (None, "expired") and all(each is None for each in further)


def _of_kind(db: Transaction, wanted: Wanted) -> int:
    """How many there are, whatever became of them: those that were counted, and those behind them."""
    terms, values = _terms(wanted, 0, ())
    row = db.one(
        "SELECT coalesce(sum(certificates), 0) AS n,"
        " (SELECT value FROM counters WHERE name = 'tallied') AS last"
        f" FROM certificate_tally WHERE {all_of(terms)}{LOOK}",
        values,
    )
    assert row is not None
    # Where nothing was counted yet all are counted by an index, and not one after the other.
    behind = ["number > :tallied"] if row["last"] else []
    return int(row["n"]) + count_of(
        db, "certificates", [*terms, *behind], {**values, "tallied": int(row["last"])}
    )


def alive(db: Transaction, at: int) -> dict[str, int]:
    """How many certificates are good at a moment, by the ID of their issuing CA."""
    found = db.rows(
        "SELECT issuer_id, count(*) AS n FROM certificates WHERE status = 'issued' AND not_after_at >= :at"
        f" GROUP BY issuer_id{LOOK}",
        {"at": at},
    )
    return {row["issuer_id"]: int(row["n"]) for row in found}


def _rows(db: Transaction, numbers: Sequence[int]) -> Sequence[Row]:
    values = {f"n{place}": number for place, number in enumerate(numbers)}
    if not values:
        return ()
    return db.rows(f"{_ROWS} WHERE c.number IN ({', '.join(f':{name}' for name in values)}){LOOK}", values)


def _terms(wanted: Wanted, at: int, distrusted: Collection[str]) -> tuple[list[str], dict[str, Any]]:
    terms, values = list[str](), dict[str, Any]()
    for column in ("issuer_id", "profile", "door"):
        if (value := getattr(wanted, column)) is not None:
            terms.append(f"{column} = :{column}")
            values[column] = value
    for name, term in _ENDS.items():
        if (moment := getattr(wanted, name)) is not None:
            terms.append(term)
            values[name] = moment
    if wanted.policy_number is not None:
        terms.append(f"holder IN ({_OF_ORGANISATION})")
        values["policy_number"] = wanted.policy_number
    if wanted.state is not None:
        gone = {f"gone{place}": issuer for place, issuer in enumerate(sorted(distrusted))}
        listed = ", ".join(f":{name}" for name in gone) or "''"
        term = _STATES[wanted.state].format(listed)
        terms.append(term)
        values |= gone if "gone" in term else {}
        values |= {"at": at} if ":at" in term else {}
    return terms, values


#: Order -> the column, and its direction.
_ORDERS: Mapping[Order, tuple[str, str]] = {
    "newest": ("reserved_at", "DESC"),
    "ending": ("not_after_at", "ASC"),
}
#: Order -> what comes behind a place, and what does not: each is a part of the index.
_BEHIND: Mapping[Order, str] = {
    "newest": "reserved_at <= :last AND (reserved_at < :last OR number < :last_number)",
    "ending": "not_after_at >= :last AND (not_after_at > :last OR number > :last_number)",
}
_AHEAD: Mapping[Order, str] = {
    "newest": "reserved_at >= :last AND (reserved_at > :last OR number >= :last_number)",
    "ending": "not_after_at <= :last AND (not_after_at < :last OR number <= :last_number)",
}
_ENDS = {"ends_from": "not_after_at >= :ends_from", "ends_before": "not_after_at < :ends_before"}
#: What a state means of a row. An end has come when its second is over (RFC 5280 section 4.1.2.5); what is
#: revoked stays so.
_STATES: Mapping[State, str] = {
    "reserved": "status = 'reserved'",
    "issued": "status = 'issued' AND not_after_at >= :at AND issuer_id NOT IN ({0})",
    "expired": "status = 'issued' AND not_after_at < :at",
    "held": "status = 'held' AND issuer_id NOT IN ({0})",
    "revoked": "status = 'revoked'",
    "distrusted": "(status = 'issued' AND not_after_at >= :at OR status = 'held') AND issuer_id IN ({0})",
}
_OF_ORGANISATION = "SELECT user_id FROM users WHERE policy_number = :policy_number"
_ROWS = (
    "SELECT c.number AS number, c.serial, c.issuer_id, c.profile, c.door, c.status, c.subject_cn,"
    " c.not_before_at, c.not_after_at, c.reserved_at, c.issued_at, c.held_at, c.revoked_at,"
    " c.revocation_reason, e.request_id, u.user_id, u.name, u.policy_number"
    " FROM certificates c LEFT JOIN enrollments e ON e.serial = c.serial"
    " LEFT JOIN users u ON u.user_id = c.holder"
)
