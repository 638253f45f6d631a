"""Every statement about campaigns: which there are, and what the register says of their certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ca.storage import LOOK, Row, Transaction, inserting

Db = Transaction


@dataclass(frozen=True)
class Campaign:
    """A named set of people's certificates to be renewed. Moments are epoch seconds; None: whichever.

    ``first_at`` and ``until_at``: of the ends of its certificates, from the one on and before the other.
    """

    number: int
    name: str
    first_at: int | None
    until_at: int | None
    policy_number: str | None
    issuer_id: str | None
    every_days: int
    begun_at: int
    begun_by: str
    ended_at: int | None = None
    ended_by: str = ""

    def at(self, now: int) -> int:
        """As of which moment it is told of: what happens after its end is none of its."""
        return now if self.ended_at is None else min(now, self.ended_at)


_COLUMNS = (
    "number, name, first_at, until_at, policy_number, issuer_id, every_days, begun_at, begun_by, ended_at,"
    " ended_by"
)


def add(db: Db, campaign: Campaign) -> int:
    """Records one and returns its number; ``campaign.number`` is ignored."""
    row = asdict(campaign)
    del row["number"]
    added = db.one(f"{inserting('campaigns', row)} RETURNING number", row)
    assert added is not None
    return int(added[0])


def campaign(db: Db, number: int) -> Campaign | None:
    row = db.one(f"SELECT {_COLUMNS} FROM campaigns WHERE number = :number", {"number": number})
    return None if row is None else Campaign(*row)


def campaigns(db: Db, *, every: bool = True) -> list[Campaign]:
    """All, newest first; without ``every`` those that go on."""
    narrowed = "" if every else " WHERE ended_at IS NULL"
    return [
        Campaign(*row) for row in db.rows(f"SELECT {_COLUMNS} FROM campaigns{narrowed} ORDER BY number DESC")
    ]


def end(db: Db, number: int, at: int, by: str) -> bool:
    """False for one that has ended."""
    changed = db.execute(
        "UPDATE campaigns SET ended_at = :at, ended_by = :by WHERE number = :number AND ended_at IS NULL",
        {"number": number, "at": at, "by": by},
    )
    return changed == 1


# -- its certificates --------------------------------------------------------------------------------------

# How far a renewal came: announced, opened, fetched, logged in with.
_CAME = (
    "CASE WHEN f.used_at <= :at THEN 4 WHEN f.picked_up_at <= :at THEN 3"
    " WHEN f.opened_at <= :at OR f.submitted_at <= :at THEN 2 WHEN f.announced_at <= :at THEN 1 ELSE 0 END"
)
# Why there is nothing to renew any more: 2, something ended it or its holder; 1, it has expired.
_GONE = (
    "CASE WHEN e.ended_at <= :at OR u.disabled_at <= :at OR o.disabled_at <= :at THEN 2"
    " WHEN e.not_after_at < :at THEN 1 ELSE 0 END"
)
# A certificate belongs to a campaign that was good when that began: what is issued later is none of its work.
_LISTED = (
    "e.number, e.request_id, e.serial, e.user_id, e.common_name, e.not_after_at, u.name, u.mail,"
    " u.policy_number, o.name AS organisation"
)
_CERTIFICATES = (
    "SELECT {0},"
    f" coalesce((SELECT max({_CAME}) FROM enrollments f WHERE f.replaces_serial = e.serial), 0) AS came,"
    f" {_GONE} AS gone FROM enrollments e JOIN users u ON u.user_id = e.user_id"
    " JOIN organisations o ON o.policy_number = u.policy_number"
    " WHERE e.door = 'page' AND e.not_after_at IS NOT NULL AND e.issued_at < :begun_at"
    " AND (e.ended_at IS NULL OR e.ended_at >= :begun_at) AND e.not_after_at >= :first_at"
)
_UNTIL = " AND e.not_after_at < :until_at"
_OF_ORGANISATION = " AND u.policy_number = :policy_number"
_OF_ISSUER = (
    " AND EXISTS (SELECT 1 FROM certificates c WHERE c.serial = e.serial AND c.issuer_id = :issuer_id)"
)

#: What is counted and listed of a campaign -> which of its certificates.
VIEWS: Mapping[str, str] = {
    "due": "came >= 0",
    "mailed": "came >= 1",
    "opened": "came >= 2",
    "renewed": "came >= 3",
    "used": "came >= 4",
    "open": "came < 3 AND gone = 0",
    "lapsed": "came < 3 AND gone = 1",
    "left": "came < 3 AND gone = 2",
}
_SUMS = ", ".join(f"sum(CASE WHEN {meant} THEN n ELSE 0 END) AS {name}_" for name, meant in VIEWS.items())


def counted(db: Db, campaign: Campaign, now: int) -> Sequence[Row]:
    """How many of its certificates are in each view (``VIEWS``, by the name and an underscore), by
    organisation."""
    found, values = _certificates(campaign, now, columns="u.policy_number")
    # How far each came is looked up once, and not for each view; its organisation's name once for all.
    alike = "policy_number, came, gone"
    return db.rows(
        f"SELECT sums.*, n.name AS organisation FROM (SELECT policy_number, {_SUMS}"
        f" FROM (SELECT {alike}, count(*) AS n FROM ({found}) AS found GROUP BY {alike}) AS counted"
        " GROUP BY policy_number) AS sums JOIN organisations n ON n.policy_number = sums.policy_number"
        f" ORDER BY sums.policy_number{LOOK}",
        values,
    )


def listed(
    db: Db,
    campaign: Campaign,
    now: int,
    view: str,
    policy_number: str | None = None,
    *,
    after: tuple[int, int] = (0, 0),
    limit: int = 2**62,
) -> Sequence[Row]:
    """Its certificates in a view, those that end first before the others; ``after`` the end and the number of
    one of them."""
    narrowed = " AND policy_number = :of" if policy_number is not None else ""
    found, values = _certificates(campaign, now)
    values |= {"after_at": after[0], "after": after[1], "limit": limit}
    values |= {} if policy_number is None else {"of": policy_number}
    return db.rows(
        f"SELECT * FROM ({found}) AS found WHERE {VIEWS[view]}{narrowed}"
        " AND (not_after_at > :after_at OR not_after_at = :after_at AND number > :after)"
        f" ORDER BY not_after_at, number LIMIT :limit{LOOK}",
        values,
    )


def one(db: Db, campaign: Campaign, now: int, number: int) -> Row | None:
    """One of its certificates, by the number of its enrollment, if that waits for its renewal."""
    found, values = _certificates(campaign, now, " AND e.number = :number")
    return db.one(
        f"SELECT * FROM ({found}) AS found WHERE {VIEWS['open']}{LOOK}", values | {"number": number}
    )


def _certificates(
    campaign: Campaign, now: int, further: str = "", columns: str = _LISTED
) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {"at": campaign.at(now), "begun_at": campaign.begun_at}
    values["first_at"] = max(campaign.first_at or 0, campaign.begun_at)
    statement = _CERTIFICATES.format(columns) + further
    for value, name, narrowed in (
        (campaign.until_at, "until_at", _UNTIL),
        (campaign.policy_number, "policy_number", _OF_ORGANISATION),
        (campaign.issuer_id, "issuer_id", _OF_ISSUER),
    ):
        if value is not None:
            statement += narrowed
            values[name] = value
    return statement, values


# -- generations -------------------------------------------------------------------------------------------

# People's and programs' certificates that let somebody in, or would if they were not held: found by an index
# of certificates that has their end, not by the rows, which are wide. ``good``: in hand, and let in; who has
# one of these of another issuing CA is hurt by nothing that becomes of this one.
_ALIVE = (
    "SELECT c.issuer_id, e.user_id, e.door, c.not_after_at,"
    " CASE WHEN e.state IN ('picked_up', 'in_use') AND c.status = 'issued' THEN 1 ELSE 0 END AS good"
    " FROM certificates c JOIN enrollments e ON e.serial = c.serial"
    " WHERE c.status IN ('issued', 'held') AND c.not_after_at >= :at"
    " AND e.state IN ('issued', 'picked_up', 'in_use')"
)


def alive(db: Db, at: int) -> Sequence[Row]:
    """The certificates that have not ended: issuing CA, whose, by which door, when each ends, and whether it
    is in hand and good."""
    return db.rows(f"{_ALIVE}{LOOK}", {"at": at})


def organisations_of(db: Db) -> dict[str, str]:
    """User ID -> 証券番号, of everybody."""
    return {
        row["user_id"]: row["policy_number"]
        for row in db.rows(f"SELECT user_id, policy_number FROM users{LOOK}")
    }


def names(db: Db) -> dict[str, str]:
    """証券番号 -> name, of every organisation."""
    return {
        row["policy_number"]: row["name"]
        for row in db.rows(f"SELECT policy_number, name FROM organisations{LOOK}")
    }
