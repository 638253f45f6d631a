"""Where the client keeps what is its own: keys in place (0600), certificates, and when to renew."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from enroll.client.keys import CertificateKey, to_pem

_KEY = "key.pem"
_CERTIFICATE = "cert.pem"
_CHAIN = "chain.pem"
_FULLCHAIN = "fullchain.pem"
_P12 = "cert.p12"
_STATE = "state.json"
_ACCOUNT = "account.pem"
_PENDING = "pending.pem"
_STORED = (_KEY, _CERTIFICATE, _CHAIN, _FULLCHAIN, _P12)


@dataclass(frozen=True)
class Folder:
    """One directory, one account, one certificate."""

    path: Path

    @property
    def key_file(self) -> Path:
        return self.path / _KEY

    @property
    def fullchain_file(self) -> Path:
        return self.path / _FULLCHAIN

    @property
    def account_file(self) -> Path:
        return self.path / _ACCOUNT

    @property
    def pending_file(self) -> Path:
        """The key of the certificate being ordered; it is there from before the order to its end."""
        return self.path / _PENDING

    def enrolled(self) -> bool:
        return (self.path / _CERTIFICATE).exists()

    def recover(self) -> None:
        """Finishes what an interrupted ``store`` left, or undoes it where nothing was replaced yet."""
        drafts = {name: self.path / f"{name}.new" for name in _STORED}
        begun = not drafts[_KEY].exists()
        for name, draft in drafts.items():
            if draft.exists() and begun:
                draft.replace(self.path / name)
            draft.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """What enroll and renew remember: directory, ca_file, names, when to look again."""
        try:
            return dict(json.loads((self.path / _STATE).read_text("utf-8")))
        except FileNotFoundError:
            return {}

    def remember(self, **changes: Any) -> None:
        state = self.state() | changes
        write(self.path / _STATE, json.dumps(state, indent=1, sort_keys=True).encode())

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.path / _CERTIFICATE).read_bytes())

    def key(self) -> CertificateKey:
        key = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
        return key  # type: ignore[return-value]

    def store(self, key: CertificateKey, chain: bytes, p12_password: str | None) -> list[Path]:
        """Writes key, certificate, chain and, with a password, a PKCS#12; the key first.

        Each file is replaced whole. After an interruption ``recover`` makes them one set again: old
        while ``key.pem.new`` waits, new from then on.
        """
        leaf, *issuers = x509.load_pem_x509_certificates(chain)
        pem = serialization.Encoding.PEM
        rest = b"".join(issuer.public_bytes(pem) for issuer in issuers)
        contents = {_KEY: to_pem(key), _CERTIFICATE: leaf.public_bytes(pem), _CHAIN: rest, _FULLCHAIN: chain}
        if p12_password is not None:
            contents[_P12] = _pkcs12(key, leaf, issuers, p12_password)
        # The key's draft is written first and goes first: while it waits, nothing was replaced.
        for name, content in contents.items():
            write(self.path / f"{name}.new", content)
        for name in contents:
            (self.path / f"{name}.new").replace(self.path / name)
        return [self.path / name for name in contents]


def write(path: Path, content: bytes) -> None:
    """Writes a file whole, mode 0600, in a directory that is made with mode 0700 if need be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def _pkcs12(
    key: CertificateKey, leaf: x509.Certificate, issuers: list[x509.Certificate], password: str
) -> bytes:
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(100_000)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
    name = leaf.subject.rfc4514_string().encode()
    return pkcs12.serialize_key_and_certificates(name, key, leaf, issuers, encryption)
