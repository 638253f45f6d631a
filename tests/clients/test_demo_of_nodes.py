"""``make demo NODES=2 DATABASE=postgres``: the manual's flow through its balancer while parts are killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.demo import parts
from gateway.demo.letters import delivered
from gateway.demo.words import parts_lines
from gateway.serving.config import FILE_NAME
from tests import databases
from tests.cli.conftest import Shell
from tests.cli.processes import SEKISHO, typed
from tests.clients.demo import Demo, missing, run, running
from tests.gateway.sites.kit import Here, Page, Visitor, client_context
from tests.started import session_of

_CLIENT = SEKISHO.with_name("sekisho-client")
_PATIENCE = 120.0
_WORDS = ("--nodes", "2", "--database", "postgres")


pytestmark = [databases.NEEDED, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where PostgreSQL's user gets to as well: not to pytest's own directories."""
    with tempfile.TemporaryDirectory(prefix="sekisho-test-", dir="/tmp") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def _summary(demo: Demo) -> dict[str, Any]:
    return dict(json.loads(demo.file.read_text()))


async def _kill(demo: Demo, name: str) -> None:
    """Until it is gone: whoever has just reached it would be cut, and would have to try again."""
    (pid,) = [each["pid"] for each in _summary(demo)["nodes"] if each["name"] == name]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(_PATIENCE):
        while session_of(pid):
            await asyncio.sleep(0.01)


async def _again(demo: Demo, pids: Callable[[dict[str, Any]], object]) -> None:
    """Has what was killed started again, and waits for it."""
    before = pids(_summary(demo))
    os.kill(demo.summary["pid"], signal.SIGUSR1)
    async with asyncio.timeout(_PATIENCE):
        while not demo.file.exists() or pids(_summary(demo)) == before:
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_one_node_is_killed_and_nobody_notices(place: Path) -> None:
    """A person picks up and logs in, a program enrolls and renews, and of two nodes one is dead in the midst
    of it; then the database dies, and both come back. At the end nothing is left."""
    with running(place, *_WORDS) as demo:
        told = demo.summary
        assert [each["name"] for each in told["nodes"]] == ["node-1", "node-2"]
        assert told["database"].startswith("postgresql://")
        client = _Client(demo, place)
        client.enroll()

        async with _People(demo, place) as people:
            user = demo.user("SHINKI01")
            page = await people.at("pickup").post(
                "/login", {"user_id": user["user_id"], "password": user["issue_password"]}
            )
            assert (page.status, page.path) == (200, "/menu")
            await _kill(demo, "node-1")
            typed = {"request_id": user["request_id"], "password": "pw", "confirmation": "pw"}
            page = await people.at("pickup").post("/certificate", typed | {"form": "standard"})
            got = await people.at("pickup").get(page.main.all("form")[0].attributes["action"])
            assert (got.status, got.headers["Content-Type"]) == (200, "application/x-pkcs12")
            visitor = people.with_certificate(got.body)
            page = await visitor.post(
                "/login", {"user_id": user["user_id"], "password": user["login_password"]}
            )
            assert page.status == 200
            client.renew()

            await _again(demo, lambda now: now["nodes"][0]["pid"])
            await _kill(demo, "node-2")
            # It shows the same letters, and its clock is the same.
            inbox = await _reloaded(people.at("mailbox"))
            assert inbox.status == 200
            assert f"{user['user_id'].lower()}@example.jp" in inbox.html
            os.kill(told["database_pid"], signal.SIGKILL)
            await _again(demo, lambda now: (now["database_pid"], now["nodes"][1]["pid"]))
            client.renew()
        assert len(demo.sekisho("node", "list")["nodes"]) == 2
        assert delivered(Path(told["nodes"][1]["data"]) / "outbox")
        pids = [each["pid"] for each in (*_summary(demo)["nodes"], _summary(demo)["balancer"])]
        pids += [_summary(demo)["database_pid"]]
        os.kill(told["pid"], signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE):
            while any(session_of(each) for each in (*pids, told["pid"])):
                await asyncio.sleep(0.1)
    assert not _memory_of(told)


