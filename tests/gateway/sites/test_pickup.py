"""The pick-up site on a real listener, screen by screen as the manual prints them."""

import re

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from yarl import URL

import ca.store
from enroll import store
from enroll.identifiers import new_request_id
from enroll.people import applications, register
from enroll.requests.states import State
from gateway.sites import pickup
from gateway.web.context import Role
from gateway.web.words import NOT_AVAILABLE_JA
from tests.datadirs import admit, clock_of, letter_of, open_office, together
from tests.gateway.sites.kit import serve
from tests.looking import look, rows
from tests.signers import Gone, Slow, given_to

USER = "K12345678"
CN = "K123456780001"
DESKTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"


@pytest.fixture
async def site(tmp_path):
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.PICKUP, pickup.application) as served,
    ):
        await admit(ra)
        yield served


async def logged_in(site, **headers):
    """A visitor who came from the mail and logged in; the mail beside."""
    letter = await letter_of(site.ra, "pickup")
    visitor = site.visitor(**headers)
    page = await visitor.post("/login", {"user_id": USER, "password": letter.value("証明書発行用パスワード")})
    assert page.path == "/menu"
    return visitor, letter.value("リクエストID")


def typed(request_id, password="abc", confirmation=None, form="standard"):
    return {
        "request_id": request_id,
        "password": password,
        "confirmation": password if confirmation is None else confirmation,
        "form": form,
    }


async def fetched(visitor, request_id, password="abc"):
    page = await visitor.post("/certificate", typed(request_id, password))
    assert page.path == "/certificate/download"
    return await visitor.get("/download")


def is_refused(page):
    """The page of Z4: the manual's sentence, 410, the next step, and no PKCS#12."""
    assert (page.status, page.headers["Content-Type"]) == (410, "text/html; charset=utf-8")
    assert NOT_AVAILABLE_JA in page.main.lines
    assert "クライアント証明書の再発行手続きが必要です。" in page.main.text
    assert re.search(r"照会番号：[0-9A-Z]{4}-[0-9A-Z]{4} お問合せの際に、ご照会先へ", page.main.text)
    assert "0120-96-1576" in page.dom.one("footer").text
    return True


def certificates(ra):
    return ca.store.count_by_status(look(ra.database))


# -- the screens of the manual -------------------------------------------------------------------------


async def test_screen_user_authentication(site):
    """R25: ユーザー認証, letter for letter; the password is masked and may be pasted."""
    page = await site.visitor().get("/")
    assert page.status == 200
    assert page.dom.one("header").one("p", class_="operator").text == (
        "企業年金ビジネスサービス株式会社 Cybertrust"
    )
    assert page.h1 == "ユーザー認証"
    assert page.main.one("p", class_="lead").lines == [
        "証明書の発行にユーザー認証が必要です。",
        "ユーザーIDと証明書発行用パスワードを入力し、「Login」ボタンをクリックしてください。",
    ]
    assert page.labels() == ["ユーザー ID", "証明書発行用パスワード"]
    assert page.buttons() == ["Login"]
    assert page.field("証明書発行用パスワード").attributes["type"] == "password"
    assert "onpaste" not in page.html


async def test_screen_menu(site):
    """R26: クライアント証明書取得画面."""
    visitor, _ = await logged_in(site)
    page = await visitor.get("/menu")
    assert page.h1 == "確定給付企業年金オンラインサービス クライアント証明書取得画面"
    assert page.menu() == ["証明書の取得"]
    assert page.main.one("p", class_="lead").text == "左メニューの「証明書の取得」をクリックしてください。"
    assert (page.main.one("dt").text, page.main.one("dd").text) == ("証明書の取得", "証明書を取得します。")


