"""What is personal in the record is taken away; the chain holds, and says in which lines."""

from __future__ import annotations

from collections.abc import Sequence

from ca.storage import Transaction, unblocked
from enroll import listings, store
from enroll.audit import PURGED, RETIRED, ranges_of
from enroll.listings import Acts
from enroll.ra import RegistrationAuthority


def purge(db: Transaction, at: int, actor: str, subject: str, numbers: Sequence[int]) -> None:
    """Takes away what is personal in lines; the record says in which."""
    store.audit(db, at, actor, PURGED, subject, why=ranges_of(numbers))
    store.purge_audit(db, numbers)


async def purge_user(ra: RegistrationAuthority, user_id: str, *, actor: str) -> int:
    """Takes away what is personal in all lines about a user; returns how many there are."""
    of_user = Acts(user_id=user_id)
    numbers = await unblocked(
        ra.database, lambda: [each["id"] for each in listings.audit(ra.database, of_user)]
    )
    await ra.database.write(lambda db: purge(db, ra.now(), actor, user_id, numbers))
    return len(numbers)


def retire(db: Transaction, at: int, actor: str, before: int) -> int:
    """Takes away what is older than a moment; the record says so, and goes on from there. Up to which line it
    was, 0 if nothing is older."""
    until = store.audit_before(db, before)
    digest = store.audit_hash(db, until) if until else None
    if digest is None:
        return 0
    store.audit(db, at, actor, RETIRED, "audit", why=f"{until} {digest}")
    store.retire_audit(db, until)
    return until
