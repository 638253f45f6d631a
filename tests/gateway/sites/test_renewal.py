"""The renewal site on a real listener, with the certificate that a browser would present."""

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

import ca.store
from enroll import scheduler, store
from enroll.jst import day_of, shown
from enroll.people import applications, login, register
from enroll.requests import issuance, pickup, renewal
from gateway.edge.tls import ClientCertificate
from gateway.sites import renewal as site_module
from gateway.sites.service import application as service_application
from gateway.web import pages
from gateway.web.context import Role
from gateway.web.dates import moment
from gateway.web.words import NOT_AVAILABLE_JA
from tests.datadirs import (
    Letter,
    admit,
    clock_of,
    letter_of,
    next_generation,
    open_office,
    together,
)
from tests.gateway.sites.kit import Served, Visitor, serve
from tests.looking import look
from tests.signers import Gone, given_to
from tests.softhsm import hsm, in_token, needs_softhsm

__all__ = ["hsm"]

USER = "K12345678"
CN = "K123456780001"
DAY = 86_400


@dataclass
class Scene:
    """A user at D-30 with the mail, and a browser that presents the certificate."""

    site: Served
    p12: bytes
    fingerprint: str
    not_after_at: int
    mail: Letter
    visitor: Visitor

    @property
    def ra(self):
        return self.site.ra

    @property
    def request_id(self):
        return self.mail.value("リクエストID")


async def in_hand(ra, user_id=USER):
    """A picked-up certificate: the file, its fingerprint and its end."""
    letter = await letter_of(ra, "pickup")
    opened = await pickup.authenticate(
        ra, user_id, letter.value("証明書発行用パスワード"), address="192.0.2.1"
    )
    await issuance.submit(ra, opened.request_id, actor=user_id)
    await issuance.complete(ra, opened.request_id)
    token = await issuance.prepare_download(ra, opened.request_id, "abc", "standard", actor=user_id)
    got = await issuance.download(ra, token, opened.request_id, actor=user_id)
    record = ca.store.find_by_order(look(ra.database), opened.request_id)
    return got.content, record.fingerprint, record.not_after_at


@asynccontextmanager
async def opened(path, **settings):
    """The site, and a user whose pick-up mail is queued."""
    async with (
        open_office(path, **settings) as ra,
        serve(
            ra,
            path,
            Role.RENEWAL,
            site_module.application,
            ClientCertificate.REQUIRE,
            site_module.refused,
            fresh=True,
        ) as served,
    ):
        await admit(ra)
        yield served


@pytest.fixture
async def site(tmp_path):
    async with opened(tmp_path) as served:
        yield served


@pytest.fixture
async def scene(site):
    p12, fingerprint, not_after_at = await in_hand(site.ra)
    clock_of(site.ra).set(not_after_at - 30 * DAY)
    await scheduler.notify(site.ra, day_of(site.ra.now()))
    mail = await letter_of(site.ra, "renewal_30")
    return Scene(site, p12, fingerprint, not_after_at, mail, site.visitor(p12, "abc"))


async def test_who_has_to_choose_is_told_every_issuer(tmp_path):
    """E17: after G4 to G5 most people still have one of G4's, which is as good."""
    name = "CORPORATE-PENSION BUSINESS SERVICE CA-G5"
    async with open_office(tmp_path) as ra:
        ra = next_generation(ra, name)
        async with serve(
            ra,
            tmp_path,
            Role.RENEWAL,
            site_module.application,
            ClientCertificate.REQUIRE,
            site_module.refused,
        ) as served:
            page = await served.visitor().get("/")
            assert page.status == 403
            assert f"「発行者」が{name} / CORPORATE-PENSION BUSINESS SERVICE CA-G4、" in page.main.text


def entered(request_id, password="new", confirmation=None):
    return {
        "request_id": request_id,
        "password": password,
        "confirmation": password if confirmation is None else confirmation,
        "form": "standard",
    }


