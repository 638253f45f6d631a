"""A disk that is full, as a file system says it: commands end with what to type, the emergency stop works,
and serving goes on without what cannot be recorded."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ca.store
from ca import emergency
from ca.keys import from_pkcs8, generate_pkcs8, spki
from ca.sealing import open_vaults
from ca.storage import Transaction
from enroll import store
from enroll.requests import issuance, opening
from gateway.serving.deployment import opened_deployment
from tests.cli.conftest import PASSPHRASE, Shell
from tests.cli.processes import get_plain
from tests.cli.test_serving import ready

_MIB = 2**20


@contextmanager
def disk(at: Path, mib: int = 12) -> Iterator[Path]:
    """A file system of so many MiB of its own; what it held stays in it."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "sekisho-test", str(at)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def full(at: Path) -> Iterator[None]:
    """Not a byte more goes onto the disk that this is on."""
    fill = at / "fill"
    with fill.open("wb", buffering=0) as file:
        try:
            for size in (_MIB, 4_096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
            yield
        finally:
            fill.unlink()


@pytest.fixture
def small(peopled: Shell, tmp_path: Path) -> Iterator[Shell]:
    """A data directory on a disk of its own, with room."""
    place = tmp_path / "small"
    place.mkdir()
    with disk(place):
        shutil.copytree(peopled.data, place / "data")
        yield Shell(place / "data")


def _told(shell: Shell, *words: str) -> str:
    """What a command says that cannot do it, and what to type."""
    ran = shell(*words)
    assert ran.code == 1, ran.out
    error = ran.error
    assert error["code"] == "config", error
    return f"{error['message']} {error.get('hint', '')}"


def test_every_command_says_where_room_is_needed(small: Shell, tmp_path: Path) -> None:
    """Whatever it writes: the file or the database, and df; nothing of it is left, and with room it works."""
    place = small.data.parent
    key = tmp_path / "key"
    public = small("restore", "key", str(key)).value["key"]["recipient"]
    rows = [
        ("restore", "key", str(place / "key")),
        ("audit", "checkpoint", str(place / "record")),
        ("ca", "add", "CORPORATE-PENSION BUSINESS SERVICE CA-G5"),
        ("backup", "--to", str(place), "--recipient", public),
        ("user", "add", "12345678", "年金 花子", "hanako@example.jp"),
        ("init", "--data", str(place / "another"), "--domain", "localhost"),
    ]
    before = sorted(place.rglob("*"))
    with full(place):
        for words in rows:
            said = _told(small, *words)
            assert "No space left" in said or "database" in said or "sekisho.db" in said, words
            assert "df -h" in said or "--data DIR" in said, words
    left = {path.name for path in place.rglob("*") if path not in before}
    assert not {name for name in left if name.endswith((".new", ".age", "key", "record"))}, left
    for words in rows:
        assert small(*words).code == 0, words
    assert small("audit", "verify").code == 0


def test_the_emergency_stop_needs_no_room(small: Shell) -> None:
    """It is on although nothing can be written, be it recorded or not; resume waits for room."""
    keys = open_vaults(small.data / "vault.json", PASSPHRASE).keys
    with full(small.data.parent):
        ran = small("ca", "stop", "--reason", "an intruder")
        assert ran.code == 0 or ran.error["message"].startswith("nothing is signed from now on"), ran.out
        assert emergency.read(small.data, keys).on
        assert "make room" in _told(small, "ca", "resume").lower()
        assert emergency.read(small.data, keys).on
    assert small("ca", "stop", "--reason", "an intruder").code == 0
    assert emergency.read(small.data, keys).reason == "an intruder"
    assert small("ca", "resume").code == 0
    assert not emergency.read(small.data, keys).on


def test_the_emergency_stop_needs_no_journal(peopled: Shell) -> None:
    """Nor one that fits its database: whoever has cut it keeps nobody from stopping the CA."""
    (file,) = (peopled.data / "journal").glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b'{"n"') + 25])
    message = peopled("ca", "stop", "--reason", "an intruder").error["message"]
    assert message.startswith(
        "nothing is signed from now on, but that is not recorded: the journal ends before"
    )
    assert message.endswith("; mend that, then once more: sekisho ca stop")
    keys = open_vaults(peopled.data / "vault.json", PASSPHRASE).keys
    assert emergency.read(peopled.data, keys).on
    file.write_bytes(whole)
    assert peopled("ca", "stop", "--reason", "an intruder").code == 0
    (line,) = peopled("audit", "show", "--act", "ca.stopped").value["audit"]
    assert "an intruder" in str(line)
    assert peopled("ca", "resume").code == 0
    assert not emergency.read(peopled.data, keys).on


async def _begin(shell: Shell) -> None:
    """Certificates that are reserved and not signed, as a server that was killed leaves them: more than still
    goes into the last block of a file."""
    key = spki(from_pkcs8(generate_pkcs8("ec-p256")).public_key())
    async with opened_deployment(shell.data, PASSPHRASE) as deployment:
        ra = deployment.ra

        def work(db: Transaction) -> None:
            person = store.user(db, "K12345678")
            assert person is not None
            for _ in range(6):
                request = opening.draw_request(
                    db, ra, person, "addition", profile="client-person", door="page"
                )
                issuance.begin_for_client(db, ra, request, key, (), request.profile, actor="test")

        await ra.database.write(work)


async def _finished(shell: Shell) -> int:
    """How many were left, each of which is signed now."""
    async with opened_deployment(shell.data, PASSPHRASE) as deployment:
        left = len(await deployment.ra.database.read(ca.store.reserved_unsigned))
        assert await issuance.recover(deployment.ra) == left
        return left


def test_a_full_disk_below_the_journal_alone(peopled: Shell, tmp_path: Path) -> None:
    """Serving begins: what was begun waits, /readyz names the disk, the log says what to do; with room it is
    signed, once."""
    asyncio.run(_begin(peopled))
    journal, kept = peopled.data / "journal", tmp_path / "kept"
    shutil.copytree(journal, kept)
    with disk(journal, 40):
        shutil.copytree(kept, journal, dirs_exist_ok=True)
        with full(journal), ready(peopled.data, tmp_path) as gateway:
            assert "what was begun before the last stop waits: the database" in gateway.log.read_text()
            status, body = get_plain(gateway.internal, "/readyz")
            *others, wrong = json.loads(body)["wrong"]
            assert (status, wrong) == (503, f"the disk of {journal} has 0 MiB left: df -h {journal}")
            # Somebody's write shared the commit of the one that asks, and needed the journal.
            assert all(each.startswith("the database cannot be written (") for each in others), others
            assert gateway.get("help.localhost")[0] == 200
        assert asyncio.run(_finished(peopled)) > 0
        assert asyncio.run(_finished(peopled)) == 0
        assert peopled("audit", "verify").code == 0
