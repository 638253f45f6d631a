"""Backups, the way back, the drill, and the journal on another machine: as an operator types them."""

from __future__ import annotations

import io
import json
import shutil
import socket
import sqlite3
import tarfile
import threading
import time
from pathlib import Path

import pyrage
import pytest

from ca import journal
from gateway.serving import backup, offsite
from gateway.serving.settings.keeping import Copying
from tests.cli.conftest import Shell
from tests.cli.test_every_command import issued_for
from tests.datadirs import PASSPHRASE


@pytest.fixture
def key(tmp_path: Path, sekisho: Shell) -> tuple[Path, str]:
    """A key pair for backups, as the command makes it."""
    file = tmp_path / "key"
    made = sekisho("restore", "key", str(file))
    assert (made.code, file.stat().st_mode & 0o777) == (0, 0o600)
    return file, made.value["key"]["recipient"]


def back_up(shell: Shell, to: Path, recipient: str, *words: str) -> dict[str, object]:
    made = shell("backup", "--to", str(to), "--recipient", recipient, *words, SEKISHO_PASSPHRASE="")
    assert made.code == 0, made.out
    found: dict[str, object] = made.value["backup"]
    assert Path(str(found["file"])).stat().st_mode & 0o777 == 0o600
    return found


def serials(data: Path) -> dict[str, tuple[str, str]]:
    with sqlite3.connect(data / "sekisho.db") as db:
        return {row[0]: row[1:] for row in db.execute("SELECT serial, fingerprint, status FROM certificates")}


def files(data: Path) -> list[str]:
    """Without what the database makes and takes away by itself."""
    return sorted(path.name for path in data.iterdir() if not path.name.startswith("sekisho.db"))


def restored(shell: Shell, file: Path, key: Path, data: Path, *words: str, **environment: str):
    words = ("restore", "backup", str(file), "--identity", str(key), "--data", str(data), *words)
    return shell(*words, **environment)


def test_a_gateway_comes_back_from_backup_and_journal(
    peopled: Shell, key: tuple[Path, str], tmp_path: Path
) -> None:
    """What the backup has is there; what came since is done again from the journal, and what is lost is
    listed: the register, the numbers, a revocation. Nothing of it could be read without the key."""
    file, recipient = key
    request = peopled("request", "list").value["requests"][0]["request_id"]
    first = issued_for(peopled, request)
    made = back_up(peopled, tmp_path / "b.age", recipient)
    assert b"sekisho" not in (tmp_path / "b.age").read_bytes()
    assert (tmp_path / "b.age").stat().st_mode & 0o777 == 0o600
    assert peopled("cert", "revoke", first).code == 0
    assert peopled("request", "reissue", "K12345678", "--reason", "pc_change").code == 0
    again = peopled("request", "list").value["requests"][0]["request_id"]
    second = issued_for(peopled, again)
    was = serials(peopled.data)

    came = restored(
        peopled, tmp_path / "b.age", file, tmp_path / "new", "--journal", str(peopled.data / "journal")
    )
    assert came.code == 0, came.out
    replay = came.value["restore"]["replay"]
    assert replay["since"] == made["line"]
    assert replay["report"]["revoked"] == [first]
    assert [each["serial"] for each in replay["report"]["certificates"]] == [second]
    assert [each["user_id"] for each in replay["report"]["certificates"]] == ["K12345678"]
    assert serials(tmp_path / "new") == was
    # A key that opens what is in its window is in no backup; that of a request that has ended is not missed.
    assert [each.partition(":")[0] for each in came.value["restore"]["lost"]] == ["letters (1)"]
    there = Shell(tmp_path / "new")
    assert there("cert", "list").code == 0
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]

    # Without the journal it says that it does not know, ends sessions, and leaps with the lists' numbers.
    alone = restored(peopled, tmp_path / "b.age", file, tmp_path / "alone", json_output=False)
    assert alone.code == 0, alone.err
    assert "is not known here, and good again" in alone.out
    assert "so lost are private keys of pick-ups (1): who has not installed" in alone.out
    number = Shell(tmp_path / "alone")("cert", "crl", str(tmp_path / "list")).value["crl"]["number"]
    assert number == 1_000_001