async def applied(scene):
    """Submit on 証明書の更新情報, and the wait until the certificate is there."""
    page = await scene.visitor.post("/application")
    assert page.path == f"/waiting/{scene.request_id}"
    await issuance.complete(scene.ra, scene.request_id)
    return await scene.visitor.get(page.path)


async def renewed(scene, password="new"):
    """Password, Submit, Download: the file."""
    page = await scene.visitor.post(f"/certificate/{scene.request_id}", entered(scene.request_id, password))
    assert page.path == f"/certificate/{scene.request_id}/download"
    got = await scene.visitor.get(page.main.all("form")[0].attributes["action"])
    assert (got.status, got.headers["Content-Type"]) == (200, "application/x-pkcs12")
    return pkcs12.load_pkcs12(got.body, password.encode())


def counted(ra):
    return ca.store.count_by_status(look(ra.database))


def is_refused(page):
    """Z4 with 410."""
    return page.status == 410 and NOT_AVAILABLE_JA in page.main.lines


# -- the screens of the manual -------------------------------------------------------------------------


async def test_screen_menu(scene):
    """R33: クライアント証明書更新画面."""
    page = await scene.visitor.get("/")
    assert page.dom.one("header").one("p", class_="operator").text == (
        "企業年金ビジネスサービス株式会社 Cybertrust"
    )
    assert page.h1 == "確定給付企業年金オンラインサービス クライアント証明書更新画面"
    assert page.menu() == ["更新の申請", "更新の再申請"]
    assert page.main.one("p", class_="lead").text == "左メニューの「更新の申請」をクリックしてください。"
    assert [e.text for e in page.main.walk() if e.tag in ("dt", "dd")] == [
        "更新の申請",
        "証明書を更新します。",
        "更新の再申請",
        "更新作業中断時の更新状況を表示します。",
    ]


async def test_screen_application(scene):
    """R34: 証明書の更新情報 with the values of the mail."""
    page = await scene.visitor.get("/application")
    assert page.h1 == "証明書の更新情報"
    assert page.main.one("p", class_="lead").lines == [
        "以下のリクエストIDで証明書更新の申請をします。",
        "よろしければ「Submit」ボタンをクリックしてください。",
    ]
    assert page.main.table() == [
        ["リクエストID", scene.mail.value("リクエストID")],
        ["コモンネーム", scene.mail.value("コモンネーム")],
    ]
    assert page.buttons() == ["Submit"]
    assert not page.main.all("input")


async def test_who_waits_for_long_is_told_that_nothing_is_lost(scene):
    """しばらくお待ちください promises the next page only for as long as that is likely."""
    soon, later = "自動的に取得画面に遷移します", "この画面を閉じても、申請は失われません"
    usual = scene.ra.authority.signer
    given_to(scene.ra, Gone(usual))
    page = await scene.visitor.post("/application")
    assert (soon in page.main.text, later in page.main.text) == (True, False)
    clock_of(scene.ra).advance(seconds=31)
    page = await scene.visitor.get(page.path)
    assert (soon in page.main.text, later in page.main.text) == (False, True)
    assert (await scene.visitor.get(page.path + "/status")).status == 200
    given_to(scene.ra, usual)
    await issuance.complete(scene.ra, scene.request_id)
    assert (await scene.visitor.get(page.path)).path == f"/certificate/{scene.request_id}"


