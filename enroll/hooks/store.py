"""Every statement about endpoints of webhooks and what is delivered to them. Changes are compare-and-set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ca.storage import LOOK, UNTAKEN, Row, Transaction, Values, inserting
from enroll.hooks.events import Event
from enroll.hooks.states import Delivery as State
from enroll.hooks.states import Endpoint as Standing

Db = Transaction
#: Seconds for which a delivery is its taker's: longer than any try takes (`posting.py`).
LEASE = 60


@dataclass(frozen=True)
class Endpoint:
    """Where events go, and which."""

    number: int
    name: str
    url: str
    events: tuple[str, ...]
    state: Standing
    why: str
    read_to: int
    ends_to_at: int
    added_at: int
    added_by: str
    version: int = 1
    held_until_at: int = 0
    before_until_at: int | None = None
    sealed_secret: bytes | None = field(default=None, repr=False)
    sealed_before: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Delivery:
    """An event on its way to an endpoint, or what came of it."""

    number: int
    endpoint: int
    message: str
    event: str
    body: str
    happened_at: int
    state: State
    tries: int
    attempts: int
    claimed_until_at: int
    next_at: int
    tried_at: int | None
    ended_at: int | None
    status: int
    result: str


_ENDPOINT = ", ".join(each.name for each in fields(Endpoint))
_DELIVERY = ", ".join(each.name for each in fields(Delivery))


# -- endpoints -------------------------------------------------------------------------------------------


def add(db: Db, new: Endpoint) -> bool:
    """Records one; its number is ignored. False when there is, or was, one of that name."""
    row = {each.name: getattr(new, each.name) for each in fields(new) if each.name != "number"}
    row |= {"events": json.dumps(new.events), "state": str(new.state)}
    return db.execute(f"{inserting('webhook_endpoints', row)} ON CONFLICT (name) DO NOTHING", row) == 1


def endpoints(db: Db, *, every: bool = True) -> list[Endpoint]:
    """All by name, those that have ended last; without ``every`` those that are active."""
    narrowed = "" if every else " WHERE state = 'active'"
    order = "CASE state WHEN 'ended' THEN 1 ELSE 0 END, name"
    found = db.rows(f"SELECT {_ENDPOINT} FROM webhook_endpoints{narrowed} ORDER BY {order}")
    return [_endpoint(row) for row in found]


def named(db: Db, name: str) -> Endpoint | None:
    row = db.one(f"SELECT {_ENDPOINT} FROM webhook_endpoints WHERE name = :name", {"name": name})
    return None if row is None else _endpoint(row)


def endpoint(db: Db, number: int) -> Endpoint | None:
    row = db.one(f"SELECT {_ENDPOINT} FROM webhook_endpoints WHERE number = :number", {"number": number})
    return None if row is None else _endpoint(row)


def change(db: Db, before: Endpoint, **changes: Any) -> bool:
    """Changes one that stands as it was read; False when somebody else was first."""
    row = dict(changes)
    if "events" in row:
        row["events"] = json.dumps(row["events"])
    named = ", ".join(f"{name} = :{name}" for name in row)
    done = db.execute(
        f"UPDATE webhook_endpoints SET {named}, version = version + 1"
        " WHERE number = :number AND version = :was",
        row | {"number": before.number, "was": before.version},
    )
    # What was stopped, or has another secret because of a leak, does not go on by an older copy.
    if done and (changes.get("state", Standing.ACTIVE) != Standing.ACTIVE or "sealed_secret" in changes):
        db.note("webhook.stopped", name=before.name)
    return done == 1


def restore(db: Db, name: str, why: str) -> bool:
    """Stops one that the journal says was stopped, ended or given another secret; False for none."""
    changed = db.execute(
        "UPDATE webhook_endpoints SET state = 'stopped', why = :why, version = version + 1"
        " WHERE name = :name AND state = 'active'",
        {"name": name, "why": why},
    )
    db.note("webhook.stopped", name=name)
    return changed == 1


def read_on(db: Db, before: Endpoint, read_to: int) -> bool:
    """Moves the line up to which an endpoint was told; False when somebody else has."""
    return (
        db.execute(
            "UPDATE webhook_endpoints SET read_to = :to WHERE number = :number AND read_to = :was"
            " AND state = 'active'",
            {"to": read_to, "number": before.number, "was": before.read_to},
        )
        == 1
    )


def ends_on(db: Db, before: Endpoint, ends_to_at: int) -> bool:
    """The same for the ends of certificates."""
    return (
        db.execute(
            "UPDATE webhook_endpoints SET ends_to_at = :to WHERE number = :number AND ends_to_at = :was"
            " AND state = 'active'",
            {"to": ends_to_at, "number": before.number, "was": before.ends_to_at},
        )
        == 1
    )


def hold(db: Db, number: int, until_at: int) -> None:
    """Has an endpoint's deliveries wait: its receiver wants that."""
    db.execute(
        "UPDATE webhook_endpoints SET held_until_at = :until WHERE number = :number",
        {"until": until_at, "number": number},
    )


