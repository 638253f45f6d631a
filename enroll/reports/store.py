"""Every statement of the reports: how many rows of the register there are of each kind within some days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ca.storage import LOOK, Transaction


@dataclass(frozen=True)
class Count:
    """Rows of a table by a moment of theirs, those that are ``meant``, and each column by a condition."""

    table: str
    moment: str
    meant: str
    columns: Mapping[str, str]
    #: Each column is a range of an index that begins with what the column asks for: entries are counted, and
    #: none is looked at.
    ranges: bool = False


# Each is answered by an index alone, which has all that it names (`enroll/schema.py`).
ENDING = Count(
    "enrollments",
    "not_after_at",
    # As in the partial index, word for word.
    "state IN ('issued', 'picked_up', 'in_use')",
    {"page": "door = 'page'", "protocol": "door = 'protocol'"},
)
OPENED = Count(
    "enrollments",
    "created_at",
    "kind IN ('addition', 'reissue')",
    {
        "picked_up": "picked_up_at IS NOT NULL",
        "waiting": "picked_up_at IS NULL AND ended_at IS NULL"
        " AND (window_ends_at IS NULL OR window_ends_at > :at)",
        "over": "picked_up_at IS NULL AND (ended_at IS NOT NULL OR window_ends_at <= :at)",
    },
)
ISSUED = Count(
    "enrollments",
    "issued_at",
    "issued_at IS NOT NULL",
    {
        # Both doors are named, so that the index goes on to the moment.
        "addition": "kind = 'addition' AND door IN ('page', 'protocol')",
        "reissue": "kind = 'reissue' AND door IN ('page', 'protocol')",
        "renewal": "kind = 'renewal' AND door = 'page'",
        "renewal_protocol": "kind = 'renewal' AND door = 'protocol'",
        "protocol": "kind = 'protocol' AND door IN ('page', 'protocol')",
    },
    ranges=True,
)
# What an operator sends to oneself to look at a template reaches nobody else, and is no mail of these.
_MAILS = "channel = 'mail' AND kind <> 'template_test'"
# A letter that came back keeps the moment at which it left.
LEFT = Count(
    "mails",
    "sent_at",
    _MAILS,
    {"sent": "state <> 'failed'", "bounced": "state = 'failed'"},
)
REFUSED = Count(
    "mails",
    "queued_at",
    f"state = 'failed' AND {_MAILS} AND sent_at IS NULL",
    {"refused": "1 = 1"},
)


def counted(db: Transaction, count: Count, since: int, until: int, at: int) -> Mapping[str, int]:
    """How many there are in each column, of those from one moment on and before another."""
    within = (
        f"FROM {count.table} WHERE {count.meant} AND {count.moment} >= :since AND {count.moment} < :until"
    )
    told = f"{_sums(count)} {within}"
    if count.ranges:
        each = count.columns.items()
        told = ", ".join(f"(SELECT count(*) {within} AND {condition}) AS {name}" for name, condition in each)
    row = db.one(f"SELECT {told}", {"since": since, "until": until, "at": at})
    assert row is not None
    return {name: int(row[name]) for name in count.columns}


def counted_by_week(
    db: Transaction, count: Count, policy_number: str, monday: int, since: int, until: int, at: int
) -> list[Mapping[str, Any]]:
    """The same of an organisation's users, for each week since a Monday that has any, by its number."""
    moment = count.moment
    found = db.rows(
        f"SELECT ({moment} - :monday) / 604800 AS week, {_sums(count)} FROM {count.table}"
        " WHERE user_id IN (SELECT user_id FROM users WHERE policy_number = :policy_number)"
        f" AND {count.meant} AND {moment} >= :since AND {moment} < :until GROUP BY week{LOOK}",
        {"policy_number": policy_number, "monday": monday, "since": since, "until": until, "at": at},
    )
    return [{**row} for row in found]


def _sums(count: Count) -> str:
    return ", ".join(
        f"coalesce(sum(CASE WHEN {condition} THEN 1 ELSE 0 END), 0) AS {name}"
        for name, condition in count.columns.items()
    )
