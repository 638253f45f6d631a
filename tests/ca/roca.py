"""RSA keys as the faulty library made them (CVE-2017-15361): primes k * M + 65537^a mod M."""

from __future__ import annotations

import math
import random
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa

_PRIMES = [p for p in range(2, 1_428) if all(p % q for q in range(2, int(p**0.5) + 1))]
# Nemec et al., table 1: how many primes M is the product of, by the size of the modulus.
_PRIMES_OF_M = {2048: 126, 3072: 126, 4096: 225}


@lru_cache
def roca_key(bits: int) -> rsa.RSAPrivateKey:
    """A whole key pair of that size, always the same."""
    chance = random.Random(bits)
    p, q = (_prime(bits // 2, math.prod(_PRIMES[: _PRIMES_OF_M[bits]]), chance) for _ in range(2))
    d = pow(65537, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = (p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(*numbers, public).private_key()


def _prime(bits: int, m: int, chance: random.Random) -> int:
    """One whose two highest bits are set, so that the product of two has all of its bits."""
    low, high = (3 << (bits - 2)) // m + 1, (1 << bits) // m - 1
    while True:
        p = chance.randint(low, high) * m + pow(65537, chance.randrange(1 << 64), m)
        if pow(2, p - 1, p) == 1 and math.gcd(65537, p - 1) == 1:
            return p
