"""Users of the online service: what they hold, and the steps that bring them in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import ca.store
from enroll import store
from enroll.people import register
from enroll.people.register import Person
from enroll.requests import issuance, pickup
from enroll.requests.enrollment import Enrollment
from gateway.edge.tls import ClientCertificate
from gateway.sites.service import application
from gateway.web import pages
from gateway.web.context import Role
from tests.datadirs import admit, letter_of, open_office
from tests.gateway.sites.kit import Page, Served, Visitor, serve
from tests.looking import look

USER, OTHER, ADMIN, STRANGER = "K12345678", "K22222222", "A11111111", "K99999999"
FOREIGN_POLICY = "87654321"
PASSWORD = "Tegata2026"
ADDRESS = "192.0.2.1"
DAY = 86_400


@asynccontextmanager
async def online_service(tmp_path: Path, *, fresh: bool = False) -> AsyncIterator[Served]:
    """The site on a listener that requires certificates; ``fresh``: with hosts to choose again on."""
    async with (
        open_office(tmp_path) as ra,
        serve(
            ra,
            tmp_path,
            Role.SERVICE,
            application,
            ClientCertificate.REQUIRE,
            lambda gate: pages.refused(gate, Role.SERVICE),
            fresh=fresh,
        ) as served,
    ):
        yield served


@dataclass
class Pass:
    """A certificate in somebody's hands."""

    p12: bytes
    request_id: str

    def visitor(self, service: Served) -> Visitor:
        return service.visitor(self.p12, "pw")


async def fetched(service: Served, user_id: str = USER) -> Pass:
    """The newest pick-up letter turned into a certificate."""
    ra = service.ra
    letter = await letter_of(ra, "pickup")
    opened = await pickup.authenticate(ra, user_id, letter.value("証明書発行用パスワード"), address=ADDRESS)
    return await downloaded(service, opened.request_id, user_id)


async def downloaded(service: Served, request_id: str, user_id: str = USER) -> Pass:
    ra = service.ra
    await issuance.submit(ra, request_id, actor=user_id)
    await issuance.complete(ra, request_id)
    token = await issuance.prepare_download(ra, request_id, "pw", "standard", actor=user_id)
    got = await issuance.download(ra, token, request_id, actor=user_id)
    return Pass(got.content, request_id)


async def first_password(service: Served) -> str:
    return (await letter_of(service.ra, "user_id")).value("パスワード")


async def log_in(visitor: Visitor, user_id: str = USER, password: str = PASSWORD) -> Page:
    return await visitor.post("/login", {"user_id": user_id, "password": password})


async def established(service: Served, user_id: str = USER) -> Pass:
    """A certificate whose user has logged in with it, chosen a password, and logged out."""
    initial = await first_password(service)
    mine = await fetched(service, user_id)
    visitor = mine.visitor(service)
    await log_in(visitor, user_id, initial)
    page = await visitor.post(
        "/portal/password", {"current": initial, "new": PASSWORD, "confirmation": PASSWORD}
    )
    assert (page.status, page.path) == (200, "/portal/")
    await visitor.post("/logout")
    return mine


async def at_home(service: Served, user_id: str = USER) -> Visitor:
    """An established user who is logged in."""
    visitor = (await established(service, user_id)).visitor(service)
    assert (await log_in(visitor, user_id)).path == "/portal/"
    visitor.password = PASSWORD
    return visitor


async def twice_at_home(service: Served) -> tuple[Visitor, Visitor]:
    """One user, logged in with one certificate in two browsers."""
    mine = await established(service)
    visitors = mine.visitor(service), mine.visitor(service)
    for visitor in visitors:
        assert (await log_in(visitor)).path == "/portal/"
    return visitors


async def admin_at_home(service: Served) -> Visitor:
    await admit(service.ra, ADMIN, role="admin")
    return await at_home(service, ADMIN)


async def foreign_user(service: Served) -> None:
    """A user of another organisation."""
    await register.add_organisation(service.ra, FOREIGN_POLICY, "桜田門産業", actor="test")
    person = Person(FOREIGN_POLICY, "別所 花子", "hanako@example.jp", STRANGER)
    await register.add_user(service.ra, person, channel="paper", actor="test")


def cookies(visitor: Visitor) -> str:
    """The session token that a visitor's browser holds."""
    return next(c.value for c in visitor.session.cookie_jar if c.key == "__Host-service")


def ended_by(service: Served, actor: str) -> list[object]:
    """What the trail says of the sessions that somebody ended."""
    trail = store.audit_page(look(service.ra.database), USER, 100)
    return [row["detail"] for row in trail if (row["actor"], row["action"]) == (actor, "session.ended")]


def newest(service: Served, user_id: str) -> Enrollment:
    return store.enrollments_of(look(service.ra.database), user_id)[0]


def fingerprint_of(service: Served, request_id: str) -> str:
    found = ca.store.find_by_order(look(service.ra.database), request_id)
    assert found is not None
    assert found.fingerprint is not None
    return found.fingerprint
