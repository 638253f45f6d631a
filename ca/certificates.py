"""The one place where certificates are put together, and the arithmetic of their validity.

First what is to be signed, then, with a signature by whoever holds the key (`ca.signing`), the certificate.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, lru_cache
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID as _AIA
from cryptography.x509.oid import NameOID, ObjectIdentifier

from ca import der
from ca.errors import ConfigError, Unacceptable
from ca.keys import PublicKey
from ca.naming import Said, general_name
from ca.profiles import ROOT, Profile
from ca.publication import Addresses
from ca.signing import Signer, ToSign, hash_of, key_id, signature_now

JST = timezone(timedelta(hours=9), "JST")
MAX_COMMON_NAME = 64
"""ub-common-name, and ub-organization-name (RFC 5280 appendix A.1)."""

#: Of what says nothing of where to ask about it.
NOWHERE = Addresses()

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

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


def to_be_signed(
    profile: Profile,
    subject: x509.Name,
    public_key: PublicKey,
    names: Sequence[str],
    serial: int,
    validity: tuple[int, int],
    issuer: x509.Certificate | None,
    addresses: Addresses = NOWHERE,
    alternative: Said = (),
) -> bytes:
    """What an issuer is to sign (TBSCertificate, DER); None for a root, which signs its own.

    `validity` is (notBefore, notAfter) in seconds since the epoch; `alternative` are names other than
    hosts'. Raises `Unacceptable` for names that the profile refuses.
    """
    check_names(profile, names)
    general = [*map(_host_name, names), *(general_name(*each) for each in alternative)]
    extensions = [
        x509.Extension(each.oid, critical, each)
        for each, critical in _extensions(profile, subject, public_key, general, issuer, addresses)
    ]
    builder = (
        x509.CertificateBuilder(extensions=extensions)
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(validity[0], UTC))
        .not_valid_after(datetime.fromtimestamp(validity[1], UTC))
    )
    signing = public_key if issuer is None else public_key_of(issuer)
    elliptic = isinstance(signing, ec.EllipticCurvePublicKey)
    blank: Any = _BlankEllipticKey(signing) if elliptic else _BlankRsaKey(signing)
    return builder.sign(blank, hash_of(signing)).tbs_certificate_bytes


def assemble(tbs: bytes, signature: bytes) -> bytes:
    """The certificate (DER) of what was signed and its signature.

    RFC 5280 section 4.1.1.2: the algorithm outside is the one inside, the third element after the version
    and the serial.
    """
    at, _ = der.span(tbs, 0)
    for _ in range(2):
        _, at = der.span(tbs, at)
    algorithm = tbs[at : der.span(tbs, at)[1]]
    # The 0: how many bits of the last octet are not used.
    return der.tlv(der.SEQUENCE, tbs, algorithm, der.tlv(der.BIT_STRING, b"\x00", signature))


def build(
    profile: Profile,
    subject: x509.Name,
    public_key: PublicKey,
    names: Sequence[str],
    serial: int,
    validity: tuple[int, int],
    issuer: x509.Certificate | None,
    signer: Signer,
    addresses: Addresses = NOWHERE,
) -> bytes:
    """The signed certificate (DER) of a CA or a host of our own; blocks for the signature.

    Users' are reserved first: `ca.authority`. `NoSignature` where there is none.
    """
    tbs = to_be_signed(profile, subject, public_key, names, serial, validity, issuer, addresses)
    key = public_key if issuer is None else public_key_of(issuer)
    return assemble(tbs, signature_now(signer, key, ToSign(key_id(key), "own", tbs)))


def root_of(subject: x509.Name, public_key: PublicKey, signer: Signer, at: int) -> bytes:
    """The certificate (DER) of a new root, wherever its key is; blocks for the signature. `NoSignature`."""
    return build(ROOT, subject, public_key, (), new_serial(), validity(ROOT, at), None, signer)


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


def new_serial() -> int:
    """A random serial, for what is signed without a reservation."""
    return serial_from(secrets.token_bytes(16))


def serial_hex(serial: int) -> str:
    """A serial as it is stored and shown: lower-case hex, two digits per octet."""
    digits = f"{serial:x}"
    return digits if len(digits) % 2 == 0 else "0" + digits


def serial_in_chooser(serial: str) -> str:
    """How a browser's list of certificates begins to show a serial, which is as `serial_hex` gives it.

    Chromium writes the octets in capital hex, beside subject and issuer and without dates: of two
    certificates with one subject nothing else there tells which is which.
    """
    return serial[:8].upper()


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


@lru_cache(maxsize=64)
def public_key_of(ca: x509.Certificate) -> PublicKey:
    """The key of a CA's certificate. ValueError for a kind that no CA of ours has."""
    key = ca.public_key()
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        raise ValueError("no issuing key is of this kind (ca.profiles.ISSUING)")
    return key


