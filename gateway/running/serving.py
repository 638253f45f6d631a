"""What one serving process is serving now, and how it goes over to something else without a pause."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiohttp import web

import ca.store
from ca.errors import ConfigError
from ca.revocation import RevocationStatus
from ca.timekeeping import Doubt
from enroll import timekeeping
from enroll.acme.nonces import SpentTable, memory_table, open_table
from gateway.assembly import gate_of, sites_of
from gateway.config import Config
from gateway.connection import Limits
from gateway.context import Gate, Role
from gateway.headcount import Headcount
from gateway.house import House, reopened
from gateway.listener import Listener, Network
from gateway.proxy.mount import assertion_keys
from gateway.rates import Ledger
from gateway.running import descriptors, places
from gateway.running.figures import Figures, late_lists, resident_bytes, warnings_of, wrong_with
from gateway.running.internal import Readiness
from gateway.running.journal import Journal
from gateway.running.meter import Meter
from gateway.running.metrics import Sample
from gateway.running.pulse import Pulse
from gateway.tls import Site

log = logging.getLogger("sekisho.serving")

Builders = Mapping[Role, Callable[[Gate], web.Application]]

#: Settings that belong to what is opened once.
_AT_START = (
    "listen.host",
    "listen.port",
    "listen.public_port",
    "internal.host",
    "internal.port",
    "log.file",
    "database.cache",
)


# What a process does not do while it doubts its clock.
_HOLDS = "nothing is closed, wiped, sent by date or issued meanwhile"

# Seconds without a word of a worker until it is named as what is wrong: ten of its reports. The supervisor
# waits longer before it kills.
_SILENT = 10.0


@dataclass(frozen=True)
class Post:
    """A process's place among those that serve a data directory."""

    #: ``run/`` of the data directory; None: nobody else is there, and nobody asks (a demo).
    directory: Path | None = None
    number: int = 0
    #: How many workers there are, this one included.
    workers: int = 1
    journal: Journal | None = None
    #: How often somebody asked; None: a ledger of one's own.
    ledger: Ledger | None = None
    #: How many connections somebody has; None: only those here count.
    headcount: Headcount | None = None
    #: Where workers say that they are not stuck; None: nobody listens.
    pulse: Pulse | None = None

    @property
    def shared(self) -> bool:
        """Whether there are other workers."""
        return self.workers > 1


@dataclass
class Serving:
    """Made by ``begin``. ``house`` is replaced by ``reload``; whoever keeps it keeps an old one."""

    house: House
    listener: Listener
    post: Post
    meter: Meter
    table: SpentTable
    ledger: Ledger
    extra: Builders | None
    #: The keys of the sites' assertions, by their names.
    keys: tuple[str, ...]
    #: When it last began to look at the directory, be it that what it found was refused. Monotonic seconds.
    read_at: float
    leads: bool = False
    #: How reloads ended: done, refused for the operator to mend, failed by a fault of ours.
    reloads: Counter[str] = field(default_factory=lambda: Counter(done=0, refused=0, failed=0))
    error: str | None = None
    #: Why the last report could not be written.
    unreported: str | None = None
    #: Why this process does not believe its clock; None: it does.
    doubt: Doubt | None = None
    figures: Figures = field(default_factory=Figures)
    #: Sites are exchanged by one at a time.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


def begin(house: House, post: Post, extra: Builders | None) -> Serving:
    """Everything but the open port. ConfigError for what the operator has to mend."""
    if post.shared and post.directory is not None:
        table = open_table(places.nonce_file(post.directory))
    else:
        table = memory_table()
    ledger = post.ledger or Ledger()
    meter = Meter(post.journal, access=house.config.log.access)
    keys = _keys_of(house)
    listener = Listener(
        _sites(house, post, extra, table, ledger),
        clock=house.office.clock,
        status=lambda fingerprint: _status(house, fingerprint),
        limits=_limits(house, post),
        public_ports=(house.config.public_port,),
        proxies=proxies_of(house.config),
        observer=meter,
        headcount=post.headcount,
    )
    return Serving(house, listener, post, meter, table, ledger, extra, keys, house.read_at)


