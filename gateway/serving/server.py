"""Runs the gateway: the listener with its sites, and the tasks that time, mail and revocation need."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvloop

import ca.store
from ca import datadir
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.generations.store import rows
from ca.journal import BrokenJournal
from ca.sealing import Vault
from ca.signing import Signer
from ca.storage import Transaction, in_log, is_out_of_order
from enroll import scheduler, timekeeping
from enroll.acme.nonces import create_table
from enroll.mail.delivery import deliver_due
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from gateway.edge.headcount import headcounts
from gateway.running import internal, lists, rundir
from gateway.running.control import Caller, taking_commands
from gateway.running.journal import DirectHandler, Journal, JournalHandler, TracesOnly
from gateway.running.notify import notify, watchdog_seconds
from gateway.running.ports import listening
from gateway.running.pulse import Pulse
from gateway.running.stopping import ends_with, reload_signals, stop_signals
from gateway.running.supervisor import supervise
from gateway.serving import current as serving
from gateway.serving import descriptors, generations, inforce, offsite, profiling, record
from gateway.serving.config import Config, read_config
from gateway.serving.current import Builders, Serving, Slot
from gateway.serving.deployment import Deployment, deployment_of
from gateway.serving.figures import Thresholds, backup_warnings, endings
from gateway.serving.inforce import Look
from gateway.serving.overseer import Overseer, read_whole
from gateway.serving.rates import Ledger
from gateway.serving.settings.running import Log
from gateway.serving.signing.starting import signer_for
from gateway.web import sessions

__all__ = ["run", "serve", "start_log", "stop_signals"]

log = logging.getLogger("sekisho.server")

#: Seconds between two looks at what is due. A mail leaves within a second of its cause; a revocation
#: reaches open connections within half of one; D-30 and D-7 follow midnight in Japan by half a minute.
_TICK, _DELIVERY, _REVOCATION = 30.0, 1.0, 0.5
# Between two looks whether answers about certificates (OCSP) are due.
_ANSWERS = 0.5
# Between two looks whether a revocation list is due: what changes meanwhile goes into one.
_LISTS = 1.0
# Between two reports of a worker, and between two tries to take over from the one that leads.
_REPORT = 1.0
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
# Between two lines of a backup that is too old.
_BACKUPS = 3_600.0
# Between two looks whether descriptors are left, and between two lines that say there are none.
_LEFT, _NONE_LEFT = 1.0, 60.0
# Between two looks whether the clock is to be believed.
_CLOCK = 1.0
# Keys lying ready for a burst of pick-ups.
_SPARE_KEYS = 8
_BACKLOG = 1_024

Started = Callable[[int], Awaitable[None]]
#: Does a command for whoever has typed it, on what it opens.
Command = Callable[[Caller, Callable[[], Deployment]], None]
#: MiB of the database that a command keeps in memory: it reads everything once, if at all.
_COMMANDS_CACHE = 8


def serve(
    data: Path, passphrase_file: Path | None, variable: str, workers: int = 1, command: Command | None = None
) -> None:
    """Serves a data directory until SIGTERM or SIGINT. ConfigError for what the operator has to mend.

    ``command`` does what an operator has typed, in a process that opens the directory for it.

    The passphrase is the signer's to ask for (``signer_for``): no process here ever has it.
    """
    datadir.read_marker(data)
    datadir.check_owner(data)
    files = Snapshot()
    config = read_config(data, files)
    directory = rundir.run_directory(data)
    # Who asks for a reload too early must not end us, nor be forgotten: it waits for `reload_signals`.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    descriptors.raise_limit()
    with ExitStack() as stack:
        stack.callback(rundir.claim(directory).close)
        signer, vault = stack.enter_context(signer_for(data, config, passphrase_file, variable))
        if command is not None:
            # Before there are threads, ports and a log of our own: it forks.
            stack.enter_context(_taking_commands(data, vault, signer, config.log, command))
        if workers == 1:
            uvloop.run(_serve_alone(data, vault, signer, files, Slot(directory)))
        else:
            socks, plain = listening(config.listen.host, config.listen.port, _BACKLOG), _plain(config)
            for sock in (*socks, *plain):
                stack.enter_context(sock)
            _log_directly(data, config.log)
            # Whatever is wrong is found here, once, and what is missing is made.
            look = uvloop.run(_rehearse(data, vault, signer, files))
            _serve_together(data, vault, signer, look, config, socks, plain, workers)


def _taking_commands(
    data: Path, vault: Vault, signer: Signer, settings: Log, command: Command
) -> AbstractContextManager[None]:
    def opened() -> Deployment:
        return deployment_of(data, vault, Snapshot(), signer=signer, most_cache=_COMMANDS_CACHE)

    directory = rundir.run_directory(data)
    return taking_commands(
        directory, lambda caller: command(caller, opened), lambda: _log_directly(data, settings)
    )


async def _serve_alone(data: Path, vault: Vault, signer: Signer, files: Snapshot, slot: Slot) -> None:
    deployment = deployment_of(data, vault, files, signer=signer, spare_keys=_SPARE_KEYS)
    await _serve(deployment, slot, (), None)


def _serve_together(
    data: Path,
    vault: Vault,
    signer: Signer,
    look: Look,
    config: Config,
    socks: list[socket.socket],
    plain: list[socket.socket],
    workers: int,
) -> None:
    directory = rundir.run_directory(data)
    create_table(rundir.nonce_file(directory))
    ledger, counts, pulse = Ledger(), headcounts(workers), Pulse(workers)
    overseer = Overseer(data, vault, signer, look, counts, [*socks, *plain])

    def worker(number: int, parent: int) -> None:
        look, channel = overseer.be()
        slot = Slot(directory, number, workers, None, ledger, counts[number], pulse, look, channel)
        assert look.files is not None
        deployment = deployment_of(data, vault, look.files, signer=signer, spare_keys=_SPARE_KEYS)
        uvloop.run(_serve(deployment, slot, socks, parent, plain))

    supervise(workers, worker, overseer, pulse=pulse)


async def _rehearse(data: Path, vault: Vault, signer: Signer, files: Snapshot) -> Look:
    deployment, directory = deployment_of(data, vault, files, signer=signer), rundir.run_directory(data)
    try:
        inforce.check(deployment, directory)
        profiling.hand_over(signer, deployment.config.profiles)
        inforce.warn(deployment)
        await lists.begin(deployment.ra)
        return inforce.first(deployment, directory)
    finally:
        await deployment.close()


async def _serve(
    deployment: Deployment,
    slot: Slot,
    socks: Sequence[socket.socket],
    parent: int | None,
    plain: Sequence[socket.socket] = (),
) -> None:
    journal: Journal | None = None
    try:
        journal = _journal(deployment.data, deployment.config.log, slot)
        _log_to(journal, deployment.config.log.level)
        at_slot = replace(slot, journal=journal)
        with stop_signals(supervised=slot.shared) as stop, ends_with(parent, stop):
            # Of several workers the supervisor says when all of them are ready.
            started = _say_ready if slot.shared else _say_ready_to_systemd
            if not slot.shared:
                inforce.warn(deployment)
            await run(deployment, stop, started, socks=socks, slot=at_slot, plain=plain)
    finally:
        await deployment.close()
        if journal is not None:
            journal.close()
        if slot.shared:  # why a worker ends is said when it has no journal any more
            _log_directly(deployment.data, deployment.config.log)


async def run(
    deployment: Deployment,
    stop: asyncio.Event,
    started: Started,
    *,
    socks: Sequence[socket.socket] = (),
    extra: Builders | None = None,
    slot: Slot = Slot(),  # noqa: B008 (frozen)
    plain: Sequence[socket.socket] = (),
) -> None:
    """Serves an opened deployment until ``stop``; ``started`` is told the port once every site answers.

    ``socks`` are bound sockets to listen on instead of the configured addresses, ``plain`` those of plain
    HTTP. It may be another one at the end, after a reload; what it shares with this one is the caller's to
    close."""
    ra = deployment.ra
    await _finish(ra)
    seen = await ra.database.read(_last_change)
    if not slot.shared:  # else it was done before there were workers
        await lists.begin(ra)
    now = serving.begin(deployment, slot, extra)
    port = await _open(now, socks)
    await now.plain.start(plain or _plain(deployment.config))
    ra.keys.refill()
    tasks = [
        asyncio.create_task(work)
        for work in (
            _lead(now),
            _push_revocations(now, seen),
            _report(now),
            _renew(now),
            _watch_clock(now),
            _watchdog(slot),
            _descriptors(now),
        )
    ]
    # What exists now lives as long as the process; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        # A demo ends with its terminal; whoever serves a directory stays, and is asked by SIGHUP.
        with reload_signals(slot.directory is not None and not slot.shared) as asked:
            told = _go_over(now, stop) if slot.channel is not None else _reload_when_asked(now, asked)
            tasks.append(asyncio.create_task(told))
            serving.write_report(now)
            await started(port)
            await stop.wait()
            now.listener.close()
            await now.plain.stop()
        log.info("stopping")
        if not slot.shared:
            notify("STOPPING=1")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await now.plain.stop()
        await now.listener.stop()
        if now.deployment.ra.keys is not ra.keys:
            await now.deployment.ra.keys.close()
    if now.unfit:
        raise RuntimeError("this worker cannot serve what is in force")


async def _finish(ra: RegistrationAuthority) -> None:
    """Ends what was begun before the last stop. Where nothing can be written now all else is served, and the
    schedule ends it."""
    try:
        finished = 0 if await timekeeping.doubt(ra) else await issuance.recover(ra)
    except Exception as error:
        if not is_out_of_order(error):
            raise
        log.error("what was begun before the last stop waits: %s", in_log(error))
        return
    if finished:
        log.info("finished %d certificates that were begun before the last stop", finished)


def start_log(level: str) -> None:
    """Log lines to standard error: time, level, part, words."""
    handler = logging.StreamHandler()
    handler.setFormatter(TracesOnly("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _log_to(journal: Journal, level: str) -> None:
    logging.basicConfig(level=level.upper(), handlers=[JournalHandler(journal)], force=True)


def _log_directly(data: Path, settings: Log) -> None:
    """For the supervisor, which has few words and must not have a thread: it forks."""
    handler = DirectHandler(data / settings.file if settings.file else None)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)


def _journal(data: Path, settings: Log, slot: Slot) -> Journal:
    return Journal(data / settings.file if settings.file else None, slot.number if slot.shared else None)


async def _open(now: Serving, socks: Sequence[socket.socket]) -> int:
    listen = now.deployment.config.listen
    return await now.listener.start(socks=socks or listening(listen.host, listen.port, _BACKLOG))


def _plain(config: Config) -> list[socket.socket]:
    """Sockets for what anybody reads by plain HTTP, if that is wanted."""
    port = config.revocation.port
    return listening(config.listen.host, port, _BACKLOG, "revocation") if port else []


async def _say_ready(port: int) -> None:
    log.info("ready on port %d", port)


async def _say_ready_to_systemd(port: int) -> None:
    await _say_ready(port)
    notify("READY=1", f"STATUS=ready on port {port}")


def _say_reloading() -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")


def _last_change(db: Transaction) -> int:
    return max([ca.store.last_change(db), *(row.change_number for row in rows(db).values())])


# -- tasks ---------------------------------------------------------------------------------------------


async def _lead(now: Serving) -> None:
    """Looks after time, mail and the internal port, in one process only: the one that has the lock.

    When it dies the kernel lets go of the lock, and another process takes it within a second.
    """
    directory = now.slot.directory
    lock = await _lead_of(directory) if directory is not None else None
    now.leads = True
    publisher, refresher = lists.Publisher(), lists.Refresher()
    trouble, keeper = list[str](), record.Keeper()
    tasks = [
        asyncio.create_task(_repeat("schedule", _TICK, lambda: scheduler.tick(now.deployment.ra))),
        asyncio.create_task(_repeat("generations", _GENERATIONS, lambda: generations.end(now))),
        asyncio.create_task(_repeat("delivery", _DELIVERY, lambda: _deliver(now))),
        asyncio.create_task(_repeat("revocation lists", _LISTS, lambda: _publish(now, publisher))),
        asyncio.create_task(_repeat("answers", _ANSWERS, lambda: _answer_ahead(now, refresher))),
        asyncio.create_task(_tell_inside(now)),
        asyncio.create_task(_tell_of_ends(now)),
        asyncio.create_task(_repeat("checkpoint", _CHECKPOINT, lambda: _keep(now, keeper))),
        asyncio.create_task(_repeat("journal copy", _COPY, lambda: _copy_journal(now, trouble))),
        asyncio.create_task(_repeat("backups", _BACKUPS, lambda: _tell_of_backups(now))),
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if lock is not None:
            lock.close()


async def _lead_of(directory: Path) -> rundir.Lock:
    """The lead, once nobody else has it."""
    while True:
        with suppress(OSError):  # no descriptor left: whoever looks for that says so
            lock = rundir.take_lead(directory)
            if lock is not None:
                return lock
        await asyncio.sleep(_REPORT)  # the kernel wakes nobody when a lock is let go


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
    made = await keeper.look(now.deployment)
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


async def _deliver(now: Serving) -> None:
    # A reload in the middle of a long queue counts from the next hundred letters on.
    while await deliver_due(now.deployment.ra, now.deployment.transport):
        continue


async def _publish(now: Serving, publisher: lists.Publisher) -> None:
    await publisher.look(now.deployment.ra)


async def _answer_ahead(now: Serving, refresher: lists.Refresher) -> None:
    await refresher.look(now.deployment.ra, now.answers)


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
            await scheduler.tick(now.deployment.ra)

    await _repeat("clock", _CLOCK, look)


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


async def _reload_when_asked(now: Serving, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        _say_reloading()
        await serving.reload(now)
        notify("READY=1")


async def _go_over(now: Serving, stop: asyncio.Event) -> None:
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
