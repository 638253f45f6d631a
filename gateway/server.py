"""Runs the gateway: the listener with its sites, and the tasks that time, mail and revocation need."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import uvloop

import ca.store
from ca import datadir
from ca.errors import ConfigError
from enroll import issuance, scheduler, timekeeping
from enroll.acme.nonces import create_table
from enroll.delivery import deliver_due
from gateway.assembly import gate_of, sites_of
from gateway.config import Config, Log, read_config
from gateway.headcount import Headcount, headcounts
from gateway.house import House, open_house
from gateway.rates import Ledger
from gateway.running import descriptors, internal, lists, places, serving
from gateway.running.journal import DirectHandler, Journal, JournalHandler
from gateway.running.notify import notify, watchdog_seconds
from gateway.running.ports import unusable
from gateway.running.pulse import Pulse
from gateway.running.serving import Builders, Post, Serving
from gateway.running.stopping import ends_with, reload_signals, stop_signals
from gateway.running.supervisor import supervise

__all__ = ["run", "serve", "start_log", "stop_signals"]

log = logging.getLogger("sekisho.server")

#: Seconds between two looks at what is due. A mail leaves within a second of its cause; a revocation
#: reaches open connections within half of one; D-30 and D-7 follow midnight in Japan by half a minute.
_TICK, _DELIVERY, _REVOCATION = 30.0, 1.0, 0.5
# Between two looks whether a revocation list is due: what changes meanwhile goes into one.
_LISTS = 1.0
# Between two reports of a worker, and between two tries to take over from the one that leads.
_REPORT = 1.0
# Between two looks whether descriptors are left, and between two lines that say there are none.
_LEFT, _NONE_LEFT = 1.0, 60.0
# Between two looks whether assertions have other keys, each of which is published for weeks before it signs.
_KEYS = 60.0
# Between two looks whether the clock is to be believed.
_CLOCK = 1.0
# What a worker takes to end besides its drain: a mail server's last answer, keys being made, the log.
_SPARE = 15.0
# Keys lying ready for a burst of pick-ups.
_SPARE_KEYS = 8
_BACKLOG = 1_024

Started = Callable[[int], Awaitable[None]]


def serve(data: Path, passphrase: str, workers: int = 1) -> None:
    """Serves a data directory until SIGTERM or SIGINT. ConfigError for what the operator has to mend."""
    datadir.read_marker(data)
    datadir.check_owner(data)
    config = read_config(data)
    directory = places.run_directory(data)
    # Who asks for a reload too early must not end us, nor be forgotten: it waits for `reload_signals`.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    descriptors.raise_limit()
    with ExitStack() as stack:
        stack.callback(places.claim(directory).close)
        if workers == 1:
            uvloop.run(_serve(data, passphrase, Post(directory), None, None))
        else:
            sock = stack.enter_context(_listening(config))
            _serve_together(data, passphrase, config, directory, sock, workers)


def _serve_together(
    data: Path, passphrase: str, config: Config, directory: Path, sock: socket.socket, workers: int
) -> None:
    # Whatever is wrong is found here, once, and what is missing is made.
    uvloop.run(_rehearse(data, passphrase))
    create_table(places.nonce_file(directory))
    _log_directly(data, config.log)
    ledger, counts, pulse = Ledger(), headcounts(workers), Pulse(workers)

    def worker(number: int, parent: int) -> None:
        post = Post(directory, number, workers, ledger=ledger, headcount=counts[number], pulse=pulse)
        uvloop.run(_serve(data, passphrase, post, sock, parent))

    overseer = _Overseer(directory, counts, sock, config.limits.drain)
    supervise(workers, worker, overseer, pulse=pulse)


class _Overseer:
    """What only the process above the workers can do: speak for all of them, and close the port for all."""

    def __init__(self, directory: Path, counts: list[Headcount], sock: socket.socket, drain: float) -> None:
        self._directory, self._counts, self._sock, self._drain = directory, counts, sock, drain
        self._workers = len(counts)
        # Since when whatever a worker serves has to have been read; None: nobody waits for them.
        self._wanted: float | None = 0.0
        self._ready = False

    def turned(self) -> None:
        notify("WATCHDOG=1")
        if self._wanted is None:
            return
        reports = places.reports(self._directory)
        if sum(each["read_at"] >= self._wanted for each in reports) < self._workers:
            return
        self._wanted = None
        notify("READY=1", f"STATUS={self._workers} workers")
        if not self._ready:
            self._ready = True
            log.info("%d workers are ready", self._workers)

    def ended(self, number: int) -> None:
        self._counts[number].wipe()

    def reloading(self) -> None:
        self._wanted = time.monotonic()
        if self._ready:
            _say_reloading()

    def stopping(self) -> None:
        self._wanted = None
        notify("STOPPING=1")
        # Not only closed: that would wait until the last worker has closed it too, be it a stuck one, and
        # let connections queue up that nobody accepts.
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def patience(self) -> float:
        # Theirs to say: a reload may have changed it since the start.
        drains = [each["drain"] for each in places.reports(self._directory)]
        return max(drains, default=self._drain) + _SPARE


async def _rehearse(data: Path, passphrase: str) -> None:
    house = open_house(data, passphrase)
    try:
        sites_of(house, gate_of(house))
        await lists.begin(house.office)
    finally:
        await house.close()


async def _serve(
    data: Path, passphrase: str, post: Post, sock: socket.socket | None, parent: int | None
) -> None:
    house = open_house(data, passphrase, spare_keys=_SPARE_KEYS)
    journal: Journal | None = None
    try:
        journal = _journal(data, house.config.log, post)
        _log_to(journal, house.config.log.level)
        at_post = replace(post, journal=journal)
        with stop_signals(supervised=post.shared) as stop, ends_with(parent, stop):
            # Of several workers the supervisor says when all of them are ready.
            started = _say_ready if post.shared else _say_ready_to_systemd
            await run(house, stop, started, sock=sock, post=at_post)
    finally:
        await house.close()
        if journal is not None:
            journal.close()


async def run(
    house: House,
    stop: asyncio.Event,
    started: Started,
    *,
    sock: socket.socket | None = None,
    extra: Builders | None = None,
    post: Post = Post(),  # noqa: B008 (frozen)
) -> None:
    """Serves an opened house until ``stop``; ``started`` is told the port once every site answers.

    ``sock`` is a bound socket to listen on instead of the configured address. The house may be another
    one at the end, after a reload; what it shares with this one is the caller's to close.
    """
    office = house.office
    finished = 0 if timekeeping.doubt_now(office) else await issuance.recover(office)
    if finished:
        log.info("finished %d certificates that were begun before the last stop", finished)
    seen = ca.store.last_change(office.database.read())
    if not post.shared:  # else it was done before there were workers
        await lists.begin(office)
    now = serving.begin(house, post, extra)
    port = await _open(now, sock)
    office.keys.refill()
    tasks = [
        asyncio.create_task(work)
        for work in (
            _lead(now),
            _push_revocations(now, seen),
            _report(now),
            _follow_keys(now),
            _watch_clock(now),
            _watchdog(post),
            _descriptors(now),
        )
    ]
    # What exists now lives as long as the process; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        # A demo ends with its terminal; whoever serves a directory stays, and is asked by SIGHUP.
        with reload_signals(post.directory is not None) as asked:
            tasks.append(asyncio.create_task(_reload_when_asked(now, asked)))
            serving.write_report(now)
            await started(port)
            await stop.wait()
            now.listener.close()
        log.info("stopping")
        if not post.shared:
            notify("STOPPING=1")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await now.listener.stop()
        if now.house.office.keys is not office.keys:
            await now.house.office.keys.close()


def start_log(level: str) -> None:
    """Log lines to standard error: time, level, part, words."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s %(message)s", force=True
    )


