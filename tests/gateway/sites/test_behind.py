"""The host of the service behind the gate, where the portal has its own: the way in is its ticket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from enroll import store
from enroll.ra import token_hash
from gateway.edge.tls import ClientCertificate
from gateway.serving.config import Config, parse_config, settings_of
from gateway.serving.settings.reach import Sites
from gateway.sites.behind import application
from gateway.sites.service import application as portal_application
from gateway.web import pages, sessions
from gateway.web.context import Role
from gateway.web.words import REFUSALS
from tests.datadirs import admit, clock_of, open_office
from tests.gateway.sites import kit
from tests.gateway.sites.kit import Served, serve
from tests.gateway.sites.members import OTHER, USER, established, fetched, log_in
from tests.looking import look, rows

HERE = sessions.Client("192.0.2.1", "Chromium 156")


@pytest.fixture
async def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """The site, without an upstream, and one user."""
    monkeypatch.setitem(kit.HOSTS, Role.BEHIND, "behind.test")
    async with (
        open_office(tmp_path) as ra,
        serve(
            ra, tmp_path, Role.BEHIND, application, ClientCertificate.REQUIRE,
            lambda gate: pages.refused(gate, Role.BEHIND),
        ) as served,
    ):  # fmt: skip
        await admit(ra, USER)
        yield served


async def at_the_portal(served: Served, user_id: str = USER) -> sessions.Session:
    """A session of the portal."""
    user = store.user(look(served.ra.database), user_id)
    assert user is not None
    return await sessions.start(
        served.ra, web.Response(), "service", user_id, HERE, fingerprint="f",
        password_mark=user.password_mark,
    )  # fmt: skip


def left(served: Served) -> list[str]:
    found = look(served.ra.database).rows("SELECT site FROM sessions ORDER BY site")
    return [site for (site,) in found]


async def test_a_ticket_opens_a_session_once(behind: Served) -> None:
    """It leads on to the path that was asked for; the session is this host's own, and not for the portal. A
    second time the way leads by the portal."""
    ra = behind.ra
    visitor = (await fetched(behind)).visitor(behind)
    ticket = await sessions.hand_over(ra, await at_the_portal(behind))
    there = f"/login?ticket={ticket}&next=/app/%3Fa%3D1"
    page = await visitor.get(there, follow=False)
    assert (page.status, page.headers["Location"]) == (303, "/login?entered&next=/app/%3Fa%3D1")
    page = await visitor.get(page.headers["Location"], follow=False)
    assert (page.status, page.headers["Location"]) == (303, "/app/?a=1")
    assert [each.key for each in visitor.session.cookie_jar] == ["__Host-behind"]
    assert left(behind) == ["behind", "service"]
    (cookie,) = visitor.session.cookie_jar
    print_ = look(ra.database).one("SELECT fingerprint FROM sessions WHERE site = 'behind'")
    fingerprint = print_[0]
    for site, opens in (("behind", True), ("service", False)):
        found = await sessions.find_by_token(ra, cookie.value, site, fingerprint=fingerprint)
        assert (found is not None) is opens
    page = await visitor.get("/login?next=/app/", follow=False)
    assert page.headers["Location"] == "/app/"
    visitor.session.cookie_jar.clear()
    portal = behind.gate.origins[Role.SERVICE]
    page = await visitor.get(there, follow=False)
    assert (page.status, page.headers["Location"]) == (303, f"{portal}/portal/open?next=/app/%3Fa%3D1")


@pytest.mark.parametrize(("seconds", "good"), [(59, True), (60, False), (-1, True), (-60, False)])
async def test_a_ticket_is_good_for_a_minute(behind: Served, seconds: int, good: bool) -> None:
    """Or where the clock of the node that has made it is less than that ahead. Then it opens
    nothing; nor does a session's token, or nothing at all."""
    session = await at_the_portal(behind)
    ticket = await sessions.hand_over(behind.ra, session)
    clock_of(behind.ra).advance(seconds=seconds)
    found = await sessions.take_over(behind.ra, ticket)
    assert (found is not None) is good
    assert found is None or (found.subject, found.opened_by) == (USER, session.token_hash)
    for wrong in ("", ticket, session.token_hash, "x" * 101, "\u00e9"):
        assert await sessions.take_over(behind.ra, wrong) is None
    assert left(behind) == ["service"]


async def test_a_ticket_is_for_its_user_only(behind: Served) -> None:
    """With another user's certificate it opens nothing and is used up; the page says whose certificate is
    wanted."""
    visitor = (await fetched(behind)).visitor(behind)
    await admit(behind.ra, OTHER)
    ticket = await sessions.hand_over(behind.ra, await at_the_portal(behind, OTHER))
    page = await visitor.get(f"/login?ticket={ticket}", follow=False)
    assert (page.status, page.h1) == (403, REFUSALS["wrong_user"].title[0])
    assert left(behind) == ["service"]


