"""What PROTOCOL.md answers where a reader would have to guess: each sentence, tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.datadirs import admit, clock_of
from tests.enroll.acme.acme_world import FQDN, Client, Reply, Site, csr, new_key, peer_of, serve, world
from tests.enroll.acme.signing import KEYS, OTHER, jwk, jws, mac_jws
from tests.enroll.acme.test_acme_door import cert_id, revocation
from tests.enroll.protocol_vectors import FIRST


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with world(tmp_path) as site:
        yield site


@pytest.fixture
async def renewal(site: Site) -> AsyncIterator[Site]:
    async with serve(site.ra, by_certificate=True) as renewal:
        yield renewal


def at(site: Site, reply: Reply, resource: str) -> str:
    """The URL that an object of the other directory has at this one."""
    return site.to(resource, reply.headers["Location"].rpartition("/")[2])


async def challenge_of(client: Client, order: Reply) -> str:
    (authorization,) = order.json["authorizations"]
    return str((await client.post(authorization)).json["challenges"][0]["url"])


async def test_unbound_credentials_do_not_expire(site: Site) -> None:
    """Section 1: they wait for years, and their request with them."""
    credential = await site.credential()
    clock_of(site.ra).advance(days=2_000)
    client = Client(site)
    assert (await client.register(credential)).status == 201
    assert await client.certificate()


@pytest.mark.parametrize(
    ("changes", "key", "digest", "said"),
    [
        ({"url": "https://elsewhere.example/new-account"}, None, "sha256", (400, "malformed")),
        ({"nonce": "AAAA"}, None, "sha256", (400, "malformed")),
        ({"jwk": jwk(OTHER)}, None, "sha256", (400, "malformed")),
        ({}, OTHER, "sha256", (400, "malformed")),
        ({"alg": "ES256"}, None, "sha256", (400, "badSignatureAlgorithm")),
        ({"kid": "4000000000000002"}, None, "sha256", (403, "unauthorized")),
        ({}, None, "sha512", (403, "unauthorized")),
    ],
)
async def test_what_is_wrong_with_a_binding(
    site: Site, changes: dict[str, Any], key: Any, digest: str, said: tuple[int, str]
) -> None:
    """Section 4: the table, row by row; the right one is taken afterwards."""
    client, credential = Client(site), await site.credential()
    header = {"alg": "HS256", "kid": credential.kid, "url": site.to("newAccount")} | changes
    binding = mac_jws(credential.hmac_key, header, jwk(key or client.key), digest)
    url = site.to("newAccount")
    assert (await client.post(url, {"externalAccountBinding": binding}, by_key=True)).problem == said
    assert (await client.register(credential)).status == 201


async def test_a_binding_that_nobody_looks_at(site: Site, renewal: Site) -> None:
    """Section 4: with a known key, and at the renewal site; the credential stays free."""
    credential = await site.credential()
    client = await site.enrolled()
    assert (await client.register(credential)).status == 200
    renewal.peer = peer_of(site.ra, await client.certificate())
    other = Client(renewal)
    made = await other.post(
        renewal.to("newAccount"), {"externalAccountBinding": {"protected": "?"}}, by_key=True
    )
    assert (made.status, "externalAccountBinding" in made.json) == (201, False)
    assert (await Client(site).register(credential)).status == 201


async def test_one_account_at_both_directories(site: Site, renewal: Site) -> None:
    """Section 4: the same key, the same account; deactivated without a certificate it is so at both."""
    client = await site.enrolled()
    twin = Client(renewal, key=client.key)
    assert (await twin.register()).status == 200
    assert twin.kid.rpartition("/")[2] == client.kid.rpartition("/")[2]
    assert (await twin.post(twin.kid, {"status": "deactivated"})).json["status"] == "deactivated"
    assert (await client.order()).problem == (401, "unauthorized")


async def test_a_shared_authorization(site: Site) -> None:
    """Section 6: every order for the identifier lists it, and ends with it; another spelling has its own."""
    client = await site.enrolled()
    first, second, other = await client.order(), await client.order(), await client.order(FQDN.upper())
    assert first.json["authorizations"] == second.json["authorizations"] != other.json["authorizations"]
    await client.post(first.json["authorizations"][0], {"status": "deactivated"})
    states = [(await client.post(one.headers["Location"])).json["status"] for one in (first, second, other)]
    assert states == ["invalid", "invalid", "ready"]
    again = await client.post(site.to("newAuthz"), {"identifier": {"type": "dns", "value": FQDN}})
    same = await client.post(site.to("newAuthz"), {"identifier": {"type": "dns", "value": FQDN}})
    assert (again.status, same.status, again.headers["Location"]) == (201, 201, same.headers["Location"])


@pytest.mark.parametrize(
    ("names", "cn", "status"),
    [
        ((FQDN,), None, 200),
        ((FQDN,), "K123456780002", 200),
        ((FQDN,), "k12345678", 200),
        ((FQDN.upper(),), FQDN, 200),
        ((), FQDN, 200),
        ((), "K12345678", 400),
        ((FQDN,), "someone-else", 400),
        ((FQDN, "k12345678"), None, 400),
    ],
)
async def test_the_common_name_of_a_csr(
    site: Site, names: tuple[str, ...], cn: str | None, status: int
) -> None:
    """Section 6: left out or any name of the user; the order's names in it or as dNSNames, and no others."""
    client = await site.enrolled()
    order = await client.order()
    assert (await client.post(order.json["finalize"], {"csr": csr(*names, cn=cn)})).status == status


