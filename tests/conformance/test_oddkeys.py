"""The odd keys are what they say, and their signatures verify by them: else a refusal says nothing."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from conformance import jose, oddkeys
from conformance.oddkeys import KEYS, Odd

DATA = b"header.payload"
#: What nothing can sign by: no such point, no inverse, no key at all.
UNSIGNED = {
    "off-curve",
    "origin",
    "coordinate-too-big",
    "rsa-e-even",
    "unknown-kty",
    "not-an-object",
    "empty",
}


def _octets(odd: Odd, name: str) -> bytes:
    assert isinstance(odd.jwk, dict)
    return jose.unb64(odd.jwk[name])


def _by_rsa(odd: Odd, signature: bytes) -> bool:
    n, e = (int.from_bytes(_octets(odd, name), "big") for name in "ne")
    found = pow(int.from_bytes(signature, "big"), e, n).to_bytes((n.bit_length() + 7) // 8, "big")
    return found.endswith(hashlib.sha256(DATA).digest()) and found.startswith(b"\0\1\xff\xff")


def _by_ec(curve: Any, size: int, x: bytes, y: bytes, signature: bytes) -> bool:
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    assert len(y) == size
    try:
        numbers.public_key().verify(encode_dss_signature(r, s), DATA, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return len(signature) == 64


def _verifies(name: str, odd: Odd, signature: bytes) -> bool:
    if name.startswith("rsa-"):
        return _by_rsa(odd, signature)
    if name == "symmetric":
        return hmac.digest(_octets(odd, "k"), DATA, "sha256") == signature
    if name == "okp-short":
        key = ed25519.Ed25519PublicKey.from_public_bytes(_octets(odd, "x") + b"\0")
        try:
            key.verify(signature, DATA)
        except InvalidSignature:
            return False
        return True
    if name == "p-192":
        return _by_ec(ec.SECP192R1(), 24, _octets(odd, "x"), _octets(odd, "y"), signature)
    spare = jose.spare_key("ES256").jwk
    y = jose.unb64(spare["y"]) if name == "no-y" else _octets(odd, "y")
    return _by_ec(ec.SECP256R1(), 32, _octets(odd, "x"), y, signature)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(KEYS) - UNSIGNED))
def test_signature_verifies(name: str) -> None:
    """Each odd key that can sign does: its signature verifies by it, one bit more or less does not."""
    odd = KEYS[name]()
    assert odd.sign is not None
    signature = odd.sign(DATA)
    assert _verifies(name, odd, signature)
    assert not _verifies(name, odd, signature[:-1] + bytes([signature[-1] ^ 1]))


@pytest.mark.parametrize("name", sorted(UNSIGNED))
def test_the_others_say_so(name: str) -> None:
    """Where nothing can sign by a key it does not pretend to."""
    assert KEYS[name]().sign is None


@pytest.mark.slow
def test_shapes() -> None:
    """The sizes that the cases speak of."""
    assert len(_octets(KEYS["short-coordinate"](), "x")) == len(_octets(KEYS["okp-short"](), "x")) == 31
    assert int.from_bytes(_octets(KEYS["rsa-even-modulus"](), "n"), "big") % 2 == 0
    assert 16_350 <= 8 * len(_octets(KEYS["rsa-huge"](), "n")) <= 16_384


def test_rs256_is_the_librarys() -> None:
    """With two good primes the signature is the one that cryptography makes."""
    key = rsa.generate_private_key(65537, 2048)
    numbers = key.private_numbers()
    own = oddkeys.rs256(DATA, (numbers.p, numbers.q), 65537)
    assert own == key.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
