"""The signer as `sekisho serve` starts it: who has what in memory, and what goes on without it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ca.datadir import VAULT
from ca.files import Snapshot
from ca.sealing import Vault, open_vaults
from ca.signerlink import RemoteSigner, address_in
from enroll import store
from enroll.people import register
from enroll.refusals import Refusal
from enroll.requests import issuance
from enroll.requests.states import State
from gateway.serving.deployment import Deployment, deployment_of
from tests.cli.conftest import PASSPHRASE, Shell
from tests.cli.processes import change, get_plain, process, until
from tests.cli.test_serving import Gateway, ended, ready, workers_of
from tests.looking import look
from tests.ports import free_port


def _signers(gateway: Gateway) -> tuple[int, int]:
    """The guardian, and the signer below it, by who listens."""
    with socket.socket(socket.AF_UNIX) as link, address_in(gateway.data / "run") as address:
        try:
            link.connect(address)
        except OSError as error:
            raise LookupError("no signer") from error
        pid: int = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    # The guardian has made the socket, and is named until the signer listens as well.
    guardian = pid if _parent(pid) == gateway.running.pid else _parent(pid)
    if _parent(guardian) != gateway.running.pid:
        raise LookupError("no signer")
    below = Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()
    return (guardian, *map(int, below))  # type: ignore[return-value]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@asynccontextmanager
async def as_a_worker(gateway: Gateway) -> AsyncIterator[Deployment]:
    """What a worker is: the gateway's vault, which the signer hands out, the files, and the socket."""
    link = RemoteSigner(gateway.data / "run")
    told = await asyncio.to_thread(link.ask_now, {"ask": "unlock"})
    vault = Vault(base64.b64decode(told["vault"]))
    deployment = deployment_of(gateway.data, vault, Snapshot(), signer=link)
    try:
        yield replace(deployment, ra=replace(deployment.ra, patience=5.0))
    finally:
        await deployment.close()


async def _begun(deployment: Deployment, user_id: str) -> str:
    ra = deployment.ra
    if store.organisation(look(ra.database), "12345678") is None:
        await register.add_organisation(ra, "12345678", "霞が関商事", actor="test")
    person = register.Person("12345678", f"年金 {user_id}", f"{user_id.lower()}@example.jp", user_id)
    await register.add_user(ra, person, channel="paper", actor="test")
    (waiting,) = store.enrollments_of(look(ra.database), user_id)
    await issuance.submit(ra, waiting.request_id, actor=user_id)
    return waiting.request_id


async def _issued(deployment: Deployment, request_id: str) -> bool:
    try:
        return (await issuance.complete(deployment.ra, request_id)).state is State.ISSUED
    except Refusal as refusal:
        if refusal.code != "issuing_later":
            raise
        return False


