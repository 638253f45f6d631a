"""The online service: login, portal, applications, and who may do what to whom."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import ca.store
from ca.database import rows
from enroll import applications, changes, issuance, login, people, pickup, renewal, store
from enroll.enrollment import Enrollment
from enroll.jst import shown
from enroll.office import token_hash
from enroll.people import Person
from enroll.states import State
from gateway import pages, references, sessions
from gateway.context import Role
from gateway.sites.service import application
from gateway.sites.service.standing import standing
from gateway.tls import ClientCertificate
from gateway.words import REFUSALS
from tests.gateway.sites.kit import Page, Served, Visitor, serve
from tests.offices import POLICY_NUMBER, admit, clock_of, letter_of, open_office

USER, OTHER, ADMIN, STRANGER = "K12345678", "K22222222", "A11111111", "K99999999"
FOREIGN_POLICY = "87654321"
PASSWORD = "Tegata2026"
ADDRESS = "192.0.2.1"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Served]:
    """The site on a listener that requires certificates, with one user of one organisation."""
    async with (
        open_office(tmp_path) as office,
        serve(
            office,
            tmp_path,
            Role.SERVICE,
            application,
            ClientCertificate.REQUIRE,
            lambda gate: pages.refused(gate, Role.SERVICE),
        ) as served,
    ):
        await admit(office, USER)
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
    office = service.office
    letter = await letter_of(office, "pickup")
    opened = await pickup.authenticate(
        office, user_id, letter.value("証明書発行用パスワード"), address=ADDRESS
    )
    return await downloaded(service, opened.request_id, user_id)


async def downloaded(service: Served, request_id: str, user_id: str = USER) -> Pass:
    office = service.office
    await issuance.submit(office, request_id, actor=user_id)
    await issuance.complete(office, request_id)
    token = await issuance.prepare_download(office, request_id, "pw", "standard", actor=user_id)
    got = await issuance.download(office, token, request_id, actor=user_id)
    return Pass(got.content, request_id)


async def first_password(service: Served) -> str:
    return (await letter_of(service.office, "user_id")).value("パスワード")


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
    return visitor


async def twice_at_home(service: Served) -> tuple[Visitor, Visitor]:
    """One user, logged in with one certificate in two browsers."""
    mine = await established(service)
    visitors = mine.visitor(service), mine.visitor(service)
    for visitor in visitors:
        assert (await log_in(visitor)).path == "/portal/"
    return visitors


async def admin_at_home(service: Served) -> Visitor:
    await admit(service.office, ADMIN, role="admin")
    return await at_home(service, ADMIN)


async def foreign_user(service: Served) -> None:
    """A user of another organisation."""
    await people.add_organisation(service.office, FOREIGN_POLICY, "桜田門産業", actor="test")
    person = Person(FOREIGN_POLICY, "別所 花子", "hanako@example.jp", STRANGER)
    await people.add_user(service.office, person, channel="paper", actor="test")


# -- what to say of a certificate, without a server --------------------------------------------------

AT = 1_800_000_000
DAY = 86_400


def enrollment(state: State, ends_in: int | None = None, kind: str = "addition") -> Enrollment:
    not_after = None if ends_in is None else AT + ends_in
    return Enrollment(
        "1", kind, USER, state, "K123456780001", "client-person", "page", AT, not_after_at=not_after
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], ("なし", "plain", None)),
        ([enrollment(State.ACCEPTED)], ("申請受付", "warn", None)),
        ([enrollment(State.PROCESSING)], ("証明書生成中", "warn", None)),
        ([enrollment(State.ISSUED, 31 * DAY)], ("発行済み", "good", 31)),
        ([enrollment(State.IN_USE, 30 * DAY)], ("利用開始", "warn", 30)),
        ([enrollment(State.IN_USE, 0)], ("利用開始", "warn", 0)),
        ([enrollment(State.IN_USE, -1)], ("期限切れ", "bad", None)),
        ([enrollment(State.EXPIRED, -DAY)], ("期限切れ", "bad", None)),
        ([enrollment(State.REVOKED, 900 * DAY)], ("失効", "bad", None)),
        ([enrollment(State.CLOSED)], ("取得期限切れ", "bad", None)),
        # A renewal that waits, or ended with its source, says nothing of the certificate in hand.
        (
            [enrollment(State.ANNOUNCED, kind="renewal"), enrollment(State.IN_USE, 20 * DAY)],
            ("利用開始", "warn", 20),
        ),
        (
            [enrollment(State.EXPIRED, kind="renewal"), enrollment(State.REVOKED, 20 * DAY)],
            ("失効", "bad", None),
        ),
        # A reissue under way: the old one counts until the new one is there.
        (
            [enrollment(State.ANNOUNCED, kind="reissue"), enrollment(State.IN_USE, 90 * DAY)],
            ("利用開始", "good", 90),
        ),
    ],
)
def test_a_persons_certificates_in_one_word(
    found: list[Enrollment], said: tuple[str, str, int | None]
) -> None:
    """The newest that counts, else why none does; the last second still counts."""
    told = standing(found, AT, 30)
    assert (told.label[0], told.tone, told.days) == said


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
    found = references.found(service.office.database.read(), reference)
    assert found is not None
    assert found["code"] == "certificate.none"


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_cancelled_choice_is_made_again(tmp_path: Path, fresh: bool) -> None:
    """E12: browsers remember "none" for a host, so the page opens another one of this very site.

    Without such hosts there is the connectivity test alone. English goes along to other sites.
    """
    async with (
        open_office(tmp_path) as office,
        serve(
            office,
            tmp_path,
            Role.SERVICE,
            application,
            ClientCertificate.REQUIRE,
            lambda gate: pages.refused(gate, Role.SERVICE),
            fresh=fresh,
        ) as served,
    ):
        page = await served.visitor().get("/portal/")
        links = {each.text: each.attributes["href"] for each in page.main.all("a")}
        again = links.pop("証明書を選択し直す", "")
        assert bool(re.fullmatch(r"https://[0-9a-f]{16}\.again\.test:\d+/", again)) is fresh
        assert links == {"導通確認サイトを開く": served.gate.origins[Role.CONNECTIVITY] + "/"}
        assert page.main.one("div", class_="actions").all("a")[0].attributes["class"] == "button"
        if fresh:
            host = again.removeprefix("https://").partition(":")[0]
            assert (await served.visitor(host=host).get("/")).h1 == page.h1
        english = await served.visitor().get("/?lang=en")
        assert all(each.attributes["href"].endswith("/?lang=en") for each in english.main.all("a"))
        helping = english.dom.one("footer").one("p", class_="links").all("a")
        assert [each.attributes["href"].partition("?")[2] for each in helping] == ["lang=en", "lang=en"]


@pytest.mark.parametrize(
    ("user_id", "right"), [(USER, False), ("NOBODY99", False), (OTHER, True), (OTHER, False)]
)
async def test_whatever_is_wrong_the_answer_is_the_same(service: Served, user_id: str, right: bool) -> None:
    """R25's rule for the login: nobody learns which of user ID, password and certificate was wrong."""
    mine = await fetched(service)
    await admit(service.office, OTHER)
    visitor = mine.visitor(service)
    page = await log_in(visitor, user_id, await first_password(service) if right else "wrong password 1")
    assert (page.status, page.path) == (403, "/login")
    alert = page.main.one("div", role="alert")
    assert alert.lines[0] == REFUSALS["bad_credentials"].text[0]
    reference = alert.one("strong").text
    found = references.found(service.office.database.read(), reference)
    assert found is not None
    assert found["code"] == "bad_credentials"
    assert page.field("ユーザーID").attributes["value"] == user_id
    assert "value" not in page.field("パスワード").attributes
    assert (await visitor.get("/portal/")).path == "/login"


