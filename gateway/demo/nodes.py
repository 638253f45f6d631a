"""A demo of several nodes: each a process, with one PostgreSQL server behind them and HAProxy before them.

Each part can be killed, frozen and started again, by hand or by a script, to see what people notice.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from sys import executable
from typing import Any

import uvloop
from rich.console import Console

from ca.errors import ConfigError
from ca.files import make_private_directory
from gateway.demo import hooks, importing, operators, passing
from gateway.demo.parts import BALANCER, Behind, Cluster, Part, balanced, programs, sweep
from gateway.demo.sandbox import (
    HELD,
    HOST,
    PASSPHRASE_FILE,
    Ports,
    begun_before,
    behind_login,
    check_own,
    check_summary,
    directory_of,
    listening_on,
    names_in,
    sandbox_in,
    summary_of,
    unless,
    write_summary,
)
from gateway.demo.words import banner, parts_lines
from gateway.running import rundir
from gateway.serving import descriptors, nodes
from gateway.serving.config import FILE_NAME, read_config, toml_of
from gateway.serving.deployment import CLOCK, OUTBOX, is_demo, open_deployment
from gateway.serving.server import start_log, stop_signals

# What every node has alike, and `nodes.join` knows nothing of.
_ALIKE = (operators.SEED, PASSPHRASE_FILE)
# What all of them share, so that each shows the same letters and the same time.
_SHARED = (OUTBOX, CLOCK)


@dataclass(frozen=True)
class _Node:
    """One of the gateways. ``at.own`` is its port."""

    name: str
    data: Path
    at: Ports


@dataclass(frozen=True)
class _Demo:
    """All of it; ``parts`` in the order in which they start, and end the other way round."""

    folder: Path
    cluster: Cluster
    nodes: tuple[_Node, ...]
    plain: int
    parts: dict[str, Part]


def demo(data: Path | None, port: int, summary: Path | None, console: Console, count: int) -> dict[str, Any]:
    """As `sandbox.demo`, of so many nodes. SIGUSR1 brings back whatever of it was killed or frozen."""
    check_summary(summary)
    found = programs()
    descriptors.raise_limit()
    passing.clear(console.print)
    with ExitStack() as stack:
        folder = stack.enter_context(directory_of(data))
        if is_demo(folder):
            raise ConfigError(
                f"{folder} is a demo's with its database in it; name another directory with --data DIR, or "
                "leave --database out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _check_place(folder)
        stack.enter_context(closing(rundir.hold(folder, HELD)))
        (folder / _MARKER).touch()
        short = stack.enter_context(passing.directory(short=True))
        socket_directory = short / "socket"
        make_private_directory(socket_directory)
        cluster = Cluster(
            folder.absolute() / "postgresql", socket_directory, found.postgresql, folder / "postgresql.log"
        )
        if cluster.user is not None:
            # Who runs the server has to get through, and sees nothing of the rest.
            for each in (folder, short, *((folder.parent,) if data is None else ())):
                each.chmod(0o711)
        reserved = [stack.enter_context(listening_on(each)) for each in (port, 0, *(0,) * 3 * count)]
        public, plain, *free = (each.getsockname()[1] for each in reserved)
        own = zip(free[::3], free[1::3], free[2::3], strict=True)
        every = tuple(
            _Node(
                f"node-{number}",
                folder.absolute() / f"node-{number}",
                Ports(public, 0, cluster.url, *ports, BALANCER, count),
            )
            for number, ports in enumerate(own, 1)
        )
        configuration = folder.absolute() / _CONFIGURATION
        parts = {
            "postgresql": cluster.part(),
            **{each.name: _part_of(each, folder) for each in every},
            "haproxy": Part("haproxy", [found.haproxy, "-db", "-f", configuration], folder / "haproxy.log"),
        }
        running = _Demo(folder, cluster, every, plain, parts)
        stack.callback(sweep, cluster.folder)
        for each in parts.values():
            stack.callback(each.end)
        return uvloop.run(_demo(running, reserved, port, summary, console, busy=data is None))


_CONFIGURATION = "haproxy.cfg"
# In the directory of such a demo from its beginning, when nothing else is.
_MARKER = "demo-of-nodes"
# What there is besides, up to the first dot.
_OWN = re.compile(rf"postgresql|haproxy|node-[1-8]|{_MARKER}|{rundir.RUN}")


def _check_place(folder: Path) -> None:
    """ConfigError if there is anything that is no such demo's: by its name alone nothing is."""
    begun = (folder / _MARKER).exists() or is_demo(folder / "node-1")
    own = _OWN if begun else re.compile(rundir.RUN)
    check_own(folder, {name for name in names_in(folder) if not own.fullmatch(name.partition(".")[0])})


def _part_of(node: _Node, folder: Path) -> Part:
    command: list[str | Path] = [executable, "-P", "-m", "gateway.demo.node", node.data]
    return Part(node.name, command, folder / f"{node.name}.log")


