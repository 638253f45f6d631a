"""Pick-ups with a PKCS#12 per second, where their CPU goes, what others feel meanwhile, resident memory.

Run as ``python -m tests.bench.pickup_bench [--people N] [--cores 1|2]``: a real ``sekisho serve`` on one
core, its users on the other; with ``--cores 2`` both share both. Fifty people fetch their certificates at
once (login, Submit, Download; RSA-2048, 標準形式) while a visitor loads the login page again and again. Then
the floor: the cryptography of a pick-up alone, one thing after the other in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from ca.keys import generate_pkcs8
from ca.pkcs12 import ROUNDS
from ca.pkcs12kdf import MAC, derive_key
from enroll import identifiers
from enroll.people import passwords
from tests.bench.tls_bench import family, resident
from tests.ports import free_port
from tests.started import started

SEKISHO = Path(sys.executable).with_name("sekisho")
PASSPHRASE = "bench bench bench"
OPEN_CONNECTIONS = 200


class Here(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host, port=0, family=0):
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--cores", type=int, choices=(1, 2), default=1, help="that the server may have")
    options = parser.parse_args()
    people = options.people
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        environment = os.environ | {"SEKISHO_PASSPHRASE": PASSPHRASE, "SEKISHO_DATA": str(folder / "data")}
        prepare(folder, port, people, environment)
        cores = sorted(os.sched_getaffinity(0))
        theirs = {cores[0]} if options.cores == 1 else set(cores)
        with started(
            [SEKISHO, "serve"],
            stderr=subprocess.DEVNULL,  # its log
            env=environment,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, theirs),
        ) as server:
            os.sched_setaffinity(0, {cores[-1]})
            asyncio.run(measure(folder, port, people, server.pid))
    floor()


def prepare(folder: Path, port: int, people: int, environment: dict[str, str]) -> None:
    """A data directory with one organisation and so many users, whose mails wait in the queue."""
    rows = [f"K{n:07d},利用者{n},k{n}@example.jp,12345678" for n in range(people)]
    (folder / "people.csv").write_text("user_id,name,mail,policy_number\n" + "\n".join(rows) + "\n", "utf-8")
    for words in (
        ["init", "--port", str(port)],
        ["org", "add", "12345678", "霞が関商事"],
        ["user", "import", str(folder / "people.csv")],
    ):
        subprocess.run([SEKISHO, *words, "--json"], env=environment, check=True, stdout=subprocess.DEVNULL)


async def measure(folder: Path, port: int, people: int, pid: int) -> None:
    origin = f"https://pickup.localhost:{port}"
    tls = ssl.create_default_context(cafile=str(folder / "data" / "servers" / "ca.pem"))
    letters = await mails(folder / "data" / "outbox", people)
    async with session(tls) as visitor:
        await until_up(visitor, origin)
        await asyncio.sleep(3)
        idle = resident(pid)
        quiet = await page_times(visitor, origin, asyncio.Event(), count=300)
        done = asyncio.Event()
        watching = asyncio.create_task(page_times(visitor, origin, done))
        before, started = spent_by(pid), time.perf_counter()
        sizes = await asyncio.gather(*(pick_up(tls, origin, letter) for letter in letters))
        seconds, spent = time.perf_counter() - started, spent_by(pid) - before
        done.set()
        busy = await watching
    after = resident(pid)
    open_memory = await memory_with_connections(tls, port, pid)
    assert all(size > 2_000 for size in sizes)
    rows = {
        "pick-ups with a P12 per second": f"{people / seconds:.1f}",
        "CPU per pick-up (ms)": f"{spent.total() / people * 1000:.0f}",
        **{f"  of it {what}": f"{each / people * 1000:.0f}" for what, each in sorted(spent.items())},
        "login page, quiet: p50 / p99 (ms)": times(quiet),
        f"login page during {people} pick-ups: p50 / p99 (ms)": times(busy),
        "resident memory with workers, idle (MiB)": f"{idle / 1024:.0f}",
        "the same after the pick-ups (MiB)": f"{after / 1024:.0f}",
        f"the same with {OPEN_CONNECTIONS} open connections (MiB)": f"{open_memory / 1024:.0f}",
    }
    for name, value in rows.items():
        print(f"{name:55} {value}")


def spent_by(pid: int) -> Counter[str]:
    """CPU seconds up to now of the server, of its niced processes (keys, files) and of the signer."""
    found: Counter[str] = Counter()
    for each in family(pid):
        words = Path(f"/proc/{each}/cmdline").read_bytes()
        signer, niced = b"gateway.cli" in words, b"multiprocessing" in words
        own = sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{each}/task").glob("*/schedstat"))
        found["the signer's" if signer else "for keys and files" if niced else "the server's"] += own / 1e9
    return found


def floor() -> None:
    """Milliseconds of CPU of what no pick-up can do without: the mean, for keys take chance times."""
    password, salt = b"bench1", b"s" * 16
    stored = passwords.hash_drawn(identifiers.new_issue_password())
    parts: dict[str, tuple[int, Callable[[], object]]] = {
        "an RSA-2048 key": (40, lambda: generate_pkcs8("rsa-2048")),
        "PBKDF2 of a file's two bags": (
            10,
            lambda: [PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(password) for _ in range(2)],
        ),
        "the key of its MAC": (10, lambda: derive_key("sha256", "bench1", salt, MAC, 32, ROUNDS)),
        "argon2id of the issue password, twice": (
            10,
            lambda: [passwords.verify_drawn("wrong", stored) for _ in range(2)],
        ),
    }
    total = 0.0
    print("the cryptography alone (ms of CPU):")
    for name, (count, part) in parts.items():
        part()
        before = time.process_time()
        for _ in range(count):
            part()
        each = (time.process_time() - before) / count * 1000
        total += each
        print(f"  {name:53} {each:.1f}")
    print(f"  {'all of it, so at most so many a second on a core':53} {total:.1f}, {1000 / total:.0f}")


async def pick_up(tls: ssl.SSLContext, origin: str, letter: dict[str, str]) -> int:
    """One person: login, menu, Submit, Download. Returns the file's size in bytes."""
    async with session(tls) as person:
        login = {"user_id": letter["user_id"], "password": letter["issue_password"]}
        async with person.post(f"{origin}/login", data=login) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.url.path == "/menu", answer.url
        wanted = {"request_id": letter["request_id"], "password": "bench1", "confirmation": "bench1"}
        async with person.post(f"{origin}/certificate", data=wanted) as answer:
            assert answer.url.path.endswith("/download"), f"{answer.status} {answer.url}"
        async with person.get(f"{origin}/download") as answer:
            assert answer.content_type == "application/x-pkcs12", answer.url
            return len(await answer.read())