async def test_another_users_certificate_is_an_alert(service: Served) -> None:
    """R51: user A's certificate with user B's right password fails, and the trail says so."""
    mine = await fetched(service)
    await admit(service.office, OTHER)
    await log_in(mine.visitor(service), OTHER, await first_password(service))
    trail = store.audit_page(service.office.database.read(), USER, 5)
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
    assert not list(service.office.database.read().query("SELECT 1 FROM throttles"))


async def test_guessing_ends_in_429_for_that_certificate_only(service: Served) -> None:
    """Ten failures stop the certificate that made them, with Retry-After; others log in."""
    mine, initial = await fetched(service), await first_password(service)
    await admit(service.office, OTHER)
    theirs, other_initial = await fetched(service, OTHER), await first_password(service)
    guesser = mine.visitor(service)
    for _ in range(service.office.settings.attempts):
        assert (await log_in(guesser, OTHER, "guess0000")).status == 403
    page = await log_in(guesser, USER, initial)
    assert (page.status, page.headers["Retry-After"]) == (429, "900")
    assert page.h1 == "しばらくお待ちください"
    assert f"受付の再開：{shown(service.office.now() + 900)}" in page.main.lines
    assert (await log_in(theirs.visitor(service), OTHER, other_initial)).path == "/portal/password"
    clock_of(service.office).advance(seconds=900)
    assert (await log_in(guesser, USER, initial)).path == "/portal/password"


