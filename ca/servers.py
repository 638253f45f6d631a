"""Certificates of our own hosts: made by the local server CA, or PEM files of the operator's, checked."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.authority import Issuer
from ca.certificates import build, common_name, new_serial, to_pem, validity
from ca.datadir import DataDir
from ca.errors import ConfigError
from ca.files import Snapshot, write_private, write_public
from ca.keys import PrivateKey, from_pkcs8, generate, spki, spki_of, to_pkcs8
from ca.profiles import DAY, SERVER
from ca.signing import Signer

RENEW_BEFORE = 30 * DAY
"""A kept certificate with less than this many seconds left is replaced, while the server runs too."""


@dataclass(frozen=True)
class ServerCertificate:
    """What a TLS listener needs: the chain (DER, leaf first, no root) and the key (PKCS#8 DER)."""

    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    not_before_at: int
    not_after_at: int

    @property
    def chain_pem(self) -> bytes:
        return b"".join(to_pem(der) for der in self.chain)

    @property
    def key_pem(self) -> bytes:
        return from_pkcs8(self.key).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def issue(
    issuer: Issuer, signer: Signer, hosts: Sequence[str], at: int, serial: int, key: PrivateKey
) -> ServerCertificate:
    """A certificate for `hosts` (wildcards such as `*.check.example` included) by the local server CA."""
    hosts = tuple(dict.fromkeys(host.lower() for host in hosts))
    period = validity(SERVER, at, issuer.not_after_at)
    # The subject may stay empty: browsers read the alternative names alone.
    subject = common_name(hosts[0] if len(hosts[0]) <= 64 else "")
    der = build(SERVER, subject, key.public_key(), hosts, serial, period, issuer.certificate, signer)
    return ServerCertificate((der,), to_pkcs8(key), hosts, *period)


def local(
    datadir: DataDir,
    hosts: Sequence[str],
    at: int,
    files: Snapshot | None = None,
    *,
    believed: bool = True,
) -> ServerCertificate:
    """The local server CA's certificate for `hosts`, kept in `servers/` and renewed in good time.

    Not `believed`: a clock in doubt replaces no certificate because of its dates. Nor does one of a frozen
    snapshot change.
    """
    files = files or Snapshot()
    kept = _kept(datadir, files)
    judged = not files.frozen and believed
    if kept is not None and covers(kept.names, hosts) and not (judged and not _is_good(datadir, kept, at)):
        return kept
    if files.frozen:
        raise ConfigError("the snapshot has no certificate for these hosts: take another one")
    serial = new_serial()
    made = issue(datadir.server_ca, datadir.server_signer, hosts, at, serial, generate(SERVER.key_kinds[0]))
    certificate, key = local_files(datadir.path)
    sealed = datadir.vault.seal("key servers/hosts", made.key)
    write_private(key, sealed)
    write_public(certificate, made.chain_pem)
    files.put(key, sealed)
    files.put(certificate, made.chain_pem)
    return made


def good_for(datadir: DataDir, kept: ServerCertificate) -> tuple[float, float]:
    """From when and up to when a certificate of the local server CA is not to be replaced.

    Before its begin it is: the clock ran ahead when it was made. One that ends with its CA never is, because
    another one would do so too.
    """
    last = kept.not_after_at >= datadir.server_ca.not_after_at
    return kept.not_before_at, float("inf") if last else kept.not_after_at - RENEW_BEFORE


def _is_good(datadir: DataDir, kept: ServerCertificate, at: int) -> bool:
    since, until = good_for(datadir, kept)
    return since <= at < until


def local_files(path: Path) -> tuple[Path, Path]:
    """Where a data directory keeps the certificate of `local`, and its sealed key."""
    stem = path / "servers" / "hosts"
    return stem.with_suffix(".pem"), stem.with_suffix(".key")


def from_files(
    certificate: Path,
    key: Path,
    hosts: Sequence[str],
    at: int,
    password: bytes | None = None,
    files: Snapshot | None = None,
) -> ServerCertificate:
    """The operator's own PEM files, checked before anything listens. `ConfigError` says what is wrong.

    `certificate` holds the leaf first, then each issuer in turn; it must cover every one of `hosts`. Those of
    a frozen snapshot were in their time when it was taken.
    """
    files = files or Snapshot()
    chain = _load_chain(certificate, files)
    private = _load_key(key, password, files)
    leaf = chain[0]
    if leaf.public_key() != private.public_key():
        raise ConfigError(
            f"{key} is not the key of the first certificate in {certificate};"
            " put the host's own certificate first, or name its key"
        )
    _check_order(certificate, chain)
    names = _names(leaf)
    missing = [host for host in hosts if not covers(names, [host])]
    if missing:
        raise ConfigError(
            f"{certificate} does not name {', '.join(missing)} (it names {', '.join(names) or 'nothing'});"
            " have it issued for every host of the configuration"
        )
    _check_use(certificate, leaf)
    if not files.frozen:
        _check_time(certificate, leaf, at)
    return ServerCertificate(
        chain=tuple(c.public_bytes(serialization.Encoding.DER) for c in chain),
        key=to_pkcs8(private),
        names=names,
        not_before_at=int(leaf.not_valid_before_utc.timestamp()),
        not_after_at=int(leaf.not_valid_after_utc.timestamp()),
    )


@dataclass(frozen=True)
class Weakness:
    """Why visitors may refuse a certificate that is in order by itself, and what to do."""

    found: str
    hint: str


def weaknesses(chain: Sequence[bytes], roots: Sequence[x509.Certificate]) -> list[Weakness]:
    """What is weak about a chain (DER, leaf first) for whoever trusts these roots, and has nothing else.

    A chain that ends below a root of nobody's list may be right: a CA of the operator's own, which his
    visitors know.
    """
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    leaf, top = certificates[0], certificates[-1]
    if _issued(leaf, leaf):
        hint = "have one issued by a CA that browsers trust, or install this one in each of them"
        return [Weakness("it is self-signed, and no browser trusts it", hint)]
    known = (root for root in roots if root.subject == top.issuer)
    if _issued(top, top) or any(_issued(top, root) for root in known):
        return []
    hint = "put the certificate of its issuer behind it (fullchain.pem), unless every visitor has that"
    above = top.issuer.rfc4514_string()
    return [Weakness(f"its chain ends below {above}, which is not in it and unknown to this machine", hint)]


def trusted(setting: str, path: Path, files: Snapshot) -> str:
    """A PEM file of the CAs that another server's certificate has to be of. ConfigError names the setting."""
    try:
        pem = files.read(path, "CA").decode("ascii")
        ssl.create_default_context(cadata=pem)
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from None
    except (ssl.SSLError, ValueError):
        raise ConfigError(f"{setting}: {path} holds no certificate; name a PEM file of the CA") from None
    return pem


def roots_of_this_machine() -> list[x509.Certificate]:
    """The roots that programs on this machine trust; none where it keeps them in some other way."""
    bundle = next((path for path in _BUNDLES if path.exists()), None)
    if bundle is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are older than the rules that they break
        return [root for root in map(_root, bundle.read_bytes().split(_END)) if root is not None]


def _root(pem: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem + _END)
    except ValueError:
        return None


_END = b"-----END CERTIFICATE-----\n"


def _issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except Exception:  # whatever is wrong with either, one does not vouch for the other
        return False
    return True


# Where distributions keep what update-ca-certificates and its like put together.
_BUNDLES = tuple(
    map(
        Path,
        (
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ),
    )
)


def covers(names: Sequence[str], hosts: Sequence[str]) -> bool:
    """Whether certificate `names` cover all `hosts` (RFC 9525 section 6.3: `*` is one whole label).

    A host that is itself a wildcard is covered only by the same wildcard.
    """
    lowered = {name.lower() for name in names}
    return all(
        host.lower() in lowered
        or (not host.startswith("*.") and f"*.{host.lower().partition('.')[2]}" in lowered)
        for host in hosts
    )


def _kept(datadir: DataDir, files: Snapshot) -> ServerCertificate | None:
    certificate, key = (files.find(path, "server certificate") for path in local_files(datadir.path))
    if certificate is None or key is None:
        return None
    try:
        chain = x509.load_pem_x509_certificates(certificate)
        private = from_pkcs8(datadir.vault.open("key servers/hosts", key))
        chain[0].verify_directly_issued_by(datadir.server_ca.certificate)
    # A crash between the two files, or a changed CA: made anew, nothing is lost.
    except Exception:
        return None
    if spki(private.public_key()) != spki_of(chain[0]):
        return None
    return ServerCertificate(
        chain=tuple(c.public_bytes(serialization.Encoding.DER) for c in chain),
        key=to_pkcs8(private),
        names=_names(chain[0]),
        not_before_at=int(chain[0].not_valid_before_utc.timestamp()),
        not_after_at=int(chain[0].not_valid_after_utc.timestamp()),
    )


def _load_chain(path: Path, files: Snapshot) -> list[x509.Certificate]:
    content = files.read(path, "server certificate")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ConfigError(f"{path} holds no readable PEM certificate; name a file that does") from error


def _load_key(path: Path, password: bytes | None, files: Snapshot) -> PrivateKey:
    content = files.read(path, "server key")
    try:
        key = serialization.load_pem_private_key(content, password)
        return from_pkcs8(
            key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    except TypeError as error:
        raise ConfigError(f"{path} is encrypted; decrypt it: openssl pkey -in {path} -out KEY.pem") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a PEM private key (RSA, EC or Ed25519); name one") from error


def _check_order(path: Path, chain: Sequence[x509.Certificate]) -> None:
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except Exception as error:
            raise ConfigError(
                f"in {path}, {upper.subject.rfc4514_string()} did not issue {lower.subject.rfc4514_string()};"
                " order the file: the host's certificate, its issuer, that one's issuer"
            ) from error


def _check_time(path: Path, leaf: x509.Certificate, at: int) -> None:
    if leaf.not_valid_after_utc.timestamp() < at:
        raise ConfigError(f"{path} expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it")
    if leaf.not_valid_before_utc.timestamp() > at:
        raise ConfigError(f"{path} begins on {leaf.not_valid_before_utc:%Y-%m-%d}; check the clock: date")


def _check_use(path: Path, leaf: x509.Certificate) -> None:
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        raise ConfigError(f"{path} is not for TLS servers (extended key usage); have one issued that is")


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)
