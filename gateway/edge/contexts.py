"""What OpenSSL is told of the sites: a context for each, and one in which every handshake begins."""

from __future__ import annotations

import secrets

from OpenSSL import SSL, crypto

from ca.errors import ConfigError
from gateway.edge.calls import DIRECT
from gateway.edge.handshake import Entry, arm
from gateway.edge.tls import ClientCertificate, KeyedChain, Site, SiteTable

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


def build_entry(table: SiteTable, *, direct: bool = DIRECT) -> Entry:
    """The contexts for a table. Raises ConfigError if OpenSSL refuses a site's certificate or CA.

    ``direct``: by which of its two ways a handshake goes.
    """
    if not table.sites:
        raise ConfigError("no site is configured: name at least one under [sites]")
    by_site: dict[Site, SSL.Context] = {}
    session_id = secrets.token_bytes(32)
    for site in table.sites:
        try:
            by_site[site] = _site_context(site, session_id, direct)
        except (SSL.Error, crypto.Error, ValueError) as error:
            raise ConfigError(f"site {site.name}: OpenSSL refuses its certificate or CA: {error}") from None
    # The certificate shown to a client that names no site of ours has to be somebody's; the first's.
    context = _base_context(table.sites[0].certificate, session_id)
    # Verification is on from the start and lowered in the SNI callback: a callback that did not run leaves
    # the stricter setting behind.
    arm(context, verify=True, choose=True, direct=direct)
    return Entry(table, context, by_site, direct)


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
    leaf, *others = certificate.chain
    context.use_certificate(leaf)
    for other in others:
        context.add_extra_chain_cert(other)
    context.use_privatekey(certificate.key)  # type: ignore[arg-type]
    context.check_privatekey()
    return context


def _site_context(site: Site, session_id: bytes, direct: bool) -> SSL.Context:
    context = _base_context(site.certificate, session_id)
    if site.client_certificate is ClientCertificate.NONE or site.anchors is None:
        arm(context, verify=False, choose=False, direct=direct)
        return context
    store = context.get_cert_store()
    assert store is not None
    for issuer in site.anchors.issuers:
        store.add_cert(crypto.X509.from_cryptography(issuer))
    # An anchor is an issuing CA, mostly without its root beside it.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | _NO_CHECK_TIME)
    for ca in site.advertised:
        context.add_client_ca(ca)
    arm(context, verify=True, choose=False, direct=direct)
    return context
