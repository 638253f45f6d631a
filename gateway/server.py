"""Runs the gateway: the listener with its sites, and the tasks that time, mail and revocation need."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvloop
from aiohttp import web

import ca.store
from ca.errors import ConfigError
from ca.revocation import RevocationStatus
from enroll import issuance, scheduler
from enroll.delivery import deliver_due
from gateway.assembly import gate_of, sites_of
from gateway.context import Gate, Role
from gateway.house import House, open_house
from gateway.listener import Listener

log = logging.getLogger("sekisho.server")

#: Seconds between two looks at what is due. A mail leaves within a second of its cause; a revocation
#: reaches open connections within half of one; D-30 and D-7 follow midnight in Japan by half a minute.
_TICK, _DELIVERY, _REVOCATION = 30.0, 1.0, 0.5
# Keys lying ready for a burst of pick-ups.
_SPARE_KEYS = 8

Started = Callable[[int], Awaitable[None]]
Builders = Mapping[Role, Callable[[Gate], web.Application]]


def serve(data: Path, passphrase: str) -> None:
    """Serves a data directory until SIGTERM or SIGINT. ConfigError for what the operator has to mend."""
    uvloop.run(_serve(data, passphrase))


async def _serve(data: Path, passphrase: str) -> None:
    house = open_house(data, passphrase, spare_keys=_SPARE_KEYS)
    try:
        start_log(house.config.log.level)
        with stop_signals() as stop:
            await run(house, stop, _say_ready)
    finally:
        await house.close()


async def run(
    house: House,
    stop: asyncio.Event,
    started: Started,
    *,
    sock: socket.socket | None = None,
    extra: Builders | None = None,
) -> None:
    """Serves an opened house until ``stop``; ``started`` is told the port once every site answers.

    ``sock`` is a bound socket to listen on instead of the configured address.
    """
    office, listen = house.office, house.config.listen
    finished = await issuance.recover(office)
    if finished:
        log.info("finished %d certificates that were begun before the last stop", finished)
    seen = ca.store.last_revocation(office.database.read())
    listener = Listener(
        sites_of(house, gate_of(house), extra),
        clock=office.clock,
        status=_status(house),
        limits=house.config.limits,
        public_ports=(house.config.public_port,),
    )
    try:
        port = await listener.start(listen.host, listen.port, sock=sock)
    except OSError as error:
        raise ConfigError(
            f"listen.port: {listen.host} port {listen.port} cannot be used ({error.strerror}); "
            "stop what uses it, or write another port"
        ) from None
    office.keys.refill()
    tasks = [
        asyncio.create_task(_repeat("schedule", _TICK, lambda: scheduler.tick(office))),
        asyncio.create_task(_repeat("delivery", _DELIVERY, lambda: _deliver(house))),
        asyncio.create_task(_push_revocations(house, listener, seen)),
    ]
    # What exists now lives as long as the process; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        await started(port)
        await stop.wait()
        log.info("stopping")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.stop()


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, for the length of a block inside an event loop."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    wanted = (signal.SIGTERM, signal.SIGINT)
    for number in wanted:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)


def start_log(level: str) -> None:
    """Log lines to standard error: time, level, part, words."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s %(message)s", force=True
    )


async def _say_ready(port: int) -> None:
    log.info("ready on port %d", port)


def _status(house: House) -> Callable[[str], RevocationStatus]:
    database = house.office.database
    return lambda fingerprint: ca.store.certificate_status(database.read(), fingerprint)


async def _deliver(house: House) -> None:
    while await deliver_due(house.office, house.transport):
        continue


async def _push_revocations(house: House, listener: Listener, seen: int) -> None:
    """Ends open connections of certificates revoked since, by this process or another one."""
    newest = seen

    async def look() -> None:
        nonlocal newest
        for revoked in ca.store.revoked_since(house.office.database.read(), newest):
            listener.revoke(revoked.fingerprint)
            newest = revoked.number

    await _repeat("revocation", _REVOCATION, look)


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
