"""The tasks beside a running listener, which time, mail, revocation and the operator need: each looks again
and again whether something is due. One that fails says so and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import ca.store
from ca.epochs.sharing import Exchange
from ca.epochs.tending import clear
from ca.errors import ConfigError
from ca.fencing import Fenced
from ca.generations.store import rows
from ca.journal import BrokenJournal
from ca.storage import Transaction, in_log
from enroll import scheduler
from enroll.campaigns import keeping
from enroll.certificates import tally
from enroll.hooks.delivery import Courier
from enroll.jobs import running
from enroll.mail import queue
from enroll.mail import store as mail_store
from enroll.mail.delivery import deliver_due
from gateway.running import internal, lists, rundir
from gateway.running.memory import read_whole
from gateway.running.notify import notify, watchdog_seconds
from gateway.serving import current as serving
from gateway.serving import descriptors, generations, inforce, offsite, record
from gateway.serving.current import Serving, Slot
from gateway.serving.deployment import Deployment
from gateway.serving.figures import Thresholds, backup_warnings, endings
from gateway.serving.inforce import Look
from gateway.serving.lease import Lease
from gateway.serving.standing import node_of
from gateway.web import sessions

log = logging.getLogger("sekisho.server")

#: Seconds between two looks at what is due. A mail leaves within a second of its cause; a revocation
#: reaches open connections within half of one; D-30 and D-7 follow midnight in Japan by half a minute.
_TICK, _DELIVERY, _REVOCATION = 30.0, 1.0, 0.5
# Between two looks whether answers about certificates (OCSP) are due.
_ANSWERS = 0.5
# Between two looks whether a revocation list is due: what changes meanwhile goes into one.
_LISTS = 1.0
# Between two reports of a worker.
_REPORT = 1.0
# Between two tries to take over from the one that leads, whose is the internal port: a balancer that finds it
# closed twice cuts what the others are answering (docs/operations/nodes.md).
_LEAD = 0.2
# The same while all of them end, one after the other.
_ENDING = 0.05
# Between two looks whether an issuing CA is over: years pass until one is.
_GENERATIONS = 3_600.0
# Between two looks whether our own certificate or the keys of assertions are due: a comparison.
_DUE = 1.0
# Between two looks at how long the certificates last that visitors see.
_ENDS = 60.0
# Between two looks whether the record wants a checkpoint.
_CHECKPOINT = 5.0
# Between two looks whether the journal has lines that its copy has not.
_COPY = 1.0
# Between two looks whether a job waits; a demo rests after each row, so that one can see it run.
_JOBS, _DEMO_REST = 1.0, 2.0
# Between two lines of a backup that is too old.
_BACKUPS = 3_600.0
# Between two looks whether descriptors are left, and between two lines that say there are none.
_LEFT, _NONE_LEFT = 1.0, 60.0
# Between two looks whether what takes long to count is to be counted again.
_COUNTS = 10.0
# Between two looks at keys of epochs.
_KEYS = 1.0
# Between two looks whether the clock is to be believed.
_CLOCK = 1.0


def begin(now: Serving, seen: int) -> list[asyncio.Task[None]]:
    """Those of every process. ``seen``: the last change of which no connection here has to be told
    (`last_change`)."""
    every = (
        _push_revocations(now, seen),
        _report(now),
        _renew(now),
        _watch_clock(now),
        _turn_of_epochs(now),
        _watchdog(now.slot),
        _descriptors(now),
    )
    return [asyncio.create_task(each) for each in every]


def last_change(db: Transaction) -> int:
    """The highest number of a change of a certificate or of an issuing CA."""
    return max([ca.store.last_change(db), *(row.change_number for row in rows(db).values())])


async def lead(now: Serving) -> None:
    """Looks after time, mail and the internal port, in one process only: the one that has the lock.

    When it dies the kernel lets go of the lock, and another process takes it soon after. Once it is
    ending the port is all that is left to it, until it is cancelled: a balancer that hears nothing there cuts
    the connections on which something is still being answered.
    """
    lock = await _lead_of(now)
    trouble = list[str]()
    try:
        await _all_of(
            _until_ending(
                now,
                _lead_all(now) if now.deployment.ra.database.shared else _alone(now),
                _tell_of_ends(now),
                _repeat("journal copy", _COPY, lambda: _copy_journal(now, trouble)),
                _repeat("backups", _BACKUPS, lambda: _tell_of_backups(now)),
            ),
            _tell_inside(now),
        )
    finally:
        if lock is not None:
            lock.close()


async def _until_ending(now: Serving, *works: Coroutine[Any, Any, None]) -> None:
    """Works that end when the process begins to."""
    working, ending = asyncio.ensure_future(_all_of(*works)), asyncio.ensure_future(now.ending.wait())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for each in (working, ending):
            each.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


async def _lead_all(now: Serving) -> None:
    """Of the nodes that share a database one looks after what is nobody's alone; here this one does while it
    has the lease, and else sees to it that lists that another one has made are here."""
    lease = Lease(now.deployment.ra.database, node_of(now.deployment.data))
    fetching = asyncio.create_task(_repeat("lists", _LISTS, lambda: lists.fetch(now.deployment.ra)))
    try:
        await lease.whenever_held(lambda term: _alone(now, term), log)
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)


async def _alone(now: Serving, term: int | None = None) -> None:
    """What one process does for everybody. ``term``: in which it leads, where there may be other nodes: what
    it writes counts in that one only."""
    publisher, refresher, keeper = lists.Publisher(), lists.Refresher(), record.Keeper()
    runner, courier, counter = running.new_runner(), Courier(), keeping.Counter()
    now.leads, now.term = True, term
    try:
        await _all_of(
            _repeat("schedule", _TICK, lambda: scheduler.tick(led(now).ra)),
            _repeat("generations", _GENERATIONS, lambda: generations.end(led(now))),
            _send(now),
            _repeat("revocation lists", _LISTS, lambda: _publish(now, publisher)),
            _repeat("answers", _ANSWERS, lambda: _answer_ahead(now, refresher)),
            _repeat("checkpoint", _CHECKPOINT, lambda: _keep(now, keeper)),
            _repeat("jobs", _JOBS, lambda: _do_jobs(now, runner)),
            _repeat("webhooks", _DELIVERY, lambda: _tell_others(now, courier)),
            _repeat("counts", _COUNTS, lambda: _count(now, counter)),
        )
    finally:
        now.leads, now.term = False, None
        await courier.close()


def led(now: Serving) -> Deployment:
    """What is open, for a task that one process does for everybody."""
    if now.term is None:
        return now.deployment
    ra = now.deployment.ra
    return replace(now.deployment, ra=replace(ra, database=Fenced(ra.database, now.term)))


async def _all_of(*works: Coroutine[Any, Any, None]) -> None:
    """Works that end together."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _lead_of(now: Serving) -> rundir.Lock | None:
    """The lead, once nobody else has it; None where there is nobody else."""
    directory = now.slot.directory
    while directory is not None:
        with suppress(OSError):  # no descriptor left: whoever looks for that says so
            lock = rundir.take_lead(directory)
            if lock is not None:
                return lock
        # The kernel wakes nobody when a lock is let go.
        if now.ending.is_set():
            await asyncio.sleep(_ENDING)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAD):
                    await now.ending.wait()
    return None