def forget_secrets(db: Db, at: int) -> int:
    """Wipes secrets that another has followed, once their time is over; returns how many."""
    return db.execute(
        "UPDATE webhook_endpoints SET sealed_before = NULL, before_until_at = NULL"
        " WHERE before_until_at <= :at",
        {"at": at},
    )


# -- deliveries ------------------------------------------------------------------------------------------


def put(db: Db, endpoint: int, event: Event, at: int) -> bool:
    """Queues an event for an endpoint; False when it was before."""
    row = {
        "endpoint": endpoint,
        "message": event.id,
        "event": event.type,
        "body": event.text(),
        "happened_at": event.at,
        "state": str(State.WAITING),
        "next_at": at,
    }
    return (
        db.execute(f"{inserting('webhook_deliveries', row)} ON CONFLICT (endpoint, message) DO NOTHING", row)
        == 1
    )


# A moment that is too far off is a clock's that ran ahead.
_DUE = (
    "endpoint = :endpoint AND state = 'waiting' AND (next_at <= :at OR next_at > :furthest)"
    " AND (claimed_until_at <= :at OR claimed_until_at > :leased)"
)


def due(db: Db, endpoint: int, at: int, furthest: int, limit: int) -> list[Delivery]:
    """What is to be tried now, by when it was due."""
    found = db.rows(
        f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE {_DUE} ORDER BY next_at, number"
        f" LIMIT :limit{UNTAKEN}",
        {**_moment(endpoint, at, furthest), "limit": limit},
    )
    return [_delivery(row) for row in found]


def begin(db: Db, found: Delivery, at: int) -> bool:
    """Takes one for `LEASE` seconds; False when somebody else has."""
    values = {"number": found.number, "attempts": found.attempts, "until": at + LEASE, "at": at}
    return (
        db.execute(
            "UPDATE webhook_deliveries SET claimed_until_at = :until, attempts = attempts + 1,"
            " tries = tries + 1, tried_at = :at"
            " WHERE number = :number AND state = 'waiting' AND attempts = :attempts",
            values,
        )
        == 1
    )


def settle(
    db: Db, taken: Delivery, state: State, *, next_at: int, ended_at: int | None, status: int, result: str
) -> bool:
    """What came of a try; False when it is somebody else's by now."""
    row = {"state": str(state), "next_at": next_at, "ended_at": ended_at, "status": status, "result": result}
    return (
        db.execute(
            "UPDATE webhook_deliveries SET state = :state, next_at = :next_at, ended_at = :ended_at,"
            " status = :status, result = :result, claimed_until_at = 0"
            " WHERE number = :number AND state = 'waiting' AND attempts = :attempts",
            row | {"number": taken.number, "attempts": taken.attempts},
        )
        == 1
    )


