"""``serve`` as an operator runs it: reload, drain, workers, revocation by another process, logs, figures."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ca.clock import ManualClock
from gateway.proxy.identity import JWKS_PATH, ROTATION, open_keys
from gateway.running import rundir
from gateway.serving import current as serving
from gateway.serving.config import FILE_NAME
from gateway.serving.current import Slot
from gateway.serving.deployment import open_deployment, opened_deployment
from gateway.serving.figures import warnings_of, wrong_with
from tests.cli.conftest import Shell
from tests.cli.processes import (
    change,
    get,
    get_plain,
    pem_of,
    process,
    tls,
    typed,
    until,
)
from tests.datadirs import PASSPHRASE, START
from tests.ports import free_port
from tests.started import session_of


@dataclass(frozen=True)
class Gateway:
    """A running ``sekisho serve``."""

    running: subprocess.Popen[bytes]
    data: Path
    port: int
    internal: int
    log: Path
    environment: dict[str, str]

    @property
    def ca(self) -> Path:
        return self.data / "servers" / "ca.pem"

    def get(self, host: str, path: str = "/", certificate: Path | None = None) -> tuple[int, str]:
        return get(host, self.port, self.ca, path, certificate)

    def says(self, words: str, times: int = 1) -> bool:
        return self.log.read_text().count(words) >= times

    def lines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [json.loads(line) for line in self.log.read_text().splitlines()]
        return found

    def set(self, section: str, name: str, value: str) -> None:
        change(self.data / FILE_NAME, {(section, name): value})

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return typed(*words, "--data", str(self.data), "--json", **self.environment)

    def doctor(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.command("doctor").stdout)["checks"]
        return found


@contextmanager
def ready(
    data: Path,
    tmp_path: Path,
    *words: str,
    workers: int = 1,
    passphrase: str = PASSPHRASE,
    before: tuple[str, ...] = (),
    copied: bool = True,
) -> Iterator[Gateway]:
    """A gateway whose every worker answers. ``before``, ``copied``: as of `process`."""
    log, environment = tmp_path / "log", {"SEKISHO_PASSPHRASE": passphrase}
    log.touch()
    gateway = Gateway(None, data, free_port(), free_port(), log, environment)  # type: ignore[arg-type]
    gateway.set("listen", "port", str(gateway.port))
    gateway.set("internal", "port", str(gateway.internal))
    more = ("--workers", str(workers)) if workers > 1 else ()
    words = ("serve", "--data", str(data), *words, *more)
    with process(*words, log=log, before=before, copied=copied, **environment) as running:
        words_of_it = f"{workers} workers are ready" if workers > 1 else "ready on port"
        until(lambda: words_of_it in log.read_text(), log, running)
        until(lambda: _answers(gateway.internal), log, running)
        yield Gateway(running, data, gateway.port, gateway.internal, log, environment)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ended(gateway: Gateway, number: signal.Signals = signal.SIGTERM) -> int:
    """Exit code after a signal to the first process; fails if any other lives on."""
    os.kill(gateway.running.pid, number)
    code = gateway.running.wait(60)
    until(lambda: not session_of(gateway.running.pid), gateway.log)
    return code


def _shown(gateway: Gateway) -> bytes:
    """The certificate that a visitor of the pick-up site sees."""
    with tls("pickup.localhost", gateway.port, gateway.ca) as connection:
        der = connection.getpeercert(binary_form=True)
        assert der is not None
        return der


# -- reload --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_reload(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """Settings and the server's certificate are taken over; an open connection goes on."""
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        seen = _shown(gateway)
        kept = tls("help.localhost", gateway.port, gateway.ca)
        assert _ask(kept, "help.localhost") == 200
        gateway.set("operator", "telephone", '"03-0000-1111"')
        for name in ("hosts.pem", "hosts.key"):
            (sekisho.data / "servers" / name).unlink()
        done = gateway.command("reload")
        assert json.loads(done.stdout) == {"reload": {"workers": workers}}
        assert _shown(gateway) != seen
        assert {_shown(gateway) for _ in range(8)} == {_shown(gateway)}
        assert all("03-0000-1111" in gateway.get("help.localhost", "/contact")[1] for _ in range(4))
        assert _ask(kept, "help.localhost") == 200
        kept.close()
        assert ended(gateway) == 0


def _ask(connection: ssl.SSLSocket, host: str) -> int:
    connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return int(connection.recv(65_536).split(b" ")[1])


