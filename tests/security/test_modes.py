"""Who may read what we make, whatever the umask of whoever typed the command: a table of every kind."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import pytest

from ca import files, listfiles
from enroll.acme import nonces
from enroll.client.folder import Folder
from enroll.mail.transport import Outbox
from enroll.mail.writing import Queued
from gateway.running import rundir
from gateway.running.journal import Journal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.rglob("*"))
    }


def test_keys_are_their_owners_and_certificates_everybodys(tmp_path: Path) -> None:
    """The three verbs by which files are made: private, public, and a directory of its owner's alone."""
    files.write_private(tmp_path / "key", b"x")
    files.write_public(tmp_path / "pem", b"x")
    files.make_private_directory(tmp_path / "made")
    (tmp_path / "loose").mkdir(mode=0o777)
    files.make_private_directory(tmp_path / "loose")
    assert _modes(tmp_path) == {"key": 0o600, "pem": 0o644, "loose": 0o700, "made": 0o700}


def test_what_takes_a_looser_ones_place_is_not_as_loose(tmp_path: Path) -> None:
    """A key that is written over a file that others could read is its owner's."""
    (tmp_path / "key").write_bytes(b"")
    (tmp_path / "key").chmod(0o666)
    files.write_private(tmp_path / "key", b"x")
    assert _modes(tmp_path) == {"key": 0o600}


def test_spent_nonces_locks_and_drafts_of_lists(tmp_path: Path) -> None:
    """Nothing in them is secret, and whoever could write there could spend or hold what he likes; a signer
    with a user of its own reads the drafts, by its group."""
    nonces.create_table(tmp_path / "nonces", 8_192)
    lock = rundir.take(tmp_path / "serve.lock")
    assert lock is not None
    lock.close()
    with listfiles._new(tmp_path / "draft") as draft:
        draft.write(b"x")
    assert _modes(tmp_path) == {"draft": 0o640, "nonces": 0o600, "serve.lock": 0o600}


def test_the_log_is_for_its_group(tmp_path: Path) -> None:
    """Whoever looks after logs reads it, others do not: addresses and user IDs are in it."""
    Journal(tmp_path / "log").close()
    assert _modes(tmp_path) == {"log": 0o640}


async def test_letters_in_the_outbox(tmp_path: Path) -> None:
    """Passwords are in them."""
    outbox = Outbox(tmp_path / "outbox")
    message = EmailMessage()
    message.set_content("x")
    letter = Queued(
        id=1, kind="pickup", channel="mail", recipient="a@example.jp", subject="x", body="x", created_at=1,
        attempts=0, user_id="K1", request_id=None,
    )  # fmt: skip
    session = await outbox.open("mail")
    await session.send(message, letter, "b@example.jp", partial(asyncio.sleep, 0))
    await session.close()
    found = _modes(tmp_path)
    assert found.pop("outbox") == 0o700
    assert list(found.values()) == [0o600]


def test_what_a_client_keeps(tmp_path: Path) -> None:
    """Its account's key above all."""
    folder = Folder(tmp_path / "mine")
    with folder.locked():
        assert _modes(tmp_path) == {"mine": 0o700, "mine/lock": 0o600}


def test_every_mode_is_looked_at() -> None:
    """Who gives a file a mode of its own, anywhere, has a line here, or in test_doctor or test_backups."""
    found = {
        (str(path.relative_to(ROOT)), int(mode, 8))
        for room in ("ca", "enroll", "gateway")
        for path in (ROOT / room).rglob("*.py")
        for mode in re.findall(r"\b0o([0-7]{3})\b", path.read_text("utf-8"))
    }
    assert found == {
        ("ca/files.py", 0o600), ("ca/files.py", 0o644), ("ca/files.py", 0o700), ("ca/listfiles.py", 0o600),
        ("ca/sqlite.py", 0o600), ("enroll/acme/nonces.py", 0o600), ("enroll/mail/transport.py", 0o700),
        ("enroll/client/folder.py", 0o600), ("enroll/client/folder.py", 0o700),
        ("gateway/running/rundir.py", 0o600), ("gateway/running/control.py", 0o600),
        ("gateway/running/control.py", 0o660), ("gateway/running/control.py", 0o750),
        ("ca/remembered.py", 0o600),
        ("gateway/running/journal.py", 0o640),
        ("gateway/serving/signing/process.py", 0o600), ("gateway/serving/signing/tally.py", 0o600),
        ("ca/memory.py", 0o600), ("gateway/serving/backup.py", 0o600), ("gateway/demo/nodes.py", 0o711),
        ("gateway/serving/offsite.py", 0o600),
        ("gateway/cli/owners.py", 0o077), ("gateway/cli/owners.py", 0o007),
        ("ca/apart.py", 0o700), ("ca/apart.py", 0o770), ("ca/apart.py", 0o660), ("ca/listfiles.py", 0o640),
        ("ca/listfiles.py", 0o750), ("gateway/serving/signing/process.py", 0o660),
    }  # fmt: skip
