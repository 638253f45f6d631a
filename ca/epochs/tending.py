"""The turn of epochs: the next begins, what is wanted goes along, the key of the one before is destroyed.

Each step can be cut off and done again. On disk is, at any moment: the key of an epoch before the row that
has others use it; and that row until the key is overwritten. So nothing is ever sealed under a key that is
not on disk, and no key is forgotten that is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ca.epochs import Epochs, store
from ca.epochs.store import Epoch, Place
from ca.storage import Storage, Transaction

#: Seconds after which the next epoch begins.
LENGTH = 3_600
#: Seconds between nothing being sealed under a key any more and its end: who has read a row before has opened
#: it by then.
RESTS = 600
#: Seconds in which a key has reached every node that lives.
SETTLES = 10
# Records that are sealed anew in one transaction.
_TOGETHER = 50


async def tend(epochs: Epochs, storage: Storage, at: int) -> None:
    """What is due of all nodes' epochs, by one of them, and `clear`. Only where the clock is believed, since
    a key's end is for good. ``at``: now."""
    await _begin(epochs, storage, at)
    if earlier := _earlier(await storage.read(store.open_ones)):
        for epoch in earlier:
            for place in epochs.places:
                await _carry_over(epochs, storage, epoch, place)
        await storage.write(lambda db: _retire(epochs, db, earlier, at))
    await clear(epochs, storage, at)
    for epoch in await storage.read(store.every):
        # Once each node has had the time to do so.
        if _has_rested(epoch, at - RESTS):
            await storage.write(lambda db, name=epoch.name: store.drop(db, name))  # type: ignore[misc]


async def clear(epochs: Epochs, storage: Storage, at: int) -> None:
    """Destroys what is over of the keys in one directory: each node does so for itself."""
    found = await storage.read(store.every)
    for epoch in found:
        if _has_rested(epoch, at) and epochs.files.has(epoch.name):
            await asyncio.to_thread(epochs.files.destroy, epoch.name)
    await asyncio.to_thread(epochs.files.sweep, [each.name for each in found], time.time() - RESTS)
    epochs.forget()


def _has_rested(epoch: Epoch, at: int) -> bool:
    return epoch.retired_at is not None and at - epoch.retired_at >= RESTS


def _earlier(found: Sequence[Epoch]) -> Sequence[Epoch]:
    """Of open ones, the newest first, those before the one that is used."""
    used = next((each.number for each in found if each.used_at is not None), 0)
    return [each for each in found if each.number < used]


async def _begin(epochs: Epochs, storage: Storage, at: int) -> None:
    found = await storage.read(store.open_ones)
    newest = found[0] if found else None
    # A clock that was set back does not keep an epoch for ever.
    if newest is None or not epochs.files.has(newest.name) or not 0 <= at - newest.begun_at < LENGTH:
        await asyncio.to_thread(epochs.files.make_folder)
        name = await asyncio.to_thread(epochs.files.create)
        # Where there may be other nodes they have the time to ask for it.
        await storage.write(lambda db: store.begin(db, name, at, None if storage.shared else at))
    elif newest.used_at is None and at - newest.begun_at >= SETTLES:
        await storage.write(lambda db: store.use(db, newest.name, at))


async def _carry_over(epochs: Epochs, storage: Storage, epoch: Epoch, place: Place) -> None:
    """Seals anew what an earlier epoch has. Whose key is lost stays as it is: the file may come back."""
    if not epochs.files.has(epoch.name):
        return
    records = await storage.read_aside(lambda db: store.under(db, place, epoch.name))
    for start in range(0, len(records), _TOGETHER):
        some = records[start : start + _TOGETHER]
        await storage.write(lambda db, s=some: _anew(epochs, db, place, s))  # type: ignore[misc]


def _anew(epochs: Epochs, db: Transaction, place: Place, records: Sequence[str | int]) -> None:
    for record in records:
        sealed = store.sealed_in(db, place, record)
        if sealed is None or not epochs.opens(sealed):  # wiped meanwhile, or lost
            continue
        plaintext = epochs.open(place, record, sealed)
        store.put(db, place, record, epochs.seal(db, place, record, plaintext))


def _retire(epochs: Epochs, db: Transaction, earlier: Sequence[Epoch], at: int) -> None:
    """In one transaction with the look: whoever seals meanwhile does so in a later one."""
    for epoch in earlier:
        if store.hold(db, epoch.name) and not any(
            store.any_under(db, place, epoch.name) for place in epochs.places
        ):
            store.retire(db, epoch.name, at)
