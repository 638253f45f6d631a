"""Two nodes behind HAProxy that are stopped and started one after the other, as `docs/operations/nodes.md`
says, while people and programs ask for things: what they get is counted."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import ssl
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.demo.parts import BALANCER, Behind, Part, balanced
from gateway.demo.parts import programs as found_programs
from gateway.running import rundir
from gateway.serving.config import FILE_NAME, read_config, toml_of
from gateway.serving.rates import Rates
from gateway.serving.settings.behind import Behind as Upstream
from tests import databases
from tests.bench.acme_load import Target
from tests.chaos.findings import Record
from tests.chaos.schedule import Fair
from tests.chaos.visitors import Work, programs
from tests.chaos.world import Node, World
from tests.cli.conftest import Shell
from tests.cli.processes import SEKISHO, get_plain
from tests.datadirs import PASSPHRASE
from tests.mutants.faults import ROOT
from tests.ports import free_port
from tests.started import started_async

pytestmark = [
    databases.NEEDED,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is missing"),
]

# How many requests take long, and for how many seconds at least after a node was told to end, of the ten that
# it gives to what runs.
_LONG, _LOOKS = 4, 3.0
# Seconds for an answer, and between two tries of what was cut or refused with 503.
_ANSWER, _AGAIN = 20.0, 0.2
_GONE = (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError, ValueError, IndexError)
_PRODUCT = ("ca", "enroll", "gateway")
_STEP = 'Step("campaigns", _CAMPAIGNS),'
# What a newer version would bring: a table of its own, and a column in the one that everybody writes to.
_NEWER = (
    'Step("rolled", ("CREATE TABLE rolled (number INTEGER NOT NULL)",'
    ' "ALTER TABLE certificates ADD COLUMN rolled INTEGER",'
    ' "CREATE INDEX certificates_rolled ON certificates (rolled) WHERE rolled IS NOT NULL")),'
)


@dataclass
class _Seen:
    """What good requests got, by their kind: answers, and what came of those that got none at first."""

    answered: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    later: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def told(self) -> str:
        return "; ".join(
            f"{kind}: {count} answered, {self.cut[kind]} cut, {self.later[kind]} with 503, "
            f"the slowest after {self.slowest[kind]:.1f} s"
            for kind, count in sorted(self.answered.items())
        )


@dataclass
class _Asker:
    """Asks by TLS through the balancer, again until there is an answer."""

    world: World
    seen: _Seen
    wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, kind: str, host: str, path: str, pem: Path | None = None, *, kept: bool = False
    ) -> None:
        begun = time.monotonic()
        while True:
            status = 0
            try:
                async with asyncio.timeout(_ANSWER):
                    status = await self._answer(host, path, pem)
            except _GONE:
                self.seen.cut[kind] += 1
            if status == 0 or not kept:
                self.close()
            if status == 200:
                break
            if status == 503:
                self.seen.later[kind] += 1
            elif status:
                self.seen.wrong.append(f"{kind}: {status}")
                return
            await asyncio.sleep(_AGAIN)
        self.seen.answered[kind] += 1
        took = time.monotonic() - begun
        self.seen.slowest[kind] = max(took, self.seen.slowest.get(kind, 0.0))

    async def _answer(self, host: str, path: str, pem: Path | None) -> int:
        if self.wire is None:
            context = ssl.create_default_context(cafile=str(self.world.ca_file))
            if pem is not None:
                context.load_cert_chain(pem)
            self.wire = await asyncio.open_connection(
                "127.0.0.1", self.world.front, ssl=context, server_hostname=host
            )
        reader, writer = self.wire
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{self.world.front}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(int(length.split(":")[1]))
        if "connection: close" in head:
            self.close()
        return int(head.split(" ")[1])

    def close(self) -> None:
        if self.wire is not None:
            self.wire[1].transport.abort()
            self.wire = None


async def _pages(world: World, seen: _Seen, stop: asyncio.Event, *, kept: bool) -> None:
    asker = _Asker(world, seen)
    kind = "page on a kept connection" if kept else "page on a connection of its own"
    while not stop.is_set():
        await asker.ask(kind, "help.localhost", "/", kept=kept)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.02)
    asker.close()


class _Behind(ThreadingHTTPServer):
    """The service behind. ``busy``: how many requests wait for it to ``go_on``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.busy, self.go_on = 0, threading.Event()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Behind

    def do_GET(self) -> None:
        if self.path.endswith("/long"):
            self.server.busy += 1
            self.server.go_on.wait(60)
            self.server.busy -= 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def handle(self) -> None:
        with suppress(OSError):  # a node that ends lets go of its connections
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def _upstream() -> Iterator[_Behind]:
    with _Behind() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()


