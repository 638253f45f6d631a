"""Keys that no library makes, with signatures that verify by them where arithmetic allows it.

A server that does not look at the key itself would find the signature right, and say that there is no such
account: that it refuses is then the key's doing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from conformance import jose

Sign = Callable[[bytes], bytes]
# DigestInfo of SHA-256 (RFC 8017 9.2, note 1).
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True)
class Odd:
    """A jwk as it is sent, the alg beside it, and what signs; None where nothing could."""

    jwk: object
    alg: str
    sign: Sign | None = None


def on_p192() -> Odd:
    """A curve that JWA has not. R and S are filled up to the size that ES256 has."""
    key = jose.Key("ES256", ec.generate_private_key(ec.SECP192R1()))

    def sign(data: bytes) -> bytes:
        signature = key.sign(data)
        return b"".join(bytes(8) + half for half in (signature[:24], signature[24:]))

    return Odd({**key.jwk, "crv": "P-192"}, "ES256", sign)


def short_coordinate() -> Odd:
    """A good key whose x begins with a zero octet, which is left out (RFC 7518 6.2.1.2 wants all 32)."""
    key = _found(lambda: jose.new_key(), lambda x: x[0] == 0)
    x = jose.unb64(key.jwk["x"])
    return Odd({**key.jwk, "x": jose.b64(x[1:])}, "ES256", key.sign)


def short_ed25519() -> Odd:
    """A good key whose last octet is zero, which is left out."""
    key = _found(lambda: jose.Key("EdDSA", ed25519.Ed25519PrivateKey.generate()), lambda x: x[-1] == 0)
    x = jose.unb64(key.jwk["x"])
    return Odd({**key.jwk, "x": jose.b64(x[:-1])}, "EdDSA", key.sign)


def without(member: str) -> Odd:
    """A good EC key that lacks a member."""
    key = jose.spare_key("ES256")
    return Odd({name: value for name, value in key.jwk.items() if name != member}, "ES256", key.sign)


def bent(**members: object) -> Odd:
    """An EC key with members that make it none: nothing can sign by it."""
    return Odd({**jose.spare_key("ES256").jwk, **members}, "ES256")


def symmetric() -> Odd:
    """The client's own secret as the key: whoever verifies by it believes anybody."""
    secret = b"k" * 32
    jwk = {"kty": "oct", "k": jose.b64(secret)}
    return Odd(jwk, "HS256", lambda data: hmac.digest(secret, data, "sha256"))


def even_modulus() -> Odd:
    """2 p in place of p q: anybody can divide it."""
    return _rsa((2, _primes(4096, 65537, 1)[0]), 65537)


def exponent_one() -> Odd:
    """With exponent 1 the padded digest is the signature: anybody can write it down."""
    return _rsa(_primes(2048, 65537, 2), 1)


def exponent_even() -> Odd:
    """An exponent that has no inverse: nothing can sign by it."""
    n = prod(_primes(2048, 65537, 2))
    return Odd({"kty": "RSA", "e": jose.number(65536), "n": jose.number(n)}, "RS256")


def huge() -> Odd:
    """16384 bits: each verification takes the server long."""
    return _rsa(_primes(2048, 65537, 16), 65537)


def _found(make: Callable[[], jose.Key], fits: Callable[[bytes], bool]) -> jose.Key:
    while True:
        key = make()
        if fits(jose.unb64(key.jwk["x"])):
            return key


def _primes(bits: int, e: int, count: int) -> tuple[int, ...]:
    """So many different primes of half the bits, fit for the exponent."""
    found: list[int] = []
    while len(found) < count:
        numbers = rsa.generate_private_key(e, bits).private_numbers()
        found += [numbers.p, numbers.q]
    return tuple(found[:count])


def _rsa(primes: Sequence[int], e: int) -> Odd:
    n = prod(primes)
    jwk = {"kty": "RSA", "e": jose.number(e), "n": jose.number(n)}
    return Odd(jwk, "RS256", lambda data: rs256(data, primes, e))


def rs256(data: bytes, primes: Sequence[int], e: int) -> bytes:
    """RSASSA-PKCS1-v1_5 with SHA-256 under the product of the primes (RFC 8017 8.2.1), prime by prime."""
    n = prod(primes)
    size = (n.bit_length() + 7) // 8
    info = _SHA256 + hashlib.sha256(data).digest()
    padded = int.from_bytes(b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info, "big")
    roots = {p: padded % p if p == 2 else pow(padded, pow(e, -1, p - 1), p) for p in primes}
    value = sum(root * (n // p) * pow(n // p, -1, p) for p, root in roots.items()) % n
    return value.to_bytes(size, "big")


#: Case -> the key. Made when it is needed, for some take a second.
KEYS: Mapping[str, Callable[[], Odd]] = {
    "p-192": on_p192,
    "off-curve": lambda: bent(y=jose.b64(bytes(31) + b"\1")),
    "origin": lambda: bent(x=jose.b64(bytes(32)), y=jose.b64(bytes(32))),
    "coordinate-too-big": lambda: bent(x=jose.b64(b"\xff" * 32)),
    "short-coordinate": short_coordinate,
    "no-y": lambda: without("y"),
    "rsa-even-modulus": even_modulus,
    "rsa-e-1": exponent_one,
    "rsa-e-even": exponent_even,
    "rsa-huge": huge,
    "symmetric": symmetric,
    "unknown-kty": lambda: Odd({"kty": "XYZ", "x": "AAAA"}, "ES256"),
    "not-an-object": lambda: Odd("AAAA", "ES256"),
    "empty": lambda: Odd({}, "ES256"),
    "okp-short": short_ed25519,
}
