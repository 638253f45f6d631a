"""The CSR of a finalize request (RFC 8555 section 7.4): only its key is used, but all of it is checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

import ca.keys
from ca.errors import Unacceptable
from enroll.acme.orders import Entitlement, Identifier, fold
from enroll.acme.wire import Json, decode_base64url, text
from enroll.problems import Problem

_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# What `cryptography` raises for hostile CSRs; some of it only when an attribute is first looked at.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.AttributeNotFound,
)


@dataclass(frozen=True, slots=True)
class ReadCsr:
    """A sound key with proof of possession, and the names that its CSR asks for; of ``read_csr`` only."""

    spki: bytes
    common_names: tuple[str, ...]
    dns_names: tuple[str, ...]

    @property
    def spki_sha256(self) -> str:
        return ca.keys.spki_sha256(self.spki)


@dataclass(frozen=True, slots=True)
class CheckedCsr:
    """A public key with proof of possession, fit to be certified for an order; of ``check_csr`` only."""

    spki: bytes
    spki_sha256: str


def read_csr(encoded: Json) -> ReadCsr:
    """Everything about the ``csr`` of a finalize payload that no order has to be known for; what is wrong is
    ``badCSR``.

    Requested key usages, extended key usages and subject attributes other than CN are neither obeyed nor held
    against the client: acme.sh asks for serverAuth.
    """
    try:
        der = decode_base64url(text(encoded, "csr"), "csr")
    except Problem as problem:
        raise bad_csr(problem.detail) from None
    try:
        csr = x509.load_der_x509_csr(der)
        spki = ca.keys.spki(csr.public_key())  # type: ignore[arg-type]
        ca.keys.parse_public_key(spki)
        _check_signature(csr)
        extensions = csr.extensions
        _check_extensions(extensions)
        return ReadCsr(spki, tuple(_common_names(csr.subject)), tuple(_dns_names(extensions)))
    except Unacceptable as refusal:
        raise bad_csr(str(refusal)) from None
    except x509.InvalidVersion as error:
        # RFC 2986 section 4.1: version 1, which the number 0 stands for.
        version = error.parsed_version + 1
        raise bad_csr(f"the CSR says version {version}; PKCS#10 has version 1 only") from None
    except _UNREADABLE:
        raise bad_csr("the CSR cannot be read: it has to be a PKCS#10 request in DER (RFC 2986)") from None


def check_csr(
    csr: ReadCsr,
    *,
    identifiers: Collection[Identifier],
    entitlement: Entitlement,
    key_kinds: Collection[str],
    is_account_key: bool,
) -> CheckedCsr:
    """Checks a CSR against its order. Whatever is wrong is ``badCSR``, and the order stays ready.

    ``key_kinds`` are those of the profile (``ca.keys.KINDS``); ``is_account_key``: whether an account has
    that key.
    """
    try:
        ca.keys.parse_public_key(csr.spki, key_kinds)
    except Unacceptable as refusal:
        raise bad_csr(str(refusal)) from None
    _check_names(csr.common_names, csr.dns_names, identifiers, entitlement)
    if is_account_key:
        # RFC 8555 section 11.1: a stolen account key would otherwise come with a certificate.
        raise bad_csr("the CSR's key is an account key; use another for the certificate")
    return CheckedCsr(csr.spki, csr.spki_sha256)


def bad_csr(detail: str) -> Problem:
    """RFC 8555 section 7.4."""
    return Problem("badCSR", detail)


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    digest = csr.signature_hash_algorithm
    if digest is None and not isinstance(csr.public_key(), ed25519.Ed25519PublicKey):
        raise bad_csr("the signature algorithm of the CSR is not supported")
    if digest is not None and not isinstance(digest, _HASHES):
        raise bad_csr(f"the CSR is signed with {digest.name}; use SHA-256 or better")
    if not csr.is_signature_valid:
        raise bad_csr("the signature of the CSR does not verify")


def _check_extensions(extensions: x509.Extensions) -> None:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise bad_csr("the CSR asks for a CA certificate")
        if isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign):
            raise bad_csr("the CSR asks for the key usages of a CA")


def _common_names(subject: x509.Name) -> Iterable[str]:
    for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        value = attribute.value
        yield value.decode("latin-1") if isinstance(value, bytes) else value


def _dns_names(extensions: x509.Extensions) -> Iterable[str]:
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            for name in extension.value:
                if not isinstance(name, x509.DNSName):
                    raise bad_csr("the CSR asks for names other than dNSNames")
                yield name.value


def _check_names(
    common_names: Collection[str],
    dns_names: Collection[str],
    identifiers: Collection[Identifier],
    entitlement: Entitlement,
) -> None:
    """RFC 8555 section 7.4: exactly the identifiers of the order, in any case; a CN may be any alias."""
    ordered = {one.folded for one in identifiers}
    extra = {fold(name) for name in dns_names} - ordered
    extra |= {
        name for name in map(fold, common_names) if name not in ordered and not entitlement.covers(name)
    }
    if extra:
        raise bad_csr(f"the CSR asks for names that are not in the order: {', '.join(sorted(extra))}")
    missing = ordered - {fold(name) for name in (*common_names, *dns_names)}
    if missing:
        raise bad_csr(f"the CSR lacks names of the order: {', '.join(sorted(missing))}")
