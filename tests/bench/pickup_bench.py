"""Pick-ups with a PKCS#12 per second, what others feel meanwhile, and resident memory.

Run as ``python -m tests.bench.pickup_bench [--people N]``: a real ``sekisho serve`` on one core, its
users on the other. Fifty people fetch their certificates at once (login, Submit, Download; RSA-2048,
標準形式) while a visitor loads the login page again and again.
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
from email import message_from_bytes, policy
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver

from tests.bench.tls_bench import cpu, resident
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
    people = parser.parse_args().people
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        environment = os.environ | {"SEKISHO_PASSPHRASE": PASSPHRASE, "SEKISHO_DATA": str(folder / "data")}
        prepare(folder, port, people, environment)
        cores = sorted(os.sched_getaffinity(0))
        with started(
            [SEKISHO, "serve"],
            stderr=subprocess.DEVNULL,  # its log
            env=environment,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {cores[0]}),
        ) as server:
            os.sched_setaffinity(0, {cores[-1]})
            asyncio.run(measure(folder, port, people, server.pid))


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
        before, started = cpu(pid), time.perf_counter()
        sizes = await asyncio.gather(*(pick_up(tls, origin, letter) for letter in letters))
        seconds, spent = time.perf_counter() - started, cpu(pid) - before
        done.set()
        busy = await watching
    after = resident(pid)
    open_memory = await memory_with_connections(tls, port, pid)
    assert all(size > 2_000 for size in sizes)
    rows = {
        "pick-ups with a P12 per second": f"{people / seconds:.1f}",
        "CPU per pick-up (ms, workers included)": f"{spent / people * 1000:.0f}",
        "login page, quiet: p50 / p99 (ms)": times(quiet),
        f"login page during {people} pick-ups: p50 / p99 (ms)": times(busy),
        "resident memory with workers, idle (MiB)": f"{idle / 1024:.0f}",
        "the same after the pick-ups (MiB)": f"{after / 1024:.0f}",
        f"the same with {OPEN_CONNECTIONS} open connections (MiB)": f"{open_memory / 1024:.0f}",
    }
    for name, value in rows.items():
        print(f"{name:55} {value}")


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
