"""Loading modules without a look for garbage: there is none, and each look is at all that was loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Around imports of much: a fifth less of a core. What is there at the end is never looked through again,
    nor copied for that by processes that are forked from this one."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
