"""The online service: the login page, the first password, and no trace of either."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enroll import store
from enroll.people import login
from gateway.web import references
from gateway.web.context import Role
from gateway.web.dates import moment
from gateway.web.words import REFUSALS
from tests.datadirs import admit, clock_of
from tests.gateway.sites.kit import Served
from tests.gateway.sites.members import (
    OTHER,
    PASSWORD,
    USER,
    at_home,
    cookies,
    ended_by,
    fetched,
    first_password,
    log_in,
    online_service,
    twice_at_home,
)
from tests.looking import look, rows

# -- the login page --------------------------------------------------------------------------------


async def test_the_login_page_asks_for_what_the_notice_told(service: Served) -> None:
    """R21: ユーザーID and パスワード, and the certificate that the browser chose (E11)."""
    page = await (await fetched(service)).visitor(service).get("/")
    assert (page.status, page.path) == (200, "/login")
    assert page.h1 == "確定給付企業年金オンラインサービス ログイン"
    assert page.labels() == ["ユーザーID", "パスワード"]
    assert page.buttons() == ["ログイン"]
    told = "※「ユーザーIDのお知らせ」のユーザーID・パスワードでログインしてください。"
    assert told in page.main.lines
    user_id, password = page.field("ユーザーID"), page.field("パスワード")
    assert (user_id.attributes["autocomplete"], user_id.attributes["value"]) == ("username", "")
    assert (password.attributes["type"], password.attributes["autocomplete"]) == (
        "password",
        "current-password",
    )
    facts = dict(page.main.table())
    assert facts["発行先（コモンネーム）"] == "K123456780001"
    assert "CORPORATE-PENSION BUSINESS SERVICE CA-G4" in facts["発行者"]


async def test_the_login_page_in_english(service: Served) -> None:
    """The switch changes the language and is remembered; Japanese names are marked as such (WCAG 3.1.2)."""
    visitor = (await fetched(service)).visitor(service)
    page = await visitor.get("/login?lang=en")
    assert (page.labels(), page.buttons()) == (["User ID", "Password"], ["Log in"])
    assert (await visitor.get("/login")).buttons() == ["Log in"]
    for page, marks in ((await visitor.get("/login"), 2), (await visitor.get("/login?lang=ja"), 0)):
        named = [e for e in page.dom.walk() if e.attributes.get("lang") == "ja" and "株式会社" in e.text]
        assert len([e for e in named if e.tag != "html"]) == marks


async def test_without_a_certificate_there_is_no_login_page(service: Served) -> None:
    """R21: the password alone opens nothing; the page says what to do and is found by the desk."""
    page = await log_in(service.visitor(), USER, await first_password(service))
    assert (page.status, page.h1) == (403, "クライアント証明書が提示されませんでした")
    reference = page.main.one("p", class_="reference").one("strong").text
    found = references.found(look(service.ra.database), reference)
    assert found is not None
    assert found["code"] == "certificate.none"


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_cancelled_choice_is_made_again(tmp_path: Path, fresh: bool) -> None:
    """E12: browsers remember "none" for a host, so the page opens another one of this very site.

    Without such hosts there is the connectivity test alone. English goes along to other sites.
    """
    async with online_service(tmp_path, fresh=fresh) as served:
        page = await served.visitor().get("/portal/")
        links = {each.text: each.attributes["href"] for each in page.main.all("a")}
        again = links.pop("証明書を選択しなおす", "")
        assert bool(re.fullmatch(r"https://[0-9a-f]{16}\.again\.test:\d+/", again)) is fresh
        # What has expired is not offered, so that most of those have come here.
        assert links.pop("再発行のお手続きを見る").endswith("/flow#reissue")
        assert "有効期限が切れた証明書は選択画面に表示されないため" in page.main.text
        assert links == {"導通確認サイトを開く": served.gate.origins[Role.CONNECTIVITY] + "/"}
        assert page.main.one("div", class_="actions").all("a")[0].attributes["class"] == "button"
        if fresh:
            host = again.removeprefix("https://").partition(":")[0]
            assert (await served.visitor(host=host).get("/")).h1 == page.h1
        english = await served.visitor().get("/?lang=en")
        assert all("?lang=en" in each.attributes["href"] for each in english.main.all("a"))
        helping = english.dom.one("footer").one("p", class_="links").all("a")
        assert [each.attributes["href"].partition("?")[2] for each in helping] == ["lang=en", "lang=en"]


async def test_a_wrong_password_is_told_without_saying_so(service: Served) -> None:
    """R25's rule for the login: nobody learns which of user ID and password was wrong."""
    visitor = (await fetched(service)).visitor(service)
    page = await log_in(visitor, USER, "wrong password 1")
    assert (page.status, page.path) == (403, "/login")
    alert = page.main.one("div", role="alert")
    assert alert.lines[0] == REFUSALS["bad_credentials"].text[0]
    assert (
        "「証明書発行用パスワード」や、証明書の取得時に決めた任意のパスワードとは異なります。" in alert.text
    )
    reference = alert.one("p", class_="reference").one("strong").text
    found = references.found(look(service.ra.database), reference)
    assert found is not None
    assert found["code"] == "bad_credentials"
    assert page.field("ユーザーID").attributes["value"] == USER
    assert "value" not in page.field("パスワード").attributes
    assert (await visitor.get("/portal/")).path == "/login"


