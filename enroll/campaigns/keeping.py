"""What takes long to count of campaigns and generations: counted beforehand, and kept with its moment.

Whoever leads counts it again and again (`Counter`). What has few certificates is not kept: it is counted when
somebody asks for it, and so is what nobody has counted of late. Each figure says as of which moment it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple
from datetime import date

from ca.storage import Row, Transaction
from enroll import campaigns
from enroll.campaigns import Campaign, Counts, Figures, OfOrganisation, Total, rollover, store
from enroll.campaigns.rollover import AtOrganisation, Counted
from enroll.operators.actors import Actor, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.settings import DAY

#: Certificates from which on a count is kept.
MANY = 2_000
#: Seconds between two counts of what goes on; and of what is over, whose figures change only where its past
#: does (a user who is let in again).
EVERY, EVERY_OVER = 300, DAY
#: Nobody is shown a count that so many of the next ones should have followed: it is counted then.
LATE = 3
_GENERATIONS = "generations"


def figures(db: Transaction, actor: Actor, campaign: Campaign, now: int) -> Figures:
    """How far a campaign is: as it was counted of late, or now. Refusal("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    row = store.kept(db, _name(campaign))
    if row is None or not _good(row, campaign, now):
        return campaigns.figures(db, actor, campaign, now)
    of = (OfOrganisation(number, name, Counts(*counts)) for number, name, counts in json.loads(row["parts"]))
    return Figures(campaign, campaign.at(int(row["at"])), tuple(of))


def totals(db: Transaction, actor: Actor, some: Sequence[Campaign], now: int) -> list[Total]:
    """The sums of campaigns, each as it was counted of late, or now. Refusal("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    kept, found = store.kept_sums(db), list[Total]()
    for each in some:
        row = kept.get(_name(each))
        if row is None or not _good(row, each, now):
            found.append(campaigns.summed(db, actor, each, now))
        else:
            found.append(Total(each, each.at(int(row["at"])), Counts(*json.loads(row["sums"]))))
    return found


def total(
    db: Transaction, actor: Actor, campaign: Campaign, now: int, policy_number: str | None = None
) -> Total:
    """The sums of one, or of one organisation of it. Refusal("not_permitted")."""
    if policy_number is None:
        return totals(db, actor, [campaign], now)[0]
    # Soon counted: its users are few among all.
    return campaigns.summed(db, actor, campaign, now, policy_number)


def generations(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> Counted:
    """What is left of each issuing CA: as it was counted of late, or now. Refusal("not_permitted")."""
    require(actor, Act.CAMPAIGNS, Verdict.READ)
    row = store.kept(db, _GENERATIONS)
    if row is None or not 0 <= ra.now() - row["at"] <= LATE * EVERY:
        return rollover.count(db, ra)
    parts = json.loads(row["parts"])
    return Counted(
        int(row["at"]),
        {
            issuer: tuple(AtOrganisation(*each) for each in of)
            for issuer, of in parts["organisations"].items()
        },
        {
            issuer: tuple((date.fromisoformat(day), count) for day, count in months)
            for issuer, months in parts["months"].items()
        },
    )


class Counter:
    """Counts in good time, in the one process that leads. ``many``: as `MANY`."""

    def __init__(self, many: int = MANY) -> None:
        self._many = many
        # What few certificates are of is not kept, and need not be looked at each time.
        self._counted: dict[str, int] = {}

    async def look(self, ra: RegistrationAuthority) -> list[str]:
        """Counts what is due, one after the other; returns what that was, by name."""
        there = await ra.database.read(store.campaigns)
        kept = {name: int(row["at"]) for name, row in (await ra.database.read(store.kept_sums)).items()}
        done = []
        for each in (*there, None):
            name, every = (_GENERATIONS, EVERY) if each is None else (_name(each), _every(each))
            last = max(kept.get(name, 0), self._counted.get(name, 0))
            over = each is not None and each.ended_at is not None and last < each.ended_at
            if over or not 0 <= ra.now() - last < every:
                await (self._count_generations(ra) if each is None else self._count(ra, each))
                done.append(name)
        return done

    async def _count(self, ra: RegistrationAuthority, campaign: Campaign) -> None:
        at = ra.now()
        rows = await ra.database.read_aside(lambda db: store.counted(db, campaign, at))
        parts = [[row[0], row[1], [int(each) for each in row[2:]]] for row in rows]
        sums = [sum(column) for column in zip(*(each[2] for each in parts), strict=True)]
        due = sums[0] if sums else 0
        await self._keep(ra, _name(campaign), at, due, json.dumps(sums), parts)

    async def _count_generations(self, ra: RegistrationAuthority) -> None:
        found = await ra.database.read_aside(lambda db: rollover.count(db, ra))
        parts = {
            "organisations": {key: [astuple(each) for each in of] for key, of in found.organisations.items()},
            "months": {key: [(str(day), n) for day, n in months] for key, months in found.months.items()},
        }
        await self._keep(ra, _GENERATIONS, found.at, found.certificates, "[]", parts)

    async def _keep(
        self, ra: RegistrationAuthority, name: str, at: int, certificates: int, sums: str, parts: object
    ) -> None:
        self._counted[name] = at
        if certificates < self._many:
            await ra.database.write(lambda db: store.keep_no_more(db, name))
            return
        told = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        await ra.database.write(lambda db: store.keep(db, name, at, sums, told))


def _name(campaign: Campaign) -> str:
    return f"campaign {campaign.number}"


def _every(campaign: Campaign) -> int:
    return EVERY if campaign.ended_at is None else EVERY_OVER


def _good(row: Row, campaign: Campaign, now: int) -> bool:
    """Whether a count may be shown: not too old, and of one that is over not from before its end."""
    at = int(row["at"])
    return 0 <= now - at <= LATE * _every(campaign) and at >= (campaign.ended_at or 0)
