"""Whose a path is, and who may still have what comes of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest
from yarl import URL

from ca.revocation import RevocationStatus
from ca.trust import VerifiedPeer
from enroll import store
from gateway.proxy.identity import Caller
from gateway.proxy.relay import NotRelayed
from gateway.proxy.waiting import Waits
from gateway.web.words import REFUSALS
from gateway.wire.request import Request
from tests.gateway.proxy import test_mounted
from tests.gateway.proxy.deployments import HOST, OK, Build, chunked, relaying, until
from tests.gateway.proxy.upstreams import recording, running
from tests.gateway.rawtls import Closed, connect, everything, get
from tests.gateway.sites import kit
from tests.gateway.sites.members import USER, at_home, fetched, first_password, log_in

#: The service with the example behind it.
service = test_mounted.service


# -- whose path it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "status"), [
    (b"/%6Fwn/page", 200), (b"/%6fw%6E/page", 200), (b"/own/p%61ge", 200), (b"/own/page?a=/b", 200),
    (b"/own", 404), (b"/own?x", 404), (b"/%6Fwn", 404), (b"/own/", 404), (b"/own/nothing", 404),
    (b"/own/%2Fpage", 404), (b"//own/page", 400), (b"/./own/page", 400), (b"/own/../a", 400),
    (b"/a/%2e%2E/own/page", 400), (b"/own/..;/a", 400), (b"/own\\page", 400), (b"/own#a", 400),
    (b"/own/%00", 400), (b"/own/%zz", 400),
])  # fmt: skip
async def test_our_own_paths_never_reach_the_upstream(deployment: Build, target: bytes, status: int) -> None:
    """However they are spelt: what the router would take for ours is ours, and what is odd is nobody's."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            assert (await client.get(HOST, target)).status == status
            assert upstream.requests == []


@pytest.mark.parametrize(
    "target", [b"/own;x", b"/own%2Fpage", b"/%256Fwn/page", b"/OWN/page", b"/owner", b"/own.", b"/%ff"]
)
async def test_what_only_looks_like_ours_is_the_upstreams(deployment: Build, target: bytes) -> None:
    """The router would not serve these as ours; the upstream gets them byte for byte, after the login."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            assert (await client.get(HOST, target)).status == 200
        assert [seen.target for seen in upstream.requests] == [target.decode()]
        strict = await deployment(upstream.url, needs="login")
        async with strict.client() as client:
            assert (await client.get(HOST, target)).status == 403
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("path", "status", "leads_to"),
    [
        ("/%6Cogin", 200, "/portal/"),  # who is logged in already goes on to the portal
        ("/logi%6E/x", 404, ""),
        ("/%61ssets/nothing", 404, ""),
        ("/port%61l/", 200, "/portal/"),
    ],
)
async def test_the_services_own_paths_in_other_letters(
    service: kit.Served, path: str, status: int, leads_to: str
) -> None:
    """They are the service's in every spelling, with its pages."""
    visitor = await at_home(service)
    async with visitor.session.get(URL(visitor.origin + path, encoded=True)) as got:
        assert got.status == status
        assert not leads_to or got.url.path == leads_to
        assert "企業年金ビジネスサービス" in kit.parse(await got.text()).one("title").text


# -- who lost his right ------------------------------------------------------------------------------


async def test_a_user_disabled_after_the_login_reads_why(service: kit.Served) -> None:
    """Of all paths of the upstream, by the page of the refusal; with the session gone, by the login."""
    visitor = await at_home(service)
    assert (await visitor.get("/app/who")).status == 200
    await service.ra.database.write(lambda db: store.disable_user(db, USER, service.ra.now()))
    page = await visitor.get("/app/who", Accept="text/html")
    assert (page.status, page.h1) == (403, REFUSALS["user_disabled"].title[0])
    assert (await visitor.get("/app/who", Accept="text/html")).path == "/login"


async def test_a_first_password_comes_before_the_upstream(service: kit.Served) -> None:
    """Pages are led to its change; everything else is 403."""
    initial = await first_password(service)
    visitor = (await fetched(service)).visitor(service)
    await log_in(visitor, USER, initial)
    assert (await visitor.get("/app/", Accept="text/html")).path == "/portal/password"
    assert (await visitor.get("/app/who", Accept="application/json")).status == 403
    assert (await visitor.post("/app/file", {"a": "b"}, Accept="text/html")).status == 403


