"""Backups: a data directory as one file that only the holder of another key can open, and back out of it.

An age file (https://age-encryption.org/v1) around a tar: a manifest, then the files that it names with their
SHA-256. Keys are in it as they lie in the directory, sealed; the database as it was at one moment, whatever
is written meanwhile, unless it is on a server. Not in it are files of the operator's own (a certificate's
key, the mail server's password), letters, the journal, and keys that are to end.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import pyrage

import ca.store
from ca import datadir
from ca.errors import ConfigError
from ca.files import make_private_directory, sync_directory, write_private
from ca.journal import BEGINNING, Mark
from ca.sqlite import SqliteSource, copy_database, migrations_of
from gateway.serving.config import FILE_NAME, read_config
from gateway.serving.database import DATABASE
from gateway.serving.deployment import CLOCK, DEMO_MARKER, SCHEMAS, TEMPLATES

FORMAT = 1
#: What tells when the last good one was made, in the data directory.
LAST = "backup.json"
_SECRET = "AGE-SECRET-KEY-"
_MANIFEST = "manifest.json"
#: What goes in besides the database, below the data directory.
_FILES = ("sekisho.json", datadir.VAULT, FILE_NAME, DEMO_MARKER, CLOCK, "assertion-keys", "cps.toml")
_FOLDERS = ("ca", "servers", TEMPLATES)
_NAME = re.compile(r"(?:[A-Za-z0-9_][\w.-]*/)?[A-Za-z0-9_][\w.-]*", re.ASCII)
#: Of files in a directory that is named as the target.
_DATED = re.compile(r"sekisho-\d{8}-\d{6}\.age")
_PIECE = 1 << 20
_HELD_BACK = 1 << 20
# A manifest has a line for each file.
_LONGEST_MANIFEST = 10 * 2**20


@dataclass(frozen=True)
class Made:
    """A backup that is whole and on disk."""

    file: str
    at: int
    size: int
    #: The last line of the journal that its database has seen.
    line: int
    #: Whether the database is in it: one on a server is not.
    database: bool = True


def last(data: Path) -> Made | None:
    """The last good one of a data directory; None if there was none, or nothing tells."""
    try:
        return Made(**json.loads((data / LAST).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def too_old(data: Path, warn_hours: float, now: float) -> str | None:
    """What is to be said of a last good one that is older than it may be, with what to do."""
    made = last(data)
    if made is None or not warn_hours or now - made.at <= 3_600 * warn_hours:
        return None
    hours = (now - made.at) / 3_600
    return (
        f"the last good backup is {hours:.0f} hours old ({made.file}): see why no other was made: systemctl "
        "status sekisho-backup.timer; or make one: sekisho backup"
    )


# -- keys ----------------------------------------------------------------------------------------------


def new_key() -> tuple[str, str]:
    """A fresh key pair: what opens backups, and what they are made for."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def recipients_of(named: Sequence[str]) -> list[Any]:
    """Public keys, as ``age1...`` or as files with one on each line. ConfigError for what is none."""
    found = []
    for each in named:
        lines = [each] if each.startswith(("age1", _SECRET)) else _lines(Path(each), "recipient")
        for line in lines:
            try:
                found.append(pyrage.x25519.Recipient.from_str(line))
            except pyrage.RecipientError:
                if line.startswith(_SECRET):
                    raise ConfigError(
                        "that is a private key; write its public one, age1..., which is in its file after #"
                    ) from None
                raise ConfigError(
                    f"{line[:60]!r} is no public key; write age1..., as sekisho restore key FILE prints it"
                ) from None
    if not found:
        raise ConfigError("no public key was given; make a pair: sekisho restore key FILE")
    return found


def identities_of(file: Path) -> list[Any]:
    """The private keys in a file, one on a line. ConfigError for what is none."""
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in _lines(file, "private key")]
    except pyrage.IdentityError:
        raise ConfigError(
            f"{file} holds no private key; name the file that sekisho restore key made"
        ) from None
    if not found:
        raise ConfigError(f"{file} holds no private key; name the file that sekisho restore key made")
    return found


def _lines(file: Path, what: str) -> list[str]:
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{what}: {file} cannot be read ({error.strerror}); see: ls -l {file}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} holds no {what}; name another file") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


# -- making one ----------------------------------------------------------------------------------------


