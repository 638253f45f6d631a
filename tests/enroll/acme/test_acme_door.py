"""The protocol from outside: what a client sends over HTTP, and what it gets."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import ca.store
import enroll.requests.renewal
import enroll.store
from enroll.acme import credentials, registration, store
from enroll.acme.renewalinfo import CertId
from enroll.people import applications
from enroll.people.register import disable_user
from enroll.requests import issuance
from enroll.requests.states import State
from tests.datadirs import admit, clock_of
from tests.enroll.acme.acme_world import FQDN, USER, Client, Site, csr, new_key, peer_of, serve, world
from tests.enroll.acme.signing import b64, jwk, jws
from tests.looking import cells, look

DER = serialization.Encoding.DER


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with world(tmp_path) as site:
        yield site


def cert_id(certificate: x509.Certificate) -> str:
    aki = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return str(CertId(aki.key_identifier or b"", certificate.serial_number))


async def test_directory(site: Site) -> None:
    """RFC 8555 section 7.1.1: reachable by GET, HEAD and POST-as-GET, without a Link to itself."""
    got = await site.call("GET", site.to("directory"))
    assert got.status == 200
    assert got.json["newOrder"] == site.to("newOrder")
    assert got.json["meta"]["externalAccountRequired"] is True
    assert got.links("index") == []
    assert got.headers["Access-Control-Allow-Origin"] == "*"
    assert (await site.call("HEAD", site.to("directory"))).body == b""
    client = await site.enrolled()
    assert (await client.post(site.to("directory"))).json == got.json


async def test_a_nonce_is_for_who_signs(site: Site) -> None:
    """RFC 8555 section 6.5: in the answers to POST; whoever only reads the directory gets none."""
    for method in ("GET", "HEAD"):
        assert "Replay-Nonce" not in (await site.call(method, site.to("directory"))).headers
    client = await site.enrolled()
    assert (await client.post(site.to("directory"))).headers["Replay-Nonce"]
    assert (await site.call("PUT", site.to("directory"))).status == 405


async def test_new_nonce(site: Site) -> None:
    """RFC 8555 section 7.2: HEAD 200, GET 204, no-store; POST-as-GET too."""
    head, get = [await site.call(method, site.to("newNonce")) for method in ("HEAD", "GET")]
    assert (head.status, get.status) == (200, 204)
    for reply in (head, get):
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.links("index") == [site.to("directory")]
    assert head.headers["Replay-Nonce"] != get.headers["Replay-Nonce"]
    client = await site.enrolled()
    assert (await client.post(site.to("newNonce"))).status == 200


async def test_a_whole_enrollment(site: Site) -> None:
    """newAccount, newOrder (ready at once), finalize (valid at once), download: CN and SAN are ours."""
    client = await site.enrolled()
    order = await client.order(FQDN.upper())
    assert order.status == 201
    assert order.json["status"] == "ready"
    assert order.json["identifiers"] == [{"type": "dns", "value": FQDN.upper()}]
    (authorization,) = order.json["authorizations"]
    shown = (await client.post(authorization)).json
    assert shown["status"] == "valid"
    assert shown["identifier"]["value"] == FQDN.upper()
    (challenge,) = shown["challenges"]
    assert (challenge["type"], challenge["status"]) == ("sekisho-eab-01", "valid")
    assert len(base64.urlsafe_b64decode(challenge["token"])) >= 16
    answered = await client.post(challenge["url"], {})
    assert answered.links("up") == [authorization]
    assert answered.json == challenge
    final = await client.finalize(order)
    assert final.headers["Location"] == order.headers["Location"]
    assert final.json["status"] == "valid"
    chain = await client.post(final.json["certificate"])
    assert chain.headers["Content-Type"] == "application/pem-certificate-chain"
    leaf, issuer = x509.load_pem_x509_certificates(chain.body)
    leaf.verify_directly_issued_by(issuer)
    assert leaf.subject.rfc4514_string() == "CN=K123456780002"
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == [FQDN]
    eku = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(eku) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    (alternate,) = chain.links("alternate")
    assert len(x509.load_pem_x509_certificates((await client.post(alternate)).body)) == 3
    # Where another root vouches for ours one chain more ends with that (section 7.4.2); anything will do.
    object.__setattr__(site.ra.authority, "crosses", (issuer.public_bytes(Encoding.DER),))
    chain = await client.post(final.json["certificate"])
    _, crossed = chain.links("alternate")
    assert x509.load_pem_x509_certificates((await client.post(crossed)).body) == [leaf, issuer, issuer]
    assert (await client.post(crossed[:-1] + "7")).status == 404


async def test_the_order_is_an_enrollment(site: Site) -> None:
    """The first order is for the credential's own request ID, which the pages see as 取得済み."""
    credential = await site.credential()
    client = Client(site)
    await client.register(credential)
    await client.certificate()
    enrollment = enroll.store.enrollment(look(site.ra.database), credential.kid)
    assert enrollment is not None
    assert enrollment.state is State.PICKED_UP
    await client.certificate()
    others = enroll.store.enrollments_of(look(site.ra.database), USER)
    assert [one.common_name for one in others if one.door == "protocol"] == ["K123456780002"] * 2


async def test_answers_have_nonce_and_links(site: Site) -> None:
    """RFC 8555 sections 6.5 and 7.1: a fresh nonce and the index on every answer, errors included."""
    client = await site.enrolled()
    order = await client.order()
    for reply in (
        order,
        await client.finalize(order),
        await client.post(client.kid, {}),
        await client.post(site.to("order", "none")),
        await site.call("GET", site.to("newOrder")),
        await site.call("GET", site.server.urls.root + "/nothing"),
        await client.send(site.to("newOrder"), b"{"),
    ):
        assert reply.links("index") == [site.to("directory")]
        assert reply.headers["Replay-Nonce"]
        assert reply.headers["Access-Control-Expose-Headers"]
    assert (await client.post(client.kid, nonce=order.headers["Replay-Nonce"])).status == 200


