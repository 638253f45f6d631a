"""Two nodes behind a balancer, a primary and its replica, and whatever can go wrong with them, at random.

Run as ``python -m tests.chaos [--seconds 600] [--seed N] [--only FAULT ...] [--plant WHAT]``; exit code 1 if
anything was found. Meanwhile people and programs enroll, renew, log in, use what is behind, and are revoked.
The same seed deals the same faults in the same order, each once before any comes again, and all of them in
the shortest run. ``--plant`` runs the nodes on a copy of the product in which something is broken
(``plants.toml``), which the check that is for it has to find. As root, for a small disk of each node.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg

from gateway.demo.parts import programs as found_programs
from tests import wires
from tests.bench.acme_load import Target
from tests.chaos.findings import CHECKS, End, Record, Taken, findings
from tests.chaos.plants import PLANTED, plant
from tests.chaos.schedule import Fair
from tests.chaos.visitors import Bad, Over, Work, listed, people, programs, reader
from tests.chaos.world import FAULTS, World, disturb
from tests.cli.conftest import Shell
from tests.mailserver import MailServer
from tests.mutants.faults import load
from tests.ports import free_port
from tests.started import started_async

_ORGANISATION, _PROGRAM = "12345678", "K12345678"
# How many programs, and people who are there from the beginning; seconds until another one comes.
_PROGRAMS, _PEOPLE, _APART = 3, 6, 15.0
# Seconds after the last fault in which everybody gets what they have asked for: what a node has begun another
# one ends after a minute and a half at most (`enroll.scheduler`), and a letter that it was handing over when
# it died is given up after two minutes (`enroll.mail.store.LEASE`), for an operator to let go.
_AFTERWARDS = 160.0
# The same where something is planted: until it shows.
_SHOWS = 60.0
# Seconds for one answer then.
_ANSWER = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", choices=FAULTS, nargs="+", default=list(FAULTS), metavar="FAULT")
    plants = [each.id for each in load([PLANTED])]
    parser.add_argument("--plant", choices=plants, help="break this in the product: a check has to find it")
    parser.add_argument("--keep", action="store_true", help="leave logs and data where they are")
    options = parser.parse_args()
    # What was begun is ended, and what was mounted is taken away, by whatever it is stopped.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    # PostgreSQL's user has to get there, and the paths of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        record, end = asyncio.run(_run(folder, options))
    finally:
        if options.keep:
            print(f"logs: {folder}")
        else:
            subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)
    print("faults:", ", ".join(f"{n} {name}" for name, n in Counter(e.name for e in record.faults).items()))
    print("seen:", ", ".join(f"{count} {what}" for what, count in sorted(record.counts.items())))
    found = findings(record, end)
    for name, words in found:
        print(f"FOUND ({name}) {words}")
    for name, check in CHECKS.items():
        wrong = sum(each == name for each, _ in found)
        print(f"{name:13} {check.count(record, end):6} {check.things}: {wrong or 'nothing'} found")
    print(f"{len(found)} findings; seed {options.seed}, {len(record.faults)} faults", flush=True)
    return 1 if found else 0


async def _run(folder: Path, options: argparse.Namespace) -> tuple[Record, End]:
    chance, record, fair = random.Random(options.seed), Record(), Fair()
    if options.plant:
        print(f"planted: lets {plant(options.plant, folder / 'product')}", flush=True)
    with ExitStack() as stack:
        mail = _Mail(record)
        stack.enter_context(mail.in_a_thread())
        upstream = stack.enter_context(_Behind(("127.0.0.1", 0), _Upstream))
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        stack.callback(upstream.shutdown)
        between = stack.enter_context(wires.apart())
        world = World(folder, found_programs(), between, record, fair, free_port())
        stack.callback(world.end)
        beside = [asyncio.create_task(fair.measure())]
        await world.begin(upstream.server_address[1], mail.port)
        target, paths = await asyncio.to_thread(_peopled, world)
        await world.serve()
        print("everything serves; from now on it goes wrong", flush=True)
        work = Work(world, random.Random(options.seed + 1), mail.told, fair)
        visitors = await programs(work, target, folder)
        visitors.append(asyncio.create_task(people(work, _ORGANISATION, folder, _PEOPLE, _APART)))
        reading = asyncio.create_task(reader(work, paths))
        beside += [asyncio.create_task(each) for each in (world.keep(), mail.watched())]
        await disturb(world, chance, options.only, options.seconds, lambda line: print(line, flush=True))
        print("nothing is wrong any more", flush=True)
        work.last = fair() + (_SHOWS if options.plant else _AFTERWARDS)
        work.stop.set()
        said = await asyncio.gather(*map(world.back, world.nodes))
        nodes = dict(zip(world.nodes, said, strict=True))
        for outcome in await asyncio.gather(*visitors, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Over | Bad):
                record.refused.append(f"a visitor of the chaos ended: {outcome!r}")
        await reading
        end = await _end(world, nodes, paths)
        print(f"the machine had time for us: {fair.told}")
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    return record, end


def _peopled(world: World) -> tuple[Target, list[str]]:
    """An organisation, and credentials of programs; the paths of the lists."""
    shell = Shell(world.nodes["node-1"].data)

    def typed(*words: str) -> dict[str, object]:
        ran = shell(*words)
        if ran.code:
            raise RuntimeError(f"{words}: {ran.out}{ran.err}")
        return dict(ran.value)

    typed("org", "add", _ORGANISATION, "Chaos")
    typed("user", "add", _ORGANISATION, "Taro", "taro@example.jp", "--user-id", _PROGRAM)
    made = shell("eab", "create", _PROGRAM, "--count", str(_PROGRAMS), "--quota", "100000").value
    lists = [each["crl_url"] for each in shell("ca", "list").value["cas"] if each.get("crl_url")]
    credentials = made["credentials"]
    target = Target(
        f"https://pickup.localhost:{world.front}/acme/directory",
        str(world.ca_file),
        0,
        credentials[0]["identifiers"][0]["value"],
        tuple((each["kid"], urlsafe_b64decode(each["hmac_key"] + "==")) for each in credentials),
    )
    return target, ["/" + url.split("/", 3)[3] for url in lists]


class _Mail(MailServer):
    """Takes every letter, and writes down when."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        self._taken = 0

    def told(self, recipient: str, label: str) -> str | None:
        """What the newest letter to somebody says after a label."""
        self.note()
        for message in reversed(self.accepted):
            if message["To"] == recipient:
                for line in message.get_content().splitlines():
                    if line.startswith(label + "："):
                        return str(line.partition("：")[2])
        return None

    async def watched(self) -> None:
        while True:
            self.note()
            await asyncio.sleep(0.1)

    def note(self) -> None:
        """Into the record, what has come since."""
        for message in self.accepted[self._taken :]:
            digest = hashlib.sha256(message.get_content().encode()).hexdigest()
            told = message["Message-ID"], message["To"], message["Subject"], digest
            self._record.letters.append(Taken(time.monotonic(), *told))
            self._taken += 1