def _log_to(journal: Journal, level: str) -> None:
    logging.basicConfig(level=level.upper(), handlers=[JournalHandler(journal)], force=True)


def _log_directly(data: Path, settings: Log) -> None:
    """For the supervisor, which has few words and must not have a thread: it forks."""
    handler = DirectHandler(data / settings.file if settings.file else None)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)


def _journal(data: Path, settings: Log, post: Post) -> Journal:
    return Journal(data / settings.file if settings.file else None, post.number if post.shared else None)


def _listening(config: Config) -> socket.socket:
    """The socket that workers share. ConfigError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in config.listen.host else socket.AF_INET
    try:
        return socket.create_server((config.listen.host, config.listen.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise unusable("listen", config.listen.host, config.listen.port, error) from None


async def _open(now: Serving, sock: socket.socket | None) -> int:
    listen = now.house.config.listen
    try:
        return await now.listener.start(listen.host, listen.port, sock=sock)
    except OSError as error:
        raise unusable("listen", listen.host, listen.port, error) from None


async def _say_ready(port: int) -> None:
    log.info("ready on port %d", port)


async def _say_ready_to_systemd(port: int) -> None:
    await _say_ready(port)
    notify("READY=1", f"STATUS=ready on port {port}")


def _say_reloading() -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")


# -- tasks ---------------------------------------------------------------------------------------------


async def _lead(now: Serving) -> None:
    """Looks after time, mail and the internal port, in one process only: the one that has the lock.

    When it dies the kernel lets go of the lock, and another process takes it within a second.
    """
    directory = now.post.directory
    lock = await _lead_of(directory) if directory is not None else None
    now.leads = True
    publisher = lists.Publisher()
    tasks = [
        asyncio.create_task(_repeat("schedule", _TICK, lambda: scheduler.tick(now.house.office))),
        asyncio.create_task(_repeat("delivery", _DELIVERY, lambda: _deliver(now.house))),
        asyncio.create_task(_repeat("revocation lists", _LISTS, lambda: _publish(now, publisher))),
        asyncio.create_task(_tell_inside(now)),
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if lock is not None:
            lock.close()


async def _lead_of(directory: Path) -> places.Lock:
    """The lead, once nobody else has it."""
    while True:
        with suppress(OSError):  # no descriptor left: whoever looks for that says so
            lock = places.take_lead(directory)
            if lock is not None:
                return lock
        await asyncio.sleep(_REPORT)  # the kernel wakes nobody when a lock is let go


async def _tell_inside(now: Serving) -> None:
    settings = now.house.config.internal
    while settings.port:
        try:
            opened = await internal.listen(
                settings.host,
                settings.port,
                ready=lambda: serving.readiness(now),
                figures=lambda: serving.every_sample(now),
                names=lambda: now.house.config.internal.hosts,
            )
        except ConfigError as error:
            log.error("%s", error)
            await asyncio.sleep(30)
            continue
        try:
            await asyncio.Event().wait()
        finally:
            await opened.close()


async def _deliver(house: House) -> None:
    while await deliver_due(house.office, house.transport):
        continue


async def _publish(now: Serving, publisher: lists.Publisher) -> None:
    await publisher.look(now.house.office)


async def _push_revocations(now: Serving, seen: int) -> None:
    """Ends open connections of certificates revoked or held since, by this process or another one.

    Those that were refused with one that is good again end, too: a connection is judged when it begins.
    """
    newest = seen
    database = now.house.office.database

    async def look() -> None:
        nonlocal newest
        for change in ca.store.changed_since(database.read(), newest):
            newest = change.number
            if change.status == "issued":
                now.listener.reconsider(change.fingerprint)
                continue
            ended = now.listener.revoke(change.fingerprint)
            if ended:
                log.info("certificate %s is %s: %d connections ended", change.serial, change.status, ended)

    await _repeat("revocation", _REVOCATION, look)


async def _follow_keys(now: Serving) -> None:
    # A demo's clock is moved by months; its upstream knows the keys of the start.
    if now.post.directory is not None:
        await _repeat("assertion keys", _KEYS, lambda: serving.follow_keys(now))


async def _watch_clock(now: Serving) -> None:
    """Each process has a clock of its own to doubt; the one that leads makes up for what waited."""

    async def look() -> None:
        before = now.doubt
        serving.look_at_clock(now)
        if before is not None and now.doubt is None and now.leads:
            await scheduler.tick(now.house.office)

    await _repeat("clock", _CLOCK, look)


async def _report(now: Serving) -> None:
    """What the other workers and the supervisor know of this one."""
    post = now.post
    if post.shared:

        async def tell() -> None:
            if post.pulse is not None:
                post.pulse.beat(post.number, time.monotonic())
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


async def _watchdog(post: Post) -> None:
    """systemd restarts us when the event loop no longer turns; of workers the supervisor's."""
    seconds = None if post.shared else watchdog_seconds()
    while seconds:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)


async def _reload_when_asked(now: Serving, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        if not now.post.shared:
            _say_reloading()
        await serving.reload_and_tell(now)
        if not now.post.shared:
            notify("READY=1")


async def _repeat(name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Runs a task again and again. A failure is one line in the log; the next turn comes all the same."""
    while True:
        try:
            await work()
        except Exception as error:
            # Type and place, never the message: it may quote a mail or a name.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s failed: %s in %s:%s", name, type(error).__name__, frame.name, frame.lineno)
        await asyncio.sleep(seconds)