async def _tell_inside(now: Serving) -> None:
    settings = now.deployment.config.internal
    while settings.port:
        try:
            opened = await internal.listen(
                settings.host,
                settings.port,
                ready=lambda: serving.readiness(now),
                figures=lambda: serving.every_sample(now),
                names=lambda: now.deployment.config.internal.hosts,
            )
        except ConfigError as error:
            log.error("%s", error)
            await asyncio.sleep(30)
            continue
        try:
            await asyncio.Event().wait()
        finally:
            await opened.close()


async def _keep(now: Serving, keeper: record.Keeper) -> None:
    made = await keeper.look(led(now))
    if made is not None:
        log.info("a checkpoint of the record: line %d, %s", made.number, made.hash)


async def _copy_journal(now: Serving, trouble: list[str]) -> None:
    """``trouble``: what was said of it last; it is said once."""
    settings = now.deployment.config.journal
    try:
        await asyncio.to_thread(offsite.keep_up, now.deployment.data, settings)
    except (OSError, ConfigError, BrokenJournal) as error:
        why = str(error)
        if trouble != [why]:
            log.error("the journal does not get away from this machine: %s", why)
        trouble[:] = [why]
    else:
        trouble.clear()


async def _do_jobs(now: Serving, runner: str) -> None:
    """None begins while the clock is in doubt; one that has begun asks by itself, row by row."""
    if now.doubt is None:
        rest = _DEMO_REST if now.deployment.is_demo else 0.0
        await running.work(led(now).ra, runner, rest=rest)


