"""TLS termination: which site a ClientHello asks for, and what the handshake learnt about the peer.

What the gateway knows of pyOpenSSL is here, but for the bytes of a connection (`bios`). A handshake is never
refused for the sake of a client certificate: the verify callback records, and the caller judges what was
recorded, so that a user gets a page instead of a browser error.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL, crypto

from ca.errors import ConfigError
from ca.trust import NO_CERTIFICATE, Presentation, TrustAnchors

# The names under which the rest of the gateway knows pyOpenSSL.
TlsChannel = SSL.Connection
TlsError = SSL.Error
WantRead = SSL.WantReadError
CloseNotify = SSL.ZeroReturnError

_CIPHERS_TLS12 = b":".join(
    b"ECDHE-%s-%s" % (key, cipher)
    # Mozilla's "intermediate" list without the DHE suites: AEAD and forward secrecy only.
    for cipher in (b"AES128-GCM-SHA256", b"AES256-GCM-SHA384", b"CHACHA20-POLY1305")
    for key in (b"ECDSA", b"RSA")
)
_CIPHERS_TLS13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
# Resumption is off only when the session cache and the tickets are both off: either alone still
# resumes, and a resumed session shows a refused certificate as a clean one.
_OPTIONS = SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION
# leaf, issuing CA, root: our chains have depth 2; one more for a cross-certificate.
_VERIFY_DEPTH = 3
# X509_V_FLAG_NO_CHECK_TIME: one clock decides about time, and that is the judge's, not OpenSSL's.
_NO_CHECK_TIME = 0x200000
_HTTP1 = b"http/1.1"
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


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A site table with its OpenSSL contexts. Connections hold it: the callbacks live in it."""

    table: SiteTable
    context: SSL.Context
    by_site: Mapping[Site, SSL.Context]


@dataclass(slots=True)
class Handshake:
    """What the callbacks of one handshake wrote down. `site` None: no site, every request refused."""

    entry: Entry
    site: Site | None = None
    server_name: str | None = None
    verify_ran: bool = False
    errors: list[tuple[int, int]] = field(default_factory=list)


class ForeignProtocol(Exception):
    """The client's ALPN list has no http/1.1: answered by no_application_protocol (RFC 7301 3.2)."""


def build_entry(table: SiteTable) -> Entry:
    """The contexts for a table. Raises ConfigError if OpenSSL refuses a site's certificate or CA."""
    if not table.sites:
        raise ConfigError("no site is configured: name at least one under [sites]")
    by_site: dict[Site, SSL.Context] = {}
    session_id = secrets.token_bytes(32)
    for site in table.sites:
        try:
            by_site[site] = _site_context(site, session_id)
        except (SSL.Error, crypto.Error, ValueError) as error:
            raise ConfigError(f"site {site.name}: OpenSSL refuses its certificate or CA: {error}") from None
    # The certificate shown to a client that names no site of ours has to be somebody's; the first's.
    context = _base_context(table.sites[0].certificate, session_id)
    # Verification is on from the start and lowered in the SNI callback: a callback that did not run
    # leaves the stricter setting behind. One shared helper also spares a cffi closure per connection.
    context.set_verify(SSL.VERIFY_PEER, _record)
    context.set_tlsext_servername_callback(_choose_site)
    return Entry(table, context, by_site)


def accept(entry: Entry) -> tuple[TlsChannel, Handshake]:
    """A server connection over memory BIOs, and the record its callbacks write to."""
    connection = SSL.Connection(entry.context, None)
    handshake = Handshake(entry)
    connection.set_app_data(handshake)
    connection.set_accept_state()
    return connection, handshake


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


def presentation(connection: TlsChannel, handshake: Handshake) -> Presentation:
    """What the peer presented in this handshake. Fails closed: no callback, nothing verified."""
    leaf = connection.get_peer_certificate()
    if leaf is None:
        return NO_CERTIFICATE
    # The other certificates the peer sent were OpenSSL's to look at; nothing of ours reads them.
    der = crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)
    return Presentation(der, (), tuple(handshake.errors), handshake.verify_ran)


def _choose_site(connection: TlsChannel) -> None:
    """The servername callback; OpenSSL calls it for a ClientHello without SNI as well."""
    handshake: Handshake = connection.get_app_data()
    raw = connection.get_servername()
    name = fold_host(raw) if raw else None
    site = handshake.entry.table.lookup(name) if name else None
    if site is None or site.client_certificate is ClientCertificate.NONE:
        connection.set_verify(SSL.VERIFY_NONE)
    if site is not None:
        connection.set_context(handshake.entry.by_site[site])
        handshake.site, handshake.server_name = site, name


def _record(connection: TlsChannel, _: crypto.X509, errnum: int, depth: int, ok: int) -> bool:
    """The verify callback: writes down and accepts. pyOpenSSL then launders the verify result."""
    handshake: Handshake = connection.get_app_data()
    handshake.verify_ran = True
    if not ok:
        handshake.errors.append((errnum, depth))
    return True


def _choose_protocol(_: SSL.Connection, offered: list[bytes]) -> bytes:
    if _HTTP1 not in offered:
        raise ForeignProtocol(offered)
    return _HTTP1


def _base_context(certificate: KeyedChain, session_id: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    # SSL_set_SSL_CTX carries none of these over, so every context has them all.
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_cipher_list(_CIPHERS_TLS12)
    context.set_tls13_ciphersuites(_CIPHERS_TLS13)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(session_id)
    context.set_verify_depth(_VERIFY_DEPTH)
    context.set_alpn_select_callback(_choose_protocol)
    leaf, *others = certificate.chain
    context.use_certificate(leaf)
    for other in others:
        context.add_extra_chain_cert(other)
    context.use_privatekey(certificate.key)  # type: ignore[arg-type]
    context.check_privatekey()
    return context


def _site_context(site: Site, session_id: bytes) -> SSL.Context:
    context = _base_context(site.certificate, session_id)
    if site.client_certificate is ClientCertificate.NONE or site.anchors is None:
        return context
    store = context.get_cert_store()
    assert store is not None
    for issuer in site.anchors.issuers:
        store.add_cert(crypto.X509.from_cryptography(issuer))
    # An anchor is an issuing CA, mostly without its root beside it.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | _NO_CHECK_TIME)
    for ca in site.advertised:
        context.add_client_ca(ca)
    context.set_verify(SSL.VERIFY_PEER, _record)
    return context


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
