"""OCSP (RFC 6960, RFC 5019): what is answered about good, held, revoked and unknown certificates, and what
is not."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus

import ca.store
from ca.authority import Issuer
from ca.generations.states import Event
from ca.ocsp import HASHES, Malformed, Unauthorized, parse
from ca.signing import NoSignature, Signer, ToSign
from enroll import answers, generations, timekeeping
from enroll.answers import Answers
from enroll.ra import RegistrationAuthority
from gateway.sites import help as help_site
from gateway.sites.revocation import PREFIX, Publications
from gateway.web.context import Role
from tests.datadirs import clock_of, next_generation, open_office
from tests.gateway.plainly import Plainly, Seconds, plainly
from tests.gateway.sites.kit import serve
from tests.issued import Leaf, hold, issue, release, revoke

DAY = 86_400
_SHA1 = hashes.SHA1()
_POINT = PublicFormat.UncompressedPoint


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as ra:
        yield ra


@pytest.fixture
def made() -> Answers:
    return Answers(Seconds())


@pytest.fixture
async def site(ra: RegistrationAuthority, made: Answers) -> AsyncIterator[Plainly]:
    async with plainly(Publications(ra, made).answer) as site:
        yield site


def request_for(
    serial: int,
    issuer: x509.Certificate,
    algorithm: hashes.HashAlgorithm = _SHA1,
    nonce: bytes | None = None,
) -> bytes:
    """A request as clients make it."""
    name, key = hashes.Hash(algorithm), hashes.Hash(algorithm)
    name.update(issuer.subject.public_bytes())
    bits = issuer.public_key().public_bytes(Encoding.X962, _POINT)  # type: ignore[union-attr,call-arg]
    key.update(bits)
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name.finalize(), key.finalize(), serial, algorithm
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def _asking(leaf: Leaf, ra: RegistrationAuthority, **more: object) -> bytes:
    return request_for(int(leaf.serial, 16), ra.authority.current.certificate, **more)  # type: ignore[arg-type]


async def _ask(site: Plainly, der: bytes) -> ocsp.OCSPResponse:
    status, fields, body = await site.ask("/ocsp", der, Content_Type="application/ocsp-request")
    assert (status, fields["content-type"]) == (200, "application/ocsp-response")
    return ocsp.load_der_ocsp_response(body)


def _verified(read: ocsp.OCSPResponse, issuer: Issuer) -> x509.Certificate:
    """The responder, which is the issuer's, may sign answers and nothing else, and has signed this one."""
    (responder,) = read.certificates
    responder.verify_directly_issued_by(issuer.certificate)
    key = responder.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert read.signature_hash_algorithm is not None
    key.verify(read.signature, read.tbs_response_bytes, ec.ECDSA(read.signature_hash_algorithm))
    own = responder.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert read.responder_key_hash == own
    return responder


async def test_what_the_register_says_is_answered(ra: RegistrationAuthority, site: Plainly) -> None:
    """good, revoked with time and reason, held (reason 6), good again, and unknown for what was never
    issued."""
    leaf, issuer = await issue(ra), ra.authority.current
    read = await _ask(site, _asking(leaf, ra))
    assert (read.certificate_status, read.serial_number) == (OCSPCertStatus.GOOD, int(leaf.serial, 16))
    _verified(read, issuer)
    clock_of(ra).advance(seconds=5)
    await hold(ra, leaf)
    read = await _ask(site, _asking(leaf, ra))
    held = (OCSPCertStatus.REVOKED, x509.ReasonFlags.certificate_hold)
    assert (read.certificate_status, read.revocation_reason) == held
    await release(ra, leaf)
    assert (await _ask(site, _asking(leaf, ra))).certificate_status is OCSPCertStatus.GOOD
    clock_of(ra).advance(seconds=5)
    await revoke(ra, leaf, 1)
    read = await _ask(site, _asking(leaf, ra))
    assert (read.certificate_status, read.revocation_reason) == (
        OCSPCertStatus.REVOKED,
        x509.ReasonFlags.key_compromise,
    )
    assert read.revocation_time_utc == datetime.fromtimestamp(ra.now(), UTC)
    other = await issue(ra, "K2")
    await revoke(ra, other, 0)
    read = await _ask(site, _asking(other, ra))
    assert (read.certificate_status, read.revocation_reason) == (OCSPCertStatus.REVOKED, None)
    read = await _ask(site, request_for(0x1234, issuer.certificate))
    assert (read.certificate_status, read.serial_number) == (OCSPCertStatus.UNKNOWN, 0x1234)
    _verified(read, issuer)


