"""The one place where a certificate is built and signed, and the arithmetic of its validity.

Everything is an argument and every signature is deterministic (RFC 6979 for ECDSA), so the same
template signed twice, before and after a crash, is the same certificate byte for byte.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID, ObjectIdentifier

from ca.errors import ConfigError, Unacceptable
from ca.keys import PrivateKey, PublicKey
from ca.profiles import Profile

JST = timezone(timedelta(hours=9), "JST")
MAX_COMMON_NAME = 64
"""ub-common-name, and ub-organization-name (RFC 5280 appendix A.1)."""

_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True)
class Signer:
    """Who signs: the issuer's certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey


def build(
    profile: Profile,
    subject: x509.Name,
    public_key: PublicKey,
    names: Sequence[str],
    serial: int,
    validity: tuple[int, int],
    issuer: Signer | PrivateKey,
    crl_url: str | None = None,
) -> bytes:
    """The signed certificate, DER.

    `validity` is (notBefore, notAfter) in seconds since the epoch; `issuer` is a `Signer`, or the
    bare private key of a self-signed root. Raises `Unacceptable` for names that the profile refuses.
    """
    signed_by = issuer if isinstance(issuer, Signer) else None
    key = issuer.key if isinstance(issuer, Signer) else issuer
    check_names(profile, names)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by.certificate.subject if signed_by else subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(validity[0], UTC))
        .not_valid_after(datetime.fromtimestamp(validity[1], UTC))
    )
    for extension, critical in _extensions(profile, subject, public_key, names, signed_by, crl_url):
        builder = builder.add_extension(extension, critical)
    deterministic = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    certificate = builder.sign(key, signature_hash(key), ecdsa_deterministic=deterministic)
    return certificate.public_bytes(serialization.Encoding.DER)


def validity(profile: Profile, issued_at: int, issuer_not_after: int | None = None) -> tuple[int, int]:
    """(notBefore, notAfter) of a certificate issued at `issued_at`: D9, and never past its issuer.

    `ConfigError` when the issuer's own certificate has ended.
    """
    not_before = issued_at - profile.backdate
    not_after = _add_years(issued_at, profile.years) + profile.days * 86_400
    if issuer_not_after is not None:
        if issuer_not_after <= issued_at:
            raise ConfigError(
                "the issuing CA's certificate has expired; make its successor: sekisho ca add NAME, "
                "then sekisho reload"
            )
        not_after = min(not_after, issuer_not_after)
    return not_before, not_after


def serial_from(entropy: bytes) -> int:
    """A positive serial of 127 bits out of 16 random bytes (RFC 5280 section 4.1.2.2: at most 20 octets).

    The top bit is clear (no leading zero octet) and the next one set, so every serial has 16 octets
    and 126 random bits; the Baseline Requirements ask for 64.
    """
    if len(entropy) != 16:
        raise ValueError("a serial takes 16 bytes of entropy")
    return int.from_bytes(entropy) & ~(1 << 127) | 1 << 126


def serial_hex(serial: int) -> str:
    """A serial as it is stored and shown: lower-case hex, two digits per octet."""
    digits = f"{serial:x}"
    return digits if len(digits) % 2 == 0 else "0" + digits


def common_name(cn: str) -> x509.Name:
    """A subject of one common name. `Unacceptable("bad-name")` unless it is printable ASCII, 1 to 64.

    An empty `cn` gives the empty subject (the names are then in a critical subjectAltName).
    """
    if cn == "":
        return x509.Name([])
    if not 1 <= len(cn) <= MAX_COMMON_NAME or not re.fullmatch(r"[\x20-\x7e]+", cn) or cn != cn.strip():
        raise Unacceptable("bad-name", "a common name is 1 to 64 printable ASCII characters")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])