async def test_screen_input(site):
    """R27: 証明書の取得, where the request ID is typed."""
    visitor, _ = await logged_in(site, user_agent=DESKTOP)
    page = await visitor.get("/certificate")
    assert page.h1 == "証明書の取得"
    assert page.menu() == ["証明書の取得"]
    assert page.main.one("p", class_="lead").lines == [
        "リクエストIDとパスワード（任意）を入力し、「Submit」ボタンをクリックしてください。",
        "パスワードは半角英数字・桁数は任意です。",
        "後の工程で使用するため、パスワードは保管ください。",
    ]
    assert page.labels() == ["リクエストID", "パスワード", "パスワードの確認"]
    assert page.field("リクエストID").attributes["value"] == ""
    assert "readonly" not in page.field("リクエストID").attributes
    assert page.buttons() == ["Submit", "Submit（互換形式）"]
    assert "パソコンで行ってください" not in page.main.text


async def test_screen_download(site):
    """R29: the button and the note of the manual; the answer is a .p12 for the chosen password only."""
    visitor, request_id = await logged_in(site)
    page = await visitor.post("/certificate", typed(request_id, "abc"))
    assert (page.status, page.path, page.h1) == (200, "/certificate/download", "証明書の取得")
    assert page.main.one("p", class_="lead").text == (
        "証明書をダウンロードします。「Download」ボタンをクリックしてください。"
    )
    assert page.buttons()[0] == "Download"
    # Five in all, as counted before this one and after it.
    assert "（今回を含めて残り5回）" in page.main.without_hidden().text
    note = page.main.one("section", aria_labelledby="care")
    assert note.one("h2").text == "【手続き上の留意点】"
    assert note.lines[1:] == [
        "「Download」ボタン押下後は、お手続きを中断せず、取得作業を最後まで完了させてください。",
        "(中断の例:作業中のブラウザを閉じる等)",
        "取得作業が中断された場合、証明書の再発行が必要となる場合があります。",
    ]
    form = page.main.all("form")[0].attributes
    got = await visitor.get(form["action"])
    assert (form["method"], got.status) == ("get", 200)
    assert got.headers["Content-Type"] == "application/x-pkcs12"
    # With the last day: a renewed file is not taken for the one before it.
    assert got.headers["Content-Disposition"] == f'attachment; filename="{CN}_20291122.p12"'
    assert got.headers["Cache-Control"] == "no-store"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    bundle = pkcs12.load_pkcs12(got.body, b"abc")
    assert bundle.cert.certificate.subject.rfc4514_string() == f"CN={CN}"
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(got.body, b"abd")
    after = (await visitor.get("/certificate/download")).main.without_hidden().text
    assert ("（残り4回）" in after, "今回を含めて" in after) == (True, False)


