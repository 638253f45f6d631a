"""The cost of an order with a million certificates stored, against the same server with none, and how long
one waits while all of that is backed up.

Run as ``python -m tests.bench.full_bench [--stored N] [--orders N] [--rounds N]``. Two of our servers run
side by side on one core and take the load in turn, so that a busy neighbour hits both; the rows of one
are written by SQL beforehand, spread over as many users as ten certificates each make.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.acme_bench import settled
from tests.bench.acme_load import Client, clients_of, one_order, prepare_csrs, run_load
from tests.bench.acme_servers import LOAD_CORE, Target, sekisho
from tests.bench.tls_bench import cpu
from tests.started import started_async

_PER_USER = 10
_DER_BYTES = 620
_CONCURRENCY = 8
# Milliseconds that an order may take while a backup is made, and seconds that a client rests after one.
_LONGEST, _PAUSE = 300, 0.05

# Serials, request IDs and digests are random, as in life: their index pages are hit all over.
_FILL = (
    "INSERT INTO users (user_id, policy_number, name, mail, name_key, mail_key, role, notice_by,"
    " password_hash, created_at)"
    " WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :stored / :per_user)"
    " SELECT printf('U%08d', i), '12345678', 'Stored', 'a@example.jp', 'stored',"
    " 'a@example.jp', 'member', 'mail', 'x', :at FROM n",
    "CREATE TEMP TABLE drawn AS"
    " WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :stored)"
    " SELECT i, lower(hex(randomblob(16))) AS serial, abs(random()) % 10000000000000000 AS r,"
    " printf('U%08d', i % (:stored / :per_user)) AS user_id FROM n",
    "INSERT OR IGNORE INTO enrollments (request_id, kind, user_id, state, common_name, profile, door,"
    " revoke_old, serial, not_after_at, created_at, submitted_at, issued_at, picked_up_at)"
    " SELECT printf('%016d', r), 'protocol', user_id, 'picked_up', user_id || '0001', 'client-automated',"
    " 'protocol', 'never', serial, :at + 7776000 - i % 7776000, :at, :at, :at, :at FROM drawn",
    "INSERT OR IGNORE INTO certificates (serial, issuer_id, profile, status, holder, subject_cn, spki_sha256,"
    " not_before_at, not_after_at, reserved_at, issued_at, template, der, fingerprint, order_id)"
    " SELECT serial, 'stored', 'client-automated', 'issued', user_id, user_id || '0001',"
    " lower(hex(randomblob(32))),"
    " :at, :at + 7776000 - i % 7776000, :at, :at, hex(randomblob(260)), randomblob(:der),"
    " lower(hex(randomblob(32))), printf('%016d', r) FROM drawn",
    "INSERT INTO audit (id, at, actor, action, subject, why, result, digest, hash, detail)"
    " SELECT (SELECT coalesce(max(id), 0) FROM audit) + i + 1, :at,"
    " 'acme:stored', 'enrollment.issue', printf('%016d', r), '', 'done', '', '',"
    ' \'{"after": "picked_up", "before": "accepted", "user": "\' || user_id || \'"}\' FROM drawn',
    "INSERT INTO audit (id, at, actor, action, subject, why, result, digest, hash, detail)"
    " SELECT (SELECT coalesce(max(id), 0) FROM audit) + i + 1, :at,"
    " 'acme:stored', 'certificate.issued', serial, '', 'done', '', '',"
    " '{\"request_id\": \"' || printf('%016d', r) || '\"}' FROM drawn",
    "UPDATE counters SET value = (SELECT coalesce(max(id), 0) FROM audit) WHERE name = 'audit'",
    "DROP TABLE drawn",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        targets, folder = {}, Path()
        for stored in (0, options.stored):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            targets[stored] = stack.enter_context(sekisho(folder, lambda data, n=stored: fill(data, n)))
        os.sched_setaffinity(0, {LOAD_CORE})
        uvloop.run(measure(targets, options, folder))


def fill(data: Path, stored: int) -> None:
    """Writes this many certificates with their enrollments and audit lines, and orders' share of users."""
    if not stored:
        return
    begun = time.monotonic()
    with sqlite3.connect(data / "sekisho.db") as connection:
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -1000000")
        values = {"stored": stored, "per_user": _PER_USER, "at": int(time.time()), "der": _DER_BYTES}
        for statement in _FILL:
            connection.execute(statement, values)
    connection.close()
    size = (data / "sekisho.db").stat().st_size / 2**20
    print(f"{stored} certificates written in {time.monotonic() - begun:.0f} s, {size:.0f} MiB")


