"""How an export is written: CSV for people and for an import, JSON lines for programs, or one document."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Protocol

from enroll.exports.spreadsheet import ENDS, MARK, csv_lines
from enroll.exports.tables import TOTAL, Closing, Record, Table
from enroll.jst import in_japan

_TOTALS = {TOTAL: (TOTAL, "合計")}


@dataclass(frozen=True)
class End:
    """What the last line says: which export it was (the trail knows it by that), and how many rows it had."""

    export: str
    rows: int


class Form(Protocol):
    """A way of writing. What it makes, one after the other, is the file."""

    @property
    def suffix(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    def begin(self, table: Table) -> bytes: ...
    def rows(self, table: Table, records: Sequence[Record], first: bool) -> bytes: ...
    def close(self, table: Table, closing: Closing | None, end: End) -> bytes: ...


#: A value of a column in words; None for one that is given as it is.
Words = Callable[[str, Any], str | None]


@dataclass(frozen=True)
class Csv:
    """With a heading; moments in Japan. ``language``: 0 English, whose headings and values are those of the
    API, or 1 Japanese, with ``headings`` and ``words`` for people."""

    language: int = 0
    headings: Mapping[str, str] | None = None
    words: Words | None = None
    suffix: str = "csv"
    media_type: str = "text/csv; charset=utf-8"

    def begin(self, table: Table) -> bytes:
        heads = self.headings
        named = table.columns if heads is None else [heads[name] for name in table.columns]
        return MARK + csv_lines([named])

    def rows(self, table: Table, records: Sequence[Record], first: bool) -> bytes:
        cell = str_of if table.raw else self._cell
        return csv_lines([[cell(name, each[name]) for name in table.columns] for each in records])

    def close(self, table: Table, closing: Closing | None, end: End) -> bytes:
        lines = [[ENDS[self.language], str(end.rows), end.export]]
        if closing is not None:
            head, *rest = closing.cells
            lines.insert(0, [_TOTALS.get(head, (head, head))[self.language], *rest])
        return csv_lines(lines)

    def _cell(self, name: str, value: Any) -> str:
        if value is None or value == "":
            return ""
        said = self.words(name, value) if self.words is not None else None
        if said is not None:
            return said
        if isinstance(value, bool):
            return "yes" if value else ""
        return f"{in_japan(int(value)):%Y-%m-%d %H:%M:%S}" if name.endswith("_at") else str(value)


@dataclass(frozen=True)
class JsonLines:
    """A record on each line, under the names of the API; the last line has ``end``."""

    suffix: str = "jsonl"
    media_type: str = "application/jsonl"

    def begin(self, table: Table) -> bytes:
        return b""

    def rows(self, table: Table, records: Sequence[Record], first: bool) -> bytes:
        return b"".join(_encode(_told(table, each)) + b"\n" for each in records)

    def close(self, table: Table, closing: Closing | None, end: End) -> bytes:
        lines = [] if closing is None else [closing.value]
        return b"".join(_encode(each) + b"\n" for each in (*lines, _end(end)))


@dataclass(frozen=True)
class JsonDocument:
    """One document, written as it comes: ``rows``, what closes them, and ``end``."""

    suffix: str = "json"
    media_type: str = "application/json"

    def begin(self, table: Table) -> bytes:
        return b'{"rows": ['

    def rows(self, table: Table, records: Sequence[Record], first: bool) -> bytes:
        lines = b",\n".join(_encode(_told(table, each)) for each in records)
        return (b"\n" if first else b",\n") + lines

    def close(self, table: Table, closing: Closing | None, end: End) -> bytes:
        behind = {**(closing.value if closing is not None else {}), **_end(end)}
        return b"],\n" + _encode(behind)[1:] + b"\n"


def _end(end: End) -> Mapping[str, Any]:
    return {"end": {"export": end.export, "rows": end.rows}}


def end_in(line: str) -> End | None:
    """What the last line of a file says; None for one that is no such line."""
    text = line.strip().removeprefix(MARK.decode())
    if text.startswith(ENDS):
        cells = next(csv.reader([text]))
        return End(cells[2], int(cells[1])) if len(cells) == 3 and cells[1].isdecimal() else None
    with suppress(ValueError, KeyError, TypeError):
        told = json.loads(text if text.startswith("{") else "{" + text)["end"]
        return End(str(told["export"]), int(told["rows"]))
    return None


def _told(table: Table, record: Record) -> Mapping[str, Any]:
    if table.raw:
        return {"line": {**record}}
    return {name: _plain(name, record[name]) for name in table.columns}


def _plain(name: str, value: Any) -> Any:
    """A moment as the API has it (RFC 3339), anything else as it is."""
    if not name.endswith("_at") or value is None:
        return value
    return f"{in_japan(int(value)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def str_of(_: str, value: Any) -> str:
    """A value as it is stored."""
    return "" if value is None else str(value)


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
