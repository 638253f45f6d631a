"""The life of a credential: what ends it besides its own withdrawal, and how many a user may have."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import enroll.store
from enroll.acme import credentials, store
from enroll.people.applications import reissue
from enroll.people.register import disable_user
from enroll.refusals import Refusal
from enroll.requests import issuance
from enroll.requests.enrollment import RevokeOld
from enroll.requests.states import State
from tests.datadirs import clock_of
from tests.enroll.acme.acme_world import USER, Client, Site, world
from tests.enroll.acme.signing import b64
from tests.looking import look


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with world(tmp_path) as site:
        yield site


async def reissued(site: Site, revoke_old: RevokeOld) -> str:
    admission = await reissue(site.ra, USER, "pc_change", actor="operator", revoke_old=revoke_old)
    return admission.request_id


async def picked_up(site: Site, request_id: str) -> None:
    await issuance.submit(site.ra, request_id, actor=USER)
    await issuance.complete(site.ra, request_id)
    token = await issuance.prepare_download(site.ra, request_id, "Passw0rd", "standard", actor=USER)
    await issuance.download(site.ra, token, request_id, actor=USER)


async def alive(site: Site) -> list[bool]:
    found = store.credentials_of(look(site.ra.database), USER)
    return [one.withdrawn_at is None for one in found]


async def test_reissue_at_once(site: Site) -> None:
    """A reissue that revokes at once ends the user's credentials at once: no account, no order."""
    bound, unbound = await site.enrolled(), await site.credential()
    await bound.certificate()
    await reissued(site, "at_once")
    assert (await bound.order()).problem == (403, "unauthorized")
    assert (await Client(site).register(unbound)).problem == (403, "unauthorized")
    assert await alive(site) == [False, False]


async def test_reissue_on_pickup(site: Site) -> None:
    """A reissue that revokes when it is picked up leaves credentials alone until then, and no longer."""
    client = await site.enrolled()
    await client.certificate()
    request_id = await reissued(site, "on_pickup")
    assert await client.certificate()
    between = await client.order()
    await picked_up(site, request_id)
    assert (await client.order()).problem == (403, "unauthorized")
    assert (await client.finalize(between)).problem == (403, "unauthorized")


async def test_renewal_order_of_an_ended_credential(site: Site) -> None:
    """An order for a renewal cannot be finalized either once the credential has ended."""
    client = await site.enrolled(quota=1)
    certificate = await client.certificate()
    clock_of(site.ra).set(int(certificate.not_valid_after_utc.timestamp()) - 10 * 86_400)
    order = await client.order()
    assert order.json["status"] == "ready"
    (credential,) = store.credentials_of(look(site.ra.database), USER)
    await credentials.withdraw(site.ra, credential.kid, actor="operator")
    assert (await client.finalize(order)).problem == (403, "unauthorized")


async def test_made_after_a_reissue(site: Site) -> None:
    """A credential made after the reissue, in the same second, is alive."""
    await reissued(site, "at_once")
    assert await (await site.enrolled()).certificate()


async def test_disabling(site: Site) -> None:
    """Disabling a user ends the credentials at once, for good."""
    client = await site.enrolled()
    certificate = await client.certificate()
    await disable_user(site.ra, USER, actor="operator")
    assert (await client.order()).problem == (403, "unauthorized")
    assert await alive(site) == [False]
    origin = enroll.store.enrollment_of(look(site.ra.database), f"{certificate.serial_number:x}")
    assert origin is not None
    assert origin.state is State.REVOKED


async def test_own_revocation_leaves_the_credential(site: Site) -> None:
    """A client that revokes its certificate as superseded goes on enrolling."""
    client = await site.enrolled()
    certificate = await client.certificate()
    named = {"certificate": b64(certificate.public_bytes(Encoding.DER)), "reason": 4}
    assert (await client.post(site.to("revokeCert"), named)).status == 200
    assert await client.certificate()
    assert await alive(site) == [True]


async def test_limit_for_the_portal(site: Site) -> None:
    """E18: a 管理者 may give out as many living credentials as the user may hold; the operator more."""
    create = credentials.create
    (first,) = await create(site.ra, USER, actor="admin", limit=True)
    with pytest.raises(Refusal) as refused:
        await create(site.ra, USER, actor="admin", limit=True)
    assert refused.value.code == "limit_reached"
    await create(site.ra, USER, actor="operator", count=2)
    await credentials.withdraw(site.ra, first.kid, actor="admin")
    with pytest.raises(Refusal):
        await create(site.ra, USER, actor="admin", limit=True)


async def test_limit_of_the_organisation(tmp_path: Path) -> None:
    """The organisation's own number goes before the setting's; ended credentials do not count."""
    async with world(tmp_path) as site:
        await site.ra.database.write(
            lambda db: db.execute("UPDATE organisations SET lineages = 2 WHERE policy_number = '12345678'")
        )
        made = await credentials.create(site.ra, USER, actor="admin", count=2, limit=True)
        with pytest.raises(Refusal):
            await credentials.create(site.ra, USER, actor="admin", limit=True)
        await credentials.withdraw(site.ra, made[0].kid, actor="admin")
        assert await credentials.create(site.ra, USER, actor="admin", limit=True)


async def test_no_key_looks_like_an_option(site: Site) -> None:
    """Keys are pasted behind ``--eab-hmac-key``; of 1,000 at random some fifteen would begin with "-"."""
    made = await credentials.create(site.ra, USER, actor="operator", count=1_000)
    keys = {one.to_json()["hmac_key"] for one in made}
    assert len(keys) == 1_000
    assert not any(key.startswith("-") for key in keys)
