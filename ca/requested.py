"""An issuing CA whose root is on another machine: asked for with one file, and taken in with another.

The key is made here and never leaves; the request (PKCS#10) goes to the root, which says what the certificate
is (`ca.ceremony`). What comes back is compared with what a root of ours makes, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ca import cross
from ca.authority import Issuer
from ca.certificates import key_identifier, public_key_of, to_be_signed, to_pem
from ca.crls import ALGORITHMS, OF_CAS, kind_of, number_and_time
from ca.datadir import (
    ROOT_LIST,
    Names,
    audience_of,
    begun,
    check_kind,
    load,
    next_subject,
    read_certificate,
    read_marker,
    row_of,
    subject_of,
    write_marker,
)
from ca.der import BIT_STRING, SEQUENCE, tlv
from ca.errors import ConfigError, Unacceptable
from ca.files import Snapshot, write_public
from ca.keyplaces import Made, Maker, in_files, stem_of
from ca.keys import spki
from ca.profiles import ISSUING, ROOT, Audience
from ca.publication import NO_PLACES, Places, above, base_of, list_path
from ca.sealing import RFC9106_SECOND, PassphraseCost, check_passphrase
from ca.signing import ToSign, key_id, signature_now
from ca.tokens import Tokens


@dataclass(frozen=True)
class Taken:
    """What came from a root and is in its place now. ``name``: a CA's, or a list's number."""

    kind: Literal["issuing", "list", "cross"]
    id: str
    name: str


def create_below(
    path: Path,
    passphrase: str,
    at: int,
    root: x509.Certificate,
    names: Names,
    issuing_key: str = "ec-p256",
    site: Places = NO_PLACES,
    cost: PassphraseCost = RFC9106_SECOND,
    maker: Maker | None = None,
) -> Path:
    """A data directory below a root that is elsewhere; what is missing is the issuing CA's certificate.

    Returns the file with the request for it. `ConfigError` as of `ca.datadir.create`.
    """
    check_passphrase(passphrase)
    check_kind(ISSUING, issuing_key)
    site.check()
    issuing = subject_of(names, names.issuing)
    with begun(path, passphrase, names, at, cost) as (keys, marker):
        write_public(path / "ca/root.pem", to_pem(root.public_bytes(serialization.Encoding.DER)))
        asked = make_request(path, maker or in_files(path, keys), issuing, issuing_key, site)
        marker["requested"].append(asked)
    return _request_file(path, asked["id"])


def read_root(data: bytes, at: int) -> x509.Certificate:
    """A root's certificate (PEM) that is to stand above what is here. `ConfigError` for what is none."""
    try:
        root = x509.load_pem_x509_certificate(data)
        root.verify_directly_issued_by(root)
        period = (int(root.not_valid_before_utc.timestamp()), int(root.not_valid_after_utc.timestamp()))
        made = (ROOT, root.subject, public_key_of(root), (), root.serial_number, period, None)
        if root.tbs_certificate_bytes != to_be_signed(*made):
            raise ValueError("it says something else than a root of sekisho")
    except Exception as error:
        # verify_directly_issued_by promises no error in particular.
        raise ConfigError(
            f"this is no root's certificate ({error or type(error).__name__}); make one: "
            "sekisho ceremony root"
        ) from None
    if not period[0] <= at < period[1]:
        raise ConfigError("this root is not valid now; compare the clocks of both machines")
    return root


def request(
    path: Path,
    passphrase: str,
    name: str,
    key_kind: str,
    revocation_url: str | None,
    site: Places,
    maker: Maker | None = None,
    tokens: Tokens | None = None,
    audience: Audience = Audience.CLIENTS,
) -> Path:
    """Makes the key of a further issuing CA, and the request that goes to the root. Raises `ConfigError`.

    Asked once more for the same name, it is the same request. ``revocation_url``: None for that of the CA
    before.
    """
    check_kind(ISSUING, key_kind)
    opened = load(path, passphrase, tokens)
    marker = read_marker(path)
    for row in marker["requested"]:
        if row["name"] == name:
            return _request_file(path, row["id"])
    subject = next_subject(opened.authority, name)
    before = opened.authority.current
    places = Places(base_of(before.site) if revocation_url is None else revocation_url, site.crl, site.shards)
    places.check()
    assert opened.keys is not None
    asked = make_request(path, maker or in_files(path, opened.keys), subject, key_kind, places)
    asked["for"] = audience.value
    write_marker(path, {**marker, "requested": [*marker["requested"], asked]})
    return _request_file(path, asked["id"])


def requests(path: Path) -> list[Path]:
    """The requests that the root has not answered yet."""
    return [_request_file(path, row["id"]) for row in read_marker(path, waiting=True)["requested"]]


def make_request(path: Path, maker: Maker, subject: x509.Name, kind: str, places: Places) -> dict[str, Any]:
    """A new key in its place, and the request beside it. Returns the marker's row of it."""
    made = maker("issuing", kind)
    asked, pem = key_id(made.public), _request_of(subject, made)
    made.keep(stem_of(asked))
    write_public(_request_file(path, asked), pem)
    name = str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    return {"id": asked, "name": name, "base": places.base, "crl": places.crl, "shards": places.shards}


