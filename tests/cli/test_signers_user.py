"""The signer with a user of its own: what whoever owns the gateway's user cannot do, and what goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import databases, wires
from tests.cli.conftest import Shell
from tests.cli.processes import SEKISHO, change, process, until
from tests.datadirs import PASSPHRASE
from tests.ports import free_port

# Nobody's accounts: numbers are as good as names.
GATEWAY, SIGNER = 61_402, 61_401
_SIGNED = """
import asyncio, base64, os, sys
from pathlib import Path
import ca.store
from ca.files import Snapshot
from ca.keys import generate, spki
from ca.sealing import Vault
from ca.signerlink import RemoteSigner
from enroll import crls
from gateway.serving.deployment import deployment_of

async def work(data, socket):
    link = RemoteSigner(Path(socket))
    vault = Vault(base64.b64decode(link.ask_now(dict(ask="unlock"))["vault"]))
    deployment = deployment_of(Path(data), vault, Snapshot(), signer=link)
    try:
        ra, key = deployment.ra, spki(generate("ec-p256").public_key())
        planned = ra.authority.plan("client-person", "K12345678", (), key, None, ra.now(), os.urandom(16))
        await ra.database.write(lambda db: ca.store.reserve(db, planned))
        print(len(await ra.authority.certify(planned)) > 300)
        print((await crls.publish(ra, ra.authority.current, alone=True)).number > 0)
    finally:
        await deployment.close()

asyncio.run(work(*sys.argv[1:]))
"""
_TRIED = """
import ctypes, os, signal, sys
from pathlib import Path
home, pid = Path(sys.argv[1]), int(sys.argv[2])

def tried(work):
    try:
        work()
    except OSError as error:
        return type(error).__name__
    return "done"

libc = ctypes.CDLL(None, use_errno=True)
stop, key = home / "ca/stop.sealed", next(iter(sys.argv[3:]))
print(*(
    tried(lambda: (home / key).read_bytes()), tried(lambda: os.listdir(home)), tried(stop.unlink),
    tried(lambda: Path("/tmp/x-nobody").rename(stop)), tried(lambda: home.rename(home.with_name("away"))),
    tried(lambda: (home / "signer/memory").unlink()), tried(lambda: (home / "sekisho.json").write_text("{}")),
    tried(lambda: os.kill(pid, signal.SIGKILL)), tried(lambda: os.kill(pid, signal.SIGSTOP)),
    libc.ptrace(16, pid, 0, 0),
))
"""


@dataclass
class Both:
    data: Path
    home: Path
    socket: Path
    log: Path
    signer: subprocess.Popen[bytes]

    def command(self, *words: str, uid: int = GATEWAY) -> dict[str, object]:
        done = self.run([str(SEKISHO), *words, "--data", str(self.data), "--json"], uid)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def run(self, line: list[str], uid: int = GATEWAY) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"SEKISHO_PASSPHRASE": PASSPHRASE}
        return subprocess.run(
            [*as_user(uid), *line], env=environment, capture_output=True, text=True, check=False, timeout=120
        )


def as_user(uid: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={uid}", f"--regid={GATEWAY}", "--clear-groups")


def _others_may_run_it() -> bool:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return False
    line = [*as_user(GATEWAY), sys.executable, "-c", "import tests.cli.test_signer"]
    return subprocess.run(line, capture_output=True, check=False).returncode == 0


as_root = pytest.mark.skipif(
    not _others_may_run_it(), reason="needs root, and a Python that other users may read"
)


@contextmanager
def both(sekisho: Shell, tmp_path: Path) -> Iterator[Both]:
    """A data directory of one user's, the keys parted from it, and the signer of the other's."""
    # Not below pytest's own directory, which each of its runs closes to others again.
    place = Path(tempfile.mkdtemp(prefix="sekisho-user-"))
    try:
        place.chmod(0o755)
        with _both(Shell(shutil.copytree(sekisho.data, place / "data")), place, tmp_path / "log") as there:
            yield there
    finally:
        shutil.rmtree(place)


@contextmanager
def _both(sekisho: Shell, place: Path, log: Path) -> Iterator[Both]:
    home, socket = place / "home", place / "run"
    settings = {("signer", "socket"): f'"{socket}"', ("listen", "port"): str(free_port())}
    change(sekisho.data / "sekisho.toml", settings)
    for path in (sekisho.data, *sekisho.data.rglob("*")):
        os.chown(path, GATEWAY, GATEWAY)
    socket.mkdir()
    os.chown(socket, SIGNER, GATEWAY)
    socket.chmod(0o750)
    log.touch()
    told = sekisho("ca", "part", str(home), "--user", str(SIGNER))
    assert told.code == 0, told
    assert len(told.value["part"]["moved"]) == 2
    words = ("signer", "--data", str(sekisho.data), "--home", str(home), "--socket", str(socket))
    with process(*words, log=log, before=as_user(SIGNER), SEKISHO_PASSPHRASE=PASSPHRASE) as signer:
        until((socket / "signer.sock").exists, log, signer)
        yield Both(sekisho.data, home, socket, log, signer)
        signer.send_signal(signal.SIGTERM)
        assert signer.wait(60) == 0


@pytest.mark.slow
@as_root
def test_whoever_has_the_gateways_user_has_no_key(sekisho: Shell, tmp_path: Path) -> None:
    """A certificate and a list are signed for it; it can neither read a key, nor end the signer or look into
    it, nor take the emergency stop's place; another user still is not listened to."""
    keys = [path.name for path in (sekisho.data / "ca").glob("issuing-*.key")]
    with both(sekisho, tmp_path) as there:
        done = there.run([sys.executable, "-c", _SIGNED, str(there.data), str(there.socket)])
        assert done.stdout.split() == ["True", "True"], done.stderr + there.log.read_text()
        line = [sys.executable, "-c", _TRIED, str(there.home), str(there.signer.pid), f"ca/{keys[0]}"]
        tried = there.run(line).stdout.split()
        assert tried == ["PermissionError"] * 9 + ["-1"]
        assert list((there.data / "ca").glob("*.key")) == []
        acts = [each["action"] for each in there.command("audit", "show")["audit"]]  # type: ignore[attr-defined]
        assert "ca.parted" in acts
        # The group alone does not make somebody the gateway.
        asked = (
            "from ca.signerlink import *; from pathlib import Path; "
            f"print(RemoteSigner(Path({str(there.socket)!r})).ask_now(dict(ask='unlock')))"
        )
        assert "the signer does not answer" in there.run([sys.executable, "-c", asked], uid=61_403).stderr


