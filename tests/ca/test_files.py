"""Snapshots: what files held when they were first asked for."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from ca.errors import ConfigError
from ca.files import Snapshot, read_file, write_private


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """Whatever becomes of it later, be it that it was not there: a check and its use see the same."""
    file, absent = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"1")
    files = Snapshot()
    assert (files.read(file, "x"), files.find(absent, "x")) == (b"1", None)
    file.write_bytes(b"2")
    absent.write_bytes(b"3")
    assert (files.read(file, "x"), files.find(absent, "x")) == (b"1", None)
    assert read_file(file, "x") == b"2"
    files.put(file, b"4")
    assert files.read(file, "x") == b"4"


def test_a_frozen_one_reads_nothing(tmp_path: Path) -> None:
    """What it does not hold is not there, although it is on the disk; what was thawed is read anew."""
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"1")
    other.write_bytes(b"1")
    files = Snapshot()
    assert files.read(file, "x") == files.read(other, "x") == b"1"
    frozen = files.frozen_now()
    for each in (file, other):
        each.write_bytes(b"2")
    (tmp_path / "c").write_bytes(b"2")
    assert frozen.find(tmp_path / "c", "x") is None
    thawed = frozen.thawed(file)
    assert (thawed.read(file, "x"), thawed.read(other, "x")) == (b"2", b"1")
    assert frozen.read(file, "x") == b"1"
    assert (frozen.frozen, thawed.frozen, thawed.taken_at) == (True, False, files.taken_at)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """With what it is, why, and what to type; so is what a snapshot knows is not there."""
    with pytest.raises(ConfigError, match=rf"key: {tmp_path} cannot be read \(Is a directory\); check it"):
        Snapshot().find(tmp_path, "key")
    for files in (Snapshot(), Snapshot({})):
        with pytest.raises(ConfigError, match=r"key: .*/a cannot be read \(No such file or directory\)"):
            files.read(tmp_path / "a", "key")


def test_a_write_that_fails_names_its_file(tmp_path: Path) -> None:
    """The system says nothing of where there was no room; the operator has to know, and no draft is left."""
    file = tmp_path / "a"
    write_private(file, b"1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        with pytest.raises(OSError, match="File too large") as full:
            write_private(file, b"22")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert full.value.filename == str(file)
    assert (file.read_bytes(), sorted(tmp_path.iterdir())) == (b"1", [file])
