"""The journal: what must never go backwards, in files of its own beside the database.

A transaction that revokes, publishes a list, issues, ends a session or the like leaves notes. Before it is
committed they are one line here, on disk; the database remembers the number and the hash of its last line. So
a database that was put back from a copy is known by that: it is older than its journal.

A line is JSON, names the hash of the line before it, and ends with its own. ``after`` is the number that the
database stood at: of lines that nothing came after, nothing was committed, and nobody was told. A short line
without a hash says which one was; it may be missing after a power cut, and is needed to tell a crash in
between from a copy that is older by one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import ca.store
from ca.errors import ConfigError
from ca.files import make_private_directory, sync_directory, write_private
from ca.storage import Note, Storage, StorageTrouble, Transaction

FOLDER = "journal"
_NAME = re.compile(r"(\d{12})\.jsonl")
_FORMAT = 1
# Bytes after which a file is followed by another one: quickly read, and few of them in ten years.
_FULL = 16 * 2**20
# What is read first of a file's end; more, if no line begins in it.
_END = 4_096

#: Note of a replay: what it carried out, up to the line ``until``, has come into the database with it.
REPLAYED = "replayed"

#: How a database stands to its journal. "undecided": a crash left a line of which nobody knows whether it was
#: committed; "newer": the journal is cut, or an old copy of itself; "foreign": it tells of another CA;
#: "forked": both went on from a copy, each by itself; "missing": there is none.
Standing = Literal["level", "undecided", "older", "newer", "forked", "foreign", "missing"]


@dataclass(frozen=True)
class Mark:
    """A line by its number and hash; the number 0 is the beginning."""

    number: int
    hash: str


BEGINNING = Mark(0, "")


@dataclass(frozen=True)
class Entry:
    """A line: the notes of what was committed together. ``at``: epoch seconds by the machine's clock."""

    number: int
    after: int
    at: int
    previous: str
    notes: tuple[Note, ...]
    hash: str

    @property
    def mark(self) -> Mark:
        return Mark(self.number, self.hash)


@dataclass(frozen=True)
class Tail:
    """Where a journal ends. ``done``: whether its last line is known to have been committed."""

    path: Path
    ca: str
    mark: Mark
    after: int
    done: bool
    #: Bytes of the last file, and whether they end within a line.
    size: int
    torn: bool
    #: Whose it is, where several nodes share a database.
    node: str = ""


class BrokenJournal(Exception):
    """Lines are missing or altered. ``after``: the number of the last one that is whole."""

    def __init__(self, path: Path, after: int) -> None:
        super().__init__(f"{path}: line {after + 1} is missing or altered")
        self.after = after


