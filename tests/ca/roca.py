"""RSA keys as the faulty library made them (CVE-2017-15361): primes k * M + 65537^a mod M.

M is the product of the first 126 primes, of 225 for 4096 bits (Nemec et al., table 1). Of some thousand such
numbers these are the first that are prime: found once by trial, which takes ten seconds.
"""

from __future__ import annotations

import math

from cryptography.hazmat.primitives.asymmetric import rsa

#: Size of the modulus -> both primes.
_PRIMES = {
    2048: (
        int(
            "f2ad665a48864370a9afd74aaf1b47a5307d8d2c4ca865147d43fbf1b3e8629c6a05016c05c207b9933392dec8713789"
            "3ec20e0ba733923c48121eddf92c5490a621581c2952f69d888a05c24f9dfcd631d720b2afb9b53e4b0dca5c48df9b55"
            "a22340650befbd4c706ddd4dc2d0de59b0ee3bceffc1948146f48d0ae2834e83",
            16,
        ),
        int(
            "f92271a75d5f4648e187ce8c600d7e0d8398c87c7f04124899fbb6a8b184bf255f0369aee40ab32857a06a5d2794ccf0"
            "7ca112ca7f406e4908c43e156e3be7e0bc9210061d3fe6702b4781008f1a0445b2ff3cb08232097e596c8e3b1d0838ea"
            "e21d966a4628db5fae984ddb4e30e7ae3ec0cbac37c0dc2d3f5a8d043e56ddfb",
            16,
        ),
    ),
    3072: (
        int(
            "fd6fa31badbc49a320fd2816bcb4bf627341f872be0f625d9e2a7c234976b3a3ba4219e879afbafe74b4f1fc79782041"
            "149413e3123d389e37ff404b8e1e57809b78081dafd6f576c47e0f4a6e2ebd9dfabaa699d298ec7fc214260e97c608d6"
            "d90b1a01a635b6f16bcc3aaf046e7404fd2c890c7a1d05be4c0a8dab4940b5d9598f42828b265e2a09387a9d823fbce1"
            "55937b5d45d355239e952b6e0abee996551aefa7ee121aefa756fb68ce5f1599c667a5ccb28454bea543b3bd33ab6df9",
            16,
        ),
        int(
            "d9cdd2ac2810592eb35f728eb80fc9b5e25fa187e06e8d38f743a0cea3b85cc2ab132eb11cb08cb01aeaaf1eef45e1df"
            "d8ca2ed1da4d52ca0fe997f06d5658059a34fdd7d6417cc47c45e9d6d9849a31b503b8eabb14832fe1e741ea5cea52ea"
            "3c0735783dbf0332d4d3094415b578b36f10a9ffea1bac21f9b31c6267ea6d1d2405fb9e78936c9c5ffb01f123908bee"
            "aeecc336468f04c92cc902b0c07666e7171f01ed63aecb5cfd3d1e34a1394c0721a5965a61ac95b00cb5280dce32346f",
            16,
        ),
    ),
    4096: (
        int(
            "e38d9a86d2156d34ddb19aba20b97c64b68ad388fd18af32a0a5ef2afc7d07fc6ed662cb43c595bf06116bf983e7a91f"
            "82f06d682f78011ac25c14248d01c081b5c1f525a2466a3432085080dc8a399faa7bf221b914550ebe41a25d0668c433"
            "db1ea88ccc905672342f31fa83bc86f7b8d9a572c4e764fc62abd90f62f10953c4380f222e71cc010891066a7a82d2d2"
            "ae8d75ac32945ca9edd84242295357cfa51b2d8d4b1be539063d9d10e173fbfbcbe8e9413606cc9fb9bf6af96f23aef2"
            "5a67440a1948179547bb647152da864dbb294c09c5643384e781f731e87e5651cfccb7635a9a93ecc0eae4181edb8bec"
            "d27e775ad0143befa04aa4a8f88c8d2d",
            16,
        ),
        int(
            "ef286bf2cbbaf9ac611551cf82b5653268f388deb83e4840185a9e83618771403ccdbf7ed9a94eea6fa025b9d8a3f528"
            "12143608ecebd32d6fca9578396afa0da4d9e9cef83baeaa0f5315b6428e154385eb111ac2abef91f4b1ee2603073b74"
            "566077572d57242db97d6259a7b2189f5a6d1781f755ea975ae0321f2206d91c46f2cb660f06d334d77026c34ed2723d"
            "41cf3a861ab871a3fd707aec1357e15c21775bce3c4da9b43e950ddf107bfc1af3939ee4674f0b9885c8a51c3909dd1c"
            "e7beff3f8878d618eabcb3df7baa3118c8ef646c6fae99b6c1831f9923af283a5734bd1c48c4520aba9ee43bc96a035d"
            "88dcbfd93fed6eb5fece554beb639935",
            16,
        ),
    ),
}


def roca_key(bits: int) -> rsa.RSAPrivateKey:
    """A whole key pair of that size, always the same."""
    p, q = _PRIMES[bits]
    d = pow(65537, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = (p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(*numbers, public).private_key()