@pytest.mark.parametrize("typed", [" k12345678 ", "Ｋ１２３４５６７８"])
async def test_a_user_id_typed_with_the_input_method_on(service: Served, typed: str) -> None:
    """Full-width, small letters and blanks mean the same user ID."""
    initial = await first_password(service)
    page = await log_in((await fetched(service)).visitor(service), typed, initial)
    assert page.path == "/portal/password"


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
    assert store.applications(service.office.database.read(), state="submitted") == []
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
        (None, USER, USER, "新しいパスワード", REFUSALS["weak_password"].text[0]),
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
    await login.change_password(service.office, USER, PASSWORD, "Sekisho2026", "Sekisho2026")
    assert (await visitor.get("/portal/")).path == "/login"
    assert (await log_in(visitor, USER, PASSWORD)).status == 403
    assert (await log_in(visitor, USER, "Sekisho2026")).path == "/portal/"


# -- sessions --------------------------------------------------------------------------------------


async def test_a_session_belongs_to_its_certificate(service: Served) -> None:
    """The cookie with another good certificate is worth nothing, even of the same user."""
    visitor = await at_home(service)
    await admit(service.office, OTHER)
    other = (await fetched(service, OTHER)).visitor(service)
    stolen = {"Cookie": f"__Host-service={cookies(visitor)}"}
    assert (await other.get("/portal/", **stolen)).path == "/login"
    assert (await visitor.get("/portal/")).path == "/portal/"


async def test_a_disabled_user_is_out_at_the_next_request(service: Served) -> None:
    """E27: the certificate is revoked, and the page says so."""
    visitor = await at_home(service)
    await people.disable_user(service.office, USER, actor="desk")
    page = await visitor.get("/portal/")
    assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")


async def test_a_disabled_organisations_users_are_out_at_the_next_request(service: Served) -> None:
    """E6: nothing is revoked, and yet nobody is let in; the session is over."""
    visitor = await at_home(service)
    db = service.office.database
    await db.write(lambda db: db.execute("UPDATE organisations SET disabled_at = 1"))
    page = await visitor.get("/portal/")
    assert (page.status, page.h1) == (403, REFUSALS["user_disabled"].title[0])
    page = await log_in(visitor)
    assert (page.status, page.h1) == (403, REFUSALS["user_disabled"].title[0])
    await db.write(lambda db: db.execute("UPDATE organisations SET disabled_at = NULL"))
    assert (await visitor.get("/portal/")).path == "/login"


async def test_a_reissued_away_certificate_is_out_at_the_next_request(service: Served) -> None:
    """D3: reissued at once, the old certificate opens nothing from then on."""
    visitor = await at_home(service)
    await applications.reissue(service.office, USER, "lost_or_stolen", actor="desk")
    page = await visitor.get("/portal/")
    assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")


async def test_an_idle_session_ends_and_the_login_leads_back(service: Served) -> None:
    """Half an hour without a request: the page says why it asks; whoever comes new is told nothing."""
    visitor = await at_home(service)
    clock_of(service.office).advance(seconds=30 * 60)
    page = await visitor.get("/portal/reissue?lang=ja")
    assert page.path == "/login"
    following = page.main.one("input", name="next").attributes["value"]
    assert following == "/portal/reissue?lang=ja"
    assert page.main.one("div", role="status").text.endswith("もう一度ログインしてください。")
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
    assert "logout" in [row["action"] for row in store.audit_page(service.office.database.read(), USER, 9)]


