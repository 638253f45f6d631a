"""A TLS client that can say anything, and certificates of every kind, for the gateway's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from OpenSSL._util import lib

from gateway.edge.tls import KeyedChain

START = datetime(2026, 4, 1, 12, 0, 0, tzinfo=UTC)
"""The moment of the tests' clock."""


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.certificate.public_bytes(Encoding.PEM) + key

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def for_server(self) -> KeyedChain:
        return KeyedChain((self.certificate,), self.key)


def issue(
    common_name: str,
    issuer: Issued | None = None,
    *,
    ca: bool = False,
    hosts: tuple[str, ...] = (),
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
    not_before: datetime = START - timedelta(days=1),
    not_after: datetime = START + timedelta(days=365),
) -> Issued:
    """A certificate signed by `issuer`, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca, None), True)
        .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
    )
    own, theirs = key.public_key(), (issuer.key if issuer else key).public_key()
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(theirs), False)
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, False)
    if purpose is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    return Issued(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Closed(Exception):
    """The server ended the connection; `alert` is OpenSSL's reason if it sent one."""

    def __init__(self, alert: str = "") -> None:
        super().__init__(alert)
        self.alert = alert


@dataclass
class RawClient:
    """A client connection over memory BIOs; made by `connect`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tls: SSL.Connection
    buffer: bytes = b""
    client_ca_names: list[str] = field(default_factory=list)

    async def push(self) -> None:
        """Puts on the wire what OpenSSL wants to say."""
        self.writer.write(self.outgoing())
        await self.writer.drain()

    def outgoing(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(self.tls.bio_read(65_536))
            except SSL.WantReadError:
                return b"".join(pieces)

    async def pull(self) -> None:
        """Waits for bytes from the server. Raises Closed at the end of the stream."""
        try:
            data = await self.reader.read(65_536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed
        self.tls.bio_write(data)

    async def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                break
            except SSL.WantReadError:
                await self.push()
                await self.pull()
            except SSL.Error as error:
                raise Closed(_reason(error)) from None
        self.client_ca_names = [name.CN for name in self.tls.get_client_ca_list()]
        await self.push()

    async def send(self, data: bytes) -> None:
        self.tls.sendall(data)
        await self.push()

    async def some(self) -> bytes:
        """The next plaintext. Raises Closed if there is none any more."""
        while True:
            try:
                return self.tls.recv(65_536)
            except SSL.WantReadError:
                await self.pull()
            except SSL.ZeroReturnError:
                raise Closed("close_notify") from None
            except SSL.Error as error:
                raise Closed(_reason(error)) from None

    async def answer(self) -> Answer:
        """The next response with Content-Length."""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += await self.some()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(self.buffer) < length:
            self.buffer += await self.some()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(int(status.split()[1]), headers, body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def get(self, host: bytes, target: bytes = b"/", *lines: bytes) -> Answer:
        return await self.ask(get(host, target, *lines))

    async def end(self) -> Closed:
        """Reads until the server closes; further data is dropped."""
        try:
            while True:
                await self.some()
        except Closed as closed:
            return closed

    @property
    def resumed(self) -> bool:
        return bool(lib.SSL_session_reused(self.tls._ssl))


def get(host: bytes, target: bytes = b"/", *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: " + host, *lines, b"", b""])


def client_context(
    *,
    certificate: Issued | None = None,
    version: int | None = None,
    alpn: list[bytes] | None = None,
    ciphers: bytes | None = None,
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if ciphers is not None:
        context.set_cipher_list(ciphers)
    if alpn is not None:
        context.set_alpn_protos(alpn)
    if certificate is not None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
    return context


def raw_tls(sni: bytes | None, context: SSL.Context | None = None) -> SSL.Connection:
    tls = SSL.Connection(context or client_context(), None)
    if sni is not None:
        tls.set_tlsext_host_name(sni)
    tls.set_connect_state()
    return tls


@asynccontextmanager
async def connect(
    port: int,
    sni: bytes | None,
    *,
    certificate: Issued | None = None,
    version: int | None = None,
    alpn: list[bytes] | None = None,
    context: SSL.Context | None = None,
    session: SSL.Session | None = None,
    records: int | None = None,
    segments: int | None = None,
    handshake: bool = True,
) -> AsyncIterator[RawClient]:
    """A connection with a finished handshake. `records`, `segments`: split the ClientHello so."""
    context = context or client_context(certificate=certificate, version=version, alpn=alpn)
    tls = raw_tls(sni, context)
    if session is not None:
        tls.set_session(session)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer, tls)
    try:
        if records or segments:
            await _send_in_pieces(client, records, segments)
        if handshake:
            await client.handshake()
        yield client
    finally:
        writer.transport.abort()


async def _send_in_pieces(client: RawClient, records: int | None, segments: int | None) -> None:
    with suppress(SSL.WantReadError):
        client.tls.do_handshake()
    hello = client.outgoing()
    if records:
        payload = records_payload(hello)
        hello = b"".join(
            b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece
            for piece in (payload[at : at + records] for at in range(0, len(payload), records))
        )
    step = segments or len(hello)
    for at in range(0, len(hello), step):
        client.writer.write(hello[at : at + step])
        await client.writer.drain()
        await asyncio.sleep(0)


def records_payload(wire: bytes) -> bytes:
    """The handshake bytes of a run of TLS records."""
    payload = b""
    while wire:
        length = int.from_bytes(wire[3:5], "big")
        payload, wire = payload + wire[5 : 5 + length], wire[5 + length :]
    return payload


def _reason(error: SSL.Error) -> str:
    return error.args[0][0][2] if error.args and error.args[0] else str(error)


async def head_of(client: RawClient) -> bytes:
    """The next head, without the empty line at its end."""
    while b"\r\n\r\n" not in client.buffer:
        client.buffer += await client.some()
    head, _, client.buffer = client.buffer.partition(b"\r\n\r\n")
    return head


async def everything(client: RawClient) -> tuple[bytes, str]:
    """All the server says until it closes, and how it closed."""
    got, client.buffer = client.buffer, b""
    async with asyncio.timeout(60):
        while True:
            try:
                got += await client.some()
            except Closed as closed:
                return got, closed.alert
