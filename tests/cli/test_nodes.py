"""Nodes: two gateways of two data directories on one database, as an operator makes and runs them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from ca import journal
from ca.clock import OffsetClock
from enroll.client import Acme, new_key, work
from enroll.client.acme import Answer
from enroll.jst import day_of, start_of
from enroll.mail import store as mail_store
from gateway.serving.config import FILE_NAME
from gateway.serving.deployment import CLOCK
from gateway.serving.standing import NODE
from tests import databases, wires
from tests.cli.conftest import PUBLIC, Shell
from tests.cli.processes import change, until
from tests.cli.test_serving import Gateway, ready
from tests.datadirs import Letter
from tests.gateway.sites.kit import Page, Visitor, client_context
from tests.mailserver import MailServer
from tests.ports import free_port

pytestmark = databases.NEEDED

DAY = 86_400
_PATIENCE = 60.0
_USER, _LOGIN = "K12345678", "Tegata2026"


@pytest.fixture
def second(first: Shell, tmp_path: Path) -> Shell:
    """Another node."""
    other = Shell(tmp_path / "second")
    made = other("node", "join", "--from", str(first.data))
    assert made.code == 0, made.out
    return other


@pytest.mark.slow
def test_a_node_has_what_all_have_and_what_is_its_own(first: Shell, second: Shell) -> None:
    """The CA's keys and the settings are the same, the journal and the identity are not; each knows both."""
    assert first("org", "add", "12345678", "霞が関商事").code == 0
    for name in ("sekisho.json", "vault.json", FILE_NAME, "ca/root.key"):
        assert (first.data / name).read_bytes() == (second.data / name).read_bytes()
        assert (first.data / name).stat().st_mode == (second.data / name).stat().st_mode
    assert (
        json.loads((first.data / NODE).read_text())["database"]
        == (json.loads((second.data / NODE).read_text())["database"])
    )
    ids = [journal.tail_of(each.data / journal.FOLDER).node for each in (first, second)]  # type: ignore[union-attr]
    assert len({*ids}) == 2
    assert [each["policy_number"] for each in second("org", "list").value["organisations"]] == ["12345678"]
    for each, own in zip((first, second), ids, strict=True):
        told = each("node", "list").value["nodes"]
        assert {row["node"] for row in told} == {*ids}
        assert [row["node"] for row in told if row["this"]] == [own]
    assert _count_of(second)["state"] == "notice"
    change(second.data / FILE_NAME, {("database", "nodes"): "2"})
    assert _count_of(second)["state"] == "ok"


def _count_of(node: Shell) -> dict[str, Any]:
    """What doctor says of how many there are."""
    (found,) = [each for each in node("doctor").value["checks"] if each["check"] == "nodes"]
    return found


def test_what_is_no_node(sekisho: Shell, first: Shell, tmp_path: Path) -> None:
    """A directory with its database in it, one that is not empty, and none: refused, and nothing is left."""
    alone = tmp_path / "alone"
    shutil.copytree(first.data, alone)
    change(alone / FILE_NAME, {("database", "url"): '""'})
    other = Shell(tmp_path / "other")
    refused = other("node", "join", "--from", str(alone))
    assert (refused.code, "whose address is in database.url" in refused.error["message"]) == (1, True)
    assert not other.data.exists()
    assert "is not empty" in sekisho("node", "join", "--from", str(first.data)).error["message"]
    assert other("node", "join", "--from", str(tmp_path / "nothing")).code != 0


def test_a_node_that_is_gone_is_forgotten(first: Shell, second: Shell, tmp_path: Path) -> None:
    """By its name, not itself; a node that is not there is named, and the trail has it."""
    assert first("node", "list").code == 0
    own, other = (json.loads((each.data / NODE).read_text())["node"] for each in (first, second))
    assert "is that node itself" in first("node", "remove", own).error["message"]
    assert "is no node" in first("node", "remove", "x").error["message"]
    assert first("node", "remove", other[:8]).code == 0
    assert [row["node"] for row in first("node", "list").value["nodes"]] == [own]