async def reload(serving: Serving) -> None:
    """Goes over to what the data directory says now. ConfigError, and nothing has changed."""
    # Whatever else is wrong: the old file has been moved away, and may be gone soon.
    if serving.post.journal is not None:
        serving.post.journal.reopen()
    async with serving.turn:
        house, keys = reopened(serving.house), _keys_of(serving.house)
        _check_unchanged(serving.house.config, house.config)
        sites = _sites(house, serving.post, serving.extra, serving.table, serving.ledger)
        limits = _limits(house, serving.post)
        await serving.listener.swap(sites, limits=limits, proxies=proxies_of(house.config))
        old, serving.house, serving.keys = serving.house, house, keys
    serving.meter.access = house.config.log.access
    logging.getLogger().setLevel(house.config.log.level.upper())
    if house.office.keys is not old.office.keys:
        await old.office.keys.close()
        house.office.keys.refill()


async def follow_keys(serving: Serving) -> None:
    """Goes over to the assertion keys of the data directory, which rotate while a server runs for months.

    What one worker signs has to be in the set that any other one publishes, also when that one is younger,
    or a command has rotated them meanwhile. Settings stay.
    """
    async with serving.turn:
        keys = _keys_of(serving.house)
        if keys != serving.keys:
            await serving.listener.swap(
                _sites(serving.house, serving.post, serving.extra, serving.table, serving.ledger)
            )
            serving.keys = keys
            log.info("assertions have other keys")


async def reload_and_tell(serving: Serving) -> None:
    """``reload`` with its outcome in the log, and in the report that ``sekisho reload`` reads."""
    begun = time.monotonic()
    try:
        await reload(serving)
        outcome, serving.error = "done", None
        log.info("reloaded")
    except ConfigError as error:
        outcome, serving.error = "refused", str(error)
        log.error("reload refused, nothing has changed: %s", error)
    except Exception as error:
        outcome, serving.error = "failed", f"{type(error).__name__}: see the log"
        log.exception("reload failed, nothing has changed")
    serving.reloads[outcome] += 1
    serving.read_at = begun
    write_report(serving)


def look_at_clock(serving: Serving) -> None:
    """Judges the clock of this process. The log has a line when that changes, not at every look."""
    before = serving.doubt
    serving.doubt = doubt = timekeeping.doubt_now(serving.house.office)
    if doubt is not None and (before is None or before.kind != doubt.kind):
        log.error("%s: %s; %s", doubt, _HOLDS, timekeeping.CONFIRM)
    if doubt is None and before is not None:
        log.warning("the clock is believed again, and what waited for it is done")


def write_report(serving: Serving, *, ready: bool = True) -> None:
    """How this process is, for the others and for ``sekisho reload``.

    A full disk, or no descriptor left, keeps nobody from serving: it is told once, and tried again.
    """
    if serving.post.directory is not None:
        state: dict[str, Any] = {"ready": ready, "workers": serving.post.workers}
        state |= {"read_at": serving.read_at, "error": serving.error}
        state["doubt"] = str(serving.doubt) if serving.doubt is not None else None
        state["drain"] = serving.listener.limits.drain
        state["samples"] = [list(sample) for sample in own_samples(serving)] if serving.post.shared else []
        try:
            places.report(serving.post.directory, serving.post.number, state)
            serving.unreported = None
        except OSError as error:
            before, serving.unreported = serving.unreported, error.strerror
            if before != error.strerror:
                log.error("the report in run/ cannot be written (%s)", error.strerror)


