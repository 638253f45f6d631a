"""Answers of OCSP (RFC 6960, in the profile of RFC 5019) as bytes, and requests as values.

DER by hand: an answer is made for each certificate each day. What is signed and its signature are kept
without the responder's certificate, which is the same for very many, and put together when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from ca.certificates import key_identifier, public_key_of, serial_hex
from ca.crls import ALGORITHMS, kind_of
from ca.der import BIT_STRING, SEQUENCE, span, tlv
from ca.keys import PublicKey, spki_of
from ca.revocation import HOLD, RevocationStatus, reason_code

#: Hashes that name an issuer: SHA-1 is what nearly everybody asks by, and says nothing of security here.
HashName = Literal["sha1", "sha256"]
HASHES: tuple[HashName, ...] = ("sha1", "sha256")
#: Octets of a nonce: others are malformed (RFC 9654 section 2.1). Answers are made before anybody asks and
#: have none.
SHORTEST_NONCE, LONGEST_NONCE = 1, 128

_OCTETS, _INTEGER, _ENUMERATED, _GENERALIZED_TIME = 0x04, 0x02, 0x0A, 0x18
# Context tags: explicit (constructed) 0 to 2, and the three statuses, of which only `revoked` has a content.
_EXPLICIT_0, _BY_KEY = 0xA0, 0xA2
_GOOD, _REVOKED, _UNKNOWN = b"\x80\x00", 0xA1, b"\x82\x00"
_NULL = b"\x05\x00"
_ID_BASIC = bytes.fromhex("06092b0601050507300101")
_HASH_IDS: Mapping[HashName, bytes] = {
    "sha1": bytes.fromhex("06052b0e03021a"),
    "sha256": bytes.fromhex("0609608648016503040201"),
}
_HASHES: Mapping[HashName, hashes.HashAlgorithm] = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}  # noqa: S303
_NAMES: Mapping[str, HashName] = {each.name: name for name, each in _HASHES.items()}


class Malformed(ValueError):
    """What was sent is no request (RFC 6960 section 2.3: malformedRequest)."""


class Unauthorized(ValueError):
    """A request that nobody here can answer (RFC 5019 section 2.2.3: unauthorized)."""


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for: one certificate, by hashes of its issuer."""

    issuer: IssuerHashes
    serial: int


@dataclass(frozen=True)
class IssuerHashes:
    """An issuer as a CertID has it."""

    hash: HashName
    name: bytes
    key: bytes


@dataclass(frozen=True)
class Standing:
    """What an answer says of a certificate. Times are seconds since the epoch; ``change_number``: of the
    last change in the register that it tells of, 0 for none."""

    serial: str
    status: RevocationStatus
    revoked_at: int = 0
    reason: int = 0
    change_number: int = 0


def parse(der: bytes) -> Wanted:
    """The request in these bytes. `Malformed`, or `Unauthorized` for more than one certificate, which RFC
    5019 section 2.1.1 rules out, another hash, or a critical extension that nobody knows."""
    try:
        asked = ocsp.load_der_ocsp_request(der)
        extensions = list(asked.extensions)
        named = _NAMES.get(asked.hash_algorithm.name)
        name, key, serial = asked.issuer_name_hash, asked.issuer_key_hash, asked.serial_number
    except (NotImplementedError, UnsupportedAlgorithm):
        raise Unauthorized from None
    except (ValueError, TypeError, x509.DuplicateExtension):
        raise Malformed from None
    for each in extensions:
        if isinstance(each.value, x509.OCSPNonce):
            if not SHORTEST_NONCE <= len(each.value.nonce) <= LONGEST_NONCE:
                raise Malformed
        elif each.critical and isinstance(each.value, x509.UnrecognizedExtension):
            raise Unauthorized
    if named is None:
        raise Unauthorized
    return Wanted(IssuerHashes(named, name, key), serial)


def hashes_of(issuer: x509.Certificate) -> dict[HashName, IssuerHashes]:
    """What an issuer goes by in requests."""
    name = issuer.subject.public_bytes()
    key = x509.SubjectKeyIdentifier.from_public_key(public_key_of(issuer))
    bits = _key_bits(spki_of(issuer))
    found = {}
    for each, algorithm in _HASHES.items():
        found[each] = IssuerHashes(each, _digest(algorithm, name), _digest(algorithm, bits))
    assert found["sha1"].key == key.digest  # RFC 5280 section 4.2.1.2, method 1, is the same
    return found