def test_a_backup_of_a_node_is_its_files(first: Shell, tmp_path: Path) -> None:
    """The database is not in it, and that is said, with what to type; restored it is a new node, or, with the
    journal, the one that was lost."""
    assert first("org", "add", "12345678", "霞が関商事").code == 0
    key = tmp_path / "key"
    recipient = first("restore", "key", str(key)).value["key"]["recipient"]
    made = first("backup", "--to", str(tmp_path / "b.age"), "--recipient", recipient, json_output=False)
    assert (made.code, "without the database" in made.out, "pg_basebackup" in made.out) == (0, True, True)
    own = json.loads((first.data / NODE).read_text())["node"]
    restore = ("restore", "backup", str(tmp_path / "b.age"), "--identity", str(key))

    new = Shell(tmp_path / "new")
    assert new(*restore).code == 0
    assert [each["policy_number"] for each in new("org", "list").value["organisations"]] == ["12345678"]
    assert json.loads((new.data / NODE).read_text())["node"] != own

    again = Shell(tmp_path / "again")
    assert again(*restore, "--journal", str(first.data / journal.FOLDER)).code == 0
    assert again("org", "list").code == 0
    assert json.loads((again.data / NODE).read_text())["node"] == own
    assert "which is not done to a server" in first("drill").error["message"]


