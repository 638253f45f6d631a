"""What a worker serves that takes a dead one's place: what is in force, whatever has become of the files."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import servers
from ca.files import Snapshot
from ca.keys import generate
from ca.profiles import DAY, SERVER
from gateway.proxy.identity import JWKS_PATH
from gateway.running.pulse import Alone, Pulse, Watch
from gateway.serving import configured, inforce
from gateway.serving.config import FILE_NAME, read_config
from gateway.serving.deployment import configured_hosts, opened_deployment
from gateway.serving.inforce import Look
from tests.cli.conftest import Shell
from tests.cli.processes import get, get_plain, process, tls, until
from tests.cli.test_serving import Gateway, ended, leader, ready, workers_of
from tests.datadirs import PASSPHRASE
from tests.gateway.rawtls import Issued, issue
from tests.ports import free_port
from tests.started import session_of

_NOW = datetime.now(UTC)


def _killed(gateway: Gateway, *numbers: int) -> None:
    """Kills these workers, and returns when others are in their places and answer."""
    before = workers_of(gateway)
    for number in numbers:
        os.kill(before[number], signal.SIGKILL)
    until(
        lambda: all(workers_of(gateway).get(number, before[number]) != before[number] for number in numbers),
        gateway.log,
        gateway.running,
    )


def _every_answer(gateway: Gateway, path: str = "/contact", ca: Path | None = None) -> set[str]:
    """What the workers answer, once each of them has been asked."""
    seen, begun, found = set[int](), len(gateway.log.read_text()), set[str]()

    def both() -> bool:
        found.add(get("help.localhost", gateway.port, ca or gateway.ca, path)[1])
        # By their text: whoever is killed leaves semaphores, of which Python's own tracker tells here.
        told = re.findall(r'(?m)^\{.*"kind":"access".*"worker":(\d)', gateway.log.read_text()[begun:])
        seen.update(map(int, told))
        return len(seen) == 2

    until(both, gateway.log, gateway.running)
    return found


def _telephones(gateway: Gateway) -> set[str]:
    return {found for page in _every_answer(gateway) for found in re.findall(r"03-0000-\d{4}", page)}


def _ready(gateway: Gateway) -> tuple[int, Any]:
    status, body = get_plain(gateway.internal, "/readyz")
    return status, json.loads(body)["wrong"]


# -- what is read, and when ----------------------------------------------------------------------------


#: What is opened once, with another value of each.
_AT_START = {
    "listen.host": '["127.0.0.2"]',
    "listen.port": "9443",
    "listen.public_port": "443",
    "internal.host": '"127.0.0.2"',
    "internal.port": "9441",
    "log.file": '"other.log"',
    "database.cache": "16",
    "database.url": '"postgresql://other@db.example.jp/other"',
    "database.password_file": '"other"',
    "database.sslmode": '"disable"',
    "database.ca": '"other.pem"',
    "database.pool": "3",
    "database.connect_seconds": "3.0",
    "database.statement_seconds": "3.0",
    "database.lock_seconds": "3.0",
    "revocation.port": "8088",
    "signer.socket": '"/run/other"',
    "operators.group": '"desk"',
    "operators.socket": '"/run/other"',
    "signer.per_hour": "5",
}


async def _looked(data: Path, text: str) -> Look:
    """A reload's look at the directory, whose settings have become these."""
    async with opened_deployment(data, PASSPHRASE) as deployment:
        (data / FILE_NAME).write_text(text)
        return inforce.again(deployment, None)


@pytest.mark.parametrize("name", _AT_START)
async def test_what_only_a_start_takes(sekisho: Shell, name: str) -> None:
    """A reload refuses it by name: nobody shall think that a port, or a file, is another one now."""
    section, setting = name.split(".")
    look = await _looked(sekisho.data, f"[{section}]\n{setting} = {_AT_START[name]}\n")
    assert look.outcome == "refused"
    assert look.error is not None
    assert look.error.startswith(f"{name}: ")
    assert "which takes a restart; write the old value, or stop sekisho serve" in look.error
    assert set(configured.AT_START) == set(_AT_START)


async def test_a_reload_takes_everything_else(sekisho: Shell) -> None:
    """The twin: of each other section a setting that has become another one."""
    text = """
    [listen]
    proxy_protocol = ["192.0.2.1"]
    [internal]
    hosts = ["ops.internal"]
    [operator]
    telephone = "03-0000-1111"
    [policy]
    window_days = 14
    [mail]
    timeout = 9.0
    [protocol]
    quota = 7
    [limits]
    idle = 33.0
    [rates]
    burst_seconds = 3.0
    [log]
    level = "warning"
    access = false
    [clock]
    ahead_days = 3
    """
    look = await _looked(sekisho.data, text)
    assert (look.outcome, look.error) == ("done", None)


