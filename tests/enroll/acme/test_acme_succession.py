"""One certificate has one successor, through whichever door; whoever holds it is told who got it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import enroll.requests.renewal
import enroll.store
from enroll.acme import credentials, store
from enroll.acme.renewalinfo import CertId
from enroll.people import applications
from enroll.requests import issuance
from tests.datadirs import clock_of, delivered
from tests.enroll.acme.acme_world import FQDN, USER, Client, Reply, Site, new_key, peer_of, serve, world
from tests.enroll.acme.test_acme_door import cert_id, renewed_on_the_pages, revocation
from tests.looking import look


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with world(tmp_path) as site:
        yield site


@pytest.fixture
async def renewal(site: Site) -> AsyncIterator[Site]:
    async with serve(site.ra, by_certificate=True) as renewal:
        yield renewal


async def due(site: Site) -> tuple[Client, x509.Certificate]:
    """A client whose certificate is to be renewed."""
    client = await site.enrolled(quota=1)
    certificate = await client.certificate()
    clock_of(site.ra).advance(days=75)
    return client, certificate


async def ready(renewal: Site, client: Client, certificate: x509.Certificate) -> Reply:
    """An order of the renewal site whose challenge is answered."""
    renewal.peer = peer_of(renewal.ra, certificate)
    assert (await client.register()).status in (200, 201)
    order = await client.order()
    challenge = (await client.post(order.json["authorizations"][0])).json["challenges"][0]["url"]
    assert (await client.post(challenge, {})).json["status"] == "valid"
    return order


async def status_of(client: Client, order: Reply) -> str:
    return str((await client.post(order.headers["Location"])).json["status"])


async def letters(site: Site) -> list[str]:
    found = [each.subject for each in await delivered(site.ra)]
    return [subject for subject in found if "更新されました" in subject]


def trail(site: Site) -> list[str]:
    rows = look(site.ra.database).rows(
        "SELECT actor FROM audit WHERE action = 'certificate.renewed-by-another'"
    )
    return [actor for (actor,) in rows]


async def test_renewed_on_a_page_is_replaced(site: Site) -> None:
    """A certificate that was renewed on the pages is not replaced once more by an order."""
    client, certificate = await due(site)
    await renewed_on_the_pages(site, certificate)
    assert (await client.order(replaces=cert_id(certificate))).problem == (409, "alreadyReplaced")


async def test_a_thief_and_the_owner(site: Site, renewal: Site) -> None:
    """Whoever renews a stolen certificate first leaves the owner a 409, a letter and a line."""
    owner, certificate = await due(site)
    thief = Client(renewal)
    assert (await thief.finalize(await ready(renewal, thief, certificate))).json["status"] == "valid"
    assert (await owner.order(replaces=cert_id(certificate))).problem == (409, "alreadyReplaced")
    assert len(await letters(site)) == 1
    assert trail(site) == [f"acme:{thief.kid.rpartition('/')[2]}"]
    (row,) = [each for each in enroll.store.enrollments_of(look(site.ra.database), USER) if each.by_another]
    assert row.kind == "renewal"


async def test_the_owners_renewal_is_no_news(site: Site, renewal: Site) -> None:
    """By the account that holds it, at either door, nobody is told; nor at the next renewal of another's."""
    owner, certificate = await due(site)
    assert (await owner.finalize(await owner.order(replaces=cert_id(certificate)))).json["status"] == "valid"
    again, second = await due(site)
    at_renewal = Client(renewal, key=again.key)
    final = await at_renewal.finalize(await ready(renewal, at_renewal, second), key=new_key())
    assert final.json["status"] == "valid"
    assert (await letters(site), trail(site)) == ([], [])
    chain = await at_renewal.post(final.json["certificate"])
    third = x509.load_pem_x509_certificates(chain.body)[0]
    clock_of(site.ra).advance(days=75)
    assert (await again.finalize(await again.order(replaces=cert_id(third)))).json["status"] == "valid"
    assert (await letters(site), trail(site)) == ([], [])


