"""From one generation of issuing CA to the next: what is left of each, and whom its end would hurt.

Counted in the register, as campaigns are; what a generation is, and may become, is `ca.generations.states`'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ca.authority import Issuer
from ca.generations.states import State
from ca.profiles import Audience
from ca.storage import Row, Transaction
from enroll import generations
from enroll.campaigns import store
from enroll.operators.actors import Actor, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority

#: Those that nothing is left of.
_GONE = frozenset({State.OVER, State.DISCARDED})
_EPOCH = date(1970, 1, 1)
#: A person, or a user's programs.
_Holder = tuple[str, str]


@dataclass(frozen=True)
class AtOrganisation:
    """What an organisation has of a generation. ``hurt``: people, and users whose programs, have nothing else
    in hand that would let them in."""

    policy_number: str
    name: str
    certificates: int
    holders: int
    hurt: int
    last_at: int


@dataclass(frozen=True)
class Left:
    """A generation, and what is left of it. ``months``: the first day of each, and how many certificates end
    in it. ``planned_at``: when it begins to issue."""

    issuer: Issuer
    state: State
    planned_at: int | None
    organisations: tuple[AtOrganisation, ...]
    months: tuple[tuple[date, int], ...]

    @property
    def certificates(self) -> int:
        return sum(each.certificates for each in self.organisations)

    @property
    def holders(self) -> int:
        return sum(each.holders for each in self.organisations)

    @property
    def hurt(self) -> int:
        return sum(each.hurt for each in self.organisations)

    @property
    def last_at(self) -> int | None:
        """When its last certificate ends."""
        return max((each.last_at for each in self.organisations), default=None)


def board(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> list[Left]:
    """The generations of issuing CAs for clients that are not over, the newest first. Refusal
    ("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    at, found = ra.now(), generations.at_now(db, ra)
    rows, days = store.holders(db, at), store.ends(db, at)
    good = dict[_Holder, set[str]]()
    for row in rows:
        if row["good"]:
            good.setdefault((row["user_id"], row["door"]), set()).add(row["issuer_id"])
    return [
        Left(
            issuer,
            found.state(issuer.issuer_id),
            found.rows[issuer.issuer_id].planned_at,
            _organisations([row for row in rows if row["issuer_id"] == issuer.issuer_id], good),
            _months([row for row in days if row["issuer_id"] == issuer.issuer_id]),
        )
        for issuer in ra.authority.of(Audience.CLIENTS)
        if found.state(issuer.issuer_id) not in _GONE
    ]


def _organisations(rows: Sequence[Row], good: dict[_Holder, set[str]]) -> tuple[AtOrganisation, ...]:
    found = dict[str, AtOrganisation]()
    for row in rows:
        number = row["policy_number"]
        before = found.get(number) or AtOrganisation(number, row["organisation"], 0, 0, 0, 0)
        elsewhere = good.get((row["user_id"], row["door"]), set()) - {row["issuer_id"]}
        found[number] = AtOrganisation(
            number,
            before.name,
            before.certificates + int(row["certificates"]),
            before.holders + 1,
            before.hurt + (not elsewhere),
            max(before.last_at, int(row["last_at"])),
        )
    return tuple(found[number] for number in sorted(found))


def _months(rows: Sequence[Row]) -> tuple[tuple[date, int], ...]:
    """Without a gap, from the first month in which any ends to the last."""
    counted = Counter[date]()
    for row in rows:
        counted[(_EPOCH + timedelta(days=int(row["day"]))).replace(day=1)] += int(row["certificates"])
    month, found = min(counted, default=None), list[tuple[date, int]]()
    while month is not None and month <= max(counted):
        found.append((month, counted[month]))
        month = (month + timedelta(days=31)).replace(day=1)
    return tuple(found)
