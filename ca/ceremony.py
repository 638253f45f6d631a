"""A root on a machine without network: its key under one that people share M of N, and what it signs.

The folder of such a root, which holds nothing that opens without M of the shares:

ceremony.json     what the root is, who holds shares, and everything that it ever signed
root.pem          its certificate
root.sealed       its private key
transcript-*.txt  what was done, a file for each ceremony

A share is 33 words (SLIP-39); it is shown once, and stands nowhere but on its holder's paper.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.share import Share

from ca.certificates import build, key_identifier, new_serial, root_of, serial_hex, to_pem, validity
from ca.crls import OF_CAS, build_crl
from ca.errors import ConfigError, Unacceptable
from ca.files import make_private_directory, read_file, write_private, write_public
from ca.keys import PrivateKey, from_pkcs8, generate, parse_public_key, spki, spki_of, to_pkcs8
from ca.profiles import CROSS, DAY, ISSUING, Profile
from ca.publication import Places, above
from ca.revocation import REASONS, RevokedEntry
from ca.sealing import BrokenSeal, Vault
from ca.signing import FileSigner, Signer

RECORD, CERTIFICATE, SEALED = "ceremony.json", "root.pem", "root.sealed"
REHEARSAL = "REHEARSAL "
"""Before the name of a root that people practise with, so that nothing it signs is taken for earnest."""
TRANSCRIPTS = "transcript-*.txt"
_FORMAT = 1
_PURPOSE = "ceremony root"
_MOST_SHARES = 16
#: Why the root may revoke what it signed (RFC 5280 section 5.3.1).
CA_REASONS = ("unspecified", "keyCompromise", "cACompromise", "superseded", "cessationOfOperation")


@dataclass(frozen=True)
class Signed:
    """A certificate that the root signed. ``kind`` is the profile's name."""

    serial: str
    kind: str
    subject: str
    at: int


@dataclass(frozen=True)
class Revoked:
    """One of them that the root's list names."""

    serial: str
    reason: int
    at: int


@dataclass(frozen=True)
class InToken:
    """Where a key is that nobody has shares of: in which token (PKCS#11), and what it is called there."""

    module: str
    label: str
    serial: str
    key: str


@dataclass(frozen=True)
class Record:
    """What is known of a root without its key. ``set_id`` is the number that all shares of one set carry;
    of a root with a ``token`` there are none."""

    needed: int
    holders: tuple[str, ...]
    set_id: int
    created_at: int
    rehearsal: bool = False
    revocation_url: str = ""
    """Base address of the site that shows the root's list and certificate; '' for none."""
    crl_number: int = 0
    signed: tuple[Signed, ...] = ()
    revoked: tuple[Revoked, ...] = ()
    token: InToken | None = None


@dataclass(frozen=True)
class Root:
    """A root whose key lies open in this process."""

    folder: Path
    record: Record
    certificate: x509.Certificate
    signer: Signer = field(repr=False)


# -- shares --------------------------------------------------------------------------------------------


def check_sharing(needed: int, holders: Sequence[str]) -> None:
    """`ConfigError` unless at least two people are needed, and each of those who are named is another one."""
    if len(set(holders)) != len(holders) or not all(each.strip() for each in holders):
        raise ConfigError("each share has a holder of its own; give each --holder another name")
    if not 2 <= needed <= len(holders) <= _MOST_SHARES:
        raise ConfigError(
            f"{needed} of {len(holders)} shares are no sharing; name 2 to {_MOST_SHARES} people with "
            "--holder, and with --needed how many of them it takes, 2 at least"
        )


def check_shared(folder: Path, record: Record) -> None:
    """`ConfigError` for a root of which nobody has shares."""
    if record.token is not None:
        raise ConfigError(
            f"the key of {folder} is in a token, and nobody has shares of it; see: sekisho ceremony show "
            f"{folder}"
        )


