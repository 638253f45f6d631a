"""The console of whole servers over one data directory: what ends there ends on each of them, and what it
says of authority and settings is what doctor and a reload find."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

import ca.store
from ca import datadir
from ca.clock import ManualClock, SystemClock
from ca.profiles import Audience
from ca.workers import KeyStock
from enroll import store
from enroll.operators import actors, codes, credentials
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.roles import Role
from enroll.operators.store import Operator
from gateway.cli import doctor
from gateway.running import rundir
from gateway.serving import configured, inforce, record
from gateway.serving.assembly import gate_of
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.current import Slot
from gateway.serving.database import DATABASE
from gateway.serving.deployment import Deployment, open_deployment
from gateway.serving.keystates import states
from gateway.serving.server import run
from gateway.serving.settings.behind import Behind
from gateway.serving.settings.reach import Listen
from gateway.sites.console import authority as console_authority
from gateway.web import context
from tests.cheaply import cheap_passwords
from tests.cli.conftest import Shell
from tests.cli.processes import change
from tests.datadirs import CHEAP, PASSPHRASE, SharingWorkers, admit, delivered
from tests.enroll.test_flow import picked_up
from tests.gateway.proxy.test_proxy_websocket import OPENING, capitals
from tests.gateway.proxy.upstreams import running
from tests.gateway.rawtls import get
from tests.gateway.sites.kit import Here, Served, Visitor, client_context
from tests.gateway.sites.test_console import Person
from tests.looking import look

_P12, DAY = "Tegata2026", 86_400


@dataclass
class Worker:
    """A whole server of the directory, in this process."""

    deployment: Deployment
    port: int

    async def opened(
        self, stack: AsyncExitStack, host: str, p12: bytes, password: str, *asked: bytes
    ) -> Kept:
        """A connection on which something was asked and answered, and that stays."""
        trusted = client_context(
            self.deployment.datadir.server_ca_pem, p12, _P12, self.deployment.data.parent
        )
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=trusted, server_hostname=host
        )
        stack.callback(writer.close)
        kept = Kept(reader, writer)
        await kept.ask(get(host.encode(), *asked))
        return kept


@dataclass
class Kept:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if length:
            await self.reader.readexactly(int(length[0].partition(b":")[2]))
        return head

    async def ended(self) -> None:
        """Waits until the other side ends it; nothing else does within a minute."""
        with suppress(ConnectionError):
            async with asyncio.timeout(60):
                while await self.reader.read(65_536):
                    continue


async def ended(kept: list[Kept]) -> None:
    """All of them: in two seconds where it is quiet (`gateway.serving.tasks`)."""
    await asyncio.gather(*(each.ended() for each in kept))


@asynccontextmanager
async def worker(data: Path, config: Config, now: int) -> AsyncIterator[Worker]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if not (data / FILE_NAME).exists():
            (data / FILE_NAME).write_text(toml_of(replace(config, listen=Listen(port=port))))
        opened = open_deployment(data, PASSPHRASE, clock=ManualClock(now))
        opened.ra.workers.close()
        workers = SharingWorkers()
        ra = replace(opened.ra, workers=workers, keys=KeyStock(workers, "ec-p256", size=0))
        deployment = replace(opened, ra=ra)
        stop, ready = asyncio.Event(), asyncio.Event()

        async def started(_: int) -> None:
            ready.set()

        slot = Slot(rundir.run_directory(data))
        serving = asyncio.create_task(run(deployment, stop, started, socks=(listening,), slot=slot))
        first = asyncio.create_task(ready.wait())
        await asyncio.wait({serving, first}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if serving.done():
                serving.result()
            yield Worker(deployment, port)
        finally:
            stop.set()
            first.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await deployment.close()


@dataclass
class Live:
    one: Worker
    other: Worker
    stack: AsyncExitStack

    async def operator(self, name: str, *roles: Role) -> Person:
        """Somebody who is logged in at the console of the first server."""
        ra, at = self.one.deployment.ra, self.one.deployment.ra.now()
        new = Operator(0, name, f"{name}さん", "person", roles, "", "", f"handle-{name}", at, "test")
        added = await ra.database.write(lambda db: operators.add(db, new))
        assert added is not None
        host = await ra.database.read(lambda db: actors.of_account(db, "root", at, host=True))
        issued = await credentials.issue(ra, replace(host, by=By.HOST), name, _P12)
        gate = gate_of(self.one.deployment)
        trusted = client_context(
            self.one.deployment.datadir.server_ca_pem, issued.p12, _P12, self.one.deployment.data.parent
        )
        session = ClientSession(
            connector=TCPConnector(ssl=trusted, resolver=Here(), use_dns_cache=False, force_close=True)
        )
        self.stack.push_async_callback(session.close)
        at_console = Visitor(session, gate.origins[context.Role.CONSOLE])
        person = Person(Served(gate, context.Role.CONSOLE, lambda: at_console), added, issued, at_console)
        code_hash = codes.hashed(person.code)
        await ra.database.write(lambda db: operators.add_code(db, added.number, code_hash, at, at + DAY))
        assert (await person.enrol()).path == "/login"
        assert (await person.log_in()).path == "/"
        return person

    async def user(self, user_id: str) -> tuple[bytes, str]:
        """The file of a user's certificate, and its serial."""
        ra = self.one.deployment.ra
        await admit(ra, user_id)
        await delivered(ra)
        bundle, request_id = await picked_up(ra, user_id)
        made = pkcs12.serialize_key_and_certificates(
            b"k", bundle.key, bundle.cert.certificate, None, BestAvailableEncryption(_P12.encode())
        )
        found = ca.store.find_by_order(look(ra.database), request_id)
        assert found is not None
        return made, found.serial


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    data, now = tmp_path / "data", SystemClock().seconds()
    datadir.create(data, PASSPHRASE, now - DAY, cost=CHEAP)
    datadir.add_issuer(data, PASSPHRASE, "Operators CA", now - DAY, audience=Audience.OPERATORS)
    default = Config()
    sites = replace(default.sites, console=("console.localhost",))
    async with AsyncExitStack() as stack:
        stack.enter_context(cheap_passwords())
        upstream = await stack.enter_async_context(running(capitals))
        behind = Behind(addresses=(f"http://127.0.0.1:{upstream}",), certificate=("/api",))
        config = replace(default, sites=sites, upstream=behind)
        one = await stack.enter_async_context(worker(data, config, now))
        other = await stack.enter_async_context(worker(data, config, now))
        yield Live(one, other, await stack.enter_async_context(AsyncExitStack()))


