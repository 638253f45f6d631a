"""Nonces that cost no database write: sealed tokens, numbered, each spent once by one bit of a shared table.

A nonce is its number and time of issue under AES-GCM, so nobody can guess or alter one. Which numbers
are spent stands in a ring of bits; the workers of one server map the same file, so that whoever issued
a nonce, any worker can take it, and exactly one does. What is too old for the ring, or comes from before
a restart, is simply a bad nonce: the answer carries a fresh one (RFC 8555 section 6.5).

Nodes that share a database share no memory: there any node takes a nonce of any other's, and a row of the
database says that it is spent (`SharedNonces`). Nothing is spent in both ways, or it would be spent twice.
"""

from __future__ import annotations

import fcntl
import hmac
import mmap
import os
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ca.errors import ConfigError
from ca.files import naming
from ca.storage import Storage
from enroll.acme import store
from enroll.acme.wire import decode_base64url, encode_base64url
from enroll.problems import Problem

#: How long an unspent nonce is good for, in seconds. A request that was held back on its way can be
#: delivered for as long; clients fetch nonces when they need them, and one that slept tries again.
LIFETIME = 3_600
#: Bits in the ring: 1 MiB, at 10,000 nonces a second a quarter of an hour.
SLOTS = 2**23
# Numbers are drawn in blocks, so that issuing takes no lock; a multiple of 8, for bits are cleared by bytes.
_BLOCK = 1_024

_MAGIC = b"sekisho nonces 1"
_HEADER = struct.Struct(">16s16sQ")  # magic, generation, slots
_HEAD = struct.Struct("=Q")  # the first number that no worker has drawn
_SEALED = struct.Struct(">QQ")  # number, time of issue
_IV_SIZE, _TAG_SIZE = 12, 16
# In the place of a table's generation: a restart of one node voids nothing of the others'.
_OF_NODES = b"of all nodes"
# Seconds by which the clock of one node may be ahead of another's: more than a clock that is believed.
_AHEAD = 1_200
_SIZE = _IV_SIZE + _SEALED.size + _TAG_SIZE

Random = Callable[[int], bytes]


class SpentTable:
    """The ring of bits. Made by ``create_table`` or ``memory_table``, opened by ``open_table``.

    Every process opens the file for itself: the lock belongs to the open file, and one inherited by
    ``fork`` would exclude nobody.
    """

    def __init__(self, buffer: mmap.mmap | bytearray, generation: bytes, slots: int, fd: int | None) -> None:
        self.generation = generation
        self.slots = slots
        self._buffer = buffer
        self._fd = fd
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def draw(self) -> range:
        """A block of numbers for the caller alone. Their bits are cleared, those they overtake are void."""
        with self._exclusive():
            start = self.head()
            offset = _BITS + start % self.slots // 8
            self._buffer[offset : offset + _BLOCK // 8] = bytes(_BLOCK // 8)
            _HEAD.pack_into(self._buffer, _HEADER.size, start + _BLOCK)
            return range(start, start + _BLOCK)

    def take(self, number: int) -> bool:
        """Whether the caller is the first to take this number, and no later one has overtaken it."""
        offset, mask = _BITS + number % self.slots // 8, 1 << number % 8
        with self._exclusive():
            head = self.head()
            if not head - self.slots <= number < head or self._buffer[offset] & mask:
                return False
            self._buffer[offset] |= mask
            return True

    def head(self) -> int:
        """The first number that nobody has drawn."""
        head: int = _HEAD.unpack_from(self._buffer, _HEADER.size)[0]
        return head

    def close(self) -> None:
        """Lets go of the file; other workers keep theirs."""
        if isinstance(self._buffer, mmap.mmap):
            self._buffer.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Alone among the threads of this process and the processes of this file."""
        with self._lock:
            if self._fd is None:
                yield
                return
            if os.getpid() != self._pid:
                raise RuntimeError("a nonce table has to be opened after fork, in each worker")
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)


_BITS = _HEADER.size + _HEAD.size


def memory_table(slots: int = SLOTS, random: Random = os.urandom) -> SpentTable:
    """A table for a server of one process."""
    return SpentTable(bytearray(_BITS + slots // 8), random(16), _checked(slots), None)


def create_table(path: Path, slots: int = SLOTS, random: Random = os.urandom) -> None:
    """Writes an empty table for workers to open. A table of the same name is replaced, its nonces void.

    Called once per start of the server, before its workers. Nothing in the file is secret and nothing in
    it has to survive a power cut: the generation that it draws makes all earlier nonces void.
    """
    draft = path.with_name(path.name + ".new")
    with naming(path), open(draft, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(_HEADER.pack(_MAGIC, random(16), _checked(slots)))
        file.flush()
        # All of its room now: on a disk that has filled up since, a page that nobody had written to before
        # would be the end of the process that does (SIGBUS).
        os.posix_fallocate(file.fileno(), 0, _BITS + slots // 8)
    draft.replace(path)


def open_table(path: Path) -> SpentTable:
    """Opens a table in a worker. ``ConfigError`` if the file is none."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"cannot open the nonce table {path}: {error.strerror}; start the server again"
        ) from None
    size = os.fstat(fd).st_size
    magic, generation, slots = _HEADER.unpack(os.pread(fd, _HEADER.size, 0).ljust(_HEADER.size, b"\0"))
    if magic != _MAGIC or size != _BITS + slots // 8:
        os.close(fd)
        raise ConfigError(f"{path} is not a nonce table; remove it and start the server again")
    return SpentTable(mmap.mmap(fd, size), generation, slots, fd)