@dataclass
class Journal:
    """The journal of one CA, as a process writes to it: under the database's own lock, which lets one at a
    time commit. ``ca``: SHA-256 of the root's certificate, hex. ``node``: whose it is, where several share a
    database, each with a journal and a mark of its own; "" for the only one."""

    folder: Path
    ca: str
    node: str = ""
    now: Callable[[], float] = field(default=time.time)
    full: int = _FULL
    #: Whether the database is known to fit: from then on it must not go back behind what it has seen.
    fits: bool = field(default=False, init=False)
    _descriptor: int = field(default=-1, init=False, repr=False)
    _tail: Tail | None = field(default=None, init=False, repr=False)

    def record(self, db: Transaction, notes: Sequence[Note]) -> Callable[[], None]:
        """Before a commit: the notes are on disk when this returns, and the database knows them by their
        line. What it returns is called after the commit. StorageTrouble where they cannot be written."""
        before = Mark(*ca.store.hold_journal_mark(db, self.node))
        try:
            made = self._append(before, notes)
        except OSError as error:
            self._let_go()
            why = os.strerror(error.errno or 0)
            raise StorageTrouble(
                f"{self.folder}: {why}",
                "JOURNAL",
                f"cannot be written, since its journal cannot ({why}); make room, or see whose it is: "
                f"df -h {self.folder}; ls -l {self.folder}",
            ) from error
        ca.store.move_journal_mark(db, self.node, made.number, made.hash)
        return lambda: self._is_done(made.number)

    def check(self, db: Transaction) -> None:
        """StorageTrouble for a database that has lost what it had seen: a server that has taken over from
        another, or an older copy that was put back."""
        if not self.fits:
            return
        # The journal first: it only grows meanwhile, and so does what the database has seen of it.
        tail = tail_of(self.folder)
        if tail is not None and ca.store.journal_mark(db, self.node)[0] < _seen(tail):
            raise _older(self.folder)

    def close(self) -> None:
        self._let_go()

    def _append(self, before: Mark, notes: Sequence[Note]) -> Mark:
        tail = self._refreshed()
        if before.number > tail.mark.number or (before.number == tail.mark.number and before != tail.mark):
            self._let_go()
            raise StorageTrouble(
                f"{self.folder} is not this database's",
                "JOURNAL",
                "is not what its journal tells of any more: stop the gateway, then: sekisho doctor",
            )
        if self.fits and before.number < _seen(tail):
            self._let_go()
            raise _older(self.folder)
        if tail.size > self.full:
            tail = self._next_file(tail)
        number = tail.mark.number + 1
        line, digest = line_of(number, before.number, int(self.now()), tail.mark.hash, notes)
        content = b"\n" + line if tail.torn else line
        self._tail = None
        _write_all(self._descriptor, content)
        os.fdatasync(self._descriptor)
        made = Mark(number, digest)
        size = tail.size + len(content)
        self._tail = Tail(tail.path, tail.ca, made, before.number, False, size, False, tail.node)
        return made

    def _is_done(self, number: int) -> None:
        """Not on disk before it is told: the next line takes it along."""
        line = b'{"done":%d}\n' % number
        try:
            written = os.write(self._descriptor, line)
        except OSError:
            return  # it is only missed if the machine stops now, and the database is put back from a copy
        tail = self._tail
        if tail is not None and written == len(line) and tail.mark.number == number:
            self._tail = replace(tail, done=True, size=tail.size + written, torn=False)

    def _refreshed(self) -> Tail:
        """The end of the journal, which another process may have moved since."""
        if self._tail is not None and os.fstat(self._descriptor).st_size == self._tail.size:
            return self._tail
        self._let_go()
        found = tail_of(self.folder)
        if found is None:
            raise FileNotFoundError(2, "no journal", str(self.folder))
        if found.ca != self.ca:
            raise StorageTrouble(
                f"{self.folder} is another CA's",
                "JOURNAL",
                f"has another CA's journal beside it: put its own back into {self.folder}",
            )
        if found.node != self.node:
            raise StorageTrouble(
                f"{self.folder} is another node's",
                "JOURNAL",
                f"knows this node by another journal: put its own back into {self.folder}",
            )
        self._descriptor = os.open(found.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._tail = found
        return found

    def _next_file(self, tail: Tail) -> Tail:
        path = _begin(self.folder, self.ca, tail.mark, self.node)
        # Whoever has the old one open sees by its size that something has changed.
        _write_all(self._descriptor, b'{"next":"%s"}\n' % path.name.encode())
        self._let_go()
        return self._refreshed()

    def _let_go(self) -> None:
        self._tail = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _seen(tail: Tail) -> int:
    """The last line of which it is known that it was committed."""
    return tail.mark.number if tail.done else tail.after


def _older(folder: Path) -> StorageTrouble:
    return StorageTrouble(
        f"{folder} tells of more",
        "JOURNAL",
        "has lost what it had committed, and is older than its journal: stop the gateway, then: sekisho "
        "restore replay",
    )


def begin(folder: Path, ca_id: str, after: Mark = BEGINNING, node: str = "") -> None:
    """Makes the journal of a CA that has none, or none any more: what a database has seen is behind it.
    ``node``: whose it is, where several share a database."""
    make_private_directory(folder)
    _begin(folder, ca_id, after, node)


def pass_on(folder: Path, node: str) -> None:
    """Has another node go on with a journal, or the only one ("") of a database that is a file: what comes is
    behind what is there. Done again it does nothing. Nobody may be writing to it."""
    tail = tail_of(folder)
    if tail is not None and tail.node != node:
        _begin(folder, tail.ca, tail.mark, node)


def line_of(number: int, after: int, at: int, previous: str, notes: Sequence[Note]) -> tuple[bytes, str]:
    """A line and its hash, SHA-256 of what stands before it in the line."""
    body = _encode({"n": number, "after": after, "at": at, "prev": previous, "notes": notes}).encode()
    return _sealed(body)


def tail_of(folder: Path) -> Tail | None:
    """Where the journal of a folder ends, by its last lines alone; None where there is none. ConfigError if
    it cannot be read."""
    try:
        for path in reversed(files_of(folder)):
            found = _end_of(path)
            if found is not None:
                return found
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {os.strerror(error.errno or 0)}; see whose it is: ls -l {folder}"
        ) from None
    return None


