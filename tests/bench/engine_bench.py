"""What an order costs on each engine: orders a second, CPU on the node and CPU of the server.

Run as ``python -m tests.bench.engine_bench [--orders N] [--rounds N]``. Orders are made and finalized by the
functions of the protocol, eight at once, without HTTP and signatures of requests, which cost the same on both
engines: on a whole order the ratios are smaller. PostgreSQL waits for its disk, as SQLite does. Rounds
alternate.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from enroll.acme import credentials, fulfilment, ordering, registration, store
from enroll.acme.accounts import Account
from enroll.acme.keys import account_key
from enroll.acme.orders import Identifier, NewOrder
from tests import databases, datadirs
from tests.bench.figures import Figures
from tests.bench.tls_bench import cpu
from tests.engines import VARIABLE
from tests.enroll.acme.acme_world import FQDN, csr, new_key, serve

_SQLITE, _POSTGRESQL = "SQLite", "PostgreSQL"
_AT_ONCE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accounts", type=int, default=_AT_ONCE, help="which the orders are of")
    options = parser.parse_args()
    asyncio.run(_rounds(options.rounds, options.orders, options.accounts)).report()


async def _rounds(rounds: int, count: int, accounts: int) -> Figures:
    figures = Figures(_SQLITE)
    with ExitStack() as running:
        cluster = running.enter_context(databases.temporary())
        server = running.enter_context(cluster.running(durable=True))
        databases.shared_from_now_on(cluster)
        async with AsyncExitStack() as opened:
            flows = {engine: await _opened(opened, engine, accounts) for engine in (_SQLITE, _POSTGRESQL)}
            for _ in range(rounds):
                for engine, flow in flows.items():
                    figures.add(engine, await _round(flow, server, count))
    return figures


async def _opened(opened: AsyncExitStack, engine: str, count: int) -> tuple[Any, list[Account]]:
    os.environ[VARIABLE] = "sqlite" if engine == _SQLITE else "postgresql"
    folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
    ra = await opened.enter_async_context(datadirs.open_office(folder))
    site = await opened.enter_async_context(serve(ra))
    accounts = []
    for number in range(count):
        user = f"K{number:08}"
        await datadirs.admit(ra, user)
        (issued,) = await credentials.create(ra, user, actor="bench", quota=100_000)
        key = account_key(new_key().public_key())
        made = Account(store.new_id(ra.now()), user, key, "valid", (), ra.now(), None, issued.kid, None)
        account, _ = await ra.database.write(lambda db, m=made: registration._record(db, site.server, m))
        accounts.append(account)
    return site.server, accounts


async def _round(flow: tuple[Any, list[Account]], database: int, count: int) -> Mapping[str, float]:
    server, accounts = flow
    names = [FQDN.replace("k12345678", account.user_id.lower()) for account in accounts]
    requests = [[csr(name) for _ in range(count // _AT_ONCE)] for name in names]

    async def some(place: int) -> None:
        mine = place % len(accounts)
        asked = NewOrder((Identifier("dns", names[mine]),), None, None)
        for request in requests[mine]:
            order = await ordering.new_order(server, accounts[mine], asked, None)
            done = await fulfilment.finalize(server, accounts[mine], order.order.id, {"csr": request})
            assert done.status == "valid", done

    before, begun = (time.process_time(), cpu(database)), time.perf_counter()
    await asyncio.gather(*(some(place) for place in range(_AT_ONCE)))
    taken, after = time.perf_counter() - begun, (time.process_time(), cpu(database))
    made = count // _AT_ONCE * _AT_ONCE
    return {
        "orders/s": made / taken,
        "node, ms CPU": (after[0] - before[0]) / made * 1_000,
        "server, ms CPU": (after[1] - before[1]) / made * 1_000,
    }


if __name__ == "__main__":
    main()