@contextmanager
def _served(first: Path, tmp_path: Path, behind: _Behind, workers: int) -> Iterator[World]:
    """Two nodes and HAProxy, as the document has them."""
    with ExitStack() as stack:
        world = World(tmp_path, found_programs(), None, Record(), Fair(), free_port())  # type: ignore[arg-type]
        (tmp_path / "passphrase").write_text(PASSPHRASE)
        alike = read_config(first)
        for name in ("node-1", "node-2"):
            data = first if name == "node-1" else tmp_path / name
            if name == "node-2":
                assert Shell(data)("node", "join", "--from", str(first)).code == 0
            at = Behind(name, free_port(), free_port(), free_port())
            config = replace(
                alike,
                listen=replace(
                    alike.listen, port=at.port, public_port=world.front, proxy_protocol=(BALANCER,)
                ),
                internal=replace(alike.internal, port=at.internal),
                revocation=replace(alike.revocation, port=at.plain),
                database=replace(alike.database, url=databases.url_of(tmp_path / "shared")),
                protocol=replace(alike.protocol, quota=100_000),
                signer=replace(alike.signer, per_hour=1_000_000),
                rates=Rates(100_000.0, 100_000.0, 100_000.0, 100_000.0),
                upstream=Upstream(
                    addresses=(f"http://127.0.0.1:{behind.server_port}",), certificate=("/api",)
                ),
            )
            (data / FILE_NAME).write_text(toml_of(config))
            words = [SEKISHO, "serve", "--data", data, "--passphrase-file", tmp_path / "passphrase"]
            part = Part(name, [*words, "--workers", str(workers)], tmp_path / f"{name}.log")
            stack.callback(part.end)
            world.nodes[name] = Node(name, data, at, part)
        file = tmp_path / "haproxy.cfg"
        both = [each.behind for each in world.nodes.values()]
        file.write_text(balanced(f"127.0.0.1:{world.front}", f"127.0.0.1:{free_port()}", both))
        world.balancer = Part("haproxy", [world.found.haproxy, "-db", "-f", file], tmp_path / "haproxy.log")
        stack.callback(world.balancer.end)
        yield world


@asynccontextmanager
async def _loaded(world: World, tmp_path: Path) -> AsyncIterator[tuple[_Seen, Path]]:
    """Everybody asks, from the moment at which all serves until the end of the block; and a certificate."""
    target = await asyncio.to_thread(_credentials, world)
    await world.serve()
    measuring = asyncio.create_task(world.fair.measure())
    work = Work(world, random.Random(7), lambda *_: None, world.fair)
    seen = _Seen()
    askers = await programs(work, target, tmp_path)
    askers += [
        asyncio.create_task(_pages(world, seen, work.stop, kept=kept)) for kept in (True, False, False)
    ]
    try:
        # The second of a program, which is not revoked.
        pem = tmp_path / "program-1-2.pem"
        async with asyncio.timeout(60):
            while "page on a kept connection" not in seen.answered or not pem.exists():
                await asyncio.sleep(0.1)
        yield seen, pem
        work.stop.set()
        await asyncio.wait_for(asyncio.gather(*askers), 60)
    finally:
        for each in (*askers, measuring):
            each.cancel()
        await asyncio.gather(*askers, measuring, return_exceptions=True)


def _credentials(world: World) -> Target:
    shell = Shell(world.nodes["node-1"].data)
    for words in (
        ("org", "add", "12345678", "Rolling"),
        ("user", "add", "12345678", "Taro", "taro@example.jp", "--user-id", "K12345678"),
    ):
        assert shell(*words).code == 0
    made = shell("eab", "create", "K12345678", "--count", "2", "--quota", "100000").value["credentials"]
    return Target(
        f"https://pickup.localhost:{world.front}/acme/directory",
        str(world.ca_file),
        0,
        made[0]["identifiers"][0]["value"],
        tuple((each["kid"], urlsafe_b64decode(each["hmac_key"] + "==")) for each in made),
    )


async def _stopped(world: World, name: str, seen: _Seen, behind: _Behind, pem: Path) -> None:
    """By SIGTERM, as systemd does it, while requests that take long are on their way on each node."""
    wanted = ("request that takes long", "service.localhost", "/api/long", pem)
    behind.go_on.clear()
    asking = [asyncio.create_task(_Asker(world, seen).ask(*wanted)) for _ in range(_LONG)]
    await asyncio.to_thread(_until, lambda: behind.busy == _LONG)
    running = world.nodes[name].part.running
    assert running is not None
    running.terminate()
    # By then the balancer has looked for the node several times.
    await asyncio.sleep(_LOOKS)
    behind.go_on.set()
    assert await asyncio.to_thread(running.wait, 60) == 0, world.nodes[name].part.log.read_text()
    await asyncio.gather(*asking)


