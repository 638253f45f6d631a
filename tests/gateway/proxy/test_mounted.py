"""The upstream behind the online service: its own paths stay, the login comes first, callers have names."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from enroll import store
from gateway.demo import upstream as example
from gateway.edge.tls import ClientCertificate
from gateway.proxy.identity import Identity, KeySet, assertion, jwks, rotated
from gateway.proxy.relay import Relay
from gateway.proxy.rules import rules_of
from gateway.proxy.upstream import Upstream, parse_addresses
from gateway.proxy.waiting import Waits
from gateway.serving.upstream import Route, mount
from gateway.sites.service import application
from gateway.sites.service.apart import form_token
from gateway.web import pages, references, sessions
from gateway.web.context import Gate, Role
from gateway.web.hours import Hours
from gateway.web.schema import SCHEMA
from tests import datadirs
from tests.datadirs import admit, clock_of, open_office
from tests.gateway.proxy.upstreams import listening
from tests.gateway.sites.kit import Page, Served, Visitor, serve
from tests.gateway.sites.members import (
    OTHER,
    PASSWORD,
    USER,
    at_home,
    cookies,
    established,
    fetched,
    first_password,
    log_in,
    twice_at_home,
)
from tests.gateway.sites.members import cookies as token_of
from tests.gateway.test_cookies import CLEAN, SENT, fields
from tests.looking import look

ISSUER, AUDIENCE = "https://help.test", "https://service.test"
KEYS = rotated(rotated(KeySet(()), 0), 0)


@pytest.fixture
async def service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Served]:
    """The service site with the example service behind it; its hours, if the test gives some."""
    hours: Hours | None = getattr(request, "param", None)
    monkeypatch.setattr(datadirs, "SCHEMAS", [*datadirs.SCHEMAS, SCHEMA])
    async with open_office(tmp_path) as ra:
        behind = example.application(jwks(KEYS), ISSUER, AUDIENCE, ra.now)
        heard: list[str] = []

        async def who(request: web.Request) -> web.StreamResponse:
            heard.extend(request.headers.getall("Cookie", []))
            return await example.who(request)

        behind.add_routes([web.get(path, who) for path in ("/free/who", "/api/who")])
        async with listening(behind) as (port, runner):

            def both(gate: Gate) -> tuple[web.Application, Relay]:
                gate = replace(gate, hours=hours, start="/app/")
                app = application(gate)
                addresses = parse_addresses([f"http://127.0.0.1:{port}"])
                rules = rules_of({"/app/events": "certificate", "/api": "certificate", "/free": "public"})
                waits = Waits(recheck=0.05)
                identity = Identity(KEYS, ISSUER, AUDIENCE)
                route = Route(Upstream(addresses, waits=waits), rules, identity)
                return app, mount(app, gate, route)

            async with serve(
                ra, tmp_path, Role.SERVICE, both, ClientCertificate.REQUIRE,
                lambda gate: pages.refused(gate, Role.SERVICE),
            ) as served:  # fmt: skip
                await admit(ra, USER)
                served.behind = runner  # type: ignore[attr-defined]
                served.behind_cookies = heard  # type: ignore[attr-defined]
                yield served


JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}


async def test_the_service_asks_for_the_login_first(service: Served) -> None:
    """Whoever has a certificate and no session is led to the login when a page was asked for, else 403."""
    visitor = (await established(service)).visitor(service)
    page = await visitor.get("/app/?a=1", **HTML)
    assert (page.status, page.path) == (200, "/login")
    assert page.main.one("input", name="next").attributes["value"] == "/app/?a=1"
    assert (await visitor.get("/app/who", **JSON)).status == 403
    assert (await visitor.session.put(visitor.origin + "/app/file", data=b"x")).status == 403


async def test_whoever_has_to_log_in_first_is_told_so(service: Served) -> None:
    """With the way there, also those who ask for no page; no administrator could help them."""
    visitor = (await established(service)).visitor(service)
    page = await visitor.get("/app/who?a=1", Accept="*/*")
    assert (page.status, page.h1) == (403, "ログインしてください")
    link = page.main.one("a", class_="button")
    assert (link.text, link.attributes["href"]) == ("ログイン画面を開く", "/login?next=/app/who%3Fa%3D1")
    page = await visitor.post("/app/file", Accept="text/html")
    assert (page.status, page.main.one("a", class_="button").attributes["href"]) == (403, "/login")
    page = await visitor.get("/app/who?lang=en", Accept="*/*")
    assert (page.h1, "administrator" in page.main.text) == ("Please log in first", False)
    assert "www-authenticate" not in page.headers


@pytest.mark.parametrize("path", ["/free%0a", "/app/%0A", "/app/x%0d%0ay", "/free/..%e0%80%afapp"])
async def test_an_odd_path_has_a_page_like_any_other(service: Served, path: str) -> None:
    """A line break in a path, or a spelling that is not the plain one, leads to the login, as does a path
    that needs it; and whoever has no certificate reads that he needs one."""
    path = URL(path, encoded=True).raw_path
    visitor = (await established(service)).visitor(service)
    told = await visitor.get(path, Accept="*/*")
    assert (told.status, told.h1) == (403, "ログインしてください")
    assert (await visitor.get(path, **HTML)).path == "/login"
    nobody = service.visitor()
    page = await nobody.get(path)
    assert (page.status, page.h1) == (403, (await nobody.get("/app/")).h1)


async def test_relay_and_pages_read_one_session(service: Served) -> None:
    """In every odd form the session is nobody's to the relay as well: the login comes first and drops the
    cookie. Where none is needed the request goes on without it, and the answer drops it."""
    logged_in, bare = await twice_at_home(service)
    bare.session.cookie_jar.clear()
    token = token_of(logged_in)
    app = logged_in.origin + "/app/who"

    async def ask(url: str, spelling: str) -> tuple[int, bool, bool]:
        headers = CIMultiDict(("Cookie", line.decode()) for line in fields(spelling, token))
        async with bare.session.get(url, headers=headers) as got:
            dropped = [each for each in got.headers.getall("Set-Cookie", []) if "Max-Age=0" in each]
            return got.status, bool(dropped), "Clear-Site-Data" in got.headers

    for spelling in CLEAN:
        assert await ask(app, spelling) == (200, False, False), spelling
    for spelling in SENT:
        assert await ask(app, spelling) == (403, True, True), spelling
        assert await ask(logged_in.origin + "/free/who", spelling) == (200, True, False), spelling
    assert await ask(logged_in.origin + "/free/who", CLEAN[3]) == (200, False, False)
    heard: list[str] = service.behind_cookies  # type: ignore[attr-defined]
    assert not [each for each in heard if "__host-service" in each.lower()]
    assert heard[-1] == "a=1; b=2"


async def test_whoever_has_to_change_the_first_password_is_told_so(service: Served) -> None:
    """The same; and after the change comes the page that was asked for before the login."""
    initial = await first_password(service)
    visitor = (await fetched(service)).visitor(service)
    page = await visitor.get("/app/?a=1", **HTML)
    following = page.main.one("input", name="next").attributes["value"]
    page = await visitor.post("/login", {"user_id": USER, "password": initial, "next": following}, **HTML)
    assert page.path == "/portal/password"
    assert page.main.one("input", name="next").attributes["value"] == "/app/?a=1"
    told = await visitor.get("/app/who", Accept="*/*")
    assert (told.status, told.h1) == (403, "パスワードを変更してください")
    link = told.main.one("a", class_="button")
    assert link.attributes["href"] == "/portal/password?next=/app/who"
    fields = {"current": initial, "new": "short", "confirmation": "short", "next": following}
    page = await visitor.post("/portal/password", fields, **HTML)
    following = page.main.one("input", name="next").attributes["value"]
    fields |= {"new": PASSWORD, "confirmation": PASSWORD, "next": following}
    page = await visitor.post("/portal/password", fields, **HTML)
    assert (page.status, page.path, page.h1) == (200, "/app/", "サービスの例")


async def test_the_upstream_is_told_who_calls(service: Served) -> None:
    """User, organisation and level arrive signed; the cookie of our session does not arrive."""
    visitor = await at_home(service)
    page = await visitor.get("/app/who")
    claims = json.loads(page.body)
    assert (claims["sub"], claims["org"], claims["level"]) == (USER, datadirs.POLICY_NUMBER, "login")
    assert claims["aud"] == AUDIENCE
    assert "Cache-Control" not in page.headers  # the service's own headers stay on its own pages
    assert (await visitor.get("/app/", **HTML)).dom.one("h1").text == "サービスの例"


async def test_the_services_own_paths_stay_its_own(service: Served) -> None:
    """No method and no path below them reaches the upstream."""
    visitor = await at_home(service)
    for path in ("/portal/nothing", "/login/x", "/logout/", "/assets/x", "/favicon.ico/x"):
        assert (await visitor.get(path)).h1 != ""
        assert (await visitor.get(path)).status == 404
    assert (await visitor.get("/portal/")).status == 200
    assert (await visitor.post("/portal/")).status in (404, 405)


async def test_a_service_worker_is_told_to_go(service: Served) -> None:
    """Its script is refused in words, before anybody logs in as well. One that is in a browser already is
    dropped with what it stored; a page that asks for one loses nothing."""
    visitor = await at_home(service)
    asks = {"Service-Worker": "script", "Sec-Fetch-Dest": "serviceworker", "Sec-Fetch-Mode": "same-origin"}
    for path in ("/app/who", "/free/who", "/nothing.js"):
        there = await visitor.get(path, **asks, Referer=visitor.origin + path)
        assert (there.status, there.h1) == (403, "この機能はご利用いただけません")
        assert there.headers["Clear-Site-Data"] == '"storage"'
        asked = await visitor.get(path, **asks, Referer=visitor.origin + "/app/")
        assert (asked.status, "Clear-Site-Data" in asked.headers) == (403, False)
    await visitor.post("/logout")
    there = await visitor.get("/app/who", **asks)
    assert (there.status, there.headers["Clear-Site-Data"]) == (403, '"storage"')


async def test_a_certificate_is_enough_where_the_rules_say_so(service: Served) -> None:
    """There the user is the certificate's; a disabled one is not let in."""
    visitor = (await established(service)).visitor(service)
    async with visitor.session.get(visitor.origin + "/app/events") as got:
        assert got.status == 200
        assert await got.content.readline() == b"data: 1\n"
    await service.ra.database.write(lambda db: store.disable_user(db, USER, service.ra.now()))
    assert (await visitor.get("/app/events")).status == 403