async def page_times(
    visitor: aiohttp.ClientSession, origin: str, done: asyncio.Event, count: int = 1_000_000
) -> list[float]:
    """How long the login page takes, in milliseconds, one after the other."""
    taken = []
    while len(taken) < count and not done.is_set():
        started = time.perf_counter()
        async with visitor.get(f"{origin}/") as answer:
            await answer.read()
        taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.005)
    return taken


async def memory_with_connections(tls: ssl.SSLContext, port: int, pid: int) -> float:
    """Resident KiB of the server while so many handshaken connections are open."""
    writers = []
    for _ in range(OPEN_CONNECTIONS):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="pickup.localhost"
        )
        writers.append(writer)
    await asyncio.sleep(0.5)
    found = resident(pid)
    for writer in writers:
        writer.close()
    return found


async def mails(outbox: Path, people: int) -> list[dict[str, str]]:
    """User ID, issue password and request ID out of every pick-up mail, once all are delivered."""
    for _ in range(600):
        found = sorted(outbox.glob("*-pickup.eml")) if outbox.exists() else []
        if len(found) == people:
            return [read(path) for path in found]
        await asyncio.sleep(0.1)
    raise TimeoutError("the pick-up mails were not delivered")


def read(path: Path) -> dict[str, str]:
    body = message_from_bytes(path.read_bytes(), policy=policy.default).get_content()
    pairs = dict(line.split("：", 1) for line in body.splitlines() if "：" in line)
    return {
        "user_id": pairs["ユーザーID"],
        "issue_password": pairs["証明書発行用パスワード"],
        "request_id": pairs["リクエストID"],
    }


async def until_up(visitor: aiohttp.ClientSession, origin: str) -> None:
    for _ in range(300):
        try:
            async with visitor.get(f"{origin}/"):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the server did not come up")


def session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=tls, resolver=Here())
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(120))


def times(taken: list[float]) -> str:
    quantiles = statistics.quantiles(taken, n=100)
    return f"{quantiles[49]:.1f} / {quantiles[98]:.1f}"


if __name__ == "__main__":
    main()