async def test_a_certificate_that_is_not_signed_yet_is_unknown(
    ra: RegistrationAuthority, site: Plainly
) -> None:
    """Nobody has it, so nobody can rely on it; once it is issued it is good, whatever was said before."""
    from ca.keys import generate, spki

    key = spki(generate("ec-p256").public_key())
    planned = ra.authority.plan("client-person", "K1", (), key, None, ra.now(), bytes(16))
    await ra.database.write(lambda db: ca.store.reserve(db, planned))
    asking = request_for(int(planned.serial, 16), ra.authority.current.certificate)
    assert (await _ask(site, asking)).certificate_status is OCSPCertStatus.UNKNOWN
    der = await ra.authority.certify(planned)
    await ra.database.write(lambda db: ca.store.store_issued(db, planned.serial, der, ra.now()))
    assert (await _ask(site, asking)).certificate_status is OCSPCertStatus.GOOD


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()])
async def test_an_answer_names_the_certificate_as_it_was_asked_for(
    ra: RegistrationAuthority, site: Plainly, algorithm: hashes.HashAlgorithm
) -> None:
    """RFC 6960 section 4.2.1: clients compare the CertID, its hash included."""
    leaf = await issue(ra)
    asking = _asking(leaf, ra, algorithm=algorithm)
    asked, read = ocsp.load_der_ocsp_request(asking), await _ask(site, asking)
    assert read.hash_algorithm.name == algorithm.name
    assert (read.issuer_name_hash, read.issuer_key_hash) == (asked.issuer_name_hash, asked.issuer_key_hash)


async def test_the_responder_is_delegated(ra: RegistrationAuthority, site: Plainly) -> None:
    """RFC 6960 section 4.2.2.2: OCSPSigning by the issuer itself, no check of its own, short, and no CA. It
    is renewed by itself in good time; what the one before has signed is still good."""
    leaf, issuer = await issue(ra), ra.authority.current
    first = _verified(await _ask(site, _asking(leaf, ra)), issuer)
    extensions = first.extensions
    eku = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(eku) == [x509.ExtendedKeyUsageOID.OCSP_SIGNING]
    assert extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert first.not_valid_after_utc - datetime.fromtimestamp(ra.now(), UTC) == timedelta(days=30)
    for days, same in ((14, True), (9, False)):
        clock_of(ra).advance(days=days)
        read = await _ask(site, _asking(leaf, ra))
        assert read.next_update_utc is not None
        responder = _verified(read, issuer)
        assert (responder == first) is same, days
        assert read.next_update_utc <= responder.not_valid_after_utc


async def test_no_answer_outlives_its_issuer(tmp_path: Path) -> None:
    """A CA never signs beyond its own end, and neither does who signs for it."""
    async with open_office(tmp_path) as ra:
        leaf, issuer = await issue(ra), ra.authority.current
        clock_of(ra).advance(seconds=issuer.not_after_at - ra.now() - 3 * DAY)
        await timekeeping.confirm(ra, actor="test")
        async with plainly(Publications(ra, Answers()).answer) as site:
            read = await _ask(site, _asking(leaf, ra))
            assert read.next_update_utc == issuer.certificate.not_valid_after_utc
            assert _verified(read, issuer).not_valid_after_utc == issuer.certificate.not_valid_after_utc


async def test_caches_are_told_how_long(ra: RegistrationAuthority, site: Plainly) -> None:
    """RFC 5019 sections 5 and 6: by GET, in base64 that is escaped more or less; Last-Modified is
    thisUpdate, Expires nextUpdate, and max-age no more than an hour."""
    leaf = await issue(ra)
    encoded = b64encode(_asking(leaf, ra)).decode()
    status, fields, body = await site.ask("/ocsp/" + quote(encoded, safe=""))
    assert (status, fields["content-type"]) == (200, "application/ocsp-response")
    assert fields["cache-control"] == "max-age=3600, public, no-transform, must-revalidate"
    assert fields["last-modified"] == "Sun, 22 Nov 2026 03:00:00 GMT"
    assert fields["expires"] == "Mon, 30 Nov 2026 03:00:00 GMT"
    assert fields["etag"] == f'"{hashlib.sha1(body).hexdigest()}"'
    assert (await site.ask("/ocsp/" + encoded))[2] == body
    assert (await site.ask("/ocsp/" + encoded, If_None_Match=fields["etag"]))[0] == 304
    assert (await site.ask("/ocsp/" + encoded, If_None_Match='"other"'))[0] == 200
    head = await site.ask("/ocsp/" + encoded, method="HEAD")
    assert (head[1]["content-length"], head[2]) == (str(len(body)), b"")
    assert (await site.ask("/ocsp", _asking(leaf, ra)))[2] == body


