"""The data directory: made whole or not at all, and opened with one passphrase.

sekisho.json                  written last; without it the directory is not one of ours
vault.json                    the data keys, wrapped under the passphrase
ca/root.{pem,key}             signs issuing CAs only; the key file may be kept elsewhere
ca/root.crl                   the root's revocation list
ca/cross.pem                  by which other roots vouch for it, if any do
ca/issuing-<id>.{pem,key}     one per issuing CA, each key sealed for itself
servers/ca.{pem,key}          the local CA for our own hosts, with no tie to the client root
window/                       keys that end (`ca.epochs`), in no backup
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ca import cross, emergency, publication
from ca.authority import Authority, Issuer
from ca.certificates import (
    build,
    distinguished_name,
    key_identifier,
    new_serial,
    root_of,
    serial_hex,
    to_pem,
    validity,
)
from ca.crls import OF_CAS, build_crl, number_and_time
from ca.errors import ConfigError, Unacceptable
from ca.files import (
    Snapshot,
    make_private_directory,
    name_of,
    owner_of,
    sync_directory,
    write_private,
    write_public,
)
from ca.keyplaces import Maker, holder, in_files, open_key, place_of, responder_of, save, stem_of
from ca.keys import PrivateKey, parse_public_key, spki_of
from ca.profiles import ISSUING, ROOT, ROOT_LIST_LIFETIME, Audience, Profile
from ca.publication import NO_PLACES, Places, above
from ca.revocation import REASONS, RevokedEntry, reason_code
from ca.sealing import (
    RFC9106_SECOND,
    PassphraseCost,
    Vault,
    check_passphrase,
    create_vaults,
    open_vaults,
)
from ca.signing import Elsewhere, FileSigner, Keyring, Signer
from ca.tokens import Tokens, no_tokens

FORMAT = 1
VAULT = "vault.json"
MARKER = "sekisho.json"
_UNFINISHED = "UNFINISHED"
ROOT_LIST = "ca/root.crl"
#: What is there when the issuing keys are in a directory of the signer's own (`ca.apart`).
APART = "ca/apart"
#: In the marker's row of an issuing CA: since when it is put away.
DISCARDED = "discarded_at"
_OURS = frozenset({_UNFINISHED, VAULT, "ca", "servers"})


@dataclass(frozen=True)
class Names:
    """Subjects of the CAs that `create` makes; `organization` and `country` may be empty."""

    issuing: str = "CORPORATE-PENSION BUSINESS SERVICE CA-G4"
    root: str = "CORPORATE-PENSION BUSINESS SERVICE ROOT CA"
    server: str = "sekisho local server CA"
    organization: str = "Corporate-Pension Business Service Co., Ltd."
    country: str = "JP"


@dataclass(frozen=True)
class DataDir:
    """An opened data directory."""

    path: Path
    vault: Vault
    authority: Authority
    root: x509.Certificate
    server_ca: Issuer
    server_signer: Signer = field(repr=False)
    created_at: int
    keys: Vault | None = field(repr=False, default=None)
    """What the issuing CAs' keys are sealed under; None where another process has them."""
    tokens: Tokens = field(repr=False, default_factory=no_tokens)
    """The keys that are in no file."""

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    @property
    def server_ca_pem(self) -> bytes:
        """What a client must trust to reach our own hosts when the local server CA made their names."""
        return to_pem(self.server_ca.der)


def create(
    path: Path,
    passphrase: str,
    at: int,
    names: Names = Names(),
    issuing_key: str = "ec-p256",
    root_key: str = "ec-p384",
    site: Places = NO_PLACES,
    cost: PassphraseCost = RFC9106_SECOND,
    maker: Maker | None = None,
    tokens: Tokens | None = None,
) -> DataDir:
    """Makes a data directory at `path` (0700) with a root, an issuing CA beneath it and a server CA.

    ``maker``: where the keys of root and issuing CA are made; None: in files of the directory's.
    Refuses a directory that holds anything, except what an interrupted `create` left behind: that was
    never used and is made anew. Raises `ConfigError`, for a bad name or address before anything is made.
    """
    check_passphrase(passphrase)
    check_kind(ROOT, root_key)
    check_kind(ISSUING, issuing_key)
    site.check()
    own, issuing = (subject_of(names, each) for each in (names.root, names.issuing))
    with begun(path, passphrase, names, at, cost) as (keys, marker):
        make = maker or in_files(path, keys)
        root, signer = _make_root(path, make, "ca/root", own, root_key, at)
        _make_root_list(path, root, signer, at)
        issuer = _make_issuing(path, make, root, signer, issuing, issuing_key, at, site)
        marker["issuers"] = [row_of(issuer)]
    return load(path, passphrase, tokens)


