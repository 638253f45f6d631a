"""What a spreadsheet reads in a list that is downloaded, and what an import makes of it again."""

from __future__ import annotations

import csv
import io

import pytest

from enroll.exports.spreadsheet import csv_of, meant

_FORMULAS = ("=1+1", "+81", "-1", "--", "-A1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1")
_FULL_WIDTH = ("＝1+1", "＋81", "－1", "−1", "＠SUM(A1)", "　=1")
# Somebody has written an apostrophe there already.
_QUOTED = ("'=1", "''＝1", "'-", "' =1")


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        *((each, f"'{each}") for each in (*_FORMULAS, *_FULL_WIDTH, *_QUOTED)),
        *((each, each) for each in ("-", "－", "", "1-1", "年金 太郎", "'", "'甲", "O'Neill")),
    ],
)
def test_no_cell_is_a_formula(cell: str, read: str) -> None:
    """What would be one is text, in full width too; a hyphen alone, which says that there is nothing, stays
    as it is. What was made of a cell is undone exactly, however it began."""
    body = csv_of([["Told"], [cell]]).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(body, newline=""))) == [["Told"], [read]]
    assert meant(read) == cell
