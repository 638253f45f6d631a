"""What a spreadsheet reads in a list that is downloaded."""

from __future__ import annotations

import csv
import io

import pytest

from gateway.web.spreadsheet import csv_of


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        *((each, f"'{each}") for each in ("=1+1", "+81", "-1", "--", "-A1", "@SUM(A1)", "\t=1", "\r=1")),
        *((each, each) for each in ("-", "", "1-1", "年金 太郎", " =1")),
    ],
)
def test_no_cell_is_a_formula(cell: str, read: str) -> None:
    """What would be one is text; a hyphen alone, which says that there is nothing, stays as it is."""
    body = csv_of([["Told"], [cell]]).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(body, newline=""))) == [["Told"], [read]]
