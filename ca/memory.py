"""What a signer has seen and goes on from: no older register takes it back, and no older copy of a file.

Two places in one file, sealed by the vault of keys and written in turn: whichever was cut short, the other
holds. It is opened once and never made anew while it is used. So are the numbers of lists that were signed.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ca.errors import ConfigError
from ca.files import make_private_directory
from ca.sealing import BrokenSeal, Vault

#: The signer's own folder, below where its keys lie, and its memory in there.
FOLDER = "signer"
FILE = f"{FOLDER}/memory"
#: The numbers of the lists that it has signed.
NUMBERS = f"{FOLDER}/numbers"
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class _Kind:
    """Of a file: what is sealed in it, octets of each place, and what is lost without it."""

    purpose: str
    place: int
    without: str


_SEEN = _Kind("signer's memory", 4_096, "of no older emergency stop than the register does")
# Enough for 129 lists (shards) of a hundred issuers.
_NUMBERS = _Kind("signer's numbers", 1 << 18, "of no list's number but the register's")


@dataclass(frozen=True)
class Seen:
    """``turns``: the highest number of an emergency stop; ``on``, ``reason``, ``at``: what that turn said, if
    it was told to the signer itself (None: it was not, and a file says it). ``line``, ``hash``: the last line
    of the audit trail that a checkpoint was signed for, as it was then."""

    turns: int = 0
    on: bool | None = None
    reason: str = ""
    at: int = 0
    line: int = 0
    hash: str = ""


class Memory:
    """Kept in a file, or, without a ``path``, as long as the process. ConfigError for a file that is neither
    empty nor ours."""

    def __init__(self, path: Path | None, keys: Vault) -> None:
        self._places = _Places(path, keys, _SEEN)
        self.seen = Seen(**self._places.newest)

    def keep(self, seen: Seen) -> None:
        """On disk when this returns; OSError if it cannot be, and then it is not remembered."""
        if seen != self.seen:
            self._places.write(asdict(seen))
            self.seen = seen

    def close(self) -> None:
        self._places.close()


class Numbers:
    """The highest number of each list (`ca.publication.list_id`) that was signed. As `Memory`."""

    def __init__(self, path: Path | None, keys: Vault) -> None:
        self._places = _Places(path, keys, _NUMBERS)
        self._of: dict[str, int] = dict(self._places.newest)

    def last(self, name: str) -> int | None:
        """None for a list of which none was signed."""
        return self._of.get(name)

    def keep(self, name: str, number: int) -> None:
        """On disk when this returns; OSError as above."""
        numbers = self._of | {name: number}
        self._places.write(numbers)
        self._of = numbers

    def close(self) -> None:
        self._places.close()


def seen_in(path: Path, keys: Vault) -> Seen:
    """What a memory holds, for whoever only looks; nothing where there is none. ConfigError as above."""
    try:
        return Seen(**_newest(path.read_bytes(), keys, path, _SEEN)[1])
    except FileNotFoundError:
        return Seen()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); see: ls -l {path}") from None


class _Places:
    """A file with two places; ``newest``: what was read from it."""

    def __init__(self, path: Path | None, keys: Vault, kind: _Kind) -> None:
        self._keys, self._kind, self._fd, self._writes = keys, kind, -1, 0
        self.newest: dict[str, Any] = {}
        if path is None:
            return
        try:
            make_private_directory(path.parent)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self._fd, 0, 2 * kind.place)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written ({error.strerror}); see: ls -l {path}") from None
        self._writes, self.newest = _newest(os.pread(self._fd, 2 * kind.place, 0), keys, path, kind)

    def write(self, fields: dict[str, Any]) -> None:
        if self._fd < 0:
            return
        sealed = self._keys.seal(
            self._kind.purpose, json.dumps({"write": self._writes + 1, **fields}).encode()
        )
        content = _LENGTH.pack(len(sealed)) + sealed
        if len(content) > self._kind.place:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        os.pwrite(self._fd, content, (self._writes + 1) % 2 * self._kind.place)
        os.fdatasync(self._fd)
        self._writes += 1

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _newest(content: bytes, keys: Vault, path: Path, kind: _Kind) -> tuple[int, dict[str, Any]]:
    found = [_read(content[at : at + kind.place], keys, kind) for at in (0, kind.place)]
    known = [each for each in found if each is not None]
    if not known and any(content):
        raise ConfigError(
            f"{path} was altered or is another directory's; put the newest copy of it back, or, if there is "
            f"none, take it away: the signer then knows {kind.without}"
        )
    return max(known, key=lambda each: each[0], default=(0, {}))


def _read(place: bytes, keys: Vault, kind: _Kind) -> tuple[int, dict[str, Any]] | None:
    try:
        (size,) = _LENGTH.unpack(place[: _LENGTH.size])
        fields = json.loads(keys.open(kind.purpose, place[_LENGTH.size : _LENGTH.size + size]))
        return int(fields.pop("write")), fields
    except (struct.error, BrokenSeal, ValueError, TypeError, KeyError):
        return None
