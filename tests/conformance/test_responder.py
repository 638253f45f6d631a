"""The responders serve what was given for the challenge that is asked for, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl

import pytest
from cryptography import x509

from conformance import alpn, jose
from conformance.alpn import Shown
from conformance.responder import PREFIX, Answers, Ports, PortTaken, answer, answering
from tests.ports import free_port

KNOWN = {"token-1": "token-1.thumbprint"}
NAME = {"type": "dns", "value": "u1.users.example"}
ADDRESS = {"type": "ip", "value": "127.0.0.1"}


def test_known_token() -> None:
    """RFC 8555 8.3: the body is the key authorization."""
    sent = answer(f"GET {PREFIX}token-1 HTTP/1.1\r\nHost: x\r\n\r\n", KNOWN)
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\ntoken-1.thumbprint")


@pytest.mark.parametrize(
    "line",
    [f"GET {PREFIX}other HTTP/1.1", "GET /token-1 HTTP/1.1", f"POST {PREFIX}token-1 HTTP/1.1", "", "GET"],
)
def test_anything_else(line: str) -> None:
    """Another token, path or method is 404."""
    assert answer(f"{line}\r\n\r\n", KNOWN).startswith(b"HTTP/1.1 404")


def test_each_method_has_its_place() -> None:
    """http-01 by token, dns-01 by name without *. as a digest, tls-alpn-01 by SNI; then nothing any more."""
    answers = Answers()
    wildcard = {"type": "dns", "value": "*.U1.users.example"}
    for method in ("http-01", "dns-01", "tls-alpn-01", "another-01"):
        answers.give(method, "t", wildcard if method == "dns-01" else ADDRESS, "t.key")
    digest = jose.b64(hashlib.sha256(b"t.key").digest())
    assert answers.http == {"t": "t.key"}
    assert answers.texts == {"_acme-challenge.u1.users.example": [digest]}
    assert answers.shown == {"1.0.0.127.in-addr.arpa": Shown("t.key", ADDRESS)}
    answers.forget()
    assert (answers.http, answers.texts, answers.shown) == ({}, {}, {})


async def _presented(port: int, name: str, protocol: str = alpn.PROTOCOL) -> x509.Certificate:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    connection = writer.get_extra_info("ssl_object")
    assert connection.selected_alpn_protocol() == alpn.PROTOCOL
    der = connection.getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der)


async def test_tls_alpn() -> None:
    """RFC 8737 3: by SNI a certificate for that name alone, with the digest in a critical extension; a name
    that nothing was given for is refused."""
    answers, port = Answers(), free_port()
    answers.give("tls-alpn-01", "t", NAME, "t.key")
    answers.shown["u2.users.example"] = Shown("t.key", ADDRESS, critical=False)
    async with answering(Ports(alpn=port), answers):
        right, wrong = [await _presented(port, f"u{n}.users.example") for n in (1, 2)]
        # asyncio may close before its alert is written.
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await _presented(port, "other.example")
    names = right.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("u1.users.example")]
    extension = right.extensions.get_extension_for_oid(alpn.ACME_IDENTIFIER)
    assert extension.critical
    assert extension.value.value == b"\x04\x20" + hashlib.sha256(b"t.key").digest()
    assert not wrong.extensions.get_extension_for_oid(alpn.ACME_IDENTIFIER).critical
    assert answers.served == {"tls-alpn-01"}


@pytest.mark.parametrize(
    ("kind", "option", "ports"),
    [
        (socket.SOCK_STREAM, "--http-01-port", lambda port: Ports(http=port)),
        (socket.SOCK_STREAM, "--tls-alpn-01-port", lambda port: Ports(alpn=port)),
        (socket.SOCK_DGRAM, "--dns-01-port", lambda port: Ports(dns=port)),
    ],
)
async def test_a_port_that_is_taken(kind: socket.SocketKind, option: str, ports) -> None:
    """A port that somebody has is told with the option that names it."""
    with socket.socket(type=kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        said = f"^{option} [0-9]+: Address already in use; end what listens there, or give the port that"
        with pytest.raises(PortTaken, match=said):
            async with answering(ports(holder.getsockname()[1]), Answers()):
                pass
