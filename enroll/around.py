"""A storage whose first write has something done before it, and after it, in the same transaction.

For what is one transaction deep inside another function: what is asked again by whom it is done, and what is
recorded of what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

from ca.storage import Storage, Transaction, Work
from enroll.ra import RegistrationAuthority

T = TypeVar("T")


def _nothing(*_: Any) -> None:
    """Where one of the two is not wanted."""


class Around:
    """The storage. ``done``: whether there was a write. ``after`` is given what the write has returned."""

    def __init__(
        self,
        storage: Storage,
        before: Callable[[Transaction], None] = _nothing,
        after: Callable[[Transaction, Any], None] = _nothing,
    ) -> None:
        self._storage, self._before, self._after = storage, before, after
        self.done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def write(self, work: Work[T]) -> T:
        if self.done:
            return await self._storage.write(work)

        def whole(db: Transaction) -> T:
            self._before(db)
            value = work(db)
            self._after(db, value)
            return value

        result = await self._storage.write(whole)
        self.done = True
        return result


def with_storage(ra: RegistrationAuthority, storage: Around) -> RegistrationAuthority:
    """The same registration authority over that storage."""
    return replace(ra, database=cast(Storage, storage))