def to_be_signed(
    standing: Standing, issuer: IssuerHashes, responder_key: bytes, this_update_at: int, next_update_at: int
) -> bytes:
    """What a responder signs (ResponseData): one certificate, no nonce. ``responder_key``: its key
    identifier."""
    serial = int(standing.serial, 16)
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")  # one bit more, for the sign
    algorithm = tlv(SEQUENCE, _HASH_IDS[issuer.hash], _NULL)
    certificate = tlv(
        SEQUENCE, algorithm, tlv(_OCTETS, issuer.name), tlv(_OCTETS, issuer.key), tlv(_INTEGER, number)
    )
    this, following = _time(this_update_at), tlv(_EXPLICIT_0, _time(next_update_at))
    single = tlv(SEQUENCE, certificate, _status(standing), this, following)
    return tlv(SEQUENCE, tlv(_BY_KEY, tlv(_OCTETS, responder_key)), this, tlv(SEQUENCE, single))


def signed(tbs: bytes, signature: bytes, key: PublicKey) -> bytes:
    """What is kept of an answer: all but the responder's certificate. ``key``: the one that has signed."""
    algorithm = tlv(SEQUENCE, ALGORITHMS[kind_of(key)])
    return tbs + algorithm + tlv(BIT_STRING, b"\x00", signature)


def response(kept: bytes, responder: bytes) -> bytes:
    """A whole answer (OCSPResponse), with the responder's certificate (DER)."""
    basic = tlv(SEQUENCE, kept, tlv(_EXPLICIT_0, tlv(SEQUENCE, responder)))
    return tlv(SEQUENCE, _SUCCESSFUL, tlv(_EXPLICIT_0, tlv(SEQUENCE, _ID_BASIC, tlv(_OCTETS, basic))))


def told_by(der: bytes) -> Standing:
    """What an answer of ours (OCSPResponse) tells whoever asked."""
    answer = ocsp.load_der_ocsp_response(der)
    serial, revoked_at = serial_hex(answer.serial_number), answer.revocation_time_utc
    if revoked_at is None:
        good = answer.certificate_status is ocsp.OCSPCertStatus.GOOD
        return Standing(serial, RevocationStatus.GOOD if good else RevocationStatus.UNKNOWN)
    reason = 0 if answer.revocation_reason is None else reason_code(str(answer.revocation_reason.value))
    status = RevocationStatus.HELD if reason == HOLD else RevocationStatus.REVOKED
    return Standing(serial, status, int(revoked_at.timestamp()), reason)


def responder_key_of(certificate: x509.Certificate) -> bytes:
    """What a responder goes by in its answers."""
    return key_identifier(certificate)


def _status(standing: Standing) -> bytes:
    if standing.status is RevocationStatus.GOOD:
        return _GOOD
    if standing.status is RevocationStatus.UNKNOWN:
        return _UNKNOWN
    reason = HOLD if standing.status is RevocationStatus.HELD else standing.reason
    # RFC 5280 section 5.3.1: unspecified is said by leaving it out.
    why = tlv(_EXPLICIT_0, bytes((_ENUMERATED, 1, reason))) if reason else b""
    return tlv(_REVOKED, _time(standing.revoked_at), why)


def _time(at: int) -> bytes:
    return tlv(_GENERALIZED_TIME, datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%SZ").encode())


def _error(code: int) -> bytes:
    return tlv(SEQUENCE, bytes((_ENUMERATED, 1, code)))


def _digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _key_bits(spki: bytes) -> bytes:
    """The bits of a SubjectPublicKeyInfo, without how many are unused."""
    at, _ = span(spki, 0)
    _, at = span(spki, at)
    begin, end = span(spki, at)
    return spki[begin + 1 : end]


_SUCCESSFUL = bytes((_ENUMERATED, 1, 0))
#: Answers that nobody signs (RFC 6960 section 4.2.1).
MALFORMED, TRY_LATER, UNAUTHORIZED = _error(1), _error(3), _error(6)