async def test_other_sessions_are_listed_and_ended(service: Served) -> None:
    """One's own sessions only; another user's number is not found."""
    visitor, elsewhere = await twice_at_home(service)
    page = await visitor.get("/portal/sessions")
    assert [row[0] for row in page.main.table()[1:]] == ["オンラインサービス"] * 2
    number = page.main.all("button", name="session")[0].attributes["value"]
    await admit(service.office, OTHER)
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
    kept = str(list(service.office.database.read()["sessions"].rows))
    assert "Windows" not in kept
    assert "curl" not in kept
    await visitor.post("/logout")
    assert list(service.office.database.read()["sessions"].rows) == []


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
        service.office, token_hash(cookies(there))[:16], actor="desk"
    ),
    "all ended by the operator": lambda service, here, there: sessions.end_all(
        service.office, USER, actor="desk"
    ),
}


@pytest.mark.parametrize("ending", _ENDINGS)
async def test_whatever_ends_a_session_takes_its_row_away(service: Served, ending: str) -> None:
    """At once, not at the session's next request: it may have none, and a WebSocket that is open."""
    here, there = await twice_at_home(service)
    opened = token_hash(cookies(there))
    kept = "SELECT 1 FROM sessions WHERE token_hash = ?"
    assert rows(service.office.database.read(), kept, [opened]) != []
    await _ENDINGS[ending](service, here, there)
    assert rows(service.office.database.read(), kept, [opened]) == []


async def test_all_other_sessions_are_ended_together(service: Served) -> None:
    """ "others" leaves the one that asked."""
    visitor, elsewhere = await twice_at_home(service)
    await visitor.post("/portal/sessions/end", {"session": "others"})
    assert (await elsewhere.get("/portal/")).path == "/login"
    assert (await visitor.get("/portal/sessions")).main.all("button") == []
    assert ended_by(service, USER) == [{"count": 1, "sites": ["service"]}]
    await visitor.post("/portal/sessions/end", {"session": "others"})
    assert len(ended_by(service, USER)) == 1


# -- the portal ------------------------------------------------------------------------------------


async def test_the_portal_shows_the_certificate_and_the_days_left(service: Served) -> None:
    """R50: CN, issuer, 有効期限, days left and state; R18: the five labels with their dates."""
    page = await (await at_home(service)).get("/portal/")
    assert page.h1 == "年金 太郎 様"
    facts = dict(page.main.table())
    source = newest(service, USER)
    assert facts == {
        "発行先（コモンネーム）": "K123456780001",
        "発行者": "CORPORATE-PENSION BUSINESS SERVICE CA-G4",
        "有効期限": f"{shown(source.not_after_at or 0)}（あと1096日）",
        "ステータス": "利用開始",
    }
    steps = page.main.one("ol", class_="progress").all("li")
    assert [step.one("strong").text for step in steps] == [
        "ユーザー登録",
        "ユーザーIDのお知らせ",
        "クライアント証明書取得のご案内",
        "クライアント証明書取得のお手続き",
        "オンラインサービスへのログイン",
    ]
    assert [step.one("span").text for step in steps] == ["2026.11.22 12:00"] * 5
    assert page.main.all("section") == []


async def test_the_portal_leads_to_the_service_behind_it(tmp_path: Path) -> None:
    """Where an upstream has a first page, the portal opens it; without one there is no such button."""
    links = []
    for start in ("/app/", ""):
        async with (
            open_office(tmp_path / f"at{start}") as office,
            serve(
                office,
                tmp_path / f"at{start}",
                Role.SERVICE,
                lambda gate, start=start: application(replace(gate, start=start)),
                ClientCertificate.REQUIRE,
            ) as served,
        ):
            await admit(office, USER)
            page = await (await at_home(served)).get("/portal/")
            links.append([a.attributes["href"] for a in page.main.all("a") if "開く" in a.text])
    assert links == [["/app/"], []]


async def test_members_have_no_menu_of_the_administrator(service: Served) -> None:
    """The twin: an administrator has it."""
    member = (await (await at_home(service)).get("/portal/")).menu()
    assert member == [
        "トップ",
        "証明書の確認",
        "再発行の申請",
        "申請の状況",
        "ログインの状況",
        "パスワードの変更",
        "ログアウト",
    ]
    admin = (await (await admin_at_home(service)).get("/portal/")).menu()
    assert [entry for entry in admin if entry not in member] == ["ユーザー一覧", "ユーザーID追加発行"]