def test_what_is_no_backup_is_said_so(peopled: Shell, key: tuple[Path, str], tmp_path: Path) -> None:
    """Cut off, altered, for another key, of another version, no backup, a wrong passphrase, a directory that
    is not empty: each its own words, what to type, and nothing left behind."""
    file, recipient = key
    good, bad, new = tmp_path / "b.age", tmp_path / "bad.age", tmp_path / "new"
    back_up(peopled, good, recipient)
    before = sorted(path.name for path in tmp_path.iterdir())

    def refused(content: bytes, **environment: str) -> str:
        bad.write_bytes(content)
        said = restored(peopled, bad, file, new, **environment)
        assert (said.code, said.error["code"]) == (1, "config")
        assert sorted(path.name for path in tmp_path.iterdir() if path != bad) == before
        return str(said.error["message"])

    whole = good.read_bytes()
    damaged = f"{bad} is damaged or cut off; take another one, or fetch it again"
    assert refused(whole[:-1000]) == damaged
    assert refused(whole[:100_000]) == damaged
    assert refused(whole[:-1000] + bytes(1000)) == damaged
    assert refused(b"hello") == f"{bad} is no backup of sekisho, or damaged; take another one"
    assert refused(whole, SEKISHO_PASSPHRASE="something else").startswith(
        f"the passphrase is not that of the gateway in {bad}; type the one of "
    )
    other = pyrage.x25519.Identity.generate().to_public()
    assert refused(pyrage.encrypt(b"x", [other])) == (
        f"{bad} was made for another key; name the file with its private key: --identity FILE"
    )
    ours = pyrage.x25519.Recipient.from_str(recipient)
    assert refused(pyrage.encrypt(b"x" * 2000, [ours])) == damaged
    assert refused(pyrage.encrypt(tarred("x", b"{}"), [ours])) == (
        f"{bad} is no backup of sekisho; name another file"
    )
    later = json.dumps({"sekisho_backup": 2, "version": "9.9"}).encode()
    assert refused(pyrage.encrypt(tarred("manifest.json", later), [ours])) == (
        f"{bad} is a backup of another version (format 2); restore it with the sekisho that made it: "
        "pip install sekisho==9.9"
    )
    newer = {"sekisho_backup": 1, "version": "9.9", "files": {}, "schema": [["ca", "what_comes"]]}
    assert "has tables that this one does not know; restore it" in refused(
        pyrage.encrypt(tarred("manifest.json", json.dumps(newer).encode()), [ours])
    )
    outside = {**newer, "files": {"../x": [0, ""]}}
    assert refused(pyrage.encrypt(tarred("manifest.json", json.dumps(outside).encode(), "../x"), [ours])) == (
        damaged
    )
    new.mkdir()
    (new / "mine").write_text("x")
    assert restored(peopled, good, file, new).error["message"] == (
        f"{new} is not empty; name a new directory with --data DIR"
    )
    assert (
        restored(peopled, good, tmp_path / "b.age", tmp_path / "n")
        .error["message"]
        .startswith(f"{good} holds no private key")
    )


