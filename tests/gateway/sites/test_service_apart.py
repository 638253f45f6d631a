"""Our pages on an origin that scripts of another service share: who gets them, and whose forms are taken."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from enroll import store
from enroll.acme import store as protocol_store
from gateway.edge.tls import ClientCertificate
from gateway.sites.service import ROUTES, application
from gateway.sites.service.apart import form_token
from gateway.web.context import Role
from tests.datadirs import admit, clock_of, open_office
from tests.gateway.sites.kit import Page, Served, Visitor, serve
from tests.gateway.sites.members import (
    PASSWORD,
    USER,
    admin_at_home,
    at_home,
    cookies,
    established,
    fetched,
    twice_at_home,
)
from tests.looking import look

NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
ALONE = "この画面は単独で開いてください"
STALE = "画面を開きなおしてください"
POLICY = "Cross-Origin-Opener-Policy"
CREDENTIALS = f"/portal/members/{USER}/credentials"


NOT_OPENED = [
    {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    for mode, dest in (
        ("cors", "empty"), ("no-cors", "empty"), ("same-origin", "empty"), ("navigate", "iframe"),
        ("navigate", "embed"), ("navigate", "object"), ("navigate", "fencedframe"), ("no-cors", "script"),
        ("websocket", "websocket"), ("same-origin", "worker"), ("", "document"), ("navigate", ""),
    )
] + [
    {"Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Dest": "iframe"},
    {"Service-Worker": "script"},
    NAVIGATION | {"Sec-Purpose": "prefetch"},
    NAVIGATION | {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
]  # fmt: skip


async def test_only_a_person_opens_our_pages(service: Served) -> None:
    """Whatever a browser says that it asks for otherwise gets a page that says so, and nothing of ours."""
    visitor = await at_home(service)
    for fields in NOT_OPENED:
        for path in ("/", "/login", "/logout", "/portal/", "/portal/nothing"):
            page = await visitor.get(path, follow=False, **fields)
            assert (page.status, page.h1) == (403, ALONE), fields
            assert "年金 太郎" not in page.html
        page = await visitor.post("/portal/reissue", {"reason": "pc_change"}, **fields)
        assert (page.status, page.h1) == (403, ALONE), fields
    assert made(service) == 0
    page = await visitor.get("/login?lang=en", **NOT_OPENED[0])
    assert page.h1 == "Please open this page by itself"


async def test_a_person_does(service: Served) -> None:
    """The twin: an opened page and a sent form, and browsers from before they said so much."""
    visitor = await at_home(service)
    for fields in ({}, NAVIGATION, {"Sec-Fetch-Mode": "navigate"}, {"Sec-Fetch-Dest": "document"}):
        assert (await visitor.get("/portal/", **fields)).h1 == "年金 太郎 様"
        page = await visitor.post("/portal/reissue", {"reason": "pc_change"}, **fields)
        assert page.path.startswith("/portal/applications/")
    # What shows nobody anything is everybody's; what is no path of ours is none.
    assert (await visitor.get("/favicon.ico", **NOT_OPENED[1])).status == 200
    assert (await visitor.get("/Portal/", **NOT_OPENED[0])).status == 404


# -- forms ---------------------------------------------------------------------------------------------


async def test_every_form_of_the_portal_is_taken_from_our_page_only(service: Served) -> None:
    """Without the token that our page put into it, or with that of another page or session: nothing."""
    visitor = await admin_at_home(service)
    secret = cookies(visitor)
    named = [path.replace("{user_id}", USER) for method, path, _ in ROUTES if method == "POST"]
    paths = [re.sub(r"\{(number|kid).*\}", "1", path) for path in named]
    paths.remove("/login")
    assert len(paths) == 12
    for path in paths:
        good = form_token(secret, path)
        for token in ("", "x", "\u2019", good[:-1], good + "=", form_token(secret, path + "/"),
                      form_token(secret, "/portal"), form_token("other", path)):  # fmt: skip
            page = await visitor.post(path, {"token": token, "reason": "pc_change", "known": "0"})
            assert (page.status, page.h1) == (403, STALE), path
    read = look(service.ra.database)
    assert store.applications(read, state="submitted") == []
    assert protocol_store.credentials_of(read, USER) == []
    assert (await visitor.get("/portal/")).status == 200  # and is logged in still


async def test_every_form_that_a_page_shows_carries_its_token(service: Served) -> None:
    """The twin: each is sent as it stands there, and is taken; the tokens of two sessions differ."""
    visitor = await admin_at_home(service)
    seen = set()
    member = f"/portal/members/{USER}/reissue"
    for path in (
        "/portal/reissue", "/portal/addition", CREDENTIALS, "/portal/language", "/portal/password", member,
        "/logout",
    ):  # fmt: skip
        for form in (await visitor.get(path)).main.all("form", method="post"):
            action = form.attributes["action"]
            token = form.one("input", name="token").attributes["value"]
            assert token == form_token(cookies(visitor), action)
            page = await visitor.post(action, {"token": token, "password": ""}, follow=False)
            assert page.status in (303, 409, 422)
            seen.add(action)
    assert len(seen) == 7


async def test_a_form_of_an_earlier_login_is_not_taken(service: Served) -> None:
    """Whoever logged in again meanwhile is told to open the page again."""
    first, second = await twice_at_home(service)
    token = (await first.get("/portal/reissue")).main.one("input", name="token").attributes["value"]
    page = await second.post("/portal/reissue", {"token": token, "reason": "pc_change"})
    assert (page.status, page.h1) == (403, STALE)


# -- the password once more ----------------------------------------------------------------------------

GIVING_POWER = {
    "/portal/reissue": {"reason": "pc_change"},
    f"/portal/members/{USER}/reissue": {"reason": "pc_change"},
    "/portal/addition": {
        "name": "追加 花子", "mail": "h@example.jp", "role": "member", "notice_by": "mail", "user_id": "",
    },
    CREDENTIALS: {"known": "0"},
}  # fmt: skip


def made(service: Served) -> int:
    read = look(service.ra.database)
    return len(store.applications(read, state="submitted")) + len(protocol_store.credentials_of(read, USER))


@pytest.mark.parametrize("path", GIVING_POWER)
async def test_what_gives_power_away_asks_for_the_password(service: Served, path: str) -> None:
    """Missing or wrong: nothing is done, what was typed stays, but not the password. Right: it is done."""
    visitor = await admin_at_home(service)
    for password, words in (
        ("", "パスワードを入力してください。"),
        ("Wrong2026", "パスワードに誤りがあります。"),
    ):
        page = await visitor.post(path, GIVING_POWER[path] | {"password": password})
        assert (page.status, page.error("ログインのパスワード")) == (422, words)
        assert password == "" or password not in page.html
        kept = [each.attributes.get("value") for each in page.main.all("input")]
        assert "checked" in page.html if "reason" in GIVING_POWER[path] else True
        assert "追加 花子" in kept or path != "/portal/addition"
    assert made(service) == 0
    assert (await visitor.post(path, GIVING_POWER[path])).status == 200
    assert made(service) == 1
    trail = json.dumps(store.audit_page(look(service.ra.database), None, 100), default=str)
    assert trail.count("password.refused") == 1
    assert "Wrong2026" not in trail


async def test_every_fault_of_a_form_is_said_at_once(service: Served) -> None:
    """The password and the fields beside it."""
    visitor = await admin_at_home(service)
    page = await visitor.post("/portal/reissue", {"reason": "", "password": ""})
    assert [each.text for each in page.main.one("div", role="alert").all("li")] == [
        "再発行の理由を選択してください。",
        "パスワードを入力してください。",
    ]
    page = await visitor.post("/portal/addition", {"name": "", "mail": "x", "role": "admin", "password": ""})
    alert = page.main.one("div", role="alert").text
    assert "氏名を100文字以内" in alert
    assert "パスワードを入力してください。" in alert


async def test_confirming_is_throttled_with_the_login(service: Served) -> None:
    """Guesses at the portal's forms and at the login count together, by the certificate; time forgives."""
    pass_ = await established(service)
    visitor = pass_.visitor(service)
    limit = service.ra.settings.attempts
    await visitor.post("/login", {"user_id": USER, "password": PASSWORD})
    for _ in range(limit):
        page = await visitor.post("/portal/reissue", {"reason": "pc_change", "password": "Wrong2026"})
        assert page.status == 422
    right = {"reason": "pc_change", "password": PASSWORD}
    page = await visitor.post("/portal/reissue", right)
    assert (page.status, "Retry-After" in page.headers) == (429, True)
    again = pass_.visitor(service)
    assert (await again.post("/login", {"user_id": USER, "password": PASSWORD})).status == 429
    assert made(service) == 0
    clock_of(service.ra).advance(seconds=service.ra.settings.attempt_seconds + 1)
    assert (await visitor.post("/portal/reissue", right)).status == 200


