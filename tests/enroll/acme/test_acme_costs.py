"""What each request of an order costs the database: transactions and statements; none is added unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ca.storage import Row, Transaction, Values
from enroll.hooks import endpoints
from tests import datadirs
from tests.enroll.acme.acme_world import FQDN, USER, Reply, Site, csr, serve


class _Counted:
    """A transaction whose statements are counted."""

    def __init__(self, db: Transaction, seen: Counter[str]) -> None:
        self._db, self._seen = db, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        self._seen["statements"] += 1
        return self._db.execute(statement, values)

    def defer(self, statement: str, values: Values, /) -> None:
        self._seen["statements"] += 1
        self._db.defer(statement, values)

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        self._seen["statements"] += 1
        return self._db.one(statement, values)

    def rows(self, statement: str, values: Values = {}, /) -> Any:  # noqa: B006
        self._seen["statements"] += 1
        return self._db.rows(statement, values)


class _Counting:
    """A storage whose transactions are counted, by whoever awaits them."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.seen: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def read(self, work: Any) -> Any:
        self.seen["reads"] += 1
        return await self._storage.read(lambda db: work(_Counted(db, self.seen)))

    async def write(self, work: Any) -> Any:
        self.seen["writes"] += 1
        return await self._storage.write(lambda db: work(_Counted(db, self.seen)))


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[tuple[Site, Counter[str]]]:
    async with datadirs.open_office(tmp_path) as ra:
        await datadirs.admit(ra, USER)
        storage = _Counting(ra.database)
        async with serve(replace(ra, database=storage)) as site:
            yield site, storage.seen


@pytest.mark.parametrize("endpoints_there", [0, 2])
async def test_an_order_takes_as_few_looks_as_it_can(
    counted: tuple[Site, Counter[str]], endpoints_there: int
) -> None:
    """One transaction a request, two where a serial has to be on disk before it is signed; of an account that
    signed before there is no look of its own. Many statements more are somebody's decision. Webhooks take
    none, whether there are endpoints or not."""
    site, seen = counted
    ra = replace(site.ra, settings=replace(site.ra.settings, webhook_hosts=("hooks.example.jp",)))
    for number in range(endpoints_there):
        told = {"name": f"e{number}x", "url": "https://hooks.example.jp/", "events": ["*"]}
        await endpoints.add(ra, told, "test", True)
    client = await site.enrolled(quota=9)
    for _ in range(2):  # so that there is a certificate before this one, and the account is known
        await client.certificate(FQDN)

    async def cost(asked: Any) -> tuple[Reply, tuple[int, int, int]]:
        seen.clear()
        reply = await asked
        assert reply.status in (200, 201), reply
        return reply, (seen["reads"], seen["writes"], seen["statements"])

    order, newest = await cost(client.order())
    _, poll = await cost(client.post(order.headers["Location"]))
    done, finalize = await cost(client.post(order.json["finalize"], {"csr": csr(FQDN)}))
    _, chain = await cost(client.post(done.json["certificate"]))
    costs = {"newOrder": newest, "poll": poll, "finalize": finalize, "certificate": chain}
    assert {name: cost[:2] for name, cost in costs.items()} == {
        "newOrder": (0, 1),
        "poll": (1, 0),
        "finalize": (0, 2),
        "certificate": (1, 0),
    }
    most = {"newOrder": 9, "poll": 4, "finalize": 20, "certificate": 4}
    assert {name: cost for name, cost in costs.items() if cost[2] > most[name]} == {}


async def test_a_finalize_that_is_refused_is_one_transaction(counted: tuple[Site, Counter[str]]) -> None:
    """What is wrong with a CSR is said within the write that would have begun, which then changes nothing."""
    site, seen = counted
    client = await site.enrolled()
    order = await client.order()
    seen.clear()
    refused = await client.post(order.json["finalize"], {"csr": "AAAA"})
    assert refused.problem == (400, "badCSR")
    assert (seen["reads"], seen["writes"]) == (0, 1)
    assert (await client.post(order.headers["Location"])).json["status"] == "ready"