def _until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def _is_there(node: Node) -> bool:
    with suppress(OSError, HTTPException):
        return get_plain(node.behind.internal, "/healthz")[0] == 200
    return False


async def _started(world: World, name: str) -> None:
    """As an operator does who looks whether it is well before the next one's turn."""
    world.nodes[name].part.start()
    assert await world.back(name) == ""
    assert json.loads((await _typed(world, name, "doctor"))[1])["checks"]
    code, told = await _typed(world, name, "node", "list")
    assert (code, len(json.loads(told)["nodes"])) == (0, 2)


async def _typed(world: World, name: str, *words: str) -> tuple[int, str]:
    """Of the version that is there now, as whoever starts a node finds it."""
    command = [SEKISHO, *words, "--data", world.nodes[name].data, "--json"]
    secret = ("--passphrase-file", world.folder / "passphrase")
    async with started_async([*command, *secret], stdin=-3, stdout=-1, stderr=-3, cwd="/") as running:
        said, _ = await running.communicate()
    return running.returncode or 0, said.decode()


def _judged(world: World, seen: _Seen, capsys: pytest.CaptureFixture[str]) -> None:
    record = world.record
    with capsys.disabled():
        print(f"\n{seen.told}; programs: {record.answered} requests answered, {dict(record.counts)}")
    assert (seen.wrong, record.refused, record.waiting, record.twice) == ([], [], {}, [])
    assert record.counts["certificates of programs"] > 4


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_one_after_the_other(
    sekisho: Shell, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every good request is answered, or cut or refused with 503 and answered when it is repeated; whoever
    waits for something that takes long gets it from the node that stops."""
    with _upstream() as behind, _served(sekisho.data, tmp_path, behind, workers) as world:
        async with _loaded(world, tmp_path) as (seen, pem):
            for name in world.nodes:
                await _stopped(world, name, seen, behind, pem)
                await _started(world, name)
        _judged(world, seen, capsys)
        assert seen.cut["request that takes long"] == 0


@pytest.mark.slow
async def test_a_version_that_changes_the_tables(
    sekisho: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first node that is upgraded changes them; the older one goes on serving, but a worker or a command
    of it that begins is refused, and so is itself once it is stopped; upgraded it serves again."""
    newer = tmp_path / "newer"
    for each in _PRODUCT:
        shutil.copytree(ROOT / each, newer / each, ignore=shutil.ignore_patterns("__pycache__"))
    file = newer / "enroll" / "campaigns" / "schema.py"
    text = file.read_text()
    assert _STEP in text
    file.write_text(text.replace(_STEP, _STEP + " " + _NEWER))
    path = os.environ.get("PYTHONPATH")
    with _upstream() as behind, _served(sekisho.data, tmp_path, behind, 2) as world:
        async with _loaded(world, tmp_path) as (seen, pem):
            await _stopped(world, "node-1", seen, behind, pem)
            monkeypatch.setenv("PYTHONPATH", str(newer))
            await _started(world, "node-1")
            before = world.record.counts["certificates of programs"]
            async with asyncio.timeout(60):
                while world.record.counts["certificates of programs"] < before + 6:
                    await asyncio.sleep(0.1)
            assert world.nodes["node-2"].part.lives()
            assert await world.back("node-2") == ""
            monkeypatch.delenv("PYTHONPATH") if path is None else monkeypatch.setenv("PYTHONPATH", path)
            code, said = await _typed(world, "node-2", "node", "list")
            assert (code, "has been used by a newer sekisho" in said) == (1, True), said
            worker, *others = rundir.reports(world.nodes["node-2"].data / rundir.RUN)
            os.kill(worker["pid"], signal.SIGKILL)
            log = world.nodes["node-2"].part.log
            await asyncio.to_thread(_until, lambda: "has been used by a newer sekisho" in log.read_text())
            assert rundir.lives(others[0]["pid"])
            # The port at which the balancer looks may have been the dead one's.
            await asyncio.to_thread(_until, lambda: _is_there(world.nodes["node-2"]))
            await _stopped(world, "node-2", seen, behind, pem)
            part = world.nodes["node-2"].part
            part.start()
            assert part.running is not None
            assert await asyncio.to_thread(part.running.wait, 60) == 1
            assert "has been used by a newer sekisho (campaigns: rolled)" in part.log.read_text()
            monkeypatch.setenv("PYTHONPATH", str(newer))
            await _started(world, "node-2")
        _judged(world, seen, capsys)
        assert seen.cut["request that takes long"] == 0
