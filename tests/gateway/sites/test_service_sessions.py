"""Sessions at the online service: whose they are, and what ends them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enroll import store
from enroll.people import applications, changes, register
from enroll.ra import token_hash
from gateway.web import sessions
from gateway.web.context import Role
from gateway.web.words import REFUSALS
from tests.datadirs import POLICY_NUMBER, admit, clock_of
from tests.gateway.sites.kit import Served
from tests.gateway.sites.members import (
    OTHER,
    PASSWORD,
    USER,
    at_home,
    cookies,
    ended_by,
    established,
    fetched,
    log_in,
    twice_at_home,
)
from tests.looking import look, rows


async def test_a_session_belongs_to_its_certificate(service: Served) -> None:
    """The cookie with another good certificate is worth nothing, even of the same user."""
    visitor = await at_home(service)
    await admit(service.ra, OTHER)
    other = (await fetched(service, OTHER)).visitor(service)
    stolen = {"Cookie": f"__Host-service={cookies(visitor)}"}
    assert (await other.get("/portal/", **stolen)).path == "/login"
    assert (await visitor.get("/portal/")).path == "/portal/"


async def test_a_disabled_user_is_out_at_the_next_request(service: Served) -> None:
    """E27: the certificate is revoked, and the page says so."""
    visitor = await at_home(service)
    await register.disable_user(service.ra, USER, actor="desk")
    page = await visitor.get("/portal/")
    assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")


async def test_a_disabled_organisations_users_are_out_at_the_next_request(service: Served) -> None:
    """E6: nothing is revoked, and yet nobody is let in; the session is over."""
    visitor = await at_home(service)
    await changes.disable_organisation(service.ra, POLICY_NUMBER, actor="desk")
    page = await visitor.get("/portal/")
    assert (page.status, page.h1) == (403, REFUSALS["user_disabled"].title[0])
    page = await log_in(visitor)
    assert (page.status, page.h1) == (403, REFUSALS["user_disabled"].title[0])
    await changes.enable_organisation(service.ra, POLICY_NUMBER, actor="desk")
    assert (await visitor.get("/portal/")).path == "/login"
    assert (await log_in(visitor)).path == "/portal/"


async def test_a_reissued_away_certificate_is_out_at_the_next_request(service: Served) -> None:
    """D3: reissued at once, the old certificate opens nothing from then on."""
    visitor = await at_home(service)
    await applications.reissue(service.ra, USER, "lost_or_stolen", actor="desk")
    page = await visitor.get("/portal/")
    assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")


async def test_an_idle_session_ends_and_the_login_leads_back(service: Served) -> None:
    """Half an hour without a request: the page says why it asks; whoever comes new is told nothing."""
    visitor = await at_home(service)
    clock_of(service.ra).advance(seconds=30 * 60)
    page = await visitor.get("/portal/reissue?lang=ja")
    assert page.path == "/login"
    following = page.main.one("input", name="next").attributes["value"]
    assert following == "/portal/reissue?lang=ja"
    assert page.main.one("div", role="status").text.endswith("もう一度ログインしてください。")
    # What a form was filled in with is not taken then; after the login one is where it was typed.
    page = await visitor.post("/portal/reissue", {"reason": "mail_lost"})
    assert "入力された内容は受け付けていません。" in page.main.one("div", role="status").text
    assert page.main.one("input", name="next").attributes["value"] == "/portal/reissue"
    page = await visitor.post("/portal/sessions/end", {"session": "others"})
    assert page.main.one("input", name="next").attributes["value"] == "/portal/"
    visitor.session.cookie_jar.clear()
    assert not (await visitor.get("/login")).main.all("div", role="status")


async def test_logout_ends_the_session_though_the_certificate_stays(service: Served) -> None:
    """The page offers another certificate on a fresh host (E12)."""
    visitor = await at_home(service)
    token = cookies(visitor)
    assert (await visitor.get("/logout")).buttons() == ["ログアウト"]
    page = await visitor.post("/logout")
    assert (page.path, page.h1) == ("/logout", "ログアウトしました")
    links = {each.text: each.attributes["href"] for each in page.main.all("a")}
    assert links["もう一度ログインする"] == "/login"
    assert links["別の証明書でログインする"].endswith(f"{service.gate.try_suffix}/")
    own = replace(service.gate, fresh={Role.SERVICE: ".login.test"})
    assert own.fresh_origin(Role.SERVICE).endswith(".login.test")
    assert (await visitor.get("/portal/", Cookie=f"__Host-service={token}")).path == "/login"
    assert "logout" in [row["action"] for row in store.audit_page(look(service.ra.database), USER, 9)]


async def test_other_sessions_are_listed_and_ended(service: Served) -> None:
    """One's own sessions only; another user's number is not found."""
    visitor, elsewhere = await twice_at_home(service)
    page = await visitor.get("/portal/sessions")
    assert [row[0] for row in page.main.table()[1:]] == ["オンラインサービス"] * 2
    number = page.main.all("button", name="session")[0].attributes["value"]
    await admit(service.ra, OTHER)
    stranger = await at_home(service, OTHER)
    assert (await stranger.post("/portal/sessions/end", {"session": number})).status == 404
    assert (await elsewhere.get("/portal/")).path == "/portal/"
    page = await visitor.post("/portal/sessions/end", {"session": number})
    assert page.main.one("div", role="status").text == "選択したログインを終了しました。"
    assert ended_by(service, USER) == [{"count": 1, "sites": ["service"]}]
    assert (await elsewhere.get("/portal/")).path == "/login"
    assert (await visitor.get("/portal/")).path == "/portal/"


_EDGE = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (_EDGE, "Microsoft Edge 142"),
        ("curl/8.0 <b>\xff", "不明"),
        ("Chrome/99999999 Windows", "Google Chrome 9999"),
    ],
)
async def test_a_login_is_known_again_by_address_and_browser(service: Served, agent: str, told: str) -> None:
    """The list shows where each began; of what a browser says of itself a known name is kept, no more."""
    mine = await established(service)
    visitor = mine.visitor(service)
    visitor.headers["User-Agent"] = agent
    await log_in(visitor)
    page = await visitor.get("/portal/sessions")
    [heading, row] = page.main.table()
    assert heading[:3] == ["サイト", "接続元", "ブラウザ"]
    assert row[:3] == ["オンラインサービス", "127.0.0.1", told]
    kept = str(rows(look(service.ra.database), "SELECT * FROM sessions"))
    assert "Windows" not in kept
    assert "curl" not in kept
    await visitor.post("/logout")
    assert rows(look(service.ra.database), "SELECT * FROM sessions") == []


# Whatever ends a session takes its row away: open connections are asked again when the database changes.
_ENDINGS = {
    "logged out": lambda service, here, there: there.post("/logout"),
    "logged in again": lambda service, here, there: log_in(there),
    "ended from elsewhere": lambda service, here, there: here.post(
        "/portal/sessions/end", {"session": token_hash(cookies(there))[:16]}
    ),
    "all others ended": lambda service, here, there: here.post("/portal/sessions/end", {"session": "others"}),
    "password changed": lambda service, here, there: here.post(
        "/portal/password", {"current": PASSWORD, "new": "Sekisho2026", "confirmation": "Sekisho2026"}
    ),
    "ended by the operator": lambda service, here, there: sessions.end_one(
        service.ra, token_hash(cookies(there))[:16], actor="desk"
    ),
    "all ended by the operator": lambda service, here, there: sessions.end_all(
        service.ra, USER, actor="desk"
    ),
}


@pytest.mark.parametrize("ending", _ENDINGS)
async def test_whatever_ends_a_session_takes_its_row_away(service: Served, ending: str) -> None:
    """At once, not at the session's next request: it may have none, and a WebSocket that is open."""
    here, there = await twice_at_home(service)
    opened = token_hash(cookies(there))
    kept = "SELECT 1 FROM sessions WHERE token_hash = :token"
    assert rows(look(service.ra.database), kept, {"token": opened}) != []
    await _ENDINGS[ending](service, here, there)
    assert rows(look(service.ra.database), kept, {"token": opened}) == []


async def test_all_other_sessions_are_ended_together(service: Served) -> None:
    """ "others" leaves the one that asked."""
    visitor, elsewhere = await twice_at_home(service)
    await visitor.post("/portal/sessions/end", {"session": "others"})
    assert (await elsewhere.get("/portal/")).path == "/login"
    assert (await visitor.get("/portal/sessions")).main.all("button") == []
    assert ended_by(service, USER) == [{"count": 1, "sites": ["service"]}]
    await visitor.post("/portal/sessions/end", {"session": "others"})
    assert len(ended_by(service, USER)) == 1
