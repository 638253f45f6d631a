"""What people apply for, as operators decide it: nobody what one has entered or proposed oneself."""

from __future__ import annotations

from dataclasses import asdict

from ca.storage import Transaction
from enroll import store
from enroll.operators import store as operators
from enroll.operators.actors import Actor, identity_of
from enroll.operators.kinds.kind import CarryOut, Facts, Kind, Payload
from enroll.operators.kinds.people import user_facts
from enroll.operators.roles import Act
from enroll.people import applications
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.settings import DAY

#: A mail address that was changed so many seconds before a reissue: two look at it.
MAIL_JUST_CHANGED = 14 * DAY


def _application_facts(db: Transaction, payload: Payload) -> Facts:
    found = store.application(db, payload["number"])
    if found is None:
        return {}
    mine = user_facts(db, {"user_id": found.user_id}) if found.user_id else {}
    return {"application": {**asdict(found), "person": dict(found.person)}, "user": mine}


def _check_application(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    found = store.application(db, payload["number"])
    if found is None:
        raise Refusal("not_found", field="application")
    if found.state != "submitted":
        detail = f"application {found.id} is {found.state} already"
        raise Refusal("conflict", field="application", detail=detail)


def kind(why: str, carry_out: CarryOut) -> Kind:
    return Kind(
        *(Act.APPLICATIONS, why),
        lambda payload: str(payload["number"]),
        _application_facts,
        carry_out,
        _check_application,
        applied_for=True,
        entered=_entered,
    )


async def approve(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    number, when, facts = payload["number"], payload["revoke_old"], payload["facts"]
    made = await applications.approve(ra, number, actor=by, revoke_old=when, facts=facts)
    return {"application": number, **asdict(made)}


async def reject(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    number, note, why = payload["number"], payload["note"], payload.get("rejection", applications.OTHER)
    await applications.reject(ra, number, actor=by, note=note, rejection=why)
    return {"application": number, "note": note, "rejection": why}


def _entered(db: Transaction, actor: Actor, payload: Payload) -> bool:
    """What one took in oneself, by whichever door."""
    found = store.application(db, payload["number"])
    return found is not None and identity_of(db, found.applied_by) == actor.identity


def own(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    """What one entered or has proposed oneself, and a reissue whose mail would go to a new address."""
    found = store.application(db, payload["number"])
    if found is None:
        return False
    if _entered(db, actor, payload) or _proposed(db, ra, actor, payload):
        return True
    since = ra.now() - MAIL_JUST_CHANGED
    return found.kind == "reissue" and operators.mail_changed(db, found.user_id, since)


def own_rejection(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    return _entered(db, actor, payload) or _proposed(db, ra, actor, payload)


def _proposed(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    """Whether the actor has proposed a decision on the same application, which waits."""
    return any(
        each.proposer == actor.identity and each.expires_at > ra.now()
        for each in operators.proposals_about(db, DECISIONS, str(payload["number"]))
    )


#: The kinds that decide an application.
DECISIONS = ("application.approve", "application.reject")


async def reissue(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    when = payload["revoke_old"]
    return asdict(
        await applications.reissue(ra, payload["user_id"], payload["reason"], actor=by, revoke_old=when)
    )
