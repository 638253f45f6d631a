"""Judging presented certificates: one state each, fail closed, and proof only where it was earned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL, crypto

from ca.anchors import TrustAnchors
from ca.authority import Authority
from ca.certificates import assemble, build, common_name, distinguished_name, to_be_signed, validity
from ca.datadir import DataDir
from ca.errors import ConfigError
from ca.keys import PrivateKey, generate
from ca.profiles import CLIENT_PERSON, ISSUING, ROOT, SERVER, Profile
from ca.revocation import RevocationStatus
from ca.signing import FileSigner, Signer, ToSign, key_id
from ca.trust import (
    NO_CERTIFICATE,
    OPENSSL_ERRORS,
    PRECEDENCE,
    CertificateState,
    Presentation,
    Rejection,
    VerifiedPeer,
    judge,
    recheck,
)
from tests.ca.conftest import AT, DAY, Issued, issue_person

S = CertificateState
KEY = generate("ec-p256")


@pytest.fixture(scope="module")
def anchors(authority: Authority) -> TrustAnchors:
    return TrustAnchors.of([issuer.certificate for issuer in authority.issuers])


def good(_: str) -> RevocationStatus:
    return RevocationStatus.GOOD


def _clean(der: bytes) -> Presentation:
    return Presentation(der, verified=True)


#: An issuer's certificate, None for one that signs its own, with whoever signs for it.
Held = tuple[x509.Certificate | None, Signer]


def _state(
    presentation: Presentation,
    anchors: TrustAnchors,
    at: int = AT,
    status: Callable[[str], RevocationStatus] = good,
) -> CertificateState:
    verdict = judge(presentation, anchors, status, at)
    return verdict.state if isinstance(verdict, Rejection) else S.VALID


def _leaf(issuer: Held, profile: Profile = CLIENT_PERSON, cn: str = "K1", **other: object) -> bytes:
    """A certificate as `build` makes it, with some of the profile changed, by whatever key."""
    row = dataclasses.replace(profile, **other)  # type: ignore[arg-type]
    names, certificate = ("a.example",) if row.needs_names else (), issuer[0]
    tbs = to_be_signed(
        row, common_name(cn), KEY.public_key(), names, 1 << 126, validity(row, AT), certificate
    )
    signed_by = key_id((KEY if certificate is None else certificate).public_key())  # type: ignore[arg-type]
    return assemble(tbs, issuer[1].sign_now(ToSign(signed_by, "own", tbs)))


def _held(authority: Authority) -> Held:
    return authority.current.certificate, authority.signer


def test_a_good_certificate_gives_a_verified_peer(
    authority: Authority, anchors: TrustAnchors, person: Issued
) -> None:
    """Everything that the layers above need of a peer, taken from the certificate once."""
    verdict = judge(_clean(person.der), anchors, good, AT)
    assert isinstance(verdict, VerifiedPeer)
    assert verdict.common_name == "K1234560001"
    assert verdict.serial == person.reservation.serial
    assert verdict.issuer_name == "CORPORATE-PENSION BUSINESS SERVICE CA-G4"
    assert verdict.chain == (person.der, authority.current.der)
    assert verdict.not_after_at == person.reservation.not_after_at
    assert verdict.leaf == person.der


def test_nobody_else_makes_a_verified_peer(anchors: TrustAnchors, person: Issued) -> None:
    """Holding a `VerifiedPeer` means that `judge` ran."""
    verdict = judge(_clean(person.der), anchors, good, AT)
    assert isinstance(verdict, VerifiedPeer)
    fields = {f.name: getattr(verdict, f.name) for f in dataclasses.fields(verdict)}
    with pytest.raises(TypeError, match="judge only"):
        VerifiedPeer(**fields, proof=object())
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(verdict, common_name="K9")


def test_no_certificate_is_none(anchors: TrustAnchors) -> None:
    """Nothing presented is its own state, whether or not the callback ran."""
    assert _state(NO_CERTIFICATE, anchors) is S.NONE
    assert _state(Presentation(None, verified=True), anchors) is S.NONE


def test_a_certificate_without_verification_in_this_handshake_is_unverified(
    anchors: TrustAnchors, person: Issued
) -> None:
    """V17: after a resumption a refused certificate looks clean; it must not pass."""
    assert _state(Presentation(person.der, verified=False), anchors) is S.UNVERIFIED
    assert _state(Presentation(b"garbage", verified=False), anchors) is S.UNVERIFIED


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (AT - 601, S.NOT_YET_VALID),
        (AT - 600, S.VALID),
        ("end", S.VALID),
        ("end+1", S.EXPIRED),
    ],
)
def test_time_is_inclusive_at_both_ends(
    anchors: TrustAnchors, person: Issued, at: int | str, state: CertificateState
) -> None:
    """RFC 5280 section 4.1.2.5; R38: at notAfter + 1 s the certificate has expired."""
    end = person.reservation.not_after_at
    moment = {"end": end, "end+1": end + 1}.get(at, at) if isinstance(at, str) else at
    assert isinstance(moment, int)
    assert _state(_clean(person.der), anchors, moment) is state


@pytest.mark.parametrize("number", [9, 10])
def test_openssls_clock_does_not_count(anchors: TrustAnchors, person: Issued, number: int) -> None:
    """Our clock decides: what OpenSSL thinks of the time changes nothing, either way."""
    presentation = Presentation(person.der, errors=((number, 0),), verified=True)
    assert _state(presentation, anchors) is S.VALID
    assert _state(presentation, anchors, person.reservation.not_after_at + 1) is S.EXPIRED


@pytest.mark.parametrize("number", range(1, 110))
def test_every_other_openssl_error_rejects(anchors: TrustAnchors, person: Issued, number: int) -> None:
    """Each recorded error but the two of time rejects, at any depth; an unknown one is UNVERIFIED."""
    expected = OPENSSL_ERRORS.get(number, S.UNVERIFIED)
    for depth in (0, 1):
        presentation = Presentation(person.der, errors=((number, depth),), verified=True)
        assert _state(presentation, anchors) is (expected or S.VALID)


def test_all_errors_count_not_only_the_last(anchors: TrustAnchors, person: Issued) -> None:
    """The callback may fire several times; the first in precedence is the answer."""
    presentation = Presentation(person.der, errors=((23, 0), (20, 0), (10, 0)), verified=True)
    assert _state(presentation, anchors) is S.UNKNOWN_ISSUER


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (RevocationStatus.REVOKED, S.REVOKED),
        (RevocationStatus.HELD, S.HELD),
        (RevocationStatus.UNKNOWN, S.UNKNOWN_CERTIFICATE),
    ],
)
def test_the_index_decides(
    anchors: TrustAnchors, person: Issued, status: RevocationStatus, state: CertificateState
) -> None:
    """Revoked is revoked, also after the end; signed but never recorded is not good (stolen CA key)."""
    assert _state(_clean(person.der), anchors, AT, lambda _: status) is state
    late = person.reservation.not_after_at + 1
    assert _state(_clean(person.der), anchors, late, lambda _: status) is state


def test_a_broken_index_is_not_a_pass(anchors: TrustAnchors, person: Issued) -> None:
    """If the status cannot be told, no verdict is given at all."""

    def broken(_: str) -> RevocationStatus:
        raise OSError("disk I/O error")

    with pytest.raises(OSError, match="disk"):
        judge(_clean(person.der), anchors, broken, AT)


@pytest.mark.parametrize(
    "other",
    [
        {"extended_key_usage": (ExtendedKeyUsageOID.SERVER_AUTH,)},
        {"extended_key_usage": ()},
        {"extended_key_usage": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)},
        {"key_usage": frozenset({"key_encipherment"})},
        {"key_usage": frozenset({"digital_signature", "key_cert_sign"})},
        {"is_ca": True},
    ],
)
def test_other_purposes_are_wrong(
    authority: Authority, anchors: TrustAnchors, other: dict[str, object]
) -> None:
    """V32: serverAuth, no or any purpose, no digitalSignature, a CA as leaf: all signed by our own key."""
    assert _state(_clean(_leaf(_held(authority), **other)), anchors) is S.WRONG_PURPOSE


def test_the_twin_with_both_purposes_is_valid(authority: Authority, anchors: TrustAnchors) -> None:
    """clientAuth beside serverAuth is still clientAuth."""
    both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    assert _state(_clean(_leaf(_held(authority), extended_key_usage=both)), anchors) is S.VALID


def test_our_own_server_certificate_is_no_client(opened: DataDir, anchors: TrustAnchors) -> None:
    """The local server CA is no anchor for clients."""
    assert (
        _state(_clean(_leaf((opened.server_ca.certificate, opened.server_signer), SERVER)), anchors)
        is S.UNKNOWN_ISSUER
    )


def test_another_ca_of_the_same_name_is_unknown(authority: Authority, anchors: TrustAnchors) -> None:
    """V28, V32: the signature decides, never the name, even if OpenSSL had said nothing."""
    issuer = authority.current
    forged_key = generate("ec-p256")
    signer = FileSigner.of(forged_key)
    period, public = validity(ISSUING, AT), forged_key.public_key()
    forged = build(ISSUING, issuer.certificate.subject, public, (), 1, period, None, signer)
    by_another = x509.load_der_x509_certificate(forged), signer
    assert _state(_clean(_leaf(by_another)), anchors) is S.UNKNOWN_ISSUER
    # Who copies our name copies our key identifier, too: both are in every certificate that we issue.
    assert (
        _state(_clean(_leaf((issuer.certificate, FileSigner({issuer.issuer_id: forged_key})))), anchors)
        is S.UNKNOWN_ISSUER
    )


def test_both_of_two_anchors_of_one_name_are_trusted(authority: Authority) -> None:
    """A re-keyed CA of the same name: whichever key signed, its certificate is found."""
    key = generate("ec-p256")
    subject = authority.current.certificate.subject
    signer = FileSigner.of(key)
    second = build(ISSUING, subject, key.public_key(), (), 1, validity(ISSUING, AT), None, signer)
    certificate = x509.load_der_x509_certificate(second)
    both = TrustAnchors.of([certificate, authority.current.certificate])
    assert _state(_clean(_leaf((certificate, signer))), both) is S.VALID
    assert _state(_clean(_leaf(_held(authority))), both) is S.VALID


def test_self_signed_and_foreign_certificates_are_unknown(anchors: TrustAnchors) -> None:
    """What no anchor signed is no one's."""
    assert _state(_clean(_leaf((None, FileSigner.of(KEY)))), anchors) is S.UNKNOWN_ISSUER