@pytest.mark.parametrize(("user_id", "right"), [("NOBODY99", False), (OTHER, True), (OTHER, False)])
async def test_a_user_id_that_is_not_the_certificates(service: Served, user_id: str, right: bool) -> None:
    """Whatever the password, and whosever ID it is: the two differ, and one may choose again."""
    mine, own = await fetched(service), await first_password(service)
    await admit(service.ra, OTHER)
    visitor = mine.visitor(service)
    page = await log_in(visitor, user_id, await first_password(service) if right else "wrong password 1")
    assert (page.status, page.path) == (403, "/login")
    alert = page.main.one("div", role="alert")
    words = REFUSALS["wrong_user_id"]
    assert alert.lines[:3] == [words.text[0], words.next_step[0], "証明書を選択しなおす"]
    assert page.field("ユーザーID").attributes["value"] == user_id
    assert (await visitor.get("/portal/")).path == "/login"
    assert (await log_in(visitor, USER, own)).path == "/portal/password"


async def test_another_users_certificate_is_an_alert(service: Served) -> None:
    """R51: user A's certificate with user B's right password fails, and the trail says so."""
    mine = await fetched(service)
    await admit(service.ra, OTHER)
    await log_in(mine.visitor(service), OTHER, await first_password(service))
    trail = store.audit_page(look(service.ra.database), USER, 5)
    assert trail[0]["action"] == "login.wrong_user"


@pytest.mark.parametrize(("user_id", "password"), [("", "x"), (USER, ""), ("", "")])
async def test_an_empty_field_is_told_beside_it(service: Served, user_id: str, password: str) -> None:
    """An empty field is no attempt: it is told, and not counted."""
    page = await log_in((await fetched(service)).visitor(service), user_id, password)
    assert page.status == 422
    if not user_id:
        assert page.error("ユーザーID") == "ユーザーIDを入力してください。"
    if not password:
        assert page.error("パスワード") == "パスワードを入力してください。"
    assert not list(rows(look(service.ra.database), "SELECT 1 FROM throttles"))


async def test_guessing_ends_in_429_for_that_certificate_only(service: Served) -> None:
    """Ten failures stop the certificate that made them, with Retry-After; others log in."""
    mine, initial = await fetched(service), await first_password(service)
    await admit(service.ra, OTHER)
    theirs, other_initial = await fetched(service, OTHER), await first_password(service)
    guesser = mine.visitor(service)
    for _ in range(service.ra.settings.attempts):
        assert (await log_in(guesser, USER, "guess0000")).status == 403
    page = await log_in(guesser, USER, initial)
    assert (page.status, page.headers["Retry-After"]) == (429, "900")
    assert page.h1 == "受付を一時停止しています"
    again = f"受付の再開：{moment(service.ra.now() + 900, 'ja')}"
    assert again in page.main.lines
    assert "trouble#password" in page.main.all("a", class_="button")[0].attributes["href"]
    # The login page does not look as if nothing had happened.
    assert again in (await guesser.get("/login")).main.lines
    assert again not in (await theirs.visitor(service).get("/login")).main.lines
    assert (await log_in(theirs.visitor(service), OTHER, other_initial)).path == "/portal/password"
    clock_of(service.ra).advance(seconds=900)
    assert (await log_in(guesser, USER, initial)).path == "/portal/password"


