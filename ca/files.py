"""Files that are either whole or absent, and readable by nobody else."""

from __future__ import annotations

import os
import pwd
import secrets
from pathlib import Path

from ca.errors import ConfigError


def write_private(path: Path, content: bytes) -> None:
    """Writes `content` to `path` with mode 0600, atomically: a reader or a crash sees old or new."""
    _write(path, content, 0o600)


def write_public(path: Path, content: bytes) -> None:
    """As `write_private` with mode 0644, for certificates and what else is meant to be read."""
    _write(path, content, 0o644)


def make_private_directory(path: Path) -> None:
    """Makes `path` (mode 0700) and its parents, or tightens it where it exists."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file that the operator named as `what`; `ConfigError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{what}: {path} cannot be read ({error.strerror}); check it with: ls -l {path}"
        ) from error


def owner_of(path: Path) -> str:
    """Whose `path` is, by the name that `chown` takes; of what cannot be seen, the directory's around it."""
    try:
        return name_of(path.stat().st_uid)
    except OSError:
        return owner_of(path.parent) if path.parent != path else name_of(0)


def name_of(uid: int) -> str:
    """A user's name, or the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _write(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes renames and new names inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
