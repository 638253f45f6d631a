"""From one generation of issuing CA to the next: what is left of each, and whom its end would hurt.

Counted in the register, as campaigns are; what a generation is, and may become, is `ca.generations.states`'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ca.authority import Issuer
from ca.generations.states import State
from ca.profiles import Audience
from ca.storage import Transaction
from enroll import generations
from enroll.campaigns import store
from enroll.jst import day_of, start_of
from enroll.operators.actors import Actor, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority

#: Those that nothing is left of.
_GONE = frozenset({State.OVER, State.DISCARDED})
#: Issuing CA, user ID, and the door: a person, or a user's programs.
_Holding = tuple[str, str, str]


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


@dataclass(frozen=True)
class Counted:
    """What is left of each issuing CA, by its ID, as of a moment: by organisation, and by month."""

    at: int
    organisations: Mapping[str, tuple[AtOrganisation, ...]]
    months: Mapping[str, tuple[tuple[date, int], ...]]

    @property
    def certificates(self) -> int:
        return sum(each.certificates for of in self.organisations.values() for each in of)


def board(
    db: Transaction, ra: RegistrationAuthority, actor: Actor, counted: Counted | None = None
) -> list[Left]:
    """The generations of issuing CAs for clients that are not over, the newest first; with what was
    ``counted``, else it is counted now. Refusal("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    found = generations.at_now(db, ra)
    counted = count(db, ra) if counted is None else counted
    return [
        Left(
            issuer,
            found.state(issuer.issuer_id),
            found.rows[issuer.issuer_id].planned_at,
            counted.organisations.get(issuer.issuer_id, ()),
            counted.months.get(issuer.issuer_id, ()),
        )
        for issuer in ra.authority.of(Audience.CLIENTS)
        if found.state(issuer.issuer_id) not in _GONE
    ]


def count(db: Transaction, ra: RegistrationAuthority) -> Counted:
    """What is left now. Looks at each certificate that has not ended."""
    at, issuers = ra.now(), ra.authority.of(Audience.CLIENTS)
    months = _months(db, at)
    return Counted(
        at,
        _organisations(db, issuers, at),
        {each.issuer_id: tuple(_without_gap(months, each.issuer_id)) for each in issuers},
    )


def _organisations(
    db: Transaction, issuers: Sequence[Issuer], at: int
) -> dict[str, tuple[AtOrganisation, ...]]:
    """Issuing CA -> what each organisation has of it, by 証券番号."""
    known = [each.issuer_id for each in issuers]
    more = _hurt_as_well(db, known, at)
    found = dict[str, list[AtOrganisation]]()
    for number, name, *figures in store.alive(db, known, at):
        sums = list(map(int, figures))
        for place, issuer in enumerate(known):
            certificates, holders, hurt, last_at = sums[4 * place : 4 * place + 4]
            if certificates:
                hurt += more[issuer, number]
                at_it = AtOrganisation(number, name, certificates, holders, hurt, last_at)
                found.setdefault(issuer, []).append(at_it)
    return {issuer: tuple(each) for issuer, each in found.items()}


def _hurt_as_well(db: Transaction, issuers: Sequence[str], at: int) -> Counter[tuple[str, str]]:
    """By issuing CA and organisation: who has something of another issuing CA, none of which is any good."""
    bad = Counter[_Holding](tuple(row) for row in store.no_good(db, at))
    mine = dict[tuple[str, str, str], dict[str, int]]()
    for number, issuer, user, door, count in store.of_those(db, at):
        if issuer in issuers:
            good = count - bad[issuer, user, door]
            mine.setdefault((number, user, door), {})[issuer] = good
    found = Counter[tuple[str, str]]()
    for (number, _, _), good_of in mine.items():
        for issuer in good_of:
            others = [good for other, good in good_of.items() if other != issuer]
            found[issuer, number] += bool(others) and not any(others)
    return found


def _months(db: Transaction, at: int) -> list[tuple[date, dict[str, int]]]:
    """The first day of each month in Japan from now to the last end, and how many end in it by issuing CA."""
    last = store.last_end(db, at)
    month, found = day_of(at).replace(day=1), list[tuple[date, dict[str, int]]]()
    while last is not None and start_of(month) <= last:
        following = (month + timedelta(days=31)).replace(day=1)
        found.append((month, store.ends(db, max(at, start_of(month)), start_of(following))))
        month = following
    return found


def _without_gap(months: Sequence[tuple[date, dict[str, int]]], issuer_id: str) -> list[tuple[date, int]]:
    """From the first month in which any of an issuing CA ends to the last."""
    counted = [(month, ends.get(issuer_id, 0)) for month, ends in months]
    some = [place for place, (_, count) in enumerate(counted) if count]
    return counted[some[0] : some[-1] + 1] if some else []
