"""Everybody whose certificate is of an issuing CA that is trusted no more is invited to pick up another one.

A person at a time, each in a transaction of its own: what was interrupted goes on where it was, and whoever
has a new certificate by now, or the mail about one, gets no second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ca.authority import Issuer
from ca.storage import Transaction
from enroll import listings, store
from enroll.mail import occasions
from enroll.people import applications
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal


@dataclass
class Replaced:
    """What became of the holders of certificates of an issuing CA."""

    #: User IDs: who gets (or, in a rehearsal, would get) both letters now.
    invited: list[str] = field(default_factory=list)
    #: Who had them before, or has a certificate of another issuing CA.
    waiting: int = 0
    followed: int = 0
    #: User ID -> why nothing is sent, for the operator.
    refused: dict[str, str] = field(default_factory=dict)
    #: Users who have one by a program: it enrolls again, with a new credential.
    programs: list[str] = field(default_factory=list)


def whom(ra: RegistrationAuthority, issuer: Issuer) -> Replaced:
    """Who would be invited; changes nothing. Reads the register."""
    found = Replaced()
    for user_id in _users(ra, issuer, found):
        if ra.database.read_now(lambda db, each=user_id: store.active_user(db, each)) is None:  # type: ignore[misc]
            found.refused[user_id] = "disabled"
        else:
            found.invited.append(user_id)
    return found


async def replace_all(
    ra: RegistrationAuthority, issuer: Issuer, *, actor: str, told: Callable[[str], None] = lambda _: None
) -> Replaced:
    """Opens a reissue for each person, and queues the letter that says why. ``told``: after each, the user
    ID.

    The old certificate is revoked when the new one is picked up: should its issuer be trusted again
    meanwhile, it is good until then.
    """
    found, planned = Replaced(), Replaced()
    users = list(_users(ra, issuer, planned))
    found.waiting, found.followed, found.programs = planned.waiting, planned.followed, planned.programs
    for user_id in users:
        try:
            await ra.database.write(lambda db, each=user_id: _tell(db, ra, issuer, each))  # type: ignore[misc]
            await applications.reissue(ra, user_id, applications.ISSUER, actor=actor)
        except Refusal as refusal:
            if refusal.code in ("clock_in_doubt", "issuing_later"):
                raise
            found.refused[user_id] = str(refusal)
            continue
        found.invited.append(user_id)
        told(user_id)
    return found


def _users(ra: RegistrationAuthority, issuer: Issuer, found: Replaced) -> Iterator[str]:
    """Each person who has nothing new yet, once; the others are counted in ``found``."""
    seen, programs = set[str](), set[str]()
    for each in listings.holders(ra.database, issuer.issuer_id, ra.now()):
        user_id = each["user_id"]
        if each["door"] == "protocol":
            if not each["followed"] and user_id not in programs:
                programs.add(user_id)
                found.programs.append(user_id)
            continue
        if user_id in seen:
            continue
        seen.add(user_id)
        found.followed += each["followed"]
        found.waiting += each["invited"] and not each["followed"]
        if not each["followed"] and not each["invited"]:
            yield user_id


def _tell(db: Transaction, ra: RegistrationAuthority, issuer: Issuer, user_id: str) -> None:
    user = store.active_user(db, user_id)
    if user is None:
        raise Refusal("user_disabled")
    occasions.issuer_distrusted(db, ra, user, issuer.common_name, issuer.issuer_id, ra.now())