async def test_a_renewal_by_the_other_door_is_told(site: Site, renewal: Site) -> None:
    """On a page of what came by the protocol, and by the protocol of what came by a page."""
    _, certificate = await due(site)
    on_page = await renewed_on_the_pages(site, certificate)
    assert len(await letters(site)) == 1
    clock_of(site.ra).advance(days=75)
    client = Client(renewal)
    await client.finalize(await ready(renewal, client, on_page))
    assert len(await letters(site)) == 2
    fingerprint = on_page.fingerprint(hashes.SHA256()).hex()
    rows = enroll.store.enrollments_of(look(site.ra.database), USER)
    assert [row.door for row in rows[:2]] == ["protocol", "page"]
    assert enroll.requests.renewal.source_of(look(site.ra.database), fingerprint) == rows[1]


async def test_an_open_order_holds_nobody_up(site: Site, renewal: Site) -> None:
    """The same again is the same order; other names take it over; another door and account may, too."""
    client, certificate = await due(site)
    first = await client.order(replaces=cert_id(certificate))
    same = await client.order(FQDN.upper(), replaces=cert_id(certificate))
    assert (same.status, same.headers["Location"]) == (201, first.headers["Location"])
    other = await client.order("k123456780002", FQDN, replaces=cert_id(certificate))
    assert other.headers["Location"] != first.headers["Location"]
    assert await status_of(client, first) == "invalid"
    stranger = Client(renewal)
    order = await ready(renewal, stranger, certificate)
    assert await status_of(client, other) == "invalid"
    assert (await stranger.finalize(order)).json["status"] == "valid"


async def test_before_the_renewal_period_too(site: Site) -> None:
    """What an order replaces outside the period, out of the quota: replaced when it has its certificate."""
    client = await site.enrolled(quota=3)
    certificate = await client.certificate()
    first = await client.order(replaces=cert_id(certificate))
    again = await client.order(replaces=cert_id(certificate))
    assert again.headers["Location"] == first.headers["Location"]
    second = await client.order("k123456780001", FQDN, replaces=cert_id(certificate))
    assert (await status_of(client, first), second.status) == ("invalid", 201)
    assert (await client.finalize(second, "k123456780001", FQDN)).json["status"] == "valid"
    assert (await client.order(replaces=cert_id(certificate))).problem == (409, "alreadyReplaced")
    assert (await client.order()).status == 201


async def test_a_revoked_certificate_is_replaced_too(site: Site) -> None:
    """RFC 9773 section 4.2: its window has passed, and the order that replaces it comes at once."""
    client = await site.enrolled(quota=2)
    certificate = await client.certificate()
    assert (await client.post(site.to("revokeCert"), revocation(certificate))).status == 200
    order = await client.order(replaces=cert_id(certificate))
    assert await status_of(client, order) == "ready"
    assert (await client.finalize(order)).json["status"] == "valid"
    assert (await client.order(replaces=cert_id(certificate))).problem == (409, "alreadyReplaced")


async def test_an_order_that_takes_over_has_its_own_day(site: Site) -> None:
    """Its request waits as long as the newer order does, and not as the older one did."""
    client = await site.enrolled(quota=3)
    certificate = await client.certificate()
    await client.order(replaces=cert_id(certificate))
    clock_of(site.ra).advance(seconds=80_000)
    second = await client.order("k123456780001", FQDN, replaces=cert_id(certificate))
    clock_of(site.ra).advance(seconds=80_000)
    assert await status_of(client, second) == "ready"
    assert (await client.finalize(second, "k123456780001", FQDN)).json["status"] == "valid"


async def test_capitals_are_the_same_names(site: Site) -> None:
    """RFC 4343: an order for the same names in other letters is the one that is open."""
    client, _ = await due(site)
    first, second = await client.order(), await client.order(FQDN.upper())
    assert first.headers["Location"] == second.headers["Location"]
    assert await status_of(client, first) == "ready"


async def test_a_revoked_source_ends_its_orders(site: Site, renewal: Site) -> None:
    """RFC 8555 section 7.1.6: pending and ready orders for a revoked certificate are invalid, not listed."""
    owner, certificate = await due(site)
    client = Client(renewal)
    order = await ready(renewal, client, certificate)
    waiting = await client.order()
    assert (await status_of(client, order), await status_of(client, waiting)) == ("ready", "pending")
    assert (await owner.post(site.to("revokeCert"), revocation(certificate))).status == 200
    assert (await status_of(client, order), await status_of(client, waiting)) == ("invalid", "invalid")
    assert (await client.finalize(order)).problem == (403, "orderNotReady")
    assert (await client.post(client.kid + "/orders")).json == {"orders": []}