@contextmanager
def begun(
    path: Path, passphrase: str, names: Names, at: int, cost: PassphraseCost
) -> Iterator[tuple[Vault, dict[str, Any]]]:
    """A new directory around what the caller makes with the vault of keys, and tells the marker of."""
    _claim(path)
    vaults = create_vaults(path / VAULT, passphrase, cost)
    marker: dict[str, Any] = {"format": FORMAT, "created_at": at, "issuers": [], "requested": []}
    yield vaults.keys, marker
    own, in_reach = subject_of(names, names.server), in_files(path, vaults.gateway)
    _make_root(path, in_reach, "servers/ca", own, "ec-p256", at)
    emergency.write(path, vaults.keys, emergency.Stop(False, "", at))
    write_marker(path, marker)
    (path / _UNFINISHED).unlink()
    sync_directory(path)


def load(path: Path, passphrase: str, tokens: Tokens | None = None) -> DataDir:
    """Opens the data directory at `path`. `ConfigError` for whatever is missing, altered or locked."""
    read_marker(path)
    check_owner(path)
    vaults = open_vaults(path / VAULT, passphrase)
    signer = Elsewhere(f"as the signer's user alone, by {path / APART}") if (path / APART).exists() else None
    return read(path, vaults.gateway, Snapshot(), keys=vaults.keys, signer=signer, tokens=tokens)


def read(
    path: Path,
    vault: Vault,
    files: Snapshot,
    *,
    keys: Vault | None = None,
    signer: Signer | None = None,
    turns: Callable[[], int] = lambda: 0,
    tokens: Tokens | None = None,
) -> DataDir:
    """The same with vaults that are open already: what was added since, a new issuing CA, is in it.

    The issuing keys are opened by ``keys`` or are in ``tokens``, of which nothing is asked yet; or they are
    ``signer``'s, in another process: then no file of a key is looked at. ``turns``: how often the emergency
    stop was turned, by what else is known of that.
    """
    tokens = tokens or no_tokens()
    marker, root, issuers = _issuers_of(path, files)
    if signer is None:
        assert keys is not None
        vault_of_keys = keys

        def check() -> None:
            emergency.check(path, vault_of_keys, turns())

        signer = _signer_of(path, keys, issuers, files, tokens, check)
    server_certificate = read_certificate(path / "servers/ca.pem", files)
    server_ca = Issuer(_key_id(server_certificate), server_certificate)
    server_key = open_key(path, vault, "servers/ca", server_certificate, files)
    return DataDir(
        path,
        vault,
        Authority(
            issuers,
            signer,
            files.find(path / ROOT_LIST, "revocation list") or b"",
            cross.read(path, files),
        ),
        root,
        server_ca,
        FileSigner({server_ca.issuer_id: server_key}),
        int(marker["created_at"]),
        keys,
        tokens,
    )


def authority_of(path: Path, keys: Vault, tokens: Tokens) -> Authority:
    """The issuing CAs with their keys, for the process that looks after the emergency stop by itself."""
    files = Snapshot()
    issuers = issuers_of(path, files)
    return Authority(issuers, _signer_of(path, keys, issuers, files, tokens, lambda: None))


def issuers_of(path: Path, files: Snapshot) -> tuple[Issuer, ...]:
    """The issuing CAs, the newest first, by what anybody may read. Raises `ConfigError`."""
    return _issuers_of(path, files)[2]


def add_issuer(
    path: Path,
    passphrase: str,
    common_name: str,
    at: int,
    key_kind: str = "ec-p256",
    site: Places = NO_PLACES,
    maker: Maker | None = None,
    tokens: Tokens | None = None,
    audience: Audience = Audience.CLIENTS,
) -> DataDir:
    """Makes a further issuing CA under the same root (G4 to G5), the newest of those that are returned.

    When it issues the register says (`ca.generations`). The root's key has to be in its place for this.
    Raises `ConfigError`.
    """
    check_kind(ISSUING, key_kind)
    site.check()
    opened = load(path, passphrase, tokens)
    subject = next_subject(opened.authority, common_name)
    signer = _root_signer(opened)
    assert opened.keys is not None
    make = maker or in_files(path, opened.keys)
    issuer = _make_issuing(path, make, opened.root, signer, subject, key_kind, at, site, audience)
    _make_root_list(path, opened.root, signer, at)
    marker = read_marker(path)
    write_marker(path, {**marker, "issuers": [row_of(issuer), *marker["issuers"]]})
    return load(path, passphrase, tokens)


