"""The keys of epochs, each in a file that is on disk before it is used and is overwritten before it goes.

A file is named by its epoch and holds 32 random octets and their check. One whose check is wrong was being
destroyed when the power went, and is no key. Overwriting reaches the same place on the disk, or does not:
docs/operations/recovery.md says where it does not, and what to do about that.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from ca.files import make_private_directory, naming, sync_directory, write_private

NAME_BYTES = 16
_KEY_BYTES = 32
_FILE_BYTES = 2 * _KEY_BYTES
_NAMED = re.compile(r"[0-9a-f]{32}", re.ASCII)


class KeyFiles:
    """The directory. Whoever reads it learns what may still be opened, with the vault."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A path is put together from text: with `Path` it takes longer than to look whether it is there.
        self._beginning = f"{folder}{os.sep}"

    def make_folder(self) -> None:
        """Makes it, its owner's alone, or tightens it."""
        make_private_directory(self.folder)

    def create(self) -> bytes:
        """A fresh key; its epoch's name, which no other has, whichever copy of a database is put back."""
        name = os.urandom(NAME_BYTES)
        self.put(name, secrets.token_bytes(_KEY_BYTES))
        return name

    def put(self, name: bytes, key: bytes) -> None:
        """A key that another node has given."""
        write_private(self._path(name), key + _check(name, key))

    def has(self, name: bytes) -> bool:
        """Whether there is a file: a look at it is all that one more use of a key costs."""
        return os.path.exists(self._beginning + name.hex())

    def read(self, name: bytes) -> bytes | None:
        """The key; None where there is none."""
        try:
            content = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        key = content[:_KEY_BYTES]
        return key if content[_KEY_BYTES:] == _check(name, key) else None

    def destroy(self, name: bytes) -> None:
        """Overwrites a key, on disk, and takes its file away. Done again it does nothing."""
        _destroy(self._path(name))

    def sweep(self, known: Iterable[bytes], before: float) -> int:
        """Destroys what a crash has left: keys of no epoch, and drafts, from before a moment (seconds since
        the epoch, by the machine's own clock). Returns how many."""
        left = self._left(known, before)
        for path in left:
            _destroy(path)
        return len(left)

    def count_left(self, known: Iterable[bytes], before: float) -> int:
        """How many that would destroy."""
        return len(self._left(known, before))

    def _left(self, known: Iterable[bytes], before: float) -> list[Path]:
        kept = {name.hex() for name in known}
        return [
            path
            for path in self.folder.iterdir()
            if path.name not in kept and _is_ours(path.name) and path.stat().st_mtime < before
        ]

    def _path(self, name: bytes) -> Path:
        return self.folder / name.hex()


def _check(name: bytes, key: bytes) -> bytes:
    return hashlib.sha256(b"sekisho epoch key\0" + name + key).digest()


def _is_ours(name: str) -> bool:
    # A draft is called so by `ca.files`.
    return _NAMED.fullmatch(name.lstrip(".").partition(".")[0]) is not None


def _destroy(path: Path) -> None:
    with naming(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            for octets in (os.urandom(_FILE_BYTES), bytes(_FILE_BYTES)):
                os.pwrite(descriptor, octets, 0)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