def make(data: Path, to: Path, recipients: Sequence[Any], at: int, *, counts: bool = True) -> Made:
    """Writes a backup of a data directory, served or not. ``to``: the file, or a directory for one that is
    named by its time. ``counts``: whether it is one to come back to. Needs no passphrase. ConfigError says
    what is in the way; then there is no file."""
    marker = datadir.read_marker(data)
    if to.is_dir():
        to = to / f"sekisho-{_stamp(at)}.age"
    draft = to.with_name(f".{to.name}.{secrets.token_hex(6)}.new")
    with _workshop(data, data) as shop, _said(to):
        here, files, mark, schema = not read_config(data).database.url, present(data), BEGINNING, []
        if here:
            copy_database(data / DATABASE, shop / DATABASE)
            files = {DATABASE: shop / DATABASE, **files}
            mark, schema = _mark_of(shop / DATABASE), migrations_of(shop / DATABASE)
        manifest = {
            "sekisho_backup": FORMAT,
            "version": version("sekisho"),
            "at": at,
            "ca": datadir.identity(data),
            "created_at": marker["created_at"],
            "line": mark.number,
            "hash": mark.hash,
            "schema": [list(each) for each in schema],
            "files": {name: [path.stat().st_size, _digest(path)] for name, path in files.items()},
        }
        try:
            with open(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"
            ) as out:
                _encrypt(manifest, files, out, recipients)
                out.flush()
                os.fsync(out.fileno())
            size = draft.stat().st_size
            draft.replace(to)
            sync_directory(to.parent)
        finally:
            draft.unlink(missing_ok=True)
    made = Made(str(to.absolute()), at, size, mark.number, here)
    if counts:
        write_private(data / LAST, json.dumps(asdict(made)).encode() + b"\n")
    return made


def thin_out(folder: Path, keep: int) -> list[Path]:
    """Takes away all but the newest of the backups that were named by their time; which those were."""
    named = sorted(path for path in folder.iterdir() if _DATED.fullmatch(path.name))
    gone = named[:-keep]
    for path in gone:
        path.unlink()
    return gone


def present(data: Path) -> dict[str, Path]:
    """What of a directory goes into a backup, besides the database: by its name there."""
    names = [name for name in _FILES if (data / name).is_file()]
    for folder in _FOLDERS:
        if (data / folder).is_dir():
            names += [f"{folder}/{path.name}" for path in sorted((data / folder).iterdir()) if path.is_file()]
    return {name: data / name for name in names if _NAME.fullmatch(name)}


def _encrypt(
    manifest: Mapping[str, Any], files: Mapping[str, Path], out: BinaryIO, recipients: Sequence[Any]
) -> None:
    """The tar goes through a pipe: the whole of it is nowhere in the clear."""
    read, write = os.pipe()
    trouble: list[BaseException] = []

    def fill() -> None:
        try:
            with open(write, "wb") as end, tarfile.open(fileobj=end, mode="w|") as tar:
                _add(tar, _MANIFEST, io.BytesIO(content), len(content))
                for name, path in files.items():
                    with path.open("rb") as file:
                        _add(tar, name, file, manifest["files"][name][0])
        except BaseException as error:
            trouble.append(error)

    content = json.dumps(manifest).encode()
    filling = threading.Thread(target=fill)
    sink = _Sink(out)
    with open(read, "rb") as source:
        filling.start()
        try:
            pyrage.encrypt_io(source, sink, list(recipients))
        except (pyrage.EncryptError, OSError) as error:
            raise sink.error or error from None
        finally:
            source.close()
            filling.join()
    if trouble:
        raise trouble[0]


