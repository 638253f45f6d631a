"""What a signer looks at before it signs: its own reading, by another parser, of what it is asked to sign.

Whoever asks may be owned by an attacker. So nothing is believed that he says: the certificate is read
strictly, and compared value by value with the reservation in the register and with what its profile may say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from asn1crypto import core
from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1
from asn1crypto.algos import SignedDigestAlgorithm
from asn1crypto.keys import PublicKeyInfo
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ca.certificates import key_identifier, public_key_of, validity
from ca.der import SEQUENCE, tlv
from ca.errors import ConfigError, Unacceptable
from ca.expected import Shared, written
from ca.keys import parse_public_key, spki_of
from ca.listed import Listed, listed_in
from ca.naming import fits
from ca.ocsp import IssuerHashes, Standing, response
from ca.profiles import CLIENTS, CRL_AHEAD, CRL_LIFETIME, Audience, Profile
from ca.publication import Site
from ca.revocation import HOLD, REASONS, RevocationStatus
from ca.store import Reservation

#: Seconds that the clock of whoever decided may be ahead.
_AHEAD = 300
# Seconds after which a reservation is of no crash that anybody still makes up for.
_OLD = 30 * 86_400
_SCOPE = "issuing_distribution_point"
_KEY_USAGE = {"digital_signature": "digital_signature"}
# As asn1crypto calls them; what it has no name for, it calls by its number.
_ATTRIBUTES = {"C": "country_name", "O": "organization_name", "OU": "organizational_unit_name"}
_UPN = "1.3.6.1.4.1.311.20.2.3"
_ALGORITHMS = {
    ("ec", "sha256"): "sha256_ecdsa",
    ("ec", "sha384"): "sha384_ecdsa",
    ("rsa", "sha256"): "sha256_rsa",
}


class Unsignable(Exception):
    """It is not signed, and will not be. The message says why, for the log."""


@dataclass(frozen=True)
class Issuing:
    """The issuer whose key is asked for."""

    certificate: x509.Certificate
    site: Site
    audience: Audience = Audience.CLIENTS


def inspect_certificate(
    tbs: bytes,
    reserved: Reservation,
    issuer: Issuing,
    at: int,
    profiles: Mapping[str, Profile] = CLIENTS,
) -> None:
    """Raises `Unsignable` unless they are the certificate of this reservation, and within its profile.

    ``profiles``: what may be asked for. Certificates of CAs and hosts are an operator's, at a command.
    The quick way: it is written out here, from the reservation, and what is asked for is the same to the last
    octet. What is not is read, value by value.
    """
    profile = profiles.get(reserved.profile)
    if profile is None:
        raise Unsignable(f"the profile {reserved.profile} is not signed for here")
    if profile.audience is not issuer.audience:
        raise Unsignable(f"the profile {reserved.profile} is for {profile.audience}, and the issuer is not")
    with _unreadable("certificate"):
        faults = [name for name, fault in _reserved_faults(reserved, profile, issuer, at) if fault]
        if not faults and tbs == written(reserved, profile, _shared(issuer)):
            return
    read = _read(asn1.TbsCertificate, tbs, "certificate")
    with _unreadable("certificate"):
        faults = [name for name, fault in _faults(read, reserved, profile, issuer, at) if fault]
    if faults:
        raise Unsignable(f"the certificate breaks its profile: {faults[0]}")


def shard_in(data: bytes, issuer: Issuing) -> int | None:
    """Which of an issuer's shards a list says that it is; None for one that says nothing of that.
    `Unsignable`."""
    around, _ = _around(data)
    with _unreadable("list"):
        found = {each["extn_id"]: each["extn_value"] for each in around.native["crl_extensions"] or ()}
        scope = found.get("issuing_distribution_point")
        if scope is None:
            return None
        (url,) = scope["distribution_point"]
        return {issuer.site.shard(each): each for each in range(issuer.site.shards)}[url]


def inspect_list(
    data: bytes, issuer: Issuing, last_number: int, at: int, shard: int | None = None
) -> tuple[int, Listed]:
    """Its number and what it tells. Raises `Unsignable` unless the bytes are a list of the issuer that
    follows the last one, dated today.

    Each entry is looked at, so that nothing hides behind them; there may be a million. ``shard``: which one
    it has to be, with none of another one's serials.
    """
    around, within = _around(data)
    try:
        listed = listed_in(data, within, shard, issuer.site.shards)
    except ValueError as fault:
        raise Unsignable(str(fault)) from None
    with _unreadable("list"):
        faults = [name for name, fault in _list_faults(around, issuer, last_number, at, shard) if fault]
        found = {each["extn_id"]: each["extn_value"] for each in around.native["crl_extensions"] or ()}
    if faults:
        raise Unsignable(f"the list is not one of this issuer's: {faults[0]}")
    return found["crl_number"], listed


def _faults(
    read: Any, reserved: Reservation, profile: Profile, issuer: Issuing, at: int
) -> list[tuple[str, bool]]:
    period = _period_of(profile, reserved, issuer)
    key = read["subject_public_key_info"].dump()
    serial = int(reserved.serial, 16)
    shared = _shared(issuer)
    return [
        ("version", read["version"].native != "v3"),
        ("serial", read["serial_number"].native != serial),
        ("algorithm", read["signature"].dump() != shared.algorithm),
        ("issuer", read["issuer"].dump() != shared.issuer),
        ("subject", _subject(read) != _expected_subject(reserved)),
        ("validity", _validity(read) != period),
        ("key", key != reserved.spki),
        ("unique identifiers", bool(read["issuer_unique_id"] or read["subject_unique_id"])),
        *_reserved_faults(reserved, profile, issuer, at),
        ("extensions", _extensions(read) != _expected(reserved, profile, issuer)),
    ]


def _reserved_faults(
    reserved: Reservation, profile: Profile, issuer: Issuing, at: int
) -> list[tuple[str, bool]]:
    """What no reservation may say, whatever is asked for under it: who owns a worker writes the register."""
    serial, period = int(reserved.serial, 16), _period_of(profile, reserved, issuer)
    return [
        ("serial", not 0 < serial.bit_length() <= 159),
        ("validity", period != (reserved.not_before_at, reserved.not_after_at)),
        ("moment", not at - _OLD <= reserved.reserved_at <= at + _AHEAD),
        ("key", not _sound(reserved.spki, profile) or reserved.spki == spki_of(issuer.certificate)),
        ("names", _unfit_names(reserved, profile)),
        ("subject or names", not fits(profile, reserved.naming)),
    ]


def _unfit_names(reserved: Reservation, profile: Profile) -> bool:
    if profile.needs_names != bool(reserved.names):
        return True
    return any(_is_address(name) or "*" in name for name in reserved.names)


def _around(data: bytes) -> tuple[Any, tuple[int, int]]:
    """A list without its entries, which is short and is read as strictly as a certificate, and where they
    are."""
    head, entries, tail = _split(data)
    return _read(asn1_crl.TbsCertList, _sequence(head + tail), "list"), entries


def _scope(issuer: Issuing, shard: int) -> Any:
    """The scope of a shard as the other library reads it: its address, and nothing else."""
    return asn1_crl.IssuingDistributionPoint(
        {
            "distribution_point": asn1_crl.DistributionPointName(
                "full_name", [asn1.GeneralName("uniform_resource_identifier", issuer.site.shard(shard))]
            )
        }
    ).native


def _list_faults(
    read: Any, issuer: Issuing, last_number: int, at: int, shard: int | None
) -> list[tuple[str, bool]]:
    this, following = (_at(read[name]) for name in ("this_update", "next_update"))
    number = read.native  # only to be read once, for the extensions
    found = {each["extn_id"]: each for each in number["crl_extensions"] or ()}
    shared = _shared(issuer)
    identifier = found.get("authority_key_identifier", {}).get("extn_value") or {}
    listed = found.get("crl_number", {}).get("extn_value")
    # RFC 5280 section 5.2.5: critical, or a part would be taken for the whole.
    scoped = set() if shard is None else {_SCOPE}
    return [
        ("version", read["version"].native != "v2"),
        ("algorithm", read["signature"].dump() != shared.algorithm),
        ("issuer", read["issuer"].dump() != shared.issuer),
        ("moment", not at - _AHEAD <= this <= at + CRL_AHEAD),
        ("end", not this < following <= this + CRL_LIFETIME),
        ("extensions", set(found) != {"authority_key_identifier", "crl_number", *scoped}),
        ("critical", {name for name, each in found.items() if each["critical"]} != scoped),
        ("scope", shard is not None and found.get(_SCOPE, {}).get("extn_value") != _scope(issuer, shard)),
        ("key identifier", identifier.get("key_identifier") != shared.key_identifier),
        ("number", not isinstance(listed, int) or listed <= last_number),
    ]


def _read(kind: Any, data: bytes, what: str) -> Any:
    """What the bytes are, all of them, in the one encoding that DER has for it."""
    with _unreadable(what):
        read = kind.load(data, strict=True)
        read.native  # noqa: B018  parsed to its leaves
        same = read.copy().dump(force=True) == data
    if not same:
        raise Unsignable(f"what is to be signed is no {what} in DER")
    return read


@contextmanager
def _unreadable(what: str) -> Iterator[None]:
    """The parser reads some parts when they are looked at, and only then finds them to be none."""
    try:
        yield
    except Unsignable:
        raise
    except Exception as error:
        # The parser promises no error in particular, and what it cannot read is not signed.
        raise Unsignable(f"what is to be signed is no {what} ({type(error).__name__})") from None


@lru_cache(maxsize=16)
def _shared(issuer: Issuing) -> Shared:
    """What all certificates and lists of an issuer have; the AlgorithmIdentifier by the other library."""
    key, certificate = public_key_of(issuer.certificate), issuer.certificate
    kind = "rsa" if key.__class__.__name__.startswith("RSA") else "ec"
    digest = "sha384" if kind == "ec" and key.key_size > 256 else "sha256"  # type: ignore[union-attr]
    value: dict[str, Any] = {"algorithm": _ALGORITHMS[kind, digest]}
    if kind == "rsa":
        value["parameters"] = core.Null()
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    algorithm = bytes(SignedDigestAlgorithm(value).dump())
    return Shared(algorithm, certificate.subject.public_bytes(), own, issuer.site)


def _subject(read: Any) -> list[tuple[str, str]]:
    """(attribute, value) of a name with one in each part."""
    parts = [list(part) for part in read["subject"].chosen]
    if any(len(part) != 1 for part in parts):
        raise Unsignable("the certificate breaks its profile: subject")
    return [(each["type"].native, each["value"].native) for (each,) in parts]


def _expected_subject(reserved: Reservation) -> list[tuple[str, str]]:
    said = [(_ATTRIBUTES[name], value) for name, value in reserved.naming.subject]
    return said + ([("common_name", reserved.subject_cn)] if reserved.subject_cn else [])


def _validity(read: Any) -> tuple[int, int]:
    return _at(read["validity"]["not_before"]), _at(read["validity"]["not_after"])


def _at(time: Any) -> int:
    moment = time.native
    if not isinstance(moment, datetime) or moment.microsecond:
        raise Unsignable("the certificate breaks its profile: times")
    return int(moment.astimezone(UTC).timestamp())


def _period_of(profile: Profile, reserved: Reservation, issuer: Issuing) -> tuple[int, int]:
    try:
        return validity(
            profile, reserved.reserved_at, int(issuer.certificate.not_valid_after_utc.timestamp())
        )
    except (ConfigError, ValueError, OverflowError, OSError):
        raise Unsignable("the certificate breaks its profile: validity") from None


def _sound(key: bytes, profile: Profile) -> bool:
    try:
        parse_public_key(key, profile.key_kinds)
    except Unacceptable:
        return False
    return True


def _extensions(read: Any) -> list[tuple[str, bool, Any]]:
    found = [
        (each["extn_id"].native, bool(each["critical"].native), _plain(each["extn_value"].parsed.native))
        for each in read["extensions"]
    ]
    return sorted(found, key=lambda each: each[0])


def _expected(reserved: Reservation, profile: Profile, issuer: Issuing) -> list[tuple[str, bool, Any]]:
    """Every extension of such a certificate, whether it is critical, and its value."""
    own = _shared(issuer).key_identifier
    usages = _named(profile.key_usage, _KEY_USAGE, "key usage")
    purposes = [asn1.KeyPurposeId(each.dotted_string).native for each in profile.extended_key_usage]
    expected: list[tuple[str, bool, Any]] = [
        ("authority_key_identifier", False, _plain({"key_identifier": own, **_NO_AUTHORITY})),
        ("basic_constraints", True, _plain({"ca": False, "path_len_constraint": None})),
        ("extended_key_usage", False, _plain(purposes)),
        ("key_identifier", False, _plain(_key_id(reserved.spki))),
        ("key_usage", True, _plain(set(usages))),
    ]
    names = [*reserved.names, *(_alternative(*each) for each in reserved.naming.alternative)]
    if names:
        critical = not (reserved.subject_cn or reserved.naming.subject)
        expected.append(("subject_alt_name", critical, _plain(names)))
    if profile.policy:
        cps = {"policy_qualifier_id": "certification_practice_statement", "qualifier": profile.cps}
        policy = {"policy_identifier": profile.policy, "policy_qualifiers": [cps] if profile.cps else None}
        expected.append(("certificate_policies", False, _plain([policy])))
    told = issuer.site.of(int(reserved.serial, 16))
    if told.crl is not None:
        point = {"distribution_point": [told.crl], "reasons": None, "crl_issuer": None}
        expected.append(("crl_distribution_points", False, _plain([point])))
    access = [
        {"access_method": method, "access_location": url}
        for method, url in (("ocsp", told.ocsp), ("ca_issuers", told.issuer))
        if url is not None
    ]
    if access:
        expected.append(("authority_information_access", False, _plain(access)))
    return sorted(expected, key=lambda each: each[0])


def _alternative(kind: str, value: str) -> Any:
    return {"type_id": _UPN, "value": value} if kind == "upn" else value


_NO_AUTHORITY = {"authority_cert_issuer": None, "authority_cert_serial_number": None}


def _named(values: Any, table: dict[str, str], what: str) -> list[str]:
    try:
        return [table[each] for each in values]
    except KeyError:
        raise Unsignable(f"the certificate breaks its profile: {what}") from None


def _key_id(spki: bytes) -> bytes:
    """RFC 5280 section 4.2.1.2, method 1: SHA-1 of the bits of the key."""
    bits = PublicKeyInfo.load(spki, strict=True)["public_key"].contents[1:]
    return hashlib.sha1(bits, usedforsecurity=False).digest()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Values that compare: sets in order, mappings as pairs."""
    if isinstance(value, dict):
        return tuple(sorted((name, _plain(each)) for name, each in value.items()))
    if isinstance(value, (set, frozenset)):
        return ("set", *sorted(value))
    if isinstance(value, (list, tuple)):
        return ("list", *(_plain(each) for each in value))
    return value


