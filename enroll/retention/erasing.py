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
    """All that is over, as what a proposal is about. Refusal("conflict") where there is nothing."""
    found = [each for each in over(db, periods, at) if each.count]
    if not found:
        raise Refusal("conflict", field="retention", detail="nothing is over")
    before = {each.kind: each.before for each in found}
    ranges = {
        each: retention.due(db, each, until) for each, until in before.items() if each != "people" and until
    }
    return {
        "counts": {each.kind: each.count for each in found},
        "before": before,
        "people": retention.left(db, before.get("people") or 0, at, MOST) if "people" in before else [],
        "ranges": {kind: [each.first, each.last] for kind, each in ranges.items()},
    }


def pieces(payload: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """What a job does one after the other: a person, or so many numbers of a kind."""
    found: list[Mapping[str, str]] = [{"kind": "people", "id": each} for each in payload["people"]]
    for kind, (first, last) in payload["ranges"].items():
        for start in range(first, last + 1, CHUNK):
            found.append({"kind": kind, "id": str(start), "last": str(min(start + CHUNK - 1, last))})
    return found


def erase(
    db: Transaction, ra: RegistrationAuthority, piece: Mapping[str, str], before: int, *, actor: str
) -> tuple[str, str]:
    """Takes one piece away: what became of it, and of whom. Refusal for who came back meanwhile."""
    at = ra.now()
    if piece["kind"] != "people":
        retention.empty(db, piece["kind"], int(piece["id"]), int(piece["last"]), before, at)
        return "erased", f"{piece['kind']} {piece['id']}-{piece['last']}"
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
