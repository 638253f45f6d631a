"""Two nodes behind a balancer, a primary and a replica, wires between them all, and what goes wrong there."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import asyncpg

from ca import datadir
from ca.clock import OffsetClock
from ca.publication import Places
from gateway.demo.parts import BALANCER, DATABASE, Behind, Cluster, Part, Programs, balanced, sweep
from gateway.serving import nodes
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.deployment import CLOCK, DEMO_MARKER
from gateway.serving.rates import Rates
from gateway.serving.settings.behind import Behind as Upstream
from gateway.serving.settings.reach import Listen, Revocation
from gateway.serving.standing import node_of
from tests.chaos.findings import Fault, Record
from tests.chaos.schedule import Fair, dealing
from tests.cli.processes import SEKISHO, get_plain
from tests.datadirs import CHEAP, PASSPHRASE
from tests.ports import free_port
from tests.started import signal_family
from tests.wires import CUT, DEAF, OPEN, Apart

_PEOPLE = "people"
# Seconds until what was started again has to serve; a node that waits for its database ends and is started
# once more, as systemd would.
_PATIENCE, _RESTART = 90.0, 1.0
_MIB = 2**20
# Seconds for each piece on a slow wire.
_SLOW = 0.15
# Seconds between two faults, and between two clocks.
_PAUSE, _APART = (0.5, 3.0), 300
# Nothing of it has to survive a power cut.
_SETTINGS = ("wal_keep_size=512MB", "max_wal_senders=8", "fsync=off")
# All of the load comes from one address.
_RATES = Rates(100_000.0, 100_000.0, 100_000.0, 100_000.0)


@dataclass(frozen=True)
class Node:
    """One of the gateways."""

    name: str
    data: Path
    behind: Behind
    part: Part


@dataclass
class World:
    """All of it. ``primary``: which server is the one that can be written to."""

    folder: Path
    found: Programs
    wires: Apart
    record: Record
    #: Seconds that the machine had for us.
    fair: Fair
    front: int
    servers: dict[str, tuple[Cluster, Part]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    balancer: Part | None = None
    primary: str = "a"
    #: Nodes that a fault has killed: nobody starts those again but the fault.
    dead: set[str] = field(default_factory=set)
    disks: list[Path] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The primary, past all wires."""
        return self.servers[self.primary][0].url

    @property
    def ca_file(self) -> Path:
        return self.nodes["node-1"].data / "servers" / "ca.pem"

    # -- making it -------------------------------------------------------------------------------------

    async def begin(self, upstream: int, mail: int) -> None:
        for name in "ab":
            socket = self.folder / f"s-{name}"
            socket.mkdir()
            cluster = Cluster(
                self.folder / f"pg-{name}", socket, self.found.postgresql, self.folder / f"pg-{name}.log"
            )
            self.servers[name] = cluster, cluster.part(*_SETTINGS)
        first, part = self.servers["a"]
        first.made()
        part.start()
        await part.until(first.answers, asyncio.Event())
        first.emptied()
        await self.replicate("b")
        self._make_nodes(upstream, mail)

    async def replicate(self, name: str) -> None:
        """Makes a server the replica of the one that is primary, which waits for it from then on: nothing
        that was answered is lost with it."""
        cluster, part = self.servers[name]
        primary = self.servers[self.primary][0]
        shutil.rmtree(cluster.folder, ignore_errors=True)
        await asyncio.to_thread(cluster.copied, primary, name)
        part.start()
        await part.until(cluster.answers, asyncio.Event())
        await _typed(primary.url, f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        await _typed(primary.url, "SELECT pg_reload_conf()")

    async def promote(self) -> None:
        """The primary is dead: the other one takes over, and waits for nobody."""
        other = "b" if self.primary == "a" else "a"
        cluster = self.servers[other][0]
        await _typed(cluster.url, "ALTER SYSTEM SET synchronous_standby_names = ''")
        await _typed(cluster.url, "SELECT pg_reload_conf()")
        # It is not waited for within the statement: what a replica replays may end whoever has a snapshot.
        await _typed(cluster.url, "SELECT pg_promote(false)")
        while await _is_replica(cluster.url):
            await asyncio.sleep(0.05)
        self.primary = other

    def _make_nodes(self, upstream: int, mail: int) -> None:
        free = [free_port() for _ in range(6)]
        balanced_at, plain = free_port(), free_port()
        self.wires.lay(_PEOPLE, ["127.0.0.1", self.front], ["127.0.0.1", balanced_at])
        for number in (1, 2):
            name, data = f"node-{number}", self._disk(f"node-{number}") / "data"
            behind = Behind(name, *free[3 * number - 3 : 3 * number])
            for server, (cluster, _) in self.servers.items():
                (self.folder / f"w{number}{server}").mkdir()
                here, there = self.folder / f"w{number}{server}", cluster.socket
                self.wires.lay(name + server, [f"{here}/.s.PGSQL.5432"], [f"{there}/.s.PGSQL.5432"])
            if number == 1:
                # So old that a clock which is behind is not before the CA.
                datadir.create(
                    *(data, PASSPHRASE, int(time.time()) - 86_400),
                    cost=CHEAP,
                    site=Places(f"http://127.0.0.1:{plain}"),
                )
                (data / FILE_NAME).write_text(toml_of(self._config(behind, number, upstream, mail)))
                (data / DEMO_MARKER).write_text("{}")
            else:
                nodes.join(self.nodes["node-1"].data, data)
                (data / FILE_NAME).write_text(toml_of(self._config(behind, number, upstream, mail)))
            (self.folder / "passphrase").write_text(PASSPHRASE)
            secret = self.folder / "passphrase"
            words = [str(SEKISHO), "serve", "--data", str(data), "--passphrase-file", str(secret)]
            self.nodes[name] = Node(name, data, behind, Part(name, words, self._log(name)))
        file = self.folder / "haproxy.cfg"
        both = (each.behind for each in self.nodes.values())
        file.write_text(balanced(f"127.0.0.1:{balanced_at}", f"127.0.0.1:{plain}", both))
        self.balancer = Part("haproxy", [self.found.haproxy, "-db", "-f", str(file)], self._log("haproxy"))

    def _config(self, at: Behind, number: int, upstream: int, mail: int) -> Config:
        default = Config()
        url = f"postgresql://postgres@/{DATABASE}?host=" + ",".join(
            str(self.folder / f"w{number}{server}") for server in "ab"
        )
        return replace(
            default,
            listen=Listen(port=at.port, public_port=self.front, proxy_protocol=(BALANCER,)),
            revocation=Revocation(port=at.plain),
            internal=replace(default.internal, port=at.internal),
            database=replace(default.database, url=url, connect_seconds=2.0, statement_seconds=10.0),
            policy=replace(default.policy, person_key="ec-p256"),
            protocol=replace(default.protocol, quota=100_000),
            signer=replace(default.signer, per_hour=1_000_000),
            rates=_RATES,
            mail=replace(default.mail, transport="smtp", host="127.0.0.1", port=mail, security="none"),
            upstream=Upstream(
                addresses=(f"http://127.0.0.1:{upstream}",), start="/app/", certificate=("/api",)
            ),
            log=replace(default.log, level="info"),
        )

    def _disk(self, name: str) -> Path:
        """A small file system for a node, where there can be one."""
        at = self.folder / f"disk-{name}"
        at.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "sekisho-chaos", str(at)]
        if os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode:
            self.disks.append(at)
        return at

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def serve(self) -> None:
        """Starts nodes and balancer, and returns when all of them serve."""
        for node in self.nodes.values():
            node.part.start()
        assert self.balancer is not None
        self.balancer.start()
        for name in self.nodes:
            if said := await self.back(name):
                raise RuntimeError(f"{name} does not serve: {said}; {self._log(name).read_text()[-2000:]}")

    def end(self) -> None:
        parts = [each.part for each in self.nodes.values()] + [each for _, each in self.servers.values()]
        if self.balancer is not None:
            parts.append(self.balancer)
        for part in parts:
            if part.lives():
                signal_family(part.pid, signal.SIGCONT)
            part.end()
        for cluster, _ in self.servers.values():
            sweep(cluster.folder)
        for disk in self.disks:
            subprocess.run(["umount", "--lazy", str(disk)], check=False)

    # -- how it is ---------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Starts again, as systemd would, whatever node has ended by itself."""
        while True:
            await asyncio.sleep(_RESTART)
            for node in self.nodes.values():
                if node.name not in self.dead and not node.part.lives():
                    self.record.counts["nodes that ended by themselves and were started again"] += 1
                    node.part.start()

    async def back(self, name: str) -> str:
        """Waits until a node is ready; "", or what keeps it."""
        end, said = self.fair() + _PATIENCE, "it does not answer"
        while self.fair() < end:
            try:
                status, text = await asyncio.to_thread(get_plain, self.nodes[name].behind.internal, "/readyz")
                if status == 200:
                    return ""
                said = "; ".join(json.loads(text)["wrong"])
            except (OSError, HTTPException, ValueError):
                pass
            await asyncio.sleep(0.2)
        return said

    async def leader(self) -> str:
        """The node that leads; any, while none does."""
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            (row,) = await _typed(self.url, "SELECT node FROM lead")
            for node in self.nodes.values():
                if node_of(node.data) == row["node"]:
                    return node.name
        return "node-1"