async def test_open_connections_end(live: Live) -> None:
    """O13: what is revoked or suspended at the console of one server ends at each of them: a connection that
    waits, a WebSocket, an operator's with the page open. A bystander's goes on."""
    ends, suspended, stays = [await live.user(user_id) for user_id in ("K12345678", "K23456789", "K34567890")]
    registrar = await live.operator("registrar", Role.REGISTRAR)
    desk = await live.operator("desk", Role.DESK)

    async def opened(at: Worker, p12: bytes, *asked: bytes, host: str = "service.localhost") -> Kept:
        return await at.opened(live.stack, host, p12, *asked)

    async def three(p12: bytes) -> list[Kept]:
        socket_at = b"/api/ws"
        return [
            await opened(live.one, p12, b"/portal"),
            await opened(live.other, p12, b"/portal"),
            await opened(live.other, p12, socket_at, *OPENING),
        ]

    theirs, held, bystander = await three(ends[0]), await three(suspended[0]), await three(stays[0])
    path = f"/certificates/{ends[1]}"
    asked = await registrar.at.post(f"{path}/revoke", {"reason": "keyCompromise", "why": "盗難"})
    assert "失効しました" in (await registrar.confirm(asked)).main.text
    await ended(theirs)

    page = await desk.at.post("/callers/K23456789/suspend", {"reason": "紛失"})
    assert page.path == "/callers/K23456789"
    await ended(held)

    page_open = await opened(live.one, desk.issued.p12, b"/me", host="console.localhost")
    path = f"/certificates/{desk.issued.serial}"
    asked = await registrar.at.post(f"{path}/revoke", {"reason": "cessationOfOperation", "why": "退職"})
    assert "失効しました" in (await registrar.confirm(asked)).main.text
    await ended([page_open])
    assert (await desk.at.get("/me")).status == 403

    for each in bystander[:2]:
        assert (await each.ask(get(b"service.localhost", b"/portal"))).startswith(b"HTTP/1.1 303 ")


async def test_the_authority_is_what_doctor_finds(live: Live) -> None:
    """O19: the page has doctor's findings about the authority, word for word, and every key; the others do
    not see it."""
    officer = await live.operator("officer", Role.CA_OFFICER)
    page = await officer.at.get("/ca")
    shown = [row[1:] for row in page.main.table(0)[1:]]
    names = {"ok": "良好", "notice": "要注意", "bad": "要対応"}
    found = [
        each
        for each in await asyncio.to_thread(doctor.examine, live.one.deployment)
        if each.check in console_authority.CHECKS
    ]
    assert shown == [[names[each.state], *map(_plain, (each.found, each.hint))] for each in found]
    assert {each.check for each in found} >= {"key", "issuing CA", "revocation list", "root's list", "root"}
    attention = sum(each.state != "ok" for each in found)
    home = {row[0]: row[1] for row in (await officer.at.get("/")).main.table(-1)}
    assert home["認証局の点検で要注意・要対応（サーバー証明書・CRL・鍵）"] == str(attention)
    assert len((await officer.at.get("/ca?only=attention")).main.table(0)) - 1 == attention
    keys = [row[0] for row in page.main.table(3)[1:]]
    assert keys == [each.name for each in states(live.one.deployment)]
    (row,) = [row for row in page.main.table(1)[1:] if row[0].startswith("Operators CA")]
    assert (row[1], row[4]) == ("発行中", "1")


