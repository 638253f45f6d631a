"""What a certificate is going to be: decided when handed in, and again if its profile has changed since.

A reservation names the state of its profile that it was decided by (`ca.profiles.version_of`), and is signed
by no other. So what an operator changes counts for everything that is signed afterwards; whoever waits
meanwhile notices nothing of it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import ca.store
from ca.errors import Unacceptable
from ca.profiles import version_of
from ca.signing import SignatureRefused
from ca.storage import Transaction
from ca.store import Reservation
from enroll import generations, store
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import profiles
from enroll.requests.enrollment import Enrollment

log = logging.getLogger("sekisho.issuance")

_PLANNER = "issuance"


def planned(
    db: Transaction,
    ra: RegistrationAuthority,
    to: Enrollment,
    spki_der: bytes,
    names: tuple[str, ...],
    at: int,
) -> Reservation:
    """The certificate of an enrollment, decided now. Refusal("profile_unmet"); `Unacceptable` for a key or
    names that its profile refuses."""
    naming = profiles.naming(db, profiles.known(ra, to.profile), to.user_id)
    made = ra.authority.plan(
        *(to.profile, to.common_name, names, spki_der, to.request_id, at, os.urandom(16), naming),
        issuer=generations.issuing(db, ra),
    )
    return replace(made, door=to.door, holder=to.user_id)


async def up_to_date(ra: RegistrationAuthority, reservation: Reservation) -> Reservation:
    """A reservation, or what is decided in its place because its profile has become another one since.

    `SignatureRefused`, with what an operator can do, where that cannot be decided.
    """
    profile = ra.authority.profile(reservation.profile)
    if profile is not None and version_of(profile) == reservation.version:
        return reservation
    try:
        return await ra.database.write(lambda db: _anew(db, ra, reservation))
    except (Refusal, Unacceptable) as error:
        raise SignatureRefused(f"its profile is another one by now: {error}") from None


def _anew(db: Transaction, ra: RegistrationAuthority, old: Reservation) -> Reservation:
    before = store.enrollment(db, old.order_id or "")
    if before is None or before.serial is None:
        raise SignatureRefused("it is nobody's reservation")
    if before.serial != old.serial or not ca.store.withdraw(db, old.serial):
        # Another process was first.
        found = ca.store.find_reservation(db, before.serial)
        if found is None or not found.tbs:
            raise SignatureRefused("it has its certificate by now")
        return found
    at = ra.now()
    name = profiles.of_submission(db, ra, before) if before.door == "page" else before.profile
    to = replace(before, profile=name)
    names = old.names if profiles.known(ra, name).needs_names else ()
    made = planned(db, ra, to, old.spki, names, at)
    ca.store.reserve(db, made)
    store.change_enrollment(db, before, replace(to, serial=made.serial))
    store.audit(
        *(db, at, _PLANNER, "certificate.planned-anew", made.serial),
        instead_of=old.serial,
        profile=made.profile,
        version=made.version,
        before=old.version,
    )
    log.warning("request %s is decided anew: its profile has become another one", before.request_id)
    return made