async def test_screen_waiting(scene):
    """R35: しばらくお待ちください, at least once, and on without the person's doing."""
    page = await scene.visitor.post("/application")
    assert (page.status, page.path, page.h1) == (
        200,
        f"/waiting/{scene.request_id}",
        "しばらくお待ちください",
    )
    assert page.main.one("p", class_="lead").lines == [
        "申請情報を受け付けました。現在、証明書を発行しています。",
        "自動的に取得画面に遷移しますので、そのままお待ちください。",
    ]
    assert page.main.one("caption").text == "申請の受付情報"
    assert page.main.table() == [
        ["リクエストID", scene.request_id],
        ["コモンネーム", CN],
        ["証明書ステータス", "証明書生成中"],
    ]
    assert page.dom.one("meta", http_equiv="refresh").attributes["content"] == f"3; url={page.path}"
    script = page.dom.one("script").attributes["src"]
    assert "location.replace" in (await scene.visitor.get(script)).html
    await issuance.complete(scene.ra, scene.request_id)
    assert (await scene.visitor.get(f"{page.path}/status")).html == '{"status": "issued"}'
    assert (await scene.visitor.get(page.path)).path == f"/certificate/{scene.request_id}"


async def test_screen_input(scene):
    """R36: 証明書の取得 with the request ID filled in, and Submit (Z6)."""
    page = await applied(scene)
    assert (page.path, page.h1) == (f"/certificate/{scene.request_id}", "証明書の取得")
    assert page.menu() == ["更新の申請", "更新の再申請"]
    assert page.main.one("p", class_="lead").lines == [
        "リクエストIDとパスワード（任意）を入力し、「Submit」ボタンをクリックしてください。",
        "パスワードは半角英数字・桁数は任意です。",
        "後の工程で使用するため、パスワードは保管ください。",
    ]
    assert page.labels() == ["リクエストID", "パスワード", "パスワードの確認"]
    request_id = page.field("リクエストID").attributes
    assert (request_id["value"], "readonly" in request_id) == (scene.request_id, True)
    assert page.buttons()[0] == "Submit"


async def test_screen_download(scene):
    """R36, R37: the new certificate has the old name, another serial and three years."""
    await applied(scene)
    page = await scene.visitor.post(f"/certificate/{scene.request_id}", entered(scene.request_id))
    assert (page.h1, page.buttons()[0]) == ("証明書の取得", "Download")
    assert page.main.one("p", class_="lead").text == (
        "証明書をダウンロードします。「Download」ボタンをクリックしてください。"
    )
    assert page.main.one("section", aria_labelledby="care").one("h2").text == "【手続き上の留意点】"
    new, old = (await renewed(scene)).cert.certificate, pkcs12.load_pkcs12(scene.p12, b"abc").cert.certificate
    assert new.subject == old.subject
    assert new.serial_number != old.serial_number
    assert new.not_valid_after_utc.year - day_of(scene.ra.now()).year == 3


async def test_screen_status(scene):
    """R40, R41: 更新の申請状況, its columns and its dates; Download cert leads to 証明書の取得 (R43)."""
    await applied(scene)
    applied_at = scene.ra.now()
    page = await scene.visitor.get("/status")
    assert page.h1 == "更新の申請状況"
    assert page.main.one("p", class_="lead").lines == [
        "リクエストIDが表示されている場合は、「Download cert」ボタンをクリックしてください。",
        "リクエストIDが表示されていない場合は、左メニューの「更新の申請」をクリックし再度更新手続きを行ってください。",
    ]
    order = store.enrollment(look(scene.ra.database), scene.request_id)
    assert page.main.table() == [
        ["リクエストID", "コモンネーム", "証明書更新申請日時", "有効期限", "ステータス", "取得"],
        [scene.request_id, CN, shown(applied_at), shown(order.not_after_at), "発行済み", "Download cert"],
    ]
    assert re.fullmatch(r"\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d", page.main.table()[1][2])
    button = page.main.one("form").attributes
    page = await scene.visitor.get(button["action"])
    assert (page.h1, page.field("リクエストID").attributes["value"]) == ("証明書の取得", scene.request_id)


async def test_screen_status_when_empty(scene):
    """R40, R44: the same words, no row; 更新の申請 starts anew."""
    page = await scene.visitor.get("/status")
    assert page.main.one("p", class_="lead").lines[1].startswith("リクエストIDが表示されていない場合は、")
    assert len(page.main.table()) == 1
    step = page.main.one("p", class_="actions").one("a")
    assert (step.text, step.attributes["href"]) == ("更新を申請する", "/application")
    assert (await scene.visitor.get("/application")).buttons() == ["Submit"]


