"""Files that are either whole or absent, and readable by nobody else."""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ca.errors import ConfigError


class Snapshot:
    """What files held when they were first asked for, so that a check and its use see the same bytes.

    ``held``: of a snapshot that was taken before (None: no such file); it is ``frozen``, and nothing is
    read or judged anew. ``taken_at``: when it was begun, in monotonic seconds.
    """

    def __init__(
        self, held: Mapping[Path, bytes | None] | None = None, taken_at: float | None = None
    ) -> None:
        self._held: dict[Path, bytes | None] = dict(held or {})
        self.frozen = held is not None
        self.taken_at = time.monotonic() if taken_at is None else taken_at

    @property
    def held(self) -> Mapping[Path, bytes | None]:
        """Everything that was asked for up to now."""
        return dict(self._held)

    def read(self, path: Path, what: str) -> bytes:
        """As `read_file`."""
        content = self.find(path, what)
        if content is None:
            raise _unreadable(path, what, os.strerror(errno.ENOENT))
        return content

    def find(self, path: Path, what: str) -> bytes | None:
        """The same, and None if there is no such file."""
        if path not in self._held and not self.frozen:
            try:
                self._held[path] = path.read_bytes()
            except FileNotFoundError:
                self._held[path] = None
            except OSError as error:
                raise _unreadable(path, what, error.strerror) from error
        return self._held.get(path)

    def put(self, path: Path, content: bytes) -> None:
        """The file holds this from now on: said by whoever wrote it."""
        self._held[path] = content

    def frozen_now(self) -> Snapshot:
        """A copy of what was read and written up to now, and never anything else."""
        return Snapshot(self._held, self.taken_at)

    def thawed(self, *paths: Path) -> Snapshot:
        """A copy that reads these files anew when they are asked for, and nothing else that it holds."""
        copy = Snapshot(taken_at=self.taken_at)
        copy._held = {path: content for path, content in self._held.items() if path not in paths}
        return copy


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
    return Snapshot().read(path, what)


def _unreadable(path: Path, what: str, why: str | None) -> ConfigError:
    return ConfigError(f"{what}: {path} cannot be read ({why}); check it with: ls -l {path}")


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
    with naming(path):
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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the system within names this file: that of a write names none, and nobody knows a draft."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_directory(path: Path) -> None:
    """Makes renames and new names inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
