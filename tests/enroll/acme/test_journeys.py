"""How often an order asks PostgreSQL: each time is a journey, which is what it costs more than a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enroll.acme import credentials, fulfilment, ordering, registration, store
from enroll.acme.accounts import Account
from enroll.acme.keys import account_key
from enroll.acme.orders import Identifier, NewOrder
from tests import databases
from tests.datadirs import admit, open_office
from tests.engines import VARIABLE
from tests.enroll.acme.acme_world import FQDN, csr, new_key, serve


@databases.NEEDED
async def test_an_order_asks_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """newOrder 7 times, finalize 16, in three transactions of which nothing is begun or ended by itself."""
    from ca.postgresql.connection import Connection

    monkeypatch.setenv(VARIABLE, "postgresql")
    journeys, ask = [], Connection.ask

    def counted(self: Any, *asked: Any) -> Any:
        if self.slot:  # not who looks, twice a second, what others have committed
            journeys.append(1)
        return ask(self, *asked)

    monkeypatch.setattr(Connection, "ask", counted)
    async with open_office(tmp_path) as ra, serve(ra) as site:
        await admit(ra, "K12345678")
        (issued,) = await credentials.create(ra, "K12345678", actor="test", quota=9)
        key = account_key(new_key().public_key())
        made = Account(store.new_id(ra.now()), "K12345678", key, "valid", (), ra.now(), None, issued.kid)
        account, _ = await ra.database.write(lambda db: registration._record(db, site.server, made))
        asked = NewOrder((Identifier("dns", FQDN),), None, None)
        counts = list[tuple[int, int]]()
        # What a connection is asked for the first time it has to prepare.
        for _ in range(4):
            journeys.clear()
            order = await ordering.new_order(site.server, account, asked, None)
            ordered = len(journeys)
            done = await fulfilment.finalize(site.server, account, order.order.id, {"csr": csr(FQDN)})
            assert done.status == "valid"
            counts.append((ordered, len(journeys) - ordered))
        assert tuple(map(min, *counts)) == (7, 16)