def _add(tar: tarfile.TarFile, name: str, file: Any, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    tar.addfile(entry, file)


class _Sink:
    """Keeps the error of a write, which the library makes a text of; and puts a long file on disk piece by
    piece, since whoever commits meanwhile waits for what the system has held back."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._held_back = 0
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            count = self._out.write(content)
            self._held_back += count
            if self._held_back >= _HELD_BACK:
                self._out.flush()
                os.fdatasync(self._out.fileno())
                self._held_back = 0
        except OSError as error:
            self.error = error
            raise
        return count

    def flush(self) -> None:
        self._out.flush()


# -- back out of one -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Restored:
    """What came out of a backup: of when it was, by which version, and what its database had seen."""

    at: int
    version: str
    mark: Mark


@contextmanager
def opened(file: Path, identities: Sequence[Any], target: Path) -> Iterator[tuple[Path, Restored]]:
    """A backup, unpacked beside ``target`` and checked; put there at the end of the block. If that fails
    nothing is left of it. ConfigError for what is no backup, damaged, another key's or another version's."""
    with beside(target) as shop:
        with _said(shop):
            found = _unpacked(file, identities, shop)
        yield shop, found


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A directory that is put in the place of ``target`` at the end of the block; if that fails nothing is
    left of it. ConfigError for a target that is not empty."""
    _claim(target)
    with _workshop(target.parent, target) as shop:
        yield shop
        with _said(target):
            if target.exists():
                target.rmdir()
            shop.rename(target)
            sync_directory(target.parent)
            shop.mkdir()  # what the workshop is to take away


def _claim(target: Path) -> None:
    datadir.check_owner(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is not empty; name a new directory with --data DIR")
    with _said(target):
        target.parent.mkdir(parents=True, exist_ok=True)


def _unpacked(file: Path, identities: Sequence[Any], shop: Path) -> Restored:
    tar = shop / ".tar"
    _decrypt(file, identities, tar)
    try:
        with tarfile.open(tar, mode="r:") as archive:
            manifest = _manifest_of(archive, file)
            for name, (size, digest) in manifest["files"].items():
                _take_out(archive, name, size, digest, shop, file)
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise _damaged(file) from error
    tar.unlink()
    known = {(schema.room, step.name) for schema in SCHEMAS for step in schema.steps}
    unknown = {tuple(each) for each in manifest["schema"]} - known
    made_by = manifest["version"]
    if unknown:
        raise ConfigError(
            f"{file} was made by sekisho {made_by}, which has tables that this one does not know; restore it "
            f"with that version: pip install sekisho=={made_by}"
        )
    if datadir.identity(shop) != manifest["ca"]:
        raise _damaged(file)
    return Restored(manifest["at"], made_by, Mark(manifest["line"], manifest["hash"]))


def _decrypt(file: Path, identities: Sequence[Any], tar: Path) -> None:
    try:
        source = file.open("rb")
    except OSError as error:
        raise ConfigError(f"backup: {file} cannot be read ({error.strerror}); see: ls -l {file}") from None
    with source, _new(tar) as out:
        sink = _Sink(out)
        try:
            pyrage.decrypt_io(source, sink, list(identities))
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                raise ConfigError(
                    f"{file} was made for another key; name the file with its private key: --identity FILE"
                ) from None
            raise ConfigError(f"{file} is no backup of sekisho, or damaged; take another one") from None
        except OSError as error:
            raise sink.error or _damaged(file) from error


def _manifest_of(archive: tarfile.TarFile, file: Path) -> Mapping[str, Any]:
    entry = archive.next()
    if entry is None or entry.name != _MANIFEST or entry.size > _LONGEST_MANIFEST:
        raise ConfigError(f"{file} is no backup of sekisho; name another file")
    content = archive.extractfile(entry)
    assert content is not None
    manifest: dict[str, Any] = json.loads(content.read())
    form, made_by = manifest.get("sekisho_backup"), manifest.get("version", "?")
    if form != FORMAT:
        raise ConfigError(
            f"{file} is a backup of another version (format {form}); restore it with the sekisho that made "
            f"it: pip install sekisho=={made_by}"
        )
    return manifest


def _take_out(archive: tarfile.TarFile, name: str, size: int, digest: str, shop: Path, file: Path) -> None:
    entry = archive.getmember(name)
    content = archive.extractfile(entry) if entry.isreg() and _NAME.fullmatch(name) else None
    if content is None or entry.size != size:
        raise _damaged(file)
    path = shop / name
    if path.parent != shop:
        make_private_directory(path.parent)
    with _new(path) as out:
        shutil.copyfileobj(content, out, _PIECE)
        out.flush()
        os.fsync(out.fileno())
    if _digest(path) != digest:
        raise _damaged(file)


def _damaged(file: Path) -> ConfigError:
    return ConfigError(f"{file} is damaged or cut off; take another one, or fetch it again")


# -- within --------------------------------------------------------------------------------------------


@contextmanager
def _workshop(beside: Path, what: Path) -> Iterator[Path]:
    """A private directory on the same disk, taken away at the end."""
    path = beside / f".{what.name}-{secrets.token_hex(6)}.new"
    with _said(beside):
        make_private_directory(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _said(where: Path) -> Iterator[None]:
    """A full disk, a directory that is missing or another's: the operator's, with what to look at."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise ConfigError(f"{where} cannot be written ({why}); see: ls -ld {where.parent}; df -h") from error


def _new(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _mark_of(database: Path) -> Mark:
    with SqliteSource(database).snapshot() as db:
        return Mark(*ca.store.journal_mark(db, ""))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d-%H%M%S")
