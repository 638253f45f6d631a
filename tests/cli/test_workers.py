"""Several workers on one port: reloads that none of them misses, those that are stuck, and the end of all."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ca.datadir import VAULT
from ca.files import Snapshot
from ca.sealing import open_vaults
from ca.signerlink import RemoteSigner
from gateway.edge.headcount import headcounts
from gateway.running.pulse import Pulse, Watch
from gateway.serving.inforce import Look
from gateway.serving.overseer import Overseer
from gateway.serving.reloading import ask_for_reload
from tests.cli.conftest import Shell
from tests.cli.processes import PATIENCE, get_plain, process, until
from tests.cli.test_serving import Gateway, halfway, leader, ready, workers_of
from tests.datadirs import PASSPHRASE
from tests.ports import free_port
from tests.started import session_of, started


def _children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _killed(gateway: Gateway) -> None:
    """Kills a worker and returns at the birth of the one that takes its place."""
    before = _children(gateway.running.pid)
    os.kill(max(before), signal.SIGKILL)
    until(lambda: bool(_children(gateway.running.pid) - before), gateway.log)


# -- workers that are stuck ----------------------------------------------------------------------------

_SILENCE = 4.0
"""Seconds that are too many. Enough for whoever works to be heard of on a machine with ten times its load."""

_SUPERVISED = """
import logging, os, pathlib, resource, signal, sys, threading, time
from gateway.running.journal import DirectHandler
from gateway.running.pulse import Pulse
from gateway.running.supervisor import supervise

pulse, stop = Pulse(3), threading.Event()

def work(number, _):
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.wait(0.1):
        if number != 2:  # that one goes on starting for ever
            pulse.beat(number, time.monotonic())
            os.write(1, b"beat %d\\n" % number)

class Nobody:
    turned = reloading = stopping = bearing = born = failing = lambda *_: None
    patience = lambda _: 1.5

    def ended(self, number):
        if "no room" in sys.argv:  # for two seconds
            before = resource.getrlimit(resource.RLIMIT_NPROC)
            resource.setrlimit(resource.RLIMIT_NPROC, (0, before[1]))
            end = time.monotonic() + 2
            self.turned = lambda: time.monotonic() > end and resource.setrlimit(resource.RLIMIT_NPROC, before)

logging.basicConfig(handlers=[DirectHandler(pathlib.Path(sys.argv[1]) if sys.argv[1] else None)])
if os.getuid() == 0:  # for whom there is always room for another process
    os.setuid(65534)
supervise(3, work, Nobody(), pulse=pulse, silence=_SILENCE)
"""


@contextmanager
def _supervise(*words: str, stderr: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """``words``: the file of its log ("": standard error); "no room": for no other process once one died."""
    line = [sys.executable, "-c", _SUPERVISED.replace("_SILENCE", str(_SILENCE)), *(words or ("",))]
    with started(line, stderr=stderr, stdout=subprocess.PIPE) as running:
        yield running


@pytest.fixture
def supervised() -> Iterator[subprocess.Popen[bytes]]:
    """Three workers, the last of which is never heard of."""
    with _supervise() as running:
        yield running


def _beating(running: subprocess.Popen[bytes]) -> None:
    """Until both of the workers that say something did, and the third is there as well."""
    heard: set[bytes] = set()
    assert running.stdout is not None
    while heard != {b"beat 0\n", b"beat 1\n"}:
        line = running.stdout.readline()
        assert line, "the supervisor has ended"
        heard.add(line)
    end = time.monotonic() + 60
    while len(_children(running.pid)) != 3:
        assert time.monotonic() < end, "no third process"
        time.sleep(0.02)


def test_a_stuck_worker_is_replaced(supervised: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """One that does not move any more is killed and started again; the others, and who starts, live on."""
    _beating(supervised)
    before = _children(supervised.pid)
    stuck = min(before)
    os.kill(stuck, signal.SIGSTOP)
    begun = time.monotonic()
    until(lambda: stuck not in _children(supervised.pid), tmp_path)
    assert time.monotonic() - begun > _SILENCE - 0.5
    until(lambda: len(_children(supervised.pid)) == 3, tmp_path)
    assert len(_children(supervised.pid) & before) == 2


def test_a_machine_that_slept_kills_nobody(supervised: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Stopped together and going on together, as after a suspend, all processes are the same."""
    _beating(supervised)
    before = _children(supervised.pid)
    for pid in (supervised.pid, *before):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(_SILENCE + 3)
    for pid in (supervised.pid, *before):
        os.kill(pid, signal.SIGCONT)
    time.sleep(_SILENCE + 1.5)
    assert _children(supervised.pid) == before


def test_a_worker_that_cannot_be_started(tmp_path: Path) -> None:
    """When there is no room for another process those that live go on, and it is tried again."""
    log = tmp_path / "log"
    with log.open("wb") as told, _supervise("", "no room", stderr=told.fileno()) as running:
        until(lambda: len(_children(running.pid)) == 3, log)
        before = _children(running.pid)
        os.kill(max(before), signal.SIGKILL)
        until(lambda: "cannot be started (Resource temporarily unavailable)" in log.read_text(), log, running)
        until(lambda: len(_children(running.pid)) == 3, log, running)
        assert len(_children(running.pid) & before) == 2


