"""Login and issue passwords: argon2id, verified at the same cost whether or not the user exists."""

from __future__ import annotations

import os
import re
import unicodedata

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# OWASP's recommendation for argon2id (19 MiB, 2 passes, 1 lane): about 30 ms here.
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_LANES = 1

_LONGEST = 128
_SHORTEST = 8


def hash_password(password: str) -> str:
    """The PHC string of a new argon2id hash. Slow on purpose; run it off the event loop."""
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return kdf.derive_phc_encoded(_bytes(password))


def verify_password(password: str, stored: str | None) -> bool:
    """Whether the password has the stored hash. None costs as much as a wrong one, and is False."""
    try:
        Argon2id.verify_phc_encoded(_bytes(password), stored or _NOBODY)
    except InvalidKey:
        return False
    return stored is not None


def login_password_problem(password: str, user_id: str) -> str | None:
    """Why a chosen login password is refused: a code of ``enroll.refusals``, or None.

    Eight to 128 printable half-width characters, letters and digits among them, not the user ID.
    """
    if not _SHORTEST <= len(password) <= _LONGEST or re.search(r"[^\x21-\x7e]", password):
        return "weak_password"
    if not re.search(r"[A-Za-z]", password) or not re.search(r"[0-9]", password):
        return "weak_password"
    if password.lower() == user_id.lower():
        return "weak_password"
    return None


def _bytes(password: str) -> bytes:
    # NFKC: a full-width letter typed with the Japanese input method still on is the same password.
    return unicodedata.normalize("NFKC", password[: 4 * _LONGEST]).encode("utf-8", "replace")


# The hash of a password that nobody has: verified against for users who do not exist.
_NOBODY = hash_password(os.urandom(32).hex())