class _Sealed:
    """A number and a time of issue, so that nobody else can say them."""

    def __init__(self, secret: bytes, generation: bytes, random: Random) -> None:
        self._random = random
        self._seal = AESGCM(hmac.digest(secret, b"acme nonce " + generation, "sha256"))

    def seal(self, number: int, at: int) -> str:
        """Base64url, 59 characters."""
        iv = self._random(_IV_SIZE)
        return encode_base64url(iv + self._seal.encrypt(iv, _SEALED.pack(number, at), None))

    def open(self, nonce: str, at: int, ahead: int = 0) -> int:
        """The number. ``badNonce`` unless it is ours and young enough; ``ahead``: seconds by which whoever
        issued it may have another clock."""
        sealed = decode_base64url(nonce, "nonce")
        try:
            if len(sealed) != _SIZE:
                raise InvalidTag
            iv, rest = sealed[:_IV_SIZE], sealed[_IV_SIZE:]
            number, issued_at = _SEALED.unpack(self._seal.decrypt(iv, rest, None))
        except InvalidTag:
            raise Problem(
                "badNonce", "the nonce is not one of this server's, or from before a restart"
            ) from None
        if not -ahead <= at - issued_at <= LIFETIME:
            raise Problem("badNonce", "the nonce has expired")
        return int(number)


def _spent() -> Problem:
    return Problem("badNonce", "the nonce was used before, or is too old")


class SharedNonces:
    """The same for nodes: each takes what any has issued, once. ``secret``: 32 bytes that all nodes share."""

    def __init__(self, database: Storage, secret: bytes, random: Random = os.urandom) -> None:
        self._database = database
        self._random = random
        self._sealed = _Sealed(secret, _OF_NODES, random)

    def fresh(self, at: int) -> str:
        """As `Nonces.fresh`."""
        return self._sealed.seal(int.from_bytes(self._random(8)) >> 1, at)

    def spend(self, nonce: str, at: int) -> Awaitable[None]:
        """As `Nonces.spend`, once it has been awaited."""
        return self._take(self._sealed.open(nonce, at, _AHEAD), at)

    async def _take(self, number: int, at: int) -> None:
        # Whatever its time of issue, and whichever node's clock said it: then it is too old for all of them.
        until = at + 2 * LIFETIME
        if not await self._database.write(lambda db: store.spend_nonce(db, number, until)):
            raise _spent()


class Nonces:
    """Issues and spends nonces. ``secret``: 32 bytes that all workers share and that never leave them."""

    def __init__(self, table: SpentTable, secret: bytes, random: Random = os.urandom) -> None:
        self._table = table
        self._sealed = _Sealed(secret, table.generation, random)
        self._block = iter(range(0))

    def fresh(self, at: int) -> str:
        """A nonce, good for ``LIFETIME`` seconds from ``at``: base64url, 59 characters."""
        return self._sealed.seal(self._number(), at)

    def spend(self, nonce: str, at: int) -> None:
        """Takes the nonce. ``badNonce`` unless it is ours, young enough and not spent before."""
        if not self._table.take(self._sealed.open(nonce, at)):
            raise _spent()

    def _number(self) -> int:
        number = next(self._block, None)
        # A worker that was idle may hold numbers that the others have nearly overtaken.
        if number is None or self._table.head() - number > self._table.slots // 2:
            self._block = iter(self._table.draw())
            number = next(self._block)
        return number


def _checked(slots: int) -> int:
    # Two blocks per worker at the very least, and no block that wraps around the end.
    if slots < 8 * _BLOCK or slots % _BLOCK:
        raise ValueError(f"a nonce table has a multiple of {_BLOCK} slots, at least {8 * _BLOCK}")
    return slots