async def _tell_of_backups(now: Serving) -> None:
    for words in backup_warnings(now.deployment):
        log.warning("%s", words)


async def _tell_of_ends(now: Serving) -> None:
    """Certificates that visitors see: so many days before the end, once each, by the machine's own time."""
    thresholds = Thresholds()

    async def look() -> None:
        at = time.time()
        if now.doubt is not None:
            return
        for end, words in endings(now.deployment, serving.ends(now), at):
            step = thresholds.passed(end, at)
            if step is not None:
                log.log(logging.WARNING if step > 1 else logging.ERROR, "%s", words)

    await _repeat("ends of certificates", _ENDS, look)


async def _send(now: Serving) -> None:
    """First what the one who led before has left: nobody waits for the lease of who cannot send any more.

    Without a term that one is dead, and may have sent what it had taken; so may `sekisho mail deliver`, which
    lives. What is harmless twice is sent again.
    """
    freed = False

    async def look() -> None:
        nonlocal freed
        if not freed:
            channels = now.deployment.transport.repeatable if now.term is None else queue.CHANNELS
            await led(now).ra.database.write(lambda db: mail_store.free(db, channels))
            freed = True
        # A reload in the middle of a long queue counts from the next hundred letters on.
        while await deliver_due(led(now).ra, now.deployment.transport):
            continue

    await _repeat("delivery", _DELIVERY, look)


async def _tell_others(now: Serving, courier: Courier) -> None:
    await courier.look(led(now).ra, now.deployment.hooks_way)


async def _count(now: Serving, counter: keeping.Counter) -> None:
    """By a clock that is in doubt nothing is counted: whoever asks counts."""
    if now.doubt is None:
        await counter.look(led(now).ra)
        await tally.go_on(led(now).ra)


async def _publish(now: Serving, publisher: lists.Publisher) -> None:
    await publisher.look(led(now).ra)


async def _answer_ahead(now: Serving, refresher: lists.Refresher) -> None:
    await refresher.look(led(now).ra, now.answers)


async def _push_revocations(now: Serving, seen: int) -> None:
    """Ends connections and sessions of certificates revoked or held since, by this process or another one.

    Those that were refused with one that is good again end, too: a connection is judged when it begins.
    """
    newest = issuers = seen
    database = now.deployment.ra.database

    async def look() -> None:
        nonlocal newest, issuers
        issuers = await generations.push(now, issuers)
        for change in await database.read(partial(ca.store.changed_since, number=newest)):
            newest = change.number
            if change.status == "issued":
                now.listener.reconsider(change.fingerprint)
                continue
            ended = now.listener.revoke(change.fingerprint)
            await sessions.end_with(now.deployment.ra, change.fingerprint)
            if ended:
                log.info("certificate %s is %s: %d connections ended", change.serial, change.status, ended)
        now.listener.ask_again()

    await _repeat("revocation", _REVOCATION, look)


