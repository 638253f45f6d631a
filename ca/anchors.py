"""The CAs that we believe about clients: named by the operator, each fit to be one, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID

from ca.certificates import extension_of
from ca.errors import ConfigError
from ca.files import read_file
from ca.keys import parse_public_key, spki_of


@dataclass(frozen=True)
class TrustAnchors:
    """The CA certificates whose direct signature makes a client certificate ours. Never the system's."""

    issuers: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, paths: Sequence[Path]) -> TrustAnchors:
        """Anchors out of PEM files. `ConfigError` for a file that is unreadable, empty or not only CAs."""
        found = [certificate for path in paths for certificate in _read(path)]
        return cls.of(found)

    @classmethod
    def of(cls, certificates: Iterable[x509.Certificate]) -> TrustAnchors:
        """Anchors out of certificates at hand, under the same rules as `load`."""
        unique = {c.public_bytes(serialization.Encoding.DER): c for c in certificates}
        if not unique:
            raise ConfigError("no CA certificate is trusted for clients; name a PEM file that holds one")
        for certificate in unique.values():
            problem = _problem(certificate)
            if problem:
                name = certificate.subject.rfc4514_string()
                raise ConfigError(f"{name} cannot be a client CA: {problem}; name another certificate")
        return cls(tuple(unique.values()))


def _problem(certificate: x509.Certificate) -> str | None:
    """What RFC 5280 sections 4.1.2 and 4.2.1 forbid in a CA, or what would be ignored here if it passed."""
    try:
        parse_public_key(spki_of(certificate))
        extensions = {e.oid: e for e in certificate.extensions}
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        return f"its key or extensions are unusable ({error})"
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    usage = extension_of(certificate, x509.KeyUsage)
    critical = {oid for oid, e in extensions.items() if e.critical}
    if constraints is None or not constraints.critical or not constraints.value.ca:
        return "it is not a CA certificate with critical basic constraints"
    if usage is None or not usage.key_cert_sign:
        return "its key usage does not allow signing certificates"
    if not list(certificate.subject):
        return "it has no subject"
    # What is not evaluated here must not be ignored either.
    unevaluated = critical - {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
    if unevaluated or ExtensionOID.NAME_CONSTRAINTS in extensions:
        return "it carries extensions (such as name constraints) that are not evaluated here"
    return None


def _read(path: Path) -> list[x509.Certificate]:
    content = read_file(path, "client CA file")
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ConfigError(f"{path} holds no readable PEM certificate; name one that does") from error
    # The loader skips what it does not know: a damaged block must not make a shorter trust list.
    if content.count(b"-----BEGIN ") != len(found):
        raise ConfigError(f"{path} holds something besides certificates; remove it from the file")
    return found
