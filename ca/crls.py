"""A revocation list (CRL, RFC 5280 section 5) as bytes: DER by hand, so that its price grows with its length.

What comes before the entries and after them, the entries, and the envelope are made apart, so that another
process may do the long part and needs no key for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.certificates import public_key_of
from ca.der import BIT_STRING, SEQUENCE, header, tlv
from ca.keys import PublicKey
from ca.revocation import REASONS, RevokedEntry
from ca.signing import Signer, ToSign, hash_of, key_id, signature_now

# Tags of DER (X.690).
_OCTETS, _ENUMERATED, _EXTENSIONS = 4, 10, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18

_V2 = b"\x02\x01\x01"
_NULL = b"\x05\x00"
# ecdsa-with-SHA256 and -SHA384 have no parameters (RFC 5758 section 3.2), sha256WithRSAEncryption has NULL
# (RFC 4055 section 5).
ALGORITHMS: dict[tuple[str, str], bytes] = {
    ("ec", "sha256"): bytes.fromhex("06082a8648ce3d040302"),
    ("ec", "sha384"): bytes.fromhex("06082a8648ce3d040303"),
    ("rsa", "sha256"): bytes.fromhex("06092a864886f70d01010b") + _NULL,
}
_ID_AUTHORITY_KEY_IDENTIFIER = bytes.fromhex("0603551d23")
_ID_CRL_NUMBER = bytes.fromhex("0603551d14")
_ID_SCOPE = bytes.fromhex("0603551d1c")
_TRUE = bytes.fromhex("0101ff")
_ID_CRL_REASON = bytes.fromhex("0603551d15")
# From 2050 on times are written with four digits of the year (RFC 5280 section 5.1.2.4).
_FOUR_DIGITS = 2_524_608_000
_DAY = 86_400
# Entries that are put together at once: enough to cost little, few enough to take little room.
_CHUNK = 4_096


@dataclass(frozen=True)
class Frame:
    """What stands around the entries, and by which hash the whole is signed. Holds nothing secret."""

    before: bytes
    after: bytes
    algorithm: bytes
    hash: str


@dataclass(frozen=True)
class Unsigned:
    """A list without its signature. ``digest`` is what gets signed; ``chunks`` follow each other."""

    chunks: tuple[bytes, ...]
    digest: bytes
    entries: int

    @property
    def size(self) -> int:
        return sum(map(len, self.chunks))


def frame_of(
    issuer: x509.Certificate,
    number: int,
    this_update_at: int,
    next_update_at: int,
    scope: x509.IssuingDistributionPoint | None = None,
) -> Frame:
    """What a list of an issuer says besides its entries. ``number`` must grow with every list of an issuer
    and ``scope`` (section 5.2.3); None: it tells of all that the issuer has issued."""
    kind, hash_name = kind_of(public_key_of(issuer))
    algorithm = tlv(SEQUENCE, ALGORITHMS[kind, hash_name])
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    extensions = tlv(
        SEQUENCE,
        _extension(_ID_AUTHORITY_KEY_IDENTIFIER, above.public_bytes()),
        _extension(_ID_CRL_NUMBER, x509.CRLNumber(number).public_bytes()),
        # Section 5.2.5: critical, or who does not know it would take a part for the whole.
        _extension(_ID_SCOPE, scope.public_bytes(), _TRUE) if scope is not None else b"",
    )
    name, times = issuer.subject.public_bytes(), (_time(this_update_at), _time(next_update_at))
    before = b"".join((_V2, algorithm, name, *times))
    return Frame(before, tlv(_EXTENSIONS, extensions), algorithm, hash_name)


def of_shard(url: str) -> x509.IssuingDistributionPoint:
    """The scope of a shard: of the certificates that name this address (RFC 5280 section 5.2.5)."""
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url)],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


#: The scope of a root's list: CAs are all that it issues.
OF_CAS = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=True,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


def fill(frame: Frame, entries: Iterable[RevokedEntry]) -> Unsigned:
    """A list with its entries (tbsCertList): linear in their number, in time and in room."""
    listed = list[bytes]()
    remaining, count = iter(entries), 0
    while chunk := list(islice(remaining, _CHUNK)):
        listed.append(b"".join(_encoded(chunk)))
        count += len(chunk)
    size = sum(map(len, listed))
    # Section 5.1.2.6: no entries, no sequence of them.
    around = [frame.before, *([header(SEQUENCE, size)] if count else [])]
    head = b"".join(around)
    chunks = (header(SEQUENCE, len(head) + size + len(frame.after)) + head, *listed, frame.after)
    digest = hashlib.new(frame.hash)
    for each in chunks:
        digest.update(each)
    return Unsigned(chunks, digest.digest(), count)


def envelope(frame: Frame, size: int, signature: bytes) -> tuple[bytes, bytes]:
    """What comes before and after the ``size`` bytes that were signed (CertificateList)."""
    # The 0: how many bits of the last octet are not used.
    tail = frame.algorithm + tlv(BIT_STRING, b"\x00", signature)
    return header(SEQUENCE, size + len(tail)), tail


def number_and_time(der: bytes) -> tuple[int, int]:
    """The number and thisUpdate of a list of ours, whole or without its entries' end. (0, 0) for what is
    none."""
    try:
        read = x509.load_der_x509_crl(der)
        number = read.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound):
        return 0, 0
    return number, int(read.last_update_utc.timestamp())


def build_crl(
    issuer: x509.Certificate,
    signer: Signer,
    entries: Iterable[RevokedEntry],
    number: int,
    this_update_at: int,
    next_update_at: int,
    scope: x509.IssuingDistributionPoint | None = None,
) -> bytes:
    """A signed CRL, DER, all at once; blocks for the signature."""
    frame = frame_of(issuer, number, this_update_at, next_update_at, scope)
    key = public_key_of(issuer)
    unsigned = fill(frame, entries)
    asked = ToSign(key_id(key), "list", b"".join(unsigned.chunks))
    head, tail = envelope(frame, unsigned.size, signature_now(signer, key, asked, unsigned.digest))
    return b"".join((head, *unsigned.chunks, tail))


def _encoded(entries: Iterable[RevokedEntry]) -> Iterator[bytes]:
    reasons = REASONS_WRITTEN
    for serial, revoked_at, reason in entries:
        value = int(serial, 16)
        number = value.to_bytes(value.bit_length() // 8 + 1, "big")  # one bit more, for the sign
        why = reasons[reason]
        day, second = divmod(revoked_at, _DAY)
        if revoked_at < _FOUR_DIGITS:
            when = b"\x17\x0d" + _date(day) + _CLOCK[second // 60] + b"%02dZ" % (second % 60)
        else:
            when = _time(revoked_at)
        content = len(number) + len(when) + len(why) + 2
        # A serial has 20 octets at most (section 4.1.2.2), so that no length takes a second octet.
        yield b"\x30%c\x02%c%b%b%b" % (content, len(number), number, when, why)


@lru_cache(4_096)
def _date(day: int) -> bytes:
    return datetime.fromtimestamp(day * _DAY, UTC).strftime("%y%m%d").encode()


def kind_of(key: PublicKey) -> tuple[str, str]:
    return "ec" if isinstance(key, ec.EllipticCurvePublicKey) else "rsa", hash_of(key).name


def _time(at: int) -> bytes:
    moment = datetime.fromtimestamp(at, UTC)
    if at < _FOUR_DIGITS:
        return tlv(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(_GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())


def _extension(identifier: bytes, value: bytes, critical: bytes = b"") -> bytes:
    return tlv(SEQUENCE, identifier, critical, tlv(_OCTETS, value))


def _reason(code: int) -> bytes:
    # Section 5.3.1: unspecified is said by leaving the extension out.
    if code == 0:
        return b""
    return tlv(SEQUENCE, _extension(_ID_CRL_REASON, bytes((_ENUMERATED, 1, code))))


#: What stands behind the time of an entry, by its reason.
REASONS_WRITTEN = {code: _reason(code) for code in REASONS}
#: Hour and minute of each minute of a day.
_CLOCK = tuple(b"%02d%02d" % divmod(minute, 60) for minute in range(_DAY // 60))
