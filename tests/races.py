"""Twenty at a time race for what is limited, or done once, on each engine (tests/enroll/test_raced.py); and
two, of whom one is met in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import pytest

from ca.storage import Storage, Transaction, Work
from enroll.refusals import Refusal
from enroll.repeats import InFlight
from tests import databases
from tests.datadirs import together
from tests.looking import look

T = TypeVar("T")

RACERS = 20
ENGINES = (pytest.param("sqlite"), pytest.param("postgresql", marks=databases.NEEDED))
_PATIENCE = 60.0
_WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def raced(*works: Awaitable[Any]) -> list[Any]:
    """What each of them got: its own, or by which code or status it was refused; nothing else may happen."""
    got = await together(*works)
    odd = [
        each for each in got if isinstance(each, BaseException) and not isinstance(each, Refusal | InFlight)
    ]
    assert odd == [], odd
    return [each for each in got if not isinstance(each, BaseException)]


async def crossed(database: Storage, first: Work[T], second: Work[T]) -> tuple[T, T]:
    """What two get, of whom the first has done all but its commit when the second comes, on PostgreSQL: that
    one goes as far as it gets, and on when the first has committed."""
    from ca.postgresql.transaction import wait

    done, go_on, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def paused(db: Transaction) -> T:
        got = first(db)
        loop.call_soon_threadsafe(done.set)
        wait(of_another_loop(go_on, loop))
        return got

    one = asyncio.create_task(database.write(paused))
    await asyncio.wait((one, meeting := asyncio.create_task(done.wait())), return_when="FIRST_COMPLETED")
    meeting.cancel()
    other = asyncio.create_task(database.write(second))
    await waits_for_a_lock(database, other)
    go_on.set()
    return await one, await other


async def of_another_loop(event: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """Waits for an event of the test's loop in the engine's."""
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(event.wait(), loop))


async def waits_for_a_lock(database: Storage, task: asyncio.Task[Any]) -> None:
    """Until the task's write waits for another, or is done without."""
    async with asyncio.timeout(_PATIENCE):
        while not (task.done() or look(database).rows(_WAITING)):
            await asyncio.sleep(0.01)
