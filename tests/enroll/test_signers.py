"""Who signs is elsewhere: signatures differ, come late, or do not come, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import threading

import pytest
from cryptography import x509

import ca.store
from ca.signing import NoSignature, ToSign
from enroll import crls, store
from enroll.acme import store as acme_store
from enroll.acme.lookup import current
from enroll.people.register import disable_user
from enroll.refusals import Refusal
from enroll.requests import completion, issuance
from enroll.requests.states import State
from gateway.running.lists import Publisher
from tests.datadirs import admit, clock_of, open_office, revoke_many, together
from tests.enroll.acme.acme_world import FQDN, csr, world
from tests.looking import look
from tests.signers import Gone, LikeAToken, Rubbish, Slow, Unreliable, given_to, signed_by

USER = "K12345678"


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as opened:
        await admit(opened)
        yield opened


async def begun(ra):
    """The request ID of a person who has pressed Submit."""
    (waiting,) = store.enrollments_of(look(ra.database), USER)
    await issuance.submit(ra, waiting.request_id, actor=USER)
    return waiting.request_id


def found(ra, request_id):
    return store.enrollment(look(ra.database), request_id)


async def test_who_cannot_sign_now_says_later_and_signs_the_same_bytes(ra):
    """Refusal "issuing_later": the request waits with its key; what is signed then is what was recorded."""
    signer = Gone(ra.authority.signer)
    away = signed_by(ra, signer)
    request_id = await begun(away)
    before = found(ra, request_id)
    for _ in range(2):
        with pytest.raises(Refusal) as refused:
            await issuance.complete(away, request_id)
        assert refused.value.code == "issuing_later"
        assert found(ra, request_id) == before
    signer.back = True
    assert (await issuance.complete(away, request_id)).state is State.ISSUED
    first, *others = signer.asked
    assert others == [first] * 2
    record = ca.store.find_by_serial(look(ra.database), before.serial)
    assert x509.load_der_x509_certificate(record.der).tbs_certificate_bytes == first.content
    assert (first.purpose, first.serial) == ("certificate", before.serial)


async def test_what_is_no_signature_is_not_stored(ra):
    """A certificate that nobody could log in with would be taken for issued, for three years."""
    request_id = await begun(ra)
    with pytest.raises(Refusal) as refused:
        await issuance.complete(signed_by(ra, Rubbish(ra.authority.signer)), request_id)
    assert refused.value.code == "issuing_later"
    assert found(ra, request_id).state is State.PROCESSING
    assert (await issuance.complete(ra, request_id)).state is State.ISSUED


async def test_nobody_waits_longer_than_the_patience_and_it_goes_on(ra):
    """Whoever asked is told later; the signature is stored when it comes, without anybody's help."""
    signer = Slow(ra.authority.signer)
    slow = signed_by(ra, signer, patience=0.01)
    request_id = await begun(slow)
    async with asyncio.timeout(60):
        while not signer.asked:  # it may be over before the register has answered
            await completion.within(slow, request_id)
    await completion.within(slow, request_id)
    assert (found(ra, request_id).state, len(signer.asked)) == (State.PROCESSING, 1)
    signer.let.set()
    await completion.settle()
    assert found(ra, request_id).state is State.ISSUED


async def test_who_leaves_ends_nothing(ra):
    """A browser that is closed while it is signed: the certificate is there when its owner comes back."""
    signer = Slow(ra.authority.signer)
    slow = signed_by(ra, signer)
    request_id = await begun(slow)
    leaving = asyncio.create_task(completion.within(slow, request_id))
    async with asyncio.timeout(60):
        while not signer.asked:
            await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    signer.let.set()
    await completion.settle()
    assert found(ra, request_id).state is State.ISSUED


async def test_of_two_signatures_everybody_gets_the_one_that_was_stored_first(ra):
    """Two processes sign one reservation by a token: there is one certificate, whoever asks."""
    token = signed_by(ra, LikeAToken.instead_of(ra.authority.signer))
    request_id = await begun(token)
    made = await together(*(issuance.complete(token, request_id) for _ in range(8)))
    assert len({(each.state, each.serial) for each in made}) == 1
    record = ca.store.find_by_order(look(ra.database), request_id)
    certificate = x509.load_der_x509_certificate(record.der)
    certificate.verify_directly_issued_by(ra.authority.current.certificate)
    assert ca.store.count_by_status(look(ra.database)) == {"issued": 1}


async def test_a_start_without_whoever_signs_is_a_start(ra):
    """What a crash left stays, and is finished when somebody signs again."""
    signer = Gone(ra.authority.signer)
    away, request_id = signed_by(ra, signer), await begun(ra)
    assert await issuance.recover(away) == 0
    assert found(ra, request_id).state is State.PROCESSING
    signer.back = True
    assert (await issuance.recover(away), await issuance.recover(away)) == (1, 0)
    assert found(ra, request_id).state is State.ISSUED


async def test_nothing_is_signed_inside_a_transaction_or_on_the_event_loop(tmp_path):
    """For pages, protocol and lists: while it is signed others write, so whoever signs may take its time."""
    loop_thread, asked = threading.get_ident(), list[str]()

    async with world(tmp_path) as site:
        ra = site.ra
        inner = ra.authority.signer

        class Writes:
            async def sign(self, to_sign: ToSign) -> bytes:
                # Would never come back in a transaction: there is one writer.
                await ra.database.write(lambda db: store.audit(db, 1, "signer", "test", "x"))
                assert threading.get_ident() == loop_thread
                asked.append(to_sign.purpose)
                return await inner.sign(to_sign)

            def sign_now(self, to_sign: ToSign) -> bytes:
                raise AssertionError(f"{to_sign.purpose} is signed by who blocks")

        object.__setattr__(ra, "authority", signed_by(ra, Writes()).authority)
        client = await site.enrolled()
        await client.certificate(FQDN)
        (waiting,) = [
            each for each in store.enrollments_of(look(ra.database), USER) if each.kind == "addition"
        ]
        await issuance.submit(ra, waiting.request_id, actor=USER)
        await issuance.complete(ra, waiting.request_id)
        await crls.publish(ra, ra.authority.current)
    assert asked == ["certificate", "certificate", "list"]


