"""Accounts that are remembered: what they were a moment ago counts only while they still are it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enroll.acme import store
from enroll.acme.keys import account_key
from enroll.acme.remembered import Remembered
from enroll.acme.resources import RESOURCES
from tests.enroll.acme.acme_world import FQDN, Client, Site, csr, new_key, world
from tests.looking import look, rows

NAMES = {"identifiers": [{"type": "dns", "value": FQDN}]}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with world(tmp_path) as site:
        yield site


async def asked(site: Site, client: Client) -> dict[str, tuple[str, Any]]:
    """Each resource that goes by what is remembered: where it is, and what is sent there."""
    done = await client.certificate(FQDN)
    assert done is not None
    first = (await client.post(client_url(site, client))).json["orders"][0]
    order = (await client.post(first)).json
    waiting = await client.order()
    authorization = (await client.post(order["authorizations"][0])).json
    return {
        "newOrder": (site.to("newOrder"), NAMES),
        "order": (first, ""),
        "finalize": (waiting.json["finalize"], {"csr": csr(FQDN)}),
        "authorization": (order["authorizations"][0], {"status": "deactivated"}),
        "challenge": (authorization["challenges"][0]["url"], {}),
        "certificate": (order["certificate"], ""),
        "alternate": (order["certificate"] + "/root", ""),
    }


def client_url(site: Site, client: Client) -> str:
    return site.to("orders", client.kid.rpartition("/")[2])


def everything(site: Site) -> dict[str, list[Any]]:
    """What a request could have changed."""
    tables = ("acme_orders", "acme_authorizations", "enrollments", "certificates", "audit")
    db = look(site.ra.database)
    return {table: [tuple(row) for row in rows(db, f"SELECT * FROM {table}")] for table in tables}


async def test_an_account_that_ended_elsewhere_does_nothing_more(site: Site) -> None:
    """Deactivated by another process: the next request gets 401, whichever it is, and changes nothing."""
    client = await site.enrolled(quota=9)
    requests = await asked(site, client)
    assert set(requests) == {name for name, resource in RESOURCES.items() if resource.confirms}
    account_id = client.kid.rpartition("/")[2]
    assert site.server.accounts.get(account_id) is not None
    await site.ra.database.write(lambda db: store.deactivate_account(db, account_id))
    before = everything(site)
    for url, payload in requests.values():
        known = site.server.accounts.get(account_id)
        assert (await client.post(url, payload)).problem == (401, "unauthorized")
        assert everything(site) == before
        if known is not None and known.status != "valid":
            # As it was: each of them meets an account that is remembered as valid.
            site.server.accounts.keep(replace(known, status="valid"))


async def test_a_key_that_was_changed_elsewhere_opens_nothing_more(site: Site) -> None:
    """By another process: what the old key signs is refused, what the new one signs is done."""
    client = await site.enrolled(quota=9)
    requests = await asked(site, client)
    account_id, new = client.kid.rpartition("/")[2], new_key()
    old = store.account(look(site.ra.database), account_id)
    assert old is not None
    key = account_key(new.public_key())
    await site.ra.database.write(lambda db: store.change_key(db, account_id, old.key, key))
    before = everything(site)
    for url, payload in requests.values():
        site.server.accounts.keep(old)
        assert (await client.post(url, payload)).problem == (400, "malformed")
        assert everything(site) == before
    client.key = new
    for url, payload in requests.values():
        site.server.accounts.keep(old)
        assert (await client.post(url, payload)).status in (200, 201)


async def test_what_else_changed_keeps_nobody_out(site: Site) -> None:
    """Other contacts are another account to compare; the request is proven again, and done."""
    client = await site.enrolled(quota=9)
    await client.order()
    account_id = client.kid.rpartition("/")[2]
    await site.ra.database.write(lambda db: store.set_contacts(db, account_id, ["mailto:a@example.jp"]))
    assert (await client.order()).status == 201
    known = site.server.accounts.get(account_id)
    assert known is not None
    assert known.contacts == ("mailto:a@example.jp",)


async def test_a_wrong_signature_is_looked_at_once(site: Site) -> None:
    """Of an account that is what is remembered: the same refusal as of one that is read."""
    client = await site.enrolled(quota=9)
    order = await client.order()
    client.key = new_key()
    assert (await client.post(order.headers["Location"])).problem == (400, "malformed")


async def test_only_so_many_are_remembered(site: Site) -> None:
    """The one that signed longest ago is forgotten first."""
    one, two, three = [
        store.account(look(site.ra.database), (await site.enrolled()).kid.rpartition("/")[2])
        for _ in range(3)
    ]
    assert one is not None
    assert two is not None
    assert three is not None
    kept = Remembered(most=2)
    for each in (one, two, one, three):
        kept.keep(each)
    assert (kept.get(one.id), kept.get(two.id), kept.get(three.id)) == (one, None, three)