def distinguished_name(cn: str, organization: str = "", country: str = "") -> x509.Name:
    """A CA's own name: C, O and CN in this order, empty ones of the first two left out.

    `ConfigError` for a part that RFC 5280 appendix A.1 does not allow (ub-organization-name,
    ub-common-name: 64 characters), or that no one could compare by eye.
    """
    parts = (
        (NameOID.COUNTRY_NAME, country),
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.COMMON_NAME, cn),
    )
    if not cn:
        raise _unusable("a CA has a common name")
    for _, value in parts:
        if len(value) > MAX_COMMON_NAME or not value.isprintable() or value != value.strip():
            raise _unusable(f"{value!r} is longer than 64 characters, or not plain text")
    try:
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])
    except ValueError as error:
        raise _unusable(str(error)) from error


def check_crl_url(url: str) -> None:
    """`ConfigError` for an address that relying parties could not fetch a CRL from (section 4.2.1.13).

    It goes into every certificate for as long as the CA lives.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
    except ValueError:
        good = False
    if not good or not re.fullmatch(r"[!-~]+", url):
        raise ConfigError(f"{url!r} is no address of a CRL; write one such as http://crl.example.jp/ca.crl")


def _unusable(what: str) -> ConfigError:
    return ConfigError(f"the CA's name is not usable ({what}); give another one")


def is_dns_name(name: str) -> bool:
    """Whether `name` is a lower-case dNSName (RFC 5280 section 4.2.1.6), perhaps with a leading `*.`."""
    return len(name) <= 253 and _DNS_NAME.fullmatch(name) is not None and not _is_ip(name)


def check_names(profile: Profile, names: Sequence[str]) -> None:
    """`Unacceptable("bad-name")` for names that the profile does not take."""
    if profile.needs_names != bool(names):
        verb = "needs" if profile.needs_names else "takes no"
        raise Unacceptable("bad-name", f"profile {profile.name} {verb} DNS names")
    for name in names:
        if not is_dns_name(name) and not (profile.name == "server" and _is_ip(name)):
            raise Unacceptable("bad-name", f"not a DNS name: {name!r}")
        if name.startswith("*.") and profile.name != "server":
            raise Unacceptable("bad-name", f"profile {profile.name} takes no wildcard: {name!r}")
    if len(set(names)) != len(names) or len(names) > 100:
        raise Unacceptable("bad-name", "DNS names must differ, and at most 100 fit")


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """The hash that goes with a signing key; None for Ed25519, which has its own."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def to_pem(der: bytes) -> bytes:
    """A DER certificate as PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _extensions(
    profile: Profile,
    subject: x509.Name,
    public_key: PublicKey,
    names: Sequence[str],
    signed_by: Signer | None,
    crl_url: str | None,
) -> list[tuple[x509.ExtensionType, bool]]:
    own_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    # RFC 5280 section 4.2.1.9: basicConstraints is critical in a CA certificate.
    listed: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=profile.is_ca, path_length=profile.path_length), True),
        (x509.KeyUsage(**{usage: usage in profile.key_usage for usage in _KEY_USAGES}), True),
    ]
    eku: tuple[ObjectIdentifier, ...] = profile.extended_key_usage
    if eku:
        listed.append((x509.ExtendedKeyUsage(eku), False))
    listed.append((own_id, False))
    if signed_by is not None:
        issuer_id = signed_by.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        listed.append(
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), False),
        )
    if names:
        # RFC 5280 section 4.1.2.6: with an empty subject the alternative names are critical.
        listed.append((x509.SubjectAlternativeName([_general_name(n) for n in names]), not list(subject)))
    if crl_url:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        listed.append((x509.CRLDistributionPoints([point]), False))
    return listed


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if _is_ip(name) else x509.DNSName(name)


def _is_ip(name: str) -> bool:
    # An IPv4 address ends with a digit, an IPv6 address has colons: spares most names the attempt.
    if ":" not in name and not name[-1:].isdigit():
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _add_years(at: int, years: int) -> int:
    """`years` calendar years later in Japan, at the same time of day; 29 February becomes the 28th.

    Japan's calendar, because the dates that people compare are shown in Japan's time.
    """
    start = datetime.fromtimestamp(at, JST)
    try:
        end = start.replace(year=start.year + years)
    except ValueError:
        end = start.replace(year=start.year + years, day=28)
    return int(end.timestamp())
