"""What one serving process is serving now, and how it goes over to something else without a pause."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from ca.errors import ConfigError
from ca.files import Snapshot
from ca.storage import StorageTrouble
from ca.timekeeping import Doubt
from enroll import generations, timekeeping
from enroll.acme.nonces import SpentTable, memory_table, open_table
from enroll.answers import Answers
from enroll.refusals import CONFIRM
from gateway.edge.facts import Limits
from gateway.edge.headcount import Headcount
from gateway.edge.listener import Listener, Network
from gateway.proxy.relay import Relay
from gateway.running import rundir
from gateway.running.internal import Readiness
from gateway.running.journal import Journal
from gateway.running.meter import Meter
from gateway.running.metrics import Sample
from gateway.running.pulse import Pulse
from gateway.serving import descriptors, inforce
from gateway.serving.assembly import Builders, gate_of, sites_of
from gateway.serving.config import Config, rows_of
from gateway.serving.configured import opened_once
from gateway.serving.deployment import Deployment, reopened
from gateway.serving.figures import (
    Figures,
    backup_samples,
    backup_warnings,
    late_letters,
    late_lists,
    resident_bytes,
    signer_samples,
    signer_warnings,
    warnings_of,
    wrong_with,
)
from gateway.serving.inforce import Look
from gateway.serving.rates import Ledger
from gateway.serving.statuses import Statuses
from gateway.sites.revocation import Publications
from gateway.wire.handlers import Handlers
from gateway.wire.plain import PlainServer, refusal
from gateway.wire.sites import WebSite

log = logging.getLogger("sekisho.serving")

# What a process does not do while it doubts its clock.
_HOLDS = "nothing is closed, wiped, sent by date or issued meanwhile"

# Seconds without a word of a worker until it is named as what is wrong: ten of its reports. The supervisor
# waits longer before it kills.
_SILENT = 10.0


@dataclass(frozen=True)
class Slot:
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
    #: The last look at the directory before this process began; None: it looks for itself.
    look: Look | None = None
    #: Where it is told of every later one.
    channel: socket.socket | None = None

    @property
    def shared(self) -> bool:
        """Whether there are other workers."""
        return self.workers > 1


@dataclass
class Serving:
    """Made by ``begin``. ``deployment`` is replaced by ``reload``; whoever keeps it keeps an old one."""

    deployment: Deployment
    listener: Listener
    slot: Slot
    meter: Meter
    table: SpentTable
    ledger: Ledger
    extra: Builders | None
    #: The last look at the directory, be it that what was found was refused.
    look: Look
    #: The settings that no reload takes over: `sekisho doctor` compares the file with them.
    at_start: Mapping[str, str]
    leads: bool = False
    #: In which term it leads, where nodes share a database.
    term: int | None = None
    #: What is in force could not be gone over to: this process is to end.
    unfit: bool = False
    #: How reloads ended: done, refused for the operator to mend, failed by a fault of ours.
    reloads: Counter[str] = field(default_factory=lambda: Counter(done=0, refused=0, failed=0))
    #: Set when this process begins to end.
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    #: Why the last report could not be written.
    unreported: str | None = None
    #: Why this process does not believe its clock; None: it does.
    doubt: Doubt | None = None
    figures: Figures = field(default_factory=Figures)
    #: Sites are exchanged by one at a time.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: What anybody reads by plain HTTP.
    plain: PlainServer = field(default_factory=lambda: PlainServer(lambda _: refusal(404)))
    answers: Answers = field(default_factory=Answers)


def begin(deployment: Deployment, slot: Slot, extra: Builders | None) -> Serving:
    """Everything but the open port. ConfigError for what the operator has to mend."""
    if slot.shared and slot.directory is not None:
        table = open_table(rundir.nonce_file(slot.directory))
    else:
        table = memory_table()
    ledger = slot.ledger or Ledger()
    meter = Meter(slot.journal, access=deployment.config.log.access)
    answers = Answers()
    sites = _sites(deployment, slot, extra, table, ledger, answers)
    look = slot.look or inforce.first(deployment, slot.directory)
    if look.files is not None:
        deployment = replace(deployment, files=look.files)
    statuses = Statuses(deployment.ra.database)
    listener = Listener(
        sites,
        wire=Handlers(),
        clock=deployment.ra.clock,
        status=statuses,
        ask=statuses.ready if deployment.ra.database.shared else None,
        limits=_limits(deployment, slot),
        public_ports=(deployment.config.public_port,),
        proxies=proxies_of(deployment.config),
        observer=meter,
        headcount=slot.headcount,
    )
    plain = PlainServer(Publications(deployment.ra, answers).answer)
    return Serving(
        *(deployment, listener, slot, meter, table, ledger, extra, look),
        at_start=opened_once(rows_of(deployment.config)),
        plain=plain,
        answers=answers,
    )


async def reload(serving: Serving) -> None:
    """Looks at the directory and goes over to what it says now; log and report tell what came of it."""
    async with serving.turn:
        look = await asyncio.to_thread(
            inforce.again, serving.deployment, serving.slot.directory, serving.extra
        )
    await go_over(serving, look)


async def renew(serving: Serving) -> None:
    """Makes what is due of our own certificate and keys, and goes over to it. Settings stay."""
    async with serving.turn:
        look = await asyncio.to_thread(inforce.renewed, serving.deployment, serving.slot.directory)
    await go_over(serving, look)


async def go_over(serving: Serving, look: Look) -> None:
    """Goes over to what came of a look at the directory, and tells it to the log and to ``sekisho reload``.

    If that fails, which is a fault of ours, nothing has changed and it is raised.
    """
    # Whatever else is wrong: the old file has been moved away, and may be gone soon.
    if look.was_asked_for and serving.slot.journal is not None:
        _reopen(serving.slot.journal)
    if look.files is not None:
        async with serving.turn:
            await _serve_by(serving, look.files)
    before, serving.look = serving.look, look
    if look.was_asked_for:
        serving.reloads[look.outcome] += 1
    else:
        serving.look = replace(before, fresh=look.fresh if look.files is not None else before.fresh)
    _TOLD[look.outcome](look.error)
    write_report(serving)


async def _serve_by(serving: Serving, files: Snapshot) -> None:
    deployment = reopened(serving.deployment, files)
    await generations.ready(deployment.ra)
    sites = _sites(deployment, serving.slot, serving.extra, serving.table, serving.ledger, serving.answers)
    limits = _limits(deployment, serving.slot)
    await serving.listener.swap(sites, limits=limits, proxies=proxies_of(deployment.config))
    old, serving.deployment = serving.deployment, deployment
    serving.plain.answering = Publications(deployment.ra, serving.answers).answer
    serving.meter.access = deployment.config.log.access
    logging.getLogger().setLevel(deployment.config.log.level.upper())
    if deployment.ra.keys is not old.ra.keys:
        await old.ra.keys.close()
        deployment.ra.keys.refill()


def _reopen(journal: Journal) -> None:
    try:
        journal.reopen()
    except ConfigError as error:
        log.error("%s; the old one is gone on with", error)


_TOLD: Mapping[str, Callable[[str | None], None]] = {
    "done": lambda _: log.info("reloaded"),
    "refused": partial(log.error, "reload refused, nothing has changed: %s"),
    "failed": partial(log.error, "nothing has changed: %s"),
    "overdue": partial(log.error, "%s"),
    "renewed": lambda _: log.info("our own certificate and keys are renewed where they were due"),
}


async def look_at_clock(serving: Serving) -> None:
    """Judges the clock of this process. The log has a line when that changes, not at every look."""
    before = serving.doubt
    serving.doubt = doubt = await timekeeping.doubt(serving.deployment.ra)
    if doubt is not None and (before is None or before.kind != doubt.kind):
        log.error("%s: %s; %s", doubt, _HOLDS, CONFIRM)
    if doubt is None and before is not None:
        log.warning("the clock is believed again, and what waited for it is done")


def write_report(serving: Serving, *, ready: bool = True) -> None:
    """How this process is, for the others and for ``sekisho reload``.

    A full disk, or no descriptor left, keeps nobody from serving: it is told once, and tried again.
    """
    if serving.slot.directory is not None:
        state: dict[str, Any] = {"ready": ready, "workers": serving.slot.workers}
        state |= {"read_at": serving.look.read_at, "error": serving.look.error}
        state["doubt"] = str(serving.doubt) if serving.doubt is not None else None
        state["drain"] = serving.listener.limits.drain
        state["at_start"] = serving.at_start
        state["samples"] = [list(sample) for sample in own_samples(serving)] if serving.slot.shared else []
        try:
            rundir.report(serving.slot.directory, serving.slot.number, state)
            serving.unreported = None
        except OSError as error:
            before, serving.unreported = serving.unreported, error.strerror
            if before != error.strerror:
                log.error("the report in run/ cannot be written (%s)", error.strerror)


def own_samples(serving: Serving) -> list[Sample]:
    """This process's figures, with its number on each where there are several."""
    more: list[Sample] = [
        ("sekisho_keys_ready", {}, serving.deployment.ra.keys.level),
        ("sekisho_leader", {}, int(serving.leads)),
        ("sekisho_lead_term", {}, serving.term or 0),
        ("sekisho_clock_in_doubt", {}, int(serving.doubt is not None)),
        ("sekisho_clock_off_seconds", {}, serving.doubt.off if serving.doubt is not None else 0),
        ("sekisho_resident_bytes", {}, resident_bytes()),
    ]
    more += [("sekisho_reloads_total", {"outcome": each}, n) for each, n in serving.reloads.items()]
    more += [
        ("sekisho_revocation_requests_total", {"kind": kind, "status": str(status)}, n)
        for (kind, status), n in sorted(serving.plain.told.items())
    ]
    made = {"ahead": serving.answers.made_ahead, "asked": serving.answers.made_when_asked}
    more += [("sekisho_ocsp_signed_total", {"why": why}, n) for why, n in made.items()]
    for site in serving.listener.entry.table.sites:
        if isinstance(site, WebSite) and isinstance(site.relay, Relay):
            up = site.relay.pool.well_by_address().items()
            more += [("sekisho_upstream_up", {"address": address}, int(well)) for address, well in up]
    worker = {"worker": str(serving.slot.number)}
    found = [*serving.meter.samples(serving.listener), *more]
    return [(name, {**labels, **worker}, value) for name, labels, value in found]


