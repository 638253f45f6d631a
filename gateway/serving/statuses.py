"""What the register says of a certificate, for the hot path: asked again only once something was written.

A look at a number costs half of a look-up, and an engine across a network has it at hand, too. Where nobody
can be asked nobody is let in, whatever was known of him. Such an engine may be silent for seconds before that
is known: so who comes waits for its answer (`Statuses.ready`), and the loop does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import ca.store
from ca.revocation import RevocationStatus
from ca.storage import Storage, StorageTrouble

# Certificates that are remembered.
_REMEMBERED = 4_096
# Seconds in which whoever looks at the same request once more is told what was heard for it.
_HEARD = 1.0


class _Told(NamedTuple):
    """What the register said, by which number of the database's, and when that was looked at last."""

    status: RevocationStatus
    number: int
    at: float


class Statuses:
    """One event loop's. Never older than the last commit of whatever process; across a network by two
    seconds."""

    def __init__(self, database: Storage) -> None:
        self._database = database
        self._told: dict[str, _Told] = {}
        # Who waits for what is being asked by which number.
        self._waiting: dict[tuple[str, int], list[Callable[[], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, fingerprint: str) -> RevocationStatus:
        """As it is now. Where that cannot be had without a wait it is what whoever has waited (`ready`) was
        told just now."""
        # The number first: what is committed after it makes another one.
        number = self._database.changed()
        told = self._told.get(fingerprint)
        if told is not None and told.number == number:
            return told.status
        if self._database.holds_up():
            heard = told is not None and time.monotonic() - told.at < _HEARD
            return told.status if told is not None and heard else RevocationStatus.UNASKED
        if number < 0:
            return RevocationStatus.UNASKED
        try:
            found = self._database.read_now(lambda db: ca.store.certificate_status(db, fingerprint))
        except StorageTrouble:
            return RevocationStatus.UNASKED
        self._keep(fingerprint, found, number)
        return found

    def ready(self, fingerprint: str, then: Callable[[], None]) -> bool:
        """Whether it is known; else it is asked for, and ``then`` called once it is, in which nothing blocks.
        Where nobody can be asked it is known to be that."""
        number = self._database.changed()
        told = self._told.get(fingerprint)
        if told is not None and told.number == number:
            self._keep(fingerprint, told.status, number)
            return True
        # Nobody joins those who asked before the last commit.
        waiting = self._waiting.setdefault((fingerprint, number), [])
        waiting.append(then)
        if len(waiting) == 1:
            task = asyncio.get_running_loop().create_task(self._ask(fingerprint, number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return False

    def _keep(self, fingerprint: str, status: RevocationStatus, number: int) -> None:
        """What was looked at last is forgotten last: somebody goes on with it just now."""
        self._told.pop(fingerprint, None)
        while len(self._told) >= _REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[fingerprint] = _Told(status, number, time.monotonic())

    async def _ask(self, fingerprint: str, number: int) -> None:
        # After another fault than the database's, too, nobody is known to be good.
        found = RevocationStatus.UNASKED
        try:
            with suppress(StorageTrouble):
                found = await self._database.read(lambda db: ca.store.certificate_status(db, fingerprint))
        finally:
            told = self._told.get(fingerprint)
            if found is RevocationStatus.UNASKED:
                self._told.pop(fingerprint, None)
            elif told is None or number < 0 or told.number <= number:
                self._keep(fingerprint, found, number)
            for then in self._waiting.pop((fingerprint, number)):
                asyncio.get_running_loop().call_soon(then)