def discard(path: Path, issuer_id: str, at: int) -> None:
    """Puts an issuing CA away that is over: from the next reading on nobody wants its key. What else is here
    of it stays, its certificate among that. Done again it changes nothing. The register says so before this
    (`ca.generations`), and to an older copy of the marker again (`gateway.serving.standing`)."""
    marker = read_marker(path)
    rows = [{DISCARDED: at, **row} if row["id"] == issuer_id else row for row in marker["issuers"]]
    write_marker(path, {**marker, "issuers": rows})


def discarded_places(path: Path) -> frozenset[str]:
    """The places of keys, as settings name them, that nobody wants any more."""
    if not (path / MARKER).exists():
        return frozenset()
    gone = [row["id"] for row in read_marker(path, waiting=True)["issuers"] if DISCARDED in row]
    return frozenset(each for name in gone for each in (place_of(stem_of(name)), responder_of(name)))


def next_subject(authority: Authority, common_name: str) -> x509.Name:
    """The name of a further issuing CA: that of the one before it, with another CN. `ConfigError` for a CN
    that is taken, or none."""
    if any(issuer.common_name == common_name for issuer in authority.issuers):
        raise ConfigError(
            f"there already is an issuing CA named {common_name}; give the new one another name"
        )
    shared = [a for a in authority.current.certificate.subject if a.oid != x509.NameOID.COMMON_NAME]
    return x509.Name([*shared, *distinguished_name(common_name)])


def renew_root_list(opened: DataDir, at: int, revoke: Issuer | None = None, reason: int = 0) -> bytes:
    """Makes the root's next revocation list, which names an issuing CA besides those that it named before.

    The root's key has to be in its place. Raises `ConfigError`.
    """
    further = () if revoke is None else (RevokedEntry(_serial_of(revoke), at, reason),)
    return _make_root_list(opened.path, opened.root, _root_signer(opened), at, further)


def is_revoked(root_list: bytes, issuer: Issuer) -> bool:
    """Whether a root's list (DER; empty for none) names an issuing CA: for good."""
    return _serial_of(issuer) in {each.serial for each in _entries_of(root_list)}


def reason_in(root_list: bytes, issuer: Issuer) -> str:
    """Why a root's list (DER) that names an issuing CA does so, by its name in RFC 5280 section 5.3.1."""
    (code,) = [each.reason for each in _entries_of(root_list) if each.serial == _serial_of(issuer)]
    return REASONS[code].name


def read_marker(path: Path, files: Snapshot | None = None, *, waiting: bool = False) -> dict[str, Any]:
    """The content of `sekisho.json`, which needs no passphrase. `ConfigError` if there is none.

    ``waiting``: also of one whose issuing CA's certificate has not come yet (`ca.requested`).
    """
    files = files or Snapshot()
    try:
        ours = files.frozen or (path / MARKER).exists()
    except PermissionError:
        raise _of_another(path) from None
    if not ours:
        if within := sorted(path.glob(f"*/{MARKER}")):
            raise ConfigError(f"{path} is no data directory, but has some in it: --data {within[0].parent}")
        left = (path / _UNFINISHED).exists()
        what = "was left unfinished by an interrupted init" if left else "is not a data directory"
        raise ConfigError(f"{path} {what}; make one: sekisho init --data {path}")
    try:
        marker = json.loads(files.read(path / MARKER, "data directory"))
        if marker["format"] != FORMAT:
            raise ConfigError(f"{path} has format {marker['format']}; open it with the sekisho that made it")
        if not isinstance(marker["created_at"], int) or not (marker["issuers"] or marker["requested"]):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path / MARKER} is damaged; restore it from a backup") from error
    if not marker["issuers"] and not waiting:
        raise ConfigError(
            f"{path} waits for its issuing CA, whose request went to the root; when the certificate is here: "
            f"sekisho ca accept FILE --data {path}"
        )
    return dict(marker)


def identity(path: Path, files: Snapshot | None = None) -> str:
    """What names this CA for good: SHA-256 of its root's certificate, hex. Needs no passphrase."""
    root = read_certificate(path / "ca/root.pem", files or Snapshot())
    return hashlib.sha256(root.public_bytes(serialization.Encoding.DER)).hexdigest()


