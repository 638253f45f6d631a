"""Keys, JWS and CSRs on the client's side (RFC 7515, RFC 7518, RFC 7638, RFC 8555 section 7.3.4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CertificateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
#: P-256 as this client makes them; others where it signs for another client, or by a certificate's key.
AccountKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

#: The kinds of key that ``--key`` takes.
KINDS = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096")
# Curve -> (name and algorithm in JOSE, size of a coordinate, digest): RFC 7518 sections 3.4 and 6.2.1.1.
_CURVES: dict[str, tuple[str, str, int, hashes.HashAlgorithm]] = {
    "secp256r1": ("P-256", "ES256", 32, hashes.SHA256()),
    "secp384r1": ("P-384", "ES384", 48, hashes.SHA384()),
}


def new_key(kind: str = "ec-p256") -> CertificateKey:
    """A fresh private key of a kind in ``KINDS``."""
    if kind.startswith("rsa-"):
        return rsa.generate_private_key(65_537, int(kind[4:]))
    return ec.generate_private_key(ec.SECP256R1() if kind == "ec-p256" else ec.SECP384R1())


def to_pem(key: CertificateKey) -> bytes:
    """PKCS#8, not encrypted: the file's mode 0600 is its guard."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_octets(holder: x509.Certificate | CertificateKey) -> bytes:
    """Its SubjectPublicKeyInfo, DER: equal for a key and its certificate, and for no other two."""
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def account_key(pem: bytes) -> AccountKey:
    """An account key: P-256, P-384, or RSA of 2048 to 4096 bits. ValueError for any other."""
    key = serialization.load_pem_private_key(pem, None)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPrivateKey) and 2048 <= key.key_size <= 4096:
        return key
    raise ValueError("the account key is none of P-256, P-384 and RSA of 2048 to 4096 bits")


def jwk(key: AccountKey) -> dict[str, str]:
    """The public key as a JWK (RFC 7518 sections 6.2.1 and 6.3.1), with its required members only."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_numbers()
        return {"e": _number(public.e), "kty": "RSA", "n": _number(public.n)}
    point = key.public_key().public_numbers()
    curve, _, size, _ = _CURVES[key.curve.name]
    x, y = (b64(n.to_bytes(size, "big")) for n in (point.x, point.y))
    return {"crv": curve, "kty": "EC", "x": x, "y": y}


def thumbprint(key: AccountKey) -> str:
    """RFC 7638: SHA-256 of the JWK's required members in order."""
    canonical = json.dumps(jwk(key), sort_keys=True, separators=(",", ":"))
    return b64(hashlib.sha256(canonical.encode()).digest())


def sign(key: AccountKey, protected: dict[str, Any], payload: bytes) -> dict[str, str]:
    """A flattened JWS by the key's own algorithm; POST-as-GET has an empty payload (RFC 8555 section 6.3)."""
    alg = "RS256" if isinstance(key, rsa.RSAPrivateKey) else _CURVES[key.curve.name][1]
    head, body = b64(json.dumps({"alg": alg} | protected).encode()), b64(payload)
    return {"protected": head, "payload": body, "signature": b64(_signed(key, f"{head}.{body}".encode()))}


def binding(kid: str, mac_key: bytes, url: str, key: AccountKey) -> dict[str, str]:
    """The external account binding of an account key: HS256 over its JWK."""
    head = b64(json.dumps({"alg": "HS256", "kid": kid, "url": url}).encode())
    body = b64(json.dumps(jwk(key)).encode())
    return {
        "protected": head,
        "payload": body,
        "signature": b64(hmac.digest(mac_key, f"{head}.{body}".encode(), "sha256")),
    }


def csr(key: CertificateKey, names: Sequence[str]) -> bytes:
    """A PKCS#10 request (DER) with an empty subject: the server builds the name itself."""
    san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(san, critical=True).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Reads base64url, padded or not: people paste either."""
    return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))


def _signed(key: AccountKey, message: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    _, _, size, digest = _CURVES[key.curve.name]
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
    # RFC 7518 section 3.4: R || S of fixed size, not DER.
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
