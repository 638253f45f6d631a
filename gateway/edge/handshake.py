"""One TLS handshake: which site the ClientHello asks for, what it learnt about the peer, what was agreed on.

It is never refused for the sake of a client certificate: the verify callback records, and the caller judges
what was recorded, so that a user gets a page instead of a browser error. Two ways lead through it, as through
the bytes of a connection (`bios`): `Direct` by OpenSSL's own calls, which spares pyOpenSSL's callbacks and
objects, and `Handshake` itself by pyOpenSSL's methods, where those calls are not to be had.
`tests/gateway/test_handshake.py` holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, final

from OpenSSL import SSL, crypto

from ca.trust import NO_CERTIFICATE, Presentation
from gateway.edge.calls import DIRECT, ffi, lib
from gateway.edge.tls import ClientCertificate, Site, SiteTable, TlsChannel, TlsError, WantRead, fold_host

_HTTP1: Final = b"http/1.1"
_PIECE: Final = 16_384


class ForeignProtocol(Exception):
    """The client's ALPN list has no http/1.1: answered by no_application_protocol (RFC 7301 3.2)."""


@final
class Entry:
    """A site table with its OpenSSL contexts. Connections hold it: what the callbacks need lives in it."""

    __slots__ = ("by_site", "context", "direct", "table")

    def __init__(
        self, table: SiteTable, context: SSL.Context, by_site: Mapping[Site, SSL.Context], direct: bool
    ) -> None:
        self.table, self.context, self.by_site, self.direct = table, context, by_site, direct


class Handshake:
    """See the module. `site` None: no site, every request refused."""

    __slots__ = ("entry", "errors", "server_name", "session", "site", "verify_ran")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.session: TlsChannel = SSL.Connection(entry.context, None)
        self.session.set_app_data(self)
        self.session.set_accept_state()
        self.site: Site | None = None
        self.server_name: str | None = None
        self.verify_ran = False
        # OpenSSL's numbers of what is wrong with the certificates, and at which depth of the chain.
        self.errors: list[tuple[int, int]] = []

    def advance(self) -> bool:
        """Goes on with what has come; whether it is done. Raises TlsError, or ForeignProtocol."""
        try:
            self.session.do_handshake()
        except WantRead:
            return False
        return True

    def over(self) -> None:
        """It has done its work, or never will: it lets go of the sites of its moment, and of itself."""
        # The context must stay as long as the session, for OpenSSL's sake.
        self.session.set_app_data(self.entry.context)

    def leaf(self) -> bytes | None:
        """The certificate that the peer presented, as DER."""
        found = self.session.get_peer_certificate()
        return None if found is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, found)

    def agreed(self) -> tuple[str, str, str | None, str]:
        """Version, cipher, group and ALPN protocol, once it is done."""
        session = self.session
        return (
            session.get_protocol_version_name(),
            session.get_cipher_name() or "",
            session.get_group_name(),
            session.get_alpn_proto_negotiated().decode("ascii"),
        )

    def presentation(self) -> Presentation:
        """What the peer presented in this handshake. Fails closed: no callback, nothing verified."""
        leaf = self.leaf()
        if leaf is None:
            return NO_CERTIFICATE
        # The other certificates the peer sent were OpenSSL's to look at; nothing of ours reads them.
        return Presentation(leaf, (), tuple(self.errors), self.verify_ran)

    def choose(self, raw: bytes | None) -> SSL.Context | None:
        """Notes the site of the name in the ClientHello; its context, if there is one."""
        name = fold_host(raw) if raw else None
        site = self.entry.table.lookup(name) if name else None
        if site is None:
            return None
        self.site, self.server_name = site, name
        return self.entry.by_site[site]

    def certificate_asked_for(self) -> bool:
        """Whether the site that was chosen asks for one."""
        return self.site is not None and self.site.client_certificate is not ClientCertificate.NONE

    def note(self, ok: bool, number: int, depth: int) -> None:
        """Writes down what OpenSSL found about a certificate."""
        self.verify_ran = True
        if not ok:
            self.errors.append((number, depth))


@final
class Direct(Handshake):
    """By OpenSSL's own calls."""

    __slots__ = ("_ssl", "fault")

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        given: Any = self.session
        self._ssl: Any = given._ssl
        #: What a callback raised, which OpenSSL cannot hand on.
        self.fault: Exception | None = None
        _running[self._ssl] = self

    def advance(self) -> bool:
        result = lib.SSL_do_handshake(self._ssl)
        if result == 1:
            return True
        session: Any = self.session
        if self.fault is not None:
            with suppress(TlsError):  # which takes OpenSSL's own word for it off the thread's list of errors
                session._raise_ssl_error(self._ssl, result)
            raise self.fault
        if lib.SSL_get_error(self._ssl, result) != lib.SSL_ERROR_WANT_READ:
            session._raise_ssl_error(self._ssl, result)
        return False

    def over(self) -> None:
        super().over()
        _running.pop(self._ssl, None)

    def leaf(self) -> bytes | None:
        found = lib.SSL_get_peer_certificate(self._ssl)
        if found == ffi.NULL:
            return None
        bio = lib.BIO_new(lib.BIO_s_mem())
        try:
            lib.i2d_X509_bio(bio, found)
            der, piece = b"", ffi.new("char[]", _PIECE)
            while (count := lib.BIO_read(bio, piece, _PIECE)) > 0:
                der += ffi.buffer(piece, count)[:]
        finally:
            lib.BIO_free(bio)
            lib.X509_free(found)
        return der

    def agreed(self) -> tuple[str, str, str | None, str]:
        ssl = self._ssl
        group = lib.SSL_get0_group_name(ssl)
        chosen, length = ffi.new("unsigned char **"), ffi.new("unsigned int *")
        lib.SSL_get0_alpn_selected(ssl, chosen, length)
        return (
            _text(lib.SSL_get_version(ssl)),
            _text(lib.SSL_CIPHER_get_name(lib.SSL_get_current_cipher(ssl))),
            None if group == ffi.NULL else _text(group),
            bytes(ffi.buffer(chosen[0], length[0])).decode("ascii") if length[0] else "",
        )

    def offered(self, protocols: bytes) -> bool:
        """Whether the ALPN list, as it stands in the ClientHello, has http/1.1."""
        at = 0
        while at < len(protocols):
            end = at + 1 + protocols[at]
            if protocols[at + 1 : end] == _HTTP1:
                return True
            at = end
        return False