def test_an_expired_issuer_vouches_for_nobody(authority: Authority, anchors: TrustAnchors) -> None:
    """A leaf that outlives its CA (none of ours does) ends with it; so does an open connection's peer."""
    leaf = _leaf(_held(authority), years=15)
    end = authority.current.not_after_at
    verdict = judge(_clean(leaf), anchors, good, end)
    assert isinstance(verdict, VerifiedPeer)
    assert _state(_clean(leaf), anchors, end + 1) is S.EXPIRED
    assert recheck(verdict, good, end + 1) is S.EXPIRED


def test_recheck_sees_time_and_revocation(anchors: TrustAnchors, person: Issued) -> None:
    """V26, V30: what held at the handshake is asked again for every request."""
    peer = judge(_clean(person.der), anchors, good, AT)
    assert isinstance(peer, VerifiedPeer)
    assert recheck(peer, good, AT) is S.VALID
    assert recheck(peer, good, peer.not_after_at + 1) is S.EXPIRED
    assert recheck(peer, good, AT - DAY) is S.NOT_YET_VALID
    assert recheck(peer, lambda _: RevocationStatus.REVOKED, AT) is S.REVOKED
    assert recheck(peer, lambda _: RevocationStatus.HELD, AT) is S.HELD
    assert recheck(peer, lambda _: RevocationStatus.UNKNOWN, AT) is S.UNKNOWN_CERTIFICATE