async def test_the_same_screens_in_english(scene):
    """Every screen has its English twin."""
    assert (await scene.visitor.get("/?lang=en")).menu() == ["Renew", "Resume a renewal"]
    assert (await scene.visitor.post("/application")).main.table()[2] == ["Status", "Issuing"]
    assert (await applied(scene)).h1 == "Get the certificate"
    assert (await scene.visitor.get("/status")).main.table()[1][4] == "Issued"


# -- one certificate, whatever happens -----------------------------------------------------------------


async def test_double_submits_and_reloads_give_one_certificate(scene):
    """R35, E19: ten Submits at once, reloads of every page: one certificate."""
    pages = await together(*(scene.visitor.post("/application") for _ in range(10)))
    assert {page.path for page in pages} <= {
        f"/waiting/{scene.request_id}",
        f"/certificate/{scene.request_id}",
    }
    await applied(scene)
    for _ in range(2):
        await scene.visitor.get(f"/waiting/{scene.request_id}")
        await renewed(scene)
    assert counted(scene.ra) == {"issued": 2}


async def test_applying_again_shows_the_existing_application(scene):
    """E10: 更新の申請 after Submit is the status of that application, with its button."""
    await applied(scene)
    page = await scene.visitor.get("/application")
    assert page.h1 == "更新の申請状況"
    assert page.main.one("div", role="status").text == (
        "更新の申請はすでに受け付けています。新しい申請は不要です。"
    )
    assert page.buttons() == ["Download cert"]


async def test_the_wait_page_takes_up_what_a_crash_left(scene):
    """A request in 証明書生成中 that nobody works on is finished by whoever looks."""
    await renewal.submit(scene.ra, scene.fingerprint, actor=USER)
    page = await scene.visitor.get("/application")
    assert (page.path, page.h1) == (f"/waiting/{scene.request_id}", "しばらくお待ちください")
    assert (await scene.visitor.get("/status")).main.table()[1][4] in ("証明書生成中", "発行済み")
    async with asyncio.timeout(60):
        while (await scene.visitor.get(f"{page.path}/status")).html != '{"status": "issued"}':
            pass
    assert (await scene.visitor.get(page.path)).path == f"/certificate/{scene.request_id}"
    assert counted(scene.ra) == {"issued": 2}


async def test_a_row_in_progress_says_so(scene):
    """R42: 証明書生成中 until it is issued; the dates that are not known yet are left open."""
    await renewal.submit(scene.ra, scene.fingerprint, actor=USER)
    row = (await scene.visitor.get("/status")).main.table()[1]
    assert row[3:] == ["－", "証明書生成中", "しばらくお待ちください"]
    assert (await scene.visitor.get(f"/certificate/{scene.request_id}")).path.startswith("/waiting/")


async def test_resuming_gives_the_same_certificate(scene):
    """R39, R43: interrupted, or the password forgotten: another password, the same serial."""
    await applied(scene)
    first = await renewed(scene, "one")
    scene.visitor = scene.site.visitor(scene.p12, "abc")
    second = await renewed(scene, "two")
    assert first.cert.certificate == second.cert.certificate
    assert first.key.private_numbers() == second.key.private_numbers()


async def test_the_renewed_certificate_shows_the_same_row(scene):
    """E11: whoever presents the new certificate finds the application too."""
    await applied(scene)
    bundle = await renewed(scene)
    p12 = pkcs12.serialize_key_and_certificates(
        b"new", bundle.key, bundle.cert.certificate, None, BestAvailableEncryption(b"new")
    )
    holder = scene.site.visitor(p12, "new")
    page = await holder.get("/status")
    assert page.main.table()[1][0] == scene.request_id
    # Not too early, but done: until it is to be renewed itself.
    page = await holder.get("/application")
    assert (page.status, page.h1) == (403, "更新のお手続きは完了しています")
    assert "次に更新できる日時：" in page.main.text
    assert "更新のご案内メールが届いてからお手続きください。" in page.main.text
    assert [each.text for each in page.main.all("a", class_="button")] == [
        "オンラインサービスを開く",
        "最初の画面へ戻る",
    ]


