"""What opens the console for an operator: a certificate, a code that makes the first passkey, and passkeys.

None of them alone opens anything: the certificate brings one to the door, the code is used up there, and from
then on certificate and passkey together are the operator.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import ca.store
from ca.keys import spki_of_own
from ca.pkcs12 import ENTROPY_BYTES, assemble
from ca.profiles import CLIENT_OPERATOR, Audience
from ca.revocation import reason_code
from ca.signing import NoSignature
from ca.storage import Transaction
from ca.store import Reservation
from enroll import generations, store, timekeeping
from enroll.jst import shown_day
from enroll.operators import codes, operating
from enroll.operators import store as operators
from enroll.operators.actors import Actor, asked_again, require_any
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Operator, Passkey
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.transitions import end_certificate
from enroll.throttle import Attempt

#: Who may have one made for an operator who is there: the certificate alone opens nothing.
_MAKING = Verdict.PROPOSE | Verdict.DECIDE | Verdict.DO
#: Characters of what somebody calls a passkey.
LONGEST_LABEL = 60


@dataclass(frozen=True)
class Issued:
    """A certificate of an operator, with its key in a file under a password."""

    operator: Operator
    serial: str
    not_after_at: int
    p12: bytes


async def issue(
    ra: RegistrationAuthority,
    actor: Actor,
    name: str,
    password: str,
    form: str = "standard",
    kinds: Sequence[str] = CLIENT_OPERATOR.key_kinds,
) -> Issued:
    """A certificate for an operator, by the CA for operators, with a reservation like any other.

    Earlier ones stay good: somebody may have two PCs. ``kinds``: of the profile's those that the key may be
    of. Raises Refusal ("not_permitted", "not_found",
    "issuing_later") and `Unacceptable` for a password that no PKCS#12 may have.
    """

    def reserve(db: Transaction, public: bytes) -> tuple[Operator, Reservation]:
        require_any(asked_again(db, actor, ra.now()), Act.OPERATORS, _MAKING)
        return _reserve(db, ra, operating.there(db, name), public)

    async def keep(operator: Operator, reservation: Reservation, der: bytes) -> None:
        await ra.database.write(lambda db: _keep(db, ra, actor.name, operator, reservation, der))

    return await _made(ra, reserve, keep, password, form, kinds)


async def fetch(
    ra: RegistrationAuthority, code: str, password: str, by: Attempt, form: str = "standard"
) -> Issued:
    """An operator's certificate by the one-time code, for whoever has no other way to one: the code is used
    up by it, and until its end the certificate makes one passkey.

    Two people have decided who gets the code. Refusal as for `codes.use`, and "issuing_later": then the code
    is still good.
    """
    operator = await codes.check(ra, code, by)

    def reserve(db: Transaction, public: bytes) -> tuple[Operator, Reservation]:
        return _reserve(db, ra, operating.there(db, operator.name), public)

    async def keep(_: Operator, reservation: Reservation, der: bytes) -> None:
        def what(db: Transaction, found: Operator) -> None:
            _keep(db, ra, f"operator:{found.name}", found, reservation, der)
            operators.bind_code(db, codes.hashed(code), reservation.serial)

        await codes.use(ra, code, by, what, of=operator.number)

    return await _made(ra, reserve, keep, password, form, CLIENT_OPERATOR.key_kinds)


async def _made(
    ra: RegistrationAuthority,
    reserve: Callable[[Transaction, bytes], tuple[Operator, Reservation]],
    keep: Callable[[Operator, Reservation, bytes], Awaitable[None]],
    password: str,
    form: str,
    kinds: Sequence[str],
) -> Issued:
    key = await ra.keys.take(kinds)
    public = spki_of_own(key)
    operator, reservation = await ra.database.write(lambda db: reserve(db, public))
    try:
        der = await ra.authority.certify(reservation)
        leaf, *chain = ra.authority.chain_der(der)
        friendly = f"{operator.name} {shown_day(reservation.not_after_at)}"
        p12 = await ra.workers.run(
            assemble, key, leaf, chain, password, form, friendly, os.urandom(ENTROPY_BYTES)
        )
        await keep(operator, reservation, der)
    except NoSignature as failed:
        await ra.database.write(lambda db: ca.store.withdraw(db, reservation.serial))
        raise Refusal("issuing_later", detail=str(failed)) from failed
    except BaseException:
        # Nobody will ever have its key.
        await ra.database.write(lambda db: ca.store.withdraw(db, reservation.serial))
        raise
    return Issued(operator, reservation.serial, reservation.not_after_at, p12)


async def withdraw(ra: RegistrationAuthority, actor: Actor, serial: str, reason: str) -> None:
    """Revokes an operator's certificate: its connections and sessions end with it. Refusal("not_found") for
    one that is none or has ended."""

    def work(db: Transaction) -> None:
        now, at = asked_again(db, actor, ra.now()), ra.now()
        found = ca.store.find_by_serial(db, serial)
        if found is None or found.profile != CLIENT_OPERATOR.name:
            raise Refusal("not_found", field="serial")
        owner = operators.of_certificate(db, found.fingerprint or "")
        if owner is None or owner.number != now.operator:
            require_any(now, Act.OPERATORS, _MAKING)
        operators.end_certificate(db, serial, at)
        if not end_certificate(db, ra, serial, reason_code(reason), at, actor=now.name):
            raise Refusal("conflict", field="serial", detail=f"certificate {serial} is revoked already")

    await ra.database.write(work)


async def enrol(ra: RegistrationAuthority, passkey: Passkey, code: str, by: Attempt) -> None:
    """An operator's first passkey, or one after a loss, by a code, which is used up by that.

    Refusal as for `codes.use`: a code of another operator is none; "conflict" for a passkey that is there.
    """

    def what(db: Transaction, _: Operator) -> None:
        _add(db, ra, passkey, by="code")

    await codes.use(ra, code, by, what, of=passkey.operator)


async def enrol_by_certificate(ra: RegistrationAuthority, passkey: Passkey, fingerprint: str) -> None:
    """The passkey of whoever has fetched the certificate by a code: once, until the code's end.

    Refusal("not_permitted") where the certificate may not, or no more; "conflict" as above."""

    def work(db: Transaction) -> None:
        timekeeping.check(ra, db)
        if operators.use_enrolment(db, fingerprint, ra.now()) != passkey.operator:
            raise Refusal("not_permitted", field="code", detail="this certificate makes no passkey any more")
        _add(db, ra, passkey, by="certificate")

    await ra.database.write(work)


async def add_passkey(ra: RegistrationAuthority, passkey: Passkey) -> None:
    """A further passkey of somebody who has just used one. Refusal("conflict") for one that is there."""
    await ra.database.write(lambda db: _add(db, ra, passkey, by="passkey"))


async def end_passkey(ra: RegistrationAuthority, number: int, credential_id: str) -> None:
    """Ends one of an operator's own, and not the last. Refusal("not_found"), "conflict" for the last one."""

    def work(db: Transaction) -> None:
        known, at = operators.passkeys(db, number), ra.now()
        if credential_id not in {each.credential_id for each in known}:
            raise Refusal("not_found", field="passkey")
        if len(known) == 1:
            raise Refusal("conflict", field="passkey", detail="it is the last one")
        operators.end_passkey(db, credential_id, at)
        who = _named(db, number)
        store.audit(db, at, f"operator:{who}", "operator.passkey-ended", who, passkey=credential_id[:16])

    await ra.database.write(work)