async def test_a_public_path_asks_for_a_certificate_and_nothing_of_its_user(service: Served) -> None:
    """As the README says; on a certificate's path the user is named, and asked whether he may still."""
    for path in ("/free/who", "/api/who"):
        assert (await service.visitor().get(path)).h1 == "クライアント証明書が提示されませんでした"
    visitor = (await established(service)).visitor(service)
    free, api = [json.loads((await visitor.get(path)).body) for path in ("/free/who", "/api/who")]
    assert (free["level"], free["cert_state"], set(api) - set(free)) == (
        "certificate",
        "valid",
        {"sub", "org"},
    )
    assert (api["sub"], api["org"], api["level"]) == (USER, datadirs.POLICY_NUMBER, "certificate")
    db = service.ra.database
    await db.write(lambda db: db.execute("UPDATE organisations SET disabled_at = 1"))
    assert [(await visitor.get(path)).status for path in ("/free/who", "/api/who")] == [200, 403]


# What another process may do between two requests of somebody who was let in a moment ago.
_ELSEWHERE = {
    "logged out": "DELETE FROM sessions",
    "user disabled": "UPDATE users SET disabled_at = 1",
    "organisation disabled": "UPDATE organisations SET disabled_at = 1",
    "certificate superseded": "UPDATE enrollments SET state = 'superseded'",
    "another first password": "UPDATE users SET password_initial = 1",
}


