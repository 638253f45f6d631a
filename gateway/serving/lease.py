"""Which of the nodes that share a database looks after what one alone does.

The one that leads raises a number again and again. Another one takes over when that has stood still for a
while by its own clock, which is compared with nobody's; the one that leads stops before, if it cannot raise
it. Nothing rests on that: one that wakes too late has another one's term before it at its first write
(`ca/fencing.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import ca.store
from ca.storage import Storage, in_log

#: Seconds between two beats, without one until the work is stopped, and until another one takes over.
BEAT, STOPS, FOLLOWS = 1.0, 5.0, 7.0


@dataclass
class Lease:
    """A node's part in it. ``node``: by which the others know it."""

    database: Storage
    node: str
    monotonic: Callable[[], float] = time.monotonic
    beat: float = BEAT
    stops: float = STOPS
    follows: float = FOLLOWS

    async def whenever_held(self, work: Callable[[int], Awaitable[None]], log: logging.Logger) -> None:
        """Runs the work, which is given its term, while this node leads, and stops it when it does not any
        more; for good."""
        term = 0
        try:
            while True:
                term = await self._taken()
                log.info("this node leads from now on: it looks after time, mail and lists (term %d)", term)
                running = asyncio.ensure_future(work(term))
                try:
                    why = await self._lost(running, term)
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                log.warning("this node leads no more: %s", why)
        finally:
            # Nobody waits for a database that is away: then another one follows a little later.
            with suppress(Exception):
                async with asyncio.timeout(BEAT):
                    await self.database.write(lambda db: ca.store.leave_lead(db, term))

    async def _taken(self) -> int:
        """Returns when this node leads: its term."""
        seen, since = -1, self.monotonic()
        while True:
            with suppress(Exception):  # whoever asks the database for something is told
                node, beat = await self.database.read(ca.store.lead)
                if beat != seen:
                    seen, since = beat, self.monotonic()
                # Of this node no other process is left: the lock of its directory says so.
                free = node in ("", self.node) or self.monotonic() - since >= self.follows
                if free:
                    term = await self.database.write(lambda db: ca.store.take_lead(db, self.node, seen))  # noqa: B023
                    if term:
                        return term
            await asyncio.sleep(self.beat)

    async def _lost(self, running: asyncio.Future[None], term: int) -> str:
        """Returns why, when this node leads no more."""
        last = self.monotonic()
        while True:
            begun, why = self.monotonic(), "another one does"
            try:
                left = max(self.stops - (begun - last), 0.1)
                async with asyncio.timeout(left):
                    if not await self.database.write(lambda db: ca.store.keep_lead(db, term)):
                        return why
                last = begun
            except Exception as error:
                why = f"the database does not answer ({in_log(error)})"
            if self.monotonic() - last >= self.stops:
                return why
            if running.done():
                running.result()
            await asyncio.sleep(self.beat)