@pytest.mark.parametrize("said", ["cross-site", "same-site"])
async def test_a_link_elsewhere_uses_up_no_download(site, said):
    """A page of another site, or of another host of ours, that links to the file gets the refusal, and the
    window has as many downloads as before; an address that was typed, and our own button, get the file."""
    visitor, request_id = await logged_in(site)
    await visitor.post("/certificate", typed(request_id, "abc"))
    refused = await visitor.get("/download", Sec_Fetch_Site=said)
    assert (refused.status, refused.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert store.enrollment(look(site.ra.database), request_id).downloads == 0
    for own in ("none", "same-origin"):
        got = await visitor.get("/download", Sec_Fetch_Site=own)
        assert (got.status, got.headers["Content-Type"]) == (200, "application/x-pkcs12")


async def test_the_same_screens_in_english(site):
    """Every screen has its English twin, and the switch leads there and back."""
    visitor, request_id = await logged_in(site)
    page = await visitor.get("/certificate?lang=en")
    assert (page.h1, page.dom.one("html").attributes["lang"]) == ("Get the certificate", "en")
    assert (await visitor.post("/certificate", typed(request_id))).h1 == "Get the certificate"
    assert (await visitor.get("/menu?lang=ja")).menu() == ["証明書の取得"]


async def test_a_language_chosen_on_a_refusal_goes_along(site):
    """The form it tells of was sent in another language: the links are in the language of the page."""
    visitor = site.visitor()
    letter = await letter_of(site.ra, "pickup")
    clock_of(site.ra).advance(days=31)
    fields = {"user_id": USER, "password": letter.value("証明書発行用パスワード")}
    page = await visitor.post("/login?lang=ja", fields)
    assert is_refused(page)
    for language in ("en", "ja"):
        page = await visitor.get(page.dom.one("a", lang=language).attributes["href"])
        ways = [each.attributes["href"] for each in page.main.one("div", class_="actions").all("a")]
        there = [way for way in ways if way.startswith("https:")]
        assert there
        assert {URL(way).query.get("lang") for way in there} == {language}
        assert "reissue" in {URL(way).fragment for way in there}


# -- login ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user_id", [USER, "NOBODY99"])
async def test_wrong_user_and_wrong_password_look_alike(site, user_id):
    """R25: one answer for both, on the form, with the user ID kept and the password gone."""
    page = await site.visitor().post("/login", {"user_id": user_id, "password": "wrong"})
    assert (page.status, page.h1) == (403, "ユーザー認証")
    assert page.main.one("div", role="alert").lines[0] == ("ユーザーIDまたはパスワードに誤りがあります。")
    assert page.field("ユーザー ID").attributes["value"] == user_id
    assert page.field("証明書発行用パスワード").attributes["value"] == ""
    assert "照会番号：" in page.main.text
    assert "お問合せの際に、ご照会先へお伝えください。" in page.main.text
    assert "wrong" not in page.html
    # Two passwords came in two letters: which of them it is, and that a pause is to come.
    assert "ログイン用のパスワード（「ユーザーIDのお知らせ」に記載）とは異なります。" in page.main.text
    assert "誤りが続くと、受付を一時停止します。" in page.main.text


async def test_what_is_missing_is_said_beside_the_field(site):
    """WCAG 3.3.1: the field at fault is named, described and takes the focus."""
    page = await site.visitor().post("/login", {"user_id": "", "password": ""})
    assert page.status == 422
    assert page.error("ユーザー ID") == "入力されていません。メールに記載のとおり入力してください。"
    assert page.error("証明書発行用パスワード") == page.error("ユーザー ID")
    assert "autofocus" in page.field("ユーザー ID").attributes
    assert "autofocus" not in page.field("証明書発行用パスワード").attributes


async def test_full_width_and_spaces_are_read_as_meant(site):
    """A user ID from a Japanese keyboard, a password pasted with the blank after it."""
    password = (await letter_of(site.ra, "pickup")).value("証明書発行用パスワード")
    page = await site.visitor().post("/login", {"user_id": " ｋ12345678", "password": f"{password} "})
    assert page.path == "/menu"
    labelled = {"user_id": f"ユーザーID：{USER}", "password": f"証明書発行用パスワード：{password}"}
    assert (await site.visitor().post("/login", labelled)).path == "/menu"


@pytest.mark.parametrize(
    "pasted",
    ["\u200b{}\ufeff", "\u200e{}\u200f", "{}\u00a0", "\u3000{}\n", "\u202a{}\u202c", "\u00ad{}\u2060"],
)
async def test_what_a_paste_brings_along_is_taken_off(site, pasted):
    """User ID, issue password and request ID out of a mail, with what nobody sees and with any hyphen."""
    letter = await letter_of(site.ra, "pickup")
    password, request_id = letter.value("証明書発行用パスワード"), letter.value("リクエストID")
    visitor = site.visitor()
    halves = f"{password[:8]}\u200b{password[8:]}"
    fields = {"user_id": pasted.format("k1234\u2212５６７８"), "password": pasted.format(halves)}
    assert (await visitor.post("/login", fields)).path == "/menu"
    grouped = "\u30fc".join(request_id[at : at + 4] for at in range(0, 16, 4))
    page = await visitor.post("/certificate", typed(pasted.format(grouped)))
    assert page.path == "/certificate/download"


@pytest.mark.parametrize("change", [str.swapcase, lambda text: text + "a", lambda text: text[:-1]])
async def test_another_password_is_another_one(site, change):
    """The twin: letters and their case are what the password is."""
    password = (await letter_of(site.ra, "pickup")).value("証明書発行用パスワード")
    page = await site.visitor().post("/login", {"user_id": USER, "password": change(password)})
    assert page.status == 403


async def test_guessing_is_stopped(site):
    """R25: after ten failures 429 with Retry-After, also for the right password."""
    password = (await letter_of(site.ra, "pickup")).value("証明書発行用パスワード")
    visitor = site.visitor()
    for _ in range(site.ra.settings.attempts):
        assert (await visitor.post("/login", {"user_id": USER, "password": "guess"})).status == 403
    page = await visitor.post("/login", {"user_id": USER, "password": password})
    assert (page.status, page.headers["Retry-After"]) == (429, "900")
    # Another heading than the manual's for the wait during a renewal, and where help is.
    assert page.h1 == "受付を一時停止しています"
    assert [each.text for each in page.main.all("a", class_="button")] == [
        "ログインできないとき",
        "最初の画面へ戻る",
    ]
    clock_of(site.ra).advance(seconds=site.ra.settings.attempt_seconds)
    assert (await visitor.post("/login", {"user_id": USER, "password": password})).path == "/menu"


@pytest.mark.parametrize("path", ["/menu", "/certificate", "/certificate/download", "/download", "/login"])
async def test_nothing_without_login(site, path):
    """R26: whoever is not logged in gets ユーザー認証."""
    page = await site.visitor().get(path)
    assert (page.status, page.path, page.h1) == (200, "/", "ユーザー認証")
    said = [each.text for each in page.main.all("div", role="status")]
    assert said == ([] if path == "/login" else ["この画面を表示するには、ログインが必要です。"])


async def test_submit_without_login_issues_nothing(site):
    """The twin for POST: no session, no certificate."""
    request_id = (await letter_of(site.ra, "pickup")).value("リクエストID")
    page = await site.visitor().post("/certificate", typed(request_id))
    assert page.path == "/"
    assert "入力された内容は受け付けていません。" in page.main.one("div", role="status").text
    assert certificates(site.ra) == {}


async def test_logout_and_idle_end_the_session(site):
    """After logout, or half an hour of nothing, the pages are closed; the idle one is told why."""
    visitor, _ = await logged_in(site)
    left = await visitor.post("/logout")
    assert left.main.one("div", role="status").lines[0] == "ログアウトしました。"
    assert "接続を終了しました" not in left.main.text
    assert (await visitor.get("/menu")).path == "/"
    visitor, _ = await logged_in(site)
    clock_of(site.ra).advance(seconds=1_800)
    page = await visitor.get("/certificate")
    assert (page.path, page.main.one("div", role="status").text) == (
        "/",
        "一定時間操作がなかったため、接続を終了しました。もう一度ログインしてください。",
    )


async def test_a_login_from_another_site_is_refused(site):
    """V40: a form on another page cannot log anybody in."""
    page = await site.visitor().post(
        "/login", {"user_id": USER, "password": "x"}, Origin="https://evil.example"
    )
    assert (page.status, page.h1) == (403, "この画面からは操作できません")


# -- input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["a", "A1" * 32, "x" * 200])
async def test_passwords_of_any_length(site, password):
    """R28: half-width letters and digits, one or two hundred of them; above 31 with a warning."""
    visitor, request_id = await logged_in(site)
    page = await visitor.post("/certificate", typed(request_id, password))
    assert page.path == "/certificate/download"
    assert ("パスワードが31文字を超えています" in page.main.text) == (len(password) > 31)
    pkcs12.load_pkcs12((await visitor.get("/download")).body, password.encode())


@pytest.mark.parametrize(
    ("password", "confirmation", "label", "words"),
    [
        ("", "", "パスワード", "パスワードが入力されていません。"),
        ("ａ１", "ａ１", "パスワード", "パスワードに半角英数字以外の文字が含まれています。"),
        ("あ", "あ", "パスワード", "パスワードに半角英数字以外の文字が含まれています。"),
        ("a b", "a b", "パスワード", "パスワードに半角英数字以外の文字が含まれています。"),
        ("a-b", "a-b", "パスワード", "パスワードに半角英数字以外の文字が含まれています。"),
        ("abc", "abd", "パスワードの確認", "「パスワード」と「パスワードの確認」が一致しません。"),
    ],
)
async def test_passwords_refused(site, password, confirmation, label, words):
    """R28, Z3: refused by the server beside the field; the request ID is kept, no password is."""
    visitor, request_id = await logged_in(site)
    page = await visitor.post("/certificate", typed(request_id, password, confirmation))
    assert page.status == 422
    assert page.error(label).startswith(words)
    assert page.main.one("div", role="alert").one("a").attributes["href"] in ("#password", "#confirmation")
    assert page.field("リクエストID").attributes["value"] == request_id
    assert page.field("パスワード").attributes["value"] == ""
    assert certificates(site.ra) == {}


@pytest.mark.parametrize("wrong", ["", "123", "x" * 16, "last digit"])
async def test_a_mistyped_request_id_is_told_gently(site, wrong):
    """D5: the check digit tells a typing error, beside the field, with nothing lost."""
    visitor, request_id = await logged_in(site)
    entered = request_id[:-1] + str((int(request_id[-1]) + 1) % 10) if wrong == "last digit" else wrong
    page = await visitor.post("/certificate", typed(entered))
    assert page.status == 422
    assert is_not_the_requests(page)
    assert certificates(site.ra) == {}


def is_not_the_requests(page):
    """One answer for whatever is not this request's ID: beside the field, and Z4 for who has it from the
    mail, with the way on and a reference number."""
    assert page.error("リクエストID") == (
        "リクエストIDに誤りがあります。メールに記載の16桁の数字を半角で入力しなおしてください。"
    )
    assert NOT_AVAILABLE_JA in page.main.lines
    assert "クライアント証明書の再発行手続きが必要です。" in page.main.text
    assert re.search(r"照会番号：[0-9A-Z]{4}-[0-9A-Z]{4}", page.main.text)
    return True


async def test_going_back_past_a_refusal_that_was_mended(site):
    """Whoever goes back from the Download screen is not told once more what was wrong before."""
    visitor, request_id = await logged_in(site)
    refused = await visitor.post("/certificate", typed("1" * 16), follow=False)
    told = refused.headers["Location"]
    assert is_not_the_requests(await visitor.get(told))
    await fetched(visitor, request_id)
    page = await visitor.get(told)
    assert (page.status, page.main.all("div", role="alert")) == (200, [])
    assert NOT_AVAILABLE_JA not in page.main.text
    # What is refused after it is said.
    again = await visitor.post("/certificate", typed("1" * 16))
    assert is_not_the_requests(again)


async def test_a_request_id_may_be_typed_in_groups(site):
    """Full-width digits, spaces and hyphens mean the same number, and so does the mail's whole line."""
    visitor, request_id = await logged_in(site)
    wide = request_id.translate({ord("0") + n: ord("０") + n for n in range(10)})
    for entered in (
        f"{wide[:4]}-{wide[4:8]} {wide[8:]}",
        f"リクエストID：{request_id}",
        f"Request ID: {wide}",
    ):
        page = await visitor.post("/certificate", typed(entered))
        assert page.path == "/certificate/download"


async def test_another_users_request_id_is_refused(site):
    """R27: well-formed but of somebody else, or of nobody: Z4 as for what is mistyped, so that nobody learns
    which IDs there are, and nobody's request moves."""
    visitor, _ = await logged_in(site)
    other = await admit(site.ra, "K87654321")
    for request_id in (other.request_id, new_request_id()):
        page = await visitor.post("/certificate", typed(request_id))
        assert (page.status, is_not_the_requests(page)) == (422, True)
    assert certificates(site.ra) == {}
    assert store.enrollment(look(site.ra.database), other.request_id).state in (
        State.ACCEPTED,
        State.ANNOUNCED,
    )


@pytest.mark.parametrize("form", ["", "zip"])
async def test_an_unknown_format_is_refused(site, form):
    """Only the two buttons' values are understood."""
    visitor, request_id = await logged_in(site)
    assert (await visitor.post("/certificate", typed(request_id, form=form))).status == 422


async def test_the_compatible_format(site):
    """D11: the second button gives 3DES and a SHA-1 MAC, the first one AES and SHA-256."""
    visitor, request_id = await logged_in(site)
    oids = {"3DES": bytes.fromhex("060a2a864886f70d010c0103"), "AES": bytes.fromhex("060960864801650304012a")}
    for form, name in (("standard", "AES"), ("compatible", "3DES")):
        page = await visitor.post("/certificate", typed(request_id, form=form))
        assert ("互換形式" if form == "compatible" else "標準形式") in page.main.text
        body = (await visitor.get("/download")).body
        assert {key for key, oid in oids.items() if oid in body} == {name}


async def test_a_phone_is_warned(site):
    """R20: the certificate belongs on the PC that will use it: from the first screen on."""
    visitor, _ = await logged_in(site, user_agent=PHONE)
    for path in ("/", "/menu", "/certificate"):
        page = await visitor.get(path)
        assert page.main.one("div", class_="warning").lines[1] == (
            "※クライアント証明書の取得はオンラインサービスをご使用するパソコンで行ってください。"
        )


# -- download ------------------------------------------------------------------------------------------


async def test_the_pfx_name(site):
    """E24: where .p12 is blocked the same bytes come as .pfx; no third name is taken."""
    visitor, request_id = await logged_in(site)
    first = await fetched(visitor, request_id)
    second = await visitor.get("/download?as=pfx")
    assert second.headers["Content-Disposition"] == f'attachment; filename="{CN}_20291122.pfx"'
    assert second.body == first.body
    assert (await visitor.get("/download?as=exe")).status == 404


async def test_fetching_again_counts_once(site):
    """E20: a browser, scanner or second click within ten minutes gets the same bytes, one download."""
    visitor, request_id = await logged_in(site)
    await visitor.post("/certificate", typed(request_id))
    got = await together(*(visitor.get("/download") for _ in range(5)))
    assert len({page.body for page in got}) == 1
    assert store.enrollment(look(site.ra.database), request_id).downloads == 1


async def test_an_old_button_leads_back_to_the_input(site):
    """After ten minutes the button is over, not the request: the input screen says so."""
    visitor, request_id = await logged_in(site)
    await fetched(visitor, request_id)
    clock_of(site.ra).advance(seconds=site.ra.settings.ticket_seconds)
    for path in ("/download", "/certificate/download"):
        page = await visitor.get(path)
        assert (page.status, page.path) == (200, "/certificate")
        assert (
            page.main.without_hidden()
            .one("div", role="status")
            .text.startswith("「Download」ボタンの有効時間が過ぎました。")
        )
    assert (await fetched(visitor, request_id)).status == 200


async def test_the_download_page_needs_a_submit(site):
    """Without a Submit there is nothing to download: the input screen, without reproach."""
    visitor, _ = await logged_in(site)
    for path in ("/certificate/download", "/download"):
        assert (await visitor.get(path)).path == "/certificate"


async def test_the_file_belongs_to_the_session(site):
    """The button's address opens nothing for anybody else."""
    visitor, request_id = await logged_in(site)
    await visitor.post("/certificate", typed(request_id))
    assert (await site.visitor().get("/download")).path == "/"


async def test_a_link_elsewhere_does_not_use_up_downloads(site):
    """V40: a page of another site cannot make the browser fetch."""
    visitor, request_id = await logged_in(site)
    await visitor.post("/certificate", typed(request_id))
    page = await visitor.get("/download", Sec_Fetch_Site="cross-site")
    assert page.status == 403
    assert store.enrollment(look(site.ra.database), request_id).downloads == 0


async def test_double_clicks_back_and_reload_are_harmless(site):
    """E19: many Submits at once give one certificate, and the button works."""
    visitor, request_id = await logged_in(site)
    pages = await together(*(visitor.post("/certificate", typed(request_id)) for _ in range(8)))
    assert {page.path for page in pages} == {"/certificate/download"}
    assert certificates(site.ra) == {"issued": 1}
    assert (await visitor.get("/certificate")).status == 200
    assert (await visitor.get("/certificate/download")).buttons()[0] == "Download"
    pkcs12.load_pkcs12((await visitor.get("/download")).body, b"abc")


async def test_the_button_of_an_earlier_tab(site):
    """Two tabs: nobody gets a file under a password that was typed elsewhere without being told first."""
    visitor, request_id = await logged_in(site)
    tabs = [await visitor.post("/certificate", typed(request_id, password)) for password in ("one", "two")]
    first, second = (tab.main.all("input", name="ticket")[0].attributes["value"] for tab in tabs)
    page = await visitor.get(f"/download?ticket={first}")
    assert page.path == "/certificate/download"
    assert "ファイルのパスワードは、最後に設定したものです。" in page.main.one("div", class_="notice").text
    assert page.main.all("input", name="ticket")[0].attributes["value"] == second
    assert "最後に設定した" not in tabs[1].main.text
    pkcs12.load_pkcs12((await visitor.get(f"/download?ticket={second}")).body, b"two")


async def test_again_from_the_same_mail_with_another_password(site):
    """Z1, R31: login again, another password, the same certificate and key."""
    first_visitor, request_id = await logged_in(site)
    first = pkcs12.load_pkcs12((await fetched(first_visitor, request_id, "one")).body, b"one")
    visitor, _ = await logged_in(site)
    second = pkcs12.load_pkcs12((await fetched(visitor, request_id, "two")).body, b"two")
    assert first.cert.certificate == second.cert.certificate
    assert first.key.private_numbers() == second.key.private_numbers()


# -- when it is over (R30) -----------------------------------------------------------------------------


async def test_after_the_window_everything_is_refused(site):
    """R30, E1: thirty days after the first issue, in an open session as at the login."""
    visitor, request_id = await logged_in(site)
    await fetched(visitor, request_id)
    password = (await letter_of(site.ra, "pickup")).value("証明書発行用パスワード")
    clock_of(site.ra).advance(days=site.ra.settings.window_days)
    page = await site.visitor().post("/login", {"user_id": USER, "password": password})
    assert is_refused(page)
    assert "取得できる期間が過ぎています。" in page.main.text
    assert "当メールからクライアント証明書の取得はできません。" in page.main.text
    # It may well be on the PC: that it must be issued anew is not said to everybody.
    assert "取得できていない場合は、クライアント証明書の再発行手続きが必要です。" in page.main.text
    ways = [each.text for each in page.main.one("div", class_="actions").all("a")]
    assert ways[:2] == ["導通確認サイトを開く", "再発行のお手続きを見る"]


async def test_the_sixth_download_is_refused(site):
    """E1: five downloads; then Z4."""
    visitor, request_id = await logged_in(site)
    for _ in range(site.ra.settings.window_downloads):
        assert (await fetched(visitor, request_id)).status == 200
    # Whoever has the last one is warned to keep it.
    last = (await visitor.get("/certificate/download")).main.one("section", id="downloaded")
    assert "インポートが終わるまで、ファイルを削除しないでください。" in last.text
    page = await visitor.post("/certificate", typed(request_id))
    assert is_refused(page)
    assert "ダウンロードの回数が上限に達したため" in page.main.text
    assert (await visitor.get("/download")).status == 200
    clock_of(site.ra).advance(seconds=site.ra.settings.ticket_seconds)
    assert is_refused(await visitor.get("/download"))


@pytest.mark.parametrize("path", ["/menu", "/certificate", "/certificate/download", "/download"])
async def test_after_a_reissue_the_old_mail_is_dead(site, path):
    """E2: an open session ends in Z4 on every page, and Submit too."""
    visitor, request_id = await logged_in(site)
    await fetched(visitor, request_id)
    await applications.reissue(site.ra, USER, "interrupted", actor="test", revoke_old="at_once")
    for page in (await visitor.get(path), await visitor.post("/certificate", typed(request_id))):
        assert is_refused(page)
        assert "再発行のお手続きが行われたため、以前のご案内は使用できません。" in page.main.text


async def test_after_the_user_is_disabled(site):
    """E27: a revoked certificate cannot be fetched."""
    visitor, request_id = await logged_in(site)
    await visitor.post("/certificate", typed(request_id))
    await register.disable_user(site.ra, USER, actor="test")
    assert is_refused(await visitor.get("/download"))
    assert is_refused(await visitor.post("/certificate", typed(request_id)))


@pytest.mark.parametrize(
    ("revoke_old", "said"),
    [
        ("on_pickup", "新しい証明書のダウンロードと同時に無効になります。"),
        ("at_once", "以前の証明書は、すでに無効になっています。"),
    ],
)
async def test_after_a_reissue_the_new_certificate_is_named(site, revoke_old, said):
    """Which one to choose from now on, by name and serial, and what becomes of the former one."""
    visitor, request_id = await logged_in(site)
    await fetched(visitor, request_id)
    await applications.reissue(site.ra, USER, "pc_change", actor="test", revoke_old=revoke_old)
    visitor, request_id = await logged_in(site)
    page = await visitor.post("/certificate", typed(request_id))
    which = page.main.one("section", aria_labelledby="which")
    serial = store.enrollment(look(site.ra.database), request_id).serial
    for words in (f"{USER}0002", serial[:8].upper(), said):
        assert words in which.text
    assert "新しい証明書の取得後に無効になります。" in (await letter_of(site.ra, "pickup")).body


# -- secrets -------------------------------------------------------------------------------------------


async def test_no_secret_in_addresses_pages_or_the_audit_trail(site):
    """Neither the issue password, nor the chosen one, nor the button's token is written anywhere."""
    password = (await letter_of(site.ra, "pickup")).value("証明書発行用パスワード")
    visitor, request_id = await logged_in(site)
    page = await visitor.post("/certificate", typed(request_id, "Chosen99"))
    data = rows(look(site.ra.database), "SELECT data FROM sessions")
    token = re.search(r'"ticket": "([^"]+)"', data[-1]["data"]).group(1)
    trail = str(store.audit_page(look(site.ra.database), None, 100))
    for secret in (password, "Chosen99", token):
        assert secret not in page.html + page.path + trail


@pytest.mark.parametrize("kind", [Gone, Slow])
async def test_who_cannot_sign_now_is_told_of_and_nothing_is_lost(site, kind):
    """503 with Retry-After, in words that say later; pressed again when it can be signed there is the file,
    of the certificate that was begun."""
    visitor, request_id = await logged_in(site)
    usual = site.ra.authority.signer
    signer = kind(usual)
    given_to(site.ra, signer, patience=0.05)
    for _ in range(2):
        page = await visitor.post("/certificate", typed(request_id))
        assert (page.status, page.h1) == (503, "証明書の発行に時間がかかっています")
        assert int(page.headers["Retry-After"]) == 60
        assert "お手続きの内容は失われません" in page.main.text
    begun = store.enrollment(look(site.ra.database), request_id)
    given_to(site.ra, usual)
    if kind is Slow:
        signer.let.set()
    got = await fetched(visitor, request_id)
    assert got.headers["Content-Type"] == "application/x-pkcs12"
    done = store.enrollment(look(site.ra.database), request_id)
    assert (done.serial, done.sealed_key) == (begun.serial, begun.sealed_key)


@pytest.mark.parametrize("path", ["/", "/menu", "/certificate", "/certificate/download"])
async def test_pages_are_not_kept_and_run_no_script_of_their_own(site, path):
    """no-store everywhere, no inline script or style, one h1, landmarks."""
    visitor, request_id = await logged_in(site)
    await visitor.post("/certificate", typed(request_id))
    page = await visitor.get(path)
    assert page.headers["Cache-Control"] == "no-store"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert not [e for e in page.dom.walk() if "style" in e.attributes or e.tag == "style"]
    assert not [e for e in page.dom.all("script") if "src" not in e.attributes]
    assert [len(page.dom.all(tag)) for tag in ("h1", "main", "header", "footer")] == [1, 1, 1, 1]