# -- windows -------------------------------------------------------------------------------------------

CHROMIUM = '"Not_A Brand";v="99", "Chromium";v="{}"'


async def test_windows_of_ours_are_shared_with_nobody(tmp_path: Path) -> None:
    """Where the upstream may have service workers, whose pages say of themselves what they like, by the one
    value that shares with nobody; those who do not know it take the next best."""
    for workers, version, policy in (
        (False, 156, "same-origin"), (False, 0, "same-origin"), (True, 156, "noopener-allow-popups"),
        (True, 131, "noopener-allow-popups"), (True, 130, "same-origin"), (True, 13, "same-origin"),
        (True, 0, "same-origin"),
    ):  # fmt: skip
        folder = tmp_path / f"{workers}{version}"
        async with (
            open_office(folder) as ra,
            serve(
                ra,
                folder,
                Role.SERVICE,
                lambda gate, workers=workers: application(replace(gate, workers=workers)),
                ClientCertificate.REQUIRE,
            ) as served,
        ):
            await admit(ra, USER)
            visitor: Visitor = (await fetched(served)).visitor(served)
            for path in ("/login", "/portal/", "/nothing"):
                hint = {"Sec-CH-UA": CHROMIUM.format(version)} if version else {}
                page: Page = await visitor.get(path, follow=False, **hint)
                assert page.headers[POLICY] == policy
