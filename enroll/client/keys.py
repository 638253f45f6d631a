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
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CertificateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

#: The kinds of key that ``--key`` takes.
KINDS = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096")
_COORDINATE = 32


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


def account_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """An account key as this client makes them: P-256. ValueError for any other."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError("the account key is not a P-256 key")
    return key


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public key as a JWK (RFC 7518 section 6.2.1)."""
    numbers = key.public_key().public_numbers()
    x, y = (b64(n.to_bytes(_COORDINATE, "big")) for n in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def thumbprint(key: ec.EllipticCurvePrivateKey) -> str:
    """RFC 7638: SHA-256 of the JWK's required members in order."""
    canonical = json.dumps(jwk(key), sort_keys=True, separators=(",", ":"))
    return b64(hashlib.sha256(canonical.encode()).digest())


def sign(key: ec.EllipticCurvePrivateKey, protected: dict[str, Any], payload: bytes) -> dict[str, str]:
    """A flattened ES256 JWS. ``payload`` is empty for POST-as-GET (RFC 8555 section 6.3)."""
    head, body = b64(json.dumps(protected).encode()), b64(payload)
    r, s = decode_dss_signature(key.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256())))
    # RFC 7518 section 3.4: R || S, 32 octets each, not DER.
    signature = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    return {"protected": head, "payload": body, "signature": b64(signature)}


def binding(kid: str, mac_key: bytes, url: str, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
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