@pytest.mark.parametrize(("days", "hinted"), [(31, False), (30, True), (1, True)])
async def test_the_renewal_is_hinted_at_from_d_30(service: Served, days: int, hinted: bool) -> None:
    """R15's day: the portal leads to the renewal site as the mail does."""
    visitor = await at_home(service)
    clock_of(service.office).set((newest(service, USER).not_after_at or 0) - days * 86_400)
    page = await log_in(visitor)
    links = [each.attributes["href"] for each in page.main.all("a")]
    assert (f"{service.gate.origins[Role.RENEWAL]}/" in links) is hinted
    assert (f"あと{days}日です" in page.main.text) is hinted


async def test_an_interrupted_renewal_is_hinted_at(service: Served) -> None:
    """R39: 更新の再申請 continues it until it was fetched; then it is the one to choose (E11).

    Whoever presents the renewed certificate has nothing left to do.
    """
    visitor = await at_home(service)
    old = newest(service, USER)
    clock_of(service.office).set((old.not_after_at or 0) - 20 * 86_400)
    begun = await renewal.submit(service.office, fingerprint_of(service, old.request_id), actor=USER)
    assert "「更新の再申請」から続けてください。" in (await log_in(visitor)).main.text
    await issuance.complete(service.office, begun.request_id)
    page = await visitor.get("/portal/")
    assert "「更新の再申請」から続けてください。" in page.main.text
    assert "新しい証明書があります" not in page.main.text
    renewed = await downloaded(service, begun.request_id)
    page = await visitor.get("/portal/")
    assert "新しい証明書があります（コモンネーム K123456780001、" in page.main.text
    assert "更新の再申請" not in page.main.text
    page = await log_in(renewed.visitor(service))
    assert "（あと1096日）" in page.main.text
    assert "更新の再申請" not in page.main.text


async def test_the_delete_guide_after_the_first_login_with_a_new_certificate(service: Served) -> None:
    """R49: the old certificate's name, serial and end, once there is an old one.

    What was issued and never fetched is on no PC: it is not to be deleted from any.
    """
    visitor = await at_home(service)
    assert "削除してください" not in (await visitor.get("/portal/")).main.text
    old = newest(service, USER)
    clock_of(service.office).set((old.not_after_at or 0) - 20 * DAY)
    never_fetched = await renewal.submit(service.office, fingerprint_of(service, old.request_id), actor=USER)
    await issuance.complete(service.office, never_fetched.request_id)
    await applications.reissue(service.office, USER, "pc_change", actor="desk")
    new = (await fetched(service)).visitor(service)
    page = await log_in(new)
    guide = page.main.one("section")
    assert guide.one("h2").text == "以前の証明書を削除してください"
    assert guide.table()[1:] == [
        ["K123456780001", old.serial, shown(old.not_after_at or 0), "再発行により無効"]
    ]
    assert "※有効期限が切れた証明書がある場合は削除してください。" in guide.lines
    await new.post("/logout")
    assert (await log_in(new)).main.all("section") == []


async def test_two_pcs_are_told_nothing_about_each_other(service: Served) -> None:
    """E18: what is good on another PC is neither to be deleted here nor to be chosen here."""
    visitor = await at_home(service)
    await changes.change_organisation(service.office, POLICY_NUMBER, {"lineages": 2}, actor="desk")
    clock_of(service.office).advance(days=1)
    await applications.reissue(service.office, USER, "pc_change", actor="desk", revoke_old="never")
    other = (await fetched(service)).visitor(service)
    assert "削除してください" not in (await log_in(other)).main.text
    await log_in(visitor)
    page = await visitor.get("/portal/")
    assert (page.status, "新しい証明書があります" in page.main.text) == (200, False)


async def test_the_certificates_page_lists_all_of_them(service: Served) -> None:
    """R48: issuer and common names, which is in use, and how to delete."""
    await at_home(service)
    await applications.reissue(service.office, USER, "pc_change", actor="desk")
    new = (await fetched(service)).visitor(service)
    await log_in(new)
    page = await new.get("/portal/certificates")
    rows = page.main.table()[1:]
    assert [(row[0], row[3]) for row in rows] == [
        ("K123456780002", "利用開始 （現在使用中）"),
        ("K123456780001", "再発行により無効"),
    ]
    assert "CORPORATE-PENSION BUSINESS SERVICE CA-G4" in page.main.text


# -- 再発行 ----------------------------------------------------------------------------------------


