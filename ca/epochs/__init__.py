"""Sealing for a while: under keys that are in no database and no backup, and are destroyed.

What is wiped from a database stays where an engine does not overwrite: in PostgreSQL's pages, its log,
replicas and archives, and in every copy that was made before. So what may be opened for a while only is
sealed under the key of an *epoch*: drawn at random, in a file of the data directory (`keyfiles`), and nowhere
else. Before long the next epoch begins, what is still wanted is sealed anew under its key, and the key of the
one before is destroyed (`tending`). Whatever was wiped meanwhile, for whatever reason, opens to nobody any
more: that is no question of dates, and a wrong clock cuts nobody's time short.

A record's key comes from the epoch's key and the gateway's vault together: the files alone open nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ca.epochs import keyfiles, store
from ca.epochs.store import HEAD_BYTES, Place, head_of
from ca.sealing import BrokenSeal, Vault
from ca.storage import Storage, StorageTrouble, Transaction

__all__ = ("FOLDER", "Epochs", "LostKey", "Place")

#: Where the keys are, below the data directory.
FOLDER = "window"


class LostKey(Exception):
    """It was sealed here, and the key is no more: destroyed in its time, or the database came from a copy."""


class Epochs:
    """Seals and opens under keys that end. One for each process; they share the directory and the table.

    ``places``: every column that has something sealed so.
    """

    def __init__(self, data: Path, vault: Vault, places: Sequence[Place]) -> None:
        self.files = keyfiles.KeyFiles(data / FOLDER)
        self.places = places
        #: What nodes show each other that they have the vault by (`sharing`).
        self.sharing_key = vault.derive("epoch keys between nodes")
        self._salt = vault.derive("epoch keys")
        self._vaults: dict[bytes, Vault] = {}

    def seal(self, db: Transaction, place: Place, record: str | int, plaintext: bytes) -> bytes:
        """What this transaction writes into a record's place: sealed under the newest epoch in use.

        In the transaction, which holds the epoch by that: it ends when nobody does, and one has looked and
        found nothing that is sealed under it. Raises StorageTrouble as long as no key is here.
        """
        if place not in self.places:
            raise ValueError(f"{place.table}.{place.column} is not among the places that are sealed anew")
        # One that is not in use yet has a key that others may lack: better than none.
        for epoch in sorted(store.open_ones(db), key=lambda each: each.used_at is None):
            vault = self._vault(epoch.name)
            if vault is not None:
                return head_of(epoch.name) + vault.seal(_purpose(place, record), plaintext)
        raise StorageTrouble(
            "no key to seal under",
            "NoEpoch",
            f"has no epoch whose key is in {self.files.folder}: the gateway begins one within half a minute; "
            f"if it does not, see: ls -la {self.files.folder}",
        )

    def open(self, place: Place, record: str | int, sealed: bytes) -> bytes:
        """The plaintext. LostKey where its key is no more, BrokenSeal for what was not sealed for there."""
        vault = self._vault(_name_in(sealed))
        if vault is None:
            raise LostKey(f"{place.table}.{place.column}")
        return vault.open(_purpose(place, record), sealed[HEAD_BYTES:])

    def opens(self, sealed: bytes) -> bool:
        """Whether the key is here that it was sealed under."""
        return self.opens_under(_name_in(sealed))

    def ensure(self, storage: Storage, at: int) -> None:
        """Begins an epoch unless there is one to seal in. Blocks. ``at``: seconds since 1970."""
        self.files.make_folder()
        if not any(self.files.has(each.name) for each in storage.read_now(store.open_ones)):
            name = self.files.create()
            storage.write_now(lambda db: store.begin(db, name, at, at))

    def lost(self, db: Transaction) -> dict[Place, int]:
        """How many records of each place cannot be opened, since the key of their epoch is not here."""
        gone = [each.name for each in store.open_ones(db) if not self.opens_under(each.name)]
        counts = {place: sum(store.count(db, place, name) for name in gone) for place in self.places}
        return {place: count for place, count in counts.items() if count}

    def opens_under(self, name: bytes) -> bool:
        """Whether the key of an epoch is here."""
        return self._vault(name) is not None

    def forget(self) -> None:
        """Lets go of keys in memory whose files are no more."""
        for name in [each for each in self._vaults if not self.files.has(each)]:
            del self._vaults[name]

    def _vault(self, name: bytes) -> Vault | None:
        held = self._vaults.get(name)
        # A key in memory is good for as long as its file is there: its end is one for every process.
        if held is not None and self.files.has(name):
            return held
        self.forget()
        key = self.files.read(name)
        if key is None:
            return None
        made = self._vaults[name] = Vault(_mixed(self._salt, key, name))
        return made


def _purpose(place: Place, record: str | int) -> str:
    return f"{place.table}.{place.column} {record}"


def _name_in(sealed: bytes) -> bytes:
    name = sealed[HEAD_BYTES - keyfiles.NAME_BYTES : HEAD_BYTES]
    if len(sealed) <= HEAD_BYTES or not sealed.startswith(head_of(name)):
        raise BrokenSeal("not sealed under an epoch's key")
    return name


def _mixed(salt: bytes, key: bytes, name: bytes) -> bytes:
    """HKDF (RFC 5869): useless without both."""
    return HKDF(hashes.SHA256(), 32, salt, b"sekisho epoch 1\0" + name).derive(key)
