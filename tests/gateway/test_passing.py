"""Directories that go with a demo, and what one leaves that is killed."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from gateway.demo import passing
from tests.started import forked


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's temporary directories, as the demo sees them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(passing, "_SHORT", str(tmp_path))
    return tmp_path


def _cleared() -> list[str]:
    told: list[str] = []
    passing.clear(told.append)
    return told


def test_it_goes_at_the_end(place: Path) -> None:
    """With all that is in it, after a fault as well."""

    def fail() -> None:
        with passing.directory() as made:
            (made / "data").mkdir()
            (made / "data" / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(place.iterdir())


def test_what_a_killed_one_left_is_cleared(place: Path) -> None:
    """By the next one, once; and not while it lives."""

    def hold() -> int:
        with passing.directory() as made:
            (made / "data").mkdir()
            (made / "data" / "sekisho.json").touch()
            signal.pause()
        return 0

    with forked(hold) as other:
        while not list(place.glob("*/data/sekisho.json")):
            assert other.lives()
        assert _cleared() == []
        os.kill(other.pid, signal.SIGKILL)
        assert other.wait() == -signal.SIGKILL
    (left,) = place.iterdir()
    assert [str(left) in line for line in _cleared()] == [True]
    assert not left.exists()
    assert _cleared() == []


def test_nothing_else_is_cleared(place: Path) -> None:
    """Neither a directory that somebody has named so, nor a link to one, nor what another user made."""
    named = place / "sekisho-demo-of-mine"
    named.mkdir()
    (named / "sekisho.json").touch()
    with passing.directory() as made:
        marker = next(made.iterdir()).name
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / marker).touch()
    (place / "sekisho-demo-link").symlink_to(elsewhere)
    strange = place / "sekisho-demo-strange"
    strange.mkdir()
    (strange / marker).touch()
    if os.geteuid() == 0:
        os.chown(strange, 12345, -1)
    else:
        strange.rename(place / "strange")
    assert _cleared() == []
    assert (named / "sekisho.json").exists()
    assert (elsewhere / marker).exists()