@pytest.mark.parametrize("typed", [" k12345678 ", "Ｋ１２３４５６７８"])
async def test_a_user_id_typed_with_the_input_method_on(service: Served, typed: str) -> None:
    """Full-width, small letters and blanks mean the same user ID."""
    initial = await first_password(service)
    mine = await fetched(service)
    page = await log_in(mine.visitor(service), typed, initial)
    assert page.path == "/portal/password"
    # As the letter has them, label and all.
    pasted = await log_in(mine.visitor(service), f"ユーザーID：{USER}", f"パスワード：{initial}")
    assert pasted.path == "/portal/password"


async def test_a_first_password_is_taken_as_pasted_and_a_chosen_one_as_typed(service: Served) -> None:
    """Out of a letter with what a paste brings along; of a password that was chosen nothing is taken off."""
    initial, mine = await first_password(service), await fetched(service)
    visitor = mine.visitor(service)
    pasted = f"\u200b{initial[:6]}\u00a0{initial[6:]}\ufeff\u2212"
    assert (await log_in(visitor, f"\u200e{USER[:3]}\u30fc{USER[3:]}", pasted)).path == "/portal/password"
    chosen = "Tegata-2026-x"
    fields = {"current": pasted, "new": chosen, "confirmation": chosen}
    assert (await visitor.post("/portal/password", fields)).path == "/portal/"
    assert (await log_in(mine.visitor(service), USER, chosen.replace("-", ""))).status == 403
    assert (await log_in(mine.visitor(service), USER, chosen.replace("-", "\u2212"))).status == 403
    assert (await log_in(mine.visitor(service), USER, chosen)).path == "/portal/"


async def test_login_from_another_site_is_refused(service: Served) -> None:
    """V40: the browser would send the certificate along; our own pages alone may log in."""
    visitor = (await fetched(service)).visitor(service)
    fields = {"user_id": USER, "password": await first_password(service)}
    page = await visitor.post("/login", fields, Origin="https://evil.example")
    assert (page.status, page.h1) == (403, "この画面からは操作できません")


@pytest.mark.parametrize(
    ("following", "leads_to"),
    [
        ("/portal/sessions", "/portal/sessions"),
        ("https://evil.example/", "/portal/"),
        ("//evil.example/", "/portal/"),
        ("/\\evil.example/", "/portal/"),
        ("/x\r\nSet-Cookie: a=b", "/portal/"),
        ("/logout", "/portal/"),
        ("/login?next=/x", "/portal/"),
        ("/%6Cogin", "/portal/"),
        ("/login-help/x", "/login-help/x"),
        ("", "/portal/"),
    ],
)
async def test_after_the_login_one_goes_where_one_wanted_but_never_elsewhere(
    service: Served, following: str, leads_to: str
) -> None:
    """V39: no open redirect."""
    visitor = await at_home(service)
    await visitor.post("/logout")
    fields = {"user_id": USER, "password": PASSWORD, "next": following}
    page = await visitor.post("/login", fields, follow=False)
    page = await visitor.get(page.headers["Location"], follow=False)
    assert (page.status, page.headers["Location"]) == (303, leads_to)


# -- the first password ----------------------------------------------------------------------------


async def test_the_first_password_is_replaced_before_anything_else(service: Served) -> None:
    """D: every page of the portal leads to the change until it is done."""
    initial = await first_password(service)
    visitor = (await fetched(service)).visitor(service)
    page = await log_in(visitor, USER, initial)
    assert (page.path, page.h1) == ("/portal/password", "パスワードの変更")
    assert page.labels() == ["現在のパスワード", "新しいパスワード", "新しいパスワードの確認"]
    for path in ("/portal/", "/portal/reissue", "/portal/sessions", "/portal/members"):
        assert (await visitor.get(path)).path == "/portal/password"
    assert (await visitor.post("/portal/reissue", {"reason": "pc_change"})).path == "/portal/password"
    assert store.applications(look(service.ra.database), state="submitted") == []
    page = await visitor.post(
        "/portal/password", {"current": initial, "new": PASSWORD, "confirmation": PASSWORD}
    )
    assert page.path == "/portal/"
    assert page.main.one("div", role="status").text == "パスワードを変更しました。"


