"""A machine that has no more of something: a command says of what, and what to type."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ca.sqlite import Database
from ca.storage import StorageClosed
from gateway.cli.failures import failure_of


@pytest.mark.parametrize(
    ("error", "said", "typed"),
    [
        (RuntimeError("can't start new thread"), "another process or thread", "ulimit -u"),
        (OSError(errno.EAGAIN, "again"), "another process or thread", "TasksMax"),
        (MemoryError(), "no memory", "free -h"),
        (OSError(errno.ENOMEM, "memory"), "no memory", "free -h"),
        (OSError(errno.EMFILE, "files", "/x"), "no more files", "ulimit -n"),
        (OSError(errno.ENFILE, "files"), "no more files", "file-nr"),
        (OSError(errno.ENOSPC, "full"), "the disk is full", "df -h"),
        (OSError(errno.EIO, "io"), "cannot be read or written", "dmesg"),
        (StorageClosed("closed"), "the gateway ended", "same command again"),
    ],
)
def test_what_the_machine_lacks_is_said(error: Exception, said: str, typed: str) -> None:
    """Nobody else's fault, and not ours: what there is to type is in the second line."""
    failure = failure_of(error)
    assert said in failure.message
    assert typed in failure.hint
    assert failure.exit_code != 70


def test_a_fault_of_ours_says_where() -> None:
    """The twin: it may happen once. Its own words may quote what somebody typed, and are not said."""
    try:
        raise RuntimeError("of somebody's")
    except RuntimeError as error:
        failure = failure_of(error)
    assert failure.exit_code == 70
    assert "RuntimeError in test_a_fault_of_ours_says_where:" in failure.message
    assert "somebody" not in failure.message + failure.hint


def test_a_writer_that_cannot_begin_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for it is told, and does not wait for ever; the next one is tried anew."""
    database = Database(tmp_path / "x.db")
    try:
        real = "ca.sqlite._connect"
        with monkeypatch.context() as patch:
            patch.setattr(real, lambda *_: (_ for _ in ()).throw(MemoryError()))
            with pytest.raises(MemoryError):
                database.write_now(lambda db: db.one("SELECT 1"))
        assert database.write_now(lambda db: db.one("SELECT 1")) is not None
    finally:
        database.close()
