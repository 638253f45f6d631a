"""A stand-in for an authenticator, for those who try the demo in a browser that has none.

It signs whatever it is asked for, without anybody being looked at: so it is a demo's alone. A console has it
only where `application` below made it, and nothing but the demo does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enroll.operators.store import Passkey
from gateway.sites import console
from gateway.sites.console.asking import STAND_IN
from gateway.sites.console.passkeys import Party
from gateway.web.context import Gate

#: What its passkeys are called.
LABEL = "デモの代用品 / demo stand-in"
# WebAuthn level 3 section 6.1: somebody was there, and was verified.
_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40
# Bytes that are drawn of an identifier, and that say behind them that it is one of the stand-in's.
_DRAWN = 8
# CBOR: {"fmt": "none", "attStmt": {}, "authData": bytes, of which the number follows}.
_NO_ATTESTATION = bytes.fromhex("a363666d74646e6f6e656761747453746d74a068617574684461746158")
# Points of P-256 (SP 800-186 section 3.2.1.3).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class StandIn:
    """Knows its passkeys by their identifiers, and has the key of each from its seed: whichever process is
    asked, and after a start with the same directory."""

    seed: bytes

    def used(self, party: Party, known: Sequence[Passkey], challenge: str) -> str:
        """As a browser would send it, of the first of its own; "" where there is none."""
        mine = next((each.credential_id for each in known if self._is_own(each.credential_id)), None)
        return "" if mine is None else signed(self.key_of(mine), mine, party, challenge)

    def made(self, party: Party, challenge: str) -> str:
        """What a browser would send of a passkey that it made (WebAuthn section 6.5, format "none")."""
        credential = self.another()
        identifier = urlsafe_b64decode(credential + "==")
        data = authenticator_data(party, _PRESENT | _VERIFIED | _ATTESTED, 0) + bytes(16)
        data += len(identifier).to_bytes(2, "big") + identifier + public_key(self.key_of(credential))
        head = _NO_ATTESTATION + bytes([len(data)])
        told = client_data("webauthn.create", challenge, party.origin)
        response = {"clientDataJSON": b64(told), "attestationObject": b64(head + data)}
        return json.dumps({"id": credential, "rawId": credential, "type": "public-key", "response": response})

    def another(self) -> str:
        """The identifier of a new one."""
        drawn = secrets.token_bytes(_DRAWN)
        return b64(drawn + self._mark(drawn))

    def key_of(self, credential: str) -> ec.EllipticCurvePrivateKey:
        """The key of one of its own."""
        secret = hmac.digest(self.seed, b"key " + credential.encode(), "sha256")
        return ec.derive_private_key(int.from_bytes(secret, "big") % (_ORDER - 1) + 1, ec.SECP256R1())

    def _mark(self, drawn: bytes) -> bytes:
        return hmac.digest(self.seed, b"passkey " + drawn, "sha256")[:_DRAWN]

    def _is_own(self, credential: str) -> bool:
        try:
            raw = urlsafe_b64decode(credential + "=" * (-len(credential) % 4))
        except ValueError:
            return False
        return hmac.compare_digest(raw[_DRAWN:], self._mark(raw[:_DRAWN]))


def application(gate: Gate, stand_in: StandIn | None) -> web.Application:
    """The console, with a stand-in if there is one."""
    app = console.application(gate)
    if stand_in is not None:
        app[STAND_IN] = stand_in
    return app


def public_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as a passkey's record has it (COSE_Key, RFC 9053 section 7.1.1)."""
    point = key.public_key().public_numbers()
    x, y = (each.to_bytes(32, "big") for each in (point.x, point.y))
    return bytes.fromhex("a5010203262001215820") + x + bytes.fromhex("225820") + y


def signed(
    key: ec.EllipticCurvePrivateKey,
    credential_id: str,
    party: Party,
    challenge: str,
    *,
    origin: str = "",
    flags: int = _PRESENT | _VERIFIED,
    count: int = 0,
) -> str:
    """What a browser would send of a passkey that was used (WebAuthn section 7.2)."""
    data = authenticator_data(party, flags, count)
    told = client_data("webauthn.get", challenge, origin or party.origin)
    made = key.sign(data + hashlib.sha256(told).digest(), ec.ECDSA(hashes.SHA256()))
    response = {"clientDataJSON": b64(told), "authenticatorData": b64(data), "signature": b64(made)}
    return json.dumps(
        {"id": credential_id, "rawId": credential_id, "type": "public-key", "response": response}
    )


def authenticator_data(party: Party, flags: int, count: int) -> bytes:
    """Section 6.1, without what is attested."""
    return hashlib.sha256(party.host.encode()).digest() + bytes([flags]) + count.to_bytes(4, "big")


def client_data(kind: str, challenge: str, origin: str) -> bytes:
    """Section 5.8.1."""
    told = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}
    return json.dumps(told, separators=(",", ":")).encode()


def b64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