@pytest.mark.parametrize("change", _ELSEWHERE)
async def test_a_change_by_another_process_counts_for_the_next_request(service: Served, change: str) -> None:
    """Who was let in is asked for again as soon as anything was written, by whomever."""
    visitor = await at_home(service)
    assert [(await visitor.get("/app/who", **JSON)).status for _ in range(3)] == [200] * 3
    with sqlite3.connect(service.ra.database.path) as another:
        assert another.execute(_ELSEWHERE[change]).rowcount > 0
    another.close()
    assert (await visitor.get("/app/who", **JSON)).status == 403


async def test_use_keeps_a_session_open_and_quiet_ends_it(service: Served) -> None:
    """Idle for half an hour ends it; two hours of use do not, however little of it is looked up anew."""
    visitor = await at_home(service)
    for _ in range(12):
        clock_of(service.ra).advance(seconds=10 * 60)
        assert (await visitor.get("/app/who", **JSON)).status == 200
        assert (await visitor.get("/app/who", **JSON)).status == 200
    clock_of(service.ra).advance(seconds=30 * 60)
    assert (await visitor.get("/app/who", **JSON)).status == 403


async def test_a_session_ends_at_its_absolute_limit(service: Served) -> None:
    """Also in the middle of use."""
    visitor = await at_home(service)
    clock, begun = clock_of(service.ra), service.ra.now()
    while service.ra.now() < begun + sessions.ABSOLUTE - 1:
        clock.set(min(service.ra.now() + 20 * 60, begun + sessions.ABSOLUTE - 1))
        assert (await visitor.get("/app/who", **JSON)).status == 200
    clock.advance(seconds=1)
    assert (await visitor.get("/app/who", **JSON)).status == 403