@pytest.mark.slow
def test_the_next_issuing_ca_is_taken_over(lived: dict[str, Any], tmp_path: Path) -> None:
    """E17: after ``ca add`` and a reload the help names G5, and certificates of G4 go on logging in."""
    data = tmp_path / "data"
    shutil.copytree(lived["data"], data)
    passphrase = Path(lived["passphrase_file"]).read_text().strip()
    user = next(each for each in lived["users"] if each["state"] == "active" and each["p12"])
    certificate = pem_of(user["p12"], user["p12_password"], tmp_path / "user.pem")
    setup = Gateway(None, data, 0, 0, tmp_path / "log", {})  # type: ignore[arg-type]
    setup.set("sites", "mailbox", "[]")
    setup.set("log", "level", '"info"')
    with ready(data, tmp_path, passphrase=passphrase) as gateway:
        assert json.loads(gateway.command("ca", "add", "SERVICE CA-G5").stdout)["ca"]
        assert "SERVICE CA-G5" not in gateway.get("help.localhost", "/certificates")[1]
        assert gateway.command("reload").returncode == 0
        # Its networks know it; nobody has a certificate of it yet.
        assert "SERVICE CA-G5" not in gateway.get("help.localhost", "/verify")[1]
        assert "SERVICE CA-G5" in gateway.get("help.localhost", "/certificates")[1]
        assert gateway.command("ca", "activate", "SERVICE CA-G5", "--at", "now").returncode == 0
        assert "SERVICE CA-G5" in gateway.get("help.localhost", "/verify")[1]
        assert "SERVICE CA-G4" in gateway.get("help.localhost", "/certificates")[1]
        assert gateway.get("service.localhost", "/login", certificate)[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_is_refused_as_a_whole(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """One wrong setting, and nothing of the file counts; the command and the log say which."""
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        gateway.set("operator", "telephone", '"03-0000-1111"')
        gateway.set("limits", "idle", '"long"')
        refused = gateway.command("reload")
        assert refused.returncode == 1
        assert "nothing has changed" in json.loads(refused.stdout)["error"]["message"]
        assert "limits.idle: write a number" in refused.stdout
        until(lambda: gateway.says("limits.idle: write a number"), gateway.log)
        assert "03-0000-1111" not in gateway.get("help.localhost", "/contact")[1]
        gateway.set("limits", "idle", "= ")
        assert "nothing has changed" in json.loads(gateway.command("reload").stdout)["error"]["message"]
        gateway.set("limits", "idle", "75.0")
        gateway.set("listen", "port", "1")
        assert "listen.port: " in gateway.command("reload").stdout
        gateway.set("listen", "port", str(gateway.port))
        assert gateway.command("reload").returncode == 0
        assert "03-0000-1111" in gateway.get("help.localhost", "/contact")[1]


def test_nobody_to_reload(sekisho: Shell, tmp_path: Path) -> None:
    """Without a server the command says so; a second server on the same directory is refused."""
    refused = sekisho("reload")
    assert refused.code == 1
    assert "nothing serves" in refused.error["message"]
    with ready(sekisho.data, tmp_path) as gateway:
        again = gateway.command("serve")
        assert again.returncode == 1
        assert f"as process {gateway.running.pid}" in again.stdout
        os.kill(gateway.running.pid, signal.SIGKILL)
        gateway.running.wait()
        # Its workers follow it; until then the command says that they do.
        until(lambda: "nothing serves" in sekisho("reload").error["message"], gateway.log)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_report_that_cannot_be_written(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """It costs the answer to ``sekisho reload``, and a line in the log; nothing else, and no later reload."""
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        in_the_way = sekisho.data / "run" / "worker-0.new"
        until(lambda: not in_the_way.exists() and _made(in_the_way), gateway.log)
        gateway.set("operator", "telephone", '"03-0000-1111"')
        assert "did not answer within 1 seconds" in gateway.command("reload", "--timeout", "1").stdout
        until(lambda: gateway.says('"reloaded"', times=workers), gateway.log)
        assert all("03-0000-1111" in gateway.get("help.localhost", "/contact")[1] for _ in range(4))
        in_the_way.rmdir()
        gateway.set("operator", "telephone", '"03-0000-2222"')
        assert gateway.command("reload").returncode == 0
        assert all("03-0000-2222" in gateway.get("help.localhost", "/contact")[1] for _ in range(4))
        assert gateway.log.read_text().count("the report in run/ cannot be written (Is a directory)") == 1


def _made(directory: Path) -> bool:
    try:
        directory.mkdir()
    except FileExistsError:  # a worker is writing
        return False
    return True


# -- stopping ------------------------------------------------------------------------------------------


def halfway(gateway: Gateway) -> ssl.SSLSocket:
    """A connection in the middle of a request that a worker has begun: it said to go on."""
    connection = tls("pickup.localhost", gateway.port, gateway.ca)
    # Of the very origin that the host says: else it is another site's page, which is answered at once.
    host = f"pickup.localhost:{gateway.port}"
    head = f"POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n"
    connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"a=1")
    return connection


@pytest.mark.parametrize("workers", [1, 2])
def test_a_running_request_is_finished(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """SIGTERM: no new connection, the request that runs gets its answer, and the exit code is 0."""
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        busy = halfway(gateway)
        os.kill(gateway.running.pid, signal.SIGTERM)
        until(lambda: gateway.says("stopping"), gateway.log)
        busy.sendall(b"&b=22")
        assert busy.recv(65_536).startswith(b"HTTP/1.1 303")
        busy.close()
        assert gateway.running.wait(60) == 0
        until(lambda: not session_of(gateway.running.pid), gateway.log)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_waits_for_nobody(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """Drain time is cut short by a second SIGTERM."""
    change(sekisho.data / FILE_NAME, {("limits", "drain"): "300.0"})
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        busy = halfway(gateway)
        os.kill(gateway.running.pid, signal.SIGTERM)
        until(lambda: gateway.says("stopping"), gateway.log)
        # Within the tests' patience, a fraction of the drain. Not at once for all: processes that make keys
        # in advance are niced, and on a busy machine take seconds until they notice that they are alone.
        ended(gateway)
        busy.close()


# -- workers -------------------------------------------------------------------------------------------


def workers_of(gateway: Gateway) -> dict[int, int]:
    reports = [json.loads(path.read_text()) for path in (gateway.data / "run").glob("worker-*.json")]
    return {state["worker"]: state["pid"] for state in reports}


@pytest.mark.slow
def test_a_dead_worker_is_replaced(sekisho: Shell, tmp_path: Path) -> None:
    """Killed, a worker is started again; meanwhile the others answer, and one of them leads."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        assert leader(gateway) in (0, 1)
        first = workers_of(gateway)
        first_leader = leader(gateway)
        os.kill(first[first_leader], signal.SIGKILL)
        for _ in range(10):
            assert gateway.get("pickup.localhost")[0] == 200
        until(lambda: workers_of(gateway)[first_leader] != first[first_leader], gateway.log, gateway.running)
        # The survivor or the newcomer: whoever looks first takes the lead over.
        until(lambda: _answers(gateway.internal) and leader(gateway) in (0, 1), gateway.log)
        until(lambda: gateway.says("again in 0.5 s"), gateway.log)
        assert ended(gateway) == 0


def leader(gateway: Gateway) -> int:
    text = get_plain(gateway.internal, "/metrics")[1]
    found = re.findall(r'(?m)^sekisho_leader\{worker="(\d)"\} 1$', text)
    return int(found[0]) if len(found) == 1 else -1


def test_workers_cap_an_address_together(sekisho: Shell, tmp_path: Path) -> None:
    """Four connections of one address are four, whoever has them; those of dead workers are none."""

    def opens() -> bool:
        with suppress(OSError):
            held.append(tls("pickup.localhost", gateway.port, gateway.ca))
            return True
        return False

    change(sekisho.data / FILE_NAME, {("limits", "connections_per_address"): "4"})
    held: list[ssl.SSLSocket] = []
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        assert [opens() for _ in range(6)] == [True] * 4 + [False] * 2
        for pid in workers_of(gateway).values():
            os.kill(pid, signal.SIGKILL)
        until(opens, gateway.log, gateway.running)
        assert [opens() for _ in range(4)] == [True] * 3 + [False]
        for each in held:
            each.close()


async def test_assertion_keys_are_followed(sekisho: Shell) -> None:
    """However long a worker runs: it publishes what one that starts now signs with, and signs alike."""
    clock = ManualClock(START)
    async with AsyncExitStack() as stack:
        deployment = open_deployment(sekisho.data, PASSPHRASE, clock=clock)
        stack.push_async_callback(deployment.close)
        now = serving.begin(deployment, Slot(rundir.run_directory(sekisho.data)), None)
        port = await now.listener.start()
        stack.push_async_callback(now.listener.stop)
        ca = sekisho.data / "servers" / "ca.pem"
        for _ in range(3):
            clock.advance(seconds=ROTATION)
            assert now.look.is_due(clock.seconds())
            await serving.renew(now)
            assert not now.look.is_due(clock.seconds())
            young = open_keys(sekisho.data, deployment.datadir.vault, clock.seconds())
            told = (await asyncio.to_thread(get, "help.localhost", port, ca, JWKS_PATH))[1]
            assert [each["kid"] for each in json.loads(told)["keys"]] == [each.kid for each in young.keys]


def test_no_worker_outlives_its_supervisor(sekisho: Shell, tmp_path: Path) -> None:
    """Killed with SIGKILL, the supervisor leaves nobody behind."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        assert ended(gateway, signal.SIGKILL) == -signal.SIGKILL


def test_nonces_work_across_workers(sekisho: Shell, tmp_path: Path) -> None:
    """A nonce of one worker is spent at any of them: no request gets badNonce for where it landed."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        table = sekisho.data / "run" / "nonces"
        assert table.stat().st_size > 1_000_000
        nonces = set()
        for _ in range(12):
            with tls("pickup.localhost", gateway.port, gateway.ca) as connection:
                connection.sendall(b"HEAD /acme/new-nonce HTTP/1.1\r\nHost: pickup.localhost\r\n\r\n")
                found = re.search(rb"(?i)replay-nonce: (\S+)", connection.recv(65_536))
                assert found
                nonces.add(found[1])
        assert len(nonces) == 12


# -- revocation by another process ---------------------------------------------------------------------


class _Upstream(BaseHTTPRequestHandler):
    """A download that never ends, and a WebSocket that only opens."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if "Upgrade" in self.headers:
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            self.end_headers()
            self.rfile.read(1)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(10**9))
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 1_000)
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_revoked_by_another_process(
    lived: dict[str, Any], upstream: int, tmp_path: Path, workers: int
) -> None:
    """``sekisho cert revoke`` ends an idle connection, a download and a WebSocket: in two seconds where it is
    quiet."""
    data = tmp_path / "data"
    shutil.copytree(lived["data"], data)
    passphrase = Path(lived["passphrase_file"]).read_text().strip()
    users = [u for u in lived["users"] if u["state"] == "active" and u["p12"]]
    one, other = (pem_of(u["p12"], u["p12_password"], tmp_path / f"{i}.pem") for i, u in enumerate(users[:2]))
    setup = Gateway(None, data, 0, 0, tmp_path / "log", {})  # type: ignore[arg-type]
    setup.set("sites", "mailbox", "[]")
    setup.set("log", "level", '"info"')
    setup.set("upstream", "addresses", f'["http://127.0.0.1:{upstream}"]')
    setup.set("upstream", "certificate", '["/api"]')
    with ready(data, tmp_path, workers=workers, passphrase=passphrase) as gateway, ExitStack() as stack:
        host = "service.localhost"

        def opened(certificate: Path, request: str) -> ssl.SSLSocket:
            made = stack.enter_context(tls(host, gateway.port, gateway.ca, certificate))
            made.sendall(request.format(host).encode())
            assert made.recv(65_536).startswith(b"HTTP/1.1 ")
            return made

        plain = "HEAD /portal HTTP/1.1\r\nHost: {}\r\n\r\n"
        socket_head = (
            "GET /api/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        ends = [
            opened(one, plain),
            opened(one, "GET /api/download HTTP/1.1\r\nHost: {}\r\n\r\n"),
            opened(one, socket_head),
        ]
        bystander = opened(other, plain)
        revoked = gateway.command("cert", "revoke", users[0]["serial"])
        done = time.monotonic()
        assert revoked.returncode == 0, revoked.stdout
        took = [_time_until_closed(each) - done for each in ends]
        assert max(took) < 60, took  # no limit of their own ends one of them as early
        bystander.sendall(plain.format(host).encode())
        assert bystander.recv(65_536).startswith(b"HTTP/1.1 ")
        status = gateway.get(host, "/api/x", one)[0]
        assert status == 403, (time.sleep(0.5), gateway.log.read_text())


def _time_until_closed(connection: ssl.SSLSocket) -> float:
    connection.settimeout(60)
    try:
        while connection.recv(65_536):
            continue
    except (ConnectionError, ssl.SSLError):
        pass
    return time.monotonic()


# -- logs and figures ----------------------------------------------------------------------------------


def test_the_log_is_lines_of_json(sekisho: Shell, tmp_path: Path) -> None:
    """One line an event, whatever visitors send; queries, passwords and cookies are in none."""
    with ready(sekisho.data, tmp_path) as gateway:
        hostile = "/a%0d%0ab%1b[31m%e2%80%a8"
        assert gateway.get("pickup.localhost", hostile + "?password=s3cretQuery")[0] == 404
        with tls("pickup.localhost", gateway.port, gateway.ca) as connection:
            body = b"request_id=s3cretField&password=s3cretField"
            head = "POST / HTTP/1.1\r\nHost: pickup.localhost\r\nCookie: __Host-pickup=s3cretCookie\r\n"
            head += f"Authorization: s3cretHeader\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            connection.recv(65_536)
        with socket.create_connection(("127.0.0.1", gateway.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stranger.recv(100)
        assert ended(gateway) == 0
        lines = [line for line in gateway.log.read_text().splitlines() if line.startswith("{")]
        events = [json.loads(line) for line in lines]
        asked = [event for event in events if event["kind"] == "access"]
        assert (asked[0]["site"], asked[0]["method"], asked[0]["path"]) == ("pickup", "GET", hostile)
        assert (asked[0]["status"], asked[0]["tls"], asked[0]["address"]) == (404, "TLSv1.3", "127.0.0.1")
        assert asked[0]["sent"] > 100
        refused = [event for event in events if event["kind"] == "connection"]
        assert refused[0]["refused"] == "handshake.failed.plaintext"
        assert refused[0]["detail"] == "http request"
        assert "s3cret" not in gateway.log.read_text()
        assert PASSPHRASE not in gateway.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_rotated_log_is_begun_anew(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """After a reload no line goes into the file that was moved away, be the reload refused or not."""
    log, old = tmp_path / "log", tmp_path / "log.1"
    change(sekisho.data / FILE_NAME, {("log", "file"): f'"{log}"'})
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        gateway.set("limits", "idle", "0")
        log.rename(old)
        assert gateway.command("reload").returncode == 1
        until(lambda: log.exists() and gateway.says("limits.idle", times=workers), old)
        assert "limits.idle" not in old.read_text()
        assert gateway.get("help.localhost")[0] == 200
        until(lambda: gateway.says('"kind":"access"'), log)
        assert '"kind":"access"' not in old.read_text()


async def test_a_full_disk_is_wrong(sekisho: Shell) -> None:
    """/readyz says so before the first write fails, and how much is left."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        assert await wrong_with(deployment, True, {}) == []
        told = await wrong_with(deployment, True, {}, room=lambda _: 3 * 2**20)
        assert told == [f"the disk of {sekisho.data} has 3 MiB left: df -h {sekisho.data}"]


async def test_a_certificate_near_its_end_is_warned_of(sekisho: Shell) -> None:
    """From 30 days before the end, with what to do; not before, and not after, when it is wrong."""
    end, day = 2_000_000_000, 86_400
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        for left, told in ((30 * day + 1, 0), (30 * day - 1, 1), (1, 1), (-1, 0)):
            found = warnings_of(deployment, {"server:a": end}, now=lambda left=left: float(end - left))  # type: ignore[misc]
            assert len(found) == told, left
        assert warnings_of(deployment, {"server:a": end}, now=lambda: end - 9.0 * day) == [
            "the certificate server:a ends in 9 days: sekisho reload"
        ]


@pytest.mark.slow
def test_health_and_figures(sekisho: Shell, tmp_path: Path) -> None:
    """The internal port answers three pages on loopback; the figures tell what has happened, of nobody."""
    with ready(sekisho.data, tmp_path) as gateway:
        assert gateway.get("help.localhost")[0] == 200
        assert gateway.get("service.localhost")[0] == 403
        assert gateway.command("reload").returncode == 0
        gateway.set("limits", "idle", "0")
        assert gateway.command("reload").returncode == 1
        assert get_plain(gateway.internal, "/healthz") == (200, '{"status": "ok"}\n')
        assert json.loads(get_plain(gateway.internal, "/readyz")[1]) == {
            "status": "ready",
            "wrong": [],
            "warnings": [],
        }
        assert get_plain(gateway.internal, "/other")[0] == 404
        text = get_plain(gateway.internal, "/metrics")[1]
        for expected in (
            'sekisho_handshakes_total{outcome="done",worker="0"} 2',
            'sekisho_requests_total{site="help",method="GET",status="2xx",worker="0"} 1',
            'sekisho_presented_certificates_total{site="service",state="none",worker="0"} 1',
            'sekisho_request_seconds_count{site="service",worker="0"} 1',
            'sekisho_reloads_total{outcome="done",worker="0"} 1',
            'sekisho_reloads_total{outcome="refused",worker="0"} 1',
            "sekisho_certificates_issued_total 0",
            'sekisho_certificate_days{certificate="root"} ',
            'sekisho_certificate_days{certificate="server:pickup.localhost"} ',
            "sekisho_mails_waiting 0",
        ):
            assert expected in text
        for line in text.splitlines():
            assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{(\w+=\"[^\"]*\",?)+\})? -?[0-9.e+]+", line), line