@pytest.mark.slow
async def test_what_its_lines_and_the_operators_commands_say(place: Path) -> None:
    """Frozen parts go on, one that cannot be started is told of and is nobody else's end, a second demo is
    refused, and each node is a data directory like any other: it reloads, and doctor is content with it."""
    with running(place, *_WORDS, may_fail=True) as demo:
        told = demo.summary
        first, second = told["nodes"]
        for pid in (first["pid"], told["database_pid"]):
            os.kill(pid, signal.SIGSTOP)
        os.kill(told["balancer"]["pid"], signal.SIGKILL)
        await _again(demo, lambda now: now["balancer"]["pid"])
        assert _summary(demo)["nodes"] == told["nodes"]
        assert _summary(demo)["database_pid"] == told["database_pid"]
        assert demo.sekisho("user", "list")["users"]

        another = "another directory with --data DIR"
        for words in (_WORDS, ()):
            ran = typed("demo", "--port", "0", "--data", str(place / "data"), *words)
            assert (ran.returncode, ran.stderr.rstrip().endswith(another)) == (1, True), ran.stderr
        ran = typed("demo", "--port", "0", "--data", first["data"])
        whole = f"sekisho demo --nodes 2 --database postgres --data {place / 'data'}"
        assert (ran.returncode, ran.stderr.rstrip().endswith(whole)) == (1, True), ran.stderr
        ran = typed("serve", "--data", first["data"], "--passphrase-file", told["passphrase_file"])
        assert (ran.returncode, "sekisho serve runs on" in ran.stderr) == (1, True), ran.stderr

        for each in told["nodes"]:
            ran = typed("reload", "--data", each["data"])
            assert (ran.returncode, ran.stdout) == (0, "reloaded (1 process)\n"), ran.stderr
        ran = typed("reload", "--data", str(place / "data"))
        words = ran.stderr.rstrip()
        assert (ran.returncode, words.endswith(f"--data {first['data']}")) == (1, True), words
        found = {each["check"]: each for each in demo.sekisho("doctor")["checks"]}
        assert [each for each in found.values() if each["state"] == "bad"] == []
        assert found["serve"]["found"] == f"a demo: {whole}"

        # The database is away, and a node starts.
        os.kill(told["database_pid"], signal.SIGKILL)
        ran = subprocess.run(
            [sys.executable, "-m", "gateway.demo.node", second["data"]], capture_output=True, text=True
        )
        assert (ran.returncode, "Traceback" in ran.stderr) == (1, False)
        await _kill(demo, "node-2")
        settings = Path(second["data"]) / FILE_NAME
        right = settings.read_text()
        settings.write_text(right + "[nonsense]\n")
        await _again(demo, lambda now: now["nodes"][1]["pid"])
        log = place / "log"
        async with asyncio.timeout(_PATIENCE):
            while "node-2 has ended" not in log.read_text():
                await asyncio.sleep(0.1)
        assert "Traceback" not in Path(second["log"]).read_text()
        settings.write_text(right)
        await _again(demo, lambda now: now["nodes"][1]["pid"])
        assert len(demo.sekisho("node", "list")["nodes"]) == 2


async def _reloaded(visitor: Visitor) -> Page:
    """As somebody does it until the balancer has found out who is there again."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                return await visitor.get("/")
            await asyncio.sleep(0.2)


def _memory_of(told: dict[str, Any]) -> bool:
    """Whether a segment is left of the server that was killed (`man 5 proc`, sysvipc/shm)."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return any(line.split()[4] == str(told["database_pid"]) for line in lines)


class _Client:
    """The program that is ours."""

    def __init__(self, demo: Demo, place: Path) -> None:
        self._demo, self._folder = demo, place / "client"
        (place / "eab.json").write_text(json.dumps({"credentials": demo.credentials("RIYOU001")}))
        self._file = place / "eab.json"

    def enroll(self) -> None:
        trust = ("--directory", self._demo.directory, "--ca-file", str(self._demo.ca_file))
        run(
            [_CLIENT, "enroll", *trust, "--credentials", self._file, "--dir", self._folder], timeout=_PATIENCE
        )

    def renew(self) -> None:
        run([_CLIENT, "renew", "--force", "--dir", self._folder], timeout=_PATIENCE)