async def test_nobody_is_taken_for_the_last_one(service: Served) -> None:
    """Somebody else's certificate with the cookie of one who was just let in, and that one's certificate
    with another cookie or none: 403."""
    mine = await at_home(service)
    [(_, cookie)] = mine.session.cookie_jar.filter_cookies(URL(mine.origin)).items()
    await admit(service.ra, OTHER)
    others = await established(service, OTHER)
    thief, token = others.visitor(service), cookie.value
    wrong = ("A" if token[0] != "A" else "B") + token[1:]
    mine.session.cookie_jar.clear()
    for visitor, value in ((thief, token), (mine, wrong), (mine, "")):
        let_in = await mine.get("/app/who", **JSON, Cookie=f"{cookie.key}={token}")
        assert let_in.status == 200
        refused = await visitor.get("/app/who", **JSON, Cookie=f"{cookie.key}={value}")
        assert refused.status == 403


async def test_logging_out_ends_an_open_websocket(service: Served) -> None:
    """A WebSocket is its user's as long as the session lasts."""
    visitor = await at_home(service)
    url = visitor.origin + "/app/socket"
    async with visitor.session.ws_connect(url, origin=visitor.origin) as ws:
        await ws.send_str("こんにちは")
        assert await ws.receive_str() == f"{USER}: こんにちは"
        await sessions.end_all(service.ra, USER, actor="test")
        async with asyncio.timeout(60):
            while not (await ws.receive()).type.name.startswith(("CLOS", "ERROR")):
                pass


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://service.test"])
async def test_another_sites_page_cannot_act_here(service: Served, origin: str) -> None:
    """V40: neither by POST nor by WebSocket, certificate and session notwithstanding."""
    from aiohttp import WSServerHandshakeError

    visitor = await at_home(service)
    with pytest.raises(WSServerHandshakeError) as refused:
        await visitor.session.ws_connect(visitor.origin + "/app/socket", origin=origin)
    assert refused.value.status == 403
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    put = await visitor.session.put(visitor.origin + "/app/file", data=b"x", headers=headers)
    assert put.status == 403


async def test_a_page_without_a_referrer_acts_on_its_own_site(service: Served) -> None:
    """Under `Referrer-Policy: no-referrer` its POST has the Origin `null`: `same-origin` decides,
    alike for the upstream and for a page of ours; `null` alone is refused by both."""
    visitor = await at_home(service)
    for sites, status in (("same-origin", 200), ("cross-site", 403), ("none", 403), ("", 403)):
        headers = {"Origin": "null"} | ({"Sec-Fetch-Site": sites} if sites else {})
        put = await visitor.session.put(visitor.origin + "/app/file", data=b"x", headers=headers)
        assert put.status == status, sites
        form = {"session": "x", "token": form_token(cookies(visitor), "/portal/sessions/end")}
        ended = await visitor.session.post(
            visitor.origin + "/portal/sessions/end", data=form, headers=headers
        )
        assert (ended.status == 403) == (status == 403), sites


async def test_files_of_size_go_both_ways(service: Served) -> None:
    """Nothing on the way has an opinion about length."""
    visitor = await at_home(service)
    content = bytes(range(256)) * 20_000
    headers = {"Origin": visitor.origin, "Expect": "100-continue"}
    got = await visitor.session.put(visitor.origin + "/app/file", data=content, headers=headers)
    assert await got.json() == {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    page = await visitor.get("/app/file/5000000")
    assert len(page.body) == 5_000_000


async def test_a_service_that_is_down_has_a_page(service: Served) -> None:
    """502 in our look, in the visitor's language, with a number for the help desk."""
    visitor = await at_home(service)
    await service.behind.cleanup()  # type: ignore[attr-defined]
    page = await visitor.get("/app/who")
    assert (page.status, page.h1) == (502, "サービスに接続できませんでした")
    kept = noted(service, page)
    assert (kept["code"], kept["detail"]["user"]) == ("unreachable", USER)
    assert kept["detail"]["common_name"].startswith(USER)
    assert kept["detail"]["cause"].startswith("no address of [upstream] took the connection")


async def test_a_failure_without_a_login_names_the_certificate(service: Served) -> None:
    """The twin: where nobody logged in, no user is named."""
    visitor = (await established(service)).visitor(service)
    await service.behind.cleanup()  # type: ignore[attr-defined]
    detail = noted(service, await visitor.get("/app/events"))["detail"]
    assert detail["common_name"].startswith(USER)
    assert "user" not in detail


def noted(service: Served, page: Page) -> dict[str, Any]:
    """What the help desk finds under the number of a page."""
    number = page.main.one("p", class_="reference").one("strong").text
    found = references.found(look(service.ra.database), number)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"aud": "https://other.test"}, 0),
        ({"iss": "https://other.test"}, 0),
        ({"iss": None}, 0),
        ({"exp": None}, 0),
        ({}, 70),
        ({}, -70),
    ],
)
def test_the_example_refuses_what_is_not_for_it_or_not_of_now(change: dict[str, Any], at: int) -> None:
    """Another gate's, another audience's, an old one and one from the future are 401; so is another key's."""
    made = 1_800_000_000
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": made, "exp": made + 60, "sub": USER}

    def verified(token: str, after: int = 0, keys: KeySet = KEYS) -> dict[str, Any] | None:
        return example.verified(token, jwks(keys), ISSUER, AUDIENCE, made + after)

    token = assertion(KEYS.signing, claims)
    assert verified(token) == claims
    assert verified(assertion(KEYS.signing, claims | change), at) is None
    assert verified(token, keys=rotated(KeySet(()), 0)) is None
    for broken in (token + "A", "", token.replace(".", "")):
        assert verified(broken) is None


