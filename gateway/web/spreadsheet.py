"""A list as a file that Excel opens: CSV with its mark, and nothing in it that is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

#: By which Excel knows UTF-8: what a file begins with.
MARK = b"\xef\xbb\xbf"
# Lines that are given out together.
_PART = 1_000


def csv_of(lines: Iterable[Sequence[str]]) -> bytes:
    """A file: RFC 4180, with the mark."""
    return MARK + csv_lines(lines)


def csv_parts(lines: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """The same in parts, as the lines come: however many there are, they take no more memory."""
    following = iter(lines)
    yield MARK
    while part := list(islice(following, _PART)):
        yield csv_lines(part)


def csv_lines(lines: Iterable[Sequence[str]]) -> bytes:
    """Lines of such a file, which begins elsewhere."""
    written = io.StringIO()
    csv.writer(written).writerows([_harmless(cell) for cell in line] for line in lines)
    return written.getvalue().encode()


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (CWE-1236). A hyphen alone is none: it says that there
    is nothing."""
    return "'" + cell if cell != "-" and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