def _holds(pid: int, secrets: tuple[bytes, ...]) -> bool:
    """Whether a process has one of them anywhere in its memory."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found is None:
                continue
            begin, end = (int(each, 16) for each in found.groups())
            try:
                memory.seek(begin)
                content = memory.read(end - begin)
            except (OSError, ValueError, OverflowError):
                continue
            if any(secret in content for secret in secrets):
                return True
    return False


@pytest.mark.slow
async def test_no_worker_ever_had_a_key_or_the_passphrase(sekisho: Shell, tmp_path: Path) -> None:
    """Not in the memory of the process above the workers, nor in theirs: neither the passphrase, nor what the
    keys are sealed under, nor the issuing key. The signer, which has them, is where the search finds them."""
    vaults = open_vaults(sekisho.data / VAULT, PASSPHRASE)
    (issuing,) = (sekisho.data / "ca").glob("issuing-*.key")
    key = vaults.keys.open(f"key ca/{issuing.stem}", issuing.read_bytes())
    secrets = (PASSPHRASE.encode(), vaults.keys.handed_over(), key[36:68])
    # Programs: a copy of the tests' own would have been told the passphrase by them.
    with ready(sekisho.data, tmp_path, workers=2, copied=False) as gateway:
        guardian, signer = _signers(gateway)
        async with as_a_worker(gateway) as worker:
            assert await _issued(worker, await _begun(worker, "K12345678"))
        others = (gateway.running.pid, *workers_of(gateway).values())
        assert [pid for pid in others if _holds(pid, secrets)] == []
        assert _holds(signer, secrets)
        assert ended(gateway) == 0
        assert (_parent(guardian), _parent(signer)) == (0, 0)


@pytest.mark.slow
async def test_without_the_signer_all_but_issuing_goes_on(sekisho: Shell, tmp_path: Path) -> None:
    """Killed, it is back at once. With its guardian gone pages and lists go on, issuing says later, and
    /readyz, the figures and the doctor say why. After a restart what waited is issued."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        async with as_a_worker(gateway) as worker:
            guardian, signer = _signers(gateway)
            os.kill(signer, signal.SIGKILL)
            first = await _begun(worker, "KFIRST01")
            end = time.monotonic() + 60
            while not await _issued(worker, first):
                assert time.monotonic() < end, gateway.log.read_text()
            assert gateway.says("the signer ended with -9")
            again, signer = _signers(gateway)
            assert again == guardian

            os.kill(guardian, signal.SIGKILL)
            # The signer sees that it is alone, and ends after it.
            until(lambda: not _words(guardian) and not _words(signer), gateway.log, gateway.running)
            second = await _begun(worker, "KSECOND1")
            assert not await _issued(worker, second)
        for host in ("pickup.localhost", "help.localhost"):
            assert gateway.get(host)[0] == 200
        status, text = get_plain(gateway.internal, "/readyz")
        assert (status, "the signer does not answer" in text) == (200, True)
        assert "sekisho_signer_up 0" in get_plain(gateway.internal, "/metrics")[1]
        found = {
            each["check"]: each for each in json.loads(gateway.command("doctor", "--json").stdout)["checks"]
        }
        assert (found["signer"]["state"], found["revocation list"]["state"]) == ("bad", "ok")
        until(lambda: gateway.says("is in no file (--passphrase-file): nothing is issued until"), gateway.log)
        assert ended(gateway) == 0
    with ready(sekisho.data, tmp_path, workers=1) as gateway:
        async with as_a_worker(gateway) as worker:
            found_again = store.enrollment(look(worker.ra.database), second)
            assert found_again is not None
            assert found_again.state is State.ISSUED
        assert "sekisho_signer_up 1" in get_plain(gateway.internal, "/metrics")[1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_guardian_that_is_gone_is_started_again(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """By serve, where a file has the passphrase: the guardian killed, then both; pages go on meanwhile."""
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE)
    with ready(sekisho.data, tmp_path, "--passphrase-file", str(file), workers=workers) as gateway:
        async with as_a_worker(gateway) as worker:
            for number, which in enumerate((slice(0, 1), slice(0, 2))):
                pids = _signers(gateway)
                for pid in pids[which]:
                    os.kill(pid, signal.SIGKILL)
                assert gateway.get("pickup.localhost")[0] == 200
                request_id = await _begun(worker, f"KAGAIN0{number}")
                end = time.monotonic() + 120
                while not await _issued(worker, request_id):
                    assert time.monotonic() < end, gateway.log.read_text()
                    await asyncio.sleep(0.2)
                until(lambda gone=pids: _signers(gateway)[0] != gone[0], gateway.log, gateway.running)
        until(lambda: gateway.says("the signer has ended (-9); started again"), gateway.log)
        assert ended(gateway) == 0


async def test_stop_and_resume(sekisho: Shell, tmp_path: Path) -> None:
    """`sekisho ca stop`: from the next moment on nothing is signed, and that is told; `resume` ends it."""
    with ready(sekisho.data, tmp_path) as gateway:
        async with as_a_worker(gateway) as worker:
            request_id = await _begun(worker, "K12345678")
            assert gateway.command("ca", "stop", "--reason", "drill").returncode == 0
            assert not await _issued(worker, request_id)
            told = get_plain(gateway.internal, "/readyz")
            assert told[0] == 200
            assert "the emergency stop is on (drill): nothing is signed; sekisho ca resume" in told[1]
            assert "sekisho_signer_stopped 1" in get_plain(gateway.internal, "/metrics")[1]
            assert "the emergency stop is on (drill)" in gateway.command("doctor").stdout
            assert gateway.command("ca", "resume").returncode == 0
            assert await _issued(worker, request_id)
            trail = store.audit_page(look(worker.ra.database), "ca", 9)
            assert [row["action"] for row in trail] == ["ca.resumed", "ca.stopped"]


@pytest.mark.slow
def test_a_signer_of_its_own(sekisho: Shell, tmp_path: Path) -> None:
    """As a service beside it (signer.socket): serve needs no passphrase, and says what to do without it."""
    run = sekisho.data / "run"
    port = free_port()
    settings = {("signer", "socket"): f'"{run}"', ("listen", "port"): str(port)}
    change(sekisho.data / "sekisho.toml", settings)
    log = tmp_path / "log"
    log.touch()
    with process("serve", "--data", str(sekisho.data), log=log) as alone:
        assert alone.wait(60) == 1
    assert "the signer does not answer" in log.read_text()
    assert "start it: sekisho signer" in log.read_text()
    words = ("signer", "--data", str(sekisho.data))
    with process(*words, log=log, SEKISHO_PASSPHRASE=PASSPHRASE) as signer:
        until((run / "signer.sock").exists, log, signer)
        with process("serve", "--data", str(sekisho.data), log=log) as serving:
            until(lambda: "ready on port" in log.read_text(), log, serving)
            with process(*words, log=log, SEKISHO_PASSPHRASE=PASSPHRASE) as second:
                assert second.wait(60) == 1
            assert "runs already; stop that one first" in log.read_text()
            serving.terminate()
            assert serving.wait(60) == 0
        assert signer.poll() is None
        signer.terminate()
        assert signer.wait(60) == 0
    with process(*words, log=log, SEKISHO_PASSPHRASE="wrong passphrase") as signer:
        assert signer.wait(60) == 1
    assert "the passphrase does not open" in log.read_text()
