"""Account keys: JWK (RFC 7517, 7518, 8037) in, a checked key with its thumbprint (RFC 7638) out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import ca.keys
from ca.errors import Unacceptable
from ca.keys import PublicKey
from enroll.acme.wire import Json, base64url, decode_object, encode_base64url, required, text
from enroll.problems import Problem

#: Kinds of account key, in the words of `ca.keys.kind_of`. P-521 signs requests but is not certified.
ACCOUNT_KINDS = (*ca.keys.KINDS, "secp521r1")

_CURVES: Mapping[str, tuple[ec.EllipticCurve, int]] = MappingProxyType(
    {"P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48), "P-521": (ec.SECP521R1(), 66)}
)
_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
# RFC 7518 section 6 and RFC 8037 section 2: members that only private or symmetric keys have.
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A public key that passed every check. Two are equal when their keys are.

    ``jwk`` is the canonical text of RFC 7638 section 3, which is what gets stored; ``thumbprint`` is its
    SHA-256 in base64url; ``spki_sha256`` is the name that certificates know the same key by.
    """

    jwk: str
    thumbprint: str
    spki_sha256: str
    public: PublicKey

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccountKey) and self.jwk == other.jwk

    def __hash__(self) -> int:
        return hash(self.jwk)

    @property
    def kind(self) -> str:
        """``P-256``, ``P-384``, ``P-521``, ``RSA`` or ``Ed25519``, as the algorithm table names them."""
        return _kind(self.public)


def parse_jwk(jwk: Mapping[str, Json]) -> AccountKey:
    """The key in a JWK. ``malformed`` if it is none, ``badPublicKey`` if it is weak or unsupported."""
    kty = required(jwk, "kty", text)
    read = _READERS.get(kty)
    if read is None:
        raise Problem("badPublicKey", f"keys of type {kty!r} are not supported")
    if any(member in jwk for member in _PRIVATE):
        raise Problem("badPublicKey", "the JWK contains the private key, which is now compromised")
    # RFC 7517 sections 4.2 and 4.3: a key that says it is not for signatures.
    if jwk.get("use", "sig") != "sig":
        raise Problem("badPublicKey", "the JWK's use is not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise Problem("badPublicKey", "the JWK's key_ops do not contain verify")
    try:
        return account_key(read(jwk))
    except (ValueError, UnsupportedAlgorithm):
        raise Problem("badPublicKey", "the JWK does not describe a point or number of its kind") from None


def stored_key(jwk: str) -> AccountKey:
    """The key of a stored canonical JWK."""
    return parse_jwk(decode_object(jwk.encode(), "jwk"))


def account_key(public: PublicKey) -> AccountKey:
    """A public key as an account key, checked by the rules of ``ca.keys``. Raises ``badPublicKey``."""
    spki = ca.keys.spki(public)
    try:
        ca.keys.parse_public_key(spki, ACCOUNT_KINDS)
    except Unacceptable as refusal:
        raise Problem("badPublicKey", str(refusal)) from None
    jwk = json.dumps(to_jwk(public), separators=(",", ":"), sort_keys=True)
    thumbprint = encode_base64url(hashlib.sha256(jwk.encode()).digest())
    return AccountKey(jwk, thumbprint, ca.keys.spki_sha256(spki), public)


def to_jwk(public: PublicKey) -> dict[str, str]:
    """The required members of the key's JWK (RFC 7638 section 3.2, RFC 8037 section 2)."""
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "e": _octets(numbers.e), "n": _octets(numbers.n)}
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(public.public_bytes_raw())}
    curve = _CURVE_NAMES[public.curve.name]
    size = _CURVES[curve][1]
    point = public.public_numbers()
    x, y = (encode_base64url(value.to_bytes(size, "big")) for value in (point.x, point.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y}


def _kind(public: PublicKey) -> str:
    if isinstance(public, rsa.RSAPublicKey):
        return "RSA"
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "Ed25519"
    return _CURVE_NAMES[public.curve.name]


def _octets(value: int) -> str:
    return encode_base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _read_ec(jwk: Mapping[str, Json]) -> PublicKey:
    curve_name = required(jwk, "crv", text)
    if curve_name not in _CURVES:
        raise Problem("badPublicKey", f"the curve {curve_name!r} is not supported")
    curve, size = _CURVES[curve_name]
    x, y = required(jwk, "x", base64url), required(jwk, "y", base64url)
    # RFC 7518 section 6.2.1.2: the full size of a coordinate, leading zeros included.
    if len(x) != size or len(y) != size:
        raise Problem("badPublicKey", f"the coordinates of {curve_name} have {size} octets each")
    # Raises ValueError for a point that is not on the curve.
    return ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve
    ).public_key()


def _read_rsa(jwk: Mapping[str, Json]) -> PublicKey:
    n, e = required(jwk, "n", base64url), required(jwk, "e", base64url)
    for name, octets in (("n", n), ("e", e)):
        # RFC 7518 section 2, Base64urlUInt: the minimum number of octets.
        if octets[:1] in (b"", b"\0"):
            raise Problem("badPublicKey", f"{name} is empty or starts with a zero octet")
    # Before OpenSSL sees it: a modulus of megabytes would take it seconds.
    if len(n) > 512 or len(e) > 4:
        raise Problem("badPublicKey", "RSA keys have 2048 to 4096 bits and the exponent 65537 here")
    return rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big")).public_key()


def _read_okp(jwk: Mapping[str, Json]) -> PublicKey:
    curve_name = required(jwk, "crv", text)
    if curve_name != "Ed25519":
        raise Problem("badPublicKey", f"the curve {curve_name!r} is not supported")
    return ed25519.Ed25519PublicKey.from_public_bytes(required(jwk, "x", base64url))


_READERS: Mapping[str, Callable[[Mapping[str, Json]], PublicKey]] = MappingProxyType(
    {"EC": _read_ec, "RSA": _read_rsa, "OKP": _read_okp}
)
