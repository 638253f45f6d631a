"""What a certificate says, as people read it. For pages; whoever judges one has `ca/trust.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from ca.certificates import extension_of
from ca.der import span

#: Kinds of names besides the subject.
NameKind = Literal["dns", "ip", "mail", "upn", "other"]
# RFC 5280 section 4.2.1.12, and Microsoft's.
_PURPOSES = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.4.1.311.20.2.2": "smartCardLogon",
}
_UPN = "1.3.6.1.4.1.311.20.2.3"


@dataclass(frozen=True)
class Reading:
    """What is in a certificate. ``names``: all that it goes by besides its subject; ``usages``: what it is
    good for, by the standard's names."""

    subject: str
    issuer: str
    not_after_at: int
    names: tuple[tuple[NameKind, str], ...]
    key: str
    usages: tuple[str, ...]


def read(der: bytes) -> Reading:
    """A certificate of ours, or of a CA of ours (DER)."""
    made = x509.load_der_x509_certificate(der)
    purposes = extension_of(made, x509.ExtendedKeyUsage)
    return Reading(
        made.subject.rfc4514_string(),
        made.issuer.rfc4514_string(),
        int(made.not_valid_after_utc.timestamp()),
        tuple(_names(made)),
        _key(made.public_key()),
        tuple(_PURPOSES.get(each.dotted_string, each.dotted_string) for each in purposes or ()),
    )


def _names(made: x509.Certificate) -> Iterator[tuple[NameKind, str]]:
    for each in extension_of(made, x509.SubjectAlternativeName) or ():
        match each:
            case x509.DNSName():
                yield "dns", each.value
            case x509.IPAddress():
                yield "ip", str(each.value)
            case x509.RFC822Name():
                yield "mail", each.value
            case x509.OtherName() if each.type_id.dotted_string == _UPN:
                begin, end = span(each.value, 0)
                yield "upn", each.value[begin:end].decode("utf-8", "replace")
            case _:
                yield "other", str(each.value)


def _key(key: PublicKeyTypes) -> str:
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case _:
            return type(key).__name__