def test_a_rejection_tells_what_could_be_read(anchors: TrustAnchors, person: Issued) -> None:
    """The help page names the certificate; nothing of it is proof."""
    verdict = judge(_clean(person.der), anchors, good, person.reservation.not_after_at + 1)
    assert isinstance(verdict, Rejection)
    assert (verdict.common_name, verdict.not_after_at) == ("K1234560001", person.reservation.not_after_at)


@pytest.mark.parametrize("cn", ["K1\0evil", "K1\r\nX: y", "\x1b[31mK1", "K1\u202e"])
def test_names_are_made_fit_for_people(authority: Authority, anchors: TrustAnchors, cn: str) -> None:
    """V27, V38: control characters in a subject reach neither a log line nor a page."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    key = KEY.public_key()
    der = build(CLIENT_PERSON, subject, key, (), 5, validity(CLIENT_PERSON, AT), *_held(authority))
    verdict = judge(_clean(der), anchors, good, AT)
    assert isinstance(verdict, VerifiedPeer)
    assert verdict.common_name.isprintable()
    assert verdict.common_name != cn


def test_two_common_names_are_none(authority: Authority, anchors: TrustAnchors) -> None:
    """V28: with several names there is none to show, and which comes first does not matter."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn) for cn in ("K1", "K2")])
    key = KEY.public_key()
    der = build(CLIENT_PERSON, subject, key, (), 5, validity(CLIENT_PERSON, AT), *_held(authority))
    verdict = judge(_clean(der), anchors, good, AT)
    assert isinstance(verdict, VerifiedPeer)
    assert verdict.common_name == ""


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_have_one_state(data: st.DataObject, anchors: TrustAnchors, person: Issued) -> None:
    """For any bytes, and any damage to a good certificate: a verdict, never an exception, never VALID."""
    damaged = bytearray(person.der)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    cut = person.der[: data.draw(st.integers(0, len(person.der) - 1))]
    for der in (bytes(damaged), cut, person.der + b"\0", data.draw(st.binary(max_size=64))):
        if der != person.der:
            assert _state(_clean(der), anchors) is not S.VALID