@pytest.mark.parametrize(
    ("column", "said"), [("downloads", "取得回数の上限"), ("window_ends_at", "取得期間終了")]
)
async def test_a_row_that_is_over_says_what_is(scene, column, said):
    """E1, R38: the downloads are used up, or the time is over: each in its words, with the next step."""
    await applied(scene)
    value = scene.ra.settings.window_downloads if column == "downloads" else scene.ra.now()
    change = f"UPDATE enrollments SET {column} = :value WHERE request_id = :id"
    await scene.ra.database.write(lambda db: db.execute(change, {"value": value, "id": scene.request_id}))
    page = await scene.visitor.get("/status")
    assert page.main.table()[1][4:] == ["発行済み", said]
    assert f"「{said}」の証明書は、" in page.main.text
    assert page.main.all("a")[-1].attributes["href"].endswith("/flow#reissue")


async def test_the_comparison_comes_before_the_button(scene):
    """R34: what is to be compared with the mail stands above Submit, as people read."""
    texts = [each.text for each in (await scene.visitor.get("/application")).main.walk()]
    assert texts.index("メールの内容と一致しているかご確認ください") < texts.index("Submit")


async def test_after_first_use_the_row_stays_without_a_button(scene):
    """D2, R42: the key is wiped at the first login; still 発行済み, the button is gone."""
    await applied(scene)
    bundle = await renewed(scene)
    new = ca.store.find_by_serial(
        look(scene.ra.database),
        store.enrollment(look(scene.ra.database), scene.request_id).serial,
    )
    assert bundle.cert.certificate.serial_number == int(new.serial, 16)
    password = (await letter_of(scene.ra, "user_id")).value("パスワード")
    await login.authenticate(scene.ra, new.fingerprint, USER, password, address="192.0.2.1")
    assert (await scene.visitor.get("/status")).main.table()[1][4:] == ["発行済み", "取得済み（使用中）"]
    assert is_refused(await scene.visitor.get(f"/certificate/{scene.request_id}"))


# -- who may not ---------------------------------------------------------------------------------------


async def test_too_early(scene):
    """E9: before D-30 the page names the first day, and which certificate it was."""
    clock_of(scene.ra).set(scene.not_after_at - 40 * DAY)
    for page in (await scene.visitor.get("/application"), await scene.visitor.post("/application")):
        assert (page.status, page.h1) == (403, "まだ更新期間ではありません")
        first = moment(renewal.renewable_from(scene.not_after_at, scene.ra), "ja")
        assert f"更新できる日時：{first}" in page.main.lines
        assert page.main.table()[0] == ["発行先（コモンネーム）", CN]
        assert page.main.table()[3] == ["有効期限", moment(scene.not_after_at, "ja")]
        assert "シリアル番号（先頭8桁）がメールと同じものを選択しなおしてください。" in page.main.text
        links = {each.text: each.attributes["href"] for each in page.main.all("a")}
        assert re.fullmatch(r"https://[0-9a-f]{16}\.again\.test:\d+/", links["証明書を選択しなおす"])
        assert links["導通確認サイトを開く"] == scene.site.gate.origins[Role.CONNECTIVITY] + "/"
        # The menu is a press away.
        assert links["最初の画面へ戻る"] == "/"
    assert counted(scene.ra) == {"issued": 1}