def check_share(words: str, record: Record | None = None, before: Sequence[str] = ()) -> int:
    """Whose share it is: a position among the holders. `ConfigError` for one that was misspelt, belongs to
    another root, or was given already."""
    try:
        share = Share.from_mnemonic(_normal(words))
        given = {Share.from_mnemonic(_normal(each)).index for each in before}
    except (MnemonicError, ValueError) as error:
        raise ConfigError(f"this is no share ({error}); read the words from the paper again") from None
    if record is not None and share.identifier != record.set_id:
        raise ConfigError("this share is another root's; bring one of this root's")
    if share.index in given:
        raise ConfigError("this share was given already; bring another one")
    if record is not None and share.index >= len(record.holders):
        raise ConfigError("this share is another root's; bring one of this root's")
    return int(share.index)


def _normal(words: str) -> str:
    return " ".join(words.lower().split())


def _key_of(shares: Sequence[str]) -> bytes:
    try:
        return bytes(combine_mnemonics(map(_normal, shares)))
    except (MnemonicError, ValueError) as error:
        raise ConfigError(
            f"these shares do not belong together ({error}); begin again with the papers"
        ) from None


# -- the root ------------------------------------------------------------------------------------------


def create(
    folder: Path,
    subject: x509.Name,
    kind: str,
    needed: int,
    holders: Sequence[str],
    at: int,
    *,
    revocation_url: str = "",
    rehearsal: bool = False,
) -> tuple[Root, tuple[str, ...]]:
    """Makes a root in a new folder. Also returns the shares, in the order of their holders: the only copy.

    Raises `ConfigError`; whoever is not sure that every share was written down deletes the folder.
    """
    check_sharing(needed, holders)
    Places(revocation_url).check()
    check_new(folder)
    key = generate(kind)
    signer = FileSigner.of(key)
    der = root_of(subject, key.public_key(), signer, at)
    record = Record(needed, tuple(holders), 0, at, rehearsal, revocation_url)
    record, shares = _share(folder, record, to_pem(der), key)
    return Root(folder, record, x509.load_der_x509_certificate(der), signer), shares


def reshare(
    folder: Path, shares: Sequence[str], target: Path, needed: int, holders: Sequence[str]
) -> tuple[str, ...]:
    """The same root in a new folder, its key under a new key with shares for other people: the only copy.

    The folder before it stays as it is: whoever is sure of the new shares destroys it, and its shares.
    `ConfigError` as of `create` and `open_root`.
    """
    check_sharing(needed, holders)
    check_new(target)
    record, certificate, key = _opened(folder, shares)
    again = replace(record, needed=needed, holders=tuple(holders))
    return _share(target, again, certificate.public_bytes(serialization.Encoding.PEM), key)[1]