@pytest.mark.parametrize(
    ("following", "leads_to"),
    [
        ("/portal/reissue?lang=ja", "/portal/reissue?lang=ja"),
        ("https://evil.example/", "/portal/?done=password"),
        ("//evil.example/", "/portal/?done=password"),
        ("/x\r\nSet-Cookie: a=b", "/portal/?done=password"),
        ("", "/portal/?done=password"),
    ],
)
async def test_after_the_first_password_one_goes_where_one_wanted_but_never_elsewhere(
    service: Served, following: str, leads_to: str
) -> None:
    """V39: no open redirect; the address of the form carries what was asked for."""
    initial = await first_password(service)
    visitor = (await fetched(service)).visitor(service)
    await log_in(visitor, USER, initial)
    page = await visitor.get("/portal/reissue?lang=ja")
    assert page.main.one("input", name="next").attributes["value"] == "/portal/reissue?lang=ja"
    fields = {"current": initial, "new": PASSWORD, "confirmation": PASSWORD, "next": following}
    page = await visitor.post("/portal/password", fields, follow=False)
    assert (page.status, page.headers["Location"]) == (303, leads_to)


@pytest.mark.parametrize(
    ("current", "new", "confirmation", "label", "told"),
    [
        ("wrong", PASSWORD, PASSWORD, "現在のパスワード", "現在のパスワードに誤りがあります。"),
        (None, "short1", "short1", "新しいパスワード", REFUSALS["weak_password"].text[0]),
        (None, "onlyletters", "onlyletters", "新しいパスワード", REFUSALS["weak_password"].text[0]),
        (
            None,
            "Ｔｅｇａｔａ２０２６",
            "Ｔｅｇａｔａ２０２６",
            "新しいパスワード",
            REFUSALS["weak_password"].text[0],
        ),
        (None, USER, USER, "新しいパスワード", REFUSALS["password_is_user_id"].text[0]),
        (None, "password1", "password1", "新しいパスワード", REFUSALS["guessable_password"].text[0]),
        (
            None,
            PASSWORD,
            PASSWORD + "x",
            "新しいパスワードの確認",
            "「新しいパスワード」と「新しいパスワードの確認」が一致しません。",
        ),
    ],
)
async def test_a_password_that_does_not_do_is_told_beside_its_field(
    service: Served, current: str | None, new: str, confirmation: str, label: str, told: str
) -> None:
    """The message stands at the field, nothing typed comes back, the old password goes on working."""
    initial = await first_password(service)
    visitor = (await fetched(service)).visitor(service)
    await log_in(visitor, USER, initial)
    fields = {"current": current or initial, "new": new, "confirmation": confirmation}
    page = await visitor.post("/portal/password", fields)
    assert (page.status, page.error(label)) == (422, told)
    assert new not in page.main.one("form", action="/portal/password").text
    assert all("value" not in field.attributes for field in page.main.all("input", type="password"))
    assert (await log_in(visitor, USER, initial)).path == "/portal/password"


async def test_changing_the_password_ends_every_other_session(service: Served) -> None:
    """Whoever knew the old password is out; the one who changed it stays, under a new token."""
    visitor, elsewhere = await twice_at_home(service)
    before = cookies(visitor)
    page = await visitor.post(
        "/portal/password", {"current": PASSWORD, "new": "Sekisho2026", "confirmation": "Sekisho2026"}
    )
    assert page.path == "/portal/"
    assert cookies(visitor) != before
    assert (await elsewhere.get("/portal/")).path == "/login"
    assert ended_by(service, USER) == [{"count": 1, "sites": ["service"]}]


async def test_a_session_is_worth_no_more_than_the_password_that_opened_it(service: Served) -> None:
    """Whoever changes it and wherever: a login that was on its way meanwhile opens nothing either."""
    visitor = await at_home(service)
    assert (await visitor.get("/portal/")).path == "/portal/"
    await login.change_password(service.ra, USER, PASSWORD, "Sekisho2026", "Sekisho2026")
    assert (await visitor.get("/portal/")).path == "/login"
    assert (await log_in(visitor, USER, PASSWORD)).status == 403
    assert (await log_in(visitor, USER, "Sekisho2026")).path == "/portal/"


async def test_no_secret_is_in_the_trail_or_under_a_reference(service: Served) -> None:
    """House rule 7: passwords, right and wrong, leave no trace."""
    initial = await first_password(service)
    visitor = await at_home(service)
    await log_in(visitor, USER, "wrong-Secret-77")
    db = look(service.ra.database)
    told = [
        str(row)
        for table in ("audit", "desk_references", "sessions")
        for row in rows(db, f"SELECT * FROM {table}")
    ]
    for secret in (initial, PASSWORD, "wrong-Secret-77", cookies(visitor)):
        assert not [line for line in told if secret in line]
