"""The systemd unit, and how the gateway speaks to systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

import gateway
from gateway.running.notify import notify, watchdog_seconds
from tests.cli.conftest import Shell
from tests.cli.processes import PATIENCE, process
from tests.cli.test_serving import Gateway
from tests.datadirs import PASSPHRASE
from tests.ports import free_port

_BEGINNING = ("useradd", "install -d -o sekisho", "export SEKISHO_DATA", "sekisho init", "systemctl enable")
UNIT = Path(gateway.__file__).parent / "packaging" / "sekisho.service"
SIGNER = UNIT.with_name("sekisho-signer.service")
BACKUP = UNIT.with_name("sekisho-backup.service")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
@pytest.mark.parametrize("file", [UNIT, SIGNER, BACKUP], ids=lambda file: file.name)
def test_the_unit_is_sound_and_tight(tmp_path: Path, file: Path) -> None:
    """systemd finds no fault in it, and little that it leaves open (its own scale: 10 is everything)."""
    unit = tmp_path / file.name
    unit.write_text(file.read_text().replace("/opt/sekisho/bin/sekisho", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_unit_forbids_no_code_that_cffi_writes() -> None:
    """pyOpenSSL's callbacks are written at run time: with MemoryDenyWriteExecute nothing would serve."""
    lines = UNIT.read_text().splitlines()
    assert not [line for line in lines if line.startswith("MemoryDenyWriteExecute")]


def test_the_unit_says_how_to_begin(tmp_path: Path) -> None:
    """Its first lines are shell, in an order that works, on the directory of the unit and the README."""
    head, _, unit = UNIT.read_text().partition("[Unit]")
    lines = [line.removeprefix("#   ") for line in head.splitlines() if line.startswith("#   ")]
    (tmp_path / "lines").write_text("\n".join(lines))
    subprocess.run(["bash", "-n", tmp_path / "lines"], check=True)
    order = [next(i for i, line in enumerate(lines) if words in line) for words in _BEGINNING]
    assert order == sorted(order)
    readme = (UNIT.parents[2] / "README.md").read_text()
    places = {re.search(r"SEKISHO_DATA=(\S+)", text)[1] for text in (head, unit, readme)}  # type: ignore[index]
    assert places == {"/var/lib/sekisho"}
    assert "StateDirectory=sekisho\n" in unit


def test_the_signers_unit_has_no_network_and_its_own_passphrase(tmp_path: Path) -> None:
    """Its first lines are shell, on the same directory; nothing of it opens a network or a core."""
    head, _, unit = SIGNER.read_text().partition("[Unit]\nDescription")
    lines = [line.removeprefix("#   ") for line in head.splitlines() if re.match(r"#   \S", line)]
    (tmp_path / "lines").write_text("\n".join(lines))
    subprocess.run(["bash", "-n", tmp_path / "lines"], check=True)
    for line in ("PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "LimitCORE=0"):
        assert f"\n{line}\n" in unit
    credentials = {re.search(r"LoadCredential=([\w-]+)", each)[1] for each in (unit, UNIT.read_text())}  # type: ignore[index]
    assert len(credentials) == 2
    assert "SEKISHO_DATA=/var/lib/sekisho\n" in unit


def test_notify(tmp_path: Path) -> None:
    """Lines arrive as one datagram, also at an abstract address; nobody there is no error."""
    for address in (str(tmp_path / "notify"), f"\0sekisho-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(address)
            environment = {"NOTIFY_SOCKET": address.replace("\0", "@")}
            assert notify("READY=1", "STATUS=ready", environment=environment)
            assert systemd.recv(100) == b"READY=1\nSTATUS=ready"
    assert not notify("READY=1", environment={})
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": "relative"})
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({}, None),
    ],
)
def test_watchdog(environment: dict[str, str], seconds: float | None) -> None:
    """Twice in the time that the unit gives, if it is this process that is meant."""
    assert watchdog_seconds(environment, pid=7) == seconds


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """READY=1 comes once, when every worker answers; the watchdog is fed; a reload and the end are told."""
    log, address = tmp_path / "log", str(tmp_path / "notify")
    gateway_of = Gateway(None, sekisho.data, free_port(), 0, log, {})  # type: ignore[arg-type]
    gateway_of.set("listen", "port", str(gateway_of.port))
    environment = {"SEKISHO_PASSPHRASE": PASSPHRASE, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(60)
        words = ("serve", "--data", str(sekisho.data), "--workers", str(workers))
        with process(*words, log=log, **environment) as running:
            told: list[bytes] = []

            def until_told(line: bytes, times: int = 1) -> None:
                end = time.monotonic() + PATIENCE
                while sum(line in each.split(b"\n") for each in told) < times:
                    assert time.monotonic() < end, told
                    told.append(systemd.recv(200))

            until_told(b"READY=1")
            with socket.create_connection(("127.0.0.1", gateway_of.port)):
                pass
            until_told(b"WATCHDOG=1")
            os.kill(running.pid, signal.SIGHUP)
            until_told(b"READY=1", times=2)
            os.kill(running.pid, signal.SIGTERM)
            until_told(b"STOPPING=1")
            assert running.wait(60) == 0
        words = [line.partition(b"=")[0] for each in told for line in each.split(b"\n")]
        states = [word for word in words if word in (b"READY", b"RELOADING", b"STOPPING")]
        assert states == [b"READY", b"RELOADING", b"READY", b"STOPPING"]
        # systemd.service(5), Type=notify-reload: without its moment a reload is not believed.
        assert words[words.index(b"RELOADING") + 1] == b"MONOTONIC_USEC"
