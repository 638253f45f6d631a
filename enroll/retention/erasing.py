"""What is over is looked up, proposed as a whole, and taken away row by row by a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ca.storage import Transaction
from enroll import listings, store
from enroll.listings import Acts
from enroll.purging import purge
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.retention import store as retention
from enroll.retention.periods import TAKEN, Periods
from enroll.settings import DAY

#: People in one job: the rest are due the next day still.
MOST = 20_000
# People come last: what is about them goes with them, as a proposal does with its job, and what is over by a
# period of its own is to be counted there.
_ORDER = ("letters", "applications", "proposals", "jobs")
#: Numbers that one row of a job empties: one transaction, which nobody waits for long.
CHUNK = 200


@dataclass(frozen=True)
class Over:
    """What of a kind is over. ``before``: epoch seconds, None where it is kept for good."""

    kind: str
    days: int
    before: int | None
    count: int
    taken: str


def over(db: Transaction, periods: Periods, at: int) -> list[Over]:
    """The table of periods, each with how many are over by now."""
    days = asdict(periods)
    return [Over(kind, days[kind], *_count(db, kind, days[kind], at), TAKEN[kind]) for kind in TAKEN]


def payload(db: Transaction, periods: Periods, at: int) -> dict[str, Any]:
    """All that is over, as what a proposal is about: of people the first `MOST`, and ``counts`` says how many
    it is. Refusal("conflict") where there is nothing."""
    found = [each for each in over(db, periods, at) if each.count]
    if not found:
        raise Refusal("conflict", field="retention", detail="nothing is over")
    before = {each.kind: each.before for each in found}
    ranges = {
        each: retention.due(db, each, until) for each, until in before.items() if each != "people" and until
    }
    people = retention.left(db, before.get("people") or 0, at, MOST) if "people" in before else []
    return {
        "counts": {each.kind: len(people) if each.kind == "people" else each.count for each in found},
        "before": before,
        "people": people,
        "ranges": {kind: [each.first, each.last] for kind, each in ranges.items()},
    }


def pieces(payload: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """What a job does one after the other: a person, or so many numbers of a kind."""
    found: list[Mapping[str, str]] = []
    for kind in sorted(payload["ranges"], key=_ORDER.index):
        first, last = payload["ranges"][kind]
        for start in range(first, last + 1, CHUNK):
            found.append({"kind": kind, "id": str(start), "last": str(min(start + CHUNK - 1, last))})
    return [*found, *({"kind": "people", "id": each} for each in payload["people"])]


def erase(
    db: Transaction, ra: RegistrationAuthority, piece: Mapping[str, str], before: int, *, actor: str
) -> tuple[str, str]:
    """Takes one piece away: what became of it, and of whom, or of which numbers and how many of them were
    over: ``letters 1-200: 57``. Refusal for who came back meanwhile."""
    at = ra.now()
    if piece["kind"] != "people":
        count = retention.empty(db, piece["kind"], int(piece["id"]), int(piece["last"]), before, at)
        return "erased", f"{piece['kind']} {piece['id']}-{piece['last']}: {count}"
    user_id = piece["id"]
    if not retention.has_left(db, user_id, before, at):
        detail = f"user {user_id} is at work, or was erased already"
        raise Refusal("conflict", field="user_id", detail=detail)
    erase_user(db, user_id, at, actor=actor)
    return "erased", user_id


def erase_user(db: Transaction, user_id: str, at: int, *, actor: str) -> None:
    """Takes away what is personal about one, in the trail as well, which says so."""
    retention.empty_user(db, user_id, at)
    found = listings.audit_before(db, Acts(user_id=user_id), 2**62, 2**31, 0)
    purge(db, at, actor, user_id, [each["id"] for each in found])
    store.audit(db, at, actor, "user.erased", user_id)


def _count(db: Transaction, kind: str, days: int, at: int) -> tuple[int | None, int]:
    if not days:
        return None, 0
    before = at - days * DAY
    if kind == "people":
        return before, retention.count_left(db, before, at)
    return before, retention.due(db, kind, before).count