class _People:
    """Somebody's browser: each request on a connection of its own, and so at whichever node."""

    def __init__(self, demo: Demo, path: Path) -> None:
        self._demo, self._path = demo, path
        self._visitors: dict[str, Visitor] = {}

    async def __aenter__(self) -> _People:
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._visitors.values():
            await each.session.close()

    def at(self, site: str) -> Visitor:
        if site not in self._visitors:
            self._visitors[site] = self._visitor(site, ssl.create_default_context(cafile=self._demo.ca_file))
        return self._visitors[site]

    def with_certificate(self, p12: bytes) -> Visitor:
        context = client_context(self._demo.ca_file.read_bytes(), p12, "pw", self._path)
        self._visitors["service"] = self._visitor("service", context)
        return self._visitors["service"]

    def _visitor(self, site: str, context: ssl.SSLContext) -> Visitor:
        connector = aiohttp.TCPConnector(ssl=context, resolver=Here(), force_close=True)
        return Visitor(
            aiohttp.ClientSession(connector=connector), self._demo.summary["sites"][site].rstrip("/")
        )


def test_nodes_want_a_server(tmp_path: Path) -> None:
    """Where no database is named that they could share, and where a plain demo is."""
    shell = Shell(tmp_path / "data")
    refused = shell("demo", "--nodes", "2", "--data", str(tmp_path / "data"))
    assert (refused.code, "--database postgres" in refused.error["message"]) == (1, True)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "demo.json").write_text("{}")
    refused = shell("demo", *_WORDS, "--data", str(tmp_path / "demo"))
    assert (refused.code, "--data DIR" in refused.error["message"]) == (1, True)
    # By its name alone nothing is a demo's.
    for name in ("letter.txt", "node-exporter", "node-1", "postgresql"):
        other = tmp_path / f"with {name}"
        (other / name).mkdir(parents=True)
        refused = shell("demo", *_WORDS, "--data", str(other))
        assert (refused.code, f"has {name} in it" in refused.error["message"]) == (1, True)
        assert [each.name for each in other.iterdir()] == [name]


def test_a_cluster_whose_making_was_killed(place: Path) -> None:
    """Is made anew, and is there as a whole or not at all."""
    cluster = parts.Cluster(place / "data", place / "socket", parts.programs().postgresql, place / "log")
    cluster.socket.mkdir()
    (place / "data.new").mkdir()
    (place / "data.new" / "PG_VERSION").write_text("15")
    cluster.made()
    assert (cluster.folder / "global" / "pg_control").exists()
    assert not (place / "data.new").exists()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the names of Debian's packages."""
    monkeypatch.setattr(parts, "_PROGRAMS", tmp_path)
    refused = Shell(tmp_path / "data")("demo", *_WORDS, "--data", str(tmp_path / "data"))
    assert (refused.code, refused.error["message"].endswith("apt install postgresql")) == (1, True)
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_a_directory_that_the_server_s_user_cannot_get_to(place: Path) -> None:
    """Is refused with what to do, and nothing stays."""
    (place / "closed").mkdir(mode=0o700)
    refused = Shell(place)("demo", *_WORDS, "--data", str(place / "closed" / "data"))
    assert (refused.code, "name one with --data DIR" in refused.error["message"]) == (1, True)
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(place) not in shown


def test_each_part_is_printed_with_how_to_kill_it() -> None:
    """What the summary has for a script people read: every process, and how it is ended."""
    node = {"name": "node-1", "address": "127.0.0.1", "port": 1, "pid": 11, "log": "/log"}
    summary = {
        "port": 443, "ca_file": "/ca.pem", "sites": {"help": "https://help.localhost"},
        "balancer": {"pid": 12, "configuration": "/haproxy.cfg"}, "nodes": [node],
        "database": "postgresql://", "database_pid": 13, "database_log": "/log",
        "data": "/data", "passphrase_file": "/passphrase",
    }  # fmt: skip
    said = "\n".join(parts_lines(summary, 14))
    assert [f"kill it: kill -9 {each}" in said for each in (11, 12, 13)] == [True] * 3
    assert "kill -USR1 14" in said
