"""A client written from PROTOCOL.md alone, as another team would: the standard library and `cryptography`.

It imports nothing of ours, and does nothing for comfort. What it had to guess is answered in the document.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def jwk(key: Key) -> dict[str, str]:
    point = key.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": b64(point.x.to_bytes(32)), "y": b64(point.y.to_bytes(32))}


def jws(key: Key, protected: dict[str, Any], payload: Any) -> dict[str, str]:
    """Section 2: flattened, ES256, r and s one after the other. None is POST-as-GET."""
    first = b64(json.dumps(protected).encode())
    second = "" if payload is None else b64(json.dumps(payload).encode())
    r, s = decode_dss_signature(key.sign(f"{first}.{second}".encode(), ec.ECDSA(hashes.SHA256())))
    return {"protected": first, "payload": second, "signature": b64(r.to_bytes(32) + s.to_bytes(32))}


def csr(key: Key, name: str) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return b64(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


def cert_id(certificate: x509.Certificate) -> str:
    """Section 9, RFC 9773 section 4.1."""
    found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert found.key_identifier is not None
    number = certificate.serial_number
    return f"{b64(found.key_identifier)}.{b64(number.to_bytes(number.bit_length() // 8 + 1))}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    def link(self, relation: str) -> str | None:
        found = [re.fullmatch(r'<(\S+)>;rel="(\S+)"', each) for each in self.headers.get_all("Link", [])]
        return next((each[1] for each in found if each is not None and each[2] == relation), None)


class Refused(Exception):
    """A problem document."""

    def __init__(self, answer: Answer) -> None:
        self.status, self.headers, self.document = answer.status, answer.headers, answer.json
        super().__init__(f"{self.status} {self.document}")

    @property
    def said(self) -> tuple[int, str]:
        return self.status, str(self.document["type"]).rpartition(":")[2]


@dataclass
class Client:
    """One account at one directory. ``presents``: files with the chain and the key to present, if any."""

    directory_url: str
    ca_file: Path
    key: Key = field(default_factory=new_key)
    presents: tuple[Path, Path] | None = None
    kid: str | None = None
    nonce: str | None = None
    directory: dict[str, Any] = field(default_factory=dict)

    def request(self, method: str, url: str, body: bytes | None = None, **headers: str) -> Answer:
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.presents is not None:
            context.load_cert_chain(*self.presents)
        host, port = parts.hostname or "", parts.port or 443
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=60)
        # The demo's names end in .localhost, which not every resolver knows.
        connection.sock = context.wrap_socket(
            socket.create_connection(("127.0.0.1", port), timeout=60), server_hostname=host
        )
        try:
            connection.request(method, url[len(f"{parts.scheme}://{parts.netloc}") :], body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        self.nonce = answer.headers.get("Replay-Nonce") or self.nonce
        return answer

    def url(self, resource: str) -> str:
        if not self.directory:
            self.directory = self.request("GET", self.directory_url).json
        return str(self.directory[resource])

    def post(self, url: str, payload: Any = None, *, key: Key | None = None) -> Answer:
        """Section 2: signed by the account, or by ``key`` itself; a bad nonce is tried again once."""
        for again in (True, False):
            if self.nonce is None:
                self.request("HEAD", self.url("newNonce"))
            nonce, self.nonce = self.nonce, None
            by_key = key or (self.key if self.kid is None else None)
            signer: dict[str, Any] = {"kid": self.kid} if by_key is None else {"jwk": jwk(by_key)}
            protected = {"alg": "ES256", "nonce": nonce, "url": url, **signer}
            body = json.dumps(jws(by_key or self.key, protected, payload)).encode()
            answer = self.request("POST", url, body, **{"Content-Type": "application/jose+json"})
            if answer.status < 400:
                return answer
            refused = Refused(answer)
            if refused.said[1] != "badNonce" or not again:
                raise refused
        raise AssertionError

    def register(self, credential: dict[str, Any] | None = None, **members: Any) -> Answer:
        """Section 4; section 13.3 where there is no credential."""
        payload = dict(members)
        if credential is not None:
            header = {"alg": "HS256", "kid": credential["kid"], "url": self.url("newAccount")}
            first, second = b64(json.dumps(header).encode()), b64(json.dumps(jwk(self.key)).encode())
            secret = unb64(credential["hmac_key"])
            mac = b64(hmac.digest(secret, f"{first}.{second}".encode(), "sha256"))
            payload["externalAccountBinding"] = {"protected": first, "payload": second, "signature": mac}
        made = self.post(self.url("newAccount"), payload)
        self.kid = str(made.headers["Location"])
        return made

    def order(self, *names: str, **members: Any) -> Answer:
        identifiers = [{"type": "dns", "value": name} for name in names]
        return self.post(self.url("newOrder"), {"identifiers": identifiers, **members})

    def answer_challenges(self, order: Answer) -> list[Answer]:
        """Section 13.3: over this connection's certificate."""
        found = [self.post(url).json["challenges"][0]["url"] for url in order.json["authorizations"]]
        return [self.post(url, {}) for url in found]

    def finalize(self, order: Answer, name: str, key: Key) -> tuple[Answer, list[x509.Certificate]]:
        url = str(order.headers["Location"])
        final = self.post(order.json["finalize"], {"csr": csr(key, name)})
        while final.json["status"] == "processing":
            final = self.post(url)
        chain = self.post(final.json["certificate"])
        return chain, x509.load_pem_x509_certificates(chain.body)

    def issue(self, name: str, key: Key, **members: Any) -> x509.Certificate:
        return self.finalize(self.order(name, **members), name, key)[1][0]

    def orders(self) -> list[str]:
        """Section 6: all pages."""
        url, found = self.post(self.kid or "").json["orders"], list[str]()
        while url is not None:
            page = self.post(url)
            found += page.json["orders"]
            url = page.link("next")
        return found

    def change_key(self, new: Key) -> None:
        url = self.url("keyChange")
        inner = jws(
            new, {"alg": "ES256", "jwk": jwk(new), "url": url}, {"account": self.kid, "oldKey": jwk(self.key)}
        )
        self.post(url, inner)
        self.key = new

    def revoke(self, certificate: x509.Certificate, reason: int = 0, key: Key | None = None) -> Answer:
        der = b64(certificate.public_bytes(serialization.Encoding.DER))
        return self.post(self.url("revokeCert"), {"certificate": der, "reason": reason}, key=key)

    def renewal(self, certificate: x509.Certificate) -> Answer:
        return self.request("GET", f"{self.url('renewalInfo')}/{cert_id(certificate)}")


def thumbprint(key: Key) -> str:
    """RFC 7638."""
    return b64(hashlib.sha256(json.dumps(jwk(key), sort_keys=True, separators=(",", ":")).encode()).digest())
