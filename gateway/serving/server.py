"""Runs the gateway: from a data directory to a listener with its sites, in one process or in several."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from ca import datadir
from ca.files import Snapshot
from ca.sealing import Vault
from ca.signing import Signer
from ca.storage import in_log, is_out_of_order
from enroll import generations, timekeeping
from enroll.acme.nonces import create_table
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from gateway.edge.headcount import headcounts
from gateway.running import lists, rundir
from gateway.running.control import Caller, Members, taking_commands
from gateway.running.journal import DirectHandler, Journal, JournalHandler, TracesOnly
from gateway.running.notify import notify
from gateway.running.ports import listening
from gateway.running.pulse import Pulse
from gateway.running.stopping import ends_with, reload_signals, stop_signals
from gateway.running.supervisor import supervise
from gateway.serving import current as serving
from gateway.serving import descriptors, inforce, profiling, tasks
from gateway.serving.assembly import Builders
from gateway.serving.config import Config, read_config
from gateway.serving.current import Serving, Slot
from gateway.serving.deployment import Deployment, deployment_of
from gateway.serving.inforce import Look
from gateway.serving.overseer import Overseer
from gateway.serving.rates import Ledger
from gateway.serving.settings.running import Log
from gateway.serving.signing.starting import Keep, signer_for

__all__ = ["run", "serve", "start_log", "stop_signals"]

log = logging.getLogger("sekisho.server")

# Seconds between two looks whether the signer that was started here is still there.
_SIGNER = 1.0
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
        signing = signer_for(data, config, passphrase_file, variable)
        signer, vault, keep = stack.enter_context(signing)
        if command is not None:
            # Before there are threads, ports and a log of our own: it forks.
            stack.enter_context(_taking_commands(data, vault, signer, config, command))
        if workers == 1:
            uvloop.run(_serve_alone(data, vault, signer, keep, files, Slot(directory)))
        else:
            socks, plain = listening(config.listen.host, config.listen.port, _BACKLOG), _plain(config)
            for sock in (*socks, *plain):
                stack.enter_context(sock)
            _log_directly(data, config.log)
            # Whatever is wrong is found here, once, and what is missing is made.
            look = uvloop.run(_rehearse(data, vault, signer, files))
            _serve_together(data, vault, signer, keep, look, config, socks, plain, workers)


def _taking_commands(
    data: Path, vault: Vault, signer: Signer, config: Config, command: Command
) -> AbstractContextManager[None]:
    def opened() -> Deployment:
        return deployment_of(data, vault, Snapshot(), signer=signer, most_cache=_COMMANDS_CACHE)

    directory, who = rundir.run_directory(data), config.operators
    members = Members(who.group, Path(who.socket)) if who.group else None
    return taking_commands(
        directory, lambda caller: command(caller, opened), lambda: _log_directly(data, config.log), members
    )


async def _serve_alone(
    data: Path, vault: Vault, signer: Signer, keep: Keep, files: Snapshot, slot: Slot
) -> None:
    deployment = deployment_of(data, vault, files, signer=signer, spare_keys=_SPARE_KEYS)
    keeping = asyncio.create_task(_keep_signer(keep))
    try:
        await _serve(deployment, slot, (), None)
    finally:
        keeping.cancel()


async def _keep_signer(keep: Keep) -> None:
    while True:
        await asyncio.sleep(_SIGNER)
        keep()


def _serve_together(
    data: Path,
    vault: Vault,
    signer: Signer,
    keep: Keep,
    look: Look,
    config: Config,
    socks: list[socket.socket],
    plain: list[socket.socket],
    workers: int,
) -> None:
    directory = rundir.run_directory(data)
    create_table(rundir.nonce_file(directory))
    ledger, counts, pulse = Ledger(), headcounts(workers), Pulse(workers)
    overseer = Overseer(data, vault, signer, keep, look, counts, [*socks, *plain])

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
    seen = await ra.database.read(tasks.last_change)
    if not slot.shared:  # else it was done before there were workers
        await lists.begin(ra)
    await generations.ready(ra)
    now = serving.begin(deployment, slot, extra)
    port = await _open(now, socks)
    await now.plain.start(plain or _plain(deployment.config))
    ra.keys.refill()
    running, leading = tasks.begin(now, seen), asyncio.create_task(tasks.lead(now))
    # What exists now lives as long as the process; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        # A demo ends with its terminal; whoever serves a directory stays, and is asked by SIGHUP.
        with reload_signals(slot.directory is not None and not slot.shared) as asked:
            told = (
                tasks.go_over(now, stop) if slot.channel is not None else tasks.reload_when_asked(now, asked)
            )
            running.append(asyncio.create_task(told))
            serving.write_report(now)
            await started(port)
            await stop.wait()
            now.listener.close()
            await now.plain.stop()
        log.info("stopping")
        if not slot.shared:
            notify("STOPPING=1")
    finally:
        now.ending.set()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await now.plain.stop()
        await now.listener.stop()
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
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