def key_identifier(ca: x509.Certificate) -> bytes:
    """A CA's subject key identifier. `x509.ExtensionNotFound` where there is none."""
    return ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def extension_of(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """What a certificate's extension of this kind says; None if it has none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def to_pem(der: bytes) -> bytes:
    """A DER certificate as PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _extensions(
    profile: Profile,
    subject: x509.Name,
    public_key: PublicKey,
    names: Sequence[x509.GeneralName],
    issuer: x509.Certificate | None,
    addresses: Addresses,
) -> list[tuple[x509.ExtensionType, bool]]:
    own_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    listed = [*_of_profile(profile), (own_id, False)]
    if issuer is not None:
        listed.append((_issued_by(issuer), False))
    if names:
        # RFC 5280 section 4.1.2.6: with an empty subject the alternative names are critical.
        listed.append((x509.SubjectAlternativeName(names), not list(subject)))
    if addresses.crl:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(addresses.crl)], None, None, None)
        listed.append((x509.CRLDistributionPoints([point]), False))
    # RFC 5280 section 4.2.2.1: of no use to the holder, and never critical.
    access = [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        for method, url in ((_AIA.OCSP, addresses.ocsp), (_AIA.CA_ISSUERS, addresses.issuer))
        if url
    ]
    if access:
        listed.append((x509.AuthorityInformationAccess(access), False))
    return listed


@cache
def _of_profile(profile: Profile) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """What is the same in all certificates of a profile."""
    usages = x509.KeyUsage(**{usage: usage in profile.key_usage for usage in _KEY_USAGES})
    eku: tuple[ObjectIdentifier, ...] = profile.extended_key_usage
    return (
        # RFC 5280 section 4.2.1.9: basicConstraints is critical in a CA certificate.
        (x509.BasicConstraints(ca=profile.is_ca, path_length=profile.path_length), True),
        (usages, True),
        *([(x509.ExtendedKeyUsage(eku), False)] if eku else []),
        *([(x509.OCSPNoCheck(), False)] if profile.no_check else []),
        *([(_policies(profile), False)] if profile.policy else []),
    )


def _policies(profile: Profile) -> x509.CertificatePolicies:
    # RFC 5280 section 4.2.1.4: an OID alone, or with where the practice statement is.
    qualifiers: list[str | x509.UserNotice] | None = [profile.cps] if profile.cps else None
    return x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier(profile.policy), qualifiers)])


@lru_cache(maxsize=64)
def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _host_name(name: str) -> x509.GeneralName:
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


class _BlankKey:
    """Stands in for a key where cryptography's builder wants to sign: we need only what it would sign, with
    the algorithm of the key that will."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def public_key(self) -> Any:
        return self._key

    @property
    def key_size(self) -> int:
        return int(self._key.key_size)

    def sign(self, *_: object) -> bytes:
        return b""


class _BlankEllipticKey(_BlankKey):
    @property
    def curve(self) -> ec.EllipticCurve:
        curve: ec.EllipticCurve = self._key.curve
        return curve


class _BlankRsaKey(_BlankKey):
    pass


# The builder tells kinds of keys by these classes.
ec.EllipticCurvePrivateKey.register(_BlankEllipticKey)
rsa.RSAPrivateKey.register(_BlankRsaKey)