def begin(entry: Entry) -> Handshake:
    """The server's side of a new connection, over memory BIOs."""
    return Direct(entry) if entry.direct else Handshake(entry)


def arm(context: SSL.Context, *, verify: bool, choose: bool, direct: bool) -> None:
    """Gives a context its callbacks: the protocol's in any case, the certificate's, and the site's."""
    if direct:
        inner: Any = context
        lib.SSL_CTX_set_alpn_select_cb(inner._context, _alpn_callback, ffi.NULL)
        if verify:
            lib.SSL_CTX_set_verify(inner._context, SSL.VERIFY_PEER, _verify_callback)
        if choose:
            lib.SSL_CTX_set_tlsext_servername_callback(inner._context, _name_callback)
        return
    context.set_alpn_select_callback(_choose_protocol)
    if verify:
        context.set_verify(SSL.VERIFY_PEER, _record)
    if choose:
        context.set_tlsext_servername_callback(_choose_site)


# --- the callbacks, by pyOpenSSL's methods ---


def _choose_site(connection: TlsChannel) -> None:
    """The servername callback; OpenSSL calls it for a ClientHello without SNI as well."""
    handshake: Handshake = connection.get_app_data()
    context = handshake.choose(connection.get_servername())
    if not handshake.certificate_asked_for():
        connection.set_verify(SSL.VERIFY_NONE)
    if context is not None:
        connection.set_context(context)


def _record(connection: TlsChannel, _: crypto.X509, number: int, depth: int, ok: int) -> bool:
    """The verify callback: writes down and accepts. pyOpenSSL then launders the verify result."""
    handshake: Handshake = connection.get_app_data()
    handshake.note(bool(ok), number, depth)
    return True


def _choose_protocol(_: SSL.Connection, offered: list[bytes]) -> bytes:
    if _HTTP1 not in offered:
        raise ForeignProtocol(offered)
    return _HTTP1


# --- the callbacks, as OpenSSL calls them: what they raise ends the handshake, and is raised by `advance` ---


def _chosen(ssl: Any, alert: Any, argument: Any) -> int:
    handshake = _running[ssl]
    try:
        raw = lib.SSL_get_servername(ssl, lib.TLSEXT_NAMETYPE_host_name)
        context = handshake.choose(None if raw == ffi.NULL else ffi.string(raw))
        if not handshake.certificate_asked_for():
            lib.SSL_set_verify(ssl, SSL.VERIFY_NONE, ffi.NULL)
        if context is not None:
            handshake.session.set_context(context)
    except Exception as error:
        handshake.fault = error
        return _FATAL
    return 0


def _noted(ok: int, store: Any) -> int:
    handshake = _running[lib.X509_STORE_CTX_get_ex_data(store, _SSL_OF_STORE)]
    try:
        number, depth = lib.X509_STORE_CTX_get_error(store), lib.X509_STORE_CTX_get_error_depth(store)
        handshake.note(bool(ok), number, depth)
        lib.X509_STORE_CTX_set_error(store, lib.X509_V_OK)
    except Exception as error:
        handshake.fault = error
        return 0
    return 1


def _selected(ssl: Any, out: Any, length: Any, given: Any, size: int, argument: Any) -> int:
    handshake = _running[ssl]
    if not handshake.offered(bytes(ffi.buffer(given, size))):
        handshake.fault = ForeignProtocol()
        return _FATAL
    out[0], length[0] = _http1, len(_HTTP1)
    return 0


def _text(given: Any) -> str:
    found: bytes = ffi.string(given)
    return found.decode("ascii")


#: By OpenSSL's connection: those that are neither done nor given up.
_running: Final[dict[Any, Direct]] = {}
_FATAL: Final[int] = lib.SSL_TLSEXT_ERR_ALERT_FATAL if DIRECT else 0
_SSL_OF_STORE: Final[int] = lib.SSL_get_ex_data_X509_STORE_CTX_idx() if DIRECT else 0
# OpenSSL keeps the pointer to this text, and the functions: they live as long as the process.
_http1: Final[Any] = ffi.new("unsigned char[]", _HTTP1) if DIRECT else None
_verify_callback: Final[Any] = (
    ffi.callback("int (*)(int, X509_STORE_CTX *)", _noted, error=0) if DIRECT else None
)
_name_callback: Final[Any] = (
    ffi.callback("int (*)(SSL *, int *, void *)", _chosen, error=_FATAL) if DIRECT else None
)
_alpn_callback: Final[Any] = (
    ffi.callback(
        "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)",
        _selected,
        error=_FATAL,
    )
    if DIRECT
    else None
)
