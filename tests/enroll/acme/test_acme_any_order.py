"""Both doors and the pages at once, in any order: whatever happens, what a client was told stays true."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import enroll.requests.renewal
from enroll import scheduler
from enroll.people import applications
from enroll.refusals import Refusal
from enroll.requests import issuance
from tests.datadirs import clock_of
from tests.enroll.acme.acme_world import FQDN, USER, Client, Reply, Site, peer_of, serve, world
from tests.enroll.acme.test_acme_door import cert_id, revocation

# RFC 8555 section 7.1.6. Steps in between may have gone by unseen.
_AFTER = {
    "pending": {"pending", "ready", "processing", "valid", "invalid"},
    "ready": {"ready", "processing", "valid", "invalid"},
    "processing": {"processing", "valid", "invalid"},
    "valid": {"valid"},
    "invalid": {"invalid"},
}


@dataclass
class Seen:
    """An order, and what was last seen of it."""

    client: Client
    reply: Reply
    status: str = "pending"
    chain: bytes = b""

    @property
    def url(self) -> str:
        return str(self.reply.headers["Location"])


@dataclass
class Play:
    """One user with two programs on the pick-up site, some on the renewal site, and a browser."""

    chance: random.Random
    pickup: Site
    renewal: Site
    clients: list[Client]
    certificates: list[x509.Certificate]
    orders: list[Seen] = field(default_factory=list)

    async def order(self) -> None:
        client, wanted = self.chance.choice(self.clients), self._present()
        names = self.chance.choice([(FQDN,), (FQDN.upper(),), (FQDN, USER.lower())])
        members = {"replaces": cert_id(wanted)} if self.chance.random() < 0.3 else {}
        reply = await client.order(*names, **members)
        if reply.status == 201:
            assert members.items() <= reply.json.items()
            # Asked again, the open order may come back (PROTOCOL.md section 6).
            if reply.headers["Location"] not in [one.url for one in self.orders if one.client is client]:
                self.orders.append(Seen(client, reply))

    async def open_account(self) -> None:
        self._present()
        client = Client(self.renewal)
        if (await client.register()).status == 201:
            self.clients.append(client)

    async def answer(self) -> None:
        if self.orders:
            self._present()
            one = self.chance.choice(self.orders)
            for url in one.reply.json["authorizations"]:
                await one.client.post(url.replace("/authorization/", "/challenge/"), {})

    async def finalize(self) -> None:
        if self.orders:
            one = self.chance.choice(self.orders)
            names = [each["value"] for each in one.reply.json["identifiers"]]
            final = await one.client.finalize(one.reply, *names)
            if final.status == 200:
                chain = await one.client.post(final.json["certificate"])
                self.certificates.append(x509.load_pem_x509_certificates(chain.body)[0])

    async def deactivate(self) -> None:
        if self.orders:
            one = self.chance.choice(self.orders)
            await one.client.post(one.reply.json["authorizations"][0], {"status": "deactivated"})

    async def revoke(self) -> None:
        if self.chance.random() < 0.3:
            client = self.chance.choice(self.clients)
            certificate = self.chance.choice(self.certificates)
            await client.post(client.site.to("revokeCert"), revocation(certificate))

    async def submit_on_the_page(self) -> None:
        if self._present() and self.renewal.peer is not None:
            fingerprint = self.renewal.peer.fingerprint
            await enroll.requests.renewal.submit(self.pickup.ra, fingerprint, actor=USER)

    async def issue_for_the_page(self) -> None:
        await issuance.recover(self.pickup.ra)

    async def reissue(self) -> None:
        if self.chance.random() < 0.2:
            reason = self.chance.choice(["pc_change", "lost_or_stolen"])
            await applications.reissue(self.pickup.ra, USER, reason, actor="desk")

    async def wait(self) -> None:
        clock_of(self.pickup.ra).advance(hours=self.chance.choice([0, 1, 13]), seconds=1)
        await scheduler.tick(self.pickup.ra)

    def _present(self) -> x509.Certificate:
        """Presents one of the certificates on the renewal site, or none where it passes no more."""
        certificate = self.chance.choice(self.certificates)
        try:
            self.renewal.peer = peer_of(self.pickup.ra, certificate)
        except AssertionError:
            self.renewal.peer = None
        return certificate

    async def look(self) -> None:
        for one in self.orders:
            shown: dict[str, Any] = (await one.client.post(one.url)).json
            assert shown["status"] in _AFTER[one.status], f"{one.status} became {shown['status']}"
            one.status = shown["status"]
            if one.status == "valid":
                chain = await one.client.post(shown["certificate"])
                assert (chain.status, chain.body) == (200, one.chain or chain.body)
                one.chain = chain.body


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_in_any_order(tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """RFC 8555 sections 7.1.6, 7.4.2: orders go forwards only, and a certificate stays the one it was.

    Nothing that two programs, a browser and the desk do after one another fails on our side.
    """
    chance = random.Random(seed)
    async with world(tmp_path) as pickup, serve(pickup.ra, by_certificate=True) as renewal:
        clients = [await pickup.enrolled(quota=3) for _ in range(2)]
        play = Play(chance, pickup, renewal, clients, [await each.certificate() for each in clients])
        clock_of(pickup.ra).advance(days=65)
        acts = (play.order, play.order, play.open_account, play.answer, play.answer, play.finalize)
        others = (play.deactivate, play.revoke, play.submit_on_the_page, play.issue_for_the_page)
        for _ in range(60):
            try:
                await chance.choice((*acts, *others, play.reissue, play.wait))()
            except Refusal:
                continue
            await play.look()
        assert play.orders
    assert [record.message for record in caplog.records if record.name == "sekisho.acme"] == []