async def test_the_end_of_a_credential_ends_its_orders(site: Site) -> None:
    """Every open order of it, those out of the quota too: invalid, and finalize says why."""
    client = await site.enrolled(quota=3)
    await client.certificate()
    order = await client.order()
    (credential,) = store.credentials_of(look(site.ra.database), USER)
    assert await credentials.withdraw(site.ra, credential.kid, actor="test")
    assert await status_of(client, order) == "invalid"
    assert (await client.finalize(order)).problem == (403, "unauthorized")


async def test_a_reissue_on_pick_up_ends_orders_then(site: Site) -> None:
    """Until the new certificate is picked up old and new orders go on; from then on none does."""
    client, _ = await due(site)
    order = await client.order()
    made = await applications.reissue(site.ra, USER, "pc_change", actor="desk")
    assert await status_of(client, order) == "ready"
    assert (await client.order()).headers["Location"] == order.headers["Location"]
    fresh = await site.enrolled()
    further = await fresh.order()
    assert await status_of(fresh, further) == "ready"
    begun = await issuance.submit(site.ra, made.request_id, actor=USER)
    await issuance.complete(site.ra, begun.request_id)
    token = await issuance.prepare_download(site.ra, begun.request_id, "abc123", "standard", actor=USER)
    await issuance.download(site.ra, token, begun.request_id, actor=USER)
    assert (await status_of(client, order), await status_of(fresh, further)) == ("invalid", "invalid")
    assert (await client.order()).problem == (403, "unauthorized")


async def test_a_place_of_the_quota_is_free_again(site: Site) -> None:
    """A revoked certificate's after its first day, an expired one's at once, a renewed one's never."""
    client = await site.enrolled(quota=1)
    certificate = await client.certificate()
    assert (await client.post(site.to("revokeCert"), revocation(certificate))).status == 200
    refused = await client.order()
    assert (refused.problem, refused.headers["Retry-After"]) == ((429, "rateLimited"), "86400")
    clock_of(site.ra).advance(days=1)
    second = await client.certificate()
    early = await client.order()
    assert "can be renewed from 2027.01" in early.json["detail"]
    clock_of(site.ra).advance(days=75)
    await client.certificate()
    clock_of(site.ra).set(int(second.not_valid_after_utc.timestamp()) + 1)
    assert (await client.order()).problem == (429, "rateLimited")


async def test_a_persons_certificate_is_revoked_by_any_name_of_theirs(site: Site) -> None:
    """RFC 8555 section 7.6: it has a common name only; another account with a valid authorization may."""
    holder = await site.enrolled(profile="client-person")
    certificate = await holder.certificate()
    other = await site.enrolled()
    url = site.to("revokeCert")
    assert (await other.post(url, revocation(certificate))).problem == (403, "unauthorized")
    name = {"identifier": {"type": "dns", "value": "k123456780001"}}
    assert (await other.post(site.to("newAuthz"), name)).status == 201
    assert (await other.post(url, revocation(certificate))).status == 200


async def test_updates_of_other_members_are_ignored(site: Site) -> None:
    """RFC 8555 section 7.3.2: the server MUST ignore them; nothing is refused, nothing changes."""
    client = await site.enrolled()
    before = (await client.post(client.kid)).json
    update = {"status": "revoked", "termsOfServiceAgreed": True, "orders": "x", "unknown": [1]}
    changed = await client.post(client.kid, update)
    assert (changed.status, changed.json) == (200, before)
    assert before["termsOfServiceAgreed"] is False


async def test_every_string_has_the_bound(site: Site) -> None:
    """Of members that nobody knows, too, wherever they stand; a certificate has the body's bound."""
    client = await site.enrolled()
    long, fits = "x" * 16_385, "x" * 16_384
    for payload in ({"unknown": long}, {"a": [{"b": long}]}, {long: 1}, {"contact": [long]}):
        assert (await client.post(client.kid, payload)).problem == (400, "malformed")
    assert (await client.post(client.kid, {"unknown": fits})).status == 200
    assert (await client.post(site.to("revokeCert"), {"certificate": "A" * 20_000})).problem == (
        400,
        "malformed",
    )


def test_names_of_certificates_here() -> None:
    """What `cert_id` of these tests writes is what the protocol reads."""
    assert str(CertId(b"k", 1)) == "aw.AQ"