async def test_choosing_again_is_a_fresh_host(scene):
    """E11, E12: the link to choose again is another host each time."""
    hosts = set()
    for _ in range(2):
        page = await scene.visitor.get("/application")
        link = page.main.one("section", class_="notice").one("a")
        assert link.text == "証明書を選択しなおす"
        hosts.add(link.attributes["href"])
    assert len(hosts) == 2
    assert all(re.fullmatch(r"https://[0-9a-f]{16}\.again\.test:\d+/", host) for host in hosts)


async def test_another_users_certificate(scene):
    """R32: the certificate says which request it is; another one shows another and opens nothing.

    The page leads to another choice rather than to a reissue. What was not applied for yet begins there.
    """
    await admit(scene.ra, "K87654321")
    p12, _, not_after_at = await in_hand(scene.ra, "K87654321")
    await applied(scene)
    clock_of(scene.ra).set(not_after_at - 10 * DAY)
    other = scene.site.visitor(p12, "abc")
    assert (await other.get("/application")).main.table()[1] == ["コモンネーム", "K876543210001"]
    assert len((await other.get("/status")).main.table()) == 1
    for path in ("waiting/{}", "waiting/{}/status", "certificate/{}", "certificate/{}/download"):
        page = await other.get("/" + path.format(scene.request_id))
        assert (page.status, page.h1) == (403, "別の証明書が選択されています")
        ways = [each.text for each in page.main.one("div", class_="actions").all("a")]
        assert ways == ["証明書を選択しなおす", "導通確認サイトを開く"]
        assert "再発行" not in page.main.text
    page = await other.post(f"/certificate/{scene.request_id}", entered(scene.request_id))
    assert page.h1 == "別の証明書が選択されています"
    mine = (await other.get("/application")).main.table()[0][1]
    assert (await other.get(f"/certificate/{mine}")).path == "/application"


async def test_another_request_id_in_the_form(scene):
    """A changed read-only field is Z4, a wrong password pair an error beside the field."""
    await applied(scene)
    path = f"/certificate/{scene.request_id}"
    assert is_refused(await scene.visitor.post(path, entered("1" * 16)))
    page = await scene.visitor.post(path, entered(scene.request_id, "a", "b"))
    assert page.status == 422
    assert page.error("パスワードの確認").startswith("「パスワード」と「パスワードの確認」が一致しません。")


async def test_another_browser_needs_its_own_submit(scene):
    """The Download button belongs to the session in which it was made."""
    await applied(scene)
    await scene.visitor.post(f"/certificate/{scene.request_id}", entered(scene.request_id))
    other = scene.site.visitor(scene.p12, "abc")
    for end in ("download", "file"):
        page = await other.get(f"/certificate/{scene.request_id}/{end}")
        assert page.path == f"/certificate/{scene.request_id}"
        assert "ダウンロードできませんでした。" in page.main.without_hidden().one("div", role="status").text


async def test_an_old_button_says_so_on_the_input_screen(scene):
    """After ten minutes the button is over, after half an hour the session is: both are told."""
    await applied(scene)
    await scene.visitor.post(f"/certificate/{scene.request_id}", entered(scene.request_id))
    for minutes in (10, 30):
        clock_of(scene.ra).advance(seconds=60 * minutes)
        page = await scene.visitor.get(f"/certificate/{scene.request_id}/file")
        assert page.path == f"/certificate/{scene.request_id}"
        said = page.main.without_hidden().one("div", role="status").text
        assert "「Download」ボタンの有効時間が過ぎ" in said


async def test_no_certificate(scene):
    """The site is closed without a certificate, with a page that says why."""
    for path in ("/", "/application", "/status", f"/certificate/{scene.request_id}"):
        page = await scene.site.visitor().get(path)
        assert (page.status, page.h1) == (403, "クライアント証明書が提示されませんでした")
        assert "スマートフォン" not in page.main.text
    # R20: that is all that a phone gets to see, so here it is told.
    phone = await scene.site.visitor(User_Agent="Mozilla/5.0 (iPhone) Mobile/15E148").get("/")
    assert phone.main.one("div", class_="warning").lines[1].startswith("※クライアント証明書の取得は")


