"""The emergency stop: while it is on nothing is signed.

Its state lies sealed beside the keys, and is theirs who can open those: an attacker in a worker cannot forge
it, and where it is missing or altered it is on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ca.errors import ConfigError
from ca.files import Snapshot, sync_directory, write_private
from ca.sealing import BrokenSeal, Vault
from ca.signing import NoSignature

_FILE = "ca/stop.sealed"
_PURPOSE = "emergency stop"


@dataclass(frozen=True)
class Stop:
    """Whether it is on, why, and since when (epoch seconds). ``number``: how often it was turned, on or off;
    the journal knows of it, so that an older copy of the file takes nothing back."""

    on: bool
    reason: str
    at: int
    number: int = 0


#: What holds where nothing can be read.
MISSING = Stop(True, f"{_FILE} is missing or altered", 0)
#: What holds where the register knows that it was turned since.
OLDER = Stop(True, f"{_FILE} is an older copy of itself", 0)


def check(path: Path, keys: Vault, known: int = 0) -> None:
    """`NoSignature` while it is on: for whoever has keys in his own process, a command or a demo."""
    stop = read(path, keys, known)
    if stop.on:
        raise NoSignature(f"the emergency stop is on ({stop.reason})")


def write(path: Path, keys: Vault, stop: Stop) -> None:
    """Turns it on or off for a data directory. Whole, and on disk when this returns.

    Turning it on needs no room: where there is none the file is written over, or taken away, and whatever is
    left of it counts as on. OSError where nothing can be written at all."""
    file, turn = path / _FILE, sealed(keys, stop)
    try:
        write_private(file, turn)
    except OSError:
        if not stop.on:
            raise
        try:
            _write_over(file, turn)
        except OSError:
            file.unlink(missing_ok=True)
            sync_directory(file.parent)


def _write_over(file: Path, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.write(content)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())


def sealed(keys: Vault, stop: Stop) -> bytes:
    """A turn, as nobody can say it who has not the keys' vault."""
    return keys.seal(_PURPOSE, json.dumps(asdict(stop)).encode())


def opened(keys: Vault, turn: bytes) -> Stop:
    """The way back. ValueError for what was not sealed by that vault, or says something else."""
    try:
        fields = json.loads(keys.open(_PURPOSE, turn))
        return Stop(bool(fields["on"]), str(fields["reason"]), int(fields["at"]), int(fields["number"]))
    except (BrokenSeal, KeyError, TypeError) as error:
        raise ValueError("no turn of the emergency stop") from error


def mark(path: Path) -> tuple[int, ...] | None:
    """Which file says it, and when it was changed last; None where there is none. The time of the change
    (ctime) is the kernel's: nobody sets it."""
    try:
        found = (path / _FILE).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read(path: Path, keys: Vault, known: int = 0) -> Stop:
    """How it is now. ``known``: the number of its last turn, by the register; a file of an earlier one counts
    as on."""
    stop = _read(path, keys)
    return OLDER if stop.number < known and stop is not MISSING else stop


def _read(path: Path, keys: Vault) -> Stop:
    try:
        return opened(keys, Snapshot().read(path / _FILE, "emergency stop"))
    except (ConfigError, ValueError):
        return MISSING
