"""Certificates straight out of the authority and into the register, for tests that need no enrollment."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from cryptography import x509

import ca.store
from ca.keys import PrivateKey, generate, spki
from enroll.operators import store as operators
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority


@dataclass(frozen=True)
class Leaf:
    serial: str
    der: bytes
    key: PrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)


async def issue(ra: RegistrationAuthority, cn: str = "K12345678001", not_after_at: int | None = None) -> Leaf:
    """One person's certificate, reserved, signed and stored; ``not_after_at``: its end, if not as ever."""
    key = generate("ec-p256")
    spki_der = spki(key.public_key())
    planned = ra.authority.plan("client-person", cn, (), spki_der, None, ra.now(), os.urandom(16))
    if not_after_at is not None:
        planned = replace(planned, not_after_at=not_after_at)
    await ra.database.write(lambda db: ca.store.reserve(db, planned))
    der = await ra.authority.certify(planned)
    await ra.database.write(lambda db: ca.store.store_issued(db, planned.serial, der, ra.now()))
    return Leaf(planned.serial, der, key)


async def revoke(ra: RegistrationAuthority, leaf: Leaf, reason: int = 1) -> None:
    assert await ra.database.write(lambda db: ca.store.revoke(db, leaf.serial, reason, ra.now()))


async def hold(ra: RegistrationAuthority, leaf: Leaf) -> None:
    assert await ra.database.write(lambda db: ca.store.hold(db, leaf.serial, ra.now()))


async def release(ra: RegistrationAuthority, leaf: Leaf) -> None:
    assert await ra.database.write(lambda db: ca.store.release(db, leaf.serial))


async def ends_at(ra: RegistrationAuthority, operator: Operator, at: int, cn: str) -> Leaf:
    """Gives an operator a certificate that ends at a moment."""
    leaf = await issue(ra, cn, at)
    mark = ca.store.fingerprint_of(leaf.der)
    await ra.database.write(
        lambda db: operators.add_certificate(db, operator.number, leaf.serial, mark, ra.now())
    )
    return leaf
