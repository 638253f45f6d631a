"""What a signer has seen and goes on from: no older register takes it back, and no older copy of a file.

Two places in one file, sealed by the vault of keys and written in turn: whichever was cut short, the other
holds. It is opened once and never made anew while it is used.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

from ca.errors import ConfigError
from ca.files import make_private_directory
from ca.sealing import BrokenSeal, Vault

#: The signer's own folder, below where its keys lie, and its memory in there.
FOLDER = "signer"
FILE = f"{FOLDER}/memory"
_PURPOSE = "signer's memory"
_PLACE = 4_096
_LENGTH = struct.Struct(">I")


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
        self._keys, self._fd, self._writes = keys, -1, 0
        self.seen = Seen()
        if path is None:
            return
        try:
            make_private_directory(path.parent)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self._fd, 0, 2 * _PLACE)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written ({error.strerror}); see: ls -l {path}") from None
        self._writes, self.seen = _newest(os.pread(self._fd, 2 * _PLACE, 0), keys, path)

    def keep(self, seen: Seen) -> None:
        """On disk when this returns; OSError if it cannot be, and then it is not remembered."""
        if seen == self.seen:
            return
        if self._fd >= 0:
            content = json.dumps({"write": self._writes + 1, **asdict(seen)}).encode()
            sealed = self._keys.seal(_PURPOSE, content)
            place = (self._writes + 1) % 2 * _PLACE
            os.pwrite(self._fd, _LENGTH.pack(len(sealed)) + sealed, place)
            os.fdatasync(self._fd)
            self._writes += 1
        self.seen = seen

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def seen_in(path: Path, keys: Vault) -> Seen:
    """What a memory holds, for whoever only looks; nothing where there is none. ConfigError as above."""
    try:
        return _newest(path.read_bytes(), keys, path)[1]
    except FileNotFoundError:
        return Seen()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); see: ls -l {path}") from None


def _newest(content: bytes, keys: Vault, path: Path) -> tuple[int, Seen]:
    found = [_read(content[at : at + _PLACE], keys) for at in (0, _PLACE)]
    known = [each for each in found if each is not None]
    if not known and any(content):
        raise ConfigError(
            f"{path} was altered or is another directory's; put the newest copy of it back, or, if there is "
            f"none, take it away: the signer then knows of no older emergency stop than the register does"
        )
    return max(known, key=lambda each: each[0], default=(0, Seen()))


def _read(place: bytes, keys: Vault) -> tuple[int, Seen] | None:
    try:
        (size,) = _LENGTH.unpack(place[: _LENGTH.size])
        fields = json.loads(keys.open(_PURPOSE, place[_LENGTH.size : _LENGTH.size + size]))
        return int(fields.pop("write")), Seen(**fields)
    except (struct.error, BrokenSeal, ValueError, TypeError, KeyError):
        return None
