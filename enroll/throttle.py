"""Counting failed attempts so that guessing is slow and nobody can be locked out by somebody else.

Keys name the guesser (an address, a certificate), never the victim alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlite_utils

from enroll import store
from enroll.office import Office
from enroll.refusals import Refusal

# A whole office often stands behind one address, so the address may fail this many times as often.
_PER_ADDRESS = 10


@dataclass(frozen=True)
class Attempt:
    """Who guesses: an address, and the guesser's own name for it (a certificate, or address and user)."""

    purpose: str
    guesser: str
    address: str

    def limits(self, attempts: int) -> dict[str, int]:
        """Each counter with how many failures it may have in ``attempt_seconds``."""
        return {self._own: attempts, f"{self.purpose}:address:{self.address}": _PER_ADDRESS * attempts}

    @property
    def _own(self) -> str:
        return f"{self.purpose}:guesser:{self.guesser}"


def check(db: sqlite_utils.Database, office: Office, attempt: Attempt) -> None:
    """Raises Refusal("throttled", at=when to try again) when a counter has reached its limit."""
    now, period = office.now(), office.settings.attempt_seconds
    for key, limit in attempt.limits(office.settings.attempts).items():
        count, since_at = store.failures(db, key, now - period)
        if count >= limit:
            raise Refusal("throttled", at=since_at + period)


def failed(db: sqlite_utils.Database, office: Office, attempt: Attempt) -> None:
    """Counts a failure under every counter."""
    now = office.now()
    for key in attempt.limits(office.settings.attempts):
        store.record_failure(db, key, now, now - office.settings.attempt_seconds)


def succeeded(db: sqlite_utils.Database, attempt: Attempt) -> None:
    """Forgets the guesser's own failures; the address keeps its count."""
    store.clear_failures(db, [next(iter(attempt.limits(0)))])