def test_an_oversized_certificate_is_not_read(anchors: TrustAnchors) -> None:
    """V29: 64 KiB of certificate cost nothing."""
    assert _state(_clean(b"\x30\x83\x00\xff\xfb" + bytes(65535)), anchors) is S.MALFORMED


def test_every_rejecting_state_has_its_place() -> None:
    """The table of precedence names each state but VALID once, and the error table only those."""
    assert sorted(PRECEDENCE, key=str) == sorted(set(S) - {S.VALID}, key=str)
    assert {s for s in OPENSSL_ERRORS.values() if s is not None} <= set(PRECEDENCE)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_ca_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """V22: an unreadable or empty CA file never turns into another trust store."""
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        TrustAnchors.load([tmp_path / "ca.pem"])


def test_no_ca_file_stops_the_start(tmp_path: Path) -> None:
    """A missing file, and an empty list of files, are the operator's errors."""
    with pytest.raises(ConfigError, match="cannot be read"):
        TrustAnchors.load([tmp_path / "missing.pem"])
    with pytest.raises(ConfigError, match="no CA certificate is trusted"):
        TrustAnchors.load([])


def test_a_ca_file_is_read_whole_or_not_at_all(tmp_path: Path, opened: DataDir) -> None:
    """Two CAs and one damaged block are not two CAs; a key in the file is not skipped either."""
    file = tmp_path / "ca.pem"
    pem = opened.authority.current.certificate.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(pem + opened.root_pem)
    assert len(TrustAnchors.load([file, file]).issuers) == 2
    key = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for addition in (key, pem[:-40], b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        file.write_bytes(pem + addition)
        with pytest.raises(ConfigError, match=r"ca\.pem"):
            TrustAnchors.load([file])


def test_only_cas_are_anchors(authority: Authority, person: Issued) -> None:
    """A leaf, and a CA whose key usage forbids signing, are refused by name."""
    for der in (person.der, _leaf((None, FileSigner.of(KEY)), ROOT, key_usage=frozenset({"crl_sign"}))):
        with pytest.raises(ConfigError, match="cannot be a client CA"):
            TrustAnchors.of([x509.load_der_x509_certificate(der)])


def test_a_real_handshake(authority: Authority, anchors: TrustAnchors, opened: DataDir) -> None:
    """What pyOpenSSL records in a TLS handshake is judged as the tables say: good, foreign, none."""
    made = issue_person(authority)
    assert _state(_handshake(opened, anchors, made.der, made.key), anchors) is S.VALID
    assert (
        _state(_handshake(opened, anchors, _leaf((None, FileSigner.of(KEY))), KEY), anchors)
        is S.UNKNOWN_ISSUER
    )
    wrong = _leaf(_held(authority), extended_key_usage=(ExtendedKeyUsageOID.SERVER_AUTH,))
    assert _state(_handshake(opened, anchors, wrong, KEY), anchors) is S.WRONG_PURPOSE
    assert _state(_handshake(opened, anchors, None, None), anchors) is S.NONE


def _handshake(
    opened: DataDir, anchors: TrustAnchors, leaf: bytes | None, key: PrivateKey | None
) -> Presentation:
    errors: list[tuple[int, int]] = []
    ran: list[bool] = []

    def record(_: object, __: object, number: int, depth: int, ok: int) -> bool:
        ran.append(True)
        if not ok:
            errors.append((number, depth))
        return True

    server = SSL.Context(SSL.TLS_SERVER_METHOD)
    host_key = ec.generate_private_key(ec.SECP256R1())
    name, by = distinguished_name("host"), FileSigner.of(host_key)
    root = build(ROOT, name, host_key.public_key(), (), 1, validity(ROOT, AT), None, by)
    server.use_certificate(x509.load_der_x509_certificate(root))
    server.use_privatekey(host_key)
    server.set_verify(SSL.VERIFY_PEER, record)
    store = server.get_cert_store()
    assert store is not None
    store.set_flags(0x80000)  # X509_V_FLAG_PARTIAL_CHAIN
    for issuer in anchors.issuers:
        store.add_cert(crypto.X509.from_cryptography(issuer))
    client = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if leaf is not None and key is not None:
        client.use_certificate(x509.load_der_x509_certificate(leaf))
        client.use_privatekey(key)
    ends = SSL.Connection(server, None), SSL.Connection(client, None)
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for _ in range(6):
        for one, other in (ends, ends[::-1]):
            with suppress(SSL.WantReadError):
                one.do_handshake()
            with suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    peer = ends[0].get_peer_certificate(as_cryptography=True)
    der = peer.public_bytes(serialization.Encoding.DER) if peer is not None else None
    return Presentation(der, (), tuple(errors), bool(ran))
