"""Key kinds as a table, and the check that a key from outside must pass before it is certified."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.errors import Unacceptable

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

KINDS: Mapping[str, Callable[[], PrivateKey]] = MappingProxyType(
    {
        "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
        "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
        "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
        "ec-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ec-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }
)

_CURVES = {"secp256r1": "ec-p256", "secp384r1": "ec-p384"}
_SMALL_PRIMES = math.prod(p for p in range(3, 752, 2) if all(p % q for q in range(3, int(p**0.5) + 1, 2)))
_FERMAT_ROUNDS = 100


def _powers(prime: int) -> frozenset[int]:
    """The subgroup that 65537 generates among the residues of a prime."""
    found, power = {1}, 65537 % prime
    while power not in found:
        found.add(power)
        power = power * 65537 % prime
    return frozenset(found)


# CVE-2017-15361 ("ROCA"; Nemec et al., CCS 2017, section 2): the library made primes k * M + 65537^a mod M,
# M the product of the first 126 primes for keys of 2048 bits, and of those and more for larger ones. So such
# a modulus, too, is a power of 65537 modulo each of the 126. Those of which 65537 generates every residue
# tell nothing.
_ROCA = tuple(
    (p, _powers(p))
    for p in range(3, 702, 2)
    if all(p % q for q in range(3, int(p**0.5) + 1, 2)) and len(_powers(p)) < p - 1
)
_P25519 = 2**255 - 19
# y coordinates of the eight points of small order (RFC 7748 section 7 speaks of the same points).
_SMALL_ORDER_Y = frozenset(
    {0, 1, _P25519 - 1}
    | {
        int.from_bytes(bytes.fromhex(y), "little")
        for y in (
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        )
    }
)


def generate(kind: str) -> PrivateKey:
    """A fresh key of a kind in `KINDS`. RSA takes 20 to 1300 ms of one core: see `ca.workers`."""
    return KINDS[kind]()


def takes_long(kind: str) -> bool:
    """Whether a key of this kind is nothing to make while others wait."""
    return kind.startswith("rsa-")


def generate_pkcs8(kind: str) -> bytes:
    """As `generate`, serialised, so that it can cross from a worker process."""
    return to_pkcs8(generate(kind))


def to_pkcs8(key: PrivateKey) -> bytes:
    """Unencrypted PKCS#8 DER (RFC 5958). Never stored like this: see `ca.sealing`."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def from_pkcs8(der: bytes) -> PrivateKey:
    """The key in unencrypted PKCS#8 DER. `ValueError` if it is not one of a supported type."""
    key = serialization.load_der_private_key(der, None)
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        raise ValueError(f"unsupported key type {type(key).__name__}")
    return key


def spki_of_own(pkcs8: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a key that `generate_pkcs8` has just made. Its numbers are not proven once
    more: of RSA that takes OpenSSL as long as making a key (30 ms), and making it has proven them."""
    key = serialization.load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
    return spki(key.public_key())  # type: ignore[arg-type]


def spki(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo DER (RFC 5280 section 4.1.2.7)."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    """The SubjectPublicKeyInfo of a certificate or of a request for one, DER, of whatever kind its key is."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def spki_sha256(spki_der: bytes) -> str:
    """SHA-256 of a SubjectPublicKeyInfo, lower-case hex: the name of a key wherever one is needed."""
    return hashlib.sha256(spki_der).hexdigest()


def parse_public_key(spki_der: bytes, allowed: Collection[str] = tuple(KINDS)) -> PublicKey:
    """The key in `spki_der`, checked. `Unacceptable("weak-key" | "key-type" | "malformed-key")`."""
    key = _sound_key(spki_der)
    if kind_of(key) not in allowed:
        raise Unacceptable("key-type", f"{kind_of(key)} is not among {', '.join(sorted(allowed))}")
    return key


# A certificate's key is checked in its request, when it is planned and when it is signed: three times.
@lru_cache(maxsize=256)
def _sound_key(spki_der: bytes) -> PublicKey:
    try:
        key = serialization.load_der_public_key(spki_der)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # Off-curve points and the point at infinity end here as well.
        raise Unacceptable("malformed-key", f"the public key cannot be read: {error}") from error
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        raise Unacceptable("key-type", f"keys of type {type(key).__name__} are not certified here")
    if spki(key) != spki_der:
        # RSA-PSS identifiers, explicit curve parameters, compressed points and non-DER all land here.
        raise Unacceptable("malformed-key", "the public key is not in its canonical DER encoding")
    weakness = _weakness(key)
    if weakness:
        raise Unacceptable("weak-key", weakness)
    return key


def kind_of(key: PublicKey) -> str:
    """The name in `KINDS`; RSA between two named sizes counts as the smaller one."""
    if isinstance(key, rsa.RSAPublicKey):
        return next((f"rsa-{size}" for size in (4096, 3072, 2048) if key.key_size >= size), "rsa-small")
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, key.curve.name)
    return "ed25519"


def _weakness(key: PublicKey) -> str | None:
    if isinstance(key, rsa.RSAPublicKey):
        return _rsa_weakness(key.public_numbers().n, key.public_numbers().e)
    if isinstance(key, ed25519.Ed25519PublicKey):
        y = int.from_bytes(key.public_bytes_raw(), "little") % 2**255
        return "an Ed25519 point of small order" if y % _P25519 in _SMALL_ORDER_Y else None
    return None


def _rsa_weakness(n: int, e: int) -> str | None:
    if not 2048 <= n.bit_length() <= 4096:
        return f"RSA keys have 2048 to 4096 bits here, not {n.bit_length()}"
    if e != 65537:
        # Every current client uses 65537; other exponents only widen what can go wrong.
        return "the RSA exponent must be 65537"
    if n % 2 == 0 or math.gcd(n, _SMALL_PRIMES) != 1:
        return "the RSA modulus has a small factor"
    if all(n % prime in powers for prime, powers in _ROCA):
        return "the RSA key was made by a faulty library (ROCA, CVE-2017-15361); make another elsewhere"
    return "the two RSA primes are too close together" if _fermat_factors(n) else None


def _fermat_factors(n: int) -> bool:
    """Fermat's method finds p and q within a few rounds when they are close (CVE-2022-26320)."""
    a = math.isqrt(n - 1) + 1
    for _ in range(_FERMAT_ROUNDS):
        b = a * a - n
        if math.isqrt(b) ** 2 == b:
            return True
        a += 1
    return False