class _Behind(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: connections that are cut are what this is about."""


class _Upstream(BaseHTTPRequestHandler):
    """The service behind."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        return


async def _end(world: World, nodes: dict[str, str], paths: list[str]) -> End:
    """How it stands; what was begun is ended by the next look of the node that leads, and what was revoked is
    on the next list."""
    # Where somebody has waited in vain this has, too.
    until = world.fair() + (0 if world.record.waiting or any(nodes.values()) else _AFTERWARDS)
    revoked = world.record.revoked.keys()
    while True:
        certificates, lines = await _register(world)
        patience = _ANSWER * world.fair.mean
        lists = {name: await listed(world, node, paths, patience) for name, node in world.nodes.items()}
        ended = not any(status == "reserved" for _, _, status in certificates)
        told = all(revoked <= serials for name, serials in lists.items() if not nodes[name])
        if (ended and told) or world.fair() > until:
            break
        await asyncio.sleep(1)
    code, said = await _typed(world, "audit", "verify")
    return End(certificates, "" if code == 0 else said, lines, nodes, lists)


async def _register(world: World) -> tuple[list[tuple[str, str | None, str]], int]:
    """Serial, fingerprint and status of every certificate; how many lines the audit trail has."""
    connection = await asyncpg.connect(world.url, timeout=20)
    try:
        rows = await connection.fetch("SELECT serial, fingerprint, status FROM certificates")
        lines = await connection.fetchval("SELECT count(*) FROM audit")
    finally:
        await connection.close()
    return [(each[0], each[1], each[2]) for each in rows], int(lines)


async def _typed(world: World, *words: str) -> tuple[int, str]:
    data, secret = world.nodes["node-1"].data, world.folder / "passphrase"
    command = [str(Path(sys.executable).with_name("sekisho")), *words, "--data", str(data)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    async with started_async([*command, "--passphrase-file", str(secret)], **pipes) as running:
        said, _ = await running.communicate()
    return running.returncode or 0, said.decode()


if __name__ == "__main__":
    sys.exit(main())
