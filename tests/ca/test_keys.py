"""Keys from outside: what is certified and what is not."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import keys
from ca.errors import Unacceptable
from ca.keys import KINDS, from_pkcs8, generate, kind_of, parse_public_key, spki, spki_of_own, to_pkcs8
from tests.ca.dsakeys import dsa_key
from tests.ca.roca import roca_key

# Two 1024-bit primes that lie close together, found once by trial.
_HIGH = 0xC << 1020
_CLOSE = (_HIGH + 1037, _HIGH + 1697)


def _rsa_spki(n: int, e: int = 65537) -> bytes:
    return spki(rsa.RSAPublicNumbers(e, n).public_key())


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("rsa-3072", "rsa-4096")])
def test_each_kind_is_made_serialised_and_accepted(kind: str) -> None:
    """Every kind of the table survives PKCS#8 and SPKI and is found strong; its public half is that."""
    made = to_pkcs8(generate(kind))
    key = from_pkcs8(made)
    assert kind_of(parse_public_key(spki(key.public_key()))) == kind
    assert spki_of_own(made) == spki(key.public_key())


def test_a_small_rsa_key_is_weak() -> None:
    """RSA below 2048 bits (RFC 8555 section 11.1 asks servers to check keys)."""
    key = rsa.generate_private_key(65537, 1024).public_key()
    assert _code(spki(key)) == "weak-key"


def test_an_odd_exponent_other_than_65537_is_weak() -> None:
    """Only the exponent that everybody uses is taken."""
    assert _code(spki(rsa.generate_private_key(3, 2048).public_key())) == "weak-key"


def test_close_primes_are_weak() -> None:
    """Fermat's factorisation must not work (CVE-2022-26320)."""
    n = _CLOSE[0] * _CLOSE[1]
    assert n.bit_length() == 2048
    assert str(_problem(_rsa_spki(n))) == "the two RSA primes are too close together"


_ROCA = "the RSA key was made by a faulty library (ROCA, CVE-2017-15361); make another elsewhere"


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_keys_of_the_faulty_library_are_weak(bits: int) -> None:
    """CVE-2017-15361: such a key, of whatever size, is known by its modulus; one factor alone is not."""
    numbers = roca_key(bits).private_numbers()
    assert numbers.public_numbers.n.bit_length() == bits
    assert str(_problem(_rsa_spki(numbers.public_numbers.n))) == _ROCA
    other = generate("rsa-2048")
    assert isinstance(other, rsa.RSAPrivateKey)
    mixed = numbers.p * other.private_numbers().q
    if mixed.bit_length() <= 4096:
        assert parse_public_key(_rsa_spki(mixed))


@pytest.mark.slow
def test_no_other_key_is_taken_for_one_of_those() -> None:
    """By chance one of 2^167 would be; of 20,000 numbers, and of real keys, none is."""
    by_chance = math.prod(Fraction(len(powers), prime - 1) for prime, powers in keys._ROCA)
    assert by_chance < Fraction(1, 2**160)
    chance = random.Random(15361)
    for _ in range(20_000):
        n = chance.getrandbits(2048) | 1 | 1 << 2047
        assert "ROCA" not in (keys._rsa_weakness(n, 65537) or "")
    assert all(parse_public_key(spki(generate("rsa-2048").public_key())) for _ in range(3))


def test_a_small_factor_is_weak() -> None:
    """A modulus divisible by a small prime is no RSA modulus."""
    n = 3 * ((1 << 2047) // 3 | 1)
    assert str(_problem(_rsa_spki(n))) == "the RSA modulus has a small factor"


def test_an_oversized_rsa_key_is_refused() -> None:
    """16,384-bit keys cost the verifier, not the sender (V29)."""
    n = (1 << 16383) + 1155 * 2 + 1
    while math.gcd(n, keys._SMALL_PRIMES) != 1:
        n += 2
    assert _code(_rsa_spki(n)) in ("weak-key", "malformed-key")


@pytest.mark.parametrize(
    "key",
    [
        dsa_key().public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
    ],
)
def test_other_key_types_are_refused(key: dsa.DSAPublicKey | ed448.Ed448PublicKey) -> None:
    """DSA and Ed448 end in a refusal, not in a crash (CVE-2024-24783)."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert _code(der) == "key-type"


def test_other_curves_are_refused() -> None:
    """P-521 and secp256k1 are curves, but not ours."""
    for curve in (ec.SECP521R1(), ec.SECP256K1()):
        assert _code(spki(ec.generate_private_key(curve).public_key())) == "key-type"


def test_a_point_off_the_curve_is_malformed() -> None:
    """An invalid point never reaches a signature."""
    der = bytearray(spki(generate("ec-p256").public_key()))
    der[-1] ^= 1
    assert _code(bytes(der)) == "malformed-key"


def test_a_compressed_point_is_not_canonical() -> None:
    """RFC 5480 allows compressed points; two encodings of one key would have two thumbprints."""
    key = generate("ec-p256").public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    header = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    assert _code(header + point) == "malformed-key"


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18])
def test_small_order_ed25519_points_are_weak(y: int) -> None:
    """Signatures under such a key verify for many messages."""
    raw = y.to_bytes(32, "little")
    try:
        der = spki(ed25519.Ed25519PublicKey.from_public_bytes(raw))
    except ValueError:
        der = bytes.fromhex("302a300506032b6570032100") + raw
    assert _code(der) in ("weak-key", "malformed-key")


def test_a_kind_outside_the_profile_is_refused() -> None:
    """The profile's list decides, and its twin passes."""
    der = spki(generate("ec-p256").public_key())
    assert _code(der, ("ec-p384",)) == "key-type"
    assert _problem(der, ("ec-p256",)) is None


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_parse_or_are_unacceptable(content: bytes) -> None:
    """For any bytes: a key or `Unacceptable`."""
    assert _problem(content) is not None


@settings(max_examples=200)
@given(st.data())
def test_any_damaged_key_parses_or_is_unacceptable(data: st.DataObject) -> None:
    """For any damage to a good key: a key or `Unacceptable`, never another exception."""
    kind = data.draw(st.sampled_from(["ec-p256", "ed25519", "rsa-2048"]))
    der = bytearray(_GOOD[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    _problem(bytes(der))


_GOOD = {k: spki(generate(k).public_key()) for k in ("ec-p256", "ed25519", "rsa-2048")}


def _problem(der: bytes, allowed: tuple[str, ...] = tuple(KINDS)) -> Unacceptable | None:
    """What is wrong with a key; None if it is taken. Any other exception passes through."""
    try:
        parse_public_key(der, allowed)
    except Unacceptable as refusal:
        return refusal
    return None


def _code(der: bytes, allowed: tuple[str, ...] = tuple(KINDS)) -> str:
    problem = _problem(der, allowed)
    assert problem is not None
    return problem.code