def _request_of(subject: x509.Name, made: Made) -> bytes:
    """A request (PKCS#10, RFC 2986 section 4, PEM) signed by whoever holds the key, which may be a token."""
    info = tlv(SEQUENCE, b"\x02\x01\x00", subject.public_bytes(), spki(made.public), b"\xa0\x00")
    asked = ToSign(key_id(made.public), "own", info)
    signed = tlv(BIT_STRING, b"\x00", signature_now(made.signer, made.public, asked))
    der = tlv(SEQUENCE, info, tlv(SEQUENCE, ALGORITHMS[kind_of(made.public)]), signed)
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM)


def accept(path: Path, data: bytes, at: int) -> Taken:
    """Takes in what the root signed (PEM): an issuing CA's certificate, which issues from the next reload on,
    or the root's list. `ConfigError` for anything else; then nothing has changed."""
    root = read_certificate(path / "ca/root.pem", Snapshot())
    if b"-----BEGIN X509 CRL-----" in data:
        return _accept_list(path, root, data, at)
    if cross.is_meant(root, data):
        other = cross.accept(path, root, data, at)
        return Taken("cross", key_identifier(other).hex(), other.subject.rfc4514_string())
    return _accept_issuing(path, root, data, at)


def _accept_issuing(path: Path, root: x509.Certificate, data: bytes, at: int) -> Taken:
    try:
        certificate = x509.load_pem_x509_certificate(data)
        asked = key_identifier(certificate).hex()
        certificate.verify_directly_issued_by(root)
    except Exception as error:
        # verify_directly_issued_by promises no error in particular.
        raise ConfigError(
            "this is not a certificate that this root signed "
            f"({error or type(error).__name__}); compare its SHA-256 with the transcript"
        ) from None
    marker = read_marker(path, waiting=True)
    rows = {row["id"]: row for row in marker["requested"]}
    if any(row["id"] == asked for row in marker["issuers"]):
        raise ConfigError("this certificate is in its place already; see: sekisho ca list")
    row = rows.pop(asked, None)
    if row is None:
        raise ConfigError("nobody here asked for this certificate; ask for one: sekisho ca request NAME")
    _check_made(certificate, root, row, at)
    der = certificate.public_bytes(serialization.Encoding.DER)
    places = Places(row["base"], row["crl"], row["shards"])
    chain = (root.public_bytes(serialization.Encoding.DER),)
    issuer = Issuer(asked, certificate, chain, places.of(asked), audience_of(row))
    write_public(path / f"{stem_of(asked)}.pem", to_pem(der))
    issuers = [row_of(issuer), *marker["issuers"]]
    write_marker(path, {**marker, "issuers": issuers, "requested": list(rows.values())})
    _request_file(path, asked).unlink(missing_ok=True)
    return Taken("issuing", asked, row["name"])


def _check_made(
    certificate: x509.Certificate, root: x509.Certificate, row: Mapping[str, Any], at: int
) -> None:
    """`ConfigError` unless it is, to the byte, what a root of ours makes of the request."""
    period = (
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    try:
        expected = to_be_signed(
            *(
                ISSUING,
                certificate.subject,
                public_key_of(certificate),
                (),
                certificate.serial_number,
                period,
            ),
            root,
            above(_base_of(certificate, root), key_identifier(root).hex()),
        )
    except (ValueError, Unacceptable) as error:
        raise ConfigError(
            f"this is no issuing CA's certificate ({error}); have the root sign the request"
        ) from None
    if certificate.tbs_certificate_bytes != expected or [each.value for each in names] != [row["name"]]:
        raise ConfigError(
            "this certificate says something else than such a root makes of a request; "
            "have the root sign the request again: sekisho ceremony sign"
        )
    if not period[0] <= at < period[1]:
        raise ConfigError("this certificate is not valid now; compare the clocks of both machines")


def _base_of(certificate: x509.Certificate, root: x509.Certificate) -> str:
    """Where it says that the root's list is, without the list's own path."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ""
    names = [name.value for point in found for name in point.full_name or ()]
    return str(names[0]).removesuffix(list_path(key_identifier(root).hex())) if names else ""


def _accept_list(path: Path, root: x509.Certificate, data: bytes, at: int) -> Taken:
    try:
        listed = x509.load_pem_x509_crl(data)
        ours = listed.issuer == root.subject and listed.is_signature_valid(public_key_of(root))
        point = listed.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
        der = listed.public_bytes(serialization.Encoding.DER)
        number, since = number_and_time(der)
        until = listed.next_update_utc
    except (ValueError, x509.ExtensionNotFound) as error:
        raise ConfigError(
            f"this is no list of this root ({error}); have it signed: sekisho ceremony crl"
        ) from None
    if not ours or point != OF_CAS or until is None:
        raise ConfigError("this is no list of this root; have it signed: sekisho ceremony crl")
    if not since <= at < int(until.timestamp()):
        raise ConfigError("this list is not valid now; compare the clocks of both machines")
    last = Snapshot().find(path / ROOT_LIST, "revocation list")
    before = number_and_time(last) if last is not None else (0, 0)
    if number <= before[0] or since < before[1]:
        raise ConfigError(
            f"this list has number {number}, and number {before[0]} is here; have a newer one signed: "
            "sekisho ceremony crl"
        )
    write_public(path / ROOT_LIST, der)
    return Taken("list", key_identifier(root).hex(), str(number))


def _request_file(path: Path, asked: str) -> Path:
    return path / f"{stem_of(asked)}.csr"
