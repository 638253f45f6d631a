"""A door of the protocol over real HTTP on the loopback, and a client that signs by itself."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import ca.store
from ca.anchors import TrustAnchors
from ca.profiles import CLIENTS
from ca.trust import Presentation, VerifiedPeer, judge
from enroll.acme.credentials import IssuedCredential, create
from enroll.acme.directory import Terms
from enroll.acme.nonces import Nonces, memory_table
from enroll.acme.server import AcmeServer
from enroll.acme.urls import Urls
from enroll.acme.web import handler
from enroll.ra import RegistrationAuthority
from tests import datadirs
from tests.enroll.acme.signing import ALGORITHM, b64, jwk, jws, mac_jws
from tests.enroll.described import faults
from tests.looking import look

ZONE = "users.kinen.example"
USER = "K12345678"
FQDN = "k12345678.users.kinen.example"
P256 = ec.SECP256R1()

_OFFERED = {name: each.description for name, each in CLIENTS.items()}


def new_key() -> Any:
    return ec.generate_private_key(P256)


def csr(*names: str, key: Any = None, cn: str | None = None) -> str:
    subject = x509.Name([] if cn is None else [x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(san, critical=False)
    return b64(builder.sign(key or new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER))


@dataclass
class Reply:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        assert self.headers["Content-Type"] == "application/problem+json"
        document = self.json
        assert document["status"] == self.status
        return self.status, document["type"].rpartition(":")[2]

    def links(self, rel: str) -> list[str]:
        found = [link.partition(";") for link in self.headers.getall("Link", [])]
        return [url.strip("<>") for url, _, parameters in found if f'rel="{rel}"' in parameters]


@dataclass
class Site:
    """One server, served. ``peer`` is the certificate that connections present, where one is asked for."""

    server: AcmeServer
    session: aiohttp.ClientSession
    peer: VerifiedPeer | None = None

    @property
    def ra(self) -> RegistrationAuthority:
        return self.server.ra

    async def call(self, method: str, url: str, **arguments: Any) -> Reply:
        async with self.session.request(method, url, **arguments) as response:
            reply = Reply(response.status, response.headers, await response.read())
        root = self.server.urls.root
        if url.startswith(root + "/") and method != "OPTIONS":
            # Whatever a test of the protocol is about: its answers are those of openapi.yaml.
            path = url.removeprefix(root)
            assert faults(method, path, reply.status, reply.headers, reply.body) == [], (reply, path)
        return reply

    def to(self, resource: str, *names: str) -> str:
        return self.server.urls.to(resource, *names)

    async def nonce(self) -> str:
        return str((await self.call("HEAD", self.to("newNonce"))).headers["Replay-Nonce"])

    async def credential(self, user_id: str = USER, **arguments: Any) -> IssuedCredential:
        (issued,) = await create(self.ra, user_id, actor="test", **arguments)
        return issued

    async def enrolled(self, **arguments: Any) -> Client:
        """A client whose account is bound to a new credential."""
        client = Client(self)
        reply = await client.register(await self.credential(**arguments))
        assert reply.status == 201
        return client


@dataclass
class Client:
    """An account key with what it is known by."""

    site: Site
    key: Any = field(default_factory=new_key)
    kind: str = "P-256"
    kid: str = ""

    async def post(self, url: str, payload: Any = "", *, by_key: bool = False, **changes: Any) -> Reply:
        """A signed request; payload "" is POST-as-GET. Changes to None remove a header."""
        signer = {"jwk": jwk(self.key)} if by_key or not self.kid else {"kid": self.kid}
        nonce = changes.pop("nonce", None) or await self.site.nonce()
        protected = {"alg": ALGORITHM[self.kind], "nonce": nonce, "url": url} | signer | changes
        return await self.send(url, jws(self.key, protected, payload))

    async def send(self, url: str, body: Any, content_type: str = "application/jose+json") -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.site.call("POST", url, data=data, headers={"Content-Type": content_type})

    def binding(self, credential: IssuedCredential, **changes: Any) -> dict[str, str]:
        protected = {"alg": "HS256", "kid": credential.kid, "url": self.site.to("newAccount")} | changes
        return mac_jws(credential.hmac_key, protected, jwk(self.key))

    async def register(self, credential: IssuedCredential | None = None, **members: Any) -> Reply:
        bound = {} if credential is None else {"externalAccountBinding": self.binding(credential)}
        reply = await self.post(self.site.to("newAccount"), bound | members, by_key=True)
        if reply.status in (200, 201):
            self.kid = reply.headers["Location"]
        return reply

    async def order(self, *names: str, **members: Any) -> Reply:
        identifiers = [{"type": "dns", "value": name} for name in names or (FQDN,)]
        return await self.post(self.site.to("newOrder"), {"identifiers": identifiers} | members)

    async def finalize(self, order: Reply, *names: str, key: Any = None) -> Reply:
        return await self.post(order.json["finalize"], {"csr": csr(*names or (FQDN,), key=key)})

    async def certificate(self, *names: str, key: Any = None) -> x509.Certificate:
        """A complete order."""
        order = await self.order(*names)
        assert order.status == 201, order.body
        final = await self.finalize(order, *names, key=key)
        assert final.json["status"] == "valid", final.body
        chain = await self.post(final.json["certificate"])
        return x509.load_pem_x509_certificates(chain.body)[0]


@asynccontextmanager
async def serve(
    ra: RegistrationAuthority, *, by_certificate: bool = False, terms: str | None = None
) -> AsyncIterator[Site]:
    """The door on a free port of the loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    root = f"http://127.0.0.1:{listener.getsockname()[1]}/acme"
    server = AcmeServer(
        ra,
        Urls(root),
        Terms(
            {name: each.description for name, each in CLIENTS.items()},
            external_account_required=not by_certificate,
            terms_of_service=terms,
        ),
        Nonces(memory_table(), b"n" * 32),
        "https://help.kinen.example/acme",
    )
    connector = aiohttp.TCPConnector(limit=50)
    async with aiohttp.ClientSession(connector=connector) as session:
        site = Site(server, session)
        server = web.Server(handler(server, lambda _: site.peer))
        running = await asyncio.get_running_loop().create_server(server, sock=listener)
        try:
            yield site
        finally:
            running.close()
            await server.shutdown(timeout=0.05)


@asynccontextmanager
async def world(path: Path, **arguments: Any) -> AsyncIterator[Site]:
    """A registration authority with one user, and the door."""
    async with datadirs.open_office(path) as ra:
        await datadirs.admit(ra, USER)
        async with serve(ra, **arguments) as site:
            yield site


def peer_of(ra: RegistrationAuthority, certificate: x509.Certificate) -> VerifiedPeer:
    """The certificate as a mutual-TLS site hands it over: really judged."""
    anchors = TrustAnchors(tuple(issuer.certificate for issuer in ra.authority.issuers))
    leaf = certificate.public_bytes(serialization.Encoding.DER)
    db = look(ra.database)
    verdict = judge(
        Presentation(leaf, verified=True),
        anchors,
        lambda fingerprint: ca.store.certificate_status(db, fingerprint),
        ra.now(),
    )
    assert isinstance(verdict, VerifiedPeer), verdict
    return verdict
