"""The sites behind a port: names, policies, certificates; and the words for handshakes that failed.

What OpenSSL is told of them is in `contexts`, what happens in a handshake in `handshake`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL

from ca.anchors import TrustAnchors
from ca.errors import ConfigError

# The names under which the rest of the gateway knows pyOpenSSL.
TlsChannel = SSL.Connection
TlsError = SSL.Error
WantRead = SSL.WantReadError
CloseNotify = SSL.ZeroReturnError

# What OpenSSL, or an exception of ours, says -> what the figures and the log call it.
_FAILURES = {
    "http request": "plaintext",
    "https proxy request": "plaintext",
    "wrong version number": "not-tls",
    "unsupported protocol": "version",
    "no shared cipher": "cipher",
    "no suitable key share": "group",
    "unexpected eof while reading": "cut",
    "ForeignProtocol": "alpn",
}
_HOST_NAME = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9](?:[a-z0-9-]{0,62}))*")


class ClientCertificate(Enum):
    """What a site wants to know about its visitors' certificates. No value refuses a handshake."""

    NONE = "none"
    ASK = "ask"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class KeyedChain:
    """A server's chain, leaf first and without the root, with the leaf's private key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = field(repr=False)

    @classmethod
    def from_pem(cls, chain: bytes, key: bytes, password: bytes | None = None) -> KeyedChain:
        """Reads PEM. Raises ConfigError if either part is unreadable or the key is another's."""
        try:
            certificates = tuple(x509.load_pem_x509_certificates(chain))
            private = load_pem_private_key(key, password)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"server certificate or key is not readable PEM: {error}") from None
        spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if certificates[0].public_key().public_bytes(*spki) != private.public_key().public_bytes(*spki):
            raise ConfigError("the private key does not belong to the first certificate: name the right key")
        return cls(certificates, private)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Site:
    """One site behind the listener. Compared by identity: a connection is pinned to this very object.

    `hosts`: exact names and one-label wildcards (``*.check.example``), lower case, no trailing dot.
    `advertised`: the CA certificates whose names the CertificateRequest lists; empty lists none, and
    browsers then show every certificate they hold. What it answers is nothing to the socket: see
    `gateway.wire.sites.WebSite`.
    """

    name: str
    hosts: tuple[str, ...]
    certificate: KeyedChain
    client_certificate: ClientCertificate = ClientCertificate.NONE
    anchors: TrustAnchors | None = None
    advertised: tuple[x509.Certificate, ...] = ()


class SiteTable:
    """The sites by host name. Built once, never changed: a reload builds another one."""

    def __init__(self, sites: Iterable[Site]) -> None:
        """Raises ConfigError for a bad host name, a name used twice, or a policy without anchors."""
        self.sites = tuple(sites)
        self._by_host: Mapping[str, Site] = _index(self.sites)

    def lookup(self, name: str) -> Site | None:
        """The site of a folded host name: the exact one, else the one-label wildcard's, else none.

        A one-label wildcard can match through one parent only, so it is also the longest.
        """
        label, dot, parent = name.partition(".")
        if label in ("", "*"):
            return None
        return self._by_host.get(name) or (self._by_host.get("*." + parent) if dot else None)


def fold_host(raw: bytes) -> str | None:
    """A host name from the wire in the form the table knows, or None if it is not one.

    ASCII letters are folded. A trailing dot is not: RFC 6066 section 3 forbids it in the SNI, and
    one spelling of a name (one cookie jar, one Origin) is enough.
    """
    try:
        name = raw.decode("ascii").lower()
    except UnicodeDecodeError:
        return None
    return name if len(name) <= 253 and name[:1] != "*" and _HOST_NAME.fullmatch(name) else None


def failure_of(error: Exception) -> str:
    """A stable word for why a handshake failed: OpenSSL's own change with its version."""
    if isinstance(error, SSL.Error) and " alert " in f" {reason_of(error)} ":
        return "alert"  # the client's word, mostly about our certificate
    return _FAILURES.get(reason_of(error), "tls" if isinstance(error, SSL.Error) else "fault")


def reason_of(error: Exception) -> str:
    """What OpenSSL says of a failed handshake, such as ``no shared cipher``; nothing of the peer's."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][-1][-1])
    return "" if isinstance(error, SSL.Error) else type(error).__name__


def _index(sites: tuple[Site, ...]) -> dict[str, Site]:
    by_host: dict[str, Site] = {}
    for site in sites:
        if not site.hosts:
            raise ConfigError(f"site {site.name}: no host name; give hosts = [...]")
        if site.client_certificate is not ClientCertificate.NONE and site.anchors is None:
            raise ConfigError(f"site {site.name}: asks for certificates but trusts no CA; name its anchors")
        for host in site.hosts:
            if len(host) > 253 or not _HOST_NAME.fullmatch(host):
                raise ConfigError(
                    f"site {site.name}: {host!r} is not a host name; write it in lower case, without "
                    "port or final dot, a wildcard as *.example.jp"
                )
            if host in by_host:
                raise ConfigError(f"host {host} belongs to {by_host[host].name} and {site.name}: remove one")
            by_host[host] = site
    return by_host