def entries(folder: Path, since: Mark) -> Iterator[Entry]:
    """Every line after a mark, in their order, each checked against the one before it.

    Half a line that a crash left is passed over: the next one says what it follows. BrokenJournal where one
    does not follow; the end of the last file is what `tail_of` says.
    """
    files = files_of(folder)
    known = since.hash if since.number == 0 else None
    last = since
    for path in _from(files, since.number):
        header, follows, lines = _read(path, since.hash if known is None else "")
        if header is None:
            raise BrokenJournal(path, last.number)
        if follows:
            known = since.hash
        if known is None and header["first"] == since.number + 1:
            if header["prev"] != since.hash:
                raise BrokenJournal(path, since.number - 1)
            known = since.hash
        for entry in lines:
            if known is None:
                # Up to the mark: its own line has to be there, as it was.
                if entry.number == since.number:
                    if entry.hash != since.hash:
                        raise BrokenJournal(path, since.number - 1)
                    known = entry.hash
                continue
            if (entry.number, entry.previous) != (last.number + 1, last.hash):
                raise BrokenJournal(path, last.number)
            last = entry.mark
            yield entry
    if known is None:
        raise BrokenJournal(folder, since.number - 1)


def begins_after(folder: Path) -> Mark:
    """What the first file that is still there goes on from."""
    for path in files_of(folder)[:1]:
        with path.open("rb") as file:
            header = _header_of(path, file.readline().rstrip(b"\n"))
        if header is not None:
            return Mark(header["first"] - 1, header["prev"])
    return BEGINNING


def text_of(entry: Entry) -> str:
    """A line as it stands in its file."""
    line, _ = line_of(entry.number, entry.after, entry.at, entry.previous, entry.notes)
    return line.decode().rstrip("\n")


def committed(lines: Sequence[Entry], since: int) -> list[Entry]:
    """Those of a journal's lines after a number that came into the database, the last one among them whatever
    became of it: what nothing came after was a crash's."""
    by_number = {each.number: each for each in lines}
    found: list[Entry] = []
    at = lines[-1].number if lines else since
    while at in by_number:
        entry = by_number[at]
        found.append(entry)
        replayed = (facts["until"] for kind, facts in entry.notes if kind == REPLAYED)
        at = next(replayed, entry.after)
    return found[::-1]


def standing(folder: Path, ca_id: str, mark: Mark, node: str = "") -> Standing:
    """How a database that remembers ``mark`` of a node stands to the journal in a folder. Ask while nobody
    commits, or again before anything but "level" is believed."""
    tail = tail_of(folder)
    if tail is None:
        return "missing"
    if tail.ca != ca_id or tail.node != node:
        return "foreign"
    if tail.mark == mark:
        return "level"
    if tail.mark.number <= mark.number:
        return "newer" if tail.mark.number < mark.number else "forked"
    try:
        for _ in entries(folder, mark):
            pass
    except BrokenJournal as broken:
        return "forked" if broken.after < mark.number else "older"
    return "undecided" if tail.after == mark.number and not tail.done else "older"


def stands(journal: Journal, database: Storage) -> Standing:
    """The same of an opened database, whatever else commits meanwhile."""

    def judged(mark: tuple[int, str]) -> Standing:
        return standing(journal.folder, journal.ca, Mark(*mark), journal.node)

    found = database.read_now(lambda db: judged(ca.store.journal_mark(db, journal.node)))
    if found not in ("level", "missing", "foreign"):
        # While the mark is held nobody else is between his line and his commit.
        found = database.write_now(lambda db: judged(ca.store.hold_journal_mark(db, journal.node)))
    return found


# -- files ---------------------------------------------------------------------------------------------


def files_of(folder: Path) -> list[Path]:
    """The files of a journal, in their order."""
    names = os.listdir(folder) if folder.is_dir() else []
    return [folder / name for name in sorted(names) if _NAME.fullmatch(name)]


def _from(files: Sequence[Path], number: int) -> Sequence[Path]:
    """The files that have what comes after a number, the line itself if it can be among them."""
    begun = [i for i, path in enumerate(files) if int(path.name.partition(".")[0]) <= max(number, 1)]
    return files[begun[-1] :] if begun else files


