"""How often somebody may ask: token buckets by address and by certificate, which forked workers share.

Failed logins are counted in the database (`enroll.throttle`), an account's orders against its quota;
this spares us the work of the requests themselves.
"""

from __future__ import annotations

import math
import mmap
import secrets
from dataclasses import dataclass, replace

from gateway.edge.cells import cells_of


@dataclass(frozen=True)
class Rates:
    """Requests per second of one asker, `burst_seconds` of them at once; all workers together.

    Pages: forms that are sent. Protocol: every request below /acme/. A whole office stands behind one
    address; an order takes about ten requests of the protocol.
    """

    page_address: float = 10.0
    page_certificate: float = 2.0
    protocol_address: float = 50.0
    protocol_certificate: float = 20.0
    burst_seconds: float = 10.0

    def of_each(self, nodes: int) -> Rates:
        """What each of so many nodes allows, so that all together allow this."""
        return replace(
            self,
            page_address=self.page_address / nodes,
            page_certificate=self.page_certificate / nodes,
            protocol_address=self.protocol_address / nodes,
            protocol_certificate=self.protocol_certificate / nodes,
        )


#: Cells in each of the two rows: 2 MiB in all. With a thousand askers who come as often as they may, one
#: of 17,000 others is taken for one of them.
CELLS = 2**17


class Ledger:
    """The moments at which askers' buckets are full again (GCRA), in memory of a fixed size.

    An asker has a cell in each of two rows (`cells`), and the earlier of its two moments counts: sharing one
    with somebody busy does no harm. Processes forked later have the same cells. They take no lock: of two
    that count one asker in the same instant, one may be forgotten.
    """

    def __init__(self, cells: int = CELLS) -> None:
        self._cells = cells
        self._secret = secrets.token_bytes(16)
        # Anonymous and shared: what one worker writes the others read.
        self._moments = memoryview(mmap.mmap(-1, 2 * cells * 8)).cast("d")

    def take(self, asker: bytes, per_second: float, burst_seconds: float, now: float) -> int:
        """0 if the asker may go on, else the whole seconds after which he may (at least 1).

        ``now``: a monotonic time in seconds, the same clock for all workers.
        """
        cost = 1.0 / per_second
        # A burst of less than one request would let nobody ask at all.
        depth = max(burst_seconds, cost)
        moments, cells = self._moments, cells_of(asker, self._secret, self._cells)
        for cell in cells:
            # What is further off is of a slower rate, before a reload, and holds nobody up any more.
            moments[cell] = min(moments[cell], now + depth)
        full_at = max(min(moments[cell] for cell in cells), now) + cost
        if full_at - now > depth + 1e-9:
            return max(1, math.ceil(full_at - now - depth))
        for cell in cells:
            moments[cell] = max(moments[cell], full_at)
        return 0
