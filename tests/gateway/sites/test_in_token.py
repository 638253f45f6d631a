"""Pick-up, protocol, lists and answers with every key in a token: nothing of it needs a file."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from ca import datadir
from ca.certificates import public_key_of
from ca.keyplaces import responder_of
from ca.listfiles import folder_of
from ca.publication import Places
from ca.published import store as published
from ca.responder import Responder
from ca.signing import NoSignature
from enroll import crls
from tests.datadirs import CHEAP, PASSPHRASE, START, clock_of, open_office, revoke_many
from tests.enroll.acme.acme_world import FQDN, world
from tests.gateway.sites.test_pickup import fetched, logged_in, site, typed
from tests.softhsm import TOKEN, hsm, in_token, key_named, needs_softhsm

pytestmark = needs_softhsm
__all__ = ["hsm", "site"]


async def test_pickup(site, tmp_path, hsm):
    """From the login to the file, whose certificate the issuing CA's key in the token has signed."""
    with in_token(site.ra, tmp_path / "data"):
        visitor, request_id = await logged_in(site)
        page = await visitor.post("/certificate", typed(request_id))
        assert page.status == 200
        got = await fetched(visitor, request_id)
    bundle = pkcs12.load_pkcs12(got.body, b"abc")
    bundle.cert.certificate.verify_directly_issued_by(site.ra.authority.current.certificate)


async def test_a_pickup_while_the_token_is_away(site, tmp_path, hsm):
    """Later, in words; pressed again when it is back there is the file."""
    with in_token(site.ra, tmp_path / "data") as tokens:
        visitor, request_id = await logged_in(site)
        link = tokens.link(TOKEN)
        link._monotonic = lambda: 0.0
        hsm.take_away()
        assert (await visitor.post("/certificate", typed(request_id))).status == 503
        assert (await visitor.get("/menu")).status == 200
        hsm.give_back()
        assert (await visitor.post("/certificate", typed(request_id))).status == 503  # it rests for a moment
        link._monotonic = lambda: 10.0
        assert (await fetched(visitor, request_id)).headers["Content-Type"] == "application/x-pkcs12"


async def test_an_order_of_the_protocol(tmp_path, hsm):
    """RFC 8555, from the account to the chain."""
    async with world(tmp_path) as acme:
        with in_token(acme.ra, tmp_path / "data"):
            client = await acme.enrolled()
            leaf = await client.certificate(FQDN)
        leaf.verify_directly_issued_by(acme.ra.authority.current.certificate)


async def test_lists_and_answers(tmp_path, hsm):
    """The whole list, every shard, and answers by a responder whose key is in the token, too."""
    datadir.create(tmp_path / "data", PASSPHRASE, START, site=Places("http://p", None, 4), cost=CHEAP)
    async with open_office(tmp_path) as ra:
        issuer = ra.authority.current
        key = public_key_of(issuer.certificate)
        with in_token(ra, tmp_path / "data") as tokens:
            await ra.database.write(revoke_many(ra, 9))
            listed = await crls.publish(ra, issuer)
            assert listed.entries == 9
            for shard in range(4):
                await crls.publish(ra, issuer, shard)
            found = [
                x509.load_der_x509_crl(path.read_bytes())
                for path in folder_of(ra.database.folder).rglob("*")
                if path.is_file() and not path.name.startswith(".")
            ]
            assert len(found) == 5
            assert all(each.is_signature_valid(key) for each in found)

            place = responder_of(issuer.issuer_id)
            public, _ = tokens.generate(key_named(place, place, identifier="0c"), "ec-p256")
            responder = Responder(lambda _: tokens.found(place))
            (revoked, *_) = found[0] if len(found[0]) else found[1]
            serial = f"{revoked.serial_number:x}"
            standing = ra.database.read_now(lambda db: published.standing(db, issuer.issuer_id, serial))
            batch = responder.answer(issuer, ra.authority.signer, [standing], clock_of(ra).seconds())
            delegate = x509.load_der_x509_certificate(batch.responder)
            assert delegate.public_key() == public
            delegate.verify_directly_issued_by(issuer.certificate)
            assert [each.serial for each in batch.answers] == [serial]  # each was looked at with its key

            hsm.take_away()
            with pytest.raises(NoSignature):
                responder.answer(issuer, ra.authority.signer, [standing], clock_of(ra).seconds())