async def test_the_reissue_form_has_all_six_reasons_and_the_checkbox(service: Served) -> None:
    """R22, E4; FAQ 1: the address that the mail goes to is there to be checked."""
    page = await (await at_home(service)).get("/portal/reissue")
    assert page.labels() == [
        *(words[0] for words in applications.REASONS.values()),
        "発行済みのクライアント証明書を無効にして再発行する",
    ]
    assert len(page.main.all("input", type="radio", name="reason")) == 6
    assert page.main.table()[0][0] == "メールの送信先"
    assert page.main.table()[0][1].startswith(f"{USER.lower()}@example.jp")


@pytest.mark.parametrize("reason", list(applications.REASONS))
@pytest.mark.parametrize("checked", [True, False])
async def test_a_reissue_is_applied_for(service: Served, reason: str, checked: bool) -> None:
    """R22, D3: reason and choice are recorded; loss and theft end the old one at once anyway."""
    visitor = await at_home(service)
    fields = {"reason": reason} | ({"revoke_old": "at_once"} if checked else {})
    page = await visitor.post("/portal/reissue", fields)
    assert page.main.one("div", role="status").text == "申請を受け付けました。"
    facts = dict(page.main.table())
    assert facts["再発行の理由"] == applications.REASONS[reason][0]
    (found,) = store.applications(service.office.database.read(), state="submitted")
    at_once = checked or reason == "lost_or_stolen"
    assert (found.reason, found.channel, found.user_id, found.applied_by, found.revoke_old) == (
        reason,
        "online",
        USER,
        USER,
        "at_once" if at_once else "on_pickup",
    )


@pytest.mark.parametrize("fields", [{}, {"reason": "whim"}, {"reason": ""}])
async def test_a_reissue_needs_a_reason(service: Served, fields: dict[str, str]) -> None:
    """The twin: nothing is recorded, the checkbox keeps its mark."""
    page = await (await at_home(service)).post("/portal/reissue", fields | {"revoke_old": "at_once"})
    assert page.status == 422
    assert "再発行の理由を選択してください。" in page.main.lines
    assert "checked" in page.main.one("input", name="revoke_old").attributes
    assert store.applications(service.office.database.read(), state="submitted") == []


async def test_applying_twice_is_applying_once(service: Served) -> None:
    """E19: a double click and a reload give the same application; the form then shows it."""
    visitor = await at_home(service)
    first = await visitor.post("/portal/reissue", {"reason": "pc_change"})
    second = await visitor.post("/portal/reissue", {"reason": "mail_lost"})
    assert first.path == second.path
    page = await visitor.get("/portal/reissue")
    assert page.main.all("form") == []
    assert "再発行の申請を受け付けています。" in page.main.text
    assert (await visitor.get("/portal/")).main.all("a", href=first.path)


async def test_a_member_sees_the_own_applications_only(service: Served) -> None:
    """Others' are not found, of the same organisation or of another."""
    visitor = await at_home(service)
    await admit(service.office, OTHER)
    theirs = await applications.apply_reissue(
        service.office, OTHER, "pc_change", channel="online", actor=OTHER
    )
    mine = await visitor.post("/portal/reissue", {"reason": "expired"})
    page = await visitor.get("/portal/applications")
    links = [each.attributes["href"] for each in page.main.all("a")]
    assert links == [mine.path, "/portal/applications/1"]
    assert (await visitor.get(links[1])).h1 == "申請の内容（受付番号1）"
    assert (await visitor.get(f"/portal/applications/{theirs}")).status == 404
    assert (await visitor.get("/portal/applications/999999")).status == 404


# -- the 管理者 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/portal/members", f"/portal/members/{USER}", "/portal/addition", f"/portal/members/{USER}/reissue"],
)
async def test_a_member_may_not_do_what_an_administrator_may(service: Served, path: str) -> None:
    """The administrator's pages are refused to members."""
    page = await (await at_home(service)).get(path)
    assert (page.status, page.h1) == (403, REFUSALS["not_permitted"].title[0])


async def test_a_member_may_not_apply_for_a_further_user(service: Served) -> None:
    """Nor for somebody else's reissue."""
    visitor = await at_home(service)
    before = len(store.applications(service.office.database.read()))
    person = {"name": "年金 花子", "mail": "h@example.jp", "role": "member", "notice_by": "mail"}
    assert (await visitor.post("/portal/addition", person)).status == 403
    assert (await visitor.post(f"/portal/members/{USER}/reissue", {"reason": "expired"})).status == 403
    assert len(store.applications(service.office.database.read())) == before


