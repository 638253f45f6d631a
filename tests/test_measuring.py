"""The commands that measure run outside CI: here only that what they build on is still there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ca.sqlite import Database
from tests.bench.console_bench import unmeasured
from tests.bench.full_bench import fill
from tests.datadirs import SCHEMAS


def test_a_register_can_be_filled(tmp_path: Path) -> None:
    """`make soak` and `make bench` fill the tables by statements of their own, which follow the schema."""
    Database(tmp_path / "sekisho.db", SCHEMAS).close()
    with sqlite3.connect(tmp_path / "sekisho.db") as connection:
        connection.execute(
            "INSERT INTO organisations (policy_number, name, created_at) VALUES ('12345678', 'x', 1)"
        )
    fill(tmp_path, 20)
    with sqlite3.connect(tmp_path / "sekisho.db") as connection:
        for table, least in (("users", 2), ("enrollments", 20), ("certificates", 20), ("audit", 40)):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] >= least


def test_every_page_is_measured() -> None:
    """A route of the console or of the API without a row in the bench's tables: its cost nobody knows."""
    assert unmeasured() == []
