"""The load of the protocol's benchmark: whole orders over kept-alive connections, one account each.

Written from RFC 8555 and lean, so that the core it runs on is never what is measured. Keys and CSRs are
made before the clock starts, and so are the accounts; signing is part of an order, as for any client.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.enroll.acme.signing import b64, jwk, jws, mac_jws

OnOrder = Callable[[int], None]

_PATIENCE = 20.0
_HTTP01_PORT = 80


@dataclass(frozen=True)
class Target:
    """A running server. A credential is ``(kid, key)``, or None where no binding is asked for."""

    directory: str
    ca_file: str
    pid: int
    name: str
    credentials: tuple[tuple[str, bytes] | None, ...]


@dataclass
class Client:
    """One connection with one account."""

    target: Target
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    urls: dict[str, str] = field(default_factory=dict)
    kid: str | None = None
    nonce: str = ""
    reader: Any = None
    writer: Any = None

    @property
    def thumbprint(self) -> str:
        """RFC 7638, of the account key."""
        members = json.dumps(jwk(self.key), separators=(",", ":"), sort_keys=True)
        return b64(hashlib.sha256(members.encode()).digest())

    async def connect(self) -> None:
        parts = urlsplit(self.target.directory)
        context = ssl.create_default_context(cafile=self.target.ca_file)
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", parts.port, ssl=context, server_hostname=parts.hostname
        )
        self.urls = json.loads((await self._exchange("GET", self.target.directory))[2])
        await self._exchange("HEAD", self.urls["newNonce"])

    async def register(self, credential: tuple[str, bytes] | None) -> None:
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        url = self.urls["newAccount"]
        if credential is not None:
            header = {"alg": "HS256", "kid": credential[0], "url": url}
            payload["externalAccountBinding"] = mac_jws(credential[1], header, jwk(self.key))
        status, headers, body = await self.post(url, payload)
        # RFC 8555 section 7.3: 200 where the key has an account, of a first answer that was lost.
        assert status in (200, 201), body
        self.kid = headers["location"]

    async def post(self, url: str, payload: dict[str, Any] | str) -> tuple[int, dict[str, str], bytes]:
        """A signed request; one that met a nonce gone stale is sent once more."""
        for _ in range(2):
            by = {"kid": self.kid} if self.kid else {"jwk": jwk(self.key)}
            header = {"alg": "ES256", "nonce": self.nonce, "url": url, **by}
            signed = json.dumps(jws(self.key, header, payload)).encode()
            answer = await self._exchange("POST", url, signed)
            if answer[0] != 400 or b"badNonce" not in answer[2]:
                break
        return answer

    async def read(self, url: str) -> tuple[dict[str, Any], dict[str, str]]:
        status, headers, body = await self.post(url, "")
        assert status == 200, body
        return json.loads(body), headers

    async def _exchange(self, method: str, url: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(url)
        head = f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: load\r\n"
        if body:
            head += f"Content-Type: application/jose+json\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.nonce = headers.get("replay-nonce", self.nonce)
        content = b""
        if method != "HEAD" and not first.startswith("HTTP/1.1 204"):
            content = await self._content(headers)
        return int(first.split(" ", 2)[1]), headers, content

    async def _content(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return bytes(await self.reader.readexactly(int(headers["content-length"])))
        parts = []
        while size := int((await self.reader.readuntil(b"\r\n")), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(parts)


async def one_order(client: Client, csr: str, tokens: dict[str, str]) -> bytes:
    """newOrder, whatever is demanded, finalize, download: the chain in PEM."""
    names = [{"type": "dns", "value": client.target.name}]
    status, headers, body = await client.post(client.urls["newOrder"], {"identifiers": names})
    assert status == 201, body
    url, order = headers["location"], json.loads(body)
    if order["status"] == "pending":
        for authorization in order["authorizations"]:
            await _answer(client, authorization, tokens)
        order = await _until(client, url, "ready")
    status, _, body = await client.post(order["finalize"], {"csr": csr})
    assert status == 200, body
    order = json.loads(body)
    if order["status"] != "valid":
        order = await _until(client, url, "valid")
    status, _, body = await client.post(order["certificate"], "")
    assert status == 200, body
    assert body.startswith(b"-----BEGIN CERTIFICATE-----"), body
    return body


async def _answer(client: Client, url: str, tokens: dict[str, str]) -> None:
    authorization, _ = await client.read(url)
    if authorization["status"] == "valid":
        return
    challenge = next(one for one in authorization["challenges"] if one["type"] == "http-01")
    tokens[challenge["token"]] = client.thumbprint
    status, _, body = await client.post(challenge["url"], {})
    assert status == 200, body
    await _until(client, url, "valid")


async def _until(client: Client, url: str, wanted: str) -> dict[str, Any]:
    """Asks until the object has this status. A real client would wait longer between; that only idles."""
    for pause in itertools.chain([0.0, 0.001, 0.002, 0.004], itertools.repeat(0.008)):
        found, _ = await client.read(url)
        if found["status"] == wanted:
            return found
        assert found["status"] in ("pending", "ready", "processing"), found
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def prepare_csrs(name: str, count: int) -> list[str]:
    """CSRs for one name, each with a key of its own."""
    return [csr_of(ec.generate_private_key(ec.SECP256R1()), name) for _ in range(count)]


def csr_of(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    san = x509.SubjectAlternativeName([x509.DNSName(name)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder(subject).add_extension(san, critical=False)
    return b64(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


async def clients_of(target: Target, count: int) -> list[Client]:
    """Connections with an account each; every credential is used once."""
    clients = [Client(target) for _ in range(count)]
    for client, credential in zip(clients, target.credentials, strict=False):
        await client.connect()
        await client.register(credential)
    return clients


async def run_load(
    clients: list[Client], csrs: Iterable[str], tokens: dict[str, str], on_order: OnOrder | None = None
) -> tuple[float, list[float]]:
    """Uses up the CSRs on all clients together; returns the seconds it took and those of each order.

    ``tokens`` is where answers to challenges are laid out: token -> thumbprint.
    """
    left, took = iter(csrs), list[float]()

    async def work(client: Client) -> None:
        for csr in left:
            begun = time.monotonic()
            await asyncio.wait_for(one_order(client, csr, tokens), _PATIENCE)
            took.append(time.monotonic() - begun)
            if on_order is not None:
                on_order(len(took))

    begun = time.monotonic()
    await asyncio.gather(*(work(client) for client in clients))
    return time.monotonic() - begun, took


async def serve_http01(tokens: dict[str, str], port: int = _HTTP01_PORT) -> asyncio.Server:
    """Answers the validations of RFC 8555 section 8.3."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        token = head.split(" ", 2)[1].rpartition("/")[2]
        body = f"{token}.{tokens[token]}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, ["127.0.0.1", "::1"], port)