async def test_pages_of_orders(site: Site) -> None:
    """Section 6: a page may have fewer URLs, even none, and go on; any cursor is answered."""
    client = await site.enrolled(quota=300)
    first = await client.order()
    clock_of(site.ra).advance(seconds=1)
    for _ in range(100):
        await client.order(FQDN.upper())
    listed = (await client.post(client.kid)).json["orders"]
    await client.post((await client.order(FQDN.upper())).json["authorizations"][0], {"status": "deactivated"})
    page = await client.post(listed)
    (following,) = page.links("next")
    assert page.json == {"orders": []}
    page = await client.post(following)
    assert (page.json["orders"], page.links("next")) == ([first.headers["Location"]], [])
    for cursor in ("", "zzz", "0"):
        assert (await client.post(f"{listed}?cursor={cursor}")).status == 200


async def test_orders_of_the_other_directory(site: Site, renewal: Site) -> None:
    """Section 6: read, finalized and handed out at either, under its own URLs; vouched for as where made."""
    client = await site.enrolled()
    certificate = await client.certificate()
    order = await client.order()
    twin = Client(renewal, key=client.key)
    await twin.register()
    read = await twin.post(at(renewal, order, "order"))
    assert read.json["finalize"].startswith(renewal.server.urls.root)
    final = await twin.finalize(read)
    assert final.json["status"] == "valid"
    assert (await twin.post(final.json["certificate"])).status == 200
    clock_of(site.ra).advance(days=75)
    renewal.peer = peer_of(site.ra, certificate)
    stranger = Client(renewal)
    await stranger.register()
    pending = await stranger.order()
    await stranger.post(await challenge_of(stranger, pending), {})
    elsewhere = Client(site, key=stranger.key)
    assert (await elsewhere.register()).status == 200
    assert (await elsewhere.order()).problem == (403, "unauthorized")
    there = at(site, pending, "finalize")
    assert (await elsewhere.post(there, {"csr": csr(FQDN)})).problem == (403, "unauthorized")
    assert (await stranger.finalize(pending)).json["status"] == "valid"


async def test_what_needs_the_certificate(site: Site, renewal: Site) -> None:
    """Section 13.3: the table. What needs none is answered without, and an answered challenge again."""
    holder = await site.enrolled()
    certificate = await holder.certificate()
    clock_of(site.ra).advance(days=75)
    renewal.peer = peer_of(site.ra, certificate)
    client = Client(renewal)
    await client.register()
    order = await client.order()
    challenge = await challenge_of(client, order)
    answered = await client.post(challenge, {})
    renewal.peer = None
    assert (await Client(renewal).register()).problem == (403, "unauthorized")
    assert (await client.order()).problem == (403, "unauthorized")
    assert (await client.register()).status == 200
    assert (await client.post(challenge, {})).json == answered.json
    for url in (
        client.kid,
        client.kid + "/orders",
        order.headers["Location"],
        order.json["authorizations"][0],
    ):
        assert (await client.post(url)).status == 200
    wanted = {"identifier": {"type": "dns", "value": FQDN}}
    assert (await client.post(renewal.to("newAuthz"), wanted)).problem == (403, "unauthorized")
    assert (await client.finalize(order)).json["status"] == "valid"


async def test_renewal_information_that_is_none(site: Site) -> None:
    """Section 9: not in its one spelling 400, of no certificate here 404; the hour before a revocation."""
    client = await site.enrolled()
    certificate = await client.certificate()
    name = cert_id(certificate)
    for wrong in (name + "=", name.replace(".", ".AA"), "x"):
        assert (await site.call("GET", site.to("renewal", wrong))).problem == (400, "malformed")
    unknown = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert (await site.call("GET", site.to("renewal", unknown))).problem == (404, "malformed")
    assert certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    await client.post(site.to("revokeCert"), revocation(certificate))
    shown = (await site.call("GET", site.to("renewal", name))).json["suggestedWindow"]
    assert shown == {"start": "2026-11-22T02:00:00Z", "end": "2026-11-22T02:59:59Z"}


