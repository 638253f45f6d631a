"""CSRs that are wrong in one way only, and the identifier of RFC 9773."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from conformance import jose, pki

NAMES = ({"type": "dns", "value": "u1.users.example"},)


def test_renewal_identifier_of_the_rfc() -> None:
    """RFC 9773 4.1: the example, whose serial number keeps the zero octet before its high bit."""
    private = pki.new_private()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    authority = x509.AuthorityKeyIdentifier(
        bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"), None, None
    )
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), 0x87654321, begin, begin.replace(year=2027))
        .add_extension(authority, False)
        .sign(private, hashes.SHA256())
    )
    assert pki.ari_id(certificate) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_weak_signatures_are_correct_ones() -> None:
    """A CSR over MD5 or SHA-1 is refused for its digest alone: its padding and digest are right."""
    private = jose.spare_key("RS256").private
    assert isinstance(private, rsa.RSAPrivateKey)
    for digest, oid in (("md5", "1.2.840.113549.1.1.4"), ("sha1", "1.2.840.113549.1.1.5")):
        request = x509.load_der_x509_csr(pki.weakly_signed(private, NAMES, digest))
        assert request.signature_algorithm_oid.dotted_string == oid
        numbers = private.private_numbers().public_numbers
        padded = pow(int.from_bytes(request.signature, "big"), numbers.e, numbers.n).to_bytes(256, "big")
        assert padded.startswith(b"\x00\x01\xff")
        assert padded.endswith(getattr(__import__("hashlib"), digest)(request.tbs_certrequest_bytes).digest())


def test_honest_csr_verifies_and_spoiled_does_not() -> None:
    """The spoiled CSR differs in its signature only."""
    good = pki.csr(pki.new_private(), NAMES)
    assert x509.load_der_x509_csr(good).is_signature_valid
    assert not x509.load_der_x509_csr(pki.spoiled(good)).is_signature_valid


def test_rsa_csr() -> None:
    """The twin of the weak ones: SHA-256 over the same key verifies."""
    private = jose.spare_key("RS256").private
    request = x509.load_der_x509_csr(pki.csr(private, NAMES))
    request.public_key().verify(
        request.signature, request.tbs_certrequest_bytes, padding.PKCS1v15(), hashes.SHA256()
    )


def test_reasons_of_a_crl() -> None:
    """Each entry's reasonCode, None for one that has none (RFC 5280 5.3.1); what is no CRL is an error."""
    key, now = pki.new_private(), datetime(2026, 1, 1, tzinfo=UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    builder = x509.CertificateRevocationListBuilder(name, now, now + timedelta(days=1))
    for serial, reason in ((1, None), (2, x509.ReasonFlags.superseded)):
        entry = x509.RevokedCertificateBuilder(serial, now)
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), False)
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(key, hashes.SHA256())
    for encoding in (serialization.Encoding.DER, serialization.Encoding.PEM):
        assert pki.crl_reasons(crl.public_bytes(encoding)) == {1: None, 2: "superseded"}
    with pytest.raises(ValueError):
        pki.crl_reasons(b"no list")
