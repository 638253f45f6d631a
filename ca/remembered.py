"""What a signer has signed as revoked: whatever the register says later, it stays so until it ends.

Whoever owns a worker writes the register and its journal. So the signer keeps, in a file of its own, each
serial that it has told to be revoked for good in a list or an answer. A hold is not among them: it is
somebody's to take back, at a page that a worker shows. The file is blocks that are added, each sealed by the
vault of keys, on disk before the signature is given away.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ca.certificates import serial_hex
from ca.errors import ConfigError
from ca.files import make_private_directory, write_private
from ca.listed import PLACE, SERIAL, Listed, octets_of
from ca.memory import FOLDER
from ca.revocation import CA_COMPROMISE
from ca.sealing import BrokenSeal, Vault

REVOKED = f"{FOLDER}/revoked"
#: How many are remembered: 30 octets each, in memory and in the file.
MOST = 2_000_000
_PURPOSE = "what a signer has revoked"
_LENGTH = struct.Struct(">I")
# Of a block: how many came before it, and whose they are.
_HEAD = struct.Struct(">Q20s")
# Serial, end of the certificate, when and why it was revoked.
_RECORD = struct.Struct(f">{1 + SERIAL}pIIB")
_A_BLOCK = 16_384
_LATEST = 0xFFFFFFFF
_NONE = [bytearray() for _ in range(256)]


@dataclass(frozen=True)
class Revoked:
    """A certificate that was told to be revoked for good. Times: epoch seconds."""

    serial: str
    not_after_at: int
    at: int
    reason: int


class Remembered:
    """Kept in a file, or, without a ``path``, as long as the process. ConfigError for a file that is neither
    empty nor ours. Safe for threads."""

    def __init__(self, path: Path | None, keys: Vault, now: int = 0) -> None:
        """``now``: what has ended by then is not kept where there is little room."""
        self._keys, self._fd, self._end = keys, -1, 0
        self.count = 0
        # By issuer, and the last octet of serials: records.
        self._of: dict[str, list[bytearray]] = {}
        self._turn = threading.Lock()
        if path is None:
            return
        try:
            make_private_directory(path.parent)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._load(path)
            if self.count > MOST // 2:
                self._shorten(path, now)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written ({error.strerror}); see: ls -l {path}") from None

    @property
    def is_full(self) -> bool:
        """Whether nothing more is remembered; a signer that is started again has room for what is alive."""
        return self.count >= MOST

    def find(self, issuer_id: str, serial: str) -> Revoked | None:
        """What was told of a serial (hex) of an issuer's."""
        octets = octets_of(int(serial, 16))
        if len(octets) > SERIAL:
            return None
        wanted = bytes((len(octets),)) + octets
        with self._turn:
            records = self._records(issuer_id)[octets[-1]]
            at = records.find(wanted)
            while at >= 0 and at % _RECORD.size:
                at = records.find(wanted, at + 1)
            if at < 0:
                return None
            _, end, revoked_at, reason = _RECORD.unpack_from(records, at)
        return Revoked(serial, end, revoked_at, reason)

    def compared(
        self, issuer_id: str, listed: Listed, whose: tuple[int, int], now: int
    ) -> tuple[list[str], list[tuple[str, int, int]]]:
        """Some of the serials that a list leaves out and that have not ended; and what it tells that is not
        remembered: serial, when and why. ``whose``: which shard it is, and of how many. ValueError for an
        entry without a time."""
        missing, fresh = list[str](), list[tuple[str, int, int]]()
        for ending, places in enumerate(listed.places):
            if ending % whose[1] != whose[0]:
                continue
            told = dict(PLACE.iter_unpack(places))
            with self._turn:
                known = {record[0] for record in _RECORD.iter_unpack(self._records(issuer_id)[ending])}
            for octets in known - told.keys():
                found = self.find(issuer_id, _hex(octets))
                if found is not None and found.not_after_at >= now:
                    missing.append(found.serial)
            if missing:
                break
            for octets in told.keys() - known:
                at, reason = listed.told(told[octets])
                # What is no good by its issuer alone is its issuer's to take back (`ca trust`).
                if reason != CA_COMPROMISE:
                    fresh.append((_hex(octets), at, reason))
        return missing, fresh

    def keep(self, issuer_id: str, revoked: Sequence[Revoked]) -> None:
        """On disk when this returns; OSError if it cannot be. Those that are known stay as they are, and
        nothing is kept where it is full."""
        fresh = [each for each in revoked if self.find(issuer_id, each.serial) is None]
        with self._turn:
            records = [_packed(each) for each in fresh[: max(MOST - self.count, 0)]]
            for each in _batches(records):
                self._append(issuer_id, each)
            if records and self._fd >= 0:
                os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, issuer_id: str, records: bytes) -> None:
        if self._fd >= 0:
            block = _block(self._keys, self.count, issuer_id, records)
            at = 0
            while at < len(block):
                at += os.pwrite(self._fd, block[at:], self._end + at)
            self._end += len(block)
        self._take(issuer_id, records)

    def _take(self, issuer_id: str, records: bytes) -> None:
        of = self._of.setdefault(issuer_id, [bytearray() for _ in range(256)])
        for record in _each(records):
            of[record[record[0]]] += record
        self.count += len(records) // _RECORD.size

    def _records(self, issuer_id: str) -> Sequence[bytearray]:
        return self._of.get(issuer_id, _NONE)

    def _load(self, path: Path) -> None:
        """Takes what is there. Half a block at the end is a crash's: what it was for was not given away."""
        size = os.fstat(self._fd).st_size
        while self._end + _LENGTH.size <= size:
            (length,) = _LENGTH.unpack(os.pread(self._fd, _LENGTH.size, self._end))
            after = self._end + _LENGTH.size + length
            if length == 0 or after > size:
                break
            sealed = os.pread(self._fd, length, self._end + _LENGTH.size)
            try:
                opened = self._keys.open(_PURPOSE, sealed)
                before, issuer = _HEAD.unpack_from(opened)
            except (BrokenSeal, struct.error):
                if after == size:
                    break
                raise _altered(path) from None
            if before != self.count:
                raise _altered(path)
            self._take(issuer.hex(), opened[_HEAD.size :])
            self._end = after
        if self._end < size:
            os.ftruncate(self._fd, self._end)

    def _shorten(self, path: Path, now: int) -> None:
        before, self._of, self.count = self._of, {}, 0
        blocks = list[bytes]()
        for issuer_id, endings in before.items():
            alive = (
                record
                for records in endings
                for record in _each(bytes(records))
                if _RECORD.unpack(record)[1] >= now
            )
            for some in _batches(alive):
                blocks.append(_block(self._keys, self.count, issuer_id, some))
                self._take(issuer_id, some)
        write_private(path, b"".join(blocks))
        os.close(self._fd)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._end = os.fstat(self._fd).st_size


def _block(keys: Vault, before: int, issuer_id: str, records: bytes) -> bytes:
    sealed = keys.seal(_PURPOSE, _HEAD.pack(before, bytes.fromhex(issuer_id)) + records)
    return _LENGTH.pack(len(sealed)) + sealed


def _batches(records: Iterable[bytes]) -> Iterator[bytes]:
    remaining = iter(records)
    while some := b"".join(islice(remaining, _A_BLOCK)):
        yield some


def _each(records: bytes) -> Iterable[bytes]:
    return (records[at : at + _RECORD.size] for at in range(0, len(records), _RECORD.size))


def _packed(revoked: Revoked) -> bytes:
    end, at = min(revoked.not_after_at, _LATEST), min(revoked.at, _LATEST)
    return _RECORD.pack(octets_of(int(revoked.serial, 16)), end, at, revoked.reason)


def _hex(octets: bytes) -> str:
    return serial_hex(int.from_bytes(octets))


def _altered(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} was altered or is another directory's; put the newest copy of it back, or, if there is "
        "none, take it away: the signer then knows of no revocation that the register does not tell of"
    )