async def test_keys_of_others(site: Site) -> None:
    """Section 13.6: a CSR's key may be another certificate's, another user's too; never an account's. The
    key of a certificate may become an account's, and gets no certificate from then on."""
    await admit(site.ra, "K99999999")
    other = await site.enrolled(user_id="K99999999")
    mine, shared = await site.enrolled(), OTHER
    name = "k99999999.users.kinen.example"
    order = await other.order(name)
    assert (await other.finalize(order, name, key=shared)).json["status"] == "valid"
    assert (await mine.finalize(await mine.order(), key=shared)).json["status"] == "valid"
    assert (await mine.finalize(await mine.order(), key=other.key)).problem == (400, "badCSR")
    assert (await Client(site, key=shared).register(await site.credential())).status == 201
    assert (await mine.finalize(await mine.order(), key=shared)).problem == (400, "badCSR")


@pytest.mark.parametrize(
    ("bits", "exponent", "status"), [(2056, 65537, 200), (3000, 65537, 200), (2048, 3, 400)]
)
async def test_sizes_of_rsa_keys(site: Site, bits: int, exponent: int, status: int) -> None:
    """Section 8: sizes between the named ones are good, another exponent is badCSR."""
    client = await site.enrolled()
    key = rsa.generate_private_key(exponent, bits)
    assert (await client.finalize(await client.order(), key=key)).status == status


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "https://elsewhere.example/"}, (403, "unauthorized")),
        ({"kid": "https://elsewhere.example/account/1"}, (400, "accountDoesNotExist")),
        ({"alg": "none"}, (400, "badSignatureAlgorithm")),
        ({"jwk": jwk(KEYS["P-256"])}, (400, "malformed")),
        ({"nonce": "c3BlbnQ"}, (400, "badNonce")),
        ({"nonce": "?"}, (400, "malformed")),
        ({"crit": []}, (400, "malformed")),
    ],
)
async def test_what_is_wrong_with_a_request(
    site: Site, changes: dict[str, Any], said: tuple[int, str]
) -> None:
    """Section 11: the table of the envelope, row by row."""
    client, url = await site.enrolled(), site.to("newOrder")
    protected = {"alg": "ES256", "kid": client.kid, "nonce": await site.nonce(), "url": url} | changes
    assert (await client.send(url, jws(client.key, protected, {}))).problem == said
    stale = Client(site, kid=client.kid)
    assert (await stale.post(site.to("newOrder"), {})).problem == (400, "malformed")


async def test_auto_renewal_is_ignored(site: Site) -> None:
    """Section 16: RFC 8739 is not offered; its member is one that nobody knows here."""
    client = await site.enrolled()
    order = await client.order(**{"auto-renewal": {"end-date": "2027-01-01T00:00:00Z", "lifetime": 86_400}})
    assert (order.status, "auto-renewal" in order.json) == (201, False)


async def test_which_answers_bring_what(site: Site, renewal: Site) -> None:
    """Section 2: no nonce from the directory but to POST, no link; CORS fields without Origin; no store."""
    for method, status in (("DELETE", 405), ("OPTIONS", 204), ("GET", 200)):
        told = await site.call(method, site.to("directory"))
        assert (told.status, "Replay-Nonce" in told.headers, told.links("index")) == (status, False, [])
        elsewhere = await site.call(method, site.to("newOrder"))
        assert "Replay-Nonce" in elsewhere.headers
        assert elsewhere.links("index") == [site.to("directory")]
        for one in (told, elsewhere):
            assert one.headers["Access-Control-Allow-Origin"] == "*"
            assert one.headers["Cache-Control"] == "no-store"
    refused = await renewal.call("OPTIONS", renewal.to("newOrder"))
    assert (refused.problem, refused.headers["Allow"]) == ((405, "malformed"), "POST")
    assert "Access-Control-Allow-Origin" not in refused.headers


async def test_which_refusals_spend_the_nonce(site: Site) -> None:
    """Section 11: what is found in taking the JWS apart leaves it good, what is found later does not."""
    client, url = await site.enrolled(), site.to("newOrder")
    for changes, spent in (
        ({"crit": []}, False),
        ({"b64": True}, False),
        ({"alg": "none"}, True),
        ({"url": url + "/"}, True),
        ({"jwk": jwk(KEYS["P-256"])}, True),
    ):
        protected = {"alg": "ES256", "kid": client.kid, "nonce": await site.nonce(), "url": url}
        assert (await client.send(url, jws(client.key, protected | changes, {}))).status in (400, 403)
        again = await client.send(client.kid, jws(client.key, protected | {"url": client.kid}, ""))
        assert (again.status, changes) == ((400 if spent else 200), changes)
    protected = {"alg": "ES256", "kid": client.kid, "nonce": await site.nonce(), "url": client.kid}
    sent = jws(client.key, protected, "")
    for wrong, kind, status in (
        (sent, "application/json", 415),
        ({**sent, "header": {}}, "application/jose+json", 400),
        (sent, "application/jose+json", 200),
        (sent, "application/jose+json", 400),
    ):
        assert (await client.send(client.kid, wrong, kind)).status == status


