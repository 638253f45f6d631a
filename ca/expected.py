"""A client's certificate, written out octet by octet from its reservation: by the little of DER in `ca.der`,
and by neither of the libraries that make and read certificates elsewhere.

DER has one encoding for a value. So what somebody wants signed either is this, to the last octet, and then it
says what the reservation says; or it is not, and then somebody has to read it (`ca.inspection`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from ca import der
from ca.der import BIT_STRING, SEQUENCE, UTF8_STRING, tlv
from ca.profiles import Profile
from ca.publication import Site
from ca.store import Reservation

_BOOLEAN, _INTEGER, _OCTETS, _OID, _PRINTABLE, _IA5, _SET = 0x01, 0x02, 0x04, 0x06, 0x13, 0x16, 0x31
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_TRUE = tlv(_BOOLEAN, b"\xff")
_VERSION_3 = tlv(0xA0, tlv(_INTEGER, b"\x02"))
# id-at (X.520), and what its values are written as.
_ATTRIBUTES = {
    "CN": (3, UTF8_STRING), "C": (6, _PRINTABLE), "O": (10, UTF8_STRING), "OU": (11, UTF8_STRING),
}  # fmt: skip
_CE = bytes((0x55, 0x1D))  # id-ce, RFC 5280 section 4.2.1
# id-pe-authorityInfoAccess and its two methods (RFC 5280 section 4.2.2.1); a uniformResourceIdentifier.
_AUTHORITY_INFO_ACCESS = bytes.fromhex("2b06010505070101")
_OCSP, _CA_ISSUERS = bytes.fromhex("2b06010505073001"), bytes.fromhex("2b06010505073002")
_EMAIL, _DNS, _URI = 0x81, 0x82, 0x86
# szOID_NT_PRINCIPAL_NAME of Windows; id-qt-cps (RFC 5280 section 4.2.1.4).
_UPN, _CPS = bytes.fromhex("2b060104018237140203"), bytes.fromhex("2b06010505070201")
# The only usage that clients' certificates have, as it stands in one.
_USAGES = {"digital_signature": tlv(BIT_STRING, b"\x07\x80")}
# RFC 5280 section 4.1.2.5: UTCTime through 2049.
_LAST_SHORT_YEAR = 2049


@dataclass(frozen=True)
class Shared:
    """What is the same in every certificate of an issuer: the AlgorithmIdentifier and the issuer's Name in
    DER, the issuer's key identifier, where the world reads of it."""

    algorithm: bytes
    issuer: bytes
    key_identifier: bytes
    site: Site