async def test_an_order_is_processing_while_nobody_signs(tmp_path):
    """RFC 8555 section 7.4: 200, the order as it is, and Retry-After; finalize again is orderNotReady;
    whoever looks gets it finished, and the certificate is the order's."""
    async with world(tmp_path) as site:
        signer = Gone(site.ra.authority.signer)
        given_to(site.ra, signer)
        client = await site.enrolled()
        order = await client.order()
        url, finalize = order.headers["Location"], order.json["finalize"]
        begun = await client.finalize(order, FQDN)
        assert (begun.status, begun.json["status"]) == (200, "processing")
        assert (begun.headers["Location"], begun.headers["Retry-After"]) == (url, "1")
        assert "certificate" not in begun.json
        assert (await client.post(finalize, {"csr": csr(FQDN)})).problem == (403, "orderNotReady")
        assert (await client.post(url)).json["status"] == "processing"
        clock_of(site.ra).advance(seconds=20)
        assert (await client.post(url)).headers["Retry-After"] == "20"
        clock_of(site.ra).advance(seconds=600)
        assert (await client.post(url)).headers["Retry-After"] == "60"
        signer.back = True
        completion._failed.clear()
        assert (await client.post(url)).json["status"] == "processing"
        await completion.settle()
        valid = (await client.post(url)).json
        assert valid["status"] == "valid"
        chain = await client.post(valid["certificate"])
        leaf = x509.load_pem_x509_certificates(chain.body)[0]
        assert {each.content for each in signer.asked} == {leaf.tbs_certificate_bytes}


async def test_a_slow_signature_is_told_of_and_comes(tmp_path):
    """A client that polls gets its certificate without anybody asking for it again."""
    async with world(tmp_path) as site:
        signer = Slow(site.ra.authority.signer)
        given_to(site.ra, signer, patience=0.05)
        client = await site.enrolled()
        order = await client.order()
        assert (await client.finalize(order, FQDN)).json["status"] == "processing"
        assert (await client.post(order.headers["Location"])).json["status"] == "processing"
        signer.let.set()
        await completion.settle()
        assert (await client.post(order.headers["Location"])).json["status"] == "valid"
        assert len(signer.asked) == 1


async def test_an_order_whose_user_ends_while_it_is_signed_is_invalid(tmp_path):
    """Section 7.1.6: from processing to invalid; the certificate is stored, and revoked at once."""
    async with world(tmp_path) as site:
        signer = Slow(site.ra.authority.signer)
        given_to(site.ra, signer, patience=0.05)
        client = await site.enrolled()
        order = await client.order()
        begun = await client.finalize(order, FQDN)
        assert begun.json["status"] == "processing"
        serial = signer.asked[0].serial

        await disable_user(site.ra, USER, actor="operator")
        signer.let.set()
        await completion.settle()
        record = ca.store.find_by_serial(look(site.ra.database), serial)
        assert (record.status, record.revocation_reason) == ("revoked", 9)
        assert store.enrollment_of(look(site.ra.database), serial).state is State.REVOKED
        ended = acme_store.order(look(site.ra.database), begun.headers["Location"].rpartition("/")[2])
        assert current(look(site.ra.database), ended, site.ra.now()).status == "invalid"


async def test_no_list_without_a_signature_and_the_last_one_stays(ra):
    """Lists go on: the published one is given out, nothing of the attempt is left, and it is tried again."""
    issuer, at = ra.authority.current, [0.0]
    last = await crls.publish(ra, issuer)
    await ra.database.write(revoke_many(ra, 3))
    signer = Gone(ra.authority.signer)
    away, publisher = signed_by(ra, signer), Publisher(lambda: at[0])
    with pytest.raises(NoSignature, match="nobody is there"):
        await crls.publish(away, issuer)
    assert await publisher.look(away) == 0
    assert await crls.published(ra, issuer.issuer_id) == last
    assert [each.name for each in crls.folder(ra).iterdir() if each.name.startswith(".")] == []
    signer.back = True
    assert await publisher.look(away) == 0
    at[0] += 31
    assert await publisher.look(away) == 1
    assert (await crls.published(ra, issuer.issuer_id)).entries == 3


async def test_a_list_whose_signature_is_none_is_not_published(ra):
    """Nobody could verify it, and whoever insists on a list would refuse everybody."""
    with pytest.raises(NoSignature, match="is none"):
        await crls.publish(signed_by(ra, Rubbish(ra.authority.signer)), ra.authority.current)
    assert await crls.published(ra, ra.authority.current.issuer_id) is None


async def test_one_who_fails_at_random_loses_nothing(ra):
    """Of many who come until they have their certificate each has one."""
    shaky = signed_by(ra, Unreliable(LikeAToken.instead_of(ra.authority.signer), 60))
    request_id = await begun(shaky)
    tries = 0
    while found(ra, request_id).state is State.PROCESSING:
        tries += 1
        await together(issuance.complete(shaky, request_id), issuance.complete(shaky, request_id))
        assert tries < 200
    assert ca.store.count_by_status(look(ra.database)) == {"issued": 1}
