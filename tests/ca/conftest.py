"""One small CA for all tests of the ground; making it costs a quarter of a second."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ca import datadir, schema
from ca.database import Database
from ca.sealing import PassphraseCost

AT = 1_800_000_000
"""2027-01-15 08:00:00 UTC, 17:00:00 in Japan."""
PASSPHRASE = "correct horse battery"
CHEAP = PassphraseCost(iterations=1, lanes=1, memory_kib=64)


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> datadir.DataDir:
    return datadir.create(tmp_path_factory.mktemp("data") / "d", PASSPHRASE, AT, cost=CHEAP)


@pytest.fixture
def db(tmp_path: Path):
    database = Database(tmp_path / "ca.sqlite", [schema.migrations])
    yield database
    database.close()


def entropy(n: int = 16) -> bytes:
    return os.urandom(n)