async def every_sample(serving: Serving) -> list[Sample]:
    """The figures of every worker and of the deployment."""
    samples = own_samples(serving)
    await generations.ready(serving.deployment.ra)
    pulse, workers = serving.slot.pulse, range(serving.slot.workers)
    failing = pulse.failing() if pulse is not None else {}
    for number in workers:
        samples.append(("sekisho_worker_failing", {"worker": str(number)}, int(number in failing)))
    if serving.slot.shared and serving.slot.directory is not None:
        for state in rundir.reports(serving.slot.directory):
            if state["worker"] != serving.slot.number:
                samples += [(name, labels, value) for name, labels, value in state["samples"]]
    samples += await asyncio.to_thread(signer_samples, serving.deployment)
    samples += backup_samples(serving.deployment)
    try:
        found = await serving.figures.samples(serving.deployment, ends(serving))
    except StorageTrouble:
        return [*samples, ("sekisho_database_up", {}, 0)]
    return [*samples, ("sekisho_database_up", {}, 1), *found]


async def readiness(serving: Serving) -> Readiness:
    """What keeps us from serving, and what an operator has to see to before it does."""
    await generations.ready(serving.deployment.ra)
    served = ends(serving)
    wrong = _others(serving.slot) + await wrong_with(serving.deployment, serving.listener.accepting, served)
    try:
        late = (
            *warnings_of(serving.deployment, served),
            *await late_lists(serving.deployment),
            *await late_letters(serving.deployment),
        )
    except StorageTrouble:
        late = ()  # what is wrong says why
    signer = await asyncio.to_thread(signer_warnings, serving.deployment)
    told = (
        *_doubts(serving),
        *late,
        *signer,
        *backup_warnings(serving.deployment),
    )
    return Readiness(tuple(wrong), told)


