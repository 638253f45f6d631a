"""What is dear on purpose, at the least cost, for tests that are about something else.

The hash of a chosen password and the keys of a PKCS#12 file take a core tens of milliseconds each, as they
have to, and the pages of the online service ask for both at every step. What they cost is said and measured
where nothing is cheap: `tests/enroll/test_values.py`, `tests/ca/test_pkcs12.py`, `tests/test_defaults.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, TypeVar

from ca import pkcs12

T = TypeVar("T")

_ROUNDS = 1_000
# In KiB. Any but that of passwords that we draw, by which the two kinds of hash are told apart.
_MEMORY, _PASSES = 64, 1


@contextmanager
def cheap_passwords() -> Iterator[None]:
    """Meanwhile chosen passwords are hashed at the least cost, nobody's among them, and what was found hard
    to guess, or easy, is not weighed again."""
    # Not above: the process that makes the files imports this, too.
    import pytest

    from enroll.people import passwords

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_MEMORY_KIB", _MEMORY)
        patch.setattr(passwords, "_PASSES", _PASSES)
        patch.setattr(passwords, "_NOBODY", passwords._nobodys(_MEMORY, _PASSES))
        patch.setattr(passwords.guessable, "is_guessable", _weighed_once())
        yield


@cache
def _weighed_once() -> Callable[..., bool]:
    from enroll import guessable

    return lru_cache(maxsize=1_024)(guessable.is_guessable)


def with_few_rounds(work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """Work in a process of tests: the PKCS#12 files that it makes are derived in few rounds."""
    pkcs12.ROUNDS = _ROUNDS
    return work(*args, **kwargs)