def test_a_stop_does_not_wait_for_who_is_stuck(supervised: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A worker that has not ended after the overseer's patience is killed, and the supervisor ends well."""
    _beating(supervised)
    os.kill(min(_children(supervised.pid)), signal.SIGSTOP)
    begun = time.monotonic()
    os.kill(supervised.pid, signal.SIGTERM)
    assert supervised.wait(PATIENCE) == 0
    assert time.monotonic() - begun > 1.5


def test_only_time_awake_counts() -> None:
    """Silence is counted in the watcher's own turns, and told once; a beat or a birth ends it."""
    pulse = Pulse(2)
    watch = Watch(pulse, allowed=3, turn=1)
    pulse.beat(0, 100.0)
    assert [watch.stuck((0, 1), now) for now in (100, 101, 102, 103)] == [[]] * 4
    assert watch.stuck((0, 1), 103.5) == [0]
    assert watch.stuck((0, 1), 104.5) == []
    pulse.beat(0, 105.0)
    # An hour passed by in one turn: it counts as one second.
    assert [watch.stuck((0, 1), now) for now in (105, 4_000, 4_001, 4_002)] == [[]] * 4
    pulse.forget(0)
    assert [watch.stuck((0, 1), now) for now in range(4_003, 4_020)] == [[]] * 17


@pytest.mark.slow
def test_a_stuck_worker_is_named(sekisho: Shell, tmp_path: Path) -> None:
    """/readyz and ``sekisho reload`` say which one it is; half a minute later another is in its place."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        stuck = 1 - leader(gateway)
        pid = workers_of(gateway)[stuck]
        os.kill(pid, signal.SIGSTOP)
        # Ten seconds: the other one answers within them, be the machine as busy as it may; and they are over
        # long before the stuck one is replaced.
        refused = json.loads(gateway.command("reload", "--timeout", "10").stdout)["error"]["message"]
        assert refused.startswith(f"worker {stuck} (process {pid}) did not answer within 10 seconds")
        wrong: list[str] = []
        until(lambda: bool(wrong.extend(_wrong(gateway)) or wrong), gateway.log, patience=240)
        assert [re.sub(r"\d\d s$", "N s", each) for each in wrong] == [f"nothing of worker {stuck} for N s"]
        # Half a minute as the supervisor counts it, which is more on a machine that keeps it waiting.
        until(lambda: gateway.says(f"worker {stuck} (process {pid}) is stuck"), gateway.log, patience=240)
        until(lambda: workers_of(gateway)[stuck] != pid, gateway.log)
        until(lambda: not _wrong(gateway), gateway.log)
        assert ask_for_reload(gateway.data, 60) == 2


def _wrong(gateway: Gateway) -> list[str]:
    """What /readyz complains of, if it does."""
    status, text = get_plain(gateway.internal, "/readyz")
    return list(json.loads(text)["wrong"]) if status == 503 else []


# -- the log -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_lines_name_their_worker(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """Where several write to one log each line says whose it is; one alone has no number."""
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        assert gateway.get("help.localhost")[0] == 200
        until(lambda: gateway.says('"kind":"access"'), gateway.log)
        numbers = {(line["kind"], line.get("from")): line.get("worker") for line in gateway.lines()}
        assert (numbers["access", None] in (0, 1)) == (workers > 1)
        begun = [line.get("worker") for line in gateway.lines() if "ready on port" in line.get("says", "")]
        assert sorted(begun, key=str) == ([0, 1] if workers > 1 else [None])
        # What the process above them says is nobody's.
        assert [line.get("worker") for line in gateway.lines() if "workers are" in line.get("says", "")] == [
            None
        ] * (workers > 1)


@pytest.mark.parametrize("file", ["", "/nowhere/log"], ids=["nobody reads", "cannot be opened"])
def test_a_log_that_takes_nothing_holds_nobody_up(file: str, tmp_path: Path) -> None:
    """A full pipe, or a directory that was moved away: a dead worker is replaced, a stop is a stop."""
    reader, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while True:
            os.write(full, b"x" * 4_096)
    os.set_blocking(full, True)
    with _supervise(file, stderr=full) as running:
        until(lambda: len(_children(running.pid)) == 3, tmp_path)
        killed = max(_children(running.pid))
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(_children(running.pid) - {killed}) == 3, tmp_path)
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(60) == 0
    os.close(reader)
    os.close(full)


# -- the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stuck", [False, True], ids=["all well", "one stuck"])
def test_nobody_waits_for_who_is_stopping(sekisho: Shell, tmp_path: Path, stuck: bool) -> None:
    """During the drain a new connection is refused at once, whatever state the workers are in."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        busy, workers = halfway(gateway), {*workers_of(gateway).values()}
        if stuck:
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
        os.kill(gateway.running.pid, signal.SIGTERM)
        until(lambda: _connect(gateway.port) == errno.ECONNREFUSED, gateway.log)
        assert {_connect(gateway.port) for _ in range(20)} == {errno.ECONNREFUSED}
        if stuck:
            assert workers <= session_of(gateway.running.pid)
            return
        # Nor do those that drain burn anything on the port that is gone.
        before = [_cpu_seconds(pid) for pid in workers_of(gateway).values()]
        time.sleep(1)
        assert sum(map(_cpu_seconds, workers_of(gateway).values())) - sum(before) < 0.3
        busy.sendall(b"&b=22")
        assert busy.recv(65_536).startswith(b"HTTP/1.1 303")
        busy.close()
        assert gateway.running.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_of_the_whole_group_is_one(sekisho: Shell, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or a service manager's signal to every process, reaches workers twice: requests that run are
    finished all the same."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        busy = halfway(gateway)
        os.killpg(gateway.running.pid, number)
        until(lambda: gateway.says("stopping", times=3), gateway.log)
        time.sleep(0.3)
        busy.sendall(b"&b=22")
        assert busy.recv(65_536).startswith(b"HTTP/1.1 303")
        busy.close()
        assert gateway.running.wait(60) == 0


def _connect(port: int) -> int:
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", port))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- reload --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_that_is_starting_misses_no_reload(sekisho: Shell, tmp_path: Path) -> None:
    """However young a worker is, it serves the new settings once the reload is said to be done."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        for number, age in enumerate((0.0, 0.02, 0.04, 0.08, 0.12), start=1000):
            # Old enough to be replaced at once: whoever dies young waits.
            time.sleep(0.3)
            _killed(gateway)
            time.sleep(age)
            telephone = f"03-0000-{number}"
            gateway.set("operator", "telephone", f'"{telephone}"')
            assert ask_for_reload(gateway.data, 60) == 2
            pages = [gateway.get("help.localhost", "/contact")[1] for _ in range(12)]
            assert sum(telephone in page for page in pages) == len(pages), f"{age} s after its birth"


@pytest.mark.slow
def test_a_reload_lengthens_the_drain(sekisho: Shell, tmp_path: Path) -> None:
    """The supervisor gives its workers as long as they now want, not what they wanted at the start."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway, socket.socket() as port:
        gateway.set("limits", "drain", "60.0")
        assert gateway.command("reload").returncode == 0
        vault = open_vaults(gateway.data / VAULT, PASSPHRASE).gateway
        look = Look(0.0, "done", None, Snapshot())
        signer = RemoteSigner(gateway.data / "run")
        assert (
            Overseer(gateway.data, vault, signer, lambda: None, look, headcounts(2), [port]).patience() > 60
        )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_starting_misses_no_reload(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """Asked before it answers anybody, it answers with the new settings."""
    log = tmp_path / "log"
    gateway = Gateway(None, sekisho.data, free_port(), 0, log, {})  # type: ignore[arg-type]
    gateway.set("listen", "port", str(gateway.port))
    words = ("serve", "--data", str(gateway.data), "--workers", str(workers))
    for number, age in enumerate((0.0, 0.03, 0.06), start=1000):
        with process(*words, log=log, SEKISHO_PASSPHRASE=PASSPHRASE) as running:
            pid = gateway.data / "run" / "sekisho.pid"
            until(lambda: pid.exists() and pid.read_text() == f"{running.pid}\n", log, running)  # noqa: B023
            time.sleep(age)
            gateway.set("operator", "telephone", f'"03-0000-{number}"')
            assert ask_for_reload(gateway.data, 60) == workers
            assert all(f"03-0000-{number}" in gateway.get("help.localhost", "/contact")[1] for _ in range(6))
        until(lambda: not session_of(running.pid), log)


def test_a_dead_supervisor_cannot_reload(sekisho: Shell, tmp_path: Path) -> None:
    """While the workers of a process that was killed finish what they were at, the command says how it is."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        busy = halfway(gateway)
        os.kill(gateway.running.pid, signal.SIGKILL)
        gateway.running.wait()
        told = json.loads(gateway.command("reload").stdout)["error"]["message"]
        assert told == f"process {gateway.running.pid} is dead and its workers end; start it: sekisho serve"
        busy.close()
        until(lambda: not session_of(gateway.running.pid), gateway.log)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_ends_nobody_who_is_stopping(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """SIGHUP during the drain is not the end of a request that runs."""
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        busy = halfway(gateway)
        os.kill(gateway.running.pid, signal.SIGTERM)
        until(lambda: gateway.says("stopping"), gateway.log)
        time.sleep(0.3)
        for pid in session_of(gateway.running.pid):
            os.kill(pid, signal.SIGHUP)
        time.sleep(0.3)
        busy.sendall(b"&b=22")
        assert busy.recv(65_536).startswith(b"HTTP/1.1 303")
        busy.close()
        assert gateway.running.wait(60) == 0