async def test_it_is_made_ahead_and_kept(ra: RegistrationAuthority, site: Plainly, made: Answers) -> None:
    """In the background: new ones, changed ones, and all of them once a day; asking then makes none."""
    leaves = [await issue(ra, f"K{i}") for i in range(3)]
    assert [await made.refresh(ra) for _ in range(2)] == [3, 0]
    await revoke(ra, leaves[0])
    await hold(ra, leaves[1])
    assert [await made.refresh(ra) for _ in range(2)] == [2, 0]
    clock_of(ra).advance(seconds=DAY)
    assert [await made.refresh(ra) for _ in range(2)] == [0, 0]
    clock_of(ra).advance(seconds=1)
    assert [await made.refresh(ra) for _ in range(2)] == [3, 0]
    said = [(await _ask(site, _asking(each, ra))).certificate_status.name for each in leaves]
    assert said == ["REVOKED", "REVOKED", "GOOD"]
    assert (made.made_ahead, made.made_when_asked) == (8, 0)
    again = Answers(Seconds())
    assert await again.refresh(ra) == 0  # a process that begins finds what there is


async def test_it_is_made_ahead_when_the_issuer_is_distrusted(
    ra: RegistrationAuthority, site: Plainly, made: Answers
) -> None:
    """RFC 6960 section 2.7: all that are kept are made anew, before anybody asks, and once more when it is
    trusted again; of another issuing CA none is."""
    leaves = [await issue(ra, f"K{i}") for i in range(3)]
    other = next_generation(ra, "G5")
    await issue(other, "K9")
    assert [await made.refresh(other) for _ in range(2)] == [4, 0]
    g4 = generations.named(other, ra.authority.current.common_name)
    for event, said in ((Event.DISTRUST, "REVOKED"), (Event.TRUST, "GOOD")):
        await generations.change(other, g4, event, ra.now(), actor="test")
        assert [await made.refresh(other) for _ in range(2)] == [3, 0]
        told = [await _ask(site, _asking(each, ra)) for each in leaves]
        assert {each.certificate_status.name for each in told} == {said}
    assert made.made_when_asked == 0


async def test_it_is_made_ahead_once_it_is_issued(ra: RegistrationAuthority, made: Answers) -> None:
    """A reservation that is signed later, after others, is not passed over."""
    from ca.keys import generate, spki

    key = spki(generate("ec-p256").public_key())
    planned = ra.authority.plan("client-person", "K1", (), key, None, ra.now(), bytes(16))
    await ra.database.write(lambda db: ca.store.reserve(db, planned))
    await issue(ra, "K2")
    assert await made.refresh(ra) == 1
    der = await ra.authority.certify(planned)
    await ra.database.write(lambda db: ca.store.store_issued(db, planned.serial, der, ra.now()))
    assert [await made.refresh(ra) for _ in range(2)] == [1, 0]


def _away(ra: RegistrationAuthority) -> RegistrationAuthority:
    """The same while nobody signs."""

    class Nobody:
        async def sign(self, asked: ToSign) -> bytes:
            raise NoSignature("nobody is there")

        def sign_now(self, asked: ToSign) -> bytes:
            raise NoSignature("nobody is there")

    signer: Signer = Nobody()
    return replace(ra, authority=replace(ra.authority, signer=signer))


