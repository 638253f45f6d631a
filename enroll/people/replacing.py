"""Everybody whose certificate is of an issuing CA that is trusted no more is invited to pick up another one.

A job does it (`enroll/jobs/kinds.py`), a person at a time; whoever has a new certificate by now, or the mail
about one, gets no second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ca.store
from ca.authority import Issuer
from ca.generations.states import State
from ca.storage import Transaction
from enroll import generations, listings, store
from enroll.listings import store as pages
from enroll.mail import occasions
from enroll.mail import store as mail_store
from enroll.people import applications
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment, lives, state_at
from enroll.requests.opening import DrawnPassword
from enroll.requests.states import WAITING


@dataclass
class Replaced:
    """What became of the holders of certificates of an issuing CA."""

    #: User IDs: who would get both letters now.
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


def payload_of(issuer: Issuer, people: Replaced) -> dict[str, Any]:
    """What a job is to do that invites these."""
    return {"name": issuer.common_name, "issuer_id": issuer.issuer_id, "users": people.invited}


def check(db: Transaction, ra: RegistrationAuthority, payload: Mapping[str, Any]) -> None:
    """Refusal("conflict") where nobody is to be invited: all were, the CA is trusted, none would issue."""
    check_state(db, ra, payload)
    if not payload["users"]:
        why = "nobody is left to be invited: sekisho ca reissue NAME --dry-run says why"
        raise Refusal("conflict", field="issuer", detail=why)


def check_state(db: Transaction, ra: RegistrationAuthority, payload: Mapping[str, Any]) -> None:
    """The same of the CAs alone."""
    found = generations.at_now(db, ra)
    if found.state(payload["issuer_id"]) is not State.DISTRUSTED:
        why = f"{payload['name']} is trusted, and its people renew by themselves; first: sekisho ca distrust"
    elif found.issuing is None:
        why = "no issuing CA is active; have one issue first: sekisho ca activate NAME --at now"
    else:
        return
    raise Refusal("conflict", field="issuer", detail=why)


def wanted(db: Transaction, ra: RegistrationAuthority, issuer_id: str, user_id: str) -> bool:
    """Whether somebody still has to be invited: not where the CA is trusted again, nor who has another
    certificate by now, or the mail about one."""
    if issuer_id not in generations.distrusted(db):
        return False
    mine = [each for each in pages.holding(db, issuer_id, user_id, ra.now()) if each["door"] != "protocol"]
    return bool(mine) and not any(each["followed"] or each["invited"] for each in mine)


def replace(
    db: Transaction,
    ra: RegistrationAuthority,
    payload: Mapping[str, Any],
    user_id: str,
    drawn: DrawnPassword,
    by: str,
) -> str:
    """Opens a reissue for one person, and queues the letter that says why: the request ID; "" for who needs
    none any more. Refusal("user_disabled").

    The old certificate is revoked when the new one is picked up: should its issuer be trusted again
    meanwhile, it is good until then.
    """
    # Held before it is asked what the user has, as by whoever opens another request of the same person.
    user = store.active_user(db, user_id)
    if not wanted(db, ra, payload["issuer_id"], user_id):
        return ""
    if user is None:
        raise Refusal("user_disabled", field="user_id")
    occasions.issuer_distrusted(db, ra, user, payload["name"], payload["issuer_id"], ra.now())
    return applications.reissue_in(db, ra, user_id, applications.ISSUER, drawn, actor=by).request_id


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
