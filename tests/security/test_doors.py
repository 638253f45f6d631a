"""The protocol's two doors lead to the same rights: what one refuses is not to be had at the other."""

from __future__ import annotations

from pathlib import Path

from enroll.acme.credentials import withdraw
from tests.enroll.acme.acme_world import FQDN, Client, Reply, csr, serve, world


def _at(url: str, old: str, new: str) -> str:
    assert url.startswith(old)
    return new + url.removeprefix(old)


async def _finalize_at(other: Client, order: Reply, old: str, new: str) -> Reply:
    return await other.post(_at(order.json["finalize"], old, new), {"csr": csr(FQDN)})


async def test_a_withdrawn_credential_finalizes_nothing_at_the_other_door(tmp_path: Path) -> None:
    """An order that a credential vouched for ends with it, also where certificates vouch for orders."""
    async with world(tmp_path) as pickup, serve(pickup.office, by_certificate=True) as renewal:
        credential = await pickup.credential()
        client = Client(pickup)
        await client.register(credential)
        await client.certificate()
        from tests.offices import clock_of

        clock_of(pickup.office).advance(days=70)
        order = await client.order()
        assert order.json["status"] == "ready"
        assert await withdraw(pickup.office, credential.kid, actor="test")
        assert (await client.finalize(order)).problem == (403, "unauthorized")
        roots = pickup.door.urls.root, renewal.door.urls.root
        there = Client(renewal, client.key, kid=_at(client.kid, *roots))
        assert (await _finalize_at(there, order, *roots)).problem == (403, "unauthorized")


async def test_the_credentials_door_takes_no_account_of_the_other(tmp_path: Path) -> None:
    """An account that a certificate vouched for orders nothing where credentials vouch."""
    from tests.enroll.acme.acme_world import peer_of

    async with world(tmp_path) as pickup, serve(pickup.office, by_certificate=True) as renewal:
        first = await pickup.enrolled()
        renewal.peer = peer_of(pickup.office, await first.certificate())
        client = Client(renewal)
        assert (await client.register()).status == 201
        there = Client(pickup, client.key, kid=_at(client.kid, renewal.door.urls.root, pickup.door.urls.root))
        assert (await there.order()).problem == (403, "unauthorized")
