"""How often somebody may ask: token buckets in memory, by address and by certificate.

Failed logins are counted in the database (`enroll.throttle`), an account's orders against its quota;
this spares us the work of the requests themselves. Each worker counts for itself.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Requests per second of one asker, `burst_seconds` of them at once; per worker.

    Pages: forms that are sent. Protocol: every request below /acme/. A whole office stands behind one
    address; an order takes about ten requests of the protocol.
    """

    page_address: float = 10.0
    page_certificate: float = 2.0
    protocol_address: float = 50.0
    protocol_certificate: float = 20.0
    burst_seconds: float = 10.0


#: Askers that are remembered. Who floods from more addresses than this starts anew with each.
REMEMBERED = 20_000


class Buckets:
    """The askers of one kind. Holds the moment at which each one's bucket is full again (GCRA):
    an asker who has been quiet costs nothing, since he looks like one who never asked."""

    def __init__(self, per_second: float, burst_seconds: float, remembered: int = REMEMBERED) -> None:
        self._cost = 1.0 / per_second
        # A burst of less than one request would let nobody ask at all.
        self._depth = max(burst_seconds, self._cost)
        self._remembered = remembered
        self._full_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, asker: Hashable, now: float) -> int:
        """0 if the asker may go on, else the whole seconds after which he may (at least 1).

        ``now``: any monotonic time in seconds.
        """
        full_at = max(self._full_at.get(asker, now), now) + self._cost
        if full_at - now > self._depth + 1e-9:
            return max(1, math.ceil(full_at - now - self._depth))
        if asker not in self._full_at and len(self._full_at) >= self._remembered:
            self._forget(now)
        self._full_at[asker] = full_at
        return 0

    def _forget(self, now: float) -> None:
        kept = {asker: at for asker, at in self._full_at.items() if at > now}
        # All of them are busy: the half that asked least lately goes.
        if len(kept) > self._remembered // 2:
            busiest = sorted(kept.items(), key=lambda entry: entry[1])[-(self._remembered // 2) :]
            kept = dict(busiest)
        self._full_at = kept
