"""A receiver of webhooks for tests: real TLS on loopback, answers by the test, and what it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

HOST = "hooks.test"


@dataclass
class Sent:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Said = Callable[[Sent], web.StreamResponse]


def taken(sent: Sent) -> web.StreamResponse:
    return web.Response(status=204)


@dataclass
class Receiver:
    """``said``: what it answers; ``waits``: an event that it waits for before."""

    port: int
    ca: str
    sent: list[Sent] = field(default_factory=list)
    said: Said = taken
    waits: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/in?of=sekisho"

    @property
    def named(self) -> str:
        return f"{HOST}:{self.port}"


@asynccontextmanager
async def receiving(folder: Path, name: str = HOST) -> AsyncIterator[Receiver]:
    """One that runs, with a certificate for ``name``: of those in one folder the same."""
    file, public = folder / f"{name}.pem", folder / f"{name}.crt"
    if not public.exists():
        public.write_text(certificate_of(file, name))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    found = Receiver(0, public.read_text())

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        came = Sent(request.path_qs, {k.lower(): v for k, v in request.headers.items()}, await request.read())
        found.sent.append(came)
        if found.waits is not None:
            await found.waits.wait()
        return found.said(came)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


def certificate_of(path: Path, name: str) -> str:
    """Writes a key and its self-signed certificate; returns the certificate, which is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)
    return pem.decode()