async def test_a_bad_nonce_brings_a_good_one(site: Site) -> None:
    """RFC 8555 section 6.5: badNonce carries a nonce that works; one that was seen is spent, as is none."""
    client = await site.enrolled()
    nonce = await site.nonce()
    forged = jws(new_key(), {"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": client.kid}, "")
    assert (await client.send(client.kid, forged)).problem == (400, "malformed")
    again = await client.post(client.kid, nonce=nonce)
    assert again.problem == (400, "badNonce")
    assert (await client.post(client.kid, nonce=again.headers["Replay-Nonce"])).status == 200


async def test_a_nonce_sent_twice_at_once(site: Site) -> None:
    """Of parallel requests with one nonce exactly one is served."""
    client = await site.enrolled()
    nonce = await site.nonce()
    replies = await asyncio.gather(*(client.post(client.kid, nonce=nonce) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [200] + [400] * 7


async def test_methods_and_paths(site: Site) -> None:
    """RFC 8555 section 6.3: 405 for GET on a resource that wants a signature; 404s are problems too."""
    client = await site.enrolled()
    for url in (site.to("newOrder"), client.kid, site.to("order", "x"), site.to("certificate", "x")):
        got = await site.call("GET", url)
        assert got.problem == (405, "malformed")
        assert got.headers["Allow"] == "POST, OPTIONS"
    assert (await site.call("DELETE", site.to("directory"))).problem == (405, "malformed")
    for path in (
        "",
        "/",
        "/x",
        "/order",
        "/order/",
        "/order/a/b",
        "/order/a/finalize/",
        "//directory",
        "/renewal-info",
    ):
        assert (await site.call("GET", site.server.urls.root + path)).problem == (404, "malformed")
    preflight = await site.call("OPTIONS", site.to("newOrder"))
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Headers"] == "Content-Type"


async def test_content_type_size_and_headers(site: Site) -> None:
    """415 for another media type, 413 for a large body, malformed for a nonce in the wrong place."""
    client = await site.enrolled()
    url = site.to("newOrder")
    assert (await client.send(url, b"{}", "application/json")).problem == (415, "malformed")
    assert (await client.send(url, b" " * 70_000)).problem == (413, "malformed")
    sent = await site.call(
        "POST", url, data=b"{}", headers={"Content-Type": "application/jose+json", "Replay-Nonce": "AAAA"}
    )
    assert sent.problem == (400, "malformed")


async def test_the_query_is_part_of_the_url(site: Site) -> None:
    """RFC 8555 section 6.4: what is signed is the URL that is asked for, query included."""
    client = await site.enrolled()
    body = jws(
        client.key, {"alg": "ES256", "kid": client.kid, "nonce": await site.nonce(), "url": client.kid}, ""
    )
    assert (await client.send(client.kid + "?x=1", body)).problem == (403, "unauthorized")
    assert (await client.post(client.kid + "?x=1")).status == 200


async def test_an_order_never_outlives_its_authorization(site: Site) -> None:
    """RFC 8555 7.1.6: an authorization that would end before the order does is none to build it on."""
    client = await site.enrolled()
    clock, first = clock_of(site.ra), await client.order()
    (named,) = first.json["authorizations"]
    # A day and a second before its end it serves another order to the end of that, a second later not.
    for seconds, served in ((29 * 86_400 - 1, True), (1, False)):
        clock.advance(seconds=seconds)
        order = await client.order()
        (url,) = order.json["authorizations"]
        assert (url == named) is served
        authorization = (await client.post(url)).json
        assert authorization["status"] == "valid"
        assert authorization["expires"] > order.json["expires"]


async def test_existing_accounts(site: Site) -> None:
    """RFC 8555 section 7.3.1: the same key gets 200 and its Location, contacts unchanged, no EAB needed."""
    client = await site.enrolled()
    again = await client.register(contact=["mailto:other@kinen.example"])
    assert again.status == 200
    assert again.headers["Location"] == client.kid
    assert again.json["contact"] == []
    assert (await client.register(onlyReturnExisting=True)).status == 200
    for ignored in ({"contact": ["tel:1"]}, {"contact": "x"}, {"termsOfServiceAgreed": "yes"}):
        found = await client.register(**ignored)
        assert (found.status, found.headers["Location"]) == (200, client.kid)
    stranger = Client(site)
    assert (await stranger.register(onlyReturnExisting=True)).problem == (400, "accountDoesNotExist")
    assert (await stranger.register()).problem == (400, "externalAccountRequired")


async def test_parallel_accounts_of_one_key(site: Site) -> None:
    """Parallel newAccount with one key and one credential: one account, created once."""
    credential, client = await site.credential(), Client(site)
    replies = await asyncio.gather(*(Client(site, client.key).register(credential) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [200] * 7 + [201]
    assert len({reply.headers["Location"] for reply in replies}) == 1


async def test_a_credential_binds_once(site: Site) -> None:
    """Of parallel accounts with one credential exactly one is made; the others are unauthorized."""
    credential = await site.credential()
    replies = await asyncio.gather(*(Client(site).register(credential) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [201] + [403] * 7
    assert {reply.problem for reply in replies if reply.status != 201} == {(403, "unauthorized")}


async def test_the_key_of_a_credential_is_sealed(site: Site) -> None:
    """Nobody who reads the database learns a credential's key."""
    credential = await site.credential()
    stored = store.credential(look(site.ra.database), credential.kid)
    assert stored is not None
    assert credential.hmac_key not in stored.sealed_key
    found = [
        value if isinstance(value, bytes) else str(value).encode() for *_, value in cells(site.ra.database)
    ]
    assert credential.kid.encode() in found
    assert [each for each in found if credential.hmac_key in each] == []
    assert "hmac_key" not in repr(credential)


async def test_account_update_and_deactivation(site: Site) -> None:
    """RFC 8555 sections 7.3.2, 7.3.6: contacts change; deactivation is for good, for POST-as-GET too."""
    client = await site.enrolled()
    order = await client.order()
    update = await client.post(client.kid, {"contact": ["mailto:a@kinen.example"]})
    assert update.json["contact"] == ["mailto:a@kinen.example"]
    assert (await client.post(client.kid, {})).json == update.json
    assert (await client.post(client.kid)).json == update.json
    gone = await client.post(client.kid, {"status": "deactivated"})
    assert (gone.status, gone.json["status"]) == (200, "deactivated")
    for url in (client.kid, order.headers["Location"], order.json["authorizations"][0]):
        assert (await client.post(url)).problem == (401, "unauthorized")
    assert (await client.register()).problem == (401, "unauthorized")


async def test_another_account_sees_nothing(site: Site) -> None:
    """RFC 8555 section 10.5: another's order answers like one that does not exist."""
    client, other = await site.enrolled(), await site.enrolled()
    order = await client.order()
    final = await client.finalize(order)
    for url, template in (
        (order.headers["Location"], "order"),
        (order.json["authorizations"][0], "authorization"),
        (final.json["certificate"], "certificate"),
    ):
        foreign, absent = await other.post(url), await other.post(site.to(template, "0" * 24))
        assert foreign.problem == absent.problem == (404, "malformed")
        assert foreign.json == absent.json
    assert (await other.post(order.json["finalize"], {"csr": csr(FQDN)})).problem == (404, "malformed")
    assert (await other.post(client.kid)).problem == (403, "unauthorized")


async def test_rejected_identifiers(site: Site) -> None:
    """Names of others are 403 rejectedIdentifier with subproblems; nothing is left pending."""
    client = await site.enrolled()
    rejected = await client.order(FQDN, "k99999999.users.kinen.example")
    assert rejected.problem == (403, "rejectedIdentifier")
    (sub,) = rejected.json["subproblems"]
    assert sub["identifier"] == {"type": "dns", "value": "k99999999.users.kinen.example"}
    orders = (await client.post((await client.post(client.kid)).json["orders"])).json
    assert orders == {"orders": []}
    assert (await client.order(FQDN, profile="root")).problem == (400, "invalidProfile")


async def test_renewing_clients(site: Site) -> None:
    """certbot and lego ask for CN and SAN of the certificate at hand, in any case, even twice."""
    client = await site.enrolled()
    await client.certificate()
    names = ("k123456780002", "k123456780002", FQDN)
    order = await client.order(*names)
    assert [one["value"] for one in order.json["identifiers"]] == list(names)
    assert len(order.json["authorizations"]) == 2
    assert (await client.finalize(order, "k123456780002", FQDN)).json["status"] == "valid"


async def test_bad_csr_leaves_the_order_ready(site: Site) -> None:
    """RFC 8555 section 7.4: badCSR, and the order can be finalized with a better one."""
    client = await site.enrolled()
    order = await client.order()
    for bad in (csr("x.example"), csr(), csr(FQDN, key=client.key), "AAAA", "!", 7, None):
        assert (await client.post(order.json["finalize"], {"csr": bad})).problem == (400, "badCSR")
    assert (await client.post(order.json["finalize"], {})).problem == (400, "malformed")
    assert (await client.post(order.headers["Location"])).json["status"] == "ready"
    assert (await client.finalize(order)).json["status"] == "valid"
    assert (await client.finalize(order)).problem == (403, "orderNotReady")


async def test_parallel_finalize(site: Site) -> None:
    """Eight finalize requests at once: one certificate, the others orderNotReady."""
    client = await site.enrolled()
    order = await client.order()
    replies = await asyncio.gather(*(client.finalize(order) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [200] + [403] * 7
    assert ca.store.count_by_status(look(site.ra.database)) == {"issued": 1}


async def test_orders_are_listed_in_pages(site: Site) -> None:
    """RFC 8555 section 7.1.2.1: Link rel=next leads through all of them, each once; PROTOCOL.md section 6:
    newest first, also of one second, and none that was made meanwhile."""
    client = await site.enrolled(quota=500)
    made = [(await client.order()).headers["Location"] for _ in range(103)]
    url = (await client.post(client.kid)).json["orders"]
    seen: list[str] = []
    while url:
        page = await client.post(url)
        seen += page.json["orders"]
        url = next(iter(page.links("next")), "")
        await client.order()
    assert seen == made[::-1]


async def test_the_newest_of_one_second_is_renewed(site: Site) -> None:
    """PROTOCOL.md section 6: in the renewal period an order without replaces renews the account's newest."""
    client = await site.enrolled()
    made = [await client.certificate() for _ in range(6)]
    clock_of(site.ra).advance(days=62)
    assert (await client.finalize(await client.order())).json["status"] == "valid"
    assert (await client.order(replaces=cert_id(made[-1]))).problem == (409, "alreadyReplaced")
    assert (await client.order(replaces=cert_id(made[-2]))).status == 201


async def test_unfinished_orders_are_limited(site: Site) -> None:
    """RFC 8555 section 6.6: too many open orders are 429 with Retry-After and a help link."""
    client = await site.enrolled(quota=300)
    for _ in range(200):
        assert (await client.order()).status == 201
    limited = await client.order()
    assert limited.problem == (429, "rateLimited")
    assert int(limited.headers["Retry-After"]) > 0
    assert limited.links("help") == ["https://help.kinen.example/acme"]
    clock_of(site.ra).advance(days=1)
    assert (await client.order()).status == 201


async def test_quota(site: Site) -> None:
    """Outside the renewal period a credential leads to as many certificates as its quota says; an open order
    has its place, so that it is never too late for its CSR."""
    client = await site.enrolled(quota=2)
    open_order = await client.order()
    await client.certificate()
    again = await client.order()
    assert (again.status, again.headers["Location"]) == (201, open_order.headers["Location"])
    refused = await client.order("k123456780002", FQDN)
    assert refused.problem == (429, "rateLimited")
    assert refused.headers["Retry-After"] == "86400"
    assert "a place is free from 2026.11.23" in refused.json["detail"]
    assert (await client.finalize(open_order)).json["status"] == "valid"
    assert (await client.order()).problem == (429, "rateLimited")


async def test_expired_orders(site: Site) -> None:
    """An order that ran out is invalid, cannot be finalized and is not listed; the next one works."""
    client = await site.enrolled(quota=1)
    order = await client.order()
    clock_of(site.ra).advance(days=1)
    assert (await client.post(order.headers["Location"])).json["status"] == "invalid"
    assert (await client.finalize(order)).problem == (403, "orderNotReady")
    assert (await client.post((await client.post(client.kid)).json["orders"])).json == {"orders": []}
    assert await client.certificate()


async def test_authorization_deactivation(site: Site) -> None:
    """RFC 8555 section 7.5.2: orders that rest on it are invalid; a new order comes back ready (certbot)."""
    client = await site.enrolled(quota=1)
    order = await client.order()
    url = order.json["authorizations"][0]
    assert (await client.post(url, {"status": "valid"})).problem == (400, "malformed")
    assert (await client.post(url, {"status": "deactivated"})).json["status"] == "deactivated"
    assert (await client.post(order.headers["Location"])).json["status"] == "invalid"
    assert (await client.finalize(order)).problem == (403, "orderNotReady")
    again = await client.order()
    assert again.json["status"] == "ready"
    assert again.json["authorizations"][0] != url
    assert (await client.finalize(again)).json["status"] == "valid"


async def test_pre_authorization(site: Site) -> None:
    """RFC 8555 section 7.4.1: newAuthz for a name of the identity is valid and serves the next order."""
    client = await site.enrolled()
    made = await client.post(site.to("newAuthz"), {"identifier": {"type": "dns", "value": FQDN}})
    assert (made.status, made.json["status"]) == (201, "valid")
    assert (await client.order()).json["authorizations"] == [made.headers["Location"]]
    for value in ("*." + FQDN, "x.example"):
        refused = await client.post(site.to("newAuthz"), {"identifier": {"type": "dns", "value": value}})
        assert refused.problem == (403, "rejectedIdentifier")


async def test_key_change(site: Site) -> None:
    """RFC 8555 section 7.3.5: the new key works, the old one is dead at once; a taken key is 409."""
    client, other = await site.enrolled(), await site.enrolled()

    def change(new: object, old: Client) -> dict[str, str]:
        protected = {"alg": "ES256", "jwk": jwk(new), "url": site.to("keyChange")}
        return jws(new, protected, {"account": old.kid, "oldKey": jwk(old.key)})

    taken = await client.post(site.to("keyChange"), change(other.key, client))
    assert taken.problem == (409, "malformed")
    assert taken.headers["Location"] == other.kid
    new = new_key()
    assert (await client.post(site.to("keyChange"), change(new, client))).status == 200
    assert (await client.post(client.kid)).problem == (400, "malformed")
    assert (await Client(site, new, kid=client.kid).post(client.kid)).status == 200


async def test_parallel_key_changes(site: Site) -> None:
    """Of parallel key changes exactly one happens."""
    client = await site.enrolled()

    async def change() -> int:
        new = new_key()
        protected = {"alg": "ES256", "jwk": jwk(new), "url": site.to("keyChange")}
        inner = jws(new, protected, {"account": client.kid, "oldKey": jwk(client.key)})
        return (await client.post(site.to("keyChange"), inner)).status

    statuses = sorted(await asyncio.gather(*(change() for _ in range(6))))
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 400, 403}


def revocation(certificate: x509.Certificate, **members: int) -> dict[str, object]:
    return {"certificate": b64(certificate.public_bytes(DER))} | members


async def test_revocation(site: Site) -> None:
    """RFC 8555 section 7.6: by account or certificate key, once; strangers are refused; reasons checked."""
    client, other = await site.enrolled(), await site.enrolled()
    key = new_key()
    first, second = await client.certificate(key=key), await client.certificate()
    url = site.to("revokeCert")
    assert (await other.post(url, revocation(first))).problem == (403, "unauthorized")
    assert (await client.post(url, revocation(first, reason=7))).problem == (400, "badRevocationReason")
    assert (await Client(site, new_key()).post(url, revocation(first))).problem == (403, "unauthorized")
    done = await Client(site, key).post(url, revocation(first, reason=1))
    assert (done.status, done.body) == (200, b"")
    assert (await client.post(url, revocation(first))).problem == (400, "alreadyRevoked")
    assert (await client.post(url, revocation(second, reason=4))).status == 200
    record = ca.store.find_by_fingerprint(look(site.ra.database), second.fingerprint(hashes.SHA256()).hex())
    assert record is not None
    assert (record.status, record.revocation_reason) == ("revoked", 4)
    assert (await client.post(url, {"certificate": "AAAA"})).problem == (400, "malformed")
    der = first.public_bytes(DER)
    # X.509 has the versions 1 to 3, written 0 to 2 (RFC 5280 section 4.1.2.1).
    versions = [der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([n]), 1) for n in (3, 127)]
    for bad in (der + b"\0", *versions):
        assert (await client.post(url, {"certificate": b64(bad)})).problem == (400, "malformed")


async def test_revocation_by_an_authorized_account(site: Site) -> None:
    """RFC 8555 section 7.6: an account with valid authorizations for all names may revoke as well."""
    client, other = await site.enrolled(), await site.enrolled()
    certificate = await client.certificate()
    await other.order(FQDN)
    assert (await other.post(site.to("revokeCert"), revocation(certificate))).status == 200
    final = (await client.post((await client.post(client.kid)).json["orders"])).json["orders"]
    shown = (await client.post(final[0])).json
    assert shown["status"] == "valid"
    assert (await client.post(shown["certificate"])).status == 200


async def test_an_authorization_in_capitals_revokes_too(site: Site) -> None:
    """RFC 4343: the names of an authorization and of a certificate are the same in any case."""
    client, other = await site.enrolled(), await site.enrolled()
    certificate = await client.certificate()
    await other.order("K123456780002")
    assert (await other.post(site.to("revokeCert"), revocation(certificate))).problem == (403, "unauthorized")
    await other.order(FQDN.upper())
    assert (await other.post(site.to("revokeCert"), revocation(certificate))).status == 200


async def test_authority_to_revoke_ends_with_what_it_rests_on(site: Site, renewal: Site) -> None:
    """After a theft neither the stolen account nor one that the certificate opened has a say any more."""
    stolen, by_certificate = await site.enrolled(), Client(renewal)
    await stolen.order()
    await by_certificate.register()
    order = await by_certificate.order()
    challenge = (await by_certificate.post(order.json["authorizations"][0])).json["challenges"][0]["url"]
    assert (await by_certificate.post(challenge, {})).json["status"] == "valid"
    await applications.reissue(site.ra, USER, "lost_or_stolen", actor="desk")
    owner = await site.enrolled()
    certificate = await owner.certificate()
    for thief in (stolen, by_certificate):
        url = thief.site.to("revokeCert")
        assert (await thief.post(url, revocation(certificate))).problem == (403, "unauthorized")
    second = await site.enrolled()
    await second.order()
    assert (await second.post(site.to("revokeCert"), revocation(certificate))).status == 200


async def test_disabled_users(site: Site) -> None:
    """A user who may no longer enroll gets nothing more through the protocol either."""
    client, credential = await site.enrolled(), await site.credential()
    order = await client.order()
    await disable_user(site.ra, USER, actor="test")
    assert (await client.order()).problem == (403, "unauthorized")
    assert (await client.finalize(order)).problem == (403, "unauthorized")
    assert (await Client(site).register(credential)).problem == (403, "unauthorized")


@pytest.mark.parametrize("how", ["withdrawn", "reissued"])
async def test_ended_credentials(site: Site, how: str) -> None:
    """PROTOCOL.md section 4: orders under them are unauthorized, those that were ready included."""
    credential, client = await site.credential(), Client(site)
    await client.register(credential)
    orders = [await client.order() for _ in range(2)]
    # As whoever revokes one of its certificates is told.
    name = store.credential(look(site.ra.database), credential.kid).common_name
    assert store.credentials_alive(look(site.ra.database), name) == [credential.kid]
    if how == "withdrawn":
        assert await credentials.withdraw(site.ra, credential.kid, actor="desk")
    else:
        await applications.reissue(site.ra, USER, "lost_or_stolen", actor="desk")
    assert store.credentials_alive(look(site.ra.database), name) == []
    for order in orders:
        assert (await client.finalize(order)).problem == (403, "unauthorized")
    assert (await client.order()).problem == (403, "unauthorized")


async def test_renewal_information_and_renewal(site: Site) -> None:
    """RFC 9773: the window opens at D-30; an order that replaces is a renewal and costs no quota."""
    client = await site.enrolled(quota=1)
    certificate = await client.certificate()
    url = site.to("renewal", cert_id(certificate))
    signed = await client.post(url)
    assert (signed.problem, signed.headers["Allow"]) == ((405, "malformed"), "GET, HEAD, OPTIONS")
    shown = await site.call("GET", url)
    assert shown.json["suggestedWindow"] == {"start": "2027-01-20T15:00:00Z", "end": "2027-02-12T15:00:00Z"}
    assert shown.headers["Retry-After"] == "21600"
    early = await client.order(replaces=cert_id(certificate))
    assert early.problem == (429, "rateLimited")
    clock_of(site.ra).advance(days=61)
    order = await client.order(replaces=cert_id(certificate))
    assert order.json["replaces"] == cert_id(certificate)
    assert (await client.finalize(order)).json["status"] == "valid"
    again = await client.order(replaces=cert_id(certificate))
    assert again.problem == (409, "alreadyReplaced")
    rows = enroll.store.enrollments_of(look(site.ra.database), USER)
    assert [row.kind for row in rows if row.door == "protocol"] == ["renewal", "protocol"]


async def test_renewal_without_ari(site: Site) -> None:
    """A plain order within the renewal period renews, once; asking again returns the same order."""
    client = await site.enrolled(quota=1)
    await client.certificate()
    clock_of(site.ra).advance(days=75)
    first, second = await client.order(), await client.order()
    assert first.headers["Location"] == second.headers["Location"]
    assert (await client.finalize(first)).json["status"] == "valid"
    assert (await client.order()).problem == (429, "rateLimited")


async def test_an_order_that_replaces_says_so(site: Site) -> None:
    """RFC 9773 section 5: replaces is reflected even where an open order for the same renewal had none."""
    client = await site.enrolled(quota=1)
    certificate = await client.certificate()
    clock_of(site.ra).advance(days=75)
    plain = await client.order()
    order = await client.order(replaces=cert_id(certificate))
    assert order.json["replaces"] == cert_id(certificate)
    assert (await client.post(order.headers["Location"])).json["replaces"] == cert_id(certificate)
    assert (await client.post(plain.headers["Location"])).json["status"] == "invalid"
    again = await client.order()
    assert again.headers["Location"] == order.headers["Location"]
    assert (await client.finalize(order)).json["status"] == "valid"


async def test_a_lost_renewal_order_is_taken_over(site: Site) -> None:
    """A newer order for other names of the identity takes the renewal over; the older is invalid."""
    client = await site.enrolled(quota=1)
    await client.certificate()
    clock_of(site.ra).advance(days=75)
    first, second = await client.order(), await client.order("k123456780002", FQDN)
    assert (await client.post(first.headers["Location"])).json["status"] == "invalid"
    assert (await client.finalize(second, "k123456780002", FQDN)).json["status"] == "valid"


async def renewed_on_the_pages(site: Site, certificate: x509.Certificate) -> x509.Certificate:
    """The renewal of a certificate as somebody at a browser gets it."""
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    begun = await enroll.requests.renewal.submit(site.ra, fingerprint, actor=USER)
    await issuance.complete(site.ra, begun.request_id)
    record = ca.store.find_by_order(look(site.ra.database), begun.request_id)
    assert record is not None
    assert record.der is not None
    return x509.load_der_x509_certificate(record.der)


async def test_invalid_is_for_good(site: Site) -> None:
    """RFC 8555 section 7.1.6: an order that ran out has no part in what the pages do with its request."""
    client = await site.enrolled(quota=1)
    certificate = await client.certificate()
    clock_of(site.ra).advance(days=75)
    order = await client.order()
    clock_of(site.ra).advance(days=1)
    renewed = await renewed_on_the_pages(site, certificate)
    shown = (await client.post(order.headers["Location"])).json
    assert (shown["status"], "certificate" in shown) == ("invalid", False)
    assert (
        await client.post(site.to("certificate", order.headers["Location"].rpartition("/")[2]))
    ).status == 404
    assert (await client.order(replaces=cert_id(renewed))).problem == (400, "malformed")


async def test_valid_is_for_good(site: Site) -> None:
    """RFC 8555 section 7.1.6: an authorization deactivated afterwards takes no certificate away."""
    client = await site.enrolled(quota=1)
    certificate = await client.certificate()
    clock_of(site.ra).advance(days=75)
    order = await client.order()
    renewed = await renewed_on_the_pages(site, certificate)
    await client.post(order.json["authorizations"][0], {"status": "deactivated"})
    shown = (await client.post(order.headers["Location"])).json
    assert shown["status"] == "valid"
    chain = await client.post(shown["certificate"])
    assert x509.load_pem_x509_certificates(chain.body)[0] == renewed


async def test_renewal_information_of_others(site: Site) -> None:
    """RFC 9773 section 4.1: unknown 404, malformed 400, revoked lies in the past; GET, no signature."""
    assert (await site.call("GET", site.to("renewal", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"))).problem == (
        404,
        "malformed",
    )
    for wrong in ("x", "a.b.c", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.h2VDIQ", "%41"):
        assert (await site.call("GET", site.to("renewal", wrong))).problem == (400, "malformed")
    client = await site.enrolled()
    certificate = await client.certificate()
    await client.post(site.to("revokeCert"), revocation(certificate))
    window = (await site.call("GET", site.to("renewal", cert_id(certificate)))).json["suggestedWindow"]
    assert window["start"] < window["end"] < "2026-11-22T03:00:00Z"


async def test_replaces_of_others(site: Site) -> None:
    """RFC 9773 section 5: another account's certificate, an unknown one, and nonsense are malformed."""
    client, other = await site.enrolled(), await site.enrolled()
    certificate = await other.certificate()
    for named in (cert_id(certificate), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", "x"):
        assert (await client.order(replaces=named)).problem == (400, "malformed")


async def test_terms_of_service(tmp_path: Path) -> None:
    """RFC 8555 section 7.3.3: unagreed terms are userActionRequired with the link to them."""
    async with world(tmp_path, terms="https://kinen.example/terms") as site:
        client, credential = Client(site), await site.credential()
        refused = await client.register(credential)
        assert refused.problem == (403, "userActionRequired")
        assert refused.json["instance"] == "https://kinen.example/terms"
        assert refused.links("terms-of-service") == ["https://kinen.example/terms"]
        assert (await client.register(credential, termsOfServiceAgreed=True)).status == 201


async def test_our_own_faults(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What is our fault is 500 serverInternal without any detail; the log has it, in one record."""
    client = await site.enrolled()
    site.ra.database.close()
    failed = await client.order()
    assert failed.problem == (500, "serverInternal")
    assert "database" not in failed.json["detail"]
    assert len([record for record in caplog.records if record.name == "sekisho.acme"]) == 1


# -- client-cert-01 --------------------------------------------------------------------------------


@pytest.fixture
async def renewal(site: Site) -> AsyncIterator[Site]:
    """The renewal site beside it, and the user's certificate from the other door, at D-15."""
    certificate = await (await site.enrolled()).certificate()
    clock_of(site.ra).advance(days=75)
    async with serve(site.ra, by_certificate=True) as renewal:
        renewal.peer = peer_of(site.ra, certificate)
        yield renewal


async def test_renewal_by_certificate(renewal: Site) -> None:
    """client-cert-01: account, pending order, a challenge answered with the certificate, a new one."""
    directory = (await renewal.call("GET", renewal.to("directory"))).json
    assert "externalAccountRequired" not in directory["meta"]
    assert "newAuthz" not in directory
    client = Client(renewal)
    assert (await client.register()).status == 201
    order = await client.order()
    assert (order.status, order.json["status"]) == (201, "pending")
    (url,) = order.json["authorizations"]
    (challenge,) = (await client.post(url)).json["challenges"]
    assert (challenge["type"], challenge["status"]) == ("client-cert-01", "pending")
    assert (await client.post(challenge["url"])).json["status"] == "pending"
    assert (await client.finalize(order)).problem == (403, "orderNotReady")
    answered = await client.post(challenge["url"], {})
    assert (answered.json["status"], answered.links("up")) == ("valid", [url])
    assert (await client.post(order.headers["Location"])).json["status"] == "ready"
    final = await client.finalize(order)
    chain = await client.post(final.json["certificate"])
    renewed = x509.load_pem_x509_certificates(chain.body)[0]
    assert renewed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "K123456780002"


async def test_an_answered_challenge_is_authority_to_revoke(site: Site, renewal: Site) -> None:
    """RFC 8555 section 7.6: whoever holds a valid authorization may revoke; a pending one gives no right."""
    certificate = await (await site.enrolled()).certificate()
    client = Client(renewal)
    await client.register()
    order = await client.order()
    url = renewal.to("revokeCert")
    assert (await client.post(url, revocation(certificate))).problem == (403, "unauthorized")
    challenge = (await client.post(order.json["authorizations"][0])).json["challenges"][0]["url"]
    assert (await client.post(challenge, {})).json["status"] == "valid"
    assert (await client.post(url, revocation(certificate))).status == 200


async def test_an_order_is_returned_to_its_own_account_only(site: Site, renewal: Site) -> None:
    """The renewal that another account has ready is taken over: its order is nobody else's (section 10.5)."""
    client, other = await site.enrolled(quota=1), Client(renewal)
    certificate = await client.certificate()
    clock_of(site.ra).advance(days=75)
    renewal.peer = peer_of(site.ra, certificate)
    await other.register()
    theirs = await other.order()
    challenge = (await other.post(theirs.json["authorizations"][0])).json["challenges"][0]["url"]
    assert (await other.post(challenge, {})).json["status"] == "valid"
    order = await client.order()
    assert order.status == 201
    assert (await client.post(order.headers["Location"])).json == order.json
    assert (await other.post(theirs.headers["Location"])).json["status"] == "invalid"
    assert (await client.finalize(order)).json["status"] == "valid"


async def test_accounts_by_certificate_are_limited(renewal: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many a day: one more is 429, an account that is there already is served, the next day goes on."""
    monkeypatch.setattr(registration, "MAX_BY_CERTIFICATE", 2)
    first = Client(renewal)
    assert (await first.register()).status == 201
    assert (await Client(renewal).register()).status == 201
    late = Client(renewal)
    refused = await late.register()
    assert refused.problem == (429, "rateLimited")
    assert refused.headers["Retry-After"] == "86400"
    assert (await first.register()).status == 200
    clock_of(renewal.ra).advance(days=1, seconds=1)
    assert (await late.register()).status == 201


async def test_no_certificate_no_renewal(renewal: Site) -> None:
    """Without a certificate there is no account, no order, and the challenge stays pending."""
    peer, renewal.peer = renewal.peer, None
    client = Client(renewal)
    assert (await client.register()).problem == (403, "unauthorized")
    renewal.peer = peer
    await client.register()
    order = await client.order()
    challenge = (await client.post(order.json["authorizations"][0])).json["challenges"][0]["url"]
    renewal.peer = None
    assert (await client.order()).problem == (403, "unauthorized")
    assert (await client.post(challenge, {})).problem == (403, "unauthorized")
    assert (await client.post(challenge)).json["status"] == "pending"


async def test_the_certificate_to_be_replaced_has_to_be_presented(site: Site, renewal: Site) -> None:
    """Another certificate of the user does not answer the challenge; another user's not at all."""
    client = Client(renewal)
    await client.register()
    order = await client.order()
    challenge = (await client.post(order.json["authorizations"][0])).json["challenges"][0]["url"]
    old = renewal.peer
    renewal.peer = peer_of(site.ra, await (await site.enrolled()).certificate())
    assert (await client.post(challenge, {})).problem == (403, "unauthorized")
    await admit(site.ra, "K99999999")
    stranger = await (await site.enrolled(user_id="K99999999")).certificate("k99999999.users.kinen.example")
    renewal.peer = peer_of(site.ra, stranger)
    assert (await client.post(challenge, {})).problem == (403, "unauthorized")
    assert (await client.order()).problem == (403, "unauthorized")
    renewal.peer = old
    assert (await client.post(challenge, {})).json["status"] == "valid"


async def test_outside_the_renewal_period(site: Site, renewal: Site) -> None:
    """Before D-30 the answer is refused and names the first day, for people and programs (Retry-After); the
    challenge stays pending."""
    renewal.peer = peer_of(site.ra, await (await site.enrolled()).certificate())
    client = Client(renewal)
    await client.register()
    order = await client.order()
    challenge = (await client.post(order.json["authorizations"][0])).json["challenges"][0]["url"]
    refused = await client.post(challenge, {})
    assert refused.problem == (403, "unauthorized")
    assert "2027.04.06" in refused.json["detail"]
    opens = site.ra.now() + int(refused.headers["Retry-After"])
    assert datetime.fromtimestamp(opens, UTC).isoformat() == "2027-04-05T15:00:00+00:00"
    assert (await client.post(challenge)).json["status"] == "pending"


async def test_the_last_second_of_the_renewal_period(site: Site, renewal: Site) -> None:
    """RFC 5280 section 4.1.2.5: at notAfter both doors renew, as the pages do; a second later none does."""
    client, account = await site.enrolled(quota=1), Client(renewal)
    certificate = await client.certificate()
    end = int(certificate.not_valid_after_utc.timestamp())
    renewal.peer = peer_of(site.ra, certificate)
    await account.register()
    clock_of(site.ra).set(end)
    orders = [await account.order() for _ in range(2)]
    urls = [
        (await account.post(order.json["authorizations"][0])).json["challenges"][0]["url"] for order in orders
    ]
    assert (await account.post(urls[0], {})).json["status"] == "valid"
    assert (await client.order()).json["status"] == "ready"
    clock_of(site.ra).advance(seconds=1)
    refused = await account.post(urls[1], {})
    assert (refused.problem, "has expired" in refused.json["detail"]) == ((403, "unauthorized"), True)
    assert (await account.post(orders[0].headers["Location"])).json["status"] == "invalid"
    # What has ended takes no place of the quota: an account with credentials goes on by itself.
    further = await client.order()
    assert further.json["status"] == "ready"
    assert enroll.store.enrollments_of(look(site.ra.database), USER)[0].kind == "protocol"


def _presented(site: Site) -> bytes:
    assert site.peer is not None
    record = ca.store.find_by_fingerprint(look(site.ra.database), site.peer.fingerprint)
    assert record is not None
    assert record.der is not None
    return record.der


async def test_one_renewal_per_certificate(renewal: Site) -> None:
    """Two orders for one certificate: the newer takes over; after issuance there is no further one."""
    client = Client(renewal)
    await client.register()
    orders = [await client.order() for _ in range(3)]
    challenges = [
        (await client.post(order.json["authorizations"][0])).json["challenges"][0]["url"] for order in orders
    ]
    for challenge in challenges[:2]:
        assert (await client.post(challenge, {})).json["status"] == "valid"
    assert (await client.post(orders[0].headers["Location"])).json["status"] == "invalid"
    assert (await client.finalize(orders[1])).json["status"] == "valid"
    assert (await client.post(challenges[2], {})).problem == (409, "alreadyReplaced")
    assert (await client.post(challenges[2])).json["status"] == "pending"
    assert (await client.post(orders[2].headers["Location"])).json["status"] == "invalid"
    for asked in ({}, {"replaces": cert_id(x509.load_der_x509_certificate(_presented(renewal)))}):
        assert (await client.order(**asked)).problem == (409, "alreadyReplaced")


async def test_replaces_names_the_presented_certificate(site: Site, renewal: Site) -> None:
    """RFC 9773 section 5: the presented certificate is replaced, and no other one. An order that is open has
    replaced nothing: neither a second one nor the other door is held up by it."""
    victim = await site.enrolled()
    other = await victim.certificate()
    client = Client(renewal)
    await client.register()
    for named in (cert_id(other), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", "x"):
        assert (await client.order(replaces=named)).problem == (400, "malformed")
    clock_of(site.ra).advance(days=61)
    theirs = await victim.order(replaces=cert_id(other))
    renewal.peer = peer_of(site.ra, other)
    assert (await client.order(replaces=cert_id(other))).status == 201
    assert (await victim.post(theirs.headers["Location"])).json["status"] == "ready"
    await victim.finalize(theirs)
    assert (await client.order(replaces=cert_id(other))).problem == (409, "alreadyReplaced")
    presented = await (await site.enrolled()).certificate()
    renewal.peer = peer_of(site.ra, presented)
    order = await client.order(replaces=cert_id(presented))
    assert (order.status, order.json["replaces"]) == (201, cert_id(presented))
    second = await client.order(replaces=cert_id(presented))
    assert (second.status, second.json["replaces"]) == (201, cert_id(presented))


async def test_any_body_gets_a_problem(site: Site) -> None:
    """Hostile bodies at every resource: a problem document below 500, never a broken connection."""
    client = await site.enrolled()
    bodies = [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"protected":"","payload":"","signature":""}',
        b"[" * 9_000,
    ]
    bodies.append(json.dumps({"protected": b64("{}"), "payload": b64("[]"), "signature": ""}).encode())
    for resource in (
        "newAccount",
        "newOrder",
        "newAuthz",
        "revokeCert",
        "keyChange",
        "directory",
        "newNonce",
    ):
        for body in bodies:
            assert (await client.send(site.to(resource), body)).problem[0] == 400
    for url in (client.kid, site.to("order", "x"), site.to("finalize", "x"), site.to("challenge", "x")):
        for payload in ("null", "[]", '"x"', "1", '{"a":1,"a":2}', "{", '{"csr":{}}', '{"status":{}}'):
            reply = await client.post(url, payload)
            assert 200 <= reply.status < 500