async def measure(targets: dict[int, Target], options: argparse.Namespace, folder: Path) -> None:
    """``folder``: of the one with the most certificates."""
    clients = {stored: await clients_of(target, _CONCURRENCY) for stored, target in targets.items()}
    for stored, target in targets.items():
        await run_load(clients[stored], prepare_csrs(target.name, 100), {})
        await settled(target.pid)
    spent = {stored: list[float]() for stored in targets}
    rate = {stored: list[float]() for stored in targets}
    for _ in range(options.rounds):
        for stored, target in targets.items():
            csrs = prepare_csrs(target.name, options.orders)
            before = cpu(target.pid)
            seconds, _ = await run_load(clients[stored], csrs, {})
            spent[stored].append((cpu(target.pid) - before) / options.orders * 1000)
            rate[stored].append(options.orders / seconds)
    rows = [
        {"stored": stored, "cpu_ms": min(spent[stored]), "orders_per_s": max(rate[stored])}
        for stored in spent
    ]
    print(f"{'certificates stored':<22}{'CPU ms/order':>14}{'orders/s':>10}")
    for row in rows:
        print(f"{row['stored']:<22}{row['cpu_ms']:>14.2f}{row['orders_per_s']:>10.0f}")
    print(
        f"CPU per order: {rows[-1]['cpu_ms'] / rows[0]['cpu_ms']:.2f} x that of an empty register; aim: 1.1"
    )
    print(json.dumps(rows))
    await backed_up(clients[options.stored], folder)


async def backed_up(clients: Sequence[Client], folder: Path) -> None:
    """`sekisho backup` of a server while clients order: how long it takes, and the longest order then."""
    key = await _typed("restore", "key", str(folder / "key"))
    words = ("backup", "--to", str(folder / "backup.age"), "--recipient", key["key"]["recipient"])
    took, done = list[float](), asyncio.Event()

    async def order(client: Client) -> None:
        while not done.is_set():
            (csr,) = prepare_csrs(client.target.name, 1)
            begun = time.monotonic()
            await one_order(client, csr, {})
            took.append(time.monotonic() - begun)
            await asyncio.sleep(_PAUSE)

    orders = [asyncio.create_task(order(client)) for client in clients]
    await asyncio.sleep(2)
    quiet, begun = max(took), time.monotonic()
    took.clear()
    made = await _typed(*words, "--data", str(folder / "data"))
    seconds = time.monotonic() - begun
    done.set()
    await asyncio.gather(*orders)
    size = made["backup"]["size"] / 2**20
    print(f"backup of {size:.0f} MiB in {seconds:.1f} s, {len(took)} orders meanwhile")
    print(f"longest order {1000 * max(took):.0f} ms ({1000 * quiet:.0f} before it); aim: below {_LONGEST} ms")


async def _typed(*words: str) -> Any:
    """A command's answer; it has the cores that the load has."""
    line = [str(Path(sys.executable).with_name("sekisho")), *words, "--json"]
    async with started_async(line, stdout=asyncio.subprocess.PIPE) as run:
        out, _ = await run.communicate()
    assert run.returncode == 0, out.decode()
    return json.loads(out)


if __name__ == "__main__":
    main()
