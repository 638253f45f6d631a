"""Where somebody is counted in memory of a fixed size that forked workers share."""

from __future__ import annotations

from hashlib import blake2b


def cells_of(name: bytes, secret: bytes, cells: int) -> tuple[int, int]:
    """A cell in each of two rows of so many, which lie one after the other.

    A keyed hash chooses them, so that nobody can choose whose to share.
    """
    drawn = int.from_bytes(blake2b(name, key=secret, digest_size=8).digest(), "big")
    return drawn % cells, cells + (drawn >> 32) % cells
