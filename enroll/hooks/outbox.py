"""From the record to deliveries: each endpoint is told of the lines that were written since the last it was
told of.

What happens pays nothing for it: its line is written anyway, in its own transaction, and no line can be
passed over, for they are numbered in the order of their commits. A line is passed, and its delivery queued,
in one.
"""

from __future__ import annotations

from functools import partial

from ca.storage import Transaction
from enroll import store as enroll_store
from enroll import timekeeping
from enroll.hooks import events, store
from enroll.hooks.states import Delivery as State
from enroll.hooks.states import Endpoint as Standing
from enroll.hooks.store import Endpoint
from enroll.ra import RegistrationAuthority
from enroll.settings import DAY

# Lines that one transaction passes, and deliveries that may wait for an endpoint; then the record waits.
_AT_ONCE, _MOST_WAITING = 200, 10_000


async def write_out(ra: RegistrationAuthority) -> int:
    """Queues what happened since; returns how many deliveries. It costs two look-ups where nothing has."""
    behind = await ra.database.read(_behind)
    return sum([await _write_out(ra, each) for each in behind])


def _behind(db: Transaction) -> list[Endpoint]:
    active = store.endpoints(db, every=False)
    newest = enroll_store.audit_counted(db) if active else 0
    return [each for each in active if each.read_to < newest]


async def _write_out(ra: RegistrationAuthority, behind: Endpoint) -> int:
    found, queued = await ra.database.write(partial(_pass_lines, ra=ra, number=behind.number))
    while found == _AT_ONCE:
        found, more = await ra.database.write(partial(_pass_lines, ra=ra, number=behind.number))
        queued += more
    return queued


def _pass_lines(db: Transaction, ra: RegistrationAuthority, number: int) -> tuple[int, int]:
    """Lines that were passed, and deliveries that were queued."""
    found = store.endpoint(db, number)
    if found is None or found.state is not Standing.ACTIVE:
        return 0, 0
    if store.count(db, number, State.WAITING) >= _MOST_WAITING:
        return 0, 0
    lines = enroll_store.audit_lines(db, found.read_to, _AT_ONCE)
    if not lines or not store.read_on(db, found, lines[-1].id):
        return 0, 0
    told = (event for line in lines if (event := events.of_line(line)) is not None)
    wanted = (event for event in told if events.wanted(found.events, event.type))
    return len(lines), sum(store.put(db, number, event, ra.now()) for event in wanted)


async def tell_of_ends(ra: RegistrationAuthority) -> int:
    """Queues what is told of certificates that end within the renewal period, each once; returns how many.

    One that is made for less than that time is not told of again: its issue says when it ends.
    """

    def work(db: Transaction) -> int:
        if timekeeping.doubt_now(ra, db) is not None:
            return 0
        return sum(_ends(db, ra, each) for each in store.endpoints(db, every=False))

    active = await ra.database.read(partial(store.endpoints, every=False))
    return await ra.database.write(work) if active else 0


def _ends(db: Transaction, ra: RegistrationAuthority, found: Endpoint) -> int:
    at = ra.now()
    until = at + ra.settings.renewal_days * DAY
    if until <= found.ends_to_at or not store.ends_on(db, found, until):
        return 0
    if not events.wanted(found.events, events.EXPIRING):
        return 0
    ending = enroll_store.enrollments_ending(db, max(found.ends_to_at, at), until)
    return sum(store.put(db, found.number, events.expiring(each, at), at) for each in ending)


async def sweep(ra: RegistrationAuthority) -> int:
    """Wipes secrets that another has followed, and what was delivered or given up long ago; returns how many
    deliveries."""

    def work(db: Transaction) -> int:
        at = ra.now()
        store.forget_secrets(db, at)
        return store.drop_over(db, at - ra.settings.webhook_days * DAY)

    return await ra.database.write(work) if await ra.database.read(store.endpoints) else 0
