"""申請の受付: what came on paper or by telephone is recorded by one operator, and decided by another."""

from __future__ import annotations

from ca.storage import Transaction
from enroll.operators import asking
from enroll.operators.actors import Actor
from enroll.operators.roles import Act
from enroll.people import applications
from enroll.people.applications import Recorded, RevokeOld
from enroll.people.likeness import Alike, alike
from enroll.people.register import Person, wrong_fields
from enroll.ra import RegistrationAuthority


async def take_in_addition(ra: RegistrationAuthority, actor: Actor, person: Person) -> Recorded:
    """Records an application for a further user. Refusal("not_permitted"), and those of `apply_addition`."""
    claimed = asking.claimed(ra, actor, Act.TAKE_IN)
    return await applications.apply_addition(claimed, person, channel="paper", actor=actor.name)


async def take_in_reissue(
    ra: RegistrationAuthority, actor: Actor, user_id: str, reason: str, revoke_old: RevokeOld | None = None
) -> Recorded:
    """The same for a reissue. A theft that is reported by telephone stops the certificates at once."""
    claimed = asking.claimed(ra, actor, Act.TAKE_IN)
    return await applications.apply_reissue(
        claimed, user_id, reason, channel="paper", actor=actor.name, revoke_old=revoke_old
    )


def doubts(db: Transaction, person: Person) -> list[Alike]:
    """Who may be the same: to be looked at before the application is recorded."""
    return [] if wrong_fields(person) else alike(db, person)