def tarred(name: str, content: bytes, *empty: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for each, what in ((name, content), *((other, b"") for other in empty)):
            entry = tarfile.TarInfo(each)
            entry.size = len(what)
            tar.addfile(entry, io.BytesIO(what))
    return made.getvalue()


def test_what_keeps_a_backup_from_being_made(peopled: Shell, key: tuple[Path, str], tmp_path: Path) -> None:
    """No such directory, no public key, the private one in its place: nothing is written, and a secret that
    was typed is not repeated."""
    file, recipient = key

    def said(to: Path, *recipients: str) -> str:
        words = [word for each in recipients for word in ("--recipient", each)]
        found = peopled("backup", "--to", str(to), *words)
        assert found.code == 1
        return str(found.error["message"])

    secret = file.read_text().splitlines()[-1]
    for given in (secret, str(file)):
        assert said(tmp_path / "b", given) == (
            "that is a private key; write its public one, age1..., which is in its file after #"
        )
    assert "is no public key; write age1..." in said(tmp_path / "b", "age1nonsense")
    assert "cannot be written (No such file or directory); see: ls -ld" in said(tmp_path / "no/b", recipient)
    assert not (tmp_path / "b").exists()
    trail = [each["action"] for each in peopled("audit", "show").value["audit"]]
    assert trail[0] == "backup.failed"
    assert backup.last(peopled.data) is None


def test_backups_in_a_directory_are_thinned_out(
    peopled: Shell, key: tuple[Path, str], tmp_path: Path
) -> None:
    """Of those that are named by their time the newest stay; what else lies there is left alone."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in ("sekisho-20260101-000000.age", "sekisho-20260102-000000.age", "mine.age"):
        (folder / name).write_text("x")
    made = back_up(peopled, folder, key[1], "--keep", "2")
    assert made["removed"] == [str(folder / "sekisho-20260101-000000.age")]
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["mine.age", "sekisho-20260102-000000.age", Path(str(made["file"])).name]


def test_the_age_of_the_last_backup_is_told(peopled: Shell, key: tuple[Path, str], tmp_path: Path) -> None:
    """doctor says that there was none, that one is there, and that it is too old; so do warnings."""

    def doctor() -> tuple[str, str]:
        found = {each["check"]: each for each in peopled("doctor").value["checks"]}["backup"]
        return found["state"], found["hint"]

    assert doctor()[0] == "notice"
    back_up(peopled, tmp_path / "b.age", key[1])
    assert doctor() == ("ok", "")
    made = json.loads((peopled.data / "backup.json").read_text())
    assert backup.too_old(peopled.data, 26, made["at"] + 26 * 3_600) is None
    told = backup.too_old(peopled.data, 26, made["at"] + 27 * 3_600)
    assert told is not None
    assert told.startswith("the last good backup is 27 hours old")
    assert backup.too_old(peopled.data, 0, made["at"] + 27 * 3_600) is None
    (peopled.data / "backup.json").write_text(json.dumps({**made, "at": made["at"] - 30 * 3_600}))
    assert doctor() == ("bad", "30 hours old: sekisho backup")


def test_a_drill_keeps_every_promise_and_leaves_nothing(peopled: Shell) -> None:
    """Each promise is named and kept; the running one has one line more in its trail, and no file."""
    issued_for(peopled, peopled("request", "list").value["requests"][0]["request_id"])
    before, was = files(peopled.data), serials(peopled.data)
    done = peopled("drill")
    assert done.code == 0, done.out
    assert [each["promise"] for each in done.value["proofs"]] == [
        "the backup is whole",
        "an older database is not served",
        "no serial twice",
        "revoked stays revoked",
        "list numbers go on",
        "管理番号 go on",
        "open requests end properly",
        "the audit is intact",
    ]
    assert all(each["kept"] for each in done.value["proofs"])
    assert serials(peopled.data) == was
    assert files(peopled.data) == before
    assert peopled("audit", "show").value["audit"][0]["action"] == "drill.done"
    assert peopled("ca", "stop", "--reason", "an intruder").code == 0
    assert peopled("drill").error["message"] == (
        "the emergency stop is on (an intruder), and a drill signs certificates: first sekisho ca resume"
    )
    assert files(peopled.data) == before
    wrong = peopled("drill", SEKISHO_PASSPHRASE="something else")
    assert (wrong.code, "type the passphrase again" in wrong.error["message"]) == (1, True)


# -- the journal on another machine --------------------------------------------------------------------


def test_the_copy_tells_that_all_of_a_directory_was_put_back(peopled: Shell, tmp_path: Path) -> None:
    """Database and journal of an earlier day, as from a machine's snapshot: the copy is ahead, nothing is
    served, and the replay takes what they lack from it."""
    copy = tmp_path / "copy"
    settings = Copying(copy=str(copy))
    offsite.keep_up(peopled.data, settings)
    assert {each.stat().st_mode & 0o777 for each in copy.glob("*.jsonl")} == {0o600}
    shutil.copytree(peopled.data, tmp_path / "snapshot")
    assert peopled("user", "disable", "K12345678").code == 0
    assert offsite.behind(peopled.data, settings, time.time) == []
    assert offsite.behind(peopled.data, settings, lambda: time.time() + 90) == [
        f"line 2 of the journal has not got to {copy}: see the log"
    ]
    offsite.keep_up(peopled.data, settings)
    assert offsite.behind(peopled.data, settings, lambda: time.time() + 90) == []
    shutil.rmtree(peopled.data)
    (tmp_path / "snapshot").rename(peopled.data)
    config = peopled.data / "sekisho.toml"
    config.write_text(config.read_text().replace('copy = ""', f'copy = "{copy}"'))
    refused = peopled("user", "list").error["message"]
    assert "all of it was put back from a copy" in refused
    assert refused.endswith(f"sekisho restore replay --data {peopled.data} --journal {copy}")
    assert peopled("restore", "replay", "--journal", str(copy)).code == 0
    assert peopled("user", "show", "K12345678").value["user"]["disabled_at"] is not None
    # And a copy that is another journal's is no copy of this one.
    other = tmp_path / "other"
    journal.begin(other, "f" * 64)
    with pytest.raises(Exception, match=r"has another journal; name an empty directory in journal.copy"):
        offsite.keep_up(peopled.data, Copying(copy=str(other)))


def test_each_line_goes_to_another_machines_log(peopled: Shell) -> None:
    """RFC 5424, once each, in order; while nobody listens they wait, and are warned of."""
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def take() -> None:
            for _ in range(2):
                with server.accept()[0] as peer:
                    while piece := peer.recv(65_536):
                        got.extend(piece)

        taking = threading.Thread(target=take, daemon=True)
        taking.start()
        settings = Copying(syslog=f"tcp://127.0.0.1:{port}")
        offsite.keep_up(peopled.data, settings)
        offsite.keep_up(peopled.data, settings)  # nothing new: nobody is asked
        assert peopled("user", "disable", "K12345678").code == 0
        offsite.keep_up(peopled.data, settings)
        taking.join(60)
    messages = []
    rest = bytes(got)
    while rest:
        length, _, rest = rest.partition(b" ")
        messages.append(rest[: int(length)])
        rest = rest[int(length) :]
    assert [each.partition(b" ")[0] for each in messages] == [b"<109>1"] * 2
    lines = [each.split(b" journal - ", 1)[1] for each in messages]
    assert lines == [
        journal.text_of(each).encode()
        for each in journal.entries(peopled.data / "journal", journal.BEGINNING)
    ]
    assert peopled("user", "enable", "K12345678").code == 0
    with pytest.raises(OSError):
        offsite.keep_up(peopled.data, settings)
    assert offsite.behind(peopled.data, settings, lambda: time.time() + 90)[0].startswith(
        "line 3 of the journal"
    )


def test_a_backup_opens_with_the_old_passphrase(
    peopled: Shell, key: tuple[Path, str], tmp_path: Path
) -> None:
    """Which was the gateway's when it was made: the new one is refused in words."""
    back_up(peopled, tmp_path / "b.age", key[1])
    changed = peopled("passphrase", "change", SEKISHO_NEW_PASSPHRASE="another horse battery")
    assert changed.code == 0, changed.out
    new = restored(
        peopled, tmp_path / "b.age", key[0], tmp_path / "n", SEKISHO_PASSPHRASE="another horse battery"
    )
    assert "the passphrase is not that of the gateway" in new.error["message"]
    old = restored(peopled, tmp_path / "b.age", key[0], tmp_path / "n", SEKISHO_PASSPHRASE=PASSPHRASE)
    assert old.code == 0
