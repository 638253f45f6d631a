"""Judging a presented client certificate: one state out of an enumeration, and proof when it is valid.

The TLS handshake records and never refuses; this is where the decision falls, fail closed. OpenSSL
has built the chain and proved possession of the key; everything else is checked here again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from ca.anchors import TrustAnchors
from ca.certificates import extension_of, serial_hex
from ca.keys import KINDS, kind_of, spki
from ca.revocation import RevocationStatus

StatusLookup = Callable[[str], RevocationStatus]
"""From a certificate's SHA-256 fingerprint (hex) to what our index says of it."""


class CertificateState(Enum):
    """What a connection's client certificate is. Exactly one of these, never a pair of booleans."""

    VALID = "valid"
    NONE = "none"
    """No certificate was presented. Browsers also do this for expired and foreign ones."""
    UNVERIFIED = "unverified"
    """The verify callback did not run in this handshake (a resumed session), or OpenSSL reported an
    error that the table below does not know."""
    MALFORMED = "malformed"
    UNKNOWN_ISSUER = "unknown-issuer"
    WRONG_PURPOSE = "wrong-purpose"
    UNKNOWN_CERTIFICATE = "unknown-certificate"
    """Signed by our key, but never recorded by us."""
    REVOKED = "revoked"
    HELD = "held"
    """Stopped until somebody decides, because a theft was reported."""
    DISTRUSTED = "distrusted"
    """Its issuing CA is trusted no more."""
    UNASKED = "unasked"
    """Nothing is wrong with it so far, but what may have changed cannot be asked."""
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"


# OpenSSL's verification errors (x509_vfy.h) and what each makes of the certificate. None: judged again
# below, by our own clock, because OpenSSL looks at the machine's and the demo and the tests travel.
# A number that is missing here means UNVERIFIED.
OPENSSL_ERRORS: Mapping[int, CertificateState | None] = MappingProxyType(
    {
        2: CertificateState.UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT
        4: CertificateState.MALFORMED,  # UNABLE_TO_DECRYPT_CERT_SIGNATURE
        6: CertificateState.MALFORMED,  # UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY
        7: CertificateState.UNKNOWN_ISSUER,  # CERT_SIGNATURE_FAILURE: another CA of the same name
        9: None,  # CERT_NOT_YET_VALID
        10: None,  # CERT_HAS_EXPIRED
        13: CertificateState.MALFORMED,  # ERROR_IN_CERT_NOT_BEFORE_FIELD
        14: CertificateState.MALFORMED,  # ERROR_IN_CERT_NOT_AFTER_FIELD
        18: CertificateState.UNKNOWN_ISSUER,  # DEPTH_ZERO_SELF_SIGNED_CERT
        19: CertificateState.UNKNOWN_ISSUER,  # SELF_SIGNED_CERT_IN_CHAIN
        20: CertificateState.UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        21: CertificateState.UNKNOWN_ISSUER,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
        22: CertificateState.UNKNOWN_ISSUER,  # CERT_CHAIN_TOO_LONG
        23: CertificateState.REVOKED,  # CERT_REVOKED
        24: CertificateState.UNKNOWN_ISSUER,  # NO_ISSUER_PUBLIC_KEY
        25: CertificateState.UNKNOWN_ISSUER,  # PATH_LENGTH_EXCEEDED
        26: CertificateState.WRONG_PURPOSE,  # INVALID_PURPOSE
        27: CertificateState.UNKNOWN_ISSUER,  # CERT_UNTRUSTED
        28: CertificateState.WRONG_PURPOSE,  # CERT_REJECTED
        29: CertificateState.UNKNOWN_ISSUER,  # SUBJECT_ISSUER_MISMATCH
        30: CertificateState.UNKNOWN_ISSUER,  # AKID_SKID_MISMATCH
        31: CertificateState.UNKNOWN_ISSUER,  # AKID_ISSUER_SERIAL_MISMATCH
        32: CertificateState.UNKNOWN_ISSUER,  # KEYUSAGE_NO_CERTSIGN
        34: CertificateState.MALFORMED,  # UNHANDLED_CRITICAL_EXTENSION
        37: CertificateState.WRONG_PURPOSE,  # INVALID_NON_CA
        39: CertificateState.WRONG_PURPOSE,  # KEYUSAGE_NO_DIGITAL_SIGNATURE
        40: CertificateState.WRONG_PURPOSE,  # PROXY_CERTIFICATES_NOT_ALLOWED
        41: CertificateState.MALFORMED,  # INVALID_EXTENSION
        47: CertificateState.WRONG_PURPOSE,  # PERMITTED_VIOLATION (name constraints)
        48: CertificateState.WRONG_PURPOSE,  # EXCLUDED_VIOLATION
        66: CertificateState.MALFORMED,  # EE_KEY_TOO_SMALL
        67: CertificateState.UNKNOWN_ISSUER,  # CA_KEY_TOO_SMALL
        68: CertificateState.MALFORMED,  # CA_MD_TOO_WEAK
        76: CertificateState.MALFORMED,  # NO_SIGNATURE_ALGORITHM
        77: CertificateState.MALFORMED,  # SIGNATURE_ALGORITHM_MISMATCH
        78: CertificateState.MALFORMED,  # SIGNATURE_ALGORITHM_INCONSISTENCY
        79: CertificateState.UNKNOWN_ISSUER,  # INVALID_CA
        94: CertificateState.MALFORMED,  # EC_KEY_EXPLICIT_PARAMS
    }
)