async def test_the_record_is_verified_at_the_console(live: Live) -> None:
    """By the auditor: as whole as the command finds it, while lines are written; and where somebody has
    altered one in the file, which."""
    auditor = await live.operator("auditor", Role.AUDITOR)
    deployment = live.one.deployment
    assert "記録を検証する" in (await auditor.at.get("/audit")).buttons()
    page = await auditor.at.post("/audit/verify")
    assert "記録は完全です" in page.main.one("div", role="status").text
    busy = replace(deployment, ra=replace(deployment.ra, database=Busy(deployment.ra.database)))
    assert list(record.troubles(busy)) == []
    with sqlite3.connect(deployment.data / DATABASE) as db:
        (number,) = db.execute("SELECT min(id) + 1 FROM audit").fetchone()
        db.execute("UPDATE audit SET subject = 'somebody else' WHERE id = ?", [number])
    page = await auditor.at.post("/audit/verify")
    assert "異常があります" in page.main.one("div", role="alert").text
    found = [[str(each.number), each.what] for each in record.troubles(deployment)]
    assert page.main.table()[1:] == found
    assert found[0][0] == str(number)


class Busy:
    """A register in which somebody writes a line after each of the first looks at it."""

    def __init__(self, database: Any) -> None:
        self._database, self._left = database, 3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def read_now(self, work: Any) -> Any:
        found = self._database.read_now(work)
        if self._left:
            self._left -= 1
            self._database.write_now(
                lambda db: store.audit(db, 1_800_000_000, "test", "certificate.held", "x")
            )
        return found


async def test_the_settings_are_read_only(live: Live) -> None:
    """O20: each beside its default; what a reload would take over, and what it would refuse, with no login
    in an address."""
    officer = await live.operator("officer", Role.CA_OFFICER)
    page = await officer.at.get("/settings")
    rows = {row[0].split()[0]: row for row in page.main.table()[1:]}
    assert len(rows) == len(configured.rows_of(live.one.deployment.config))
    assert rows["sites.console"][1:] == ['["console.localhost"]', "[]", "同じ", "再読み込み"]
    assert "変更" in rows["sites.console"][0]
    assert [b for b in page.buttons() if "ログアウト" not in b and "検索" not in b] == []
    file = live.one.deployment.data / FILE_NAME
    before = file.read_text()
    file.write_text(before.replace('start = ""', 'start = "/app/"'))
    page = await officer.at.get("/settings?only=pending")
    assert [row[0].split()[0] for row in page.main.table()[1:]] == ["upstream.start"]
    assert "まだ反映されていない変更" in page.main.text
    file.write_text(before.replace("public_port = 0", "public_port = 444"))
    page = await officer.at.get("/settings?only=pending")
    assert page.main.table()[1][-1] == "再起動"
    assert configured.plainly('["http://user:secret@h:1"]') == '["http://***@h:1"]'


#: What is wrong with the file, or with what it names -> the settings, and a part of what is said of it.
SPOILT: dict[str, tuple[dict[tuple[str, str], str], str]] = {
    "no number": ({("limits", "idle"): '"long"'}, "limits.idle: write a number"),
    "a port, which only a start takes": (
        {("listen", "public_port"): "444"},
        "listen.public_port: 0 became 444",
    ),
    "no certificate there": (
        {("tls", "certificate"): '"own.pem"', ("tls", "key"): '"own.key"'},
        "own.pem cannot be read",
    ),
    "no CA there": ({("upstream", "ca"): '"nix.pem"'}, "nix.pem cannot be read"),
    "a path of our own": ({("upstream", "public"): '["/portal"]'}, "'/portal' is a page of our own"),
    "no such profile": ({("policy", "person_profile"): '"other"'}, "person_profile"),
    "no such root": (
        {("policy", "cross_certificates"): '["Other"]'},
        "no cross-certificate of 'Other' is here",
    ),
}


@pytest.mark.parametrize("fault", SPOILT)
async def test_the_settings_say_what_doctor_says(live: Live, fault: str) -> None:
    """O20: of a file that a reload refuses the page says why, as the reload does and, on the same directory,
    ``sekisho doctor``. The twin: of the file as it was, none of the three says anything."""
    officer = await live.operator("officer", Role.CA_OFFICER)
    deployment, shell = live.one.deployment, Shell(live.one.deployment.data)

    async def said() -> tuple[str, str | None, str]:
        page = await officer.at.get("/settings")
        told = [each.text for each in page.main.all("div", role="alert")]
        look = await asyncio.to_thread(inforce.again, deployment, None)
        ran = await asyncio.to_thread(shell, "doctor")
        if "checks" not in ran.value:
            return " ".join(told), look.error, ran.error["message"]
        wrong = [
            "; ".join(filter(None, (each["found"], each["hint"])))
            for each in ran.value["checks"]
            if each["state"] == "bad" or (each["check"], each["state"]) == ("serve", "notice")
        ]
        return " ".join(told), look.error, "\n".join(wrong)

    assert await said() == ("", None, "")
    settings, words = SPOILT[fault]
    change(deployment.data / FILE_NAME, settings)
    page, reload, command = await said()
    assert reload is not None
    assert words in reload
    assert command == reload
    assert page == f"いまのファイルでは sekisho reload は拒否されます：{_plain(reload)}"


def _plain(text: str) -> str:
    return " ".join(text.split())
