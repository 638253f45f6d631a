"""``sekisho demo``: makes the sandbox, or takes up an earlier one, serves it, and says what to try."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import socket
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from rich.console import Console

from ca import datadir
from ca.clock import OffsetClock, SystemClock
from ca.errors import ConfigError
from ca.files import make_private_directory, read_file, write_private
from ca.profiles import Audience
from ca.publication import Places, certificate_path, list_path
from ca.sealing import PassphraseCost
from gateway.demo import applying, hooks, importing, operators, passing, services, standin
from gateway.demo.mailbox import application as mailbox
from gateway.demo.operators import DemoOperator
from gateway.demo.people import LONGEST_PAST, DemoUser, populate
from gateway.demo.services import DemoService
from gateway.demo.upstream import application as example
from gateway.demo.words import banner, typed_for
from gateway.proxy.identity import jwks
from gateway.running import rundir
from gateway.serving import descriptors
from gateway.serving.assembly import Builders, directory_url, hosts_by_role
from gateway.serving.config import FILE_NAME, Config, origin, read_config, read_database, toml_of
from gateway.serving.deployment import CLOCK, DEMO_MARKER, Deployment, is_demo, open_deployment
from gateway.serving.rates import Rates
from gateway.serving.server import run, start_log, stop_signals
from gateway.serving.settings.behind import Behind
from gateway.serving.settings.reach import Listen, Revocation
from gateway.serving.settings.running import Log
from gateway.serving.settings.webhooks import Webhooks
from gateway.serving.upstream import assertion_keys
from gateway.web.context import Role

#: Loopback and nothing else: the demo's passwords are printed and its mails are public.
HOST = "127.0.0.1"
#: A demo's visitors, and whatever is tried on it, all come from one address.
_RATES = Rates(1_000.0, 1_000.0, 10_000.0, 10_000.0)
#: Where the passphrase of a demo is.
PASSPHRASE_FILE = "demo-passphrase"
#: Keys of people that lie ready.
SPARE_KEYS = 4
# The passphrase is 144 random bits in a file beside what it seals: nobody guesses it, however fast that is,
# and every command on a demo would take a fifth of a second longer.
_COST = PassphraseCost(iterations=1, lanes=1, memory_kib=64)
# Where a demo is while it is being made; no other program gives a directory this name.
_DRAFT = "sekisho-demo-unfinished"
# What the marker says of files: by their folder and their name.
_FILES = {"p12", "pem"}
#: To whoever would serve what somebody else has.
HELD = "stop that first, or name another directory with --data DIR"


@dataclass(frozen=True)
class Sandbox:
    """A demo that is ready to be served."""

    data: Path
    passphrase: str
    users: tuple[DemoUser, ...]
    #: Empty for a demo that was made before there were any: it has no console.
    operators: tuple[DemoOperator, ...]
    #: The same: it has no API.
    services: tuple[DemoService, ...]


def demo(data: Path | None, port: int, summary: Path | None, console: Console) -> dict[str, Any]:
    """Serves a demo until SIGTERM, SIGINT or the end of its terminal; returns its summary.

    ``data`` is made if it is not there; None is a temporary directory that goes at the end. A taken
    ``port`` is replaced by a free one. ``summary`` is written once everything answers.
    """
    check_summary(summary)
    descriptors.raise_limit()
    if data is not None:
        _check_alone(data)
    passing.clear(console.print)
    with directory_of(data) as directory, listening_on(port) as listening, listening_on(0) as plain:
        return uvloop.run(_demo(directory, listening, plain, port, summary, console, busy=data is None))


async def _demo(
    data: Path,
    listening: socket.socket,
    plain: socket.socket,
    wanted: int,
    summary: Path | None,
    console: Console,
    *,
    busy: bool,
) -> dict[str, Any]:
    port = listening.getsockname()[1]
    with stop_signals(demo=True) as stop, listening_on(0) as behind, _held(data):
        upstream = behind.getsockname()[1]
        sandbox = await unless(stop, sandbox_in(data, Ports(port, upstream), console.print))
        if sandbox is None:
            return {}
        deployment = open_deployment(data, sandbox.passphrase, spare_keys=SPARE_KEYS)
        start_log("warning")
        await hooks.follow(deployment)
        if busy and sandbox.operators:
            # Of a demo that goes when it ends: in one that is kept it would go on whenever that is served.
            await importing.begin(deployment)
        told = summary_of(deployment, sandbox, port, plain.getsockname()[1])

        async def started(_: int) -> None:
            write_summary(summary, told)
            banner(console, told, port_taken=wanted not in (0, port))

        service = await behind_login(deployment, port, behind)
        try:
            await run(
                deployment, stop, started, socks=(listening,), plain=(plain,), extra=sites_of(deployment)
            )
        finally:
            await service.cleanup()
            await deployment.close()
    return told


def sites_of(deployment: Deployment) -> Builders:
    """What a demo has that others have not: its mailbox, and a console with what stands in for passkeys."""
    clock = deployment.ra.clock
    assert isinstance(clock, OffsetClock)
    stand_in = operators.stand_in_of(deployment) if operators.has_stand_in(deployment) else None
    return {
        Role.MAILBOX: lambda gate: mailbox(gate, deployment, clock),
        Role.CONSOLE: lambda gate: standin.application(gate, stand_in),
    }


async def behind_login(deployment: Deployment, port: int, listening: socket.socket) -> web.AppRunner:
    """The example service that stands behind the demo's login."""
    sites = deployment.config.sites
    issuer, audience = origin(sites.help[0], port), origin(sites.service[0], port)
    service = example(jwks(assertion_keys(deployment)), issuer, audience, deployment.ra.now)
    runner = web.AppRunner(service, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner


@dataclass(frozen=True)
class Ports:
    """Where a demo is: its port, as people use it, and that of the service behind it; of a node also its
    database and what is its own."""

    public: int
    upstream: int
    database: str = ""
    own: int = 0
    plain: int = 0
    internal: int = 0
    balancer: str = ""
    nodes: int = 1


def demo_config(at: Ports, *, console: bool = True, api: bool = True) -> Config:
    """The configuration of a demo. ``localhost`` is there for clients that resolve no names below it.
    ``console``: where there are operators; ``api``: where there are services."""
    default = Config()
    protocol = replace(default.protocol, host="localhost")
    sites = replace(
        default.sites,
        pickup=("pickup.localhost", "localhost"),
        mailbox=("mailbox.localhost",),
        console=("console.localhost",) if console else (),
        api=("api.localhost",) if api else (),
    )
    return replace(
        default,
        listen=Listen(
            host=(HOST,),
            port=at.own or at.public,
            public_port=at.public if at.own else 0,
            proxy_protocol=(at.balancer,) if at.balancer else (),
        ),
        revocation=Revocation(port=at.plain),
        internal=replace(default.internal, port=at.internal),
        database=replace(default.database, url=at.database, nodes=at.nodes),
        sites=sites,
        protocol=protocol,
        rates=_RATES,
        # Its clock is moved by days, at whatever hour the visitor sits there.
        mail=replace(default.mail, notice_hours=""),
        # Its own mailbox takes them, on this machine.
        webhooks=Webhooks(
            hosts=(origin(sites.mailbox[0], at.public).removeprefix("https://"),),
            networks=("127.0.0.0/8", "::1/128"),
            ca="servers/ca.pem",
        ),
        upstream=Behind(addresses=(f"http://{HOST}:{at.upstream}",), start="/app/"),
        log=Log(level="warning"),
    )


def summary_of(deployment: Deployment, sandbox: Sandbox, port: int, plain: int) -> dict[str, Any]:
    """What ``--summary`` writes: all that a script needs to drive the demo."""
    hosts = hosts_by_role(deployment.config)
    return {
        # For programs whose resolver knows no names below localhost.
        "address": HOST,
        "port": port,
        "data": str(sandbox.data.absolute()),
        "passphrase_file": str((sandbox.data / PASSPHRASE_FILE).absolute()),
        "sites": {str(role): origin(names[0], port) + "/" for role, names in hosts.items()},
        "acme_directory": directory_url(deployment.config),
        "ca_file": str((sandbox.data / "servers" / "ca.pem").absolute()),
        "revocation": _revocation(deployment, f"http://{HOST}:{plain}"),
        "outbox": str(deployment.outbox.absolute()),
        "users": [asdict(user) for user in sandbox.users],
        "operators": [asdict(each) for each in sandbox.operators],
        "services": [asdict(each) for each in sandbox.services],
    }


def _revocation(deployment: Deployment, base: str) -> dict[str, str | None]:
    """Where the demo's certificates are told of. They do not say so themselves: its port is another one each
    time."""
    issuer = deployment.ra.authority.current
    site = Places(base).of(issuer.issuer_id)
    told = {"crl": site.crl, "ocsp": site.ocsp, "issuer": site.issuer}
    return told | {
        "root_crl": base + list_path(issuer.root_id),
        "root": base + certificate_path(issuer.root_id),
    }


async def sandbox_in(data: Path, at: Ports, told: Callable[[str], None]) -> Sandbox:
    """The demo in a directory: the one that is there, or a new one."""
    if not is_demo(data):
        await _make(data, at, told)
    marker = json.loads(read_file(data / DEMO_MARKER, "demo"))
    users = tuple(DemoUser(**_placed(data, user)) for user in marker["users"])
    people = tuple(DemoOperator(**_placed(data, each)) for each in marker.get("operators", ()))
    systems = tuple(DemoService(**_placed(data, each)) for each in marker.get("services", ()))
    config = demo_config(at, console=bool(people), api=bool(systems))
    if not at.database:
        # It may have been copied to a server since (sekisho db copy).
        config = replace(config, database=read_database(data))
    (data / FILE_NAME).write_text(toml_of(config))
    return Sandbox(data, (data / PASSPHRASE_FILE).read_text().strip(), users, people, systems)


def _placed(data: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """With its files by where they are now: the directory may have been moved since."""
    there = {name: data.absolute().joinpath(*Path(told[name]).parts[-2:]) for name in _FILES & told.keys()}
    return {**told, **{name: str(path) for name, path in there.items() if told[name]}}


async def _make(data: Path, ports: Ports, told: Callable[[str], None]) -> None:
    """Makes everything in a draft, out of which it moves once it is whole, the marker last.

    What is left of a demo that was killed in the middle is in the draft, and nothing else is taken away.
    """
    draft = data / _DRAFT
    make_private_directory(data)
    if not is_demo(draft):
        if draft.exists():
            told(begun_before(data))
            shutil.rmtree(draft)
        try:
            await _fill(draft, ports, told)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    for each in sorted(draft.iterdir(), key=lambda each: each.name == DEMO_MARKER):
        each.rename(data / each.name)
    draft.rmdir()


def begun_before(data: Path) -> str:
    """What is said of a directory whose demo was killed too early."""
    return f"{data} was left by a demo that ended before it was whole; it is made anew."


async def _fill(data: Path, ports: Ports, told: Callable[[str], None]) -> None:
    told("Making the demo's CA and its people (a few seconds) ...")
    passphrase = secrets.token_urlsafe(18)
    at = SystemClock().seconds() - LONGEST_PAST
    datadir.create(data, passphrase, at, cost=_COST)
    datadir.add_issuer(data, passphrase, operators.CA, at, audience=Audience.OPERATORS)
    write_private(data / PASSPHRASE_FILE, passphrase.encode() + b"\n")
    (data / FILE_NAME).write_text(toml_of(demo_config(ports)))
    clock = OffsetClock(data / CLOCK)
    deployment = open_deployment(data, passphrase, clock=clock, spare_keys=SPARE_KEYS)
    try:
        users = await populate(deployment, clock, lambda words: None)
        people = await operators.admit(deployment)
        systems = await services.admit(deployment)
        await hooks.begin(deployment)
        await applying.at_the_desk(deployment)
        await applying.came_back(deployment)
        # That of the day on which its CA was made has ended.
        datadir.renew_root_list(deployment.datadir, SystemClock().seconds())
    finally:
        await deployment.close()
    shutil.rmtree(data / rundir.RUN, ignore_errors=True)
    marker = {
        "format": 1,
        "users": [asdict(user) for user in users],
        "operators": [asdict(each) for each in people],
        "services": [asdict(each) for each in systems],
    }
    write_private(data / DEMO_MARKER, json.dumps(marker, ensure_ascii=False).encode())


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, Sandbox]) -> Sandbox | None:
    """The outcome of ``work``; None, and the work undone, if somebody stops us before."""
    making, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({making, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if making.done():
        return making.result()
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    return None


@contextmanager
def _held(data: Path) -> Iterator[None]:
    """Keeps everybody else out of the directory, which is as it was before if no demo comes of it.

    ConfigError if it holds anything that is no demo's.
    """
    existed = data.exists()
    if not is_demo(data):
        _check_place(data)
    with closing(rundir.hold(data, HELD)):
        try:
            yield
        finally:
            if not is_demo(data):
                shutil.rmtree(data / rundir.RUN, ignore_errors=True)
                if not existed:
                    with suppress(OSError):  # somebody has put something there meanwhile
                        data.rmdir()


def _check_place(data: Path) -> None:
    datadir.check_owner(data)
    if data.exists() and not data.is_dir():
        raise ConfigError(f"{data} is a file; name a directory with --data DIR")
    strange = names_in(data) - {_DRAFT, rundir.RUN}
    if is_demo(data / _DRAFT):
        # Killed while all of it moved up: that goes on, and writes over nothing.
        strange &= names_in(data / _DRAFT)
    check_own(data, strange)


def names_in(directory: Path) -> set[str]:
    """What is in a directory; nothing where there is none."""
    return {each.name for each in directory.iterdir()} if directory.exists() else set()


def check_own(directory: Path, strange: Collection[str]) -> None:
    """ConfigError if a directory has something in it that is no demo's."""
    if strange:
        raise ConfigError(
            f"{directory} has {min(strange)} in it, and is no demo's; name another directory with --data DIR"
        )


def _check_alone(data: Path) -> None:
    """ConfigError for the directory of a node. Settings that cannot be read are a demo's to write anew."""
    try:
        config = read_config(data) if is_demo(data) else Config()
    except ConfigError:
        return
    if config.listen.public_port:
        raise ConfigError(f"{data} is one of a demo's nodes; for all of it type: {typed_for(data, config)}")


def check_summary(summary: Path | None) -> None:
    """Before anything is made. ConfigError where it cannot be written; an earlier run's would tell a script
    that this one is up, and goes."""
    if summary is None:
        return
    if not summary.absolute().parent.is_dir():
        raise ConfigError(
            f"--summary {summary}: its directory is not there; make it: mkdir -p {summary.parent}"
        )
    summary.unlink(missing_ok=True)


def write_summary(file: Path | None, told: Mapping[str, Any]) -> None:
    """In one piece, for who waits for it."""
    if file is not None:
        write_private(file.absolute(), json.dumps(told, ensure_ascii=False, indent=1).encode())


@contextmanager
def directory_of(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with passing.directory() as made:
        yield made / "data"


@contextmanager
def listening_on(port: int) -> Iterator[socket.socket]:
    """A socket on the wanted port of the loopback address, or on a free one if that is taken."""
    try:
        listening = socket.create_server((HOST, port))
    except OSError:
        listening = socket.create_server((HOST, 0))
    with listening:
        yield listening
