"""Many real nodes on one database: what they cost it, orders at a rate, and how soon all know what one does.

Run as ``python -m tests.bench.many_nodes_bench [--nodes N] [--certificates N] [--rates 1 2] [--seconds N]``.
Each node has a data directory of its own, one worker and its signer, and all of them, the server (which waits
for its disk) and the clients share this machine: CPU and counts tell, and seconds are at most those. Fifty
nodes want 16 GiB of memory, 10,000,000 certificates (`large`) 60 GB below TMPDIR.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from subprocess import run
from typing import Any

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.serving.config import FILE_NAME, read_config, toml_of
from gateway.serving.standing import node_of
from tests import databases
from tests.bench import large
from tests.bench.acme_load import Client, csr_of, one_order, prepare_csrs
from tests.bench.nodes_bench import SERVICE, Node, client, database, directory, served, set_up, spent, typed
from tests.bench.tls_bench import cpu, family
from tests.enroll.acme.signing import b64

# Of a process of each node: what the handbook says of many nodes.
_POOL, _CONNECTIONS = 4, 1_200
_SETTINGS = (
    f"max_connections={_CONNECTIONS}",
    "shared_buffers=1GB",
    "shared_preload_libraries=pg_stat_statements",
    "max_wal_size=4GB",
    # Who helps with a query and ends is not counted.
    "max_parallel_workers_per_gather=0",
)
_STATEMENTS = "SELECT sum(calls) FROM pg_stat_statements"
_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--certificates", type=int, default=0, help="that are there before")
    parser.add_argument("--rates", type=float, nargs="*", default=[1, 2, 5], help="orders a second")
    parser.add_argument("--seconds", type=int, default=60, help="of each phase")
    options = parser.parse_args()
    if not databases.PROGRAMS:
        sys.exit("PostgreSQL is not installed: apt install postgresql")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        place = Path(name)
        place.chmod(0o711)
        cluster = stack.enter_context(databases.temporary())
        server = stack.enter_context(cluster.running(*_SETTINGS, durable=True))
        begun = time.monotonic()
        url, nodes = _standing(place, cluster, options, stack)
        _say(f"{len(nodes)} nodes stand, after {time.monotonic() - begun:.0f} s", memory_gib=_memory(nodes))
        asyncio.run(_measured(place, url, nodes, server, options))
        if options.certificates:
            _looked_after(nodes[0], cluster)


def _standing(
    place: Path, cluster: databases.Cluster, options: argparse.Namespace, stack: ExitStack
) -> tuple[str, list[Node]]:
    """The database's address, and the nodes on it."""
    alone, behind = directory(place, 1, stack)
    first, url = place / "node-1", database(cluster, "fleet")
    typed(alone, "db", "copy", "--to", url)
    shutil.copytree(alone, first)
    set_up(first, url, behind)
    config = read_config(first)
    few = replace(config, database=replace(config.database, pool=_POOL))
    (first / FILE_NAME).write_text(toml_of(few))
    if options.certificates:
        begun = time.monotonic()
        large.fill(first, options.certificates)
        _say("the register is filled", certificates=options.certificates, seconds=time.monotonic() - begun)
    others = [place / f"node-{number}" for number in range(2, options.nodes + 1)]
    for each in others:
        typed(each, "node", "join", "--from", str(first))
    return url, [stack.enter_context(served(each)) for each in (first, *others)]


# -- what is measured ------------------------------------------------------------------------------------


async def _measured(
    place: Path, url: str, nodes: list[Node], server: int, options: argparse.Namespace
) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        await _rest(server)
        await _during(connection, nodes, server, "with nobody there", asyncio.sleep(options.seconds))
        clients = await _clients(place, nodes)
        for rate in options.rates:
            took = list[float]()
            work = _orders(clients, rate, options.seconds, took)
            await _during(connection, nodes, server, f"{rate:g} orders a second", work)
            _say("an order, ms", median=median(took) * 1e3, of_100_the_last=quantiles(took, n=100)[-1] * 1e3)
        await _revoked(place, clients[0], nodes)
        await _led(connection, nodes)
    finally:
        await connection.close()


async def _rest(server: int) -> None:
    """Until what was due is done: what the server spends is no less than in the half minute before."""
    spends = [float("inf")]
    while len(spends) < 20:
        before = cpu(server)
        await asyncio.sleep(30)
        spends.append(cpu(server) - before)
        if spends[-1] > spends[-2] * 0.9:
            return


async def _during(connection: Any, nodes: Sequence[Node], server: int, what: str, work: Any) -> None:
    """What it costs while something is done, by the second."""
    before = await connection.fetchval(_STATEMENTS), cpu(server), spent(nodes), time.monotonic()
    await work
    seconds = time.monotonic() - before[3]
    _say(
        what,
        statements_a_second=float(await connection.fetchval(_STATEMENTS) - before[0]) / seconds,
        server_cores=(cpu(server) - before[1]) / seconds,
        nodes_cores=(spent(nodes) - before[2]) / seconds,
        connections=await connection.fetchval(_CONNECTED),
    )