def _begin(folder: Path, ca_id: str, after: Mark, node: str) -> Path:
    first = after.number + 1
    path = folder / f"{first:012}.jsonl"
    header: dict[str, Any] = {"journal": _FORMAT, "ca": ca_id, "first": first, "prev": after.hash}
    header |= {"node": node} if node else {}
    draft = folder / f".{path.name}.{os.getpid()}.new"
    write_private(draft, _sealed(_encode(header).encode())[0])
    try:
        # Whole, and never over one that another process has begun, and perhaps written to.
        os.link(draft, path)
        sync_directory(folder)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path


def _read(path: Path, after: str) -> tuple[Mapping[str, Any] | None, bool, Iterator[Entry]]:
    """A file's header and lines: those that follow the one with the hash ``after``, if that is found, and
    whether it was. So a look at what is new does not parse what is old."""
    content = path.read_bytes()
    header = _header_of(path, content.partition(b"\n")[0])
    found = content.find(b'"prev":"%b","notes"' % after.encode()) if after else -1
    lines = content[content.rfind(b"\n", 0, found) + 1 :] if found > 0 else content.partition(b"\n")[2]
    parsed = (entry for entry in map(_entry_of, lines.split(b"\n")) if entry is not None)
    return header, found > 0, parsed


def _end_of(path: Path) -> Tail | None:
    """What the end of a file says; None if it says nothing at all."""
    with path.open("rb") as file:
        header = _header_of(path, file.readline().rstrip(b"\n"))
        if header is None:
            return None
        size, wanted = file.seek(0, os.SEEK_END), _END
        while True:
            file.seek(max(size - wanted, 0))
            content = file.read(size - max(size - wanted, 0))
            lines = content.split(b"\n")
            # The first piece may be the end of a line that begins before it.
            found = _last_of(lines if wanted >= size else lines[1:])
            torn = not content.endswith(b"\n")
            if found is not None:
                entry, done = found
                node = header.get("node", "")
                return Tail(path, header["ca"], entry.mark, entry.after, done, size, torn, node)
            if wanted >= size:
                mark = Mark(header["first"] - 1, header["prev"])
                return _before(path, header, mark, size, torn)
            wanted *= 8


def _before(path: Path, header: Mapping[str, Any], mark: Mark, size: int, torn: bool) -> Tail:
    """The tail of a file that has no line yet: what the file before it ends with."""
    ca_id, node = header["ca"], header.get("node", "")
    earlier = [each for each in files_of(path.parent) if each.name < path.name]
    ended = _end_of(earlier[-1]) if earlier else None
    if ended is None or ended.mark != mark:
        # Taken away, as old files may be: it was followed by this one, so it was committed or is void.
        return Tail(path, ca_id, mark, mark.number, True, size, torn, node)
    return Tail(path, ca_id, mark, ended.after, ended.done, size, torn, node)


def _last_of(lines: Sequence[bytes]) -> tuple[Entry, bool] | None:
    done = set[int]()
    for line in reversed(lines):
        if line.startswith(b'{"done":') and line.endswith(b"}") and line[8:-1].isdigit():
            done.add(int(line[8:-1]))
        elif (entry := _entry_of(line)) is not None:
            return entry, entry.number in done
    return None


def _header_of(path: Path, line: bytes) -> dict[str, Any] | None:
    found = _opened(line)
    if found is None or "journal" not in found:
        return None
    if found["journal"] != _FORMAT:
        raise ConfigError(
            f"{path} is of another version ({found['journal']}); open it with the sekisho that made it"
        )
    return found


def _entry_of(line: bytes) -> Entry | None:
    found = _opened(line)
    if found is None or "n" not in found:
        return None
    notes = tuple((str(kind), dict(facts)) for kind, facts in found["notes"])
    return Entry(found["n"], found["after"], found["at"], found["prev"], notes, found["h"])


_HASH = re.compile(rb'(.*),"h":"([0-9a-f]{64})"\}', re.DOTALL)


def _sealed(body: bytes) -> tuple[bytes, str]:
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + b',"h":"' + digest.encode() + b'"}\n', digest


def _opened(line: bytes) -> dict[str, Any] | None:
    """What a line says that is whole; None for any other."""
    found = _HASH.fullmatch(line)
    if found is None or hashlib.sha256(found[1] + b"}").hexdigest().encode() != found[2]:
        return None
    document: dict[str, Any] = json.loads(line)
    return document


def _write_all(descriptor: int, content: bytes) -> None:
    at = 0
    while at < len(content):
        at += os.write(descriptor, content[at:])


_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=False).encode
