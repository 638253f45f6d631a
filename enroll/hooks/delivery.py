"""Carries deliveries out: of each endpoint a few at a time, and none waits for another endpoint's.

At least once: a delivery is settled after its receiver has answered. Whoever dies in between leaves it
taken, and when that time is over it is sent again, under the same name. Nothing is said about the order.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial

from ca.fencing import unfenced
from ca.storage import Transaction, in_log
from enroll.hooks import endpoints, outbox, posting, reach, signatures, store
from enroll.hooks.posting import AT_ONCE, Session
from enroll.hooks.reach import Way
from enroll.hooks.signatures import PURPOSE
from enroll.hooks.states import LONGEST_WAIT, WAITS, Answer, wait
from enroll.hooks.states import Delivery as State
from enroll.hooks.states import Endpoint as Standing
from enroll.hooks.store import Delivery, Endpoint
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

log = logging.getLogger("sekisho.webhooks")

# Put off by more than any wait: the clock ran ahead, and has been set right.
_FURTHEST = 2 * max(*WAITS, LONGEST_WAIT)
_BUSY = (429, 503)
# What is taken at once, so often by one task: then another one begins, by the settings as they are.
_ROUNDS = 50


class Courier:
    """Looks for what is due, and has one task an endpoint at most: a slow one holds up itself alone."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._running: dict[int, asyncio.Task[int]] = {}

    async def look(self, ra: RegistrationAuthority, way: Way) -> None:
        """Queues what happened, and begins what is due."""
        await outbox.write_out(ra)
        for number in await ra.database.read(partial(_with_something_due, at=ra.now())):
            task = self._running.get(number)
            if task is None or task.done():
                self._running[number] = asyncio.create_task(self._run(ra, way, number))

    async def finish(self) -> int:
        """Waits for all that was begun; returns how many deliveries were tried."""
        return sum(await asyncio.gather(*self._running.values()))

    async def close(self) -> None:
        """Stops all of it: what was taken is sent again later."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, ra: RegistrationAuthority, way: Way, number: int) -> int:
        tried = 0
        try:
            async with posting.opened(way) as session:
                for _ in range(_ROUNDS):
                    some = await ra.database.write(partial(_take, ra=ra, number=number))
                    if not some:
                        break
                    await asyncio.gather(*(self._deliver(ra, session, each) for each in some))
                    tried += len(some)
        except Exception as error:
            log.error("webhooks to endpoint %d failed: %s", number, in_log(error))
        return tried

    async def _deliver(self, ra: RegistrationAuthority, session: Session, taken: Delivery) -> None:
        found = await ra.database.read(partial(_still, taken=taken, ra=ra))
        if found is None:
            return  # stopped meanwhile: it is taken again when that one goes on; or it is another node's
        answer, chance = await _sent(ra, session, found, taken), self._chance()
        await unfenced(ra.database).write(lambda db: _settle(db, ra, found, taken, answer, chance))


async def _sent(ra: RegistrationAuthority, session: Session, to: Endpoint, taken: Delivery) -> Answer:
    target = reach.target(to.url)
    if not reach.listed(target, ra.settings):
        return Answer(0, f"not sent: {target.named} is not in webhooks.hosts any more")
    at, body = ra.now(), taken.body.encode()
    sealed = [to.sealed_secret, to.sealed_before if at < (to.before_until_at or 0) else None]
    secrets = [ra.vault.open(PURPOSE, each) for each in sealed if each is not None]
    return await session.post(target, signatures.headers(secrets, taken.message, at, body), body, at)


# -- inside a transaction --------------------------------------------------------------------------------


def _with_something_due(db: Transaction, at: int) -> list[int]:
    ready = (each.number for each in store.endpoints(db, every=False) if not _held(each, at))
    return [number for number in ready if store.due(db, number, at, _FURTHEST, 1)]


def _still(db: Transaction, taken: Delivery, ra: RegistrationAuthority) -> Endpoint | None:
    """Where a delivery goes, if whoever took it still has it, and that one is not stopped."""
    found, now = store.endpoint(db, taken.endpoint), store.delivery(db, taken.number)
    ours = now is not None and now.attempts == taken.attempts and ra.now() < now.claimed_until_at
    return found if ours and found is not None and found.state is Standing.ACTIVE else None


def _held(found: Endpoint, at: int) -> bool:
    return at < found.held_until_at <= at + LONGEST_WAIT


def _take(db: Transaction, ra: RegistrationAuthority, number: int) -> list[Delivery]:
    """The next few that are due, taken."""
    at, found = ra.now(), store.endpoint(db, number)
    if found is None or found.state is not Standing.ACTIVE or _held(found, at):
        return []
    due = store.due(db, number, at, _FURTHEST, AT_ONCE)
    taken = [each for each in due if store.begin(db, each, at)]
    return [each for one in taken if (each := store.delivery(db, one.number)) is not None]


def _settle(
    db: Transaction, ra: RegistrationAuthority, to: Endpoint, taken: Delivery, answer: Answer, chance: float
) -> None:
    at, later = ra.now(), wait(taken.tries, answer, chance)
    if answer.result == "delivered":
        state = State.DELIVERED
    else:
        state = State.DEAD if later is None else State.WAITING
    store.settle(
        *(db, taken, state),
        next_at=taken.next_at if later is None else at + later,
        ended_at=at if later is None else None,
        status=answer.status,
        result=answer.said,
    )
    if answer.result == "gone":
        _gone(db, ra, to)
    elif answer.status in _BUSY and answer.after:
        store.hold(db, to.number, at + min(answer.after, LONGEST_WAIT))


def _gone(db: Transaction, ra: RegistrationAuthority, to: Endpoint) -> None:
    try:
        endpoints.stop(db, ra, to.name, "gone", by="webhooks")
    except Refusal:
        return  # another answer was first, or an operator
    log.warning(
        "endpoint %s answered 410 and is stopped; once it is back: sekisho webhook start %s", to.name, to.name
    )
