"""From G4 to G5 under load with two workers, one of which is killed in the middle: what all of them do
alike."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ca import datadir
from ca.clock import OffsetClock
from ca.generations.states import Event
from ca.storage import Transaction
from enroll import generations
from enroll.ra import RegistrationAuthority
from enroll.settings import DAY
from gateway.serving.deployment import CLOCK, DEMO_MARKER, Deployment, open_deployment
from gateway.web.context import Role
from tests.cli.conftest import Shell
from tests.cli.test_serving import Gateway, leader, ready, workers_of
from tests.datadirs import PASSPHRASE, admit, letter_of
from tests.gateway.sites.kit import Here, Visitor, client_context
from tests.gateway.test_rollover import G4, G5, Person
from tests.security.people import enrolled

_PATIENCE = 60.0


@dataclass
class Crowd:
    """People before the gateway. ``answers``: (what, issuer of the certificate, status) of each."""

    gateway: Gateway
    deployment: Deployment
    path: Path
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    broken: int = 0

    async def log_in(self, person: Person) -> int:
        """Until there is an answer: a connection that broke is made again, as browsers do."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                try:
                    async with self._session(person) as session:
                        page = await self._visitor(session, Role.SERVICE).get("/login")
                except (aiohttp.ClientError, ConnectionError):
                    self.broken += 1
                    continue
                self.answers["login", person.issuer, page.status] += 1
                return page.status

    async def pick_up(self, user_id: str, password: str, request_id: str) -> Person:
        """From the mail to the file, on the pages."""
        async with self._session(None) as session:
            visitor = self._visitor(session, Role.PICKUP)
            await visitor.post("/login", {"user_id": user_id, "password": password})
            typed = {"request_id": request_id, "password": "p12", "confirmation": "p12", "form": "standard"}
            page = await visitor.post("/certificate", typed)
            assert page.path == "/certificate/download"
            return Person(user_id, "", (await visitor.get("/download")).body)

    async def everybody(self, wanted: int, person: Person) -> None:
        """Until each worker has answered so; from then on none answers otherwise."""
        seen = set[int]()
        async with asyncio.timeout(_PATIENCE):
            while seen != {0, 1}:
                before = len(self._asked())
                if await self.log_in(person) != wanted:
                    seen.clear()
                    continue
                while len(asked := self._asked()) == before:
                    await asyncio.sleep(0.01)
                seen |= {each["worker"] for each in asked[before:] if each["status"] == wanted}

    def _asked(self) -> list[dict[str, Any]]:
        whole = self.gateway.log.read_text().rpartition("\n")[0]
        found = [_line(text) for text in whole.splitlines()]
        return [each for each in found if each.get("kind") == "access" and each["path"] == "/login"]

    def _session(self, person: Person | None) -> aiohttp.ClientSession:
        p12, password = (person.p12, person.p12_password) if person else (None, "")
        trusted = client_context(self.deployment.datadir.server_ca_pem, p12, password, self.path)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted, resolver=Here(), use_dns_cache=False)
        )

    def _visitor(self, session: aiohttp.ClientSession, role: Role) -> Visitor:
        host = getattr(self.deployment.config.sites, str(role))[0]
        return Visitor(session, f"https://{host}:{self.gateway.port}")


@pytest.fixture
async def opened(sekisho: Shell) -> AsyncIterator[Deployment]:
    """With G4, which issues, G5, which is staged, and a clock that the test moves for all processes."""
    (sekisho.data / DEMO_MARKER).write_text("{}")
    datadir.add_issuer(sekisho.data, PASSPHRASE, G5, int(OffsetClock(sekisho.data / CLOCK).seconds()))
    deployment = open_deployment(sekisho.data, PASSPHRASE)
    yield deployment
    await deployment.close()


@pytest.mark.slow
async def test_from_g4_to_g5_in_every_worker(opened: Deployment, tmp_path: Path) -> None:
    """The moment comes in all of them at once, whichever was killed just before; nobody with a good
    certificate is refused and no request goes without an answer; distrusted, G4 lets nobody in anywhere."""
    ra, clock = opened.ra, OffsetClock(opened.data / CLOCK)
    old = [await enrolled(ra, f"KOLD{number}") for number in range(2)]
    olds = [Person(each.user_id, each.login_password, each.p12) for each in old]
    new = {}
    for user_id in ("KEARLY", "KLATE1", "KLATE2"):
        await admit(ra, user_id)
        letter = await letter_of(ra, "pickup")
        new[user_id] = letter.value("証明書発行用パスワード"), letter.value("リクエストID")
    g4, g5 = generations.named(ra, G4), generations.named(ra, G5)
    with ExitStack() as stack:
        gateway = stack.enter_context(ready(opened.data, tmp_path, workers=2))
        crowd, done = Crowd(gateway, opened, tmp_path), asyncio.Event()

        async def go_on(person: Person) -> None:
            async with asyncio.timeout(300):
                while not done.is_set():
                    await crowd.log_in(person)
                    await asyncio.sleep(0.05)

        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            for each in olds:
                group.create_task(go_on(each))
            early = await crowd.pick_up("KEARLY", *new["KEARLY"])
            await generations.change(ra, g5, Event.PLAN, ra.now() + DAY, actor="test")
            workers = await asyncio.to_thread(workers_of, gateway)
            os.kill(workers[await asyncio.to_thread(leader, gateway)], signal.SIGKILL)
            clock.travel(DAY + 1)
            late = [await crowd.pick_up(each, *new[each]) for each in ("KLATE1", "KLATE2")]
            for each in late:
                group.create_task(go_on(each))
            for person in (olds[0], late[0]):
                await crowd.everybody(200, person)
            assert [early.issuer, *(each.issuer for each in late)] == [G4, G5, G5]
            assert {status for _, _, status in crowd.answers} == {200}
            await generations.change(ra, g4, Event.DISTRUST, ra.now(), actor="test", reason="keyCompromise")
            await crowd.everybody(403, early)
            await crowd.everybody(200, late[1])
            done.set()
        # What the killed one had at that moment, and no more.
        assert crowd.broken <= 2 * len(olds)
        assert {status for what, issuer, status in crowd.answers if issuer == G5} == {200}
        assert await asyncio.to_thread(_acts, ra, "ca.activated") == 1


def _acts(ra: RegistrationAuthority, action: str) -> int:
    def count(db: Transaction) -> int:
        found = db.one("SELECT count(*) FROM audit WHERE action = :action", {"action": action})
        assert found is not None
        return int(found[0])

    return ra.database.read_now(count)


def _line(text: str) -> dict[str, Any]:
    """A line of the log; {} for one that a worker did not finish, since it was killed meanwhile."""
    try:
        return dict(json.loads(text))
    except ValueError:
        return {}
