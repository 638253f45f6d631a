"""Many directories on one database: a node that has the key of an epoch gives it to one that asks.

Who asks publishes a fresh X25519 key (RFC 7748), whose private half is in the memory of that process and
nowhere else, with a MAC by which it shows that it has the vault. Who has the epoch's key wraps it for that
one by a fresh key of its own. Both private halves are gone when the key has come: what the database, its log
and its copies keep of an exchange opens to nobody, with the vault and all keys that are left.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ca.epochs import Epochs, store
from ca.epochs.store import Ask
from ca.storage import Storage

_PUBLIC_BYTES, _NONCE_BYTES = 32, 12
# Seconds that a node waits at its start for keys that others have; and between two looks meanwhile.
_PATIENCE, _BETWEEN = 5.0, 0.2


def join(epochs: Epochs, storage: Storage, at: int, patience: float = _PATIENCE) -> None:
    """A directory is opened: the keys that other nodes have are here, if they answer, and there is an epoch
    to seal in. Blocks."""
    epochs.files.make_folder()
    if storage.shared:
        with ThreadPoolExecutor(1) as thread:  # whoever opens it may have a loop that runs
            thread.submit(asyncio.run, Exchange(epochs, storage).settle(at, patience)).result()
    epochs.ensure(storage, at)


@dataclass
class Exchange:
    """What one process has asked for and gives. ``look`` at least once a second."""

    epochs: Epochs
    storage: Storage
    _asked: dict[bytes, X25519PrivateKey] = field(default_factory=dict, repr=False)

    async def look(self, at: int) -> None:
        """Asks for the keys that are not here, takes those that have come, gives those that are asked for."""
        found = await self.storage.read(store.open_ones)
        missing = [each.name for each in found if not self.epochs.opens_under(each.name)]
        for name in [each for each in self._asked if each not in missing]:
            del self._asked[name]
        if len(found) > len(missing):
            await self._give()
        for name in missing:
            if name in self._asked:
                await self._take(name)
            else:
                await self._ask(name, at)

    async def settle(self, at: int, seconds: float) -> None:
        """Looks until every key is here, or so many seconds have gone by."""
        ends = time.monotonic() + seconds
        await self.look(at)
        while self._asked and time.monotonic() < ends:
            await asyncio.sleep(_BETWEEN)
            await self.look(at)

    async def _ask(self, epoch: bytes, at: int) -> None:
        private = X25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        tag = self._tag(epoch, public)
        await self.storage.write(lambda db: store.ask(db, Ask(epoch, public, tag, at)))
        self._asked[epoch] = private

    async def _take(self, epoch: bytes) -> None:
        private = self._asked[epoch]
        public = private.public_key().public_bytes_raw()
        wrapped = await self.storage.read(lambda db: store.given(db, public))
        if wrapped is None:
            return
        key = self._unwrapped(private, epoch, wrapped)
        if key is not None:
            await asyncio.to_thread(self.epochs.files.put, epoch, key)
        await self.storage.write(lambda db: store.drop_ask(db, public))
        del self._asked[epoch]

    async def _give(self) -> None:
        for each in await self.storage.read(store.asks):
            key = self.epochs.files.read(each.epoch)
            if key is not None and hmac.compare_digest(each.tag, self._tag(each.epoch, each.public)):
                wrapped = self._wrapped(each, key)
                await self.storage.write(lambda db, e=each, w=wrapped: store.give(db, e.public, w))  # type: ignore[misc]

    # -- the exchange itself

    def _wrapped(self, asked: Ask, key: bytes) -> bytes:
        own = X25519PrivateKey.generate()
        public = own.public_key().public_bytes_raw()
        shared = own.exchange(X25519PublicKey.from_public_bytes(asked.public))
        nonce = os.urandom(_NONCE_BYTES)
        wrapping = self._wrapping(shared, asked.epoch, asked.public, public)
        return public + nonce + AESGCM(wrapping).encrypt(nonce, key, asked.epoch)

    def _unwrapped(self, private: X25519PrivateKey, epoch: bytes, wrapped: bytes) -> bytes | None:
        """None for what nobody with the vault has wrapped for this: it is asked for again."""
        public, rest = wrapped[:_PUBLIC_BYTES], wrapped[_PUBLIC_BYTES:]
        own = private.public_key().public_bytes_raw()
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
            wrapping = self._wrapping(shared, epoch, own, public)
            return AESGCM(wrapping).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], epoch)
        except (ValueError, InvalidTag):
            return None

    def _wrapping(self, shared: bytes, epoch: bytes, asker: bytes, giver: bytes) -> bytes:
        info = b"sekisho epoch wrapping 1\0" + epoch + asker + giver
        return HKDF(hashes.SHA256(), 32, self.epochs.sharing_key, info).derive(shared)

    def _tag(self, epoch: bytes, public: bytes) -> bytes:
        return hmac.digest(self.epochs.sharing_key, b"sekisho epoch ask 1\0" + epoch + public, hashlib.sha256)