def written(reserved: Reservation, profile: Profile, shared: Shared) -> bytes:
    """What is to be signed for a reservation (TBSCertificate, DER).

    KeyError for a profile with another usage or attribute than clients' certificates have. The reservation's
    key has to be a SubjectPublicKeyInfo in DER: `ca.keys.parse_public_key` tells.
    """
    serial = int(reserved.serial, 16)
    return tlv(
        SEQUENCE,
        _VERSION_3,
        tlv(_INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big")),
        shared.algorithm,
        shared.issuer,
        tlv(SEQUENCE, _time(reserved.not_before_at), _time(reserved.not_after_at)),
        _subject(reserved),
        reserved.spki,
        tlv(0xA3, tlv(SEQUENCE, *_extensions(reserved, profile, shared))),
    )


def key_identifier(spki: bytes) -> bytes:
    """RFC 5280 section 4.2.1.2, method 1: SHA-1 of the bits of a key, whose SubjectPublicKeyInfo is DER."""
    at, _ = der.span(spki, 0)
    _, at = der.span(spki, at)
    begin, end = der.span(spki, at)
    return hashlib.sha1(spki[begin + 1 : end], usedforsecurity=False).digest()


def _named(reserved: Reservation) -> bool:
    return bool(reserved.subject_cn or reserved.naming.subject)


def _subject(reserved: Reservation) -> bytes:
    said = [*reserved.naming.subject, *([("CN", reserved.subject_cn)] if reserved.subject_cn else [])]
    return tlv(SEQUENCE, *(tlv(_SET, _attribute(*each)) for each in said))


def _attribute(name: str, value: str) -> bytes:
    number, kind = _ATTRIBUTES[name]
    return tlv(SEQUENCE, tlv(_OID, bytes((0x55, 0x04, number))), tlv(kind, value.encode()))


def _alternative(kind: str, value: str) -> bytes:
    if kind == "upn":
        return tlv(0xA0, tlv(_OID, _UPN), tlv(0xA0, tlv(UTF8_STRING, value.encode())))
    return tlv({"email": _EMAIL, "uri": _URI}[kind], value.encode("ascii"))


def _oid(dotted: str) -> bytes:
    """X.690 section 8.19: the first two arcs are one number, each in groups of seven bits."""
    first, second, *others = map(int, dotted.split("."))
    return tlv(_OID, b"".join(map(_arc, (40 * first + second, *others))))


def _arc(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(0x80 | number & 0x7F)
    return bytes(reversed(octets))


def _policies(profile: Profile) -> bytes:
    cps = tlv(SEQUENCE, tlv(SEQUENCE, tlv(_OID, _CPS), tlv(_IA5, profile.cps.encode("ascii"))))
    return tlv(SEQUENCE, tlv(SEQUENCE, _oid(profile.policy), cps if profile.cps else b""))


def _time(at: int) -> bytes:
    moment = datetime.fromtimestamp(at, UTC)
    short = moment.year <= _LAST_SHORT_YEAR
    shown = moment.strftime("%y%m%d%H%M%SZ" if short else "%Y%m%d%H%M%SZ")
    return tlv(_UTC_TIME if short else _GENERALIZED_TIME, shown.encode())


def _extensions(reserved: Reservation, profile: Profile, shared: Shared) -> list[bytes]:
    (usage,) = (_USAGES[each] for each in profile.key_usage)
    purposes = (_oid(each.dotted_string) for each in profile.extended_key_usage)
    listed = [
        _extension(19, tlv(SEQUENCE), critical=True),  # basicConstraints: no CA
        _extension(15, usage, critical=True),
        _extension(37, tlv(SEQUENCE, *purposes)),
        *([_extension(32, _policies(profile))] if profile.policy else []),
        _extension(14, tlv(_OCTETS, key_identifier(reserved.spki))),
        _extension(35, tlv(SEQUENCE, tlv(0x80, shared.key_identifier))),
    ]
    names = [tlv(_DNS, name.encode("ascii")) for name in reserved.names]
    names += [_alternative(*each) for each in reserved.naming.alternative]
    if names:
        # RFC 5280 section 4.1.2.6: with an empty subject the alternative names are critical.
        listed.append(_extension(17, tlv(SEQUENCE, *names), critical=not _named(reserved)))
    told = shared.site.of(int(reserved.serial, 16))
    if told.crl:
        point = tlv(SEQUENCE, tlv(0xA0, tlv(0xA0, tlv(_URI, told.crl.encode("ascii")))))
        listed.append(_extension(31, tlv(SEQUENCE, point)))
    access = [
        tlv(SEQUENCE, tlv(_OID, method), tlv(_URI, url.encode("ascii")))
        for method, url in ((_OCSP, told.ocsp), (_CA_ISSUERS, told.issuer))
        if url
    ]
    if access:
        listed.append(_named_extension(_AUTHORITY_INFO_ACCESS, tlv(SEQUENCE, *access)))
    return listed


def _extension(number: int, value: bytes, *, critical: bool = False) -> bytes:
    return _named_extension(_CE + bytes((number,)), value, critical=critical)


def _named_extension(identifier: bytes, value: bytes, *, critical: bool = False) -> bytes:
    return tlv(SEQUENCE, tlv(_OID, identifier), _TRUE if critical else b"", tlv(_OCTETS, value))
