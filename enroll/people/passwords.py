"""Login and issue passwords: argon2id, verified at the same cost whether or not the user exists.

A slow hash makes up for what people choose: some 20 to 40 bits. What we draw needs none of it. A first login
password has 12 of 45 letters (65.9 bits), an issue password 16 (87.9 bits): at the cost below (1 MiB, one
pass; ten million guesses a second would be a large farm) the shorter one holds 100,000 years on average.
So 20,000 people are recorded in minutes, and a chosen password stays as dear as it was.
"""

from __future__ import annotations

import base64
import os
import re
import unicodedata

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from enroll import guessable, identifiers

# OWASP's recommendation for argon2id (19 MiB, 2 passes, 1 lane): about 30 ms here.
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_LANES = 1
_DIGEST = 32

# For what we drew, and for nothing else: about 1 ms.
_DRAWN_MEMORY_KIB = 1024
_DRAWN_PASSES = 1
#: The fewest letters of `identifiers` that may be hashed so: 65.9 bits.
_DRAWN_SHORTEST = 12

_LONGEST = 128
_SHORTEST = 8


def hash_password(password: str) -> str:
    """The PHC string of a new argon2id hash. Slow on purpose; run it off the event loop."""
    return _hashed(password, _MEMORY_KIB, _PASSES)


def hash_drawn(secret: str) -> str:
    """The same of a password that `identifiers` drew just now, never of one that was chosen. Quick.

    ValueError for one that is too short to be hashed so.
    """
    if not identifiers.drawn(secret, _DRAWN_SHORTEST):
        raise ValueError("this was not drawn by us, or is too short: hash it with hash_password")
    return _hashed(secret, _DRAWN_MEMORY_KIB, _DRAWN_PASSES)


def verify_password(password: str, stored: str | None) -> bool:
    """Whether the password has the stored hash. None costs as much as a wrong one, and is False.

    So does either kind of hash: both costs are paid whatever is stored, so that time tells nobody whether
    there is such a user, nor whether the first password was changed.
    """
    quick = stored is not None and _is_drawn(stored)
    slow = _verified(password, _NOBODY if quick or stored is None else stored)
    fast = _verified(password, stored if quick and stored is not None else _NOBODY_DRAWN)
    return (fast if quick else slow) and stored is not None


def verify_drawn(secret: str, stored: str | None) -> bool:
    """The same for what is always one that we drew, as issue passwords are, and so always hashed quickly:
    None, a wrong one and the right one cost that, some 1 ms, and no more. False for a chosen one's hash."""
    right = _verified(secret, stored if stored is not None and _is_drawn(stored) else _NOBODY_DRAWN)
    return right and stored is not None and _is_drawn(stored)


def _hashed(password: str, memory_kib: int, passes: int) -> str:
    salt = os.urandom(16)
    kdf = Argon2id(salt=salt, length=_DIGEST, iterations=passes, lanes=_LANES, memory_cost=memory_kib)
    return kdf.derive_phc_encoded(_bytes(password))


def nobodys() -> str:
    """The hash of a password that nobody has, nor will: whoever has this one needs another."""
    return _NOBODY


def _is_drawn(stored: str) -> bool:
    return f"$m={_DRAWN_MEMORY_KIB}," in stored


def _verified(password: str, stored: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(_bytes(password), stored)
    except InvalidKey:
        return False
    return True


def login_password_problem(password: str, user_id: str, known: tuple[str, ...] = ()) -> str | None:
    """Why a chosen login password is refused: a code of ``enroll.refusals``, or None.

    Eight to 128 printable half-width characters, letters and digits among them; not the user ID, and nothing
    that is soon guessed (`guessable`). ``known``: what others know of the user. Up to 0.1 s of a core.
    """
    # Before the rule of the characters, which a user ID may well fulfil: its own sentence.
    if password.lower() == user_id.lower():
        return "password_is_user_id"
    if not _SHORTEST <= len(password) <= _LONGEST or re.search(r"[^\x21-\x7e]", password):
        return "weak_password"
    if not re.search(r"[A-Za-z]", password) or not re.search(r"[0-9]", password):
        return "weak_password"
    if guessable.is_guessable(password, (user_id, *known)):
        return "guessable_password"
    return None


def _bytes(password: str) -> bytes:
    # NFKC: a full-width letter typed with the Japanese input method still on is the same password.
    return unicodedata.normalize("NFKC", password[: 4 * _LONGEST]).encode("utf-8", "replace")


def _nobodys(memory_kib: int, passes: int) -> str:
    """As `_hashed` writes it, of no password that anybody knows: 256 bits at random in the place of a digest.
    To derive one would cost every command that imports this a twentieth of a second."""
    salt, digest = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, _DIGEST))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p={_LANES}${salt}${digest}"


# Hashes of passwords that nobody has: verified against for users who do not exist.
_NOBODY = _nobodys(_MEMORY_KIB, _PASSES)
_NOBODY_DRAWN = _nobodys(_DRAWN_MEMORY_KIB, _DRAWN_PASSES)