@pytest.mark.parametrize("request_line", ["GET /app/events", "GET /app/file/2000000000", "PUT /app/file"])
async def test_the_example_is_not_at_fault_when_its_caller_leaves(
    caplog: pytest.LogCaptureFixture, request_line: str
) -> None:
    """Within a stream, a download or an upload: the handler ends, and no line is written."""
    made = 1_800_000_000
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": made, "exp": made + 60, "sub": USER}
    head = f"{request_line} HTTP/1.1\r\nHost: a\r\nSekisho-Assertion: {assertion(KEYS.signing, claims)}\r\n"
    length = "Content-Length: 9\r\n\r\nabc" if request_line.startswith("PUT") else "\r\n"
    app = example.application(jwks(KEYS), ISSUER, AUDIENCE, lambda: made)
    async with listening(app) as (port, _), asyncio.timeout(60):
        before = len(asyncio.all_tasks())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((head + length).encode())
        if length == "\r\n":
            assert (await reader.read(15)) == b"HTTP/1.1 200 OK"
        while len(asyncio.all_tasks()) == before:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        writer.transport.abort()
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.05)
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []


@pytest.mark.parametrize("service", [Hours(((8 * 60, 18 * 60),))], indirect=True)
async def test_hours_that_are_stated_are_kept(service: Served) -> None:
    """R55: on a Sunday the service behind is closed and says until when, while the portal and what needs no
    login go on; it opens on the next business day, and closes for whoever is inside, to the second."""
    mine, at = await established(service), clock_of(service.ra)

    async def inside(moment: int) -> Visitor:
        at.set(moment)
        visitor = mine.visitor(service)
        await log_in(visitor)
        return visitor

    visitor = await inside(at.seconds())
    closed = await visitor.get("/app/who", follow=False, **HTML)
    opens = 1_795_474_800  # Tuesday, 2026-11-24 08:00: the Monday is a holiday
    assert (closed.status, closed.h1) == (503, "ただいまご利用時間外です")
    assert closed.headers["Retry-After"] == str(opens - at.seconds())
    assert "次の開始日時：2026年11月24日（火）08:00" in closed.main.lines
    portal = await visitor.get("/portal/")
    assert "月～金曜日 8:00～18:00（祝日、12/31～1/3を除く）" in portal.main.text
    assert not portal.main.all("a", href="/app/")
    assert (await visitor.get("/free/who")).status == 200
    assert (await (await inside(opens - 1)).get("/app/who")).status == 503
    visitor = await inside(opens)
    assert (await visitor.get("/app/who")).status == 200
    assert (await visitor.get("/portal/")).main.one("a", href="/app/").text == "オンラインサービスを開く"
    visitor = await inside(opens + 10 * 3_600 - 1)
    assert (await visitor.get("/app/who")).status == 200
    at.set(opens + 10 * 3_600)
    assert (await visitor.get("/app/who")).status == 503


async def test_hours_that_are_not_kept_are_not_stated(service: Served) -> None:
    """The twin: without hours nothing is closed on a Sunday, and no page speaks of any."""
    mine = await established(service)
    visitor = mine.visitor(service)
    pages_seen = [await visitor.get("/login")]
    pages_seen.append(await log_in(visitor))
    assert (await visitor.get("/app/who")).status == 200
    for page in pages_seen:
        assert "ご利用時間" not in page.main.text