# When several things are wrong the first of these is the answer: what makes the certificate none of
# ours comes before what is wrong with one of ours, and what no waiting cures before what time decides.
PRECEDENCE: tuple[CertificateState, ...] = (
    CertificateState.NONE,
    CertificateState.UNVERIFIED,
    CertificateState.MALFORMED,
    CertificateState.UNKNOWN_ISSUER,
    CertificateState.WRONG_PURPOSE,
    CertificateState.UNKNOWN_CERTIFICATE,
    CertificateState.REVOKED,
    CertificateState.DISTRUSTED,
    CertificateState.HELD,
    CertificateState.UNASKED,
    CertificateState.NOT_YET_VALID,
    CertificateState.EXPIRED,
)

_INDEX_STATES: Mapping[RevocationStatus, CertificateState | None] = MappingProxyType(
    {
        RevocationStatus.GOOD: None,
        RevocationStatus.HELD: CertificateState.HELD,
        RevocationStatus.REVOKED: CertificateState.REVOKED,
        RevocationStatus.DISTRUSTED: CertificateState.DISTRUSTED,
        RevocationStatus.UNKNOWN: CertificateState.UNKNOWN_CERTIFICATE,
        RevocationStatus.UNASKED: CertificateState.UNASKED,
    }
)

# Larger certificates are refused unread: ours have about 1 KiB (V29).
MAX_CERTIFICATE_BYTES = 16_384
MAX_EXTENSIONS = 32

_UNREADABLE = (
    ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm,
    x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
)  # fmt: skip
_UNDERSTOOD_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


@dataclass(frozen=True)
class Presentation:
    """What a handshake recorded. `errors` are OpenSSL's (number, depth), all of them, in order.

    `verified` says that the verify callback ran in *this* handshake; a resumed session has a peer
    certificate and no errors, and must not pass for that.
    """

    leaf: bytes | None
    others: tuple[bytes, ...] = ()
    errors: tuple[tuple[int, int], ...] = ()
    verified: bool = False


NO_CERTIFICATE = Presentation(leaf=None)

_PROOF = object()


@dataclass(frozen=True)
class VerifiedPeer:
    """A client certificate that passed every check. Built in `judge` and nowhere else.

    The identity is `fingerprint` (SHA-256 of the DER, hex), or (`issuer_der`, `serial`); the names are
    for people to read.
    """

    leaf: bytes = field(repr=False)
    fingerprint: str
    issuer_der: bytes = field(repr=False)
    serial: str
    common_name: str
    issuer_name: str
    not_before_at: int
    not_after_at: int
    chain: tuple[bytes, ...] = field(repr=False)
    issuer_not_after_at: int
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        if proof is not _PROOF:
            raise TypeError("a VerifiedPeer comes out of ca.trust.judge only")


@dataclass(frozen=True)
class Rejection:
    """Why a connection has no verified peer, and whatever of the certificate could be read.

    The readable part is what the peer claims; it goes on help pages and into logs, never into a decision.
    """

    state: CertificateState
    fingerprint: str | None = None
    serial: str | None = None
    common_name: str | None = None
    issuer_name: str | None = None
    not_before_at: int | None = None
    not_after_at: int | None = None