def proxies_of(config: Config) -> tuple[Network, ...]:
    """The load balancers of the configuration."""
    return tuple(ip_network(each) for each in config.listen.proxy_protocol)


def _sites(
    deployment: Deployment,
    slot: Slot,
    extra: Builders | None,
    table: SpentTable,
    ledger: Ledger,
    answers: Answers,
) -> list[WebSite]:
    # Certificates and keys that are missing are made here, by one process at a time: of a snapshot none are.
    with rundir.turn(None if deployment.files.frozen else slot.directory):
        refused = partial(inforce.refused, directory=slot.directory, extra=extra)
        return sites_of(deployment, gate_of(deployment, answers, refused), extra, table, ledger)


def _limits(deployment: Deployment, slot: Slot) -> Limits:
    room = descriptors.room()
    short = descriptors.shortage(deployment.config, room)
    if short is not None and slot.number == 0:  # all workers have the same
        log.warning("file descriptors: %s; %s", *short)
    return descriptors.within(deployment.config, room)


def ends(serving: Serving) -> dict[str, int]:
    """When the certificates end that visitors see, by each site's first host."""
    return {
        f"server:{site.hosts[0]}": int(site.certificate.chain[0].not_valid_after_utc.timestamp())
        for site in serving.listener.entry.table.sites
    }


def _others(slot: Slot) -> list[str]:
    """What is wrong with the workers, this one included: those of which nothing comes, or nothing becomes."""
    if slot.pulse is None:
        return []
    silent, failing = slot.pulse.silent(time.monotonic(), _SILENT), slot.pulse.failing()
    return [
        *(f"nothing of worker {number} for {seconds:.0f} s" for number, seconds in silent.items()),
        *(f"worker {number} cannot be started: it ended {n} times at once" for number, n in failing.items()),
    ]


def _doubts(serving: Serving) -> list[str]:
    """Who does not believe the clock: each worker has its own, and speaks for itself."""
    found = {serving.slot.number: str(serving.doubt) if serving.doubt is not None else None}
    if serving.slot.shared and serving.slot.directory is not None:
        reports = {each["worker"]: each["doubt"] for each in rundir.reports(serving.slot.directory)}
        found = reports | found
    named = serving.slot.shared
    return [
        f"{f'worker {number}: ' if named else ''}{doubt}: {_HOLDS}; {CONFIRM}"
        for number, doubt in sorted(found.items())
        if doubt
    ]
