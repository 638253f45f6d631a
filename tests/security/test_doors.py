"""The protocol's two doors lead to the same rights: what one refuses is not to be had at the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from enroll.acme.credentials import withdraw
from tests.datadirs import clock_of
from tests.enroll.acme.acme_world import FQDN, Client, Reply, Site, csr, peer_of, serve, world


def _at(url: str, old: str, new: str) -> str:
    assert url.startswith(old)
    return new + url.removeprefix(old)


async def _finalize_at(other: Client, order: Reply, old: str, new: str) -> Reply:
    return await other.post(_at(order.json["finalize"], old, new), {"csr": csr(FQDN)})


async def test_a_withdrawn_credential_finalizes_nothing_at_the_other_door(tmp_path: Path) -> None:
    """An order that a credential vouched for ends with it, also where certificates vouch for orders."""
    async with world(tmp_path) as pickup, serve(pickup.ra, by_certificate=True) as renewal:
        credential = await pickup.credential()
        client = Client(pickup)
        await client.register(credential)
        await client.certificate()
        clock_of(pickup.ra).advance(days=70)
        order = await client.order()
        assert order.json["status"] == "ready"
        assert await withdraw(pickup.ra, credential.kid, actor="test")
        assert (await client.finalize(order)).problem == (403, "unauthorized")
        roots = pickup.server.urls.root, renewal.server.urls.root
        there = Client(renewal, client.key, kid=_at(client.kid, *roots))
        assert (await _finalize_at(there, order, *roots)).problem == (403, "unauthorized")


async def test_the_credentials_door_takes_no_account_of_the_other(tmp_path: Path) -> None:
    """An account that a certificate vouched for orders nothing where credentials vouch."""
    async with world(tmp_path) as pickup, serve(pickup.ra, by_certificate=True) as renewal:
        first = await pickup.enrolled()
        renewal.peer = peer_of(pickup.ra, await first.certificate())
        client = Client(renewal)
        assert (await client.register()).status == 201
        there = Client(
            pickup, client.key, kid=_at(client.kid, renewal.server.urls.root, pickup.server.urls.root)
        )
        assert (await there.order()).problem == (403, "unauthorized")


_BY_A_PAGE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://other.kinen.example"},
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
]


class _Page(Client):
    """A script in a browser: it signs with a key of its own, and the browser adds its headers."""

    headers: dict[str, str]

    async def send(self, url: str, body: object, content_type: str = "application/jose+json") -> Reply:
        return await self.site.call(
            "POST", url, json=body, headers={"Content-Type": content_type, **self.headers}
        )


@pytest.mark.parametrize("headers", _BY_A_PAGE)
async def test_a_web_page_gets_no_certificate_by_its_visitors_one(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    """A browser presents its certificate whoever's script asks (V40), with credentials omitted too.

    Where the certificate is the authorisation, no page may speak the protocol, or its author would get
    a certificate for the visitor under a key of his own.
    """
    async with world(tmp_path) as pickup, serve(pickup.ra, by_certificate=True) as renewal:
        first = await pickup.enrolled()
        renewal.peer = peer_of(pickup.ra, await first.certificate())
        clock_of(pickup.ra).advance(days=70)
        page = _Page(renewal)
        page.headers = headers
        refused = await page.register()
        assert refused.problem == (403, "unauthorized")
        assert "Access-Control-Allow-Origin" not in refused.headers
        # The same without a browser's headers is a client like any other.
        page.headers = {}
        assert (await page.register()).status == 201


async def _preflight(site: Site) -> Reply:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    return await site.call("OPTIONS", site.to("newAccount"), headers=asked)


async def test_only_the_credentials_door_is_open_to_pages(tmp_path: Path) -> None:
    """RFC 8555 6.1 lets scripts of any origin use the protocol: where they bring their own proof."""
    async with world(tmp_path) as pickup, serve(pickup.ra, by_certificate=True) as renewal:
        assert (await _preflight(pickup)).headers["Access-Control-Allow-Origin"] == "*"
        page = _Page(pickup)
        page.headers = {"Origin": "https://portal.example", "Sec-Fetch-Site": "cross-site"}
        assert (await page.register(await pickup.credential())).status == 201
        there = await _preflight(renewal)
        assert there.status == 403
        plain = await renewal.call("OPTIONS", renewal.to("newAccount"))
        assert (plain.problem, plain.headers["Allow"]) == ((405, "malformed"), "POST")
        for reply in (there, plain):
            assert not [name for name in reply.headers if name.lower().startswith("access-control-")]
