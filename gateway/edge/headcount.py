"""How many there are at once: connections of one address, of one certificate. Forked workers count together.

`rates` says how often somebody may ask; this, how much of the gate somebody may hold.
"""

from __future__ import annotations

import mmap
import secrets

from gateway.edge.cells import cells_of

#: Cells in each of the two rows of a worker: 256 KiB in all. With 10,000 connections from as many addresses
#: an address is taken for having one connection more than it has, now and then.
CELLS = 2**15
#: Guests whose cells are remembered, then it begins anew.
_KNOWN = 4_096


def headcounts(workers: int, cells: int = CELLS) -> list[Headcount]:
    """One for each worker; whoever asks one is told of all. Made before the workers are forked."""
    secret = secrets.token_bytes(16)
    rows = [memoryview(mmap.mmap(-1, 2 * cells * 4)).cast("I") for _ in range(workers)]
    return [Headcount(rows, own, secret) for own in rows]


class Headcount:
    """What one worker adds to, and what all of them have, in memory of a fixed size.

    A guest has a cell in each of two rows (`cells`), and the smaller number counts: never too few, and too
    many only for who shares both with others. Only the worker itself writes in its rows, so that no lock is
    needed, and they are wiped when it is gone.
    """

    def __init__(self, rows: list[memoryview[int]], own: memoryview[int], secret: bytes) -> None:
        self._rows, self._own, self._secret = rows, own, secret
        self._cells = len(own) // 2
        # Who comes is soon asked for again: when its handshake is done, and when it leaves.
        self._known: dict[bytes, tuple[int, int]] = {}

    def enter(self, guest: bytes) -> int:
        """One more. Returns how many of it there are now, this one included."""
        cells, own = self._of(guest), self._own
        for cell in cells:
            own[cell] += 1
        return self._least(cells)

    def leave(self, guest: bytes) -> None:
        """One less of those that entered here."""
        own = self._own
        for cell in self._of(guest):
            own[cell] -= 1

    def count(self, guest: bytes) -> int:
        """How many of it there are."""
        return self._least(self._of(guest))

    def wipe(self) -> None:
        """The worker is gone, and everybody with it."""
        self._own[:] = memoryview(bytes(len(self._own) * 4)).cast("I")

    def _of(self, guest: bytes) -> tuple[int, int]:
        known = self._known.get(guest)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            known = self._known[guest] = cells_of(guest, self._secret, self._cells)
        return known

    def _least(self, cells: tuple[int, int]) -> int:
        first, second = cells
        return min(sum([row[first] for row in self._rows]), sum([row[second] for row in self._rows]))
