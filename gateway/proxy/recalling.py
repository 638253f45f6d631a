"""Heads of answers that need no parser, since each of their lines has been through it.

What an upstream says of one answer it says of the next: its name, the type, how long to keep it, within a
second the date. A line that llhttp has read once, and that says nothing of framing, is read the same way in
the next head, so that such a head is put together from lines that are known. Whatever is not known, byte for
byte, goes to llhttp; so does whatever has another body than `Content-Length` bytes that are all here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from gateway.proxy import heads
from gateway.wire.reply import WITHOUT_CONTENT
from gateway.wire.request import Fields

#: Lines that are remembered, then it begins anew; and how long one may be.
_MEMO: Final = 2_048
_LINE: Final = 256
_LINES: Final = 48
_LENGTH: Final = b"Content-Length: "
# What says where an answer ends, or that its connection does, is llhttp's to read each time.
# Cookies are nobody's to keep.
_NEVER: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"proxy-connection", b"upgrade", b"set-cookie"}
)
# How many answers are not looked at after one that was not known, at most: where each has an ETag of its own
# this must cost nothing.
_PATIENCE: Final = 64


@final
class Known:
    """A line: the name by which the gate notes it, or b""; its value; and as what it goes on, or b""."""

    __slots__ = ("label", "line", "value")

    def __init__(self, label: bytes, value: bytes, line: bytes) -> None:
        self.label, self.value, self.line = label, value, line


@final
class Recalled:
    """A whole answer: status, reason and fields as llhttp's callbacks would have made them, and its body."""

    __slots__ = ("body", "fields", "reason", "status")

    def __init__(self, status: int, reason: bytes, fields: Fields, body: bytes) -> None:
        self.status, self.reason, self.fields, self.body = status, reason, fields, body


@final
class Memory:
    """What has been read. One for each connection; the lines are shared, for they say the same wherever they
    stand."""

    __slots__ = ("_passed", "_pause", "tried")

    def __init__(self) -> None:
        # Answers that are still to be passed over, and how many it will be after the next failure.
        self._passed = 0
        self._pause = 1
        #: Whether the last one was looked at: only then it is worth learning.
        self.tried = False

    def recall(self, data: bytes) -> Recalled | None:
        """A whole answer with a body of known length, all of ``data``; None: it has to be parsed."""
        self.tried = self._passed == 0
        if not self.tried:
            self._passed -= 1
            return None
        found = _whole(data)
        if found is None:
            self._passed, self._pause = self._pause, min(self._pause * 2, _PATIENCE)
        else:
            self._pause = 1
        return found


def learn(data: bytes, status: int, reason: bytes, raw: Sequence[tuple[bytes, bytes]]) -> None:
    """Remembers the lines of a head of HTTP/1.1 that llhttp has read as ``raw``, with ``data`` as it came."""
    end = data.find(b"\r\n\r\n")
    lines = data[:end].split(b"\r\n") if end > 0 else []
    if len(lines) != len(raw) + 1:
        return
    if len(_lines) + len(lines) > _MEMO:
        _lines.clear()
    if len(_statuses) >= _MEMO:
        _statuses.clear()
    if status >= 200 and status not in WITHOUT_CONTENT and lines[0] == b"HTTP/1.1 %d %s" % (status, reason):
        _statuses[lines[0]] = (status, heads.reason_of(status, reason))
    for line, (name, value) in zip(lines[1:], raw, strict=True):
        if len(line) > _LINE or line != b"%s: %s" % (name, value):
            continue  # a space more or less: it may be read alike, but is not known to be
        if name.lower() not in _NEVER:
            fields = heads.sorted_answer([(name, value)])
            label = next(iter(fields.noted), b"")
            _lines[line] = Known(label, value, fields.lines[0] if fields.lines else b"")


_lines: Final[dict[bytes, Known]] = {}
_statuses: Final[dict[bytes, tuple[int, bytes]]] = {}


def _whole(data: bytes) -> Recalled | None:
    end = data.find(b"\r\n\r\n")
    if end < 0 or end > _LINE * _LINES:
        return None
    first, *rest = data[:end].split(b"\r\n")
    known_status = _statuses.get(first)
    if known_status is None or len(rest) > _LINES:
        return None
    lines: list[bytes] = []
    noted: dict[bytes, list[bytes]] = {}
    length = -1
    for line in rest:
        known = _lines.get(line)
        if known is not None:
            if known.label:
                noted.setdefault(known.label, []).append(known.value)
            if known.line:
                lines.append(known.line)
        elif line == b"Connection: keep-alive":
            noted.setdefault(b"connection", []).append(b"keep-alive")
        elif length < 0 and line.startswith(_LENGTH):
            digits = line[len(_LENGTH) :]
            if not digits.isdigit() or len(digits) > 9:
                return None
            length = int(digits)
            noted[b"content-length"] = [digits]
        else:
            return None
    body = data[end + 4 :]
    if len(body) != length:
        return None
    status, reason = known_status
    return Recalled(status, reason, Fields(lines, noted), body)
