"""A list as a file that Excel opens: CSV with its mark, and nothing in it that is taken for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

#: By which Excel knows UTF-8: what a file begins with.
MARK = b"\xef\xbb\xbf"
#: First cell of the last line of an export, in English and in Japanese: without that line it has broken off.
ENDS = ("#end", "#以上")
# How a formula begins (CWE-1236), in full width as well: Excel in Japan takes these for the same. What stands
# before it and is not seen changes nothing of that.
_FORMULA = r"[\t\r\n]|\s*[=+\-@＝＋－−＠]"
# A formula, and one that was made harmless, however often: each takes one apostrophe more, so that the way
# back is exact.
_BEGINS = re.compile(f"'*(?:{_FORMULA})")
_HARMLESS = re.compile(f"'+(?:{_FORMULA})")
# What says that there is nothing, and is no formula.
_NOTHING = ("-", "－")


def csv_of(lines: Iterable[Sequence[str]]) -> bytes:
    """A file: RFC 4180, with the mark."""
    return MARK + csv_lines(lines)


def csv_lines(lines: Iterable[Sequence[str]]) -> bytes:
    """Lines of such a file, which begins elsewhere."""
    written = io.StringIO()
    csv.writer(written).writerows([harmless(cell) for cell in line] for line in lines)
    return written.getvalue().encode()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before what would be one, and before what
    looks as if it had one. A hyphen alone is none: it says that there is nothing."""
    return "'" + cell if cell not in _NOTHING and _BEGINS.match(cell) else cell


def meant(cell: str) -> str:
    """The way back, for a file that is read again."""
    return cell[1:] if _HARMLESS.match(cell) else cell