async def test_while_nobody_signs_what_there_is_goes_on_and_nothing_is_good_that_was_revoked(
    ra: RegistrationAuthority, made: Answers
) -> None:
    """With the signer gone: answers that exist are handed out to their end; about what was revoked since
    there is none (tryLater), and so about what was never asked for. Afterwards all of it is made."""
    leaf, gone = await issue(ra), await issue(ra, "K2")
    await made.refresh(ra)
    nobody, fresh = _away(ra), Answers(Seconds())
    await revoke(ra, gone)
    later = await issue(ra, "K3")
    async with plainly(Publications(nobody, fresh).answer) as site:
        assert (await _ask(site, _asking(leaf, ra))).certificate_status is OCSPCertStatus.GOOD
        for each in (gone, later):
            status, fields, body = await site.ask("/ocsp", _asking(each, ra))
            assert ocsp.load_der_ocsp_response(body).response_status is OCSPResponseStatus.TRY_LATER
            assert (status, fields["cache-control"]) == (200, "no-store")
        with pytest.raises(NoSignature, match="nobody is there"):
            await fresh.refresh(nobody)
        clock_of(ra).advance(days=7)
        assert (await _ask(site, _asking(leaf, ra))).certificate_status is OCSPCertStatus.GOOD
        clock_of(ra).advance(days=1)
        assert (await _ask(site, _asking(leaf, ra))).response_status is OCSPResponseStatus.TRY_LATER
    await timekeeping.confirm(ra, actor="test")
    assert await fresh.refresh(ra) == 3
    async with plainly(Publications(ra, fresh).answer) as site:
        assert (await _ask(site, _asking(gone, ra))).certificate_status is OCSPCertStatus.REVOKED


async def test_times_never_go_back(ra: RegistrationAuthority, made: Answers, site: Plainly) -> None:
    """A clock that is corrected by minutes takes no thisUpdate back; nothing is made while it is in doubt."""
    leaf = await issue(ra)
    await made.refresh(ra)
    before = (await _ask(site, _asking(leaf, ra))).this_update_utc
    clock_of(ra).advance(seconds=-300)
    await revoke(ra, leaf)
    assert (await _ask(site, _asking(leaf, ra))).this_update_utc == before
    clock_of(ra).advance(days=-1)
    _, _, body = await site.ask("/ocsp", request_for(0x77, ra.authority.current.certificate))
    assert ocsp.load_der_ocsp_response(body).response_status is OCSPResponseStatus.TRY_LATER
    assert await made.refresh(ra) == 0


