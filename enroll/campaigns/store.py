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
_GONE_ITSELF = (
    "CASE WHEN e.ended_at <= :at OR u.disabled_at <= :at THEN 2 WHEN e.not_after_at < :at THEN 1 ELSE 0 END"
)
_GONE = "CASE WHEN o.disabled_at <= :at THEN 2 ELSE {0} END"
# A certificate belongs to a campaign that was good when that began: what is issued later is none of its work.
_LISTED = (
    "e.number, e.request_id, e.serial, e.user_id, e.common_name, e.not_after_at, u.name, u.mail,"
    f" u.policy_number, o.name AS organisation, {_GONE.format(_GONE_ITSELF)} AS gone"
)
_SUMMED = f"{_GONE.format(_GONE_ITSELF)} AS gone"
_COUNTED = f"u.policy_number, {_GONE_ITSELF} AS gone"
_ORGANISATIONS = " JOIN organisations o ON o.policy_number = u.policy_number"
_CERTIFICATES = (
    "SELECT {0},"
    f" coalesce((SELECT max({_CAME}) FROM enrollments f WHERE f.replaces_serial = e.serial), 0) AS came"
    " FROM enrollments e JOIN users u ON u.user_id = e.user_id{1}"
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
_SUMS = ", ".join(
    f"coalesce(sum(CASE WHEN {meant} THEN n ELSE 0 END), 0) AS {name}_" for name, meant in VIEWS.items()
)


def counted(db: Db, campaign: Campaign, now: int) -> Sequence[Row]:
    """How many of its certificates are in each view (``VIEWS``, by the name and an underscore), by
    organisation."""
    found, values = _certificates(campaign, now, columns=_COUNTED, joined="")
    # How far each came is looked up once, and not for each view; its organisation once for all.
    alike = "policy_number, came, gone"
    return db.rows(
        f"WITH found AS MATERIALIZED ({found}) SELECT policy_number, organisation, {_SUMS} FROM"
        f" (SELECT o.policy_number, o.name AS organisation, came, {_GONE.format('gone')} AS gone, n FROM"
        f" (SELECT {alike}, count(*) AS n FROM found GROUP BY {alike}) AS counted"
        " JOIN organisations o ON o.policy_number = counted.policy_number) AS named"
        f" GROUP BY policy_number, organisation ORDER BY policy_number{LOOK}",
        values,
    )


def summed(db: Db, campaign: Campaign, now: int, policy_number: str | None = None) -> Row:
    """The same of all organisations together, or of one."""
    found, values = _certificates(campaign, now, columns=_SUMMED)
    if policy_number is not None:
        found += " AND u.policy_number = :of"
        values["of"] = policy_number
    row = db.one(
        f"WITH found AS MATERIALIZED ({found}) SELECT {_SUMS} FROM"
        f" (SELECT came, gone, 1 AS n FROM found) AS counted{LOOK}",
        values,
    )
    assert row is not None
    return row


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
    campaign: Campaign, now: int, further: str = "", columns: str = _LISTED, joined: str = _ORGANISATIONS
) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {"at": campaign.at(now), "begun_at": campaign.begun_at}
    values["first_at"] = max(campaign.first_at or 0, campaign.begun_at)
    statement = _CERTIFICATES.format(columns, joined) + further
    for value, name, narrowed in (
        (campaign.until_at, "until_at", _UNTIL),
        (campaign.policy_number, "policy_number", _OF_ORGANISATION),
        (campaign.issuer_id, "issuer_id", _OF_ISSUER),
    ):
        if value is not None:
            statement += narrowed
            values[name] = value
    return statement, values


# -- what was counted --------------------------------------------------------------------------------------


def kept(db: Db, name: str) -> Row | None:
    """What was counted under a name: as of when, sums and parts."""
    return db.one(f"SELECT at, sums, parts FROM kept_counts WHERE name = :name{LOOK}", {"name": name})


def kept_sums(db: Db) -> Mapping[str, Row]:
    """Of everything that was counted, by name: as of when, and the sums."""
    return {row["name"]: row for row in db.rows(f"SELECT name, at, sums FROM kept_counts{LOOK}")}


def keep(db: Db, name: str, at: int, sums: str, parts: str) -> None:
    """Keeps what was counted, in place of what was before."""
    values = {"name": name, "at": at, "sums": sums, "parts": parts}
    db.execute(
        f"{inserting('kept_counts', values)} ON CONFLICT (name) DO UPDATE SET at = excluded.at,"
        " sums = excluded.sums, parts = excluded.parts",
        values,
    )


def keep_no_more(db: Db, name: str) -> None:
    """Has it be counted by whoever asks."""
    db.execute("DELETE FROM kept_counts WHERE name = :name", {"name": name})


# -- generations -------------------------------------------------------------------------------------------

