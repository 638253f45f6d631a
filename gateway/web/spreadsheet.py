"""A list as a file that Excel opens: CSV with its mark, and nothing in it that is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def csv_of(lines: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180, with the mark by which Excel knows UTF-8."""
    written = io.StringIO()
    csv.writer(written).writerows([_harmless(cell) for cell in line] for line in lines)
    return b"\xef\xbb\xbf" + written.getvalue().encode()


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (CWE-1236). A hyphen alone is none: it says that there
    is nothing."""
    return "'" + cell if cell != "-" and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