async def test_names_more_than_once(site: Site) -> None:
    """Section 5: all come back, each spelling has one authorization. Section 6: deactivated twice."""
    client = await site.enrolled()
    order = await client.order(FQDN, FQDN, FQDN.upper())
    assert [one["value"] for one in order.json["identifiers"]] == [FQDN, FQDN, FQDN.upper()]
    assert len(order.json["authorizations"]) == 2
    for _ in range(2):
        gone = await client.post(order.json["authorizations"][0], {"status": "deactivated"})
        assert (gone.status, gone.json["status"]) == (200, "deactivated")


async def test_replacing_before_the_renewal_period(site: Site) -> None:
    """Section 6: of the third kind, one open order per certificate named, without it a new one; it outlives
    the revocation. Section 9: a name in common by common name; replaced, the window is kept."""
    client = await site.enrolled()
    first, named = await client.certificate(), {}
    named["replaces"] = cert_id(first)
    common_name = str(first.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    order = await client.order(common_name, **named)
    assert (order.status, order.json["status"]) == (201, "ready")
    assert (await client.order(common_name, **named)).headers["Location"] == order.headers["Location"]
    assert (await client.order(common_name)).headers["Location"] != order.headers["Location"]
    assert (await client.post(site.to("revokeCert"), revocation(first))).status == 200
    assert (await client.post(order.headers["Location"])).json["status"] == "ready"
    assert (await client.finalize(order, common_name)).json["status"] == "valid"
    assert (await client.order(**named)).problem == (409, "alreadyReplaced")

    second = await client.certificate()
    url = f"{site.to('renewalInfo')}/{cert_id(second)}"
    window = (await site.call("GET", url)).json
    follower = await client.order(replaces=cert_id(second))
    assert (await client.finalize(follower)).json["status"] == "valid"
    assert (await client.order(replaces=cert_id(second))).problem == (409, "alreadyReplaced")
    assert (await site.call("GET", url)).json == window


async def test_a_certificate_without_names(site: Site, renewal: Site) -> None:
    """Section 13.3: renewed by its common name, ordered as dns, as dNSName in the CSR. Section 8: one common
    name for all certificates of an account."""
    holder = await site.enrolled(profile="client-person")
    old = await holder.certificate()
    (name,) = [str(one.value) for one in old.subject]
    assert (await holder.certificate()).subject == old.subject
    clock_of(site.ra).advance(days=3 * 365 - 20)
    renewal.peer = peer_of(site.ra, old)
    client = Client(renewal)
    await client.register()
    order = await client.order(name)
    assert (await client.post(await challenge_of(client, order), {})).json["status"] == "valid"
    final = await client.finalize(order, name)
    chain = await client.post(final.json["certificate"])
    new = x509.load_pem_x509_certificates(chain.body)[0]
    assert new.subject == old.subject
    with pytest.raises(x509.ExtensionNotFound):
        new.extensions.get_extension_for_class(x509.SubjectAlternativeName)


async def test_the_example_is_what_the_server_makes(site: Site) -> None:
    """Section 15: the same extensions in the same order and the same times; other names and keys only."""
    made = await (await site.enrolled()).certificate()
    shown = [(one.oid, one.critical) for one in FIRST.extensions]
    assert [(one.oid, one.critical) for one in made.extensions] == shown
    assert made.not_valid_after_utc - made.not_valid_before_utc == (
        FIRST.not_valid_after_utc - FIRST.not_valid_before_utc
    )
    assert made.extensions[1].value == FIRST.extensions[1].value


async def test_an_account_key_that_is_a_certificates(site: Site) -> None:
    """Section 13.6: nothing keeps a client from changing to it; section 4: but to its own key."""
    client, key = await site.enrolled(), new_key()
    await client.certificate(key=key)
    url = site.to("keyChange")

    async def change(new: Any) -> Reply:
        protected = {"alg": "ES256", "jwk": jwk(new), "url": url}
        inner = jws(new, protected, {"account": client.kid, "oldKey": jwk(client.key)})
        return await client.post(url, inner)

    assert (await change(client.key)).problem == (400, "malformed")
    changed = await change(key)
    assert (changed.status, changed.headers["Location"]) == (200, client.kid)