# -- a list, which may be long -------------------------------------------------------------------------


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, where the content begins, where it ends) of a definite-length element within the data."""
    try:
        tag, first, begin = data[at], data[at + 1], at + 2
    except IndexError:
        raise Unsignable("what is to be signed is no list (it ends early)") from None
    size = first
    if first >= 0x80:
        count = first & 0x7F
        octets = data[begin : begin + count]
        size, begin = int.from_bytes(octets, "big"), begin + count
        if not 1 <= count <= 4 or len(octets) < count or octets[0] == 0 or size < 0x80:
            raise Unsignable("what is to be signed is no list in DER")
    if begin + size > len(data):
        raise Unsignable("what is to be signed is no list (it ends early)")
    return tag, begin, begin + size


def _split(data: bytes) -> tuple[bytes, tuple[int, int], bytes]:
    """What is before the entries of a list, where those begin and end, and what is behind them."""
    tag, at, end = _element(data, 0)
    if tag != 0x30 or end != len(data):
        raise Unsignable("what is to be signed is no list")
    begin = at
    for _ in range(5):  # version, algorithm, issuer, thisUpdate, nextUpdate
        _, _, at = _element(data, at)
    if at < end and data[at] == 0x30:
        _, first, last = _element(data, at)
        return data[begin:at], (first, last), data[last:end]
    return data[begin:at], (at, at), data[at:end]


def _sequence(content: bytes) -> bytes:
    if len(content) > 65_535:
        raise Unsignable("what is to be signed is no list")
    return tlv(SEQUENCE, content)


# -- an answer (OCSP) ----------------------------------------------------------------------------------


def inspect_answer(
    kept: bytes,
    standing: Standing,
    issuer: IssuerHashes,
    responder: x509.Certificate,
    period: tuple[int, int],
) -> None:
    """Raises `Unsignable` unless a signed answer says of one certificate what the register does, and
    nothing else.

    Read by cryptography's strict parser, which shares nothing with the hand that wrote it (`ca.ocsp`).
    """
    with _unreadable("answer"):
        read = ocsp.load_der_ocsp_response(response(kept, responder.public_bytes(Encoding.DER)))
        (single,) = read.responses
        faults = _answer_faults(read, single, standing, issuer, responder, period)
        wrong = [name for name, fault in faults if fault]
    if wrong:
        raise Unsignable(f"the answer is not what the register says: {wrong[0]}")


def _answer_faults(
    read: ocsp.OCSPResponse,
    single: ocsp.OCSPSingleResponse,
    standing: Standing,
    issuer: IssuerHashes,
    responder: x509.Certificate,
    period: tuple[int, int],
) -> list[tuple[str, bool]]:
    stopped = standing.status in (RevocationStatus.HELD, RevocationStatus.REVOKED)
    reason = HOLD if standing.status is RevocationStatus.HELD else standing.reason
    told = single.revocation_reason
    following, revoked = single.next_update_utc, single.revocation_time_utc
    return [
        ("serial", single.serial_number != int(standing.serial, 16)),
        ("issuer", (single.issuer_name_hash, single.issuer_key_hash) != (issuer.name, issuer.key)),
        ("hash", single.hash_algorithm.name != issuer.hash),
        ("responder", read.responder_key_hash != key_identifier(responder)),
        ("status", single.certificate_status.name != _STATUSES[standing.status]),
        ("moment", read.produced_at_utc != single.this_update_utc),
        ("period", (_seconds(single.this_update_utc), following and _seconds(following)) != period),
        ("revocation", (revoked and _seconds(revoked)) != (standing.revoked_at if stopped else None)),
        ("reason", (told and told.name) != (_REASON_NAMES[reason] if stopped and reason else None)),
        ("extensions", bool(list(read.extensions) or list(read.single_extensions))),
    ]


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


_STATUSES = {
    RevocationStatus.GOOD: "GOOD",
    RevocationStatus.HELD: "REVOKED",
    RevocationStatus.REVOKED: "REVOKED",
    RevocationStatus.UNKNOWN: "UNKNOWN",
}
#: As cryptography calls them.
_REASON_NAMES = {each.code: x509.ReasonFlags(each.name).name for each in REASONS.values()}
