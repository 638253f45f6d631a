"""Certificates counted by what they are, beforehand: of a million nobody waits for that, and no order writes
anything for it. Whoever leads counts on; what it has not come to yet is counted by whoever asks."""

from __future__ import annotations

from enroll.certificates import store
from enroll.ra import RegistrationAuthority

#: Seconds after which whatever has a lower number is committed, and seen: an order takes some of them, and
#: clocks of nodes differ by less.
SETTLED = 3_600
#: Certificates that are counted in one transaction, which others wait for.
MOST = 2_000


async def go_on(ra: RegistrationAuthority) -> int:
    """Counts what has come to stand for good since; returns how many certificates that were."""
    done = 0
    while found := await ra.database.write(lambda db: store.tally(db, ra.now() - SETTLED, MOST)):
        done += found
    return done