async def test_who_guesses_serials_is_slowed_down(
    ra: RegistrationAuthority, made: Answers, site: Plainly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many unknown ones are signed in a second; others have their answers meanwhile, and one that was
    asked about is kept for a while."""
    monkeypatch.setattr(answers, "_UNKNOWN_A_SECOND", 2)
    leaf, issuer = await issue(ra), ra.authority.current.certificate
    said = [(await _ask(site, request_for(i, issuer))).response_status.name for i in (1, 2, 3, 1, 2)]
    assert said == ["SUCCESSFUL", "SUCCESSFUL", "TRY_LATER", "SUCCESSFUL", "SUCCESSFUL"]
    assert (await _ask(site, _asking(leaf, ra))).certificate_status is OCSPCertStatus.GOOD
    assert made.made_when_asked == 3


async def test_many_who_ask_at_once_are_one_batch(
    ra: RegistrationAuthority, made: Answers, site: Plainly
) -> None:
    """Twenty ask about the same, twenty about others: each has its own answer, and each is signed once."""
    leaves = [await issue(ra, f"K{i}") for i in range(20)]
    asked = await asyncio.gather(*(_ask(site, _asking(each, ra)) for each in [*leaves, *leaves[:1] * 20]))
    assert [each.serial_number for each in asked[:20]] == [int(each.serial, 16) for each in leaves]
    assert {each.certificate_status for each in asked} == {OCSPCertStatus.GOOD}
    assert made.made_when_asked == 20


def _two(issuer: x509.Certificate) -> bytes:
    """A request about two certificates."""
    one = request_for(1, issuer)
    inner = one[4:] if one[1] == 0x81 else one[2:]  # tbsRequest
    listed = inner[2:]
    single = listed[2:]
    twice = bytes((0x30, 2 * len(single))) + single * 2
    tbs = bytes((0x30, 0x81, len(twice))) + twice if len(twice) > 127 else bytes((0x30, len(twice))) + twice
    return bytes((0x30, 0x81, len(tbs))) + tbs


@pytest.mark.parametrize(
    "junk", [b"", b"\x30", b"\x30\x00", b"\x00" * 9, b"GET", b"\x30\x84\xff\xff\xff\xff", b"0" * 4_096]
)
async def test_what_is_no_request_is_malformed(ra: RegistrationAuthority, site: Plainly, junk: bytes) -> None:
    """RFC 6960 section 2.3: unsigned, by 200, and kept by nobody; by POST as by GET, cut short or with more
    behind."""
    whole = request_for(7, ra.authority.current.certificate)
    for said in (junk, whole[:-1], whole + b"\x00"):
        for status, fields, body in (
            await site.ask("/ocsp", said),
            await site.ask("/ocsp/" + quote(b64encode(said).decode()[:2_000], safe="")),
        ):
            assert ocsp.load_der_ocsp_response(body).response_status is OCSPResponseStatus.MALFORMED_REQUEST
            assert (status, fields["cache-control"]) == (200, "no-store")


@pytest.mark.parametrize(
    "path", ["/ocsp", "/ocsp/", "/ocsp/%", "/ocsp/!!!!", "/ocsp/" + "A" * 4_000, "/ocsp/%00%00"]
)
async def test_what_is_no_base64_is_malformed(site: Plainly, path: str) -> None:
    """The same for what stands in an address."""
    _, _, body = await site.ask(path)
    assert ocsp.load_der_ocsp_response(body).response_status is OCSPResponseStatus.MALFORMED_REQUEST


async def test_a_huge_request_is_refused_before_it_is_read(site: Plainly) -> None:
    """413: the largest has some hundreds of bytes."""
    assert (await site.ask("/ocsp", b"0" * 4_097))[0] == 413
    assert (await site.ask("/ocsp/" + "A" * 9_000))[0] == 414


async def test_what_is_not_ours_is_unauthorized(ra: RegistrationAuthority, site: Plainly) -> None:
    """RFC 5019 section 2.2.3: about another CA's certificates, about two at once, by a hash that nobody
    asks by."""
    issuer = ra.authority.current.certificate
    other = x509.load_der_x509_certificate(ra.authority.current.chain[-1])
    for said in (request_for(1, other), _two(issuer), request_for(1, issuer, hashes.SHA512())):
        _, _, body = await site.ask("/ocsp", said)
        assert ocsp.load_der_ocsp_response(body).response_status is OCSPResponseStatus.UNAUTHORIZED
    assert {
        parse(request_for(1, issuer, each)).issuer.hash for each in (hashes.SHA1(), hashes.SHA256())
    } == set(HASHES)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(site: Plainly, method: str) -> None:
    """405, and what may be done instead."""
    status, fields, _ = await site.ask("/ocsp", method=method)
    assert (status, fields["allow"]) == (405, "GET, HEAD, POST")


async def test_a_nonce_is_read_and_not_repeated(ra: RegistrationAuthority, site: Plainly) -> None:
    """RFC 9654: an answer that was made ahead has none, which clients take; one of no octet or more than
    128 is malformed."""
    leaf = await issue(ra)
    for size in (1, 16, 32, 128):
        read = await _ask(site, _asking(leaf, ra, nonce=bytes(size)))
        assert read.certificate_status is OCSPCertStatus.GOOD
        assert list(read.extensions) == []
    for size in (0, 129):
        with pytest.raises(Malformed):
            parse(_asking(leaf, ra, nonce=bytes(size)))


async def test_a_critical_extension_that_nobody_knows_is_not_passed_over(ra: RegistrationAuthority) -> None:
    """RFC 6960 section 4.4: what must be understood and is not, is not answered; the twin is ignored."""
    issuer = ra.authority.current.certificate
    asked = ocsp.load_der_ocsp_request(request_for(1, issuer))
    for critical in (True, False):
        odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
            asked.issuer_name_hash, asked.issuer_key_hash, 1, hashes.SHA1()
        )
        der = builder.add_extension(odd, critical).build().public_bytes(Encoding.DER)
        if critical:
            with pytest.raises(Unauthorized):
                parse(der)
        else:
            assert parse(der).serial == 1


async def test_the_same_is_on_the_help_site(ra: RegistrationAuthority, tmp_path: Path) -> None:
    """By HTTPS, below /pki, by GET and by POST."""
    leaf = await issue(ra)
    async with serve(ra, tmp_path, Role.HELP, help_site.application) as served:
        asking = _asking(leaf, ra)
        page = await served.visitor().get(f"{PREFIX}/ocsp/{quote(b64encode(asking).decode(), safe='')}")
        assert ocsp.load_der_ocsp_response(page.body).certificate_status is OCSPCertStatus.GOOD
        visitor = served.visitor()
        for said, status in ((asking, 200), (b"0" * 5_000, 413)):
            async with visitor.session.post(visitor.origin + PREFIX + "/ocsp", data=said) as got:
                assert got.status == status
                body = await got.read()
            if status == 200:
                assert body == page.body