async def _is_replica(url: str) -> bool:
    with suppress(asyncpg.SerializationError):
        return bool((await _typed(url, "SELECT pg_is_in_recovery()"))[0][0])
    return True


async def _typed(url: str, statement: str) -> list[Any]:
    """What the database says, within a moment."""
    connection = await asyncpg.connect(url, timeout=20)
    try:
        return list(await connection.fetch(statement, timeout=60))
    finally:
        await connection.close()


# -- what goes wrong -------------------------------------------------------------------------------------

Chance = random.Random
Act = Callable[[World, Chance], Awaitable[str]]


async def _kill(world: World, name: str, seconds: float) -> str:
    part = world.nodes[name].part
    world.dead.add(name)
    signal_family(part.pid, signal.SIGKILL)
    part.end()
    await asyncio.sleep(seconds)
    part.start()
    world.dead.discard(name)
    return f"{name}, for {seconds:.1f} s"


async def _freeze(world: World, name: str, seconds: float) -> str:
    signal_family(world.nodes[name].part.pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    signal_family(world.nodes[name].part.pid, signal.SIGCONT)
    return f"{name}, for {seconds:.1f} s"


async def kill_node(world: World, chance: Chance) -> str:
    """A node, by SIGKILL."""
    return await _kill(world, chance.choice(sorted(world.nodes)), chance.uniform(0.5, 5))


async def freeze_node(world: World, chance: Chance) -> str:
    """A node, by SIGSTOP."""
    return await _freeze(world, chance.choice(sorted(world.nodes)), chance.uniform(1, 7))


async def kill_leader(world: World, chance: Chance) -> str:
    """The node that leads, for so long that another one does."""
    return await _kill(world, await world.leader(), chance.uniform(5, 11))


async def freeze_leader(world: World, chance: Chance) -> str:
    """The same by SIGSTOP: it wakes when another one leads."""
    return await _freeze(world, await world.leader(), chance.uniform(9, 13))


async def kill_primary(world: World, chance: Chance) -> str:
    """The primary dies, the replica is promoted, and the other one comes back as its replica."""
    old = world.primary
    part = world.servers[old][1]
    signal_family(part.pid, signal.SIGKILL)
    part.end()
    pause = chance.uniform(0, 3)
    await asyncio.sleep(pause)
    await world.promote()
    await asyncio.sleep(chance.uniform(1, 4))
    sweep(world.servers[old][0].folder)
    await world.replicate(old)
    return f"server {old}; {world.primary} promoted after {pause:.1f} s"


async def freeze_primary(world: World, chance: Chance) -> str:
    """The primary stands still for a while, with all its connections."""
    part, seconds = world.servers[world.primary][1], chance.uniform(1, 6)
    signal_family(part.pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    signal_family(part.pid, signal.SIGCONT)
    return f"server {world.primary}, for {seconds:.1f} s"


def _wire(manner: str, delay: float = 0.0, *, people: bool = False) -> Act:
    async def act(world: World, chance: Chance) -> str:
        seconds, name = chance.uniform(1, 7), chance.choice(sorted(world.nodes))
        named = [_PEOPLE] if people else [name + server for server in world.servers]
        for each in named:
            world.wires.become(each, manner, delay)
        await asyncio.sleep(seconds)
        for each in named:
            world.wires.become(each, OPEN)
        where = "people and balancer" if people else f"{name} and its database"
        return f"between {where}, for {seconds:.1f} s"

    return act


async def fill_disk(world: World, chance: Chance) -> str:
    """Not a byte more goes onto a node's disk for a while."""
    if not world.disks:
        return "left out: no file system can be mounted here"
    at, seconds = chance.choice(world.disks), chance.uniform(3, 8)
    with (at / "fill").open("wb", buffering=0) as file:
        for size in (_MIB, 4_096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    await asyncio.sleep(seconds)
    (at / "fill").unlink()
    return f"{at.name}, for {seconds:.1f} s"


async def shift_clocks(world: World, chance: Chance) -> str:
    """The nodes' clocks stand five minutes apart, until they are set again."""
    said = []
    for node, offset in zip(world.nodes.values(), chance.sample((0, _APART), 2), strict=True):
        OffsetClock(node.data / CLOCK).travel(offset)
        said.append(f"{node.name} by {offset} s")
    return ", ".join(said)


#: Name -> what it does; it returns, in words, what was done when it is over.
FAULTS: Mapping[str, Act] = {
    "kill a node": kill_node,
    "freeze a node": freeze_node,
    "kill the leader": kill_leader,
    "freeze the leader": freeze_leader,
    "kill the primary": kill_primary,
    "freeze the primary": freeze_primary,
    "cut a node's database": _wire(CUT),
    "slow a node's database": _wire(OPEN, _SLOW),
    "deaf to a node's database": _wire(DEAF),
    "cut people off": _wire(CUT, people=True),
    "slow people down": _wire(OPEN, _SLOW, people=True),
    "fill a disk": fill_disk,
    "shift clocks": shift_clocks,
}


async def disturb(
    world: World, chance: Chance, only: list[str], seconds: float, say: Callable[[str], None]
) -> None:
    """One fault after the other, for so long, and each kind once at least; what was begun is ended."""
    begun = time.monotonic()
    for name in dealing(only, chance, lambda: time.monotonic() - begun < seconds):
        await asyncio.sleep(chance.uniform(*_PAUSE))
        at = time.monotonic()
        words = await FAULTS[name](world, chance)
        world.record.faults.append(Fault(name, at, time.monotonic(), words))
        say(f"{at - begun:7.1f} s  {name}: {words}")
    # What was written down by the clock that is ahead would else wait until the other one is there, too.
    for node in world.nodes.values():
        if any(OffsetClock(each.data / CLOCK).offset() for each in world.nodes.values()):
            OffsetClock(node.data / CLOCK).travel(_APART)
