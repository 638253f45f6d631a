"""Everybody whose certificate is of an issuing CA that is trusted no more is invited to pick up another one.

A person at a time, each in a transaction of its own: what was interrupted goes on where it was, and whoever
has a new certificate by now, or the mail about one, gets no second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import ca.store
from ca.authority import Issuer
from ca.storage import Transaction
from enroll import listings, store
from enroll.mail import occasions
from enroll.mail import store as mail_store
from enroll.people import applications
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment, lives, state_at
from enroll.requests.states import WAITING


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


@dataclass(frozen=True)
class Stopped:
    """What a person has of issuing CAs that are trusted no more. ``alone``: and nothing else that is good."""

    serials: frozenset[str]
    issuer_id: str
    alone: bool
    #: When the letter left that says why (or was queued), and whether another certificate waits to be picked
    #: up.
    told_at: int | None
    invited: bool


def stopped(
    db: Transaction, mine: Sequence[Enrollment], distrusted: Collection[str], at: int
) -> Stopped | None:
    """What of a person's enrollments, newest first, is of issuing CAs that are trusted no more; None for
    nothing. ``distrusted``: of `enroll.generations.distrusted`; empty, nothing is looked up."""
    living = [each for each in mine if each.serial and lives(each, at)] if distrusted else []
    records = [ca.store.find_by_serial(db, each.serial or "") for each in living]
    issuers = {record.serial: record.issuer_id for record in records if record is not None}
    gone = frozenset(serial for serial, issuer_id in issuers.items() if issuer_id in distrusted)
    if not gone:
        return None
    newest = next(each for each in living if each.serial in gone)
    issuer_id = issuers[newest.serial or ""]
    told = mail_store.told_at(db, occasions.cause_of_distrust(issuer_id, newest.user_id))
    invited = any(each.kind != "renewal" and state_at(each, at) in WAITING for each in mine)
    return Stopped(gone, issuer_id, len(gone) == len(living), told, invited)


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
