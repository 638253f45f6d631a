"""Whole orders per second through the protocol: ours against Debian's pebble and Caddy's acme_server.

Run as ``python -m tests.bench.acme_bench [--orders N] [--rounds N] [--only TEXT]``. Each server runs in
turn on one core, the load on the other; CPU is the kernel's count for the server's processes. Ours and
Caddy's are on disk, pebble's in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from tests.bench import builds
from tests.bench.acme_load import Client, clients_of, prepare_csrs, run_load, serve_http01
from tests.bench.acme_servers import LOAD_CORE, Server, Target, caddy, pebble, sekisho
from tests.bench.figures import Figures
from tests.bench.tls_bench import cpu

Row = dict[str, float | str]

_WARM_UP = 40
_OURS = "sekisho"
_CADDY = "caddy acme_server"
SERVERS: dict[str, Server] = {
    "pebble, with challenges": pebble(0),
    "pebble, orders ready at once": pebble(100),
    f"{_OURS}, {builds.PURE}": sekisho,
    f"{_OURS}, {builds.COMPILED}": sekisho,
    _CADDY: caddy,
}
_FIGURES = ("orders a second", "p50, ms", "p99, ms", "CPU an order, ms")
_BINARIES = {"pebble": "pebble", "caddy": "caddy"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000, help="in each run of our own and pebble's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--only", default="")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measure(options.inside, options)))
        return
    ours = builds.builds()
    found = {each: Figures("pebble, with challenges") for each in options.concurrency}
    # Rounds alternate between the servers, so that a busy neighbour hits them all.
    for _ in range(options.rounds):
        for title in filter(lambda title: usable(title, ours), SERVERS):
            if options.only in title:
                for row in in_a_process(title, options):
                    found[int(row.pop("concurrency"))].add(title, {key: float(row[key]) for key in _FIGURES})
    for concurrency, figures in found.items():
        print(f"\n{concurrency} at once:")
        figures.report()


def usable(title: str, ours: Sequence[str]) -> bool:
    """Whether what the server needs is on this machine."""
    if title.startswith(_OURS):
        return title.rpartition(" ")[2] in ours
    binary = next((binary for word, binary in _BINARIES.items() if word in title), None)
    if binary is not None and shutil.which(binary) is None:
        print(f"{title}: left out, {binary} is not installed")
        return False
    if title == _CADDY:
        tried = subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True)
        if tried.returncode != 0:
            print(f"{title}: left out, this user may not have a network namespace")
            return False
    return True


def in_a_process(title: str, options: argparse.Namespace) -> list[Row]:
    """One server's round in a process of its own; Caddy's where port 80 is free."""
    namespace = ["unshare", "-rn"] if title == _CADDY else []
    command = [*namespace, sys.executable, "-m", "tests.bench.acme_bench", "--inside", title]
    command += ["--orders", str(options.orders), "--concurrency", *map(str, options.concurrency)]
    build = title.rpartition(" ")[2] if title.startswith(_OURS) else builds.PURE
    given = {"env": builds.environment(build), "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, timeout=600, check=True, **given)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        # Pebble deadlocks now and then under load; another round makes up for it.
        print(f"{title}: a round failed: {type(error).__name__}\n{str(error.stderr or '')[-2000:]}")
        return []
    rows: list[Row] = json.loads(done.stdout.splitlines()[-1])
    return rows


def measure(title: str, options: argparse.Namespace) -> list[Row]:
    """A fresh server, then a run per concurrency."""
    os.sched_setaffinity(0, {LOAD_CORE})
    if title == _CADDY:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as name, SERVERS[title](Path(name)) as target:
        return uvloop.run(_runs(title, target, options))


async def _runs(title: str, target: Target, options: argparse.Namespace) -> list[Row]:
    tokens: dict[str, str] = {}
    if title == _CADDY:
        await serve_http01(tokens)
    clients = await clients_of(target, max(options.concurrency))
    await run_load(clients, prepare_csrs(target.name, max(_WARM_UP, len(clients))), tokens)
    await settled(target.pid)
    rows = []
    for concurrency in options.concurrency:
        count = max(options.orders // (1 if concurrency > 1 else 4), 20)
        rows.append(await _run(title, target, clients[:concurrency], count, tokens))
    return rows


async def settled(pid: int) -> None:
    """Until a server that has just started is idle: ours makes a few RSA keys for people in advance."""
    before = -1.0
    while cpu(pid) - before > 0.02:
        before = cpu(pid)
        await asyncio.sleep(0.5)


async def alternating(
    found: Figures,
    targets: Mapping[str, Target],
    rounds: int,
    at_once: int,
    measured: Callable[[Target, list[Client]], Awaitable[Mapping[str, float]]],
) -> Figures:
    """Fills ``found``, alternating between the servers, so that a busy neighbour hits them all; another one
    begins in each round, so that none is always the first after a pause, or next to the same one."""
    os.sched_setaffinity(0, {LOAD_CORE})
    clients = {title: await clients_of(target, at_once) for title, target in targets.items()}
    for number in range(rounds + 1):
        titles = list(targets)
        first = number % len(titles)
        for title in titles[first:] + titles[:first]:
            target = targets[title]
            await settled(target.pid)
            row = await measured(target, clients[title])
            if number:  # the first one warms up
                found.add(title, row)
    return found


async def _run(title: str, target: Target, clients: list[Client], count: int, tokens: dict[str, str]) -> Row:
    csrs = prepare_csrs(target.name, count)
    before = cpu(target.pid)
    seconds, took = await run_load(clients, csrs, tokens)
    return {
        "concurrency": len(clients),
        "orders a second": count / seconds,
        "p50, ms": statistics.median(took) * 1000,
        "p99, ms": sorted(took)[int(len(took) * 0.99)] * 1000,
        "CPU an order, ms": (cpu(target.pid) - before) / count * 1000,
    }


if __name__ == "__main__":
    main()
