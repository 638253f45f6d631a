"""A gateway on each engine, and two on one: orders, requests behind the login, logins, pick-ups.

Run as ``python -m tests.bench.nodes_bench [--orders N] [--rounds N] [--requests N] [--people N]
[--certificates N]``. One data directory with its people, as an operator makes it, is served as it is
(SQLite), and a copy of it whose register was copied into a PostgreSQL server, by one node and by two, among
which connections are dealt. Whole requests are made, over TLS; eight clients order at once. Rounds
alternate, CPU is the kernel's count for a node's processes, and for the server's apart; PostgreSQL waits for
its disk, as SQLite does. ``--certificates 1000000`` has so many in each register before (`large`), for
which there have to be 10 GB below TMPDIR.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from gateway.serving.config import FILE_NAME, read_config, toml_of
from gateway.serving.rates import Rates
from gateway.serving.settings.behind import Behind
from tests import databases
from tests.bench import large, peers
from tests.bench.acme_load import Client, Target, prepare_csrs, run_load
from tests.bench.figures import Figures
from tests.bench.pickup_bench import session
from tests.bench.service_bench import Asked, ask, posted, spent_by
from tests.bench.tls_bench import cpu, write_pki
from tests.cli.processes import SEKISHO, pem_of, process, tls, until
from tests.ports import free_port

SQLITE, ONE, TWO = "SQLite, one node", "PostgreSQL, one node", "PostgreSQL, two nodes"
_PASSPHRASE = "bench bench bench"
_AT_ONCE, SERVICE = 8, "service.localhost"
_FILE_PASSWORD, _LOGIN, _LOGINS = "bench1", "Tegata2026", 20
_FREELY = Rates(100_000.0, 100_000.0, 100_000.0, 100_000.0)


@dataclass(frozen=True)
class Node:
    data: Path
    port: int
    pid: int

    @property
    def ca(self) -> Path:
        return self.data / "servers" / "ca.pem"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=160, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_500, help="behind the login, in each round")
    parser.add_argument("--people", type=int, default=10, help="who pick up and log in, on each")
    parser.add_argument("--certificates", type=int, default=0, help="that are there before")
    options = parser.parse_args()
    if not databases.PROGRAMS:
        sys.exit("PostgreSQL is not installed: apt install postgresql")
    found = Figures(SQLITE)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        place = Path(name)
        place.chmod(0o711)
        with databases.temporary() as cluster, cluster.running(durable=True) as server:
            nodes = _served(place, cluster, options.people, options.certificates, stack)
            if options.certificates:
                _at_rest([each for every in nodes.values() for each in every])
            print("the nodes stand", flush=True)
            asyncio.run(_measured(place, nodes, server, options, found))
            stack.close()
    found.report()


# -- what is served --------------------------------------------------------------------------------------


def typed(data: Path, *words: str) -> Any:
    command = [SEKISHO, *words, "--data", data, "--json"]
    ran = subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


def _environment() -> dict[str, str]:
    return os.environ | {"SEKISHO_PASSPHRASE": _PASSPHRASE}


def directory(place: Path, people: int, stack: ExitStack) -> tuple[Path, int]:
    """A directory with its people, and the credentials of programs beside it; where the upstream is."""
    write_pki(place)
    behind = stack.enter_context(peers.upstream(place))
    first = place / SQLITE.partition(",")[0]
    typed(first, "init", "--port", "443")
    rows = [f"P{n:07d},利用者{n},p{n}@example.jp,12345678" for n in range(people)]
    (place / "people.csv").write_text("user_id,name,mail,policy_number\n" + "\n".join(rows) + "\n", "utf-8")
    typed(first, "org", "add", "12345678", "霞が関商事")
    credentials = list[Any]()
    for number in range(_AT_ONCE):
        # Each client is a user's own: orders of one user wait for each other.
        user = f"K{number:08}"
        typed(first, "user", "add", "12345678", user, f"{user}@example.jp", "--user-id", user)
        made = typed(first, "eab", "create", user, "--quota", "100000")
        credentials += made["credentials"]
    (place / "credentials.json").write_text(json.dumps(credentials))
    typed(first, "user", "import", str(place / "people.csv"))
    return first, behind


def database(cluster: databases.Cluster, name: str, template: str = "template1") -> str:
    """Its address."""
    made = [databases.PROGRAMS[-1] / "createdb", "-h", cluster.folder, "--template", template, name]
    environment = os.environ | {"PGUSER": "postgres"}
    subprocess.run([*databases.as_postgres(), *made], check=True, cwd="/", env=environment)
    return cluster.url(name)


def _served(
    place: Path, cluster: databases.Cluster, people: int, certificates: int, stack: ExitStack
) -> dict[str, list[Node]]:
    """The nodes of each of the three."""
    first, behind = directory(place, people, stack)
    found = dict[str, list[Path]]()
    source, template = first, "template1"
    for title in (ONE, TWO):
        data, name = place / title.replace(", ", "-").replace(" ", "-"), f"n{len(found)}"
        shutil.copytree(source, data)
        url = database(cluster, name, template)
        if source == first:
            typed(data, "db", "copy", "--to", url)
        set_up(data, url, behind)
        if source == first and certificates:
            large.fill(data, certificates)
        source, template = data, name
        found[title] = [data]
    if certificates:
        large.fill(first, certificates)
    second = place / "second"
    typed(second, "node", "join", "--from", str(found[TWO][0]))
    found[TWO].append(second)
    set_up(first, "", behind)
    return {
        title: [stack.enter_context(served(data)) for data in every]
        for title, every in ({SQLITE: [first]} | found).items()
    }


def set_up(data: Path, url: str, behind: int) -> None:
    config = read_config(data)
    config = replace(
        config,
        database=replace(config.database, url=url, nodes=1),
        signer=replace(config.signer, per_hour=1_000_000),
        policy=replace(config.policy, person_key="ec-p256"),
        rates=_FREELY,
        upstream=Behind(addresses=(f"http://127.0.0.1:{behind}",), start="/app"),
    )
    (data / FILE_NAME).write_text(toml_of(config))


@contextmanager
def served(data: Path) -> Iterator[Node]:
    port, log = free_port(), data.with_suffix(".log")
    config = read_config(data)
    ports = replace(
        config,
        listen=replace(config.listen, port=port, public_port=port),
        internal=replace(config.internal, port=free_port()),
    )
    (data / FILE_NAME).write_text(toml_of(ports))
    words = ("serve", "--data", str(data))
    with process(*words, log=log, SEKISHO_PASSPHRASE=_PASSPHRASE) as running:
        until(lambda: "ready on port" in log.read_text(), log, running)
        yield Node(data, port, running.pid)


def _at_rest(every: list[Node]) -> None:
    """Returns once they have done what was due, or after five minutes: less than a twentieth of a core."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        before = spent(every)
        time.sleep(5)
        if spent(every) - before < 0.25 * len(every):
            return


