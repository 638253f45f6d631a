"""Revocation lists, one per issuer, made anew when something was revoked or half their life is over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import sqlite_utils

import ca.store
from ca.authority import Issuer
from ca.profiles import CRL_LIFETIME
from enroll import timekeeping
from enroll.office import Office


@dataclass(frozen=True)
class _Made:
    der: bytes = field(repr=False)
    at: int
    revocations: int


@dataclass
class Crls:
    """The newest list of each issuer, kept in memory. One per process."""

    office: Office
    _made: dict[str, _Made] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def latest(self, issuer: Issuer) -> bytes:
        """The issuer's list (DER), no older than the last revocation and half of its lifetime."""
        async with self._turn:
            now = self.office.now()
            newest = ca.store.last_revocation(self.office.database.read())
            made = self._made.get(issuer.issuer_id)
            fresh = made is not None and 0 <= now - made.at < CRL_LIFETIME // 2
            due = made is None or not fresh or made.revocations != newest
            # A list is dated, and its number spent: a clock in doubt makes none while there is one.
            if made is None or (due and timekeeping.doubt_now(self.office) is None):
                made = _Made(await make(self.office, issuer), now, newest)
                self._made[issuer.issuer_id] = made
            return made.der


async def make(office: Office, issuer: Issuer) -> bytes:
    """Signs a new list of an issuer under its next number. Refusal("clock_in_doubt")."""
    timekeeping.check(office)
    now = office.now()

    def numbered(db: sqlite_utils.Database) -> int:
        return ca.store.next_crl_number(db, issuer.issuer_id)

    number = await office.database.write(numbered)
    # RFC 5280 section 3.3: an entry stays for one list after the certificate's own end.
    entries = ca.store.revoked_entries(office.database.read(), issuer.issuer_id, now - CRL_LIFETIME)
    return office.authority.crl(issuer.issuer_id, entries, number, now, now + CRL_LIFETIME)