def _add(db: Transaction, ra: RegistrationAuthority, passkey: Passkey, *, by: str) -> None:
    owner = operators.operator(db, passkey.operator)
    if owner is not None and owner.kind != "person":
        raise Refusal(
            "not_permitted", field="passkey", detail=f"{owner.name} is a service and has no passkey"
        )
    if not operators.add_passkey(db, passkey):
        raise Refusal("conflict", field="passkey", detail="this passkey is there already")
    who = _named(db, passkey.operator)
    facts = {"passkey": passkey.credential_id[:16], "label": passkey.label, "by": by}
    store.audit(db, ra.now(), f"operator:{who}", "operator.passkey-added", who, **facts)


def _named(db: Transaction, number: int) -> str:
    found = operators.operator(db, number)
    if found is None or found.ended_at is not None:
        raise Refusal("not_permitted", field="operator", detail="this operator has ended")
    return found.name


def _reserve(
    db: Transaction, ra: RegistrationAuthority, operator: Operator, public: bytes
) -> tuple[Operator, Reservation]:
    timekeeping.check(ra, db)
    if not ra.authority.of(Audience.OPERATORS):
        detail = "there is no issuing CA for operators: sekisho ca add NAME --for operators"
        raise Refusal("issuing_later", detail=detail)
    reservation = ra.authority.plan(
        *(CLIENT_OPERATOR.name, operator.name, (), public, None, ra.now(), os.urandom(16)),
        issuer=generations.issuing(db, ra, Audience.OPERATORS),
    )
    ca.store.reserve(db, reservation)
    return operator, reservation


def _keep(
    db: Transaction,
    ra: RegistrationAuthority,
    by: str,
    operator: Operator,
    reservation: Reservation,
    der: bytes,
) -> None:
    at, serial = ra.now(), reservation.serial
    if not ca.store.store_issued(db, serial, der, at):
        raise Refusal("issuing_later", detail="it was given up meanwhile; try again")
    _named(db, operator.number)
    operators.add_certificate(db, operator.number, serial, ca.store.fingerprint_of(der), at)
    facts = {"profile": reservation.profile, "version": reservation.version, "operator": operator.name}
    store.audit(db, at, by, "certificate.issued", serial, **facts)
