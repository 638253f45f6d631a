"""Cross-certificates of our root: by each whoever trusts another root trusts ours, too.

Made by the other root (`sekisho ceremony sign`), published beside ours, offered to programs as another chain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from ca.certificates import to_pem
from ca.errors import ConfigError
from ca.files import Snapshot, write_public
from ca.keys import spki_of

FILE = "ca/cross.pem"


def read(path: Path, files: Snapshot) -> tuple[bytes, ...]:
    """Those of a data directory (DER). `ConfigError` for a file that is none."""
    found = files.find(path / FILE, "cross-certificates")
    if found is None:
        return ()
    try:
        return tuple(
            each.public_bytes(serialization.Encoding.DER) for each in x509.load_pem_x509_certificates(found)
        )
    except ValueError as error:
        raise ConfigError(f"{path / FILE} holds no certificate; restore it from a backup") from error


def chosen(crosses: tuple[bytes, ...], roots: Collection[str], at: int) -> tuple[bytes, ...]:
    """Those that roots of these common names signed, as far as they are valid."""
    found = []
    for der in crosses:
        made = x509.load_der_x509_certificate(der)
        period = (made.not_valid_before_utc.timestamp(), made.not_valid_after_utc.timestamp())
        if root_of(made) in roots and period[0] <= at < period[1]:
            found.append(der)
    return tuple(found)


def unknown(crosses: tuple[bytes, ...], roots: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of the common names of roots none of which signed any of these, and those of which some did."""
    there = [root_of(x509.load_der_x509_certificate(der)) for der in crosses]
    return [name for name in roots if name not in there], there


def root_of(made: x509.Certificate) -> str:
    """The common name of the root that signed one; the whole name where it has none."""
    names = made.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else made.issuer.rfc4514_string()


def is_meant(root: x509.Certificate, data: bytes) -> bool:
    """Whether a file (PEM) begins with a certificate for our root's own key by another name."""
    try:
        first = x509.load_pem_x509_certificates(data)[0]
        return spki_of(first) == spki_of(root) and first.issuer != root.subject
    except ValueError:
        return False


def accept(path: Path, root: x509.Certificate, data: bytes, at: int) -> x509.Certificate:
    """Takes one in: the file has it first, then the root that signed it. Returns that root. `ConfigError` for
    anything else; then nothing has changed."""
    found = x509.load_pem_x509_certificates(data)
    if len(found) != 2:
        raise ConfigError(
            "append the certificate of the root that signed it, so that it can be checked: "
            "cat cross.pem other-root.pem > both.pem"
        )
    made, other = found
    try:
        other.verify_directly_issued_by(other)
        made.verify_directly_issued_by(other)
        basic = made.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
        own = made.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        ours = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        if not basic.ca or not usage.key_cert_sign or own != ours or made.subject != root.subject:
            raise ValueError("it does not stand for this root")
    except Exception as error:
        # verify_directly_issued_by promises no error in particular.
        raise ConfigError(
            f"this is no cross-certificate of this root ({error or type(error).__name__}); have it signed "
            "again: sekisho ceremony sign DIR root.pem --to FILE"
        ) from None
    period = (int(made.not_valid_before_utc.timestamp()), int(made.not_valid_after_utc.timestamp()))
    if not period[0] <= at < period[1]:
        raise ConfigError("this certificate is not valid now; compare the clocks of both machines")
    # Of one root the last counts.
    kept = [
        each for each in read(path, Snapshot()) if x509.load_der_x509_certificate(each).issuer != made.issuer
    ]
    der = made.public_bytes(serialization.Encoding.DER)
    write_public(path / FILE, b"".join(to_pem(each) for each in (*kept, der)))
    return other


def bundle(root: bytes, crosses: tuple[bytes, ...]) -> bytes:
    """The root and its cross-certificates in one (RFC 5280 section 4.2.2.1: a certs-only CMS message,
    DER)."""
    found = [x509.load_der_x509_certificate(each) for each in (root, *crosses)]
    return pkcs7.serialize_certificates(found, serialization.Encoding.DER)
