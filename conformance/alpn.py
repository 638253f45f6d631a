"""The certificates of tls-alpn-01 (RFC 8737 3), right ones and wrong ones, and the TLS that shows them."""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from conformance import jose, pki
from conformance.credentials import Identifier

PROTOCOL = "acme-tls/1"
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


@dataclass(frozen=True)
class Shown:
    """What the certificate for a name says: the key authorization, whose name, and whether critically."""

    key_authorization: str
    identifier: Identifier
    critical: bool = True


def server_name(identifier: Identifier) -> str:
    """What the server asks for in SNI: the name, or the address turned round (RFC 8738 6)."""
    if identifier["type"] == "ip":
        return ip_address(identifier["value"]).reverse_pointer
    return identifier["value"].lower()


def certificate(shown: Shown, private: jose.Private) -> x509.Certificate:
    """Self-signed, for one name, with the digest of the key authorization."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme-tls/1")])
    now = datetime.now(UTC)
    digest = pki.der(0x04, hashlib.sha256(shown.key_authorization.encode()).digest())
    extension = x509.UnrecognizedExtension(ACME_IDENTIFIER, digest)
    return (
        x509.CertificateBuilder(
            name,
            name,
            private.public_key(),
            x509.random_serial_number(),
            now - timedelta(hours=1),
            now + timedelta(days=1),
        )
        .add_extension(x509.SubjectAlternativeName([pki.general_name(shown.identifier)]), False)
        .add_extension(extension, shown.critical)
        .sign(private, hashes.SHA256())
    )


def context(shown: Mapping[str, Shown], heard: Callable[[str], None] = lambda _: None) -> ssl.SSLContext:
    """A server's TLS that has for each SNI the certificate shown at the moment, and no other.

    heard is told each name that is asked for.
    """
    private = pki.new_private()

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        heard((name or "").lower())
        wanted = shown.get((name or "").lower())
        if wanted is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = _with(certificate(wanted, private), private)
        return None

    # Never shown: without a certificate of its own a context does not come as far as asking for the name.
    made = _with(certificate(Shown("", {"type": "dns", "value": "nobody.invalid"}), private), private)
    made.sni_callback = choose
    return made


def _with(leaf: x509.Certificate, private: jose.Private) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols([PROTOCOL])
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf.public_bytes(serialization.Encoding.PEM) + pki.private_pem(private).encode())
        file.flush()
        made.load_cert_chain(file.name)
    return made
