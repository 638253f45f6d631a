"""Counting failed attempts so that guessing is slow and nobody can be locked out by somebody else.

Keys name the guesser (an address, a certificate), never the victim alone. An attempt is counted before
it is looked at and forgiven when it was right: of guesses that arrive together none slips through.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from ca.networks import network_of
from ca.storage import Transaction
from enroll import store
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

# A whole office often stands behind one address, so the address may fail this many times as often.
_PER_ADDRESS = 10


#: Password checks and other slow work that may wait; each takes some 30 ms of a core. Attempts are
#: refused beyond, whoever makes them: a flood from many addresses ends here.
MOST_WAITING = 100
# Seconds after which it is worth trying again then.
_SOON = 5


@dataclass(frozen=True)
class Attempt:
    """Who guesses: an address, and the guesser's own name for it (a certificate, or a user at an address)."""

    purpose: str
    guesser: str
    address: str

    def limits(self, attempts: int) -> dict[str, int]:
        """Each counter with how many failures it may have in ``attempt_seconds``."""
        return {self.own: attempts, self.shared: _PER_ADDRESS * attempts}

    @property
    def own(self) -> str:
        """The guesser's counter. Hashed: people type passwords where a user ID belongs."""
        return f"{self.purpose}:guesser:{sha256(self.guesser.encode('utf-8', 'replace')).hexdigest()}"

    @property
    def shared(self) -> str:
        """The counter of everybody at this address."""
        return f"{self.purpose}:address:{network_of(self.address)}"


async def begin(ra: RegistrationAuthority, attempt: Attempt) -> None:
    """Counts an attempt that is about to be looked at.

    Raises Refusal("throttled", at=when to try again) when a counter has reached its limit, or when so
    much hashing waits already that the answer would come late for everybody.
    """
    if ra.workers.waiting >= MOST_WAITING:
        raise Refusal("throttled", at=ra.now() + _SOON)
    await ra.database.write(lambda db: claim(db, ra, attempt))


def claim(db: Transaction, ra: RegistrationAuthority, attempt: Attempt) -> None:
    """Inside a transaction: counts an attempt that is about to be looked at.

    Raises Refusal("throttled", at=when to try again) when a counter has reached its limit.
    """
    now, period = ra.now(), ra.settings.attempt_seconds
    for key, limit in attempt.limits(ra.settings.attempts).items():
        # Counted first: of a key that nobody has counted yet there is no row to hold. A refusal undoes it.
        count, since_at = store.record_failure(db, key, now, now - period)
        if count > limit:
            raise Refusal("throttled", at=since_at + period)


def until(db: Transaction, ra: RegistrationAuthority, attempt: Attempt) -> int:
    """When attempts are looked at again, as a moment; 0 if they are now."""
    now, period = ra.now(), ra.settings.attempt_seconds
    for key, limit in attempt.limits(ra.settings.attempts).items():
        count, since_at = store.failures(db, key, now - period, now)
        if count >= limit:
            return since_at + period
    return 0


def succeeded(db: Transaction, attempt: Attempt) -> None:
    """Forgets the guesser's own failures, and at the address this attempt only."""
    store.clear_failures(db, attempt.own)
    store.forgive_failure(db, attempt.shared)
