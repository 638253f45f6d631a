"""Certificates, as proposals are about them: revoked, or a suspension taken back."""

from __future__ import annotations

import ca.store
from ca.storage import Transaction
from enroll import store
from enroll.operators import store as operators
from enroll.operators.actors import Actor
from enroll.operators.kinds.kind import CarryOut, Facts, Kind, Payload
from enroll.operators.kinds.people import check_undecided
from enroll.operators.roles import MOST_REVOCATIONS, Act
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.transitions import end_certificate, release_certificate
from enroll.settings import DAY


def _certificate_facts(db: Transaction, payload: Payload) -> Facts:
    found = ca.store.find_by_serial(db, payload["serial"])
    return {} if found is None else {"status": found.status}


def _check_certificate(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    if ca.store.find_by_serial(db, serial := payload["serial"]) is None:
        raise Refusal("not_found", field="serial", detail=f"there is no certificate {serial} here")


def kind(act: Act, why: str, carry_out: CarryOut) -> Kind:
    about = lambda payload: str(payload["serial"])  # noqa: E731
    return Kind(act, why, about, _certificate_facts, carry_out, _check_certificate)


async def revoke(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    serial = payload["serial"]

    def work(db: Transaction) -> None:
        if not end_certificate(db, ra, serial, payload["reason"], ra.now(), actor=by):
            known = ca.store.find_by_serial(db, serial)
            waits = known is not None and known.status == "reserved"
            said = "is not signed yet" if waits else "is revoked already"
            raise Refusal("conflict", field="serial", detail=f"certificate {serial} {said}")

    await ra.database.write(work)
    return payload


def many(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    return operators.revocations(db, actor.own, ra.now() - DAY) >= MOST_REVOCATIONS


async def release(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    serial = payload["serial"]

    def work(db: Transaction) -> None:
        origin = store.enrollment_of(db, serial)
        if origin is not None:
            check_undecided(db, origin.user_id)
        if not release_certificate(db, serial, ra.now(), actor=by):
            known = ca.store.find_by_serial(db, serial)
            status = "none" if known is None else known.status
            said = f"certificate {serial} is {status}; only one that is held is changed by this"
            raise Refusal("conflict", field="serial", detail=said)

    await ra.database.write(work)
    return payload