def check_owner(path: Path) -> None:
    """`ConfigError` to root in somebody else's directory: what root makes there its owner cannot read."""
    if os.geteuid() == 0 and path.exists() and path.stat().st_uid != 0:
        raise _of_another(path)


def _of_another(path: Path) -> ConfigError:
    owner, we = owner_of(path), name_of(os.geteuid())
    return ConfigError(
        f"{path} belongs to {owner}, and this runs as {we}; run it as its owner: runuser -u {owner} -- "
        f"sekisho ..., or make it yours: chown -R {we} {path}"
    )


def _claim(path: Path) -> None:
    """Takes an absent, empty or unfinished directory, and marks it as unfinished."""
    check_owner(path)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file; name a directory with --data DIR")
    present = {entry.name for entry in path.iterdir()} if path.exists() else set()
    # A crash may also have left the draft of the very first file (see ca.files).
    whole = {name for name in present if not (name.startswith(".") and name.endswith(".new"))}
    if whole and not (_UNFINISHED in whole and whole <= _OURS):
        hint = "it holds a CA already" if MARKER in present else "it is not empty"
        raise ConfigError(f"{path} cannot be initialised: {hint}; name a new directory with --data DIR")
    try:
        make_private_directory(path)
        # Written first and removed last: while it stands, nothing here has ever been used.
        write_private(path / _UNFINISHED, b"sekisho init was interrupted; run it again\n")
        for leftover in path.rglob("*"):
            if leftover.is_file() and leftover.name != _UNFINISHED:
                leftover.unlink()
        for name in ("ca", "servers"):
            make_private_directory(path / name)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); name another directory with --data DIR"
        ) from error


def _make_root(
    path: Path, maker: Maker, stem: str, subject: x509.Name, kind: str, at: int
) -> tuple[x509.Certificate, Signer]:
    made = maker("root", kind)
    der = root_of(subject, made.public, made.signer, at)
    save(path, made, stem, der)
    return x509.load_der_x509_certificate(der), made.signer


def _make_issuing(
    path: Path,
    maker: Maker,
    root: x509.Certificate,
    signer: Signer,
    subject: x509.Name,
    kind: str,
    at: int,
    places: Places,
    audience: Audience = Audience.CLIENTS,
) -> Issuer:
    made = maker("issuing", kind)
    period = validity(ISSUING, at, int(root.not_valid_after_utc.timestamp()))
    told = above(places.base, _key_id(root))
    der = build(ISSUING, subject, made.public, (), new_serial(), period, root, signer, told)
    certificate = x509.load_der_x509_certificate(der)
    issuer_id = _key_id(certificate)
    save(path, made, stem_of(issuer_id), der)
    chain = (root.public_bytes(serialization.Encoding.DER),)
    return Issuer(issuer_id, certificate, chain, places.of(issuer_id), audience)


def _root_signer(opened: DataDir) -> Signer:
    root_key = opened.path / "ca/root.key"
    if "root" not in opened.tokens.keys and not root_key.exists():
        raise ConfigError(
            f"{root_key} is kept elsewhere; put it back, and take it away again afterwards, or have the root "
            "sign on its own machine: sekisho ca request NAME, sekisho ceremony"
        )
    assert opened.keys is not None
    return holder(opened.path, opened.keys, "ca/root", opened.root, Snapshot(), opened.tokens)


def _serial_of(issuer: Issuer) -> str:
    return serial_hex(issuer.certificate.serial_number)


def _entries_of(root_list: bytes) -> list[RevokedEntry]:
    found = x509.load_der_x509_crl(root_list) if root_list else ()
    return [
        RevokedEntry(
            serial_hex(each.serial_number), int(each.revocation_date_utc.timestamp()), _reason_of(each)
        )
        for each in found
    ]


def _reason_of(entry: x509.RevokedCertificate) -> int:
    try:
        told = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return 0
    return reason_code(told.value)


def _make_root_list(
    path: Path, root: x509.Certificate, signer: Signer, at: int, further: tuple[RevokedEntry, ...] = ()
) -> bytes:
    """The list that follows the one that is there: neither its number nor its time goes back, and what was
    named stays named."""
    number, before_at = 0, 0
    last = Snapshot().find(path / ROOT_LIST, "revocation list")
    if last is not None:
        number, before_at = number_and_time(last)
    since = max(at, before_at)
    named = {each.serial: each for each in (*further, *_entries_of(last or b""))}
    made = build_crl(
        root, signer, list(named.values()), number + 1, since, since + ROOT_LIST_LIFETIME, OF_CAS
    )
    write_public(path / ROOT_LIST, made)
    return made


