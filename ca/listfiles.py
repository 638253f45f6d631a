"""Revocation lists as files beside the database: what another process does of the work, without any key.

A list may have tens of megabytes, which belong neither into a transaction nor through a pipe. It is written
whole before the register names it, under a name that no other list has.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ca.crls import Frame, envelope, fill
from ca.files import make_private_directory, sync_directory
from ca.published import store as published
from ca.published.store import RevocationList
from ca.storage import Source

_NAME = re.compile(r"([0-9a-f]+(?:\.\d+)?)-(\d+)-[0-9a-f]{16}\.crl")
_DRAFT = ".draft-"
# A draft as old as this, in seconds, is nobody's any more: a crash left it.
_ABANDONED = 3_600
_PIECE = 1 << 20


@dataclass(frozen=True)
class Draft:
    """A list that lacks its signature. ``digest`` is what gets signed."""

    path: Path
    size: int
    digest: bytes
    entries: int
    change_number: int


def folder_of(directory: Path) -> Path:
    """Where the lists lie in a data directory."""
    return directory / "crls"


def path_of(folder: Path, listed: RevocationList) -> Path:
    """The file of a published list."""
    return folder / f"{listed.issuer_id}-{listed.number}-{listed.digest[:16]}.crl"


def is_whole(folder: Path, listed: RevocationList) -> bool:
    """Whether the file of a published list is there."""
    with suppress(OSError):
        return path_of(folder, listed).stat().st_size == listed.size
    return False


def highest_number(folder: Path, issuer_id: str) -> int:
    """The highest number among an issuer's files: a database from a backup may know of less."""
    found = (_NAME.fullmatch(name) for name in (os.listdir(folder) if folder.is_dir() else ()))
    return max((int(each[2]) for each in found if each and each[1] == issuer_id), default=0)


def with_number(folder: Path, issuer_id: str, number: int) -> bytes:
    """The list of an issuer that has this number; b"" if it is not there."""
    for path in folder.glob(f"{issuer_id}-{number}-*.crl"):
        with suppress(OSError):
            return path.read_bytes()
    return b""


def draft(
    database: Source,
    folder: Path,
    frame: Frame,
    issuer_id: str,
    expired_before: int,
    octets: tuple[str, ...] = (),
) -> Draft:
    """Writes what is to be signed, from the register as it is at one moment. OSError for a full disk.
    ``octets``: of a shard, the last ones of its serials."""
    make_private_directory(folder)
    folder.chmod(0o750)
    with database.snapshot() as db:
        changes = published.last_change_of(db, issuer_id, octets)
        unsigned = fill(frame, published.revoked_entries(db, issuer_id, expired_before, octets))
    path = folder / f"{_DRAFT}{secrets.token_hex(8)}"
    with _new(path) as file:
        file.writelines(unsigned.chunks)
    return Draft(path, unsigned.size, unsigned.digest, unsigned.entries, changes)


def complete(
    folder: Path,
    drawn: Draft,
    frame: Frame,
    signature: bytes,
    issuer_id: str,
    number: int,
    period: tuple[int, int],
) -> RevocationList:
    """Puts a list in place, whole and on disk: the draft with its signature. The register does not name it
    yet."""
    head, tail = envelope(frame, drawn.size, signature)
    whole, digest = drawn.path.with_suffix(".whole"), hashlib.sha256()
    with _new(whole) as file, drawn.path.open("rb") as source:
        for piece in (head, *iter(lambda: source.read(_PIECE), b""), tail):
            digest.update(piece)
            file.write(piece)
        size = file.tell()
        file.flush()
        os.fsync(file.fileno())
    made = RevocationList(
        issuer_id, number, *period, digest.hexdigest(), size, drawn.entries, drawn.change_number
    )
    whole.replace(path_of(folder, made))
    sync_directory(folder)
    discard(drawn)
    return made


def pieces_of(folder: Path, listed: RevocationList) -> list[bytes]:
    """The bytes of a list, for a database that other directories share."""
    with path_of(folder, listed).open("rb") as file:
        return list(iter(lambda: file.read(_PIECE), b""))


def put(folder: Path, listed: RevocationList, pieces: Sequence[bytes]) -> bool:
    """Puts a list in place that another directory has published. False if that is not what it was."""
    if hashlib.sha256(b"".join(pieces)).hexdigest() != listed.digest:
        return False
    make_private_directory(folder)
    folder.chmod(0o750)
    whole = folder / f"{_DRAFT}{secrets.token_hex(8)}"
    with _new(whole) as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
    whole.replace(path_of(folder, listed))
    sync_directory(folder)
    sweep(folder, listed)
    return True


def discard(drawn: Draft) -> None:
    """Takes a draft away, whatever became of it."""
    drawn.path.unlink(missing_ok=True)


def sweep(folder: Path, published: RevocationList) -> None:
    """Takes an issuer's other lists up to this one away, and what crashes left. Whoever reads one of them
    reads it to its end; one with a higher number is about to be published."""
    keep = path_of(folder, published)
    for path in folder.iterdir():
        found = _NAME.fullmatch(path.name)
        with suppress(FileNotFoundError):
            if found and found[1] == published.issuer_id:
                over = int(found[2]) <= published.number and path != keep
            else:
                over = path.name.startswith(_DRAFT) and time.time() - path.stat().st_mtime > _ABANDONED
            if over:
                path.unlink()


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A file that is written to its end, or is not there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # A signer of another user's reads it, by its group, whatever the umask here.
            os.fchmod(descriptor, 0o640)
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
