"""One JSON document a line: what was asked, by whom, and what happened besides. No secret is ever in it.

Lines are collected in memory and written by a thread of their own, so that no request waits for a disk
or a pipe. What the other end does not take, or not in time, is dropped and counted, never waited for.
"""

from __future__ import annotations

import copy
import errno
import json
import logging
import os
import queue
import select
import stat
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ca.errors import ConfigError
from ca.storage import in_log, is_out_of_order

_FLUSH_SECONDS = 0.2
_FLUSH_BYTES = 65_536
# Chunks that may wait for a writer that is stuck: about 16 MiB.
_WAITING = 256
# Seconds that a process without a thread for it waits for whoever reads its log.
_PATIENCE = 1.0


class Journal:
    """Lines to a file (appended, mode 0640) or to standard error. Close it once.

    ``reopen`` takes up a new file of the same name, after a rotation.
    """

    def __init__(self, path: Path | None, worker: int | None = None) -> None:
        """``worker``: its number, for each line, where several write to one place.

        ConfigError if the file cannot be written.
        """
        self.dropped = 0
        self._always = {} if worker is None else {"worker": worker}
        self._path = path
        self._fd = 2 if path is None else _open(path)
        self._lines: list[bytes] = []
        self._size = 0
        self._lock = threading.Lock()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        # The last line was cut short, by a full disk.
        self._torn = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds a line."""
        line = _line({**record, **self._always})
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            full = self._size >= _FLUSH_BYTES
        if full:
            self.flush()

    def flush(self) -> None:
        """Hands what was collected to the writer."""
        with self._lock:  # all the way, so that chunks come in order and none after the end
            lines, self._lines, self._size = self._lines, [], 0
            if not lines:
                return
            try:
                self._chunks.put_nowait(b"\n".join(lines) + b"\n")
            except queue.Full:
                self.dropped += len(lines)

    def reopen(self) -> None:
        """Opens the file again. ConfigError, and the old one goes on, if that fails."""
        if self._path is not None:
            fresh, old = _open(self._path), self._fd
            # In place: the writer may be in the middle of a line.
            os.dup2(fresh, old)
            os.close(fresh)

    def close(self) -> None:
        """Writes what is left, within a few seconds, and closes the file."""
        self._ended.set()
        self.flush()
        try:
            self._chunks.put(None, timeout=2)
        except queue.Full:
            return
        self._thread.join(2)
        if self._path is not None and not self._thread.is_alive():
            os.close(self._fd)

    def _run(self) -> None:
        while True:
            try:
                chunk = self._chunks.get(timeout=_FLUSH_SECONDS)
            except queue.Empty:
                self.flush()
                continue
            if chunk is None:
                return
            self._put(chunk)

    def _put(self, chunk: bytes) -> None:
        lines = chunk.count(b"\n")
        if self._torn:
            chunk = b"\n" + chunk
        written = _write_all(self._fd, chunk)
        if written:
            self._torn = not chunk.endswith(b"\n", 0, written)
        with self._lock:
            self.dropped += min(lines, chunk.count(b"\n", written))


class JournalHandler(logging.Handler):
    """Puts Python's log records into the journal: of an exception its type and place, never its message,
    which may quote a mail or a name."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.write(event_of(record))


class DirectHandler(logging.Handler):
    """The same lines without a thread, written at once: for a process that forks.

    What it looks after goes before its log: a line that cannot be written, or that the other end does not
    take within a second, is lost.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        self.put(_line(event_of(record)) + b"\n")

    def put(self, lines: bytes) -> None:
        """Writes lines that are whole already, of a process that may not open the file."""
        try:
            fd = 2 if self._path is None else _open(self._path)
        except ConfigError:
            return
        ready = select.poll()
        ready.register(fd, select.POLLOUT)
        if ready.poll(1_000 * _PATIENCE):
            _write_all(fd, lines)
        if self._path is not None:
            os.close(fd)


def check(path: Path) -> None:
    """Raises ConfigError if no journal could be written there. Makes nothing."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
    except FileNotFoundError as error:
        if not path.parent.is_dir():
            raise _unwritable(path, error.strerror) from None
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise _unwritable(path, os.strerror(errno.EACCES)) from None
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def event_of(record: logging.LogRecord) -> dict[str, Any]:
    """A log record as a line of the journal."""
    event: dict[str, Any] = {
        "at": round(record.created, 3),
        "kind": "event",
        "level": record.levelname.lower(),
        "from": record.name,
        "says": record.getMessage(),
    }
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        event["error"] = type(error).__name__
        if is_out_of_order(error):
            event["why"] = in_log(error)
        event["trace"] = _trace_of(error)
    return event


class TracesOnly(logging.Formatter):
    """Lines for people. Of an exception its type and where it went, never its words: they may quote what
    somebody typed."""

    def format(self, record: logging.LogRecord) -> str:
        # Another formatter's text of the exception may stand there already: the first one leaves it.
        bare = copy.copy(record)
        bare.exc_text = None
        return super().format(bare)

    def formatException(self, ei: Any) -> str:
        error: BaseException = ei[1]
        name = in_log(error) if is_out_of_order(error) else type(error).__name__
        return "\n".join([name, *(f"  {place}" for place in _trace_of(error))])


def _trace_of(error: BaseException) -> list[str]:
    return [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]


# What JSON leaves as it is and some readers or terminals do not: DEL and C1, line separators.
_BREAKS = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


def _line(record: Mapping[str, Any]) -> bytes:
    """A record as one line: JSON escapes every other control character."""
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate, which is no UTF-8, becomes \\udcXX: still JSON.
    return line.translate(_BREAKS).encode("utf-8", "backslashreplace")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def _unwritable(path: Path, reason: str | None) -> ConfigError:
    return ConfigError(
        f"log.file: {path} cannot be written ({reason}); name another, or '' for standard error"
    )


def _write_all(fd: int, chunk: bytes) -> int:
    """Writes whole lines, as far as it goes; returns how many bytes went.

    Not all, with a full disk or a closed pipe: serving goes on without this part of the log.
    """
    at, end = 0, len(chunk)
    try:
        # In a file nothing mixes with what others append (O_APPEND). In a pipe that is nearly full whatever
        # is longer than this does (pipe(7)): a line of such a length may, but never several at once.
        most = end if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        while at < end:
            to = min(at + most, end)
            if to < end:
                to = chunk.rfind(b"\n", at, to) + 1 or chunk.index(b"\n", at) + 1
            at += os.write(fd, chunk[at:to])
    except OSError:
        pass
    return at