async def test_the_administrator_sees_every_user_of_the_organisation(service: Served) -> None:
    """With the certificates' states, and nobody of another organisation."""
    await admit(service.office, OTHER)
    await foreign_user(service)
    page = await (await admin_at_home(service)).get("/portal/members")
    rows = {row[0]: row[1:] for row in page.main.table()[1:]}
    assert set(rows) == {ADMIN, OTHER, USER}
    assert rows[OTHER] == ["年金 太郎", "利用者", "案内送信済", ""]
    assert rows[ADMIN][1:] == ["管理者", "利用開始", "2029.11.22（あと1096日）"]


async def test_the_administrator_follows_a_new_users_progress(service: Served) -> None:
    """R18: the five boxes, reached and still to come."""
    page = await (await admin_at_home(service)).get(f"/portal/members/{USER}")
    steps = page.main.one("ol", class_="progress").all("li")
    reached = ["done" in step.attributes.get("class", "") for step in steps]
    assert reached == [True, True, True, False, False]


@pytest.mark.parametrize("user_id", [STRANGER, "NOBODY99", "..%2F..", "%00"])
async def test_another_organisations_users_are_not_found(service: Served, user_id: str) -> None:
    """A foreign user and none at all get the same answer; nothing is recorded."""
    visitor = await admin_at_home(service)
    await foreign_user(service)
    for path in (f"/portal/members/{user_id}", f"/portal/members/{user_id}/reissue"):
        assert (await visitor.get(path)).status in (400, 404)
    await visitor.post(f"/portal/members/{user_id}/reissue", {"reason": "pc_change"})
    found = store.applications(service.office.database.read(), state="submitted")
    assert found == []


async def test_another_organisations_applications_are_not_found(service: Served) -> None:
    """The twin of seeing one's own."""
    visitor = await admin_at_home(service)
    await foreign_user(service)
    number = await applications.apply_reissue(
        service.office, STRANGER, "pc_change", channel="paper", actor="desk"
    )
    assert (await visitor.get(f"/portal/applications/{number}")).status == 404
    listed = (await visitor.get("/portal/applications")).main.table()[1:]
    assert str(number) not in [row[0] for row in listed]


async def test_a_member_whose_certificate_is_dead_is_reissued_by_the_administrator(service: Served) -> None:
    """R23: from application to pick-up; user ID and password stay (R24)."""
    dead = await at_home(service)
    visitor = await admin_at_home(service)
    await applications.reissue(service.office, USER, "lost_or_stolen", actor="desk")
    assert (await dead.get("/portal/")).status == 403
    page = await visitor.post(f"/portal/members/{USER}/reissue", {"reason": "refused"})
    number = int(page.path.rpartition("/")[2])
    await applications.approve(service.office, number, actor="desk")
    page = await visitor.get(f"/portal/applications/{number}")
    assert dict(page.main.table())["状況"] == "手続き完了"
    assert (
        page.main.one("ol", class_="progress").all("li")[0].one("strong").text == "クライアント証明書再発行"
    )
    again = (await fetched(service)).visitor(service)
    assert (await log_in(again)).path == "/portal/"


async def test_a_further_user_is_applied_for_and_admitted(service: Served) -> None:
    """R19: the online channel makes the same record as paper; the policy number is the visitor's own."""
    visitor = await admin_at_home(service)
    page = await visitor.get("/portal/addition")
    assert page.labels() == [
        "氏名",
        "メールアドレス",
        "利用者",
        "管理者",
        "メール",
        "はがき",
        "希望するユーザーID（任意）",
    ]
    fields = {
        "name": "年金 花子",
        "mail": "hanako@example.jp",
        "role": "admin",
        "notice_by": "postcard",
        "user_id": "HANAKO01",
        "policy_number": FOREIGN_POLICY,
    }
    first = await visitor.post("/portal/addition", fields)
    second = await visitor.post("/portal/addition", fields)
    assert first.path == second.path
    found = store.application(service.office.database.read(), int(first.path.rpartition("/")[2]))
    assert found is not None
    assert (found.channel, found.policy_number, found.applied_by) == ("online", POLICY_NUMBER, ADMIN)
    await applications.approve(service.office, found.id, actor="desk")
    user = store.user(service.office.database.read(), "HANAKO01")
    assert user is not None
    assert (user.name, user.role, user.notice_by) == ("年金 花子", "admin", "postcard")
    page = await visitor.get(first.path)
    assert len(page.main.one("ol", class_="progress").all("li")) == 5