@pytest.mark.slow
def test_a_changed_passphrase_ends_nobody(sekisho: Shell, tmp_path: Path) -> None:
    """Under a running server: a reload is done, and whoever is killed comes back, one or all of them."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        changed = sekisho("passphrase", "change", SEKISHO_NEW_PASSPHRASE="quite another passphrase")
        assert changed.code == 0
        gateway.set("operator", "telephone", '"03-0000-1111"')
        assert gateway.command("reload").returncode == 0
        _killed(gateway, 1)
        _killed(gateway, 0, 1)
        assert _telephones(gateway) == {"03-0000-1111"}
        assert _ready(gateway) == (200, [])
        assert ended(gateway) == 0
    assert sekisho("serve").error["message"].startswith("the passphrase does not open")


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["a slip", "a good one"])
def test_an_edit_counts_once_it_is_reloaded(sekisho: Shell, tmp_path: Path, edit: str) -> None:
    """Saved and not asked for, neither a slip nor a good setting reaches a worker, however often it dies."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        gateway.set("operator", "telephone", '"03-0000-1111"')
        assert gateway.command("reload").returncode == 0
        gateway.set("operator", "telephone", '"03-0000-2222"')
        if edit == "a slip":
            gateway.set("limits", "idle", '"long"')
            assert "limits.idle: write a number" in gateway.command("reload").stdout
        _killed(gateway, leader(gateway))
        assert _telephones(gateway) == {"03-0000-1111"}
        _killed(gateway, 0, 1)
        assert _telephones(gateway) == {"03-0000-1111"}
        assert _ready(gateway) == (200, [])
        gateway.set("limits", "idle", "75.0")
        assert gateway.command("reload").returncode == 0
        _killed(gateway, 1)
        assert _telephones(gateway) == {"03-0000-2222"}


