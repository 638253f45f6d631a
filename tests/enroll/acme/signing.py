"""A small signing client, written from the RFCs and not from the code under test."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

URL = "https://ca.example/acme/new-order"
KID = "https://ca.example/acme/account/1"
KEYS: dict[str, Any] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}
OTHER = ec.generate_private_key(ec.SECP256R1())
ALGORITHM = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "RSA": "RS256", "Ed25519": "EdDSA"}
_SIZES = {"secp256r1": (32, "P-256"), "secp384r1": (48, "P-384"), "secp521r1": (66, "P-521")}
_HASHES = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}


def b64(data: bytes | str | dict[str, Any]) -> str:
    if isinstance(data, dict):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key: Any) -> dict[str, str]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    size, name = _SIZES[public.curve.name]
    point = public.public_numbers()
    return {"kty": "EC", "crv": name, "x": number(point.x, size), "y": number(point.y, size)}


def sign_bytes(key: Any, alg: str, message: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    size = _SIZES[key.curve.name][0]
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(_HASHES.get(str(alg), hashes.SHA256()))))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def header(kind: str = "P-256", **changes: Any) -> dict[str, Any]:
    """A protected header with ``kid``; a change to None removes the member."""
    protected = {"alg": ALGORITHM[kind], "kid": KID, "nonce": "AAAA", "url": URL} | changes
    return {name: value for name, value in protected.items() if value is not None}


def jws(key: Any, protected: dict[str, Any] | str, payload: dict[str, Any] | str | bytes) -> dict[str, str]:
    first, second = b64(protected), b64(payload)
    alg = protected.get("alg", "ES256") if isinstance(protected, dict) else "ES256"
    signature = sign_bytes(key, alg, f"{first}.{second}".encode())
    return {"protected": first, "payload": second, "signature": b64(signature)}


def mac_jws(
    secret: bytes, protected: dict[str, Any], payload: dict[str, Any], digest: str = "sha256"
) -> dict[str, str]:
    first, second = b64(protected), b64(payload)
    mac = hmac.new(secret, f"{first}.{second}".encode(), getattr(hashlib, digest)).digest()
    return {"protected": first, "payload": second, "signature": b64(mac)}
