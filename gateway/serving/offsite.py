"""The journal on another machine: a directory that is kept like it, and a log that gets each of its lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from ca import journal
from ca.errors import ConfigError
from ca.files import make_private_directory, write_private
from ca.journal import BrokenJournal, Mark
from gateway.running.syslog import send
from gateway.serving.settings.keeping import Copying

#: In the data directory: up to which line the other machine's log has got them.
_SENT = "journal.sent"
# Lines that are sent at once, and seconds that one may be missing until somebody is told.
_AT_ONCE = 500
_PATIENCE = 60


def keep_up(data: Path, settings: Copying) -> None:
    """Takes what has come since to both. OSError or ConfigError where one of them cannot be had; blocks."""
    folder = data / journal.FOLDER
    try:
        if settings.copy:
            copy(folder, Path(settings.copy))
    finally:
        if settings.syslog:
            _forward(data, folder, settings.syslog)


def copy(folder: Path, to: Path) -> None:
    """Makes a directory like a journal: what it lacks is added, and on disk. ConfigError for another's."""
    make_private_directory(to)
    for path in journal.files_of(folder):
        other, size = to / path.name, path.stat().st_size
        have = other.stat().st_size if other.exists() else 0
        if have >= size:
            continue
        with path.open("rb") as source, other.open("ab") as target:
            if have and source.readline() != other.open("rb").readline():
                raise ConfigError(f"{to} has another journal; name an empty directory in journal.copy")
            source.seek(have)
            target.write(source.read(size - have))
            target.flush()
            os.fsync(target.fileno())
        other.chmod(0o600)


def bring_back(copied: Path, folder: Path) -> None:
    """The way back: a journal that was put back with its database gets from its copy what it lacks.

    ConfigError where the copy does not go on from it.
    """
    for path in journal.files_of(copied):
        ours = folder / path.name
        if ours.exists() and not path.read_bytes().startswith(ours.read_bytes()):
            if ours.read_bytes().startswith(path.read_bytes()):
                continue
            raise ConfigError(
                f"{copied} does not go on from {folder}; put one of them into the other's place as a whole"
            )
    copy(copied, folder)


def behind(data: Path, settings: Copying, now: Callable[[], float] = time.time) -> list[str]:
    """What is to be said of lines that have not got to the other machine for a minute, with what to do."""
    folder, found = data / journal.FOLDER, list[str]()
    if settings.copy:
        found += _missing(folder, _end_of(Path(settings.copy)), settings.copy, now())
    if settings.syslog:
        found += _missing(folder, _sent(data), settings.syslog, now())
    return found


def _missing(folder: Path, mark: Mark | None, where: str, now: float) -> list[str]:
    if mark is None:
        return [f"the journal's copy in {where} cannot be read: see whether it is there: ls -ld {where}"]
    tail = journal.tail_of(folder)
    if tail is not None and tail.mark == mark:
        return []
    try:
        late = [each for each in islice(journal.entries(folder, mark), 1) if now - each.at > _PATIENCE]
    except (BrokenJournal, ConfigError):
        return [f"the journal's copy in {where} is not this journal's: see journal.copy and journal.syslog"]
    return [f"line {each.number} of the journal has not got to {where}: see the log" for each in late]


def _end_of(folder: Path) -> Mark | None:
    try:
        tail = journal.tail_of(folder)
    except ConfigError:
        return None
    return tail.mark if tail is not None else None


def _forward(data: Path, folder: Path, target: str) -> None:
    mark, tail = _sent(data), journal.tail_of(folder)
    if tail is None or tail.mark == mark:
        return
    while lines := list(islice(journal.entries(folder, mark), _AT_ONCE)):
        send(target, "journal", [(each.at, journal.text_of(each)) for each in lines])
        mark = lines[-1].mark
        write_private(data / _SENT, json.dumps([mark.number, mark.hash]).encode())


def _sent(data: Path) -> Mark:
    try:
        number, digest = json.loads((data / _SENT).read_bytes())
        return Mark(int(number), str(digest))
    except (OSError, ValueError, TypeError):
        return journal.begins_after(data / journal.FOLDER)
