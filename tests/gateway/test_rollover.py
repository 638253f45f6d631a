"""From G4 to G5 under load, on a whole gateway: people log in, pick up and renew while the moment passes, and
go on when G4 is trusted no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from ca import datadir
from ca.generations.states import Event
from enroll import generations
from enroll.settings import DAY
from gateway.serving.config import Config
from gateway.web.context import Role
from tests.browser.kit import World, served
from tests.datadirs import CHEAP, PASSPHRASE, admit, letter_of
from tests.gateway.sites.kit import Here, Page, Visitor, client_context
from tests.security.people import enrolled

G4, G5 = "CORPORATE-PENSION BUSINESS SERVICE CA-G4", "CORPORATE-PENSION BUSINESS SERVICE CA-G5"
START = 1_800_000_000
_PATIENCE = 60


@dataclass
class Person:
    """Somebody with a file in hand."""

    user_id: str
    login_password: str
    p12: bytes
    p12_password: str = "p12"

    @property
    def issuer(self) -> str:
        certificate = pkcs12.load_pkcs12(self.p12, self.p12_password.encode()).cert
        assert certificate is not None
        return certificate.certificate.issuer.rfc4514_string().removeprefix("CN=").split(",")[0]


@dataclass
class Crowd:
    """People before a gateway, and every answer that one of them got."""

    world: World
    path: Path
    #: (what, issuer of the certificate or "", status)
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    @asynccontextmanager
    async def visitor(self, role: Role, person: Person | None = None) -> AsyncIterator[Visitor]:
        p12, password = (person.p12, person.p12_password) if person else (None, "")
        trusted = client_context(self.world.deployment.datadir.server_ca_pem, p12, password, self.path)
        connector = aiohttp.TCPConnector(ssl=trusted, resolver=Here(), use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Visitor(session, self.world.url(role, "").rstrip("/"))

    def got(self, what: str, person: Person | None, page: Page) -> Page:
        self.answers[what, person.issuer if person else "", page.status] += 1
        return page

    async def log_in(self, person: Person) -> int:
        """The status of the last answer."""
        async with self.visitor(Role.SERVICE, person) as visitor:
            fields = {"user_id": person.user_id, "password": person.login_password}
            for sent in (visitor.get("/login"), visitor.post("/login", fields)):
                page = self.got("login", person, await sent)
            return page.status

    async def pick_up(self, user_id: str) -> Person:
        """From the mail to the file, on the pages."""
        await admit(self.world.ra, user_id)
        letter = await letter_of(self.world.ra, "pickup")
        login = (await letter_of(self.world.ra, "user_id")).value("パスワード")
        async with self.visitor(Role.PICKUP) as visitor:
            fields = {"user_id": user_id, "password": letter.value("証明書発行用パスワード")}
            self.got("pick-up", None, await visitor.post("/login", fields))
            typed = {"request_id": letter.value("リクエストID"), **_chosen()}
            page = self.got("pick-up", None, await visitor.post("/certificate", typed))
            assert page.path == "/certificate/download"
            return Person(user_id, login, self.got("pick-up", None, await visitor.get("/download")).body)

    async def renew(self, person: Person) -> Person:
        """With the certificate in hand, from 更新の申請 to the new file."""
        async with self.visitor(Role.RENEWAL, person) as visitor:
            page = self.got("renewal", person, await visitor.post("/application"))
            async with asyncio.timeout(_PATIENCE):
                while page.path.startswith("/waiting/"):
                    await asyncio.sleep(0.05)
                    page = self.got("renewal", person, await visitor.get(page.path))
            typed = {"request_id": page.path.rpartition("/")[2], **_chosen()}
            page = self.got("renewal", person, await visitor.post(page.path, typed))
            got = await visitor.get(page.main.all("form")[0].attributes["action"])
            return replace(person, p12=self.got("renewal", person, got).body)

    def statuses(self, what: str, issuer: str) -> set[int]:
        return {status for (kind, name, status) in self.answers if (kind, name) == (what, issuer)}


def _chosen() -> dict[str, str]:
    return {"password": "p12", "confirmation": "p12", "form": "standard"}


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[Crowd]:
    """A gateway with G4, which issues, and G5, which is staged."""
    datadir.create(tmp_path / "world", PASSPHRASE, START - DAY, cost=CHEAP)
    datadir.add_issuer(tmp_path / "world", PASSPHRASE, G5, START - DAY)
    config = Config()
    config = replace(config, policy=replace(config.policy, person_key="ec-p256"))
    async with served(tmp_path, START, config) as world:
        yield Crowd(world, tmp_path)


async def test_from_g4_to_g5_under_load(crowd: Crowd) -> None:
    """Nobody with a good certificate is refused, before, during and after; no answer is a fault of ours; what
    is issued in the moment's second and later is G5's; and once G4 is distrusted its people, and they only,
    get the page that says so."""
    world, ra = crowd.world, crowd.world.ra
    old = []
    for number in range(3):
        found = await enrolled(ra, f"KOLD{number}")
        old.append(Person(found.user_id, found.login_password, found.p12))
    # In their renewal period.
    await world.travel(START + 3 * 365 * DAY - 20 * DAY)
    g4, g5 = generations.named(ra, G4), generations.named(ra, G5)
    at = ra.now() + 6
    await generations.change(ra, g5, Event.PLAN, at, actor="test")

    done = asyncio.Event()

    async def go_on(person: Person) -> None:
        async with asyncio.timeout(300):
            while not done.is_set():
                await crowd.log_in(person)
                await asyncio.sleep(0.3)  # a password's hash is dear, and there are others on the machine

    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        for each in old[1:]:
            group.create_task(go_on(each))
        early = await crowd.pick_up("KEARLY")
        renewing = group.create_task(crowd.renew(old[0]))
        while ra.now() < at + 2:
            world.clock.advance(seconds=1)
            await asyncio.sleep(0.05)
        late = await crowd.pick_up("KLATE")
        new = await renewing
        done.set()
    assert (early.issuer, late.issuer) == (G4, G5)
    assert new.issuer in (G4, G5)
    newest = await crowd.renew(old[1])
    assert (old[1].issuer, newest.issuer) == (G4, G5)
    assert await crowd.log_in(old[1]) == await crowd.log_in(newest) == 200
    assert {status for _, _, status in crowd.answers} == {200}

    done.clear()
    async with crowd.visitor(Role.SERVICE, old[2]) as kept, asyncio.TaskGroup() as group:
        assert (await kept.get("/login")).status == 200
        for each in (late, newest):
            group.create_task(go_on(each))
        await generations.change(ra, g4, Event.DISTRUST, ra.now(), actor="test", reason="keyCompromise")
        async with asyncio.timeout(_PATIENCE):
            # A connection that is open ends; whoever tries again on it gets the page, not the login.
            while True:
                with suppress(aiohttp.ClientError):
                    page = await kept.get("/login")
                    if page.status == 403:
                        break
                await asyncio.sleep(0.02)
        assert "この発行者の証明書は使用できません" in page.main.text
        assert G4 in page.main.text
        for _ in range(3):
            assert await crowd.log_in(old[2]) == 403
            assert await crowd.log_in(early) == 403
        done.set()
    assert crowd.statuses("login", G5) == {200}
    assert crowd.statuses("login", G4) == {200, 403}
    assert max(status for _, _, status in crowd.answers) < 500
    assert (await crowd.pick_up("KAFTER")).issuer == G5