async def test_expired(scene):
    """R38: at notAfter the renewal works, one second later there is the page about reissue."""
    clock_of(scene.ra).set(scene.not_after_at)
    assert (await scene.visitor.get("/application")).status == 200
    clock_of(scene.ra).advance(seconds=1)
    for path in ("/", "/application", "/status"):
        page = await scene.visitor.get(path)
        assert (page.status, page.h1) == (403, "クライアント証明書の有効期限が切れています")
        assert "クライアント証明書再発行をして取得しなおしてください。" in page.main.text
        first = page.main.one("div", class_="actions").all("a")[0]
        assert (first.text, first.attributes["class"]) == ("再発行のお手続きを見る", "button")
    assert (await scene.visitor.post("/application")).status == 403
    assert counted(scene.ra) == {"issued": 1}


@pytest.mark.parametrize("days", [1_460, -365 * 5], ids=["expired", "not yet valid"])
async def test_no_certificate_has_ended_by_a_clock_in_doubt(scene, days):
    """The page says that the clock is checked, in both languages; with the right time all goes on."""
    clock_of(scene.ra).leap(days=days)
    titles = {"": "システムの時計を確認しています", "?lang=en": "The clock of the system is being checked"}
    for query, title in titles.items():
        page = await scene.visitor.get("/application" + query)
        assert (page.status, page.h1) == (503, title)
        assert "再発行" not in page.main.text
    clock_of(scene.ra).leap(days=-days)
    assert (await scene.visitor.get("/application")).status == 200


async def test_the_period_of_grace(tmp_path):
    """D8: where an operator set one, the pages renew an expired certificate until its last second."""
    async with opened(tmp_path, grace_days=10) as served:
        ra = served.ra
        p12, fingerprint, not_after_at = await in_hand(ra)
        visitor = served.visitor(p12, "abc")
        clock_of(ra).set(not_after_at + 10 * DAY)
        await scheduler.tick(ra)
        assert (await visitor.get("/")).status == 200
        begun = (await renewal.look(ra, fingerprint)).renewal.request_id
        assert (await visitor.post("/application")).path == f"/waiting/{begun}"
        await issuance.complete(ra, begun)
        clock_of(ra).advance(seconds=1)
        await scheduler.tick(ra)
        # What was applied for in time is fetched (E7); nothing else is open any more.
        assert (await visitor.get(f"/certificate/{begun}")).status == 200
        for path in ("/", "/application", "/status"):
            page = await visitor.get(path)
            assert (page.status, page.h1) == (403, "クライアント証明書の有効期限が切れています")


async def test_other_sites_lead_to_the_renewal_in_the_period_of_grace(tmp_path):
    """D8: nobody is told to apply for a reissue who can still renew; afterwards everybody is."""
    async with (
        open_office(tmp_path, grace_days=10) as ra,
        serve(
            ra,
            tmp_path,
            Role.SERVICE,
            service_application,
            ClientCertificate.REQUIRE,
            lambda gate: pages.refused(gate, Role.SERVICE),
        ) as served,
    ):
        await admit(ra)
        p12, _, not_after_at = await in_hand(ra)
        visitor = served.visitor(p12, "abc")
        clock_of(ra).set(not_after_at + 10 * DAY)
        for link in ("更新のお手続きを開く", "再発行のお手続きを見る"):
            page = await visitor.get("/")
            assert (page.status, page.h1) == (403, "クライアント証明書の有効期限が切れています")
            assert page.main.all("a", class_="button")[0].text == link
            clock_of(ra).advance(seconds=1)


