"""Who typed a command, and how it reaches their files: the same in their own process and in the gateway's.

The gateway may run as somebody who may not read them, in a file system that has been cut down: it opens none.
What a command is given is read before it runs, by whoever typed it, and what it writes is written by them.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ca.files import read_file, write_private, write_public
from enroll.operators.actors import Actor

#: Names the data directory.
DATA_VARIABLE = "SEKISHO_DATA"
#: Writes a file whole: where, what, and whether anybody may read it.
Write = Callable[[Path, bytes, bool], None]


@dataclass(frozen=True)
class Given:
    """A file that was named to a command, as it was when it was read."""

    path: Path
    content: bytes

    def __str__(self) -> str:
        return str(self.path)


class InputFile(click.ParamType[Given]):
    """A file to read; ``what`` it is called where it cannot be. ``-`` is standard input, if ``dash``."""

    name = "file"

    def __init__(self, what: str, *, dash: bool = False, most: int = -1) -> None:
        self._what, self._dash, self._most = what, dash, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Given:
        if isinstance(value, Given):
            return value
        if self._dash and value == "-":
            return Given(Path("-"), sys.stdin.buffer.read(self._most))
        return Given(Path(value), self.read(Path(value)))

    def read(self, path: Path) -> bytes:
        """What stands in a file. ConfigError if it cannot be read."""
        return read_file(path, self._what)


class OutputFile(click.Path):
    """A file to write, by `write` and nothing else."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)


def write_here(path: Path, content: bytes, public: bool) -> None:
    """Writes a file whole or not at all, as this process may."""
    (write_public if public else write_private)(path, content)


class _Caller:
    uid: int | None = None
    actor: Actor | None = None
    write: Write = staticmethod(write_here)


def is_far() -> bool:
    """Whether this process runs a command for somebody in another one."""
    return _Caller.uid is not None


def be_for(uid: int, write: Write) -> None:
    """From now on this process does what somebody in another one has typed."""
    _Caller.uid, _Caller.write = uid, staticmethod(write)


def write(path: Path, content: bytes, *, public: bool = False) -> None:
    """Writes a file whole or not at all, as whoever typed the command may. OSError if they may not."""
    _Caller.write(path, content, public)


def uid() -> int:
    """Whose process this is, or is asked by. The environment (LOGNAME, USER) has no say."""
    return os.getuid() if _Caller.uid is None else _Caller.uid


def account() -> str:
    """The account of this machine that they have."""
    try:
        return pwd.getpwuid(uid()).pw_name
    except KeyError:
        return str(uid())


@contextmanager
def acting_as(found: Actor) -> Iterator[None]:
    """For the length of a block this process does what an actor may."""
    before, _Caller.actor = _Caller.actor, found
    try:
        yield
    finally:
        _Caller.actor = before


def acting() -> Actor:
    """Who acts, with what they may."""
    assert _Caller.actor is not None, "a command on an opened data directory knows who acts"
    return _Caller.actor


def actor() -> str:
    """Who the audit trail says it was. Without an opened data directory: the account of the machine."""
    return f"operator:{account()}" if _Caller.actor is None else _Caller.actor.name
