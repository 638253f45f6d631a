"""Whether a file can still be fetched: the window of `enrollment.fetchable`, and a key that opens."""

from __future__ import annotations

from enroll.ra import RegistrationAuthority
from enroll.requests import enrollment
from enroll.requests.enrollment import Enrollment

#: Why a file is to be had no more although its window is open: beside those of `enrollment.why_over`.
LOST = "lost"


def is_open(ra: RegistrationAuthority, found: Enrollment) -> bool:
    """Whether a PKCS#12 may be built now, and can be."""
    return enrollment.fetchable(found, ra.now(), ra.settings) and not is_lost(ra, found)


def is_lost(ra: RegistrationAuthority, found: Enrollment) -> bool:
    """Whether it holds a key that nobody can open any more, since the database came from a copy."""
    return found.sealed_key is not None and not ra.epochs.opens(found.sealed_key)


def why_over(ra: RegistrationAuthority, found: Enrollment) -> str:
    """Why there is no file, for those it belongs to: ``LOST``, or as `enrollment.why_over`."""
    if enrollment.fetchable(found, ra.now(), ra.settings) and is_lost(ra, found):
        return LOST
    return enrollment.why_over(found, ra.settings)