@dataclass
class _Balancer(aiohttp.abc.AbstractResolver):
    """Each connection goes to the next node, whatever name it asks for."""

    ports: Iterator[int]
    used: set[int] = field(default_factory=set)

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        to = next(self.ports)
        self.used.add(to)
        return [{"hostname": host, "host": "127.0.0.1", "port": to, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        return


def _letters(*nodes: Shell) -> list[Letter]:
    found = []
    for path in sorted(path for each in nodes for path in (each.data / "outbox").glob("*.eml")):
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
        found.append(Letter(path.name, message["Subject"], message.get_content()))
    return found


async def _letter(kind: str, *nodes: Shell) -> Letter:
    """Once it has been delivered: by whichever node, and once."""
    async with asyncio.timeout(_PATIENCE):
        while not (found := [each for each in _letters(*nodes) if f"-{kind}." in each.name]):
            await asyncio.sleep(0.1)
    assert len(found) == 1, [each.name for each in found]
    return found[0]


class _Flow:
    """A person with a browser, before a balancer that knows nothing."""

    def __init__(
        self,
        nodes: list[Gateway],
        path: Path,
        public: int = PUBLIC,
        ports: Iterator[int] | None = None,
    ) -> None:
        self._path, self._ca, self._public = path, nodes[0].ca.read_bytes(), public
        self.balancer = _Balancer(ports or cycle([each.port for each in nodes]))
        self._sessions: list[aiohttp.ClientSession] = []

    async def __aenter__(self) -> _Flow:
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._sessions:
            await each.close()

    def _visitor(self, site: str, p12: bytes | None = None) -> Visitor:
        trusted = client_context(self._ca, p12, "pw", self._path)
        connector = aiohttp.TCPConnector(
            ssl=trusted, resolver=self.balancer, use_dns_cache=False, force_close=True
        )
        self._sessions.append(aiohttp.ClientSession(connector=connector))
        return Visitor(self._sessions[-1], f"https://{site}.localhost:{self._public}")

    async def picked_up(self, mail: Letter, user_id: str = _USER) -> bytes:
        visitor = self._visitor("pickup")
        page = await visitor.post(
            "/login", {"user_id": user_id, "password": mail.value("証明書発行用パスワード")}
        )
        assert (page.status, page.path) == (200, "/menu")
        return await self._downloaded(visitor, "/certificate", mail.value("リクエストID"))

    async def logged_in(self, p12: bytes, password: str) -> Page:
        visitor = self._visitor("service", p12)
        await visitor.post("/login", {"user_id": _USER, "password": password})
        return await visitor.post(
            "/portal/password", {"current": password, "new": _LOGIN, "confirmation": _LOGIN}
        )

    async def renewed(self, p12: bytes, mail: Letter) -> bytes:
        visitor, request_id = self._visitor("renewal", p12), mail.value("リクエストID")
        page = await visitor.post("/application")
        async with asyncio.timeout(_PATIENCE):
            while page.path != f"/certificate/{request_id}":
                await asyncio.sleep(0.1)
                page = await visitor.get(page.path)
        return await self._downloaded(visitor, page.path, request_id)

    async def _downloaded(self, visitor: Visitor, path: str, request_id: str) -> bytes:
        typed = {"request_id": request_id, "password": "pw", "confirmation": "pw", "form": "standard"}
        page = await visitor.post(path, typed)
        got = await visitor.get(page.main.all("form")[0].attributes["action"])
        assert (got.status, got.headers["Content-Type"]) == (200, "application/x-pkcs12")
        return got.body

    async def refused(self, p12: bytes) -> set[int]:
        """What both nodes answer to somebody with this certificate."""
        visitor = self._visitor("service", p12)
        return {(await visitor.get("/login")).status for _ in range(2)}


def _end_of(p12: bytes) -> int:
    certificate = pkcs12.load_key_and_certificates(p12, b"pw")[1]
    assert certificate is not None
    return int(certificate.not_valid_after_utc.timestamp())


@pytest.mark.slow
@pytest.mark.usefixtures("with_somebody")
async def test_the_manual_s_flow_on_two_nodes(first: Shell, second: Shell, tmp_path: Path) -> None:
    """Every request goes to another node than the one before: pick-up, login, renewal. What one revokes the
    other refuses; both hand out the same list; each letter leaves once; when one is killed, the other goes
    on with what one alone does."""
    logs = [tmp_path / "one", tmp_path / "two"]
    for each in logs:
        each.mkdir()
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(ready(each.data, log))
            for each, log in zip((first, second), logs, strict=True)
        ]
        async with _Flow(nodes, tmp_path) as flow:
            mail = await _letter("pickup", first, second)
            p12 = await flow.picked_up(mail)
            page = await flow.logged_in(p12, (await _letter("user_id", first, second)).value("パスワード"))
            assert (page.status, page.path) == (200, "/portal/")

            # At noon in Japan: letters that nobody waits for leave by day.
            noon = start_of(day_of(_end_of(p12) - 30 * DAY)) + DAY // 2
            for each in (first, second):
                clock = OffsetClock(each.data / CLOCK)
                clock.travel(noon - clock.seconds())
            mail = await _letter("renewal_30", first, second)
            assert await flow.renewed(p12, mail) != p12
            assert nodes[1].command("user", "disable", _USER).returncode == 0
            assert {each.port for each in nodes} == flow.balancer.used
            async with asyncio.timeout(_PATIENCE):
                while (await flow.refused(p12)) != {403}:
                    await asyncio.sleep(0.1)
        until(lambda: _lists(nodes[0]) == _lists(nodes[1]) != [], nodes[1].log)

        told = json.loads(nodes[0].command("node", "list").stdout)["nodes"]
        assert [each["leads"] for each in told].count(True) == 1
        leading = next(at for at, each in enumerate(nodes) if each.says("this node leads from now on"))
        os.killpg(nodes[leading].running.pid, signal.SIGKILL)
        other = nodes[1 - leading]
        until(lambda: other.says("this node leads from now on"), other.log, other.running)


def _lists(node: Gateway) -> list[bytes]:
    """Each by its name, which has its number, and with its bytes."""
    return [path.name.encode() + path.read_bytes() for path in sorted((node.data / "crls").glob("*.crl"))]


# -- who leads ---------------------------------------------------------------------------------------------

_LEADS = "this node leads from now on"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["frozen", "killed"])
@pytest.mark.parametrize("where", ["MAIL", "DATA"])
def test_a_leader_that_stops_in_the_middle_of_a_letter(
    first: Shell, tmp_path: Path, where: str, how: str
) -> None:
    """R15: killed or frozen before a letter has left or while the mail server takes it; another node goes on,
    and the first one comes back. No letter leaves twice, and each leaves that cannot have left."""
    assert first("org", "add", "12345678", "霞が関商事").code == 0
    seconds = {"delay" if where == "MAIL" else "think": 3.0}
    with MailServer(**seconds).in_a_thread() as server, ExitStack() as stack:  # type: ignore[arg-type]
        values = {"transport": "smtp", "host": "localhost", "port": server.port, "security": "none"}
        change(first.data / FILE_NAME, {("mail", name): json.dumps(each) for name, each in values.items()})
        nodes = _two(first, tmp_path, stack)
        leading, other = _leading(*nodes)
        add = ("user", "add", "12345678", "年金 太郎", "taro@example.jp", "--user-id", _USER)
        assert nodes[0].command(*add).returncode == 0
        until(lambda: server.heard[where] > 0, leading.log, leading.running)
        os.killpg(leading.running.pid, signal.SIGSTOP if how == "frozen" else signal.SIGKILL)
        try:
            until(lambda: other.says(_LEADS), other.log, other.running)
            server.delay = server.think = 0.0
            for each in nodes:
                OffsetClock(each.data / CLOCK).travel(mail_store.LEASE + 1)
            until(lambda: _settled(other), other.log, other.running)
        finally:
            if how == "frozen":
                os.killpg(leading.running.pid, signal.SIGCONT)
        if how == "frozen":
            until(lambda: leading.says("this node leads no more"), leading.log, leading.running)
        # What was being taken is known by whoever handed it over, if that one lives; and never sent again.
        unknown = 1 if (where, how) == ("DATA", "killed") else 0
        until(lambda: _states(other).count("sent") == 2 - unknown, other.log, other.running)
        subjects = [message["Message-ID"] for message in server.accepted]
        assert len(subjects) == len({*subjects}) == 2
        assert _states(other).count("failed") == unknown