def own_samples(serving: Serving) -> list[Sample]:
    """This process's figures, with its number on each where there are several."""
    more: list[Sample] = [
        ("sekisho_keys_ready", {}, serving.house.office.keys.level),
        ("sekisho_leader", {}, int(serving.leads)),
        ("sekisho_clock_in_doubt", {}, int(serving.doubt is not None)),
        ("sekisho_clock_off_seconds", {}, serving.doubt.off if serving.doubt is not None else 0),
        ("sekisho_resident_bytes", {}, resident_bytes()),
    ]
    more += [("sekisho_reloads_total", {"outcome": each}, n) for each, n in serving.reloads.items()]
    for site in serving.listener.entry.table.sites:
        if site.relay is not None:
            up = site.relay.pool.standings().items()
            more += [("sekisho_upstream_up", {"address": address}, int(well)) for address, well in up]
    worker = {"worker": str(serving.post.number)}
    found = [*serving.meter.samples(serving.listener), *more]
    return [(name, {**labels, **worker}, value) for name, labels, value in found]


async def every_sample(serving: Serving) -> list[Sample]:
    """The figures of every worker and of the house."""
    samples = own_samples(serving)
    if serving.post.shared and serving.post.directory is not None:
        for state in places.reports(serving.post.directory):
            if state["worker"] != serving.post.number:
                samples += [(name, labels, value) for name, labels, value in state["samples"]]
    return samples + await serving.figures.samples(serving.house, _ends(serving))


async def readiness(serving: Serving) -> Readiness:
    """What keeps us from serving, and what an operator has to see to before it does."""
    served = _ends(serving)
    wrong = _silent(serving.post) + await wrong_with(serving.house, serving.listener.accepting, served)
    told = (*_doubts(serving), *warnings_of(serving.house, served), *late_lists(serving.house))
    return Readiness(tuple(wrong), told)


def proxies_of(config: Config) -> tuple[Network, ...]:
    """The load balancers of the configuration."""
    return tuple(ip_network(each) for each in config.listen.proxy_protocol)


def _sites(house: House, post: Post, extra: Builders | None, table: SpentTable, ledger: Ledger) -> list[Site]:
    # Certificates and keys that are missing are made here, by one process for all.
    with places.turn(post.directory):
        return sites_of(house, gate_of(house), extra, table, ledger)


def _keys_of(house: House) -> tuple[str, ...]:
    return tuple(each.kid for each in assertion_keys(house).keys)


def _limits(house: House, post: Post) -> Limits:
    room = descriptors.room()
    short = descriptors.shortage(house.config, room)
    if short is not None and post.number == 0:  # all workers have the same
        log.warning("file descriptors: %s; %s", *short)
    return descriptors.within(house.config, room)


def _ends(serving: Serving) -> dict[str, int]:
    """When the certificates end that visitors see, by each site's first host."""
    return {
        f"server:{site.hosts[0]}": int(site.certificate.chain[0].not_valid_after_utc.timestamp())
        for site in serving.listener.entry.table.sites
    }


def _silent(post: Post) -> list[str]:
    found = post.pulse.silent(time.monotonic(), _SILENT) if post.pulse is not None else {}
    return [f"nothing of worker {number} for {seconds:.0f} s" for number, seconds in found.items()]


def _doubts(serving: Serving) -> list[str]:
    """Who does not believe the clock: each worker has its own, and speaks for itself."""
    found = {serving.post.number: str(serving.doubt) if serving.doubt is not None else None}
    if serving.post.shared and serving.post.directory is not None:
        reports = {each["worker"]: each["doubt"] for each in places.reports(serving.post.directory)}
        found = reports | found
    named = serving.post.shared
    return [
        f"{f'worker {number}: ' if named else ''}{doubt}: {_HOLDS}; {timekeeping.CONFIRM}"
        for number, doubt in sorted(found.items())
        if doubt
    ]


def _status(house: House, fingerprint: str) -> RevocationStatus:
    return ca.store.certificate_status(house.office.database.read(), fingerprint)


def _check_unchanged(old: Config, new: Config) -> None:
    for name in _AT_START:
        section, setting = name.split(".")
        before, after = (getattr(getattr(each, section), setting) for each in (old, new))
        if before != after:
            raise ConfigError(
                f"{name}: {before!r} became {after!r}, which takes a restart; write the old value, or "
                "stop sekisho serve and start it again"
            )