# -- what is measured ------------------------------------------------------------------------------------


async def _measured(
    place: Path,
    nodes: Mapping[str, list[Node]],
    server: int,
    options: argparse.Namespace,
    found: Figures,
) -> None:
    credentials = json.loads((place / "credentials.json").read_text())
    clients, asked = {}, {}
    for title, every in nodes.items():
        dealt = enumerate(credentials)
        clients[title] = [await client(every[at % len(every)], each) for at, each in dealt]
        asked[title] = await _people(place, title, every, options.people, found)
    for _ in range(options.rounds):
        for title, every in nodes.items():
            found.add(title, await _orders(clients[title], every, server, options.orders))
        for title, one in asked.items():
            ask(one, 100)
            found.add(title, {"request behind the login, us CPU": spent_by(one, options.requests)})


async def client(node: Node, credential: Mapping[str, Any], **given: Any) -> Client:
    """A program at a node, with its account; ``given``: the key of one that it has."""
    secret = urlsafe_b64decode(credential["hmac_key"] + "==")
    name = credential["identifiers"][0]["value"]
    url = f"https://pickup.localhost:{node.port}/acme/directory"
    made = Client(Target(url, str(node.ca), node.pid, name, ()), **given)
    await made.connect()
    await made.register((credential["kid"], secret))
    return made