async def test_no_grace_for_what_is_revoked(tmp_path):
    """D8: it is for what has merely expired."""
    async with opened(tmp_path, grace_days=10) as served:
        ra = served.ra
        p12, _, not_after_at = await in_hand(ra)
        await applications.reissue(ra, USER, "lost_or_stolen", actor="test")
        clock_of(ra).set(not_after_at + DAY)
        page = await served.visitor(p12, "abc").get("/application")
        assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")


async def test_reissued_and_disabled(scene):
    """A replaced certificate, and one of a disabled user, are refused by the gate."""
    await applications.reissue(scene.ra, USER, "lost_or_stolen", actor="test")
    assert (await scene.visitor.get("/application")).h1 == "クライアント証明書は失効しています"


async def test_disabled_after_submit(scene):
    """E27: nothing can be fetched once the user is disabled."""
    await applied(scene)
    await scene.visitor.post(f"/certificate/{scene.request_id}", entered(scene.request_id))
    await register.disable_user(scene.ra, USER, actor="test")
    page = await scene.visitor.get(f"/certificate/{scene.request_id}/file")
    assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")


# -- E7: expired between Submit and Download -----------------------------------------------------------


async def test_finishing_after_expiry(scene):
    """E7: Submit at the last second; wait, password and Download still work in that session."""
    clock_of(scene.ra).set(scene.not_after_at)
    assert (await scene.visitor.post("/application")).h1 == "しばらくお待ちください"
    clock_of(scene.ra).advance(seconds=121)
    await issuance.complete(scene.ra, scene.request_id)
    await scheduler.tick(scene.ra)
    page = await scene.visitor.get(f"/waiting/{scene.request_id}")
    assert (page.status, page.path) == (200, f"/certificate/{scene.request_id}")
    bundle = await renewed(scene)
    assert bundle.cert.certificate.not_valid_after_utc.timestamp() > scene.ra.now()
    for path in ("/", "/application", "/status"):
        assert (await scene.visitor.get(path)).status == 403


@pytest.mark.parametrize("way", ["no session", "other request", "session over", "other certificate"])
async def test_finishing_after_expiry_is_for_that_session_only(scene, way):
    """The twins of E7: every other expired visitor gets the page about reissue."""
    clock_of(scene.ra).set(scene.not_after_at)
    await scene.visitor.post("/application")
    await issuance.complete(scene.ra, scene.request_id)
    visitor, request_id = scene.visitor, scene.request_id
    if way == "no session":
        visitor = scene.site.visitor(scene.p12, "abc")
    elif way == "other request":
        request_id = "1" * 16
    elif way == "session over":
        clock_of(scene.ra).advance(seconds=1_800)
    else:
        await admit(scene.ra, "K87654321")
        p12, _, not_after_at = await in_hand(scene.ra, "K87654321")
        visitor = scene.site.visitor(p12, "abc")
        visitor.session.cookie_jar.update_cookies({c.key: c.value for c in scene.visitor.session.cookie_jar})
        clock_of(scene.ra).set(not_after_at)
    clock_of(scene.ra).advance(seconds=1)
    for path in (f"/waiting/{request_id}", f"/certificate/{request_id}", f"/certificate/{request_id}/file"):
        page = await visitor.get(path)
        assert (page.status, page.h1) == (403, "クライアント証明書の有効期限が切れています")


async def test_an_application_from_another_site_is_refused(scene):
    """V40: the browser would send the certificate along; the gate sees where the form was."""
    page = await scene.visitor.post("/application", Origin="https://evil.example")
    assert (page.status, page.h1) == (403, "この画面からは操作できません")
    assert counted(scene.ra) == {"issued": 1}


@needs_softhsm
async def test_the_renewed_one_is_signed_by_a_token(scene, tmp_path, hsm):
    """By the certificate in use, which a key in a file had signed: the one that follows is the token's."""
    with in_token(scene.ra, tmp_path / "data"):
        page = await scene.visitor.post("/application")
        async with asyncio.timeout(60):
            while page.path != f"/certificate/{scene.request_id}":
                page = await scene.visitor.get(page.path)