async def _clients(place: Path, nodes: Sequence[Node]) -> list[Client]:
    """One at each node, of the users in turn."""
    credentials = json.loads((place / "credentials.json").read_text())
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in credentials]
    dealt = [number % len(credentials) for number in range(len(nodes))]
    return [await client(node, credentials[at], key=keys[at]) for node, at in zip(nodes, dealt, strict=True)]


async def _orders(clients: Sequence[Client], rate: float, seconds: int, took: list[float]) -> None:
    """Orders that come whether those before are done or not, at one node after the other; of each the seconds
    since it was due."""
    count = int(rate * seconds)
    csrs = [prepare_csrs(clients[number % len(clients)].target.name, 1)[0] for number in range(count)]
    locks = [asyncio.Lock() for _ in clients]
    begun = time.monotonic()

    async def one(number: int) -> None:
        due, at = begun + number / rate, number % len(clients)
        await asyncio.sleep(due - time.monotonic())
        async with locks[at]:
            await one_order(clients[at], csrs[number], {})
        took.append(time.monotonic() - due)

    await asyncio.gather(*(one(number) for number in range(count)))


async def _revoked(place: Path, program: Client, nodes: Sequence[Node]) -> None:
    """A certificate has a connection at every node, and is revoked at one: when each of them has ended."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = await one_order(program, csr_of(key, program.target.name), {})
    pem = place / "program.pem"
    pem.write_bytes(chain + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    held = [await _held(each, pem) for each in nodes]
    ends = [asyncio.create_task(_ended(reader)) for reader, _ in held]
    await asyncio.sleep(1)
    assert not any(each.done() for each in ends), "a connection has ended by itself"
    leaf = x509.load_pem_x509_certificate(chain)
    asked = {"certificate": b64(leaf.public_bytes(Encoding.DER)), "reason": 4}
    begun = time.monotonic()
    status, _, body = await program.post(program.urls["revokeCert"], asked)
    assert status == 200, body
    answered = time.monotonic()
    ended = await asyncio.gather(*ends)
    _say(
        "revoked at one node, s after the answer",
        answer_after=answered - begun,
        the_first=min(ended) - answered,
        median=median(ended) - answered,
        the_last=max(ended) - answered,
        nodes=len(ended),
    )


async def _held(node: Node, pem: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with a certificate, by which a page was asked for."""
    context = ssl.create_default_context(cafile=str(node.ca))
    context.load_cert_chain(pem)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", node.port, ssl=context, server_hostname=SERVICE
    )
    writer.write(f"GET /login HTTP/1.1\r\nHost: {SERVICE}:{node.port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return reader, writer


async def _ended(reader: asyncio.StreamReader) -> float:
    """When its node has ended a connection."""
    with suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(60):
            while await reader.read(65_536):
                pass
    return time.monotonic()


async def _led(connection: Any, nodes: Sequence[Node]) -> None:
    """The node that leads is killed: when another one does."""
    known = {node_of(each.data): each for each in nodes}
    leads = await connection.fetchval("SELECT node FROM lead")
    begun = time.monotonic()
    os.killpg(known[leads].pid, signal.SIGKILL)
    while await connection.fetchval("SELECT node FROM lead") == leads:
        assert time.monotonic() < begun + 60
        await asyncio.sleep(0.05)
    _say("the node that led was killed", another_leads_after_s=time.monotonic() - begun)


def _looked_after(node: Node, cluster: databases.Cluster) -> None:
    """What operators do to the whole of it, while the others serve."""
    begun = time.monotonic()
    copied = [databases.PROGRAMS[-1] / "pg_basebackup", "-h", cluster.folder, "-U", "postgres"]
    words = ("-D", cluster.folder / "base", "-X", "fetch", "-c", "fast")
    run([*databases.as_postgres(), *copied, *words], check=True, cwd="/")
    _say("pg_basebackup", seconds=time.monotonic() - begun)
    begun = time.monotonic()
    typed(node.data, "db", "check")
    _say("sekisho db check", seconds=time.monotonic() - begun)


def _memory(nodes: Sequence[Node]) -> float:
    """GiB of the nodes, what they share counted once (PSS)."""
    total = 0
    for each in (process for node in nodes for process in family(node.pid)):
        told = Path(f"/proc/{each}/smaps_rollup").read_text()
        total += int(next(line for line in told.splitlines() if line.startswith("Pss:")).split()[1])
    return total / (1 << 20)


def _say(what: str, **figures: float) -> None:
    told: Mapping[str, float] = figures
    print(
        what + "".join(f"\n    {name.replace('_', ' '):<28}{value:10,.3f}" for name, value in told.items()),
        flush=True,
    )


if __name__ == "__main__":
    main()