@pytest.mark.parametrize(
    ("field", "value", "label", "told"),
    [
        ("name", "", "氏名", "氏名を100文字以内で入力してください。"),
        ("name", "年" * 101, "氏名", "氏名を100文字以内で入力してください。"),
        ("name", "a\u202eb", "氏名", "氏名を100文字以内で入力してください。"),
        (
            "mail",
            "hanako@",
            "メールアドレス",
            "メールアドレスを半角で正しく入力してください（例：taro@example.jp）。",
        ),
        (
            "mail",
            "a@b.jp\r\nBcc: x@y.jp",
            "メールアドレス",
            "メールアドレスを半角で正しく入力してください（例：taro@example.jp）。",
        ),
        (
            "user_id",
            "ab",
            "希望するユーザーID（任意）",
            "ユーザーIDは半角の英大文字と数字、4～12文字で入力してください。",
        ),
        (
            "user_id",
            USER,
            "希望するユーザーID（任意）",
            "このユーザーIDはすでに使用されています。別のユーザーIDを入力してください。",
        ),
        ("role", "operator", "利用者", "権限を選択してください。"),
        ("notice_by", "fax", "メール", "通知の方法を選択してください。"),
    ],
)
async def test_a_bad_field_of_an_addition_is_told_beside_it(
    service: Served, field: str, value: str, label: str, told: str
) -> None:
    """The others keep what was typed; nothing is recorded."""
    visitor = await admin_at_home(service)
    good = {"name": "年金 花子", "mail": "hanako@example.jp", "role": "admin", "notice_by": "postcard"}
    page = await visitor.post("/portal/addition", good | {field: value})
    assert (page.status, page.error(label)) == (422, told)
    if field != "mail":
        assert page.field("メールアドレス").attributes["value"] == good["mail"]
    if field != "notice_by":
        assert "checked" in page.field("はがき").attributes
    assert store.applications(service.office.database.read(), state="submitted") == []


async def test_every_bad_field_of_an_addition_is_told_at_once(service: Served) -> None:
    """Nobody sends the form once for each mistake; the good fields have no message."""
    visitor = await admin_at_home(service)
    page = await visitor.post("/portal/addition", {"name": "", "mail": "a", "role": "admin", "user_id": "ab"})
    assert (page.status, page.error("氏名")) == (422, "氏名を100文字以内で入力してください。")
    assert page.error("メールアドレス").startswith("メールアドレスを半角で")
    assert page.error("希望するユーザーID（任意）").startswith("ユーザーIDは半角の英大文字と数字")
    assert page.error("メール") == "通知の方法を選択してください。"
    assert "権限を選択してください。" not in page.main.text
    assert [each.attributes["name"] for each in page.main.all("input") if "autofocus" in each.attributes] == [
        "name"
    ]


async def test_no_secret_is_in_the_trail_or_under_a_reference(service: Served) -> None:
    """House rule 7: passwords, right and wrong, leave no trace."""
    initial = await first_password(service)
    visitor = await at_home(service)
    await log_in(visitor, USER, "wrong-Secret-77")
    db = service.office.database.read()
    told = [str(row) for table in ("audit", "desk_references", "sessions") for row in db[table].rows]
    for secret in (initial, PASSWORD, "wrong-Secret-77", cookies(visitor)):
        assert not [line for line in told if secret in line]


def cookies(visitor: Visitor) -> str:
    """The session token that a visitor's browser holds."""
    return next(c.value for c in visitor.session.cookie_jar if c.key == "__Host-service")


def ended_by(service: Served, actor: str) -> list[object]:
    """What the trail says of the sessions that somebody ended."""
    trail = store.audit_page(service.office.database.read(), USER, 100)
    return [row["detail"] for row in trail if (row["actor"], row["action"]) == (actor, "session.ended")]


def newest(service: Served, user_id: str) -> Enrollment:
    return store.enrollments_of(service.office.database.read(), user_id)[0]


def fingerprint_of(service: Served, request_id: str) -> str:
    found = ca.store.find_by_order(service.office.database.read(), request_id)
    assert found is not None
    assert found.fingerprint is not None
    return found.fingerprint