@pytest.mark.slow
@as_root
def test_stop_and_resume_are_told_to_it(sekisho: Shell, tmp_path: Path) -> None:
    """By whoever has the passphrase, as the gateway's user. It remembers through a restart, and doctor says
    how it stands."""
    with both(sekisho, tmp_path) as there:
        told = there.command("ca", "stop", "--reason", "theft")
        assert told == {"ca": {"stopped": True, "reason": "theft"}}
        found = _signer(there)
        assert (found["state"], "the emergency stop is on (theft)" in found["found"]) == ("bad", True)
        assert there.command("ca", "resume") == {"ca": {"stopped": False, "reason": ""}}
        found = _signer(there)
        assert (found["state"], found["found"]) == (
            "ok", f"0 of 10000 certificates within the hour, as user {SIGNER}, keys in {there.home}",
        )  # fmt: skip
        checks = {each["check"]: each for each in there.command("doctor")["checks"]}  # type: ignore[attr-defined]
        assert checks["permissions"]["found"] == "readable by nobody else but the signer"
        there.command("ca", "stop", "--reason", "again")
        there.signer.send_signal(signal.SIGTERM)
        assert there.signer.wait(60) == 0
        words = (
            "signer",
            "--data",
            str(there.data),
            "--home",
            str(there.home),
            "--socket",
            str(there.socket),
        )
        with process(*words, log=there.log, before=as_user(SIGNER), SEKISHO_PASSPHRASE=PASSPHRASE) as signer:
            until(lambda: "the emergency stop is on (again)" in _signer(there)["found"], there.log, signer)


def _signer(there: Both) -> dict[str, str]:
    told = there.command("doctor")
    assert "checks" in told, told
    (found,) = [each for each in told["checks"] if each["check"] == "signer"]  # type: ignore[attr-defined]
    return dict(found)


@pytest.mark.slow
@as_root
@databases.NEEDED
def test_a_register_on_a_server_is_both_s(sekisho: Shell, tmp_path: Path) -> None:
    """The signer reads it by its own settings: what the gateway has reserved there it signs, and nothing of
    the directory is missed."""
    databases.url_of(tmp_path / "shared")
    with wires.wire(databases._shared().folder) as wire:
        url = f"postgresql://postgres@127.0.0.1:{wire.port}/{databases._name_of(tmp_path / 'shared')}"
        change(
            sekisho.data / "sekisho.toml",
            {("database", "url"): json.dumps(url), ("database", "sslmode"): '"disable"'},
        )
        with both(sekisho, tmp_path) as there:
            assert not (there.data / "sekisho.db").exists()
            done = there.run([sys.executable, "-c", _SIGNED, str(there.data), str(there.socket)])
            assert done.stdout.split() == ["True", "True"], done.stderr + there.log.read_text()
            told = there.command("ca", "stop", "--reason", "theft")
            assert told == {"ca": {"stopped": True, "reason": "theft"}}
            assert "the emergency stop is on (theft)" in _signer(there)["found"]
