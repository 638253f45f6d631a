"""What the register says of a certificate, for the hot path: asked again only once something was written.

A look at a number costs half of a look-up, and an engine across a network has it at hand, too. Where nobody
can be asked nobody is let in, whatever was known of him. Such an engine may be silent for seconds before that
is known: so who comes waits for its answer (`Statuses.ready`), and the loop does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import ca.store
from ca.revocation import RevocationStatus
from ca.storage import Storage, StorageTrouble

# Certificates that are remembered. They are forgotten together with every commit anyway.
_REMEMBERED = 4_096
# Seconds in which whoever looks at the same request once more is told what was heard for it.
_HEARD = 1.0


class Statuses:
    """One event loop's. Never older than the last commit of whatever process; across a network by two
    seconds."""

    def __init__(self, database: Storage) -> None:
        self._database = database
        self._number: int | None = None
        self._known: dict[str, RevocationStatus] = {}
        # Across a network: what was heard last and when, who waits for what is being asked by which number,
        # and what whoever goes on just now has waited for.
        self._heard: dict[str, tuple[RevocationStatus, float]] = {}
        self._waiting: dict[tuple[str, int], list[Callable[[], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: tuple[str, RevocationStatus] | None = None

    def __call__(self, fingerprint: str) -> RevocationStatus:
        """As it is now; blocks for a look-up where nobody has waited for it (`ready`)."""
        if self._told is not None and self._told[0] == fingerprint:
            return self._told[1]
        # The number first: what is committed after it makes another one.
        number = self._database.changed()
        known = self._at(number).get(fingerprint)
        if known is not None:
            return known
        heard = self._heard.get(fingerprint)
        if heard is not None and time.monotonic() - heard[1] < _HEARD:
            return heard[0]
        if number < 0:
            return RevocationStatus.UNASKED
        try:
            known = self._database.read_now(lambda db: ca.store.certificate_status(db, fingerprint))
        except StorageTrouble:
            return RevocationStatus.UNASKED
        self._known[fingerprint] = known
        return known

    def ready(self, fingerprint: str, then: Callable[[], None]) -> bool:
        """Whether it is known; else it is asked for, and ``then`` called once it is, in which nothing blocks.
        Where nobody can be asked it is known to be that."""
        number = self._database.changed()
        known = self._at(number).get(fingerprint)
        if known is not None:
            self._heard[fingerprint] = known, time.monotonic()
            return True
        # Nobody joins those who asked before the last commit.
        waiting = self._waiting.setdefault((fingerprint, number), [])
        waiting.append(then)
        if len(waiting) == 1:
            task = asyncio.get_running_loop().create_task(self._ask(fingerprint, number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return False

    def _at(self, number: int) -> dict[str, RevocationStatus]:
        """What is known by that number."""
        if number != self._number or len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._number = number
        return self._known

    async def _ask(self, fingerprint: str, number: int) -> None:
        found: RevocationStatus | None = None  # by another fault than the database's: whoever looks meets it
        try:
            found = await self._database.read(lambda db: ca.store.certificate_status(db, fingerprint))
        except StorageTrouble:
            found = RevocationStatus.UNASKED
        finally:
            if len(self._heard) >= _REMEMBERED:
                self._heard.clear()
            if found is None or found is RevocationStatus.UNASKED:
                self._heard.pop(fingerprint, None)
            else:
                self._heard[fingerprint] = found, time.monotonic()
                if number == self._number:
                    self._known[fingerprint] = found
            for then in self._waiting.pop((fingerprint, number)):
                asyncio.get_running_loop().call_soon(self._tell, fingerprint, found, then)

    def _tell(self, fingerprint: str, found: RevocationStatus | None, then: Callable[[], None]) -> None:
        self._told = None if found is None else (fingerprint, found)
        try:
            then()
        finally:
            self._told = None
