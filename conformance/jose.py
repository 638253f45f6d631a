"""JWS and JWK as ACME uses them (RFC 7515, 7517, 7518, 7638, 8037), written to be bent.

Nothing is checked here: the suite has to be able to sign what no honest client would.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

# RFC 7518 3.4: each algorithm has its curve.
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}


@dataclass(frozen=True)
class Key:
    """A private key and the JWS algorithm that goes with it."""

    alg: str
    private: Private

    @property
    def jwk(self) -> dict[str, str]:
        return public_jwk(self.private)

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.jwk)

    def sign(self, data: bytes) -> bytes:
        return sign(self.private, self.alg, data)


def new_key(alg: str = "ES256", bits: int = 2048) -> Key:
    """A new key for the JWS algorithm; bits counts for RSA only."""
    if alg in CURVES:
        return Key(alg, ec.generate_private_key(CURVES[alg]()))
    if alg == "EdDSA":
        return Key(alg, ed25519.Ed25519PrivateKey.generate())
    return Key(alg, rsa.generate_private_key(65537, bits))


@cache
def spare_key(alg: str, bits: int = 2048) -> Key:
    """A key that may be shared by cases whose requests are refused: RSA keys are slow to make."""
    return new_key(alg, bits)


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: str) -> bytes:
    """Decodes canonical unpadded base64url; raises ValueError for anything else."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise ValueError("not canonical base64url")
    return data


def number(value: int, length: int = 0) -> str:
    """A Base64urlUInt (RFC 7518 section 2)."""
    return b64(value.to_bytes(max(length, (value.bit_length() + 7) // 8, 1), "big"))


def public_jwk(private: Private) -> dict[str, str]:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": b64(raw)}
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.public_key().public_numbers()
        return {"e": number(numbers.e), "kty": "RSA", "n": number(numbers.n)}
    point = private.public_key().public_numbers()
    length = (private.curve.key_size + 7) // 8
    name = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}.get(private.curve.name)
    return {
        "crv": name or private.curve.name,
        "kty": "EC",
        "x": number(point.x, length),
        "y": number(point.y, length),
    }


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: SHA-256 of the required members in lexicographic order."""
    members = {"EC": "crv kty x y", "RSA": "e kty n", "OKP": "crv kty x"}[jwk["kty"]].split()
    return b64(hashlib.sha256(compact({name: jwk[name] for name in members})).digest())


def sign(private: Private, alg: str, data: bytes) -> bytes:
    """The JWS signature octets: R || S for ECDSA (RFC 7518 3.4), PKCS1-v1_5 for RS*."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(data)
    if isinstance(private, rsa.RSAPrivateKey):
        digest = {"384": hashes.SHA384, "512": hashes.SHA512}.get(alg[-3:], hashes.SHA256)()
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if alg[:2] == "PS" else None
        return private.sign(data, scheme or padding.PKCS1v15(), digest)
    length = (private.curve.key_size + 7) // 8
    r, s = decode_dss_signature(private.sign(data, ec.ECDSA(_curve_hash(private))))
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def der_signature(private: Private, data: bytes) -> bytes:
    """An ECDSA signature in DER, as X.509 has it and JWS must not."""
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("an EC key")
    return private.sign(data, ec.ECDSA(_curve_hash(private)))


_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


def _curve_hash(private: ec.EllipticCurvePrivateKey) -> hashes.HashAlgorithm:
    return _HASHES.get(private.curve.name, hashes.SHA256)()


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def flattened(protected: bytes, payload: bytes, signature: bytes) -> dict[str, object]:
    """The flattened JSON serialisation (RFC 7515 7.2.2)."""
    return {"protected": b64(protected), "payload": b64(payload), "signature": b64(signature)}


def jws(key: Key, protected: Mapping[str, object], payload: bytes) -> dict[str, object]:
    """A signed flattened JWS."""
    header = compact(protected)
    return flattened(header, payload, key.sign(signing_input(header, payload)))


def signing_input(protected: bytes, payload: bytes) -> bytes:
    return f"{b64(protected)}.{b64(payload)}".encode("ascii")


def mac_jws(mac_key: bytes, protected: Mapping[str, object], payload: bytes) -> dict[str, object]:
    """A flattened JWS with an HMAC by the header's alg (HS256 unless it names HS384 or HS512)."""
    header = compact(protected)
    value = mac(mac_key, str(protected.get("alg")), signing_input(header, payload))
    return flattened(header, payload, value)


def mac(mac_key: bytes, alg: str, data: bytes) -> bytes:
    """The HMAC of RFC 7518 3.2."""
    digest = {"HS384": "sha384", "HS512": "sha512"}.get(alg, "sha256")
    return hmac.new(mac_key, data, digest).digest()