async def test_a_certificate_is_looked_at_for_each_request(deployment: Build) -> None:
    """Revoked between two requests of one connection: the second one is not handed on."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        async with here.client() as client:
            for _ in range(3):
                assert (await client.get(HOST, b"/a")).status == 200
            here.running.status[here.pki.client.fingerprint] = RevocationStatus.REVOKED
            assert (await client.get(HOST, b"/a")).status == 403
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("who", ["nobody", "stranger", "revoked"])
async def test_what_is_public_is_so_behind_the_door(deployment: Build, who: str) -> None:
    """Where a certificate is required it is for every path: a public one needs no login, and no less."""
    async with recording() as upstream:
        here = await deployment(upstream.url, needs="login")
        certificate = {"nobody": None, "stranger": here.pki.stranger}.get(who, here.pki.client)
        async with connect(here.running.port, HOST, certificate=certificate) as client:
            if who == "revoked":
                assert (await client.get(HOST, b"/free/x")).status == 200
                here.running.status[here.pki.client.fingerprint] = RevocationStatus.REVOKED
            assert (await client.get(HOST, b"/free/x")).status == 403
        assert here.counts["refused.certificate"] == 1
    assert len(upstream.requests) == (1 if who == "revoked" else 0)


@dataclass
class Right:
    """To be let in, as long as it lasts."""

    held: bool = True

    async def admit(self, request: Request) -> Caller:
        if not self.held:
            raise NotRelayed(403, "login")
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)


async def test_a_stream_ends_with_the_right_to_it(deployment: Build) -> None:
    """Who is no longer let in while an answer runs loses it, and not as if it were whole."""
    right = Right()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b"data: 1\n\n")
            await asyncio.sleep(0.02)

    async with running(script) as port:
        here = await deployment(
            f"http://127.0.0.1:{port}", needs="login", login=right.admit, waits=Waits(recheck=0.05)
        )
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            for _ in range(5):
                assert await client.some()
            right.held = False
            got, alert = await everything(client)
            assert alert != "close_notify"
            assert not got.endswith(b"0\r\n\r\n")
        assert here.counts["upstream.no-longer-entitled"] == 1
        await until(lambda: here.pool.open == 0 and not relaying())


async def test_whoever_is_turned_away_is_not_let_in_behind(
    deployment: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R6: nobody could be asked for his certificate when it was the relay's turn, and a moment later, when it
    is the pages', somebody can: he is told of the certificate, and not that there is no such page."""
    async with recording() as upstream:
        here = await deployment(upstream.url)
        looks = list[str]()

        def status(fingerprint: str) -> RevocationStatus:
            looks.append(fingerprint)
            return RevocationStatus.UNASKED if len(looks) == 1 else RevocationStatus.GOOD

        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).status == 200
            monkeypatch.setattr(here.running.listener, "_status", status)
            await client.send(get(HOST, b"/a"))
            assert (await client.answer()).status == 403
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).status == 200
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("waiting", ["upload", "answer"])
async def test_an_exchange_ends_with_the_right_to_it(deployment: Build, waiting: str) -> None:
    """Who is no longer let in sends nothing more and is not answered by the upstream: he is told why."""
    right, received, go = Right(), bytearray(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while waiting == "upload" and (data := await reader.read(65_536)):
            received.extend(data)
        await go.wait()
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    async with running(script) as port:
        here = await deployment(
            f"http://127.0.0.1:{port}", needs="login", login=right.admit, waits=Waits(recheck=0.05)
        )
        async with here.client() as client:
            if waiting == "upload":
                await client.send(chunked(b"/a", b"4\r\nabcd\r\n"))
                await until(lambda: len(received) > 0)
            else:
                await client.send(get(HOST, b"/a"))
                await asyncio.sleep(0.15)
            right.held = False
            await until(lambda: not relaying())
            go.set()
            before = bytes(received)
            with suppress(Closed):
                await client.send(b"4\r\nmore\r\n" if waiting == "upload" else b"")
            answer = await client.answer()
            assert (answer.status, answer.text) == (403, "login")
            assert b"secret" not in client.buffer
        assert received == before
        await until(lambda: here.pool.open == 0)


async def test_a_late_answer_is_asked_for_once_more(deployment: Build) -> None:
    """An answer that is there at once when time is up: nobody waited, and the caller is asked for all the
    same."""
    entitled, came, go = True, asyncio.Event(), asyncio.Event()

    class Known:
        def known(self, request: Request) -> Caller | None:
            assert isinstance(request.verdict, VerifiedPeer)
            return Caller(request.verdict) if entitled else None

        async def find(self, request: Request) -> Caller:
            # On a busy machine the first answer is late as well.
            if (found := self.known(request)) is not None:
                return found
            raise NotRelayed(403, "login")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (OK, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"):
            await reader.readuntil(b"\r\n\r\n")
            if answer is not OK:
                came.set()
                await go.wait()
            writer.write(answer)
        await reader.read()

    async with running(script) as port:
        here = await deployment(f"http://127.0.0.1:{port}", needs="login", waits=Waits(recheck=0.05))
        assert here.site.relay is not None
        here.site.relay._login = Known()
        async with here.client() as client:
            assert (await client.get(HOST, b"/a")).body == b"ok"
            await client.send(get(HOST, b"/b"))
            # From before it came the time runs that is up now.
            await asyncio.wait_for(came.wait(), 60)
            await asyncio.sleep(0.1)
            entitled = False
            go.set()
            assert (await client.answer()).text == "login"


async def test_a_silent_stream_says_nothing_more_to_who_lost_his_right(deployment: Build) -> None:
    """He is asked for again while the upstream is silent, and what it says afterwards is not for him."""
    entitled, refused, go = True, asyncio.Event(), asyncio.Event()

    async def admit(request: Request) -> Caller:
        if not entitled:
            refused.set()
            raise NotRelayed(403, "login")
        assert isinstance(request.verdict, VerifiedPeer)
        return Caller(request.verdict)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
        await go.wait()
        writer.write(b"data: secret\n\n")
        await reader.read()

    async with running(script) as port:
        here = await deployment(
            f"http://127.0.0.1:{port}", needs="login", login=admit, waits=Waits(recheck=0.05)
        )
        async with here.client() as client:
            await client.send(get(HOST, b"/a"))
            while b"data: 1" not in client.buffer:
                client.buffer += await client.some()
            entitled = False
            await asyncio.wait_for(refused.wait(), 60)
            go.set()
            got, alert = await everything(client)
        assert b"secret" not in got
        assert alert != "close_notify"
