"""Commands that the running gateway does: no passphrase, but the caller's name, files and terminal."""

from __future__ import annotations

import os
import pty
import pwd
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from ca.errors import ConfigError
from gateway.cli import asking
from gateway.cli.caller import Given, OutputFile
from gateway.cli.frame import DeploymentCommand
from gateway.cli.root import root, whole
from gateway.running.control import HungUp, Line, call
from gateway.running.rundir import RUN
from tests.cli.conftest import Shell
from tests.cli.processes import SEKISHO
from tests.cli.test_serving import Gateway, ready
from tests.datadirs import PASSPHRASE
from tests.started import started

PEOPLE = "policy_number,name,mail\n12345678,年金 花子,hanako@example.jp\n99999999,X,x@example.jp\n"


@pytest.fixture(scope="module")
def gateway(ready_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that runs, with an organisation and a user."""
    place = tmp_path_factory.mktemp("control")
    with ready(ready_data, place) as running:
        yield running


@pytest.fixture(scope="module")
def ready_data(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(ready, data)
    shell = Shell(data)
    assert shell("org", "add", "12345678", "霞が関商事").code == 0
    made = shell("user", "add", "12345678", "年金 太郎", "taro@example.jp", "--user-id", "K12345678")
    assert made.code == 0
    return data


@pytest.fixture
def shell(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Types commands without the passphrase."""
    monkeypatch.setattr("tests.cli.conftest.PASSPHRASE", "")
    return Shell(gateway.data)


def environment(gateway: Gateway, **more: str) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("SEKISHO_")}
    return given | {"SEKISHO_DATA": str(gateway.data)} | more


def test_daily_work_needs_no_passphrase(shell: Shell, tmp_path: Path) -> None:
    """And its answers are the same as they are without the gateway, for people and as JSON."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE)
    for words in (["user", "show", "K12345678"], ["user", "show", "NOBODY"]):
        for json_output in (True, False):
            served = shell(*words, json_output=json_output)
            assert served == shell(*words, "--passphrase-file", str(passphrase), json_output=json_output)
    assert shell("user", "show", "NOBODY").error["code"] == "not_found"


def test_who_it_was_is_in_the_trail(shell: Shell) -> None:
    assert shell("org", "add", "20000001", "甲社", LOGNAME="mallory", USER="mallory").code == 0
    added = next(each for each in shell("audit", "show").value["audit"] if each["subject"] == "20000001")
    assert added["actor"] == f"operator:{pwd.getpwuid(os.getuid()).pw_name}"


def test_files_are_the_callers(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and written where they were typed, by names of that directory."""
    (tmp_path / "people.csv").write_text(PEOPLE)
    monkeypatch.chdir(tmp_path)
    done = shell("user", "import", "people.csv", "--failures", "refused.csv")
    assert done.value["import"]["added"] == done.value["import"]["refused"] == done.code == 1
    assert "99999999" in (tmp_path / "refused.csv").read_text()
    assert (tmp_path / "refused.csv").stat().st_mode & 0o777 == 0o600
    assert "none.csv cannot be read" in shell("user", "import", "none.csv").error["message"]
    nowhere = shell("cert", "crl", "nowhere/list.crl")
    assert (nowhere.code, nowhere.error["hint"].startswith("See what is there")) == (1, True)
    assert shell("audit", "checkpoint", "checkpoint").code == 0
    assert shell("audit", "verify", "--checkpoint", "checkpoint").value["ok"]
    (tmp_path / "bounce").write_text("no bounce")
    assert shell("mail", "bounce", "bounce").error["code"] not in ("internal", "not_found")


def test_a_secret_that_did_not_arrive_is_taken_back(gateway: Gateway, shell: Shell) -> None:
    """Its reader's disk is full: said here, undone there."""
    words = [SEKISHO, "eab", "create", "K12345678"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words, env=environment(gateway), stdout=full, stderr=subprocess.PIPE, check=False, timeout=120
        )
    assert done.returncode == os.EX_IOERR, done.stderr
    assert b"could not be written" in done.stderr
    listed = shell("eab", "list", "K12345678").value["credentials"]
    assert [bool(each["withdrawn_at"]) for each in listed] == [True]


@pytest.mark.slow
def test_a_reader_may_leave(gateway: Gateway) -> None:
    line = f"{SEKISHO} audit show --json | head -c 5; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        env=environment(gateway), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.endswith("0\n")
    assert done.stderr == ""


_MARK = re.compile(r"\x1b\[[0-9;]*m")


def test_a_terminal_is_known_there(gateway: Gateway) -> None:
    """Its width and that it has colours; it stays this process's own."""
    ours, theirs = pty.openpty()
    given = environment(gateway, TERM="xterm-256color", COLUMNS="61")
    given.pop("NO_COLOR", None)
    shown: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(ours, 4_096):
                shown.append(part)
        except OSError:
            return

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [SEKISHO, "org", "list"], env=given, stdin=theirs, stdout=theirs, check=False, timeout=120
    )
    os.close(theirs)
    reader.join(60)
    os.close(ours)
    assert done.returncode == 0
    text = b"".join(shown).decode()
    assert "\x1b[1m" in text
    assert max(cell_len(_MARK.sub("", line)) for line in text.splitlines()) <= 61