async def test_what_ends_at_the_portal_ends_here(behind: Served) -> None:
    """Logging out there, and ending that session from elsewhere; the twin: another's goes on."""
    ra = behind.ra
    for how in ("logout", "list"):
        session, other = await at_the_portal(behind), await at_the_portal(behind)
        for opener in (session, other):
            await sessions.start(
                ra, web.Response(), "behind", USER, HERE, fingerprint="f", opened_by=opener.token_hash
            )
        pending = await sessions.hand_over(ra, session)
        if how == "logout":
            await sessions.end(ra, session)
        else:
            await sessions.end_one(ra, session.token_hash[:16], actor=USER, subject=USER)
        assert left(behind) == ["behind", "service"]
        assert await sessions.take_over(ra, pending) is None
        assert len(sessions.listed(look(ra.database), ra.now(), USER)) == 2
        await sessions.end_all(ra, USER, actor=USER)
        assert left(behind) == []


async def test_a_ticket_is_no_session(behind: Served) -> None:
    """It is in no list, and opens no page as a cookie."""
    ticket = await sessions.hand_over(behind.ra, await at_the_portal(behind))
    at = behind.ra.now()
    assert [row["site"] for row in sessions.listed(look(behind.ra.database), at)] == ["service"]
    for site in ("service", "behind"):
        assert await sessions.find_by_token(behind.ra, ticket, site, fingerprint="f") is None
    assert token_hash(ticket) in str(rows(look(behind.ra.database), "SELECT * FROM sessions"))


async def test_everything_else_of_ours_is_at_the_portal(behind: Served) -> None:
    """And only for who opens it; no path of ours is the upstream's."""
    visitor = (await fetched(behind)).visitor(behind)
    portal = behind.gate.origins[Role.SERVICE]
    for path, there in (
        ("/", "/portal/"), ("/portal", "/portal/"), ("/portal/reissue", "/portal/"), ("/logout", "/logout"),
        ("/login", "/portal/open?next=/portal/"), ("/login?next=//evil.test", "/portal/open?next=/portal/"),
    ):  # fmt: skip
        page = await visitor.get(path, follow=False)
        assert (page.status, page.headers["Location"]) == (303, portal + there), path
        page = await visitor.get(path, follow=False, **{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"})
        assert page.status == 403
    assert (await visitor.post("/login", {"user_id": USER, "password": "x"})).status == 405


async def test_the_portal_leads_there_with_a_ticket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the login, too; the form's policy allows that way and no other. A path only, never a host."""
    monkeypatch.setitem(kit.HOSTS, Role.BEHIND, "behind.test")
    async with (
        open_office(tmp_path) as ra,
        serve(
            ra, tmp_path, Role.SERVICE, lambda gate: portal_application(replace(gate, start="/app/")),
            ClientCertificate.REQUIRE,
        ) as served,
    ):  # fmt: skip
        await admit(ra, USER)
        visitor = (await established(served)).visitor(served)
        page = await visitor.get("/portal/open?next=/app/x", follow=False)
        assert page.headers["Location"] == "/login?next=/portal/open%3Fnext%3D/app/x"
        form = await visitor.get("/login")
        policy = form.headers["Content-Security-Policy"]
        assert f"form-action 'self' {served.gate.behind};" in policy
        page = await log_in(visitor)
        assert [a.attributes["href"] for a in page.main.all("a") if "開く" in a.text] == [
            "/portal/open?next=/app/"
        ]
        for asked, follows in (("/app/%3Fa%3D1", "/app/%3Fa%3D1"), ("//evil.test", "/portal/")):
            page = await visitor.get(f"/portal/open?next={asked}", follow=False)
            there, _, ticket = page.headers["Location"].partition("?ticket=")
            assert there == served.gate.behind + "/login"
            token, _, following = ticket.partition("&next=")
            assert following == follows
            assert await sessions.take_over(ra, token) is not None


def test_letters_lead_to_the_portal() -> None:
    """A host of its own is people's way in; without one that of the service is."""
    own = replace(Config(), sites=Sites(portal=("portal.example.jp", "*.again.example.jp")))
    assert settings_of(own).service_url == "https://portal.example.jp:8443/"
    assert settings_of(Config()).service_url == "https://service.localhost:8443/"
    assert parse_config("[sites]\nportal = []").sites.portal == ()
    with pytest.raises(Exception, match=r"sites\.portal: service\.localhost belongs to sites\.service"):
        parse_config('[sites]\nportal = ["service.localhost"]')
