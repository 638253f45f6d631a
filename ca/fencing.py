"""Writes that count only while whoever does them leads: each compares its term in its own transaction.

Nodes take turns in leading, and each turn is a term with a number of its own (`ca.store.take_lead`). One that
stood still, or was cut off, may wake in a later term and know nothing of it. What it then writes is refused,
whatever its clock says: the row with the term is held by each of its transactions until that has ended, and
changed by whoever follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import ca.store
from ca.storage import Condition, Source, Storage, StorageTrouble, Transaction, Work

T = TypeVar("T")


class Superseded(StorageTrouble):
    """Another node leads by now. What this one was doing is undone."""

    def __init__(self) -> None:
        super().__init__(
            "another node leads", "Superseded", "has another node that leads by now; what was begun is undone"
        )


@dataclass(frozen=True)
class Fenced:
    """A storage as the node that leads uses it, in one term. Superseded once that is over, from reads as
    well: nothing is begun by what they gave."""

    storage: Storage
    term: int

    @property
    def folder(self) -> Path:
        return self.storage.folder

    @property
    def shared(self) -> bool:
        return self.storage.shared

    @property
    def source(self) -> Source:
        return self.storage.source

    async def read(self, work: Work[T]) -> T:
        return await self.storage.read(self._led(work))

    async def read_aside(self, work: Work[T]) -> T:
        return await self.storage.read_aside(self._led(work))

    async def write(self, work: Work[T]) -> T:
        return await self.storage.write(self._led(work))

    def read_now(self, work: Work[T]) -> T:
        return self.storage.read_now(self._led(work))

    def write_now(self, work: Work[T]) -> T:
        return self.storage.write_now(self._led(work))

    def holds_up(self) -> bool:
        return self.storage.holds_up()

    def changed(self) -> int:
        return self.storage.changed()

    def size(self) -> int:
        return self.storage.size()

    def condition(self) -> Condition | None:
        return self.storage.condition()

    def hold(self, lost: Callable[[], None]) -> None:
        self.storage.hold(lost)

    def scrub(self) -> None:
        self.storage.scrub()

    def close(self) -> None:
        self.storage.close()

    def _led(self, work: Work[T]) -> Work[T]:
        def led(db: Transaction) -> T:
            if not ca.store.leads(db, self.term):
                raise Superseded
            return work(db)

        return led


def unfenced(storage: Storage) -> Storage:
    """For what has happened outside, a letter that was taken: whoever knows of it writes it down, in whatever
    term, by a compare-and-set of its own."""
    return storage.storage if isinstance(storage, Fenced) else storage
