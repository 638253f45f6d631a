"""Where a user stands, out of the register, for every page and file that says so."""

from __future__ import annotations

from ca.storage import Transaction
from enroll import store
from enroll.people import replacing
from enroll.ra import RegistrationAuthority
from gateway.sites.service.standing import Standing, standing


def standing_of(
    db: Transaction, ra: RegistrationAuthority, user_id: str, distrusted: frozenset[str]
) -> Standing:
    """Where a user stands. ``distrusted``: of `enroll.generations`."""
    mine, at = store.enrollments_of(db, user_id), ra.now()
    return standing(
        *(mine, at, ra.settings.renewal_days),
        theft=store.theft_reported(db, user_id),
        stopped=replacing.stopped(db, mine, distrusted, at),
    )
