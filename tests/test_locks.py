"""Every lock of a file that the product waits for, held by somebody else: who comes second waits, and then
finds what the first one made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ca.sealing import Vault
from ca.sqlite import Database
from gateway.proxy.identity import open_keys
from gateway.running import rundir
from tests.datadirs import SCHEMAS
from tests.locks import waits_until_let_go

ROOT = Path(__file__).resolve().parents[1]
#: Files that wait for a lock, or take one that nobody else has. The others' tests: tests/enroll/acme/
#: test_acme_nonces.py, tests/clients/test_client_work.py, tests/gateway/test_passing.py, and of rundir.take
#: tests/cli.
TAKEN_IN = {
    "ca/sqlite.py", "enroll/acme/nonces.py", "enroll/client/folder.py", "gateway/running/rundir.py",
    "gateway/proxy/identity.py", "gateway/demo/passing.py",
}  # fmt: skip


def _database(folder: Path) -> None:
    Database(folder / "sekisho.db", SCHEMAS).close()


def _keys(folder: Path) -> None:
    open_keys(folder, Vault(b"k" * 32), 1_800_000_000)


def _turn(folder: Path) -> None:
    with rundir.turn(folder):
        pass


WAITING: dict[str, tuple[str, Callable[[Path], None]]] = {
    "whoever brings a database up to date": ("sekisho.db.lock", _database),
    "whoever makes the keys of assertions": ("assertion-keys.lock", _keys),
    "whoever makes what is missing at the start": ("turn.lock", _turn),
}


@pytest.mark.parametrize("name", WAITING)
def test_who_comes_second_waits(tmp_path: Path, name: str) -> None:
    """Two that start together make one schema, one set of keys and one certificate."""
    file, work = WAITING[name]
    waited, _ = waits_until_let_go(tmp_path / file, lambda: work(tmp_path))
    assert waited, name


def test_nobody_waits_for_a_lock_that_is_free(tmp_path: Path) -> None:
    """The twin: of another file the lock holds nobody up."""
    waited, _ = waits_until_let_go(tmp_path / "another", lambda: _turn(tmp_path))
    assert not waited


def test_every_lock_is_here() -> None:
    """A new one needs its row, or its own test."""
    found = {
        str(path.relative_to(ROOT))
        for room in ("ca", "enroll", "gateway")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"fcntl\.(flock|lockf)\(", path.read_text("utf-8"))
    }
    assert found == TAKEN_IN
