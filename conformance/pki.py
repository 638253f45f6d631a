"""CSRs, honest and not, and the few facts about certificates that answers are judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conformance import jose
from conformance.credentials import Identifier
from conformance.verdict import Failed


@dataclass(frozen=True)
class Wish:
    """What a CSR asks for beyond its names."""

    common_name: str | None = None
    organization: str | None = None
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    san: bool = True


def csr(private: jose.Private, identifiers: Sequence[Identifier], wish: Wish | None = None) -> bytes:
    """A DER CSR for the identifiers, names in the subjectAltName (RFC 8555 7.4)."""
    wish = wish or Wish()
    wanted = ((NameOID.COMMON_NAME, wish.common_name), (NameOID.ORGANIZATION_NAME, wish.organization))
    subject = [x509.NameAttribute(oid, value) for oid, value in wanted if value is not None]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if wish.san and identifiers:
        names = list(dict.fromkeys(map(general_name, identifiers)))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    for extension, critical in wish.extra:
        builder = builder.add_extension(extension, critical)
    digest = None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(private, digest).public_bytes(serialization.Encoding.DER)


def general_name(identifier: Identifier) -> x509.GeneralName:
    """How a certificate has the identifier: a dNSName, or an iPAddress (RFC 8738 3)."""
    if identifier["type"] == "ip":
        return x509.IPAddress(ip_address(identifier["value"]))
    return x509.DNSName(identifier["value"])


BOTH_PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
CA_TRUE = x509.BasicConstraints(ca=True, path_length=None)


def spoiled(request: bytes) -> bytes:
    """The CSR with the last octet of its signature changed."""
    return request[:-1] + bytes([request[-1] ^ 1])


def unversioned(certificate: bytes) -> bytes:
    """The certificate (DER) with a version that X.509 has not: RFC 5280 4.1.2.1 ends with v3, written 2."""
    return certificate.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)


# DigestInfo prefixes of RFC 8017 9.2 and the algorithm identifiers of RFC 3279 2.2.1.
_WEAK = {
    "md5": ("3020300c06082a864886f70d020505000410", "300d06092a864886f70d0101040500"),
    "sha1": ("3021300906052b0e03021a05000414", "300d06092a864886f70d0101050500"),
}


def weakly_signed(private: rsa.RSAPrivateKey, identifiers: Sequence[Identifier], digest: str) -> bytes:
    """A CSR with a correct signature over md5 or sha1, which no library will make any more."""
    tbs = x509.load_der_x509_csr(csr(private, identifiers)).tbs_certrequest_bytes
    prefix, algorithm = _WEAK[digest]
    info = bytes.fromhex(prefix) + hashlib.new(digest, tbs, usedforsecurity=False).digest()
    size = private.key_size // 8
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
    numbers = private.private_numbers()
    value = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n)
    bits = b"\x00" + value.to_bytes(size, "big")
    return der(0x30, tbs + bytes.fromhex(algorithm) + der(0x03, bits))


def der(tag: int, content: bytes) -> bytes:
    """One DER element."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def chain(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM chain, in order; raises ValueError when there is none."""
    return x509.load_pem_x509_certificates(pem)


def certificate_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def same_key(certificate: x509.Certificate, private: jose.Private) -> bool:
    kind = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*kind) == private.public_key().public_bytes(*kind)


def dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(name) for name in extension.value.get_values_for_type(x509.DNSName)]


def addresses(certificate: x509.Certificate) -> list[str]:
    """The iPAddresses of the subjectAltName."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(address) for address in extension.value.get_values_for_type(x509.IPAddress)]


def purposes(certificate: x509.Certificate) -> list[str]:
    """Dotted OIDs of the extended key usage, empty when there is none."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return []
    return [purpose.dotted_string for purpose in extension.value]


def ari_id(certificate: x509.Certificate) -> str:
    """The unique identifier of RFC 9773 4.1: the serial keeps the zero octet DER puts before a high bit."""
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{jose.b64(authority_key(certificate))}.{jose.b64(octets)}"


def authority_key(certificate: x509.Certificate) -> bytes:
    """The authority key identifier's keyIdentifier; Failed where there is none (RFC 9773 4.1 needs it)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        raise Failed("the certificate has no authority key identifier (RFC 5280 4.2.1.1)") from None
    if found.key_identifier is None:
        raise Failed("the authority key identifier has no keyIdentifier (RFC 5280 4.2.1.1)")
    return found.key_identifier


def subject_key(certificate: x509.Certificate) -> bytes:
    """The subject key identifier; Failed where there is none (RFC 5280 4.2.1.2: a CA has one)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        raise Failed("the issuer has no subject key identifier (RFC 5280 4.2.1.2)") from None


def new_private() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def self_signed(private: ec.EllipticCurvePrivateKey) -> bytes:
    """A DER certificate that no CA issued."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 4711, begin, begin.replace(year=2040))
    return certificate_der(builder.sign(private, hashes.SHA256()))


def private_pem(private: jose.Private) -> str:
    """The key as unencrypted PKCS#8 PEM, to be presented in TLS."""
    kind = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.private_bytes(*kind).decode()


def crl_url(certificate: x509.Certificate) -> str | None:
    """The first http or https URL of the CRL distribution points."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return None
    names = [name.value for point in points for name in point.full_name or []]
    return next((str(name) for name in names if str(name).startswith(("http://", "https://"))), None)


def crl_reasons(body: bytes) -> dict[int, str | None]:
    """Serial number -> reasonCode, None where the entry has none, of a CRL in DER or PEM; else ValueError."""
    load = x509.load_pem_x509_crl if body.startswith(b"-----") else x509.load_der_x509_crl
    return {entry.serial_number: _reason(entry) for entry in load(body)}


def _reason(entry: x509.RevokedCertificate) -> str | None:
    try:
        return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
    except x509.ExtensionNotFound:
        return None