def _server_files(data: Path, authority: Issued, days: float) -> None:
    hosts = configured_hosts(read_config(data))
    made = issue(
        "own",
        authority,
        hosts=hosts,
        purpose=x509.oid.ExtendedKeyUsageOID.SERVER_AUTH,
        not_before=_NOW - timedelta(days=9),
        not_after=_NOW + timedelta(days=days),
    )
    (data / "own.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
    key = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (data / "own.key").write_bytes(key)


def _shown(gateway: Gateway, ca: Path) -> bytes:
    with tls("help.localhost", gateway.port, ca) as connection:
        der = connection.getpeercert(binary_form=True)
        assert der is not None
        return der


@pytest.mark.slow
def test_every_file_is_the_one_that_was_read(sekisho: Shell, tmp_path: Path) -> None:
    """Certificate, key, mail password, template, the upstream's CA, issuing CAs: halfway written or gone,
    a replaced worker has them all, and another certificate is shown after a reload only."""
    data = sekisho.data
    authority = issue("own CA", ca=True, not_before=_NOW - timedelta(days=9), not_after=_NOW + timedelta(900))
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    _server_files(data, authority, 90)
    (data / "password").write_text("secret\n")
    (data / "upstream.pem").write_bytes(ca.read_bytes())
    (data / "templates").mkdir()
    (data / "templates" / "pickup.txt").write_text("Subject: x\n\n{{ request_id }}\n")
    setup = Gateway(None, data, 0, 0, tmp_path / "log", {})  # type: ignore[arg-type]
    for section, name, value in (
        ("tls", "certificate", "own.pem"),
        ("tls", "key", "own.key"),
        ("mail", "username", "me"),
        ("mail", "password_file", "password"),
        ("upstream", "ca", "upstream.pem"),
    ):
        setup.set(section, name, f'"{value}"')
    setup.set("mail", "transport", '"smtp"')
    setup.set("upstream", "addresses", '["https://127.0.0.1:1"]')
    with ready(data, tmp_path, workers=2) as gateway:
        first = _shown(gateway, ca)
        keys = _every_answer(gateway, JWKS_PATH, ca)
        for name in ("own.key", "password", "upstream.pem", "templates/pickup.txt", "assertion-keys"):
            (data / name).unlink()
        _server_files(data, authority, 100)
        (data / "own.key").unlink()
        for name in ("sekisho.json", "ca/root.pem", *(f"ca/{p.name}" for p in (data / "ca").glob("i*.key"))):
            (data / name).rename(data / f"{name}.away")
        _killed(gateway, 0, 1)
        assert {_shown(gateway, ca) for _ in range(8)} == {first}
        assert _every_answer(gateway, JWKS_PATH, ca) == keys
        assert len(keys) == 1


@pytest.mark.slow
async def test_our_own_certificate_is_renewed_while_running(sekisho: Shell, tmp_path: Path) -> None:
    """Thirty days before its end another one is there: in every worker, and in those that come later."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        # Due in a few seconds: when every worker shows it, on any machine that is not slower than that.
        begun = int(time.time()) - SERVER.days * DAY + servers.RENEW_BEFORE + 10
        hosts = configured_hosts(deployment.config)
        ca, signer = deployment.datadir.server_ca, deployment.datadir.server_signer
        made = servers.issue(ca, signer, hosts, begun, 7, generate("ec-p256"))
        pem, key = servers.local_files(sekisho.data)
        pem.write_bytes(made.chain_pem)
        key.write_bytes(deployment.datadir.vault.seal("key servers/hosts", made.key))
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        until(lambda: gateway.says("are renewed where they were due"), gateway.log, gateway.running)
        until(lambda: len({_shown(gateway, gateway.ca) for _ in range(8)}) == 1, gateway.log)
        renewed = _shown(gateway, gateway.ca)
        assert renewed != made.chain[0]
        end = x509.load_der_x509_certificate(renewed).not_valid_after_utc
        assert end - _NOW > timedelta(days=390)
        _killed(gateway, 0, 1)
        assert {_shown(gateway, gateway.ca) for _ in range(8)} == {renewed}


@pytest.mark.slow
def test_a_look_that_hangs_holds_nobody_up(sekisho: Shell, tmp_path: Path) -> None:
    """On a disk that does not answer (here: a pipe that nobody writes) workers are replaced, a stop stops."""
    pipe = sekisho.data / "password"
    os.mkfifo(pipe, 0o600)
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        gateway.set("operator", "telephone", '"03-0000-1111"')
        assert gateway.command("reload").returncode == 0
        # Both have it in force when the command returns; one that is killed before it says so never does.
        until(lambda: gateway.says('"says":"reloaded"', times=2), gateway.log, gateway.running)
        for name, value in (("username", '"me"'), ("password_file", '"password"'), ("transport", '"smtp"')):
            gateway.set("mail", name, value)
        gateway.set("operator", "telephone", '"03-0000-2222"')
        os.kill(gateway.running.pid, signal.SIGHUP)
        _killed(gateway, 1)
        assert _telephones(gateway) == {"03-0000-1111"}
        pipe.write_text("secret\n")  # blocks until somebody reads
        until(lambda: gateway.says('"says":"reloaded"', times=4), gateway.log, gateway.running)
        assert _telephones(gateway) == {"03-0000-2222"}
        children = Path(f"/proc/{gateway.running.pid}/task/{gateway.running.pid}/children")
        before = set(children.read_text().split())
        os.kill(gateway.running.pid, signal.SIGHUP)
        until(lambda: len(set(children.read_text().split()) - before) == 1, gateway.log)
        assert ended(gateway) == 0


@pytest.mark.slow
def test_no_process_keeps_the_passphrase(sekisho: Shell, tmp_path: Path) -> None:
    """Neither in what it hands to its children nor in what the kernel shows of it."""
    with ready(sekisho.data, tmp_path, workers=2, copied=False) as gateway:
        # A process that makes keys is started by then, which is a program of its own.
        until(lambda: len(session_of(gateway.running.pid)) > 3, gateway.log, gateway.running)
        for pid in session_of(gateway.running.pid):
            shown = Path(f"/proc/{pid}/environ").read_bytes()
            assert PASSPHRASE.encode() not in shown
            assert b"PATH=" in shown


# -- workers that cannot be started --------------------------------------------------------------------


def _without_nonces(data: Path) -> Path:
    """Something that a worker cannot start without, and that those who live do not ask for any more."""
    table = data / "run" / "nonces"
    table.rename(table.with_name("away"))
    return table


@pytest.mark.slow
def test_a_worker_that_cannot_be_started_is_told_of(sekisho: Shell, tmp_path: Path) -> None:
    """After three times /readyz, the figures and the log say so, until it lives again."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        lost = 1 - leader(gateway)
        table = _without_nonces(sekisho.data)
        os.kill(workers_of(gateway)[lost], signal.SIGKILL)
        until(lambda: _ready(gateway)[0] == 503, gateway.log, gateway.running)
        (wrong,) = _ready(gateway)[1]
        assert re.fullmatch(rf"worker {lost} cannot be started: it ended \d times at once", wrong)
        words = f"worker {lost} cannot be started: it ended 3 times within 10 s of its birth"
        until(lambda: gateway.says(words), gateway.log)
        until(lambda: gateway.says(f"worker {lost}: cannot open the nonce table "), gateway.log)
        figure = f'sekisho_worker_failing{{worker="{lost}"}} '
        assert f"{figure}1\n" in get_plain(gateway.internal, "/metrics")[1]
        assert gateway.get("help.localhost")[0] == 200
        table.with_name("away").rename(table)
        until(lambda: _ready(gateway) == (200, []), gateway.log, gateway.running)
        until(lambda: gateway.says(f"worker {lost} lives again"), gateway.log)
        assert f"{figure}0\n" in get_plain(gateway.internal, "/metrics")[1]


def _listened(systemd: socket.socket, told: list[str]) -> None:
    with suppress(OSError):  # closed
        while True:
            told.append(systemd.recv(1_000).decode())


@pytest.mark.slow
def test_nobody_to_serve_is_the_end(sekisho: Shell, tmp_path: Path) -> None:
    """With no worker for fifteen seconds serve ends with 1 and closes its port; systemd hears the states."""
    log, port, address = tmp_path / "log", free_port(), str(tmp_path / "notify")
    gateway = Gateway(None, sekisho.data, port, 0, log, {})  # type: ignore[arg-type]
    gateway.set("listen", "port", str(port))
    words = ("serve", "--data", str(sekisho.data), "--workers", "2")
    environment = {"SEKISHO_PASSPHRASE": PASSPHRASE, "NOTIFY_SOCKET": address}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        told: list[str] = []
        Thread(target=_listened, args=(systemd, told), daemon=True).start()
        with process(*words, log=log, **environment) as running:
            until(lambda: gateway.says("2 workers are ready"), log, running)
            _without_nonces(sekisho.data)
            for pid in workers_of(gateway).values():
                os.kill(pid, signal.SIGKILL)
            assert running.wait(90) == 1
        # On a busy machine the fifteen seconds are over before the other one has died three times.
        status = re.compile("STATUS=of 2 workers (0|1|0, 1) cannot be started: see the log")
        until(lambda: any(status.search(each) for each in told), log)
    assert "no worker has lived for 15 s" in log.read_text()
    with socket.socket() as visitor:
        assert visitor.connect_ex(("127.0.0.1", port)) != 0
    until(lambda: not session_of(running.pid), log)


# -- the parts -----------------------------------------------------------------------------------------


def test_a_look_reaches_another_process_whole() -> None:
    """Contents, files that are not there, its moment, its outcome and when something is due."""
    held = {Path("/a"): b"\x00\xff", Path("/b"): None}
    look = Look(2.5, "done", None, Snapshot(held, 1.5), (float("-inf"), 9.0))
    got = Look.from_bytes(look.to_bytes())
    assert got.files is not None
    assert (got.files.held, got.files.taken_at, got.files.frozen) == (held, 1.5, True)
    assert (got.read_at, got.outcome, got.fresh) == (2.5, "done", (float("-inf"), 9.0))
    refused = Look.from_bytes(Look(2.5, "refused", "limits.idle: x").to_bytes())
    assert (refused.files, refused.error, refused.was_asked_for) == (None, "limits.idle: x", True)
    assert [Look(0.0, each).was_asked_for for each in ("renewed", "overdue")] == [False, False]
    assert [look.is_due(now) for now in (-1e9, 8.9, 9.0)] == [False, False, True]


async def test_a_clock_in_doubt_renews_nothing(sekisho: Shell) -> None:
    """Nor does a disk that takes nothing: what was in force stays, and the reason is said."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        inforce.check(deployment, None)
        before = deployment.files.held
        with sqlite3.connect(sekisho.data / "sekisho.db") as db:
            db.execute("DELETE FROM clock")
            db.execute("INSERT INTO clock (id, wall_at, awake, boot) VALUES (1, 1600000000, 9.0, 'before')")
        look = inforce.renewed(deployment, sekisho.data)
        assert (look.outcome, look.files) == ("overdue", None)
        assert "what may be due is not made anew: the clock is " in str(look.error)
        assert deployment.files.held == before


def test_only_time_awake_without_anybody_counts() -> None:
    """An hour that passed in one turn is a turn; who is born and dies at once ends no such time."""
    alone = Alone(allowed=3, turn=1)
    assert [alone.too_long(False, now) for now in (0, 1, 2)] == [False] * 3
    assert not alone.too_long(True, 3)
    assert [alone.too_long(False, now) for now in (3_603, 3_604)] == [False, True]
    alone.forget()
    assert not alone.too_long(False, 3_605)


def test_who_goes_on_starting_is_stuck_in_the_end() -> None:
    """A worker that says nothing from its birth on has longer than others, and not for ever."""
    pulse = Pulse(1)
    watch = Watch(pulse, allowed=3, turn=1, starting=6)
    assert [now for now in range(100, 110) if watch.stuck((0,), now)] == [107]
    assert watch.stuck((), 110) == []
    assert [now for now in range(111, 120) if watch.stuck((0,), now)] == [118]