def check_new(folder: Path) -> None:
    """`ConfigError` unless there is nothing in it but transcripts."""
    if folder.exists() and any(not each.match(TRANSCRIPTS) for each in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; name a new folder")


def _share(folder: Path, record: Record, pem: bytes, key: PrivateKey) -> tuple[Record, tuple[str, ...]]:
    """Writes a root's folder, its key under a random one; returns the shares of that."""
    sealing_key = secrets.token_bytes(32)
    (shares,) = generate_mnemonics(1, [(record.needed, len(record.holders))], sealing_key)
    record = replace(record, set_id=Share.from_mnemonic(shares[0]).identifier)
    make_private_directory(folder)
    write_private(folder / SEALED, Vault(sealing_key).seal(_PURPOSE, to_pkcs8(key)))
    write_public(folder / CERTIFICATE, pem)
    write_record(folder, record)
    return record, tuple(shares)


def look(folder: Path) -> tuple[Record, x509.Certificate]:
    """What is in a root's folder, without its key. `ConfigError` if that is none."""
    file = folder / RECORD
    if not file.exists():
        raise ConfigError(f"{folder} is no root's folder; make one: sekisho ceremony root {folder}")
    try:
        document = json.loads(read_file(file, "root's record"))
        if document.pop("format") != _FORMAT:
            raise ConfigError(f"{file} is of another version; use the sekisho that made it")
        record = Record(
            **{
                **document,
                "holders": tuple(document["holders"]),
                "signed": tuple(Signed(**each) for each in document["signed"]),
                "revoked": tuple(Revoked(**each) for each in document["revoked"]),
                "token": InToken(**document["token"]) if document.get("token") else None,
            }
        )
        certificate = x509.load_pem_x509_certificate(read_file(folder / CERTIFICATE, "root's certificate"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder} is damaged; use the copy of it") from error
    return record, certificate


def open_root(folder: Path, shares: Sequence[str]) -> Root:
    """The root with its key, from as many shares as it takes and no more. `ConfigError` otherwise."""
    record, certificate, key = _opened(folder, shares)
    return Root(folder, record, certificate, FileSigner.of(key))


def _opened(folder: Path, shares: Sequence[str]) -> tuple[Record, x509.Certificate, PrivateKey]:
    record, certificate = look(folder)
    check_shared(folder, record)
    if len(shares) != record.needed:
        raise ConfigError(f"{len(shares)} shares were given; it takes {record.needed}")
    for position, each in enumerate(shares):
        check_share(each, record, shares[:position])
    try:
        opened = Vault(_key_of(shares)).open(_PURPOSE, read_file(folder / SEALED, "root's key"))
        key = from_pkcs8(opened)
    except (BrokenSeal, ValueError):
        raise ConfigError(
            f"{folder / SEALED} was altered, or is another root's; use the copy of it"
        ) from None
    if spki(key.public_key()) != spki_of(certificate):
        raise ConfigError(f"{folder / CERTIFICATE} is another root's; use the copy of it")
    return record, certificate, key


# -- what it signs -------------------------------------------------------------------------------------


def read_request(data: bytes) -> x509.CertificateSigningRequest:
    """A request for an issuing CA (PKCS#10, PEM). `ConfigError` for a key or name that is not taken."""
    try:
        request = x509.load_pem_x509_csr(data)
        parse_public_key(spki_of(request), ISSUING.key_kinds)
        sound = request.is_signature_valid
    except (ValueError, Unacceptable, TypeError) as error:
        raise ConfigError(f"this is no request of an issuing CA ({error}); bring the file again") from None
    if not sound:
        raise ConfigError("the request was altered (its signature is wrong); bring the file again")
    _check_subject(request.subject)
    return request


def read_other_root(data: bytes) -> x509.Certificate:
    """Another root (PEM) that ours is to vouch for. `ConfigError` unless it is one."""
    try:
        other = x509.load_pem_x509_certificate(data)
        other.verify_directly_issued_by(other)
        parse_public_key(spki_of(other), CROSS.key_kinds)
        basic = other.extensions.get_extension_for_class(x509.BasicConstraints).value
        own = other.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        if not basic.ca or own != x509.SubjectKeyIdentifier.from_public_key(other.public_key()):
            raise ValueError("it is no CA, or has a key identifier of another kind")
    except Exception as error:
        # verify_directly_issued_by promises no error in particular.
        raise ConfigError(
            f"this is no root's certificate ({error or type(error).__name__}); bring another"
        ) from None
    _check_subject(other.subject)
    return other


def sign_issuing(root: Root, request: x509.CertificateSigningRequest, at: int) -> tuple[Root, bytes]:
    """An issuing CA's certificate (DER), recorded before it is returned. Everything but the name and the key
    is ours to say, whatever else the request asks for."""
    key = parse_public_key(spki_of(request), ISSUING.key_kinds)
    return _sign(root, ISSUING, request.subject, key, at, root.certificate.not_valid_after_utc.timestamp())


def sign_cross(root: Root, other: x509.Certificate, at: int) -> tuple[Root, bytes]:
    """A certificate (DER) by which who trusts our root trusts another root as well, until the first of both
    ends."""
    if spki_of(other) == spki_of(root.certificate):
        raise ConfigError("this is the root itself; a cross-certificate is for another one")
    key = parse_public_key(spki_of(other), CROSS.key_kinds)
    until = min(root.certificate.not_valid_after_utc, other.not_valid_after_utc).timestamp()
    return _sign(root, CROSS, other.subject, key, at, until)


def sign_list(root: Root, revoke: Mapping[str, int], at: int, days: int) -> tuple[Root, bytes]:
    """The root's own CRL (DER), good for so many days, with further serials -> reasons."""
    known = {each.serial for each in root.record.signed}
    revoked = {each.serial: each for each in root.record.revoked}
    for serial, reason in revoke.items():
        if serial not in known:
            raise ConfigError(
                f"this root signed no certificate {serial}; see: sekisho ceremony show {root.folder}"
            )
        revoked.setdefault(serial, Revoked(serial, reason, at))
    number = root.record.crl_number + 1
    record = replace(root.record, crl_number=number, revoked=tuple(revoked.values()))
    # On disk first: a number is never given to two lists.
    write_record(root.folder, record)
    entries = [RevokedEntry(each.serial, each.at, each.reason) for each in record.revoked]
    data = build_crl(root.certificate, root.signer, entries, number, at, at + days * DAY, OF_CAS)
    return replace(root, record=record), data


def serial_of(record: Record, named: str) -> str:
    """The serial of what the root signed, from that serial in any spelling, or from the CN of the one CA that
    has it. `ConfigError` for neither, and for a name that several certificates have."""
    serial = named.strip().lower().replace(":", "")
    found = [each.serial for each in record.signed if serial == each.serial or named == _common_name(each)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{named!r} is the name of {len(found)}; write one of {', '.join(found)}")
    known = ", ".join(f"{_common_name(each)} ({each.serial})" for each in record.signed) or "none"
    raise ConfigError(f"this root signed no certificate {named}; it signed: {known}")


def _common_name(signed: Signed) -> str:
    subject = x509.Name.from_rfc4514_string(signed.subject)
    return str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def list_pem(der: bytes) -> bytes:
    """A CRL (DER) as PEM."""
    return x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)


def reason_of(word: str) -> int:
    """The code of a reason's name. `ConfigError` for one that is not a CA's."""
    if word not in CA_REASONS:
        raise ConfigError(f"{word!r} is no reason; write one of {', '.join(CA_REASONS)}")
    return next(code for code, row in REASONS.items() if row.name == word)


def _sign(
    root: Root, profile: Profile, subject: x509.Name, key: Any, at: int, until: float
) -> tuple[Root, bytes]:
    serial = new_serial()
    name = subject.rfc4514_string()
    record = replace(
        root.record, signed=(*root.record.signed, Signed(serial_hex(serial), profile.name, name, at))
    )
    write_record(root.folder, record)
    period = validity(profile, at, int(until))
    told = above(record.revocation_url, key_identifier(root.certificate).hex())
    der = build(profile, subject, key, (), serial, period, root.certificate, root.signer, told)
    return replace(root, record=record), der


def _check_subject(subject: x509.Name) -> None:
    taken = {x509.NameOID.COUNTRY_NAME, x509.NameOID.ORGANIZATION_NAME, x509.NameOID.COMMON_NAME}
    kinds = [each.oid for each in subject]
    if x509.NameOID.COMMON_NAME not in kinds or not set(kinds) <= taken or len(set(kinds)) != len(kinds):
        raise ConfigError(
            f"a CA's name has one CN, and at most a C and an O, not {subject.rfc4514_string()!r}; "
            "ask for another name"
        )


def write_record(folder: Path, record: Record) -> None:
    """What is known of a root, on disk when this returns."""
    document = {"format": _FORMAT, **asdict(record)}
    write_private(folder / RECORD, json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
