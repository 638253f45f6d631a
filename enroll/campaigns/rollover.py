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


@dataclass(slots=True)
class _Held:
    """What somebody has of an issuing CA: how many, how many of them are in hand and good, and when the last
    of them ends."""

    certificates: int = 0
    good: int = 0
    last_at: int = 0


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
    held, days = _held(store.alive(db, at))
    of, names = store.organisations_of(db), store.names(db)
    return [
        Left(
            issuer,
            found.state(issuer.issuer_id),
            found.rows[issuer.issuer_id].planned_at,
            _organisations(issuer.issuer_id, held, of, names),
            _months(days.get(issuer.issuer_id, Counter())),
        )
        for issuer in ra.authority.of(Audience.CLIENTS)
        if found.state(issuer.issuer_id) not in _GONE
    ]


def _held(rows: Sequence[Row]) -> tuple[dict[_Holder, dict[str, _Held]], dict[str, Counter[int]]]:
    """What each holder has of each issuing CA; and issuing CA -> how many end on a day in Japan, counted from
    1970."""
    held, days = dict[_Holder, dict[str, _Held]](), dict[str, Counter[int]]()
    for issuer_id, user_id, door, not_after_at, good in rows:
        mine = held.setdefault((user_id, door), {}).setdefault(issuer_id, _Held())
        mine.certificates += 1
        mine.good += good
        mine.last_at = max(mine.last_at, not_after_at)
        days.setdefault(issuer_id, Counter())[(not_after_at + 32_400) // 86_400] += 1
    return held, days


def _organisations(
    issuer_id: str, held: dict[_Holder, dict[str, _Held]], of: dict[str, str], names: dict[str, str]
) -> tuple[AtOrganisation, ...]:
    found = dict[str, list[int]]()
    for (user_id, _), by_issuer in held.items():
        mine = by_issuer.get(issuer_id)
        if mine is None:
            continue
        elsewhere = any(each.good for other, each in by_issuer.items() if other != issuer_id)
        sums = found.setdefault(of[user_id], [0, 0, 0, 0])
        sums[0] += mine.certificates
        sums[1] += 1
        sums[2] += not elsewhere
        sums[3] = max(sums[3], mine.last_at)
    return tuple(AtOrganisation(number, names[number], *found[number]) for number in sorted(found))


def _months(days: Counter[int]) -> tuple[tuple[date, int], ...]:
    """Without a gap, from the first month in which any ends to the last."""
    counted = Counter[date]()
    for day, count in days.items():
        counted[(_EPOCH + timedelta(days=day)).replace(day=1)] += count
    month, found = min(counted, default=None), list[tuple[date, int]]()
    while month is not None and month <= max(counted):
        found.append((month, counted[month]))
        month = (month + timedelta(days=31)).replace(day=1)
    return tuple(found)
