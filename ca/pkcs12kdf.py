"""The key derivation of PKCS#12 (RFC 7292 appendix B.2), by OpenSSL's function where it can be had.

Neither hashlib nor `cryptography` offers it. The same libcrypto that hashlib stands on has it as
`PKCS12_key_gen_uni`, at three times the speed of a loop over hashlib and without the interpreter's lock.
Where Python was linked in another way, or that function refuses, the loop does the same.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable

KEY, VECTOR, MAC = 1, 2, 3
"""What is derived (B.3)."""

_Derive = Callable[[str, bytes, bytes, int, int, int], bytes]


def derive_key(hash_name: str, password: str, salt: bytes, purpose: int, length: int, rounds: int) -> bytes:
    """``length`` bytes; `purpose` is `KEY`, `VECTOR` or `MAC`, `hash_name` one that hashlib has."""
    secret = password.encode("utf-16-be") + b"\0\0"
    if _OPENSSL is not None:
        derived = _by_openssl(hash_name, secret, salt, purpose, length, rounds)
        if derived is not None:
            return derived
    return _by_hashlib(hash_name, secret, salt, purpose, length, rounds)


def _by_hashlib(hash_name: str, secret: bytes, salt: bytes, purpose: int, length: int, rounds: int) -> bytes:
    digest = getattr(hashlib, hash_name)
    block = digest().block_size
    size = digest().digest_size
    state = bytearray(_repeat(salt, block) + _repeat(secret, block))
    output = b""
    while len(output) < length:
        a = digest(bytes([purpose]) * block + state).digest()
        for _ in range(rounds - 1):
            a = digest(a).digest()
        output += a
        if len(output) < length:
            # B.2 step 6C: I_j = (I_j + B + 1) mod 2^v
            addend = int.from_bytes((a * (block // size + 1))[:block]) + 1
            for start in range(0, len(state), block):
                total = int.from_bytes(state[start : start + block]) + addend
                state[start : start + block] = (total % (1 << 8 * block)).to_bytes(block)
    return output[:length]


def _by_openssl(
    hash_name: str, secret: bytes, salt: bytes, purpose: int, length: int, rounds: int
) -> bytes | None:
    """None if OpenSSL refuses, as it does without the hash."""
    assert _OPENSSL is not None
    kind = _OPENSSL.EVP_get_digestbyname(hash_name.encode("ascii"))
    output = ctypes.create_string_buffer(length)
    given = (secret, len(secret), salt, len(salt), purpose, rounds, length, output, kind)
    return output.raw if kind and _OPENSSL.PKCS12_key_gen_uni(*given) == 1 else None


def _repeat(value: bytes, block: int) -> bytes:
    """`value` repeated to the next multiple of the hash's block length (B.2 steps 2 and 3)."""
    length = block * -(-len(value) // block)
    return (value * (length // len(value) + 1))[:length]


def _library() -> ctypes.CDLL | None:
    """The libcrypto that hashlib is linked with; None if it is within Python itself, and not to be found."""
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        text, number, pointer = ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p
        library.PKCS12_key_gen_uni.argtypes = [
            text, number, text, number, number, number, number, text, pointer,
        ]  # fmt: skip
        library.EVP_get_digestbyname.argtypes = [ctypes.c_char_p]
        library.EVP_get_digestbyname.restype = ctypes.c_void_p
    except (ImportError, AttributeError, OSError):
        return None
    return library


_OPENSSL = _library()