def test_the_issuing_keys_are_not_the_gateways(gateway: Gateway, shell: Shell) -> None:
    """What needs them asks for the passphrase, whoever serves; and is not done for who asks nevertheless."""
    assert "must hold the passphrase" in shell("ca", "stop").error["message"]
    for words in (["ca", "stop"], ["init"], ["serve"], ["nothing"], [], ["user"]):
        assert "refused" in _asked(gateway, command=words)
    assert "another version" in _asked(gateway, version="0")["refused"]


def _asked(gateway: Gateway, **what: object) -> dict[str, object]:
    line = call(gateway.data / RUN)
    assert line is not None
    whole = {"version": version("sekisho"), "command": ["org", "list"], "params": {}, "json": True}
    line.tell(whole | what)
    try:
        return line.hear()[0]
    finally:
        line.close()


@pytest.mark.slow
def test_ctrl_c_ends_it_there(gateway: Gateway, tmp_path: Path) -> None:
    """An import stops between two rows, and both sides say that what was done stays done."""
    rows = "".join(f"12345678,社員 {number},n{number}@example.jp\n" for number in range(20_000))
    (tmp_path / "people.csv").write_text("policy_number,name,mail\n" + rows)
    with started(
        [SEKISHO, "user", "import", "people.csv", "--hold-letters"],
        cwd=tmp_path, env=environment(gateway), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What a shell runs in the background is born deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end and not _users(gateway) > 3:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert "what was done before stays done" in said
    assert running.returncode == 130
    before = _users(gateway)
    assert 3 < before < 20_000
    time.sleep(0.2)
    assert _users(gateway) == before


def _users(gateway: Gateway) -> int:
    with sqlite3.connect(gateway.data / "sekisho.db") as db:
        return int(db.execute("SELECT count(*) FROM users").fetchone()[0])


def test_no_gateway_no_door(sekisho: Shell) -> None:
    """Then the passphrase is asked for, as ever."""
    done = sekisho("org", "list", SEKISHO_PASSPHRASE="")
    assert done.code == 1
    assert "passphrase" in done.error["message"]
    assert sekisho("org", "list").code == 0


# -- what the gateway may not ask of who types a command ------------------------------------------------


def answered(said: list[tuple[dict[str, object], int | None]], outputs: set[str]) -> int:
    """What comes of a gateway that says this, one after the other."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def speak() -> None:
        line = Line(theirs)
        try:
            for message, fd in said:
                line.tell(message, fd)
                if "exit" not in message:
                    line.hear()
        except HungUp:
            pass
        theirs.close()

    speaking = threading.Thread(target=speak)
    speaking.start()
    try:
        return asking.attend(Line(ours), outputs)
    finally:
        ours.close()
        speaking.join(60)


def test_only_files_that_were_named_are_written(tmp_path: Path) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    content = os.memfd_create("content")
    os.write(content, b"whole")

    def write(path: Path) -> tuple[dict[str, object], int]:
        return {"write": str(path), "public": False}, os.dup(content)

    assert answered([write(named), ({"exit": 0}, None)], {str(named)}) == 0
    assert named.read_bytes() == b"whole"
    with pytest.raises(HungUp):
        answered([write(other), ({"exit": 0}, None)], {str(named)})
    assert not other.exists()
    for wanted in ({"read": "/etc/shadow"}, {"run": "sh"}, {}):
        with pytest.raises(HungUp):
            answered([(wanted, None), ({"exit": 0}, None)], set())
    os.close(content)


def test_a_gateway_that_dies_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody knows then what was done, and the error says where to look."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(asking, "call", lambda _: Line(ours))
    threading.Timer(0.05, theirs.close).start()
    command = root.get_command(click.Context(root), "org")
    assert isinstance(command, click.Group)
    leaf = command.get_command(click.Context(command), "list")
    assert leaf is not None
    with pytest.raises(ConfigError, match="sekisho audit show"):
        asking.ask(tmp_path, click.Context(leaf, info_name="org list"), {}, as_json=False)


def test_every_file_of_a_command_goes_along() -> None:
    """A command that the gateway does names files by these types alone: it could not open them itself."""
    strange = [
        f"{command.name} {each.name}"
        for group in whole().commands.values()
        for command in (group.commands.values() if isinstance(group, click.Group) else [group])
        if isinstance(command, DeploymentCommand) and not command.needs_passphrase
        for each in command.params
        if isinstance(each.type, (click.Path, click.File)) and not isinstance(each.type, OutputFile)
        and each.name not in ("data", "passphrase_file")
    ]  # fmt: skip
    assert strange == []
    assert str(Given(Path("a"), b"")) == "a"