# People's and programs' certificates that let somebody in, or would if they were not held: counted by indexes
# of certificates alone, which have their end and their holder.
_ALIVE = "status IN ('issued', 'held') AND not_after_at >= :at"
_DOORS = ("page", "protocol")
# Those of them that are no good to their holders: held, or not fetched yet. Few.
_NO_GOOD = (
    f"SELECT issuer_id, holder, door FROM certificates WHERE {_ALIVE} AND status = 'held' AND holder <> ''"
    " UNION ALL SELECT c.issuer_id, c.holder, c.door FROM enrollments e JOIN certificates c"
    " ON c.serial = e.serial AND c.status = 'issued' WHERE e.state IN ('issued', 'picked_up', 'in_use')"
    " AND e.state = 'issued' AND e.not_after_at >= :at"
)


# How many somebody has on the pages, and so many times as many of programs': one sum for both.
_PROGRAMS = 2**31


def alive(db: Db, issuers: Sequence[str], at: int) -> Sequence[Row]:
    """The certificates that have not ended, by organisation: its number and name, and then of each issuing CA
    in its turn how many there are, how many people and users' programs have one, how many of these have none
    of another of these CAs, and when the last one ends."""
    values = {f"issuer_{place}": issuer for place, issuer in enumerate(issuers)}
    if not values:
        return ()
    of_user, of_organisation = list[str](), list[str]()
    for place in range(len(issuers)):
        here = f"WHEN issuer_id = :issuer_{place} THEN"
        of_user += [
            # PostgreSQL's sum is a number with a fraction.
            f"CAST(sum(CASE {here} CASE door WHEN 'page' THEN 1 ELSE {_PROGRAMS} END ELSE 0 END) AS BIGINT)"
            f" AS n{place}",
            f"max(CASE {here} not_after_at ELSE 0 END) AS last{place}",
        ]
        elsewhere = [f"n{other}" for other in range(len(issuers)) if other != place]
        # Whether there is any of a door, here and elsewhere.
        there = [
            (f"{part.format(f'n{place}')} > 0", *(f"{part.format(other)} = 0" for other in elsewhere))
            for part in (f"{{0}} % {_PROGRAMS}", f"{{0}} / {_PROGRAMS}")
        ]
        of_organisation += [
            f"sum(n{place} % {_PROGRAMS} + n{place} / {_PROGRAMS})",
            " + ".join(f"sum(CASE WHEN {some} THEN 1 ELSE 0 END)" for some, *_ in there),
            " + ".join(f"sum(CASE WHEN {' AND '.join(each)} THEN 1 ELSE 0 END)" for each in there),
            f"max(last{place})",
        ]
    # From one user to the next: so they need no order, and only what has not ended is looked at.
    found = (
        f"SELECT policy_number, {', '.join(of_user)} FROM users CROSS JOIN certificates"
        f" WHERE holder = user_id AND {_ALIVE} GROUP BY policy_number, user_id"
    )
    sums = ", ".join(f"{each} AS sum{place}" for place, each in enumerate(of_organisation))
    named = ", ".join(f"sum{place}" for place in range(len(of_organisation)))
    return db.rows(
        f"SELECT o.policy_number, o.name, {named} FROM (SELECT policy_number, {sums} FROM ({found}) AS found"
        " GROUP BY policy_number) AS summed JOIN organisations o ON o.policy_number = summed.policy_number"
        f" ORDER BY o.policy_number{LOOK}",
        {**values, "at": at},
    )


def no_good(db: Db, at: int) -> Sequence[Row]:
    """Issuing CA, holder and door of each of those that is not in hand, or is held."""
    return db.rows(f"{_NO_GOOD}{LOOK}", {"at": at})


def of_those(db: Db, at: int) -> Sequence[Row]:
    """What those holders have: organisation, issuing CA, holder and door, and how many have not ended."""
    return db.rows(
        "SELECT u.policy_number, c.issuer_id, c.holder, c.door, count(*) FROM"
        f" (SELECT DISTINCT holder FROM ({_NO_GOOD}) AS no_good) AS those"
        " JOIN users u ON u.user_id = those.holder JOIN certificates c ON c.holder = those.holder"
        f" WHERE {_ALIVE} GROUP BY u.policy_number, c.issuer_id, c.holder, c.door{LOOK}",
        {"at": at},
    )


def ends(db: Db, since: int, until: int) -> dict[str, int]:
    """How many certificates that somebody has, and that have not been revoked, end from a moment on and
    before another, by issuing CA."""
    found = db.rows(
        f"SELECT issuer_id, count(*) AS n FROM certificates WHERE {_ALIVE} AND not_after_at < :until"
        f" AND holder <> '' GROUP BY issuer_id{LOOK}",
        {"at": since, "until": until},
    )
    return {row["issuer_id"]: int(row["n"]) for row in found}


def last_end(db: Db, at: int) -> int | None:
    """When the last of all certificates ends; None if they have."""
    row = db.one(
        f"SELECT max(not_after_at) AS n FROM certificates WHERE not_after_at >= :at{LOOK}", {"at": at}
    )
    return None if row is None or row["n"] is None else int(row["n"])
