"""The authority as CA officers and auditors look at it: each issuing CA with its lists, the answers, and what
waits for a decision about it. What asks the keys is not here (`gateway/serving/authority.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ca.authority import Issuer
from ca.generations.states import State
from ca.publication import list_id
from ca.published import store as published
from ca.published.store import RevocationList
from ca.storage import Transaction
from ca.timekeeping import Doubt
from enroll import generations, timekeeping
from enroll.certificates import store as certificates
from enroll.generations import Period
from enroll.operators import asking
from enroll.operators.actors import Actor, require
from enroll.operators.kinds import KINDS
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Proposal
from enroll.ra import RegistrationAuthority

#: What it is about that two decide (`Kind.why`).
_ABOUT = "CA"


@dataclass(frozen=True)
class Generation:
    """An issuing CA as it is now."""

    issuer: Issuer
    state: State
    period: Period
    #: Certificates of it that are good.
    alive: int
    #: The whole list and its shards, by number of the shard; None for one that was not made yet.
    lists: Mapping[int | None, RevocationList | None]


@dataclass(frozen=True)
class Overseen:
    """All of it at a moment."""

    generations: Sequence[Generation]
    #: Answers (OCSP) that are kept and good, and when the oldest of them was made; 0: none.
    answers: int
    oldest_answer_at: int
    #: Why the clock is not believed, where it is not.
    doubt: Doubt | None
    proposals: Sequence[Proposal]


def overseen(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> Overseen:
    """Refusal("not_permitted")."""
    require(actor, Act.CA, Verdict.READ)
    found, now = generations.at_now(db, ra), ra.now()
    alive = certificates.alive(db, now)
    answers, oldest = published.count_answers(db, now)
    return Overseen(
        [
            Generation(
                each,
                found.state(each.issuer_id),
                generations.period(ra, found, each),
                alive.get(each.issuer_id, 0),
                {
                    shard: published.published_list(db, list_id(each.issuer_id, shard))
                    for shard in each.site.lists
                },
            )
            for each in ra.authority.issuers
        ],
        answers,
        oldest,
        timekeeping.judge(ra, db).doubt,
        [each for each in asking.listed(db, actor, now) if KINDS[each.kind].why == _ABOUT],
    )
