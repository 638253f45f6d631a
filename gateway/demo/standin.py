"""A stand-in for an authenticator, for those who try the demo in a browser that has none.

It signs whatever it is asked for, without anybody being looked at: so it is a demo's alone. A console has it
only where `application` below made it, and nothing but the demo does.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping

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
_PRESENT, _VERIFIED = 0x01, 0x04


def application(gate: Gate, keys: Mapping[str, ec.EllipticCurvePrivateKey]) -> web.Application:
    """The console with a stand-in. ``keys``: by the identifiers of the passkeys that it stands for."""
    app = console.application(gate)

    def answer(party: Party, passkey: Passkey, challenge: str) -> str:
        key = keys.get(passkey.credential_id)
        return "" if key is None else signed(key, passkey.credential_id, party, challenge)

    app[STAND_IN] = answer
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
