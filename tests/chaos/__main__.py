"""Two nodes behind a balancer, a primary and its replica, and whatever can go wrong with them, at random.

Run as ``python -m tests.chaos [--seconds 600] [--seed N] [--only FAULT ...] [--plant WHAT]``; exit code 1 if
anything was found. Meanwhile people and programs enroll, renew, log in, use what is behind, and are revoked.
The same seed deals the same faults in the same order. ``--plant`` breaks something on purpose at the end,
which the check that is for it has to find. As root, for a small disk of each node.
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
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg

from gateway.demo.parts import programs as found_programs
from tests import wires
from tests.bench.acme_load import Target
from tests.chaos.findings import CHECKS, End, Record, Taken, findings
from tests.chaos.visitors import Work, intrude, person, programs, reader
from tests.chaos.world import FAULTS, World, disturb
from tests.cli.conftest import Shell
from tests.mailserver import MailServer
from tests.ports import free_port
from tests.started import started_async

_ORGANISATION, _PROGRAM = "12345678", "K12345678"
_PROGRAMS, _PEOPLE = 3, 6
# Seconds after the last fault in which everybody gets what they have asked for.
_AFTERWARDS = 90.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", choices=FAULTS, nargs="+", default=list(FAULTS), metavar="FAULT")
    parser.add_argument("--plant", choices=PLANTS, help="break this at the end: a check has to find it")
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
    for check, words in found:
        print(f"FOUND ({check}) {words}")
    print(f"{len(found)} findings; seed {options.seed}", flush=True)
    return 1 if found else 0


async def _run(folder: Path, options: argparse.Namespace) -> tuple[Record, End]:
    chance, record = random.Random(options.seed), Record()
    with ExitStack() as stack:
        mail = _Mail(record)
        stack.enter_context(mail.in_a_thread())
        upstream = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _Upstream))
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        stack.callback(upstream.shutdown)
        between = stack.enter_context(wires.apart())
        world = World(folder, found_programs(), between, record, free_port())
        stack.callback(world.end)
        await world.begin(upstream.server_address[1], mail.port)
        target, paths = await asyncio.to_thread(_peopled, world)
        await world.serve()
        print("everything serves; from now on it goes wrong", flush=True)
        work = Work(world, random.Random(options.seed + 1), mail.told)
        visitors = await programs(work, target, folder)
        for number in range(_PEOPLE):
            who = f"P{number:07d}", f"p{number}@example.jp"
            visitors.append(asyncio.create_task(person(work, *who, folder, leaves=number % 2 == 0)))
        reading = asyncio.create_task(reader(work, paths))
        keeping = asyncio.gather(world.keep(), mail.watched())
        await disturb(world, chance, options.only, options.seconds, lambda line: print(line, flush=True))
        print("nothing is wrong any more", flush=True)
        away = [f"{name}: {said}" for name in world.nodes if (said := await world.back(name))]
        if options.plant == "a node that stays away":
            world.dead.add("node-2")
            world.nodes["node-2"].part.end()
            away = [f"{name}: {said}" for name in world.nodes if (said := await world.back(name))]
        if options.plant == "a balancer that is gone":
            assert world.balancer is not None
            world.balancer.end()
        work.last = time.monotonic() + _AFTERWARDS
        work.stop.set()
        for outcome in await asyncio.gather(*visitors, return_exceptions=True):
            if isinstance(outcome, BaseException) and type(outcome).__name__ not in ("Over", "Bad"):
                record.refused.append(f"a visitor of the chaos ended: {outcome!r}")
        if options.plant in PLANTS:
            await PLANTS[options.plant](world, paths)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        end = await _end(world, away)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    return record, end


def _peopled(world: World) -> tuple[Target, list[str]]:
    """People, and credentials of programs; the paths of the lists."""
    shell, folder = Shell(world.nodes["node-1"].data), world.folder

    def typed(*words: str) -> dict[str, object]:
        ran = shell(*words)
        if ran.code:
            raise RuntimeError(f"{words}: {ran.out}{ran.err}")
        return dict(ran.value)

    typed("org", "add", _ORGANISATION, "Chaos")
    typed("user", "add", _ORGANISATION, "Taro", "taro@example.jp", "--user-id", _PROGRAM)
    rows = "".join(f"P{n:07d},利用者{n},p{n}@example.jp,{_ORGANISATION}\n" for n in range(_PEOPLE))
    (folder / "people.csv").write_text("user_id,name,mail,policy_number\n" + rows, "utf-8")
    typed("user", "import", str(folder / "people.csv"))
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


async def _end(world: World, away: list[str]) -> End:
    """How it stands; what was begun is ended by the next look of the node that leads."""
    statement = "SELECT serial, fingerprint, status FROM certificates"
    for _ in range(90):
        connection = await asyncpg.connect(world.url, timeout=20)
        try:
            rows = [tuple(each) for each in await connection.fetch(statement)]
        finally:
            await connection.close()
        if not any(status == "reserved" for _, _, status in rows):
            break
        await asyncio.sleep(1)
    code, said = await _typed(world, "audit", "verify")
    return End(rows, "" if code == 0 else said, away)


async def _typed(world: World, *words: str) -> tuple[int, str]:
    data, secret = world.nodes["node-1"].data, world.folder / "passphrase"
    command = [str(Path(sys.executable).with_name("sekisho")), *words, "--data", str(data)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    async with started_async([*command, "--passphrase-file", str(secret)], **pipes) as running:
        said, _ = await running.communicate()
    return running.returncode or 0, said.decode()


# -- what is broken on purpose ---------------------------------------------------------------------------

Plant = Callable[[World, list[str]], Awaitable[None]]


async def _change(world: World, statement: str, *values: object) -> None:
    connection = await asyncpg.connect(world.url, timeout=20)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


async def _other_certificate(world: World, paths: list[str]) -> None:
    serial = next(iter(world.record.issued))
    await _change(world, "UPDATE certificates SET fingerprint = $1 WHERE serial = $2", "0" * 64, serial)


async def _good_again(world: World, paths: list[str]) -> None:
    """Nodes that start anew believe the register, and let somebody in."""
    serial = next(iter(world.record.revoked))
    pem = next(each for each in world.folder.rglob("*.pem") if _is_of(each, serial))
    await _change(
        world,
        "UPDATE certificates SET status = 'issued', revoked_at = NULL, revocation_reason = NULL, "
        "change_number = NULL WHERE serial = $1",
        serial,
    )
    for node in world.nodes.values():
        world.dead.add(node.name)
        node.part.end()
        node.part.start()
        world.dead.discard(node.name)
    for name in world.nodes:
        await world.back(name)
    await intrude(world, serial, pem, 5)


def _is_of(pem: Path, serial: str) -> bool:
    from cryptography import x509

    with suppress(ValueError):
        found = x509.load_pem_x509_certificates(pem.read_bytes())
        return f"{found[0].serial_number:032x}" == serial
    return False


async def _older_list(world: World, paths: list[str]) -> None:
    """One that a node has handed out before comes again."""
    first, last = world.record.lists[0], world.record.lists[-1]
    world.record.lists.append(replace(first, node=last.node, issuer=last.issuer, number=last.number - 1))


async def _letter_again(world: World, paths: list[str]) -> None:
    """The mail server takes one that it has had, long after the last fault."""
    await asyncio.sleep(20)
    taken = world.record.letters[0]
    world.record.letters.append(replace(taken, at=time.monotonic()))


async def _line_of_audit(world: World, paths: list[str]) -> None:
    await _change(world, "UPDATE audit SET actor = 'nobody' WHERE id = (SELECT max(id) - 5 FROM audit)")


async def _nothing(world: World, paths: list[str]) -> None:
    """It was done before."""


#: What is broken on purpose.
PLANTS: Mapping[str, Plant] = {
    "another certificate": _other_certificate,
    "a revoked one that is good": _good_again,
    "an older list": _older_list,
    "a letter again": _letter_again,
    "a line of the audit trail": _line_of_audit,
    "a balancer that is gone": _nothing,
    "a node that stays away": _nothing,
}
assert len(PLANTS) == len(CHECKS)


if __name__ == "__main__":
    sys.exit(main())