def _two(first: Shell, tmp_path: Path, stack: ExitStack) -> list[Gateway]:
    """Both nodes, served."""
    second = Shell(tmp_path / "second")
    assert second("node", "join", "--from", str(first.data)).code == 0
    found = []
    for name, shell in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        found.append(stack.enter_context(ready(shell.data, tmp_path / name)))
    return found


def _leading(*nodes: Gateway) -> list[Gateway]:
    """The one that leads first."""
    until(lambda: any(each.says(_LEADS) for each in nodes), nodes[0].log)
    return sorted(nodes, key=lambda each: not each.says(_LEADS))


def _states(node: Gateway) -> list[str]:
    return [each["state"] for each in json.loads(node.command("mail", "list").stdout)["mails"]]


def _settled(node: Gateway) -> bool:
    return "waiting" not in _states(node)


# -- whichever node ----------------------------------------------------------------------------------------


class _Restless(Acme):
    """A program whose every request is a connection of its own. ``said``: what it sent, and the answers."""

    def __init__(self, *given: Any, **more: Any) -> None:
        self.said: list[tuple[str, str, bytes | None, int]] = []
        super().__init__(*given, **more)

    def _request(self, method: str, url: str, body: bytes | None) -> Answer:
        self.close()
        answer = super()._request(method, url, body)
        self.said.append((method, url, body, answer.status))
        return answer


@pytest.mark.slow
@pytest.mark.usefixtures("with_somebody")
async def test_whichever_node_is_asked(first: Shell, tmp_path: Path) -> None:
    """Each connection of people and programs goes to a node that is drawn: pick-up, login and orders pass,
    every nonce is taken at the node that did not issue it as well, and none twice, at whichever."""
    port, random = free_port(), Random(os.environ.get("SEKISHO_TEST_SEED", "20261201"))
    change(first.data / FILE_NAME, {("listen", "public_port"): str(port)})
    with ExitStack() as stack:
        nodes = _two(first, tmp_path, stack)
        used = stack.enter_context(wires.balancer([each.port for each in nodes], random, port))
        ports = iter(lambda: random.choice([each.port for each in nodes]), None)
        async with _Flow(nodes, tmp_path, port, ports) as flow:
            p12 = await flow.picked_up(await _letter("pickup", *_shells(nodes)))
            login = (await _letter("user_id", *_shells(nodes))).value("パスワード")
            assert (await flow.logged_in(p12, login)).path == "/portal/"
            for _ in range(8):
                assert (await flow._visitor("service", p12).get("/login")).status == 200
            assert flow.balancer.used == {each.port for each in nodes}

        made = json.loads(nodes[0].command("eab", "create", _USER).stdout)
        (tmp_path / "eab.json").write_text(json.dumps(made))
        credential = work.read_credential(tmp_path / "eab.json")
        directory = f"https://pickup.localhost:{port}/acme/directory"
        acme = await asyncio.to_thread(_Restless, directory, new_key(), ca_file=nodes[0].ca)
        await asyncio.to_thread(acme.register, credential.kid, credential.mac_key)
        await asyncio.to_thread(acme.order, credential.names, new_key())
        answers = [status for method, _, _, status in acme.said if method == "POST"]
        assert len(answers) >= 4
        assert max(answers) < 400
        assert {*used} == {each.port for each in nodes}
        # The same request once more, at either: the nonce is spent for all.
        url, body = next((url, body) for _, url, body, _ in reversed(acme.said) if body)
        for _ in range(4):
            again = await asyncio.to_thread(acme._request, "POST", url, body)
            assert (again.status, json.loads(again.body)["type"].rpartition(":")[2]) == (400, "badNonce")


def _shells(nodes: list[Gateway]) -> list[Shell]:
    return [Shell(each.data) for each in nodes]