async def _orders(clients: list[Client], every: list[Node], server: int, count: int) -> Mapping[str, float]:
    csrs = {each.target.name: prepare_csrs(each.target.name, count // len(clients)) for each in clients}
    before = spent(every), cpu(server)
    begun = time.monotonic()
    await asyncio.gather(*(run_load([each], csrs[each.target.name], {}) for each in clients))
    seconds = time.monotonic() - begun
    used = spent(every) - before[0]
    return {
        "orders a second": count / seconds,
        "an order, node's ms CPU": used / count * 1_000,
        "an order, server's ms CPU": (cpu(server) - before[1]) / count * 1_000,
    }


async def _people(place: Path, title: str, every: list[Node], count: int, found: Figures) -> Asked:
    """Some pick up, and one of them logs in again and again, and asks for what is behind."""
    node, outboxes = every[0], [each.data / "outbox" for each in every]
    context = ssl.create_default_context(cafile=str(node.ca))
    letters = [_read(file) for file in await _letters(outboxes, "pickup", count)]
    before, files = spent(every), []
    for letter in letters:
        files.append(await _picked_up(context, f"https://pickup.localhost:{node.port}", letter))
    found.add(title, {"a pick-up, node's ms CPU": (spent(every) - before) / count * 1_000})
    user = letters[0]["ユーザーID"]
    told = [_read(file) for file in await _letters(outboxes, "user_id", count)]
    password = next(each["パスワード"] for each in told if each["ユーザーID"] == user)
    p12 = place / f"{user}.p12"
    p12.write_bytes(files[0])
    pem = pem_of(str(p12), _FILE_PASSWORD, p12.with_suffix(".pem"))
    cookie = posted(node.port, node.ca, pem, "/login", {"user_id": user, "password": password})
    chosen = {"current": password, "new": _LOGIN, "confirmation": _LOGIN}
    cookie = posted(node.port, node.ca, pem, "/portal/password", chosen, cookie) or cookie
    before = spent(every)
    for _ in range(_LOGINS):
        cookie = posted(node.port, node.ca, pem, "/login", {"user_id": user, "password": _LOGIN})
    found.add(title, {"a login, node's ms CPU": (spent(every) - before) / _LOGINS * 1_000})
    request = f"GET /app HTTP/1.1\r\nHost: {SERVICE}:{node.port}\r\nCookie: {cookie}\r\n\r\n".encode()
    held = tls(SERVICE, node.port, node.ca, pem)
    held.sendall(request)
    answer = held.recv(4_096)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return Asked(node.pid, tls(SERVICE, node.port, node.ca, pem), request)


async def _letters(outboxes: list[Path], kind: str, count: int) -> list[Path]:
    end = time.monotonic() + 120
    while True:
        files = sorted(file for each in outboxes for file in each.glob(f"*-{kind}.eml"))
        if len(files) >= count:
            return files
        assert time.monotonic() < end, f"{len(files)} letters"
        await asyncio.sleep(0.2)


def _read(file: Path) -> dict[str, str]:
    body = message_from_bytes(file.read_bytes(), policy=policy.default).get_content()
    return dict(line.split("：", 1) for line in body.splitlines() if "：" in line)


async def _picked_up(context: ssl.SSLContext, origin: str, letter: Mapping[str, str]) -> bytes:
    async with session(context) as person:
        login = {"user_id": letter["ユーザーID"], "password": letter["証明書発行用パスワード"]}
        async with person.post(f"{origin}/login", data=login) as answer:
            assert answer.url.path == "/menu", answer.url
        chosen = {"password": _FILE_PASSWORD, "confirmation": _FILE_PASSWORD}
        wanted = {"request_id": letter["リクエストID"], **chosen}
        async with person.post(f"{origin}/certificate", data=wanted) as answer:
            assert answer.url.path.endswith("/download"), f"{answer.status} {answer.url}"
        async with person.get(f"{origin}/download") as answer:
            return await answer.read()


def spent(every: Sequence[Node]) -> float:
    return sum(cpu(each.pid) for each in every)


if __name__ == "__main__":
    main()