_ANEW = "state = 'waiting', tries = 0, next_at = :at, ended_at = NULL, claimed_until_at = 0"


def replay(db: Db, number: int, at: int) -> bool:
    """Queues one again that is over; False for one that waits, or is none."""
    return (
        db.execute(
            f"UPDATE webhook_deliveries SET {_ANEW} WHERE number = :number"
            " AND state IN ('delivered', 'dead')",
            {"number": number, "at": at},
        )
        == 1
    )


def replay_dead(db: Db, endpoint: int, at: int) -> int:
    """Queues every dead letter of an endpoint again; returns how many."""
    return db.execute(
        f"UPDATE webhook_deliveries SET {_ANEW} WHERE endpoint = :endpoint AND state = 'dead'",
        {"endpoint": endpoint, "at": at},
    )


def wake(db: Db, endpoint: int, at: int) -> None:
    """Makes what waits due."""
    db.execute(
        "UPDATE webhook_deliveries SET next_at = :at WHERE endpoint = :endpoint AND state = 'waiting'"
        " AND next_at > :at",
        {"endpoint": endpoint, "at": at},
    )


def drop_waiting(db: Db, endpoint: int) -> int:
    """Takes away what an endpoint that ends was not told; returns how many."""
    return db.execute(
        "DELETE FROM webhook_deliveries WHERE endpoint = :endpoint AND state = 'waiting'",
        {"endpoint": endpoint},
    )


def drop_over(db: Db, before: int) -> int:
    """Takes away what was over before a moment; returns how many."""
    return db.execute("DELETE FROM webhook_deliveries WHERE ended_at < :before", {"before": before})


def delivery(db: Db, number: int) -> Delivery | None:
    row = db.one(f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE number = :number", {"number": number})
    return None if row is None else _delivery(row)


def deliveries(
    db: Db, endpoint: int | None = None, state: State | None = None, *, before: int = 2**62, limit: int = 50
) -> list[Delivery]:
    """Newest first, those before a number."""
    where, values = _narrowed(endpoint, state)
    found = db.rows(
        f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE {where} AND number < :before"
        " ORDER BY number DESC LIMIT :limit",
        {**values, "before": before, "limit": limit},
    )
    return [_delivery(row) for row in found]


def count(
    db: Db, endpoint: int | None = None, state: State | None = None, *, since: int | None = None
) -> int:
    """How many there are in all; ``since``: of those the numbers from one on."""
    where, values = _narrowed(endpoint, state)
    more = "" if since is None else " AND number >= :since"
    row = db.one(
        f"SELECT count(*) FROM webhook_deliveries WHERE {where}{more}{LOOK}", {**values, "since": since or 0}
    )
    assert row is not None
    return int(row[0])


def counts(db: Db) -> dict[tuple[int, State], int]:
    """How many of each endpoint are in each state."""
    found = db.rows(
        f"SELECT endpoint, state, count(*) FROM webhook_deliveries GROUP BY endpoint, state{LOOK}"
    )
    return {(int(row[0]), State(row[1])): int(row[2]) for row in found}


def _narrowed(endpoint: int | None, state: State | None) -> tuple[str, Mapping[str, Any]]:
    given = {"endpoint": endpoint, "state": None if state is None else str(state)}
    told = {name: value for name, value in given.items() if value is not None}
    return " AND ".join(["1 = 1", *(f"{name} = :{name}" for name in told)]), told


def _moment(endpoint: int, at: int, furthest: int) -> Values:
    return {"endpoint": endpoint, "at": at, "furthest": at + furthest, "leased": at + LEASE}


def _endpoint(row: Row) -> Endpoint:
    values = _values(row)
    decoded: Sequence[str] = json.loads(values["events"])
    return Endpoint(**{**values, "events": tuple(decoded), "state": Standing(values["state"])})


def _delivery(row: Row) -> Delivery:
    values = _values(row)
    return Delivery(**{**values, "state": State(values["state"])})


def _values(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118  a row is no mapping
