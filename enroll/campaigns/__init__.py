"""Campaigns: a named set of certificates that are to be renewed, and how far each of them is.

Nothing of what became of them is written down here: every figure is counted in the register, as of now or,
of a campaign that is over, as of its end. A certificate belongs to one if it was a person's, and good when it
began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any

from ca.storage import Row, Transaction
from enroll import store as rooms
from enroll.campaigns import store
from enroll.campaigns.store import VIEWS, Campaign
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

__all__ = (
    "STEPS",
    "VIEWS",
    "Campaign",
    "Counts",
    "Figures",
    "OfOrganisation",
    "Total",
    "figures",
    "known",
    "listed",
    "people",
    "summed",
)

#: The way of a certificate, in its order: each step is one of those before it as well.
STEPS = ("due", "mailed", "opened", "renewed", "used")


@dataclass(frozen=True)
class Counts:
    """Certificates by what is counted of them (``VIEWS``). ``due`` are all: those ``renewed``, those still
    ``open``, those that expired (``lapsed``), and those that there is nothing to renew of any more
    (``left``: revoked, reissued, or their holders stopped)."""

    due: int = 0
    mailed: int = 0
    opened: int = 0
    renewed: int = 0
    used: int = 0
    open: int = 0
    lapsed: int = 0
    left: int = 0

    def of(self, view: str) -> int:
        return int(getattr(self, view))

    @property
    def share(self) -> float | None:
        """Renewed ones in percent of those that there was anything to renew of; None of nothing."""
        of = self.due - self.left
        return 100 * self.renewed / of if of else None


@dataclass(frozen=True)
class OfOrganisation:
    """What a campaign is at one organisation."""

    policy_number: str
    name: str
    counts: Counts


_IN_ORDER = attrgetter(*(f"counts.{each.name}" for each in fields(Counts)))


@dataclass(frozen=True)
class Figures:
    """A campaign as of a moment, by 証券番号, and the sums of that."""

    campaign: Campaign
    at: int
    organisations: tuple[OfOrganisation, ...]

    @cached_property
    def total(self) -> Counts:
        return Counts(*map(sum, zip(*map(_IN_ORDER, self.organisations), strict=True)))


@dataclass(frozen=True)
class Total:
    """The sums of a campaign as of a moment."""

    campaign: Campaign
    at: int
    total: Counts


def known(db: Transaction, number: int) -> Campaign:
    """One by its number. Refusal("not_found")."""
    found = store.campaign(db, number)
    if found is None:
        detail = f"there is no campaign {number}; see: sekisho campaign list"
        raise Refusal("not_found", field="campaign", detail=detail)
    return found


def listed(db: Transaction, actor: Actor, *, every: bool = True) -> list[Campaign]:
    """Those that there are, newest first; without ``every`` those that go on. Refusal("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    return store.campaigns(db, every=every)


def figures(db: Transaction, actor: Actor, campaign: Campaign, now: int) -> Figures:
    """How far it is. Refusal("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    found = (
        OfOrganisation(
            row["policy_number"],
            row["organisation"],
            Counts(*map(int, row[2:])),
        )
        for row in store.counted(db, campaign, now)
    )
    return Figures(campaign, campaign.at(now), tuple(found))


def summed(
    db: Transaction, actor: Actor, campaign: Campaign, now: int, policy_number: str | None = None
) -> Total:
    """The sums alone, which are counted sooner; of one organisation, if one is named.
    Refusal("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    return Total(
        campaign, campaign.at(now), Counts(*map(int, store.summed(db, campaign, now, policy_number)))
    )


def people(
    db: Transaction,
    actor: Actor,
    campaign: Campaign,
    now: int,
    view: str,
    policy_number: str | None = None,
    *,
    after: tuple[int, int] = (0, 0),
    limit: int = 2**62,
) -> Sequence[Row]:
    """The certificates of a view with whose they are, those that end first before the others: as many as its
    figure. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return store.listed(db, campaign, now, view, policy_number, after=after, limit=limit)


def step_of(row: Row) -> str:
    """How far a certificate of the list is: one of ``STEPS``, "lapsed", or "left"."""
    came, gone = int(row["came"]), int(row["gone"])
    return ("", "lapsed", "left")[gone] if gone and came < 3 else STEPS[came]


async def note_reading(
    ra: RegistrationAuthority, actor: Actor, number: int, view: str, policy_number: str | None
) -> None:
    """Says in the trail that people of a campaign were read (O18). Refusal("not_permitted")."""

    def work(db: Transaction) -> None:
        at = ra.now()
        by = asked_again(db, actor, at)
        require(by, Act.SEARCH, Verdict.READ)
        told = {"view": view} | ({} if policy_number is None else {"organisation": policy_number})
        rooms.audit(db, at, by.name, "campaign.people", str(number), **told)

    await ra.database.write(work)


def facts(campaign: Campaign) -> Mapping[str, Any]:
    """What one is, for whoever decides about it and for the trail."""
    return {
        "name": campaign.name,
        "first_at": campaign.first_at,
        "until_at": campaign.until_at,
        "policy_number": campaign.policy_number,
        "issuer_id": campaign.issuer_id,
        "every_days": campaign.every_days,
    }