def _issuers_of(path: Path, files: Snapshot) -> tuple[dict[str, Any], x509.Certificate, tuple[Issuer, ...]]:
    marker = read_marker(path, files)
    root = read_certificate(path / "ca/root.pem", files)
    root_der = root.public_bytes(serialization.Encoding.DER)
    return marker, root, tuple(_load_issuer(path, row, root, root_der, files) for row in marker["issuers"])


def _signer_of(
    path: Path,
    keys: Vault,
    issuers: tuple[Issuer, ...],
    files: Snapshot,
    tokens: Tokens,
    check: Callable[[], None],
) -> Keyring:
    check_places(path, tokens, files)
    return Keyring(
        {
            each.issuer_id: holder(path, keys, stem_of(each.issuer_id), each.certificate, files, tokens)
            for each in issuers
            if each.discarded_at is None
        },
        check,
    )


def places_of(path: Path, files: Snapshot | None = None) -> dict[str, Path | None]:
    """The places of all keys of CAs here -> the certificate of each; None of one that has none of its own
    yet, or has another one each month (a responder's)."""
    marker = read_marker(path, files, waiting=True)
    found: dict[str, Path | None] = {"root": path / "ca/root.pem"}
    for row in marker["issuers"]:
        if DISCARDED in row:
            continue
        stem = stem_of(row["id"])
        found[place_of(stem)] = path / f"{stem}.pem"
        found[responder_of(row["id"])] = None
    for row in marker["requested"]:
        found[place_of(stem_of(row["id"]))] = None
    return found


def file_key(opened: DataDir, name: str) -> PrivateKey:
    """The key of a place, out of its sealed file. `ConfigError` for one that is missing or altered."""
    assert opened.keys is not None
    certificate = read_certificate(opened.path / f"ca/{name}.pem", Snapshot())
    return open_key(opened.path, opened.keys, f"ca/{name}", certificate, Snapshot())


def check_places(path: Path, tokens: Tokens, files: Snapshot | None = None) -> None:
    """`ConfigError` for a key in a token that is no CA's here."""
    places = places_of(path, files)
    for name in tokens.keys:
        if name not in places:
            raise ConfigError(
                f"keys.{name} is no key of a CA here; take [keys.{name}] away, or write one of "
                f"{', '.join(places)}"
            )


def _load_issuer(
    path: Path, row: dict[str, Any], root: x509.Certificate, root_der: bytes, files: Snapshot
) -> Issuer:
    stem = stem_of(row["id"])
    certificate = read_certificate(path / f"{stem}.pem", files)
    if _key_id(certificate) != row["id"]:
        raise ConfigError(f"{path / stem}.pem is another CA's certificate; restore it from a backup")
    try:
        certificate.verify_directly_issued_by(root)
    except Exception as error:
        raise ConfigError(
            f"{path / stem}.pem was not issued by {path / 'ca/root.pem'}; restore both"
        ) from error
    told = audience_of(row), row.get(DISCARDED)
    return Issuer(row["id"], certificate, (root_der,), publication.from_row(row), *told)


def read_certificate(path: Path, files: Snapshot) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(files.read(path, "CA certificate"))
        parse_public_key(spki_of(certificate))
        _key_id(certificate)
    except (ValueError, Unacceptable, x509.ExtensionNotFound) as error:
        raise ConfigError(f"{path} is not a CA certificate; restore it from a backup") from error
    return certificate


def write_marker(path: Path, marker: dict[str, Any]) -> None:
    write_private(path / MARKER, json.dumps(marker, indent=1).encode() + b"\n")


def row_of(issuer: Issuer) -> dict[str, Any]:
    named = {"id": issuer.issuer_id, "name": issuer.common_name, "for": issuer.audience.value}
    return {**named, **publication.to_row(issuer.site)}


def audience_of(row: Mapping[str, Any]) -> Audience:
    """For whom an issuing CA of the marker signs; those from before there were operators, for clients."""
    return Audience(row.get("for", Audience.CLIENTS))


def _key_id(certificate: x509.Certificate) -> str:
    return key_identifier(certificate).hex()


def subject_of(names: Names, common_name: str) -> x509.Name:
    return distinguished_name(common_name, names.organization, names.country)


def check_kind(profile: Profile, kind: str) -> None:
    if kind not in profile.key_kinds:
        raise ConfigError(
            f"{kind!r} is no key kind for the {profile.name} CA; use one of {', '.join(profile.key_kinds)}"
        )