async def _renew(now: Serving) -> None:
    """Our own certificate and keys, in good time. For several workers the process above them does that."""
    tried = float("-inf")

    async def look() -> None:
        nonlocal tried
        if now.look.is_due(time.time()) and time.monotonic() - tried > inforce.TRY_AGAIN:
            tried = time.monotonic()
            await serving.renew(now)

    if not now.slot.shared:
        await _repeat("renewal", _DUE, look)


async def _watch_clock(now: Serving) -> None:
    """Each process has a clock of its own to doubt; the one that leads makes up for what waited."""

    async def look() -> None:
        before = now.doubt
        await serving.look_at_clock(now)
        if before is not None and now.doubt is None and now.leads:
            await scheduler.tick(led(now).ra)

    await _repeat("clock", _CLOCK, look)


async def _turn_of_epochs(now: Serving) -> None:
    """Lets go of keys that have ended; where there are other nodes, gives and gets those of epochs that
    began, and ends what is over in this directory: whoever leads does so as well (`scheduler.tick`)."""
    ra = now.deployment.ra
    exchange, cleared = Exchange(ra.epochs, ra.database), time.monotonic()

    async def look() -> None:
        nonlocal cleared
        ra.epochs.forget()
        if not ra.database.shared:
            return
        await exchange.look(ra.now())
        if now.doubt is None and time.monotonic() - cleared > _TICK:
            cleared = time.monotonic()
            await clear(ra.epochs, ra.database, ra.now())

    await _repeat("keys of windows", _KEYS, look)


async def _report(now: Serving) -> None:
    """What the other workers and the supervisor know of this one."""
    slot = now.slot
    if slot.shared:

        async def tell() -> None:
            if slot.pulse is not None:
                slot.pulse.beat(slot.number, time.monotonic())
            serving.write_report(now)

        await _repeat("report", _REPORT, tell)


async def _descriptors(now: Serving) -> None:
    """Says so when the kernel gives us no more of them: libuv then closes who comes, and tells nobody."""
    told = float("-inf")

    async def look() -> None:
        nonlocal told
        if descriptors.left():
            return
        now.listener.count("no-descriptor-left")
        if time.monotonic() - told > _NONE_LEFT:
            told = time.monotonic()
            log.error(
                "no file descriptor is left of %d: who comes is closed unanswered; see what takes them: "
                "ls -l /proc/%d/fd",
                descriptors.room(),
                os.getpid(),
            )

    await _repeat("descriptors", _LEFT, look)


async def _watchdog(slot: Slot) -> None:
    """systemd restarts us when the event loop no longer turns; of workers the supervisor's."""
    seconds = None if slot.shared else watchdog_seconds()
    while seconds:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)


async def reload_when_asked(now: Serving, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        _say_reloading()
        await serving.reload(now)
        notify("READY=1")


async def go_over(now: Serving, stop: asyncio.Event) -> None:
    """Takes what the process above has found in the directory. Whoever cannot ends, and is replaced."""
    channel, loop = now.slot.channel, asyncio.get_running_loop()
    assert channel is not None
    there = asyncio.Event()
    try:
        while True:
            loop.add_reader(channel, there.set)
            await there.wait()
            loop.remove_reader(channel)
            there.clear()
            told, memories, _, _ = socket.recv_fds(channel, 16, 1)
            if not told:  # hung up on: it has not listened for very long
                now.unfit = True
                break
            for memory in memories:
                look = Look.from_bytes(read_whole(memory))
                os.close(memory)
                await serving.go_over(now, look)
    except Exception:
        log.exception("what is in force cannot be gone over to; this worker ends, to be replaced")
        now.unfit = True
    finally:
        loop.remove_reader(channel)
    stop.set()


async def _repeat(name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Runs a task again and again. A failure is one line in the log; the next turn comes all the same."""
    while True:
        try:
            await work()
        except Exception as error:
            log.error("%s failed: %s", name, in_log(error))
        await asyncio.sleep(seconds)


def _say_reloading() -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