def judge(
    presentation: Presentation,
    anchors: TrustAnchors,
    status: StatusLookup,
    at: int,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> VerifiedPeer | Rejection:
    """The verdict on a handshake's client certificate at `at` (seconds since the epoch).

    Pure but for `status`, whose exceptions pass through (a broken index is our fault, not a pass).
    `purpose` is the extended key usage to insist on; only tests with servers' certificates change it.
    """
    if presentation.leaf is None:
        return Rejection(CertificateState.NONE)
    leaf = _Leaf.read(presentation.leaf)
    if leaf is None:
        return Rejection(
            CertificateState.MALFORMED if presentation.verified else CertificateState.UNVERIFIED,
            fingerprint=hashlib.sha256(presentation.leaf).hexdigest(),
        )
    faults = _handshake_faults(presentation)
    issuer = _issuer_of(leaf.certificate, anchors)
    if issuer is None:
        faults.add(CertificateState.UNKNOWN_ISSUER)
    if not _serves(leaf.certificate, purpose):
        faults.add(CertificateState.WRONG_PURPOSE)
    if not faults:
        faults |= _current_faults(status(leaf.fingerprint), leaf.not_before_at, leaf.not_after_at, at)
    if issuer is not None:
        # A chain is no better than its weakest link: an expired CA vouches for nobody.
        begins_at, ends_at = map(_seconds, (issuer.not_valid_before_utc, issuer.not_valid_after_utc))
        faults |= _time_faults(begins_at, ends_at, at)
    if faults or issuer is None:
        return rejected(leaf, next(state for state in PRECEDENCE if state in faults))
    return leaf.peer(issuer)


def said_of(verdict: VerifiedPeer | Rejection) -> StatusLookup:
    """What the index had said when a verdict was given, as far as it tells."""
    state = verdict.state if isinstance(verdict, Rejection) else CertificateState.VALID
    said = next((each for each, meant in _INDEX_STATES.items() if meant is state), RevocationStatus.GOOD)
    return lambda _: said


def recheck(peer: VerifiedPeer, status: StatusLookup, at: int) -> CertificateState:
    """What can have changed since the handshake: revocation and time. Cheap, for every request."""
    indexed = status(peer.fingerprint)
    ends_at = min(peer.not_after_at, peer.issuer_not_after_at)
    if indexed is RevocationStatus.GOOD and peer.not_before_at <= at <= ends_at:
        return CertificateState.VALID
    faults = _current_faults(indexed, peer.not_before_at, peer.not_after_at, at)
    if at > peer.issuer_not_after_at:
        faults.add(CertificateState.EXPIRED)
    return next((state for state in PRECEDENCE if state in faults), CertificateState.VALID)


def rejected(certificate: _Leaf | VerifiedPeer, state: CertificateState) -> Rejection:
    """A certificate that could be read, turned away for what ``state`` says."""
    return Rejection(
        state=state,
        fingerprint=certificate.fingerprint,
        serial=certificate.serial,
        common_name=certificate.common_name,
        issuer_name=certificate.issuer_name,
        not_before_at=certificate.not_before_at,
        not_after_at=certificate.not_after_at,
    )


@dataclass(frozen=True)
class _Leaf:
    """A leaf that could be parsed, with what both outcomes tell of it."""

    certificate: x509.Certificate
    der: bytes
    fingerprint: str
    serial: str
    common_name: str
    issuer_name: str
    not_before_at: int
    not_after_at: int

    @classmethod
    def read(cls, der: bytes) -> _Leaf | None:
        if len(der) > MAX_CERTIFICATE_BYTES:
            return None
        try:
            certificate = x509.load_der_x509_certificate(der)
            serial = certificate.serial_number
            usable = _usable_key(certificate) and len(certificate.extensions) <= MAX_EXTENSIONS
            leaf = cls(
                certificate=certificate,
                der=der,
                fingerprint=hashlib.sha256(der).hexdigest(),
                serial=serial_hex(serial),
                common_name=_readable(certificate.subject),
                issuer_name=_readable(certificate.issuer),
                not_before_at=_seconds(certificate.not_valid_before_utc),
                not_after_at=_seconds(certificate.not_valid_after_utc),
            )
        # Hostile bytes: cryptography raises a good many things for them.
        except _UNREADABLE:
            return None
        # RFC 5280 section 4.1.2.2: positive, at most 20 octets. Trailing bytes would make two
        # fingerprints of one certificate.
        plain = certificate.public_bytes(serialization.Encoding.DER) == der
        return leaf if usable and 0 < serial < 1 << 159 and plain else None

    def peer(self, issuer: x509.Certificate) -> VerifiedPeer:
        issuer_der = issuer.public_bytes(serialization.Encoding.DER)
        return VerifiedPeer(
            leaf=self.der,
            fingerprint=self.fingerprint,
            issuer_der=issuer_der,
            serial=self.serial,
            common_name=self.common_name,
            issuer_name=self.issuer_name,
            not_before_at=self.not_before_at,
            not_after_at=self.not_after_at,
            chain=(self.der, issuer_der),
            issuer_not_after_at=_seconds(issuer.not_valid_after_utc),
            proof=_PROOF,
        )


def _usable_key(certificate: x509.Certificate) -> bool:
    """Whether the key is of a kind that we certify, in the one encoding that we write."""
    key = certificate.public_key()
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        return False
    # Explicit curve parameters read as a named curve, and are written back as one: not the same bytes.
    return kind_of(key) in KINDS and spki(key) in certificate.tbs_certificate_bytes


def _handshake_faults(presentation: Presentation) -> set[CertificateState]:
    if not presentation.verified:
        return {CertificateState.UNVERIFIED}
    states = (OPENSSL_ERRORS.get(number, CertificateState.UNVERIFIED) for number, _ in presentation.errors)
    return {state for state in states if state is not None}


def _current_faults(
    status: RevocationStatus, not_before_at: int, not_after_at: int, at: int
) -> set[CertificateState]:
    faults = _time_faults(not_before_at, not_after_at, at)
    indexed = _INDEX_STATES[status]
    return faults if indexed is None else faults | {indexed}


def _time_faults(not_before_at: int, not_after_at: int, at: int) -> set[CertificateState]:
    # RFC 5280 section 4.1.2.5: both ends belong to the period.
    if at < not_before_at:
        return {CertificateState.NOT_YET_VALID}
    return {CertificateState.EXPIRED} if at > not_after_at else set()


def _issuer_of(leaf: x509.Certificate, anchors: TrustAnchors) -> x509.Certificate | None:
    """The anchor whose key signed the leaf. Several may carry the same name; the signature decides."""
    for issuer in anchors.issuers:
        if issuer.subject.public_bytes() != leaf.issuer.public_bytes() or not _names_key(leaf, issuer):
            continue
        try:
            leaf.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return issuer
    return None


def _names_key(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the key identifiers do not contradict each other (section 4.2.1.1).

    A CA of somebody else's may lack them; then the signature alone decides, as it does anyway.
    """
    wanted = extension_of(leaf, x509.AuthorityKeyIdentifier)
    own = extension_of(issuer, x509.SubjectKeyIdentifier)
    return wanted is None or own is None or wanted.key_identifier in (None, own.digest)


def _serves(leaf: x509.Certificate, purpose: x509.ObjectIdentifier) -> bool:
    """Whether the leaf says of itself that it is for `purpose` and for signatures, and is no CA (V32)."""
    constraints = extension_of(leaf, x509.BasicConstraints)
    usage = extension_of(leaf, x509.KeyUsage)
    purposes = extension_of(leaf, x509.ExtendedKeyUsage)
    strange = any(
        e.oid == ExtensionOID.NAME_CONSTRAINTS or (e.critical and e.oid not in _UNDERSTOOD_CRITICAL)
        for e in leaf.extensions
    )
    return (
        not (constraints is not None and constraints.ca)
        and usage is not None
        and usage.digital_signature
        and not usage.key_cert_sign
        and purposes is not None
        # anyExtendedKeyUsage is not clientAuth: exactly what the profile says is what passes.
        and purpose in purposes
        and not strange
    )


def _readable(name: x509.Name) -> str:
    """The common name for people's eyes: one line, no control characters, bounded; "" if not exactly one."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) != 1:
        return ""
    value: Any = found[0].value
    text = value if isinstance(value, str) else value.hex()
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[:128]


def _seconds(moment: Any) -> int:
    return int(moment.timestamp())
