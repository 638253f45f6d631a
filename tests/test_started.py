"""A test that fails, hangs or is killed leaves no process behind: planted ones are run, then looked for."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.processes import SEKISHO
from tests.started import forked, session_of, started

ROOT = Path(__file__).parent.parent

_PLANTED = '''
import os, signal, subprocess, sys, time
from pathlib import Path

from tests.cli.processes import process, typed
from tests.started import forked, session_of, started, started_async

# A shell that ran all of this in the background has every process ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
TOLD = Path({told!r})
FAMILY = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
os.fork()
print(os.getpid(), flush=True)
time.sleep(600)
"""


def tell(leader):
    while len(session_of(leader)) < 4:
        time.sleep(0.02)
    TOLD.write_text(" ".join(map(str, session_of(leader))))


def test_fails():
    with started([sys.executable, "-c", FAMILY], stdout=subprocess.DEVNULL) as running:
        tell(running.pid)
        assert False, "planted"


def test_hangs():
    with started([sys.executable, "-c", FAMILY], stdout=subprocess.DEVNULL) as running:
        tell(running.pid)
        time.sleep(600)


def test_stopped():
    with started([sys.executable, "-c", FAMILY], stdout=subprocess.DEVNULL) as running:
        tell(running.pid)
        for pid in session_of(running.pid):
            os.kill(pid, signal.SIGSTOP)
        raise RuntimeError("planted")


def test_forks():
    def work():
        exec(FAMILY)

    with forked(work) as other:
        tell(other.pid)
        assert False, "planted"


async def test_speaks():
    async with started_async([sys.executable, "-c", FAMILY], stdout=subprocess.DEVNULL) as running:
        tell(running.pid)
        assert False, "planted"


def test_dead_leader():
    with started([sys.executable, "-c", FAMILY], stdout=subprocess.DEVNULL) as running:
        tell(running.pid)
        running.kill()
        running.wait()
        assert False, "planted"


def test_copies():
    assert typed("version").returncode == 0
    TOLD.write_text(Path(f"/proc/self/task/{{os.getpid()}}/children").read_text())
    time.sleep(600)
'''


def _planted(tmp_path: Path, name: str, *options: str) -> tuple[list[str], Path]:
    """The command that runs one planted test, and the file in which it names its processes."""
    told = tmp_path / "told"
    (tmp_path / "test_planted.py").write_text(_PLANTED.format(told=str(told)))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    quiet = ("-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", str(tmp_path / "pytest.ini"))
    test = f"{tmp_path}/test_planted.py::{name}"
    return [sys.executable, "-m", "pytest", *quiet, *options, test], told


def _gone(told: Path, count: int = 4) -> bool:
    """All that the planted test named, of which there were so many, have ended, or do within a minute."""
    pids = told.read_text().split()
    assert len(pids) == count
    end = time.monotonic() + 60
    while any(_lives(int(pid)) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fails", "stopped", "forks", "speaks", "dead_leader"])
def test_a_failed_test_leaves_nobody(tmp_path: Path, name: str) -> None:
    """Children and theirs are gone when the run ends, be they deaf to SIGTERM, stopped or orphans."""
    command, told = _planted(tmp_path, f"test_{name}")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "planted" in ran.stdout
    assert not any(_lives(int(pid)) for pid in told.read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_test_that_hangs_leaves_nobody(tmp_path: Path, method: str) -> None:
    """Its time over, it fails; where the whole run ends for it (``thread``), its processes do as well."""
    command, told = _planted(tmp_path, "test_hangs", "--timeout", "10", "--timeout-method", method)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "Timeout" in ran.stdout + ran.stderr
    assert _gone(told)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_killed_leaves_nobody(tmp_path: Path, number: signal.Signals) -> None:
    """Whatever ends pytest itself ends what it started."""
    command, told = _planted(tmp_path, "test_hangs")
    with started(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        end = time.monotonic() + 60
        while not told.exists() or len(told.read_text().split()) < 4:
            assert time.monotonic() < end
            assert run.poll() is None
            time.sleep(0.05)
        os.kill(run.pid, number)
        run.wait(60)
        assert _gone(told)


@pytest.mark.slow
def test_what_copies_come_from_ends_with_the_run(tmp_path: Path) -> None:
    """Killed, a run leaves neither the warden nor the process that has loaded the product."""
    command, told = _planted(tmp_path, "test_copies")
    with started(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        end = time.monotonic() + 60
        while not told.exists() or not told.read_text():
            assert time.monotonic() < end
            assert run.poll() is None
            time.sleep(0.05)
        run.kill()
        run.wait(60)
        assert _gone(told, 2)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("version", "--json"), ("org", "list"), ("nothing",)])
def test_a_copy_is_no_other_than_a_program(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Words, environment, place, both outputs and the exit code; it is our child and leads a session."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    told = []
    for copied in (False, True):
        with started(
            [SEKISHO, *words], copied=copied, cwd=tmp_path, env={"SEKISHO_DATA": "none"}, **pipes
        ) as running:
            told.append((*running.communicate(timeout=60), running.returncode))
    assert told[0] == told[1]
    assert ("init --data none" in told[1][1]) == (words[0] == "org")
    with started([SEKISHO, "passphrase", "change"], copied=True, **pipes) as running:
        assert os.getsid(running.pid) == running.pid
        assert running.pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_only_what_is_left_is_killed() -> None:
    """Exit codes are the process's own, a bystander lives on, and a fork that raises ends with 70."""
    with started(["sleep", "600"]) as bystander:
        with started([sys.executable, "-c", "raise SystemExit(7)"]) as running:
            assert running.wait() == 7
        with forked(lambda: 5) as copy:
            assert copy.wait() == 5
        with forked(lambda: 1 // 0) as copy:
            assert copy.wait() == 70
        assert session_of(bystander.pid) == {bystander.pid}
    assert bystander.returncode == -signal.SIGKILL
    assert session_of(bystander.pid) == set()


@pytest.mark.slow
def test_whatever_is_started_is_started_there() -> None:
    """No test starts or forks a process past tests/started.py; what is waited for at once (`run`) may be."""
    found = {}
    for path in (ROOT / "tests").rglob("*.py"):
        calls = {
            (each.func.attr if isinstance(each.func, ast.Attribute) else getattr(each.func, "id", ""))
            for each in ast.walk(ast.parse(path.read_text()))
            if isinstance(each, ast.Call)
        }
        if past := calls & {"Popen", "create_subprocess_exec", "create_subprocess_shell", "fork", "spawnv"}:
            found[path.name] = past
    assert found == {"started.py": {"Popen", "create_subprocess_exec", "fork"}, "loaded.py": {"fork"}}