async def _demo(
    running: _Demo,
    reserved: list[socket.socket],
    wanted: int,
    summary: Path | None,
    console: Console,
    *,
    busy: bool,
) -> dict[str, Any]:
    cluster, (first, *others) = running.cluster, running.nodes
    database = running.parts["postgresql"]
    with stop_signals(demo=True) as stop, _asked() as again, listening_on(0) as behind:
        upstream = behind.getsockname()[1]
        cluster.made()
        database.start()
        await database.until(cluster.answers, stop)
        if stop.is_set():
            return {}
        if not is_demo(first.data):
            # Half a demo is none: what it has left is swept away.
            if first.data.exists():
                console.print(begun_before(running.folder))
            cluster.emptied()
            for old in running.folder.glob("node-[1-8]/"):
                shutil.rmtree(old)
        sandbox = await unless(
            stop, sandbox_in(first.data, replace(first.at, upstream=upstream), console.print)
        )
        if sandbox is None:
            return {}
        deployment = open_deployment(first.data, sandbox.passphrase)
        start_log("warning")
        try:
            await hooks.follow(deployment)
            if busy and sandbox.operators:
                await importing.begin(deployment)
            told = summary_of(deployment, sandbox, first.at.public, running.plain)
            service = await behind_login(deployment, first.at.public, behind)
        finally:
            await deployment.close()
        try:
            for each in others:
                _join(first, each)
            await _start(running, reserved, stop)
            if stop.is_set():
                return {}
            told |= _told(running)
            write_summary(summary, told)
            port_taken = wanted not in (0, first.at.public)
            banner(console, told, port_taken=port_taken, more=parts_lines(told, os.getpid()))
            while not await _either(stop, again):
                again.clear()
                trouble = await _back(running, stop)
                told |= _told(running)
                write_summary(summary, told)
                for line in (*parts_lines(told, os.getpid()), *trouble):
                    console.print(line, soft_wrap=True)
        finally:
            await service.cleanup()
    return told


def _join(first: _Node, node: _Node) -> None:
    """Another node's directory, if there is none yet, with the settings of the first but for its ports."""
    if not (node.data / _ALIKE[-1]).exists():  # with the last of them a node is whole
        shutil.rmtree(node.data, ignore_errors=True)
        nodes.join(first.data, node.data)
        for name in _SHARED:
            (node.data / name).unlink(missing_ok=True)
            (node.data / name).symlink_to(first.data / name)
        for name in _ALIKE:
            if (first.data / name).exists():
                shutil.copy(first.data / name, node.data / name)
    alike, at = read_config(first.data), node.at
    own = replace(
        alike,
        listen=replace(alike.listen, port=at.own),
        revocation=replace(alike.revocation, port=at.plain),
        internal=replace(alike.internal, port=at.internal),
    )
    (node.data / FILE_NAME).write_text(toml_of(own))


async def _start(running: _Demo, reserved: list[socket.socket], stop: asyncio.Event) -> None:
    """The nodes, and then who stands before them."""
    tls, plain = (f"{HOST}:{each}" for each in (running.nodes[0].at.public, running.plain))
    behind = (Behind(each.name, each.at.own, each.at.plain, each.at.internal) for each in running.nodes)
    (running.folder / _CONFIGURATION).write_text(balanced(tls, plain, behind))
    for each in reserved:
        each.close()
    await _all_answer(running, stop)


async def _back(running: _Demo, stop: asyncio.Event) -> list[str]:
    """Has every part go on; what is to be said if one does not. The others do."""
    try:
        await _all_answer(running, stop)
    except ConfigError as error:
        return [f"error: {error}"]
    return []


async def _all_answer(running: _Demo, stop: asyncio.Event) -> None:
    """Has every part go on, the database first, and returns when all of them answer, or somebody stops us."""
    database, *others = running.parts.values()
    database.go_on()
    await database.until(running.cluster.answers, stop, again=True)
    if stop.is_set():
        return
    for each in others:
        each.go_on()
    for node in running.nodes:
        await running.parts[node.name].until(partial(_healthy, node.at.internal), stop)
    # Its checks have found out by then that nodes are there.
    await running.parts["haproxy"].until(partial(_lets_through, running.plain), stop)


def _told(running: _Demo) -> Mapping[str, Any]:
    """What a script needs to drive the parts."""
    return {
        "nodes": [
            {
                "name": each.name,
                "address": HOST,
                "port": each.at.own,
                "pid": running.parts[each.name].pid,
                "internal": f"http://{HOST}:{each.at.internal}",
                "data": str(each.data),
                "log": str(running.parts[each.name].log.absolute()),
            }
            for each in running.nodes
        ],
        "database": running.cluster.url,
        "database_pid": running.parts["postgresql"].pid,
        "database_log": str(running.parts["postgresql"].log.absolute()),
        "balancer": {
            "pid": running.parts["haproxy"].pid,
            "configuration": str((running.folder / _CONFIGURATION).absolute()),
        },
        "pid": os.getpid(),
    }


def _healthy(port: int) -> bool:
    return _status(port, "/healthz") == 200


def _lets_through(port: int) -> bool:
    """Whether somebody behind it answers, whatever it says."""
    return _status(port, "/") > 0


def _status(port: int, path: str) -> int:
    """Of an answer; 0 where there is none."""
    with closing(HTTPConnection(HOST, port, timeout=2)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0


async def _either(stop: asyncio.Event, again: asyncio.Event) -> bool:
    """Returns when one of both is set: whether it is ``stop``."""
    waiting = [asyncio.create_task(each.wait()) for each in (stop, again)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    return stop.is_set()


@contextmanager
def _asked() -> Iterator[asyncio.Event]:
    """An event that SIGUSR1 sets. Not SIGHUP: by that a terminal ends what runs in it."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, asked.set)
    try:
        yield asked
    finally:
        # Not `remove_signal_handler`: that leaves the default behind, which is death.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
