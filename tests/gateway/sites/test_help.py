"""The help: the manual's guidance to the letter, both languages whole, nothing that leads nowhere."""

import re
from importlib.resources import files

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ca import datadir
from enroll import crls
from enroll.jst import JST
from enroll.mail.writing import TEMPLATES
from gateway.sites import help as help_site
from gateway.sites.connectivity import _HELP as LINKED_FROM_CONNECTIVITY
from gateway.sites.help.publications import hosts_of
from gateway.sites.help.topics import TOPICS, browsers_for
from gateway.web.browsers import Family
from gateway.web.context import Role
from gateway.web.words import NOT_AVAILABLE_JA
from tests.datadirs import PASSPHRASE, clock_of, next_generation, open_office
from tests.gateway.sites.kit import Element, serve

EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0.0.0 Safari/537.36"
SLUGS = [topic.slug for topic in TOPICS]


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


@pytest.fixture
async def served(ra, tmp_path):
    async with serve(ra, tmp_path, Role.HELP, help_site.application) as served:
        yield served


def squeezed(text):
    """Without white space: the manual's line breaks are its layout's."""
    return "".join(text.split())


# -- every page ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_every_topic_is_a_sound_page(served, language):
    """One h1, the topic marked in the menu, no id twice, no inline code, and every link leads somewhere."""
    visitor = served.visitor()
    ids, links = {}, []
    for slug in ["", *SLUGS]:
        page = await visitor.get(f"/{slug}?lang={language}")
        dom = page.dom
        assert (page.status, dom.one("html").attributes["lang"]) == (200, language)
        assert page.h1
        dom.one("main")
        dom.one("footer")
        assert len(dom.one("nav", class_="menu").all("a", aria_current="page")) == 1
        found = [each.attributes["id"] for each in dom.walk() if "id" in each.attributes]
        assert len(found) == len(set(found)), found
        ids[f"/{slug}"] = set(found)
        for each in dom.walk():
            assert not [n for n in each.attributes if n == "style" or n.startswith("on")], each.attributes
            if each.tag == "a":
                links.append((f"/{slug}", each.attributes["href"]))
    for source, target in links:
        path, _, fragment = target.partition("#")
        if (
            target.startswith(("https:", "tel:", "/ca/", "/hosts.txt", "/handouts/", "/print"))
            or "lang=" in path
        ):
            continue
        place = path or source
        assert place in ids, (source, target)
        assert not fragment or fragment in ids[place], (source, target)


async def test_files_and_pages_that_are_linked_exist(served, ra):
    """Downloads of the certificate page, and the pages that the connectivity test sends people to."""
    await crls.publish(ra, ra.authority.current, alone=True)
    visitor = served.visitor()
    page = await visitor.get("/certificates")
    files_linked = [
        e.attributes["href"] for e in page.main.all("a") if e.attributes["href"].startswith("/ca/")
    ]
    assert len(files_linked) == 6
    for target in files_linked:
        assert (await visitor.get(target)).status == 200
    for target in LINKED_FROM_CONNECTIVITY.values():
        path, _, fragment = target.partition("#")
        dom = (await visitor.get(f"/{path}")).dom
        assert not fragment or any(e.attributes.get("id") == fragment for e in dom.walk())


@pytest.mark.parametrize(
    "path", ["/nothing", "/ca/root-000000000000.pem", "/ca/root.key", "/ja/flow", "/help"]
)
async def test_what_is_not_there_is_told_with_a_number(served, path):
    """R6: also a wrong address ends in a page with the telephone and a reference number."""
    page = await served.visitor().get(path)
    assert (page.status, page.h1) == (404, "ページが見つかりません")
    assert "0120-96-1576" in page.dom.text
    assert page.main.one("p", class_="reference").one("strong").text


def test_every_topic_is_written_in_both_languages():
    """English is shorter, and complete."""
    templates = files("gateway.sites.help") / "templates"
    for language in ("ja", "en"):
        pages = {entry.name.removesuffix(".html") for entry in (templates / language).iterdir()}
        assert pages == {*SLUGS, "install"}


# -- the manual to the letter --------------------------------------------------------------------------


@pytest.mark.parametrize("agent", [EDGE, CHROME])
@pytest.mark.parametrize("slug", ["", *SLUGS])
async def test_the_two_languages_of_a_page_have_one_structure(served, slug, agent):
    """Japanese and English differ in words alone: the same elements in the same order, with the same ids,
    classes and links. Only line breaks and marks of a language stand where the words need them."""
    visitor = served.visitor(User_Agent=agent)
    found = []
    for language in ("ja", "en"):
        page = await visitor.get(f"/{slug}?lang={language}")
        found.append(structure(page.main))
    japanese, english = found
    assert len(japanese) > 10
    assert japanese == english


#: Attributes that hold words or say which language they are in; all others are equal.
#: The drawing of a QR code is an address with its language in it.
WORDED = {"lang", "aria-label", "alt", "title", "d", "data-label"}


def structure(element):
    """Each element below as (depth, tag, attributes), in order; languages out of links."""
    shape = []

    def visit(each, depth):
        attributes = {name: value for name, value in each.attributes.items() if name not in WORDED}
        bare = each.tag == "span" and attributes.get("class") in (None, "joined", "phrases", "whole")
        if each.tag not in ("br", "wbr") and not bare:
            if "href" in attributes:
                attributes["href"] = re.sub(r"\?lang=\w+", "", attributes["href"])
            shape.append((depth, each.tag, attributes))
        for child in (one for one in each.children if isinstance(one, Element)):
            visit(child, depth + (not bare))

    visit(element, 0)
    return shape


@pytest.mark.parametrize("language", [0, 1])
async def test_the_help_calls_the_menus_entries_what_the_menus_call_them(served, language):
    """「更新の再申請」 or “Resume a renewal”: who follows the steps looks for just that word."""
    text = ""
    for slug in ("pickup", "renewal", "reapplication"):
        text += (await served.visitor().get(f"/{slug}?lang={('ja', 'en')[language]}")).main.text
    for site, entries in (("pickup", 1), ("renewal", 2)):
        frame = files(f"gateway.sites.{site}").joinpath("templates/frame.html").read_text("utf-8")
        names = [found[language] for found in re.findall(r't\("(.*?)", "(.*?)"\) \}\}</a>', frame)]
        assert len(names) == entries
        assert [name for name in names if ("「{}」", "“{}”")[language].format(name) not in text] == []


async def test_the_two_procedures_have_the_manuals_boxes(served):
    """R18 and section 1 of the manual: these labels in this order."""
    page = await served.visitor().get("/flow")
    addition, reissue = page.main.all("ol", class_="flowchart")
    assert [each.text for each in addition.all("h3")] == [
        "ユーザー登録",
        "ユーザーIDのお知らせ",
        "クライアント証明書取得のご案内",
        "クライアント証明書取得のお手続き",
        "オンラインサービスへのログイン",
    ]
    assert [each.text for each in reissue.all("h3")] == [
        "クライアント証明書再発行",
        "クライアント証明書取得のご案内",
        "クライアント証明書取得のお手続き",
        "オンラインサービスへのログイン",
    ]
    assert "※ログイン時のユーザーID・パスワードは変更されません。" in reissue.text
    assert "※ログイン時のユーザーID" not in addition.text


MANUAL = {
    "flow": [
        "新規ユーザーにIDを発行する場合に行う手続きです。",
        "「ユーザーIDのお知らせ」は、「メール」または「はがき」にて通知します。",
        "はがきの場合：CPBSにて手続き完了後、1週間程度",
        "P5以降の手順に従って、クライアント証明書取得のお手続きを行ってください。",
        "※クライアント証明書の取得はオンラインサービスをご使用するパソコンで行ってください。",
    ],
    "pickup": [
        "以下のメールが届きましたら、オンラインサービスをご使用のパソコンに証明書を取得（インストール）します。",
        "「ユーザー認証」画面が表示されますので、メールに記載の「ユーザーID」と「証明書発行用パスワード」を入力し、"
        "「Login」ボタンを押します。(証明書発行用パスワードは当画面でのみ使用します。)",
        "任意のパスワードを入力し、「Submit」ボタンを押します。パスワードは半角英数字で入力してください。"
        "なお、桁数は任意です。※任意のパスワードは手順9で使用しますので保管してください。",
        "お手続きを中断せず、取得作業を最後まで完了させてください。(中断の例:作業中のブラウザを閉じる等)",
        "手順4で設定した任意のパスワードを入力し、「次へ」ボタンを押します。"
        "※任意のパスワードの使用は当画面までです。",
        "取得完了後、P20～23に記載の「証明書の確認」をお願いします。",
        "【Edge】右上「⋮」の「ダウンロード」から",
        "【Chrome】右上「⋮」の「ダウンロード」から",
    ],
    "renewal": [
        "クライアント証明書の有効期限は発行より3年間です。"
        "クライアント証明書の有効期限日の30日前に以下のメールが届きます。",
        "更新対象のクライアント証明書を選択し、「OK」ボタンを押します。",
        "メールに記載の「リクエストID」・「コモンネーム」と一致しているか確認し、「Submit」ボタンを押します。",
        "※任意のパスワードは手順11で使用しますので保管してください。",
        "手順6で設定した任意のパスワードを入力し、「次へ」ボタンを押します。",
    ],
    "reapplication": [
        "・更新手続きを中断した場合は、以下の手順で再申請が可能となります。",
        "リクエストIDが表示されている場合は、「Download cert」ボタンを押してください。",
        "左メニューの「更新の申請」を押し、再度更新手続き（P12.手順3～）を行ってください。",
        "クライアント証明書のダウンロードが完了したら、P14.手順8～16を実施してください。",
    ],
    "verify": [
        "「ローカル証明書」の「Windowsからインポートされた証明書を管理」を押します。",
        "「Windowsからインポートした証明書を管理する」を押します。",
        "「証明書」画面で「個人」タブの「発行者」= CORPORATE-PENSION BUSINESS SERVICE CA-G4となっている"
        "証明書を確認してください。「発行先」は「コモンネーム（ユーザーID + 管理番号）」です。",
        "※有効期限が切れた証明書がある場合は削除してください。"
        "有効期限が切れた証明書を選択（カーソルを合わせてクリック）し、「削除」ボタンを押してください。",
    ],
    "popups": [
        "「ポップアップの送信とリダイレクトの使用を許可しました」の項目にある「サイトの追加」ボタンを押します。",
        "「ポップアップの送信やリダイレクトの使用を許可するサイト」の「追加」ボタンを押します。",
    ],
    "history": [
        "「閲覧データを削除する」の時間の範囲「すべての期間」を選択し、「閲覧の履歴」「ダウンロードの履歴」"
        "「キャッシュされた画像とファイル」にチェックを入れて、「今すぐクリア」ボタンを押します。",
        "期間「全期間」を選択し、「閲覧履歴」「ダウンロード履歴」「キャッシュされた画像とファイル」に"
        "チェックを入れて「データを削除」ボタンを押します。",
    ],
    "faq": [
        "迷惑メールフォルダ・ゴミ箱にないか確認してください。申請時のメールアドレスに誤りがないか確認してください。",
        "メールの再送信はできません。クライアント証明書再発行をしてください。"
        "(オンライン操作マニュアル第3章をご参照ください。)",
        "「クライアント証明書取得に関するご案内」メールから再度URLにアクセスして取得しなおしてください。",
        "団体様のセキュリティ設定でブロックされている可能性があります。対象のURLを、システムのご担当者へご連絡ください。",
        f"クライアント証明書の取得時、「{NOT_AVAILABLE_JA}」と表示される",
        "当メールからクライアント証明書の取得はできません。",
        "当資料P20「4. 証明書の確認方法」をご参照ください。",
        "クライアント証明書の有効期限日の30日前、7日前に届きます。",
        "クライアント証明書再発行をして取得しなおしてください。（オンライン操作マニュアル第3章をご参照ください。）",
    ],
    "contact": [
        "(ユーザーID・クライアント証明書関連照会専用窓口)電話番号：0120-96-1576 (通話料無料)"
        "受付時間：月～金曜日 9:00～12:00 13:00～17:00(祝日、12/31～1/3を除く)",
        "◇通話内容は以下の目的で録音させていただきます。あらかじめご了承ください。",
        "①契約の維持管理、年金、給付金等のお支払い",
        "④その他上記に関連する業務",
        "※証券番号をお伺いしておりますので、事前にご準備ください。",
    ],
    "glossary": ["ユーザーID・クライアント証明書追加発行申請書", "サイバートラスト株式会社"],
}


@pytest.mark.parametrize("slug", MANUAL)
async def test_the_manuals_sentences_are_there_to_the_letter(served, slug):
    """Whoever holds the paper manual reads the same sentences here."""
    text = squeezed((await served.visitor().get(f"/{slug}")).main.text)
    for sentence in MANUAL[slug]:
        assert squeezed(sentence) in text, sentence


async def test_each_mail_that_people_get_is_named(served):
    """Whoever doubts a mail finds its subject beside our address, in either language."""
    pages = [(await served.visitor().get(f"/contact?lang={each}")).main.text for each in ("ja", "en")]
    for kind, name in TEMPLATES.items():
        if kind in (
            "break_glass",
            "ca_ending",
            "operator_code",
            "operator_ending",
            "proposal_expired",
            "issue_password",
        ):  # to operators; on paper
            continue
        subjects = [
            (files("enroll") / "templates" / each).read_text("utf-8").partition("\n")[0].partition(": ")[2]
            for each in (name, name.replace(".txt", ".en.txt"))
        ]
        assert subjects[0] in pages[0]
        assert all(subject in pages[1] for subject in subjects)


@pytest.mark.parametrize(("slug", "first"), [("pickup", 7), ("renewal", 9)])
async def test_the_import_wizard_is_drawn_with_windows_labels(served, slug, first):
    """R45: seven dialogs, the button to press in each, and (M) unticked so that the key stays on the PC."""
    page = await served.visitor().get(f"/{slug}")
    dialogs = page.main.all("figure", class_="dialog")
    heads = [each.all("p", class_="head")[0].text for each in dialogs[:5]]
    assert heads == [
        "証明書のインポートウィザードの開始",
        "インポートする証明書ファイル",
        "秘密キーの保護",
        "証明書ストア",
        "証明書のインポートウィザードの完了",
    ]
    pressed = [each.one("span", class_="press").text for each in dialogs]
    assert pressed == ["次へ(N)", "次へ(N)", "次へ(N)", "次へ(N)", "完了(F)", "はい(Y)", "OK"]
    protection = dialogs[2].text
    for label in (
        "パスワード(P):",
        "パスワードの表示(D)：チェックなし",
        "秘密キーの保護を強力にする(E)：チェックなし",
        "このキーをエクスポート可能にする(M)：チェックなし",
        "仮想化ベースのセキュリティを使用して秘密キーを保護する(エクスポート不可)(P)：チェックなし",
        "すべての拡張プロパティを含める(A)：チェックあり",
    ):
        assert label in protection
    assert "証明書の種類に基づいて、自動的に証明書ストアを選択する(U)：選択" in dialogs[3].text
    steps = [
        e.attributes["id"]
        for e in page.main.one("ol", class_="steps").walk()
        if e.tag == "li" and "id" in e.attributes
    ]
    assert steps == [f"step-{n}" for n in range(1, len(steps) + 1)]
    assert steps[first - 1] == f"step-{first}"


async def test_the_root_warning_shows_the_roots_thumbprint(served, tmp_path):
    """R46: whoever meets the warning has something to compare it with."""
    page = await served.visitor().get("/pickup")
    root = datadir.load(tmp_path / "data", PASSPHRASE).root
    shown = squeezed(page.main.all("figure", class_="dialog")[5].text)
    assert root.fingerprint(hashes.SHA1()).hex().upper() in shown
    assert "CORPORATE-PENSION BUSINESS SERVICE ROOT CA".replace(" ", "") in shown


async def test_the_subjects_are_those_of_the_mails(served):
    """A mail and the help must not disagree about its subject."""
    templates = files("enroll") / "templates"
    for slug, template in (("pickup", "pickup.txt"), ("renewal", "renewal.txt")):
        subject = (templates / template).read_text("utf-8").splitlines()[0].removeprefix("Subject: ")
        for path in (f"/{slug}", "/contact"):
            assert squeezed(subject) in squeezed((await served.visitor().get(path)).main.text)
            # A reader of English gets the mail in either language.
            english = (templates / template.replace(".txt", ".en.txt")).read_text("utf-8").splitlines()[0]
            told = squeezed((await served.visitor().get(f"{path}?lang=en")).main.text)
            assert squeezed(subject) in told
            assert squeezed(english.removeprefix("Subject: ")) in told


async def test_firefoxs_dialog_has_the_words_of_firefox(served):
    """What ESR 153 shows in Japanese: title, list and buttons; and how to undo a lasting choice."""
    page = await served.visitor().get("/chooser")
    dialog = page.main.one("section", aria_labelledby="firefox")
    for words in (
        "個人証明書の要求",
        "証明書を送信しない",
        "今後も同様に処理する: このセッションのみ",
        "発行者名:",
    ):
        assert words in dialog.text
    assert "キャンセル" not in dialog.text
    assert dialog.all("a")[-1].attributes["href"] == "/firefox#remembered"
    assert "「証明書を送信しない」" in (await served.visitor().get("/trouble")).main.text


@pytest.mark.parametrize("slug", ["flow", "pickup", "renewal", "reapplication", "faq"])
async def test_pages_of_the_printed_manual_are_said_to_be_its(served, slug):
    """「P5以降」 is the manual's own; on a screen there is no page 5."""
    text = (await served.visitor().get(f"/{slug}")).main.text
    assert "手順の番号は、印刷されたマニュアルのものです。" in text
    assert slug != "reapplication" or "更新のお手続きの手順です" in text


# -- who is reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "order"),
    [(EDGE, ["edge", "chrome"]), (CHROME, ["chrome", "edge"]), ("", ["edge", "chrome"])],
)
@pytest.mark.parametrize("slug", ["verify", "popups", "history"])
async def test_the_visitors_browser_comes_first(served, agent, order, slug):
    """R47, R56: steps for Edge and Chrome, the detected one before the other and marked."""
    page = await served.visitor(User_Agent=agent).get(f"/{slug}")
    sections = page.main.all("section", class_="browser")
    assert [each.one("h2").attributes["id"] for each in sections] == order
    assert [bool(each.all("span", class_="own-mark")) for each in sections] == [bool(agent), False]


def test_an_unknown_browser_gets_the_manuals_order():
    """No browser is left without steps."""
    assert {browsers_for(family) for family in Family} == {
        (Family.EDGE, Family.CHROME),
        (Family.CHROME, Family.EDGE),
    }


async def test_a_phone_is_told_to_use_the_pc(served):
    """R20: before anybody downloads a certificate where it is of no use; a PC is told nothing."""
    phone = served.visitor(User_Agent="Mozilla/5.0 (iPhone) Version/18.5 Mobile/1 Safari/604.1")
    for path in ("/", "/pickup", "/pickup?lang=en"):
        warning = (await phone.get(path)).main.all("div", class_="warning")[0]
        assert warning.lines[1].startswith(
            "Please get the certificate on the PC" if "en" in path else "※クライアント証明書の取得は"
        )
    assert not (await served.visitor(User_Agent=EDGE).get("/")).main.all("div", class_="warning")


async def test_the_desk_says_whether_it_is_open(served, ra):
    """R55: the business calendar drives "open now" and "opens at"."""
    from datetime import datetime

    async def told(*moment):
        clock_of(ra).set(int(datetime(*moment, tzinfo=JST).timestamp()))
        return (await served.visitor().get("/contact")).main.all("span", class_="state")[0].text

    assert await told(2026, 11, 24, 9, 0) == "ただいま受付中です。"
    assert await told(2026, 12, 30, 17, 0) == "ただいま時間外です。次の受付開始：2027年1月4日（月）09:00"


# -- for administrators and programs -------------------------------------------------------------------


async def test_the_hosts_to_allow_are_on_one_page_and_one_line(served):
    """R5: public, printable, one line of text; with every host that a browser of ours opens."""
    visitor = served.visitor()
    hosts = hosts_of(served.gate)
    assert [host.name for host in hosts] == [
        "pickup.test",
        "renewal.test",
        "service.test",
        "connectivity.test",
        "help.test",
        "*.try.test",
    ]
    plain = await visitor.get("/hosts.txt")
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert plain.html == " ".join(host.short for host in hosts) + "\n"
    rows = (await visitor.get("/hosts")).main.table(0)
    assert [row[0] for row in rows[1:]] == [host.name for host in hosts]
    assert rows[2][3] == "使用する（検査の対象外とする）"
    assert rows[1][3] == "使用しない"


async def test_certificates_can_be_downloaded_and_compared(served, tmp_path):
    """E16: the issuing CA and the root, DER and PEM, with the thumbprints that the page shows."""
    visitor = served.visitor()
    page = await visitor.get("/certificates")
    opened = datadir.load(tmp_path / "data", PASSPHRASE)
    issuing, root = opened.authority.current.certificate, opened.root
    assert [each.text for each in page.main.all("h2")] == [
        opened.authority.current.common_name,
        "CORPORATE-PENSION BUSINESS SERVICE ROOT CA",
    ]
    text = squeezed(page.main.text)
    for certificate in (issuing, root):
        assert certificate.fingerprint(hashes.SHA256()).hex().upper() in text
        name = ("root-" if certificate is root else "issuing-") + certificate.fingerprint(
            hashes.SHA256()
        ).hex()[:12]
        der = await visitor.get(f"/ca/{name}.cer")
        assert der.headers["Content-Type"] == "application/pkix-cert"
        assert der.headers["Content-Disposition"] == f'attachment; filename="{name}.cer"'
        assert x509.load_der_x509_certificate(der.body) == certificate
        assert x509.load_pem_x509_certificate((await visitor.get(f"/ca/{name}.pem")).body) == certificate
    chain = x509.load_pem_x509_certificates((await visitor.get("/ca/chain.pem")).body)
    assert chain == [issuing, root]


async def test_a_new_issuer_is_named_and_the_old_one_kept(ra, tmp_path):
    """E17: after G4 to G5 the verify page names the issuer of new certificates; both can be downloaded."""
    name = "CORPORATE-PENSION BUSINESS SERVICE CA-G5"
    async with serve(next_generation(ra, name), tmp_path, Role.HELP, help_site.application) as served:
        visitor = served.visitor()
        assert f"= {name}となっている" in (await visitor.get("/verify")).main.text
        # Whoever has to choose has one of either.
        either = f"「発行者」が {name} / CORPORATE-PENSION BUSINESS SERVICE CA-G4、"
        assert either in (await visitor.get("/trouble")).main.text
        page = await visitor.get("/certificates")
        captions = [each.text for each in page.main.all("caption")]
        assert captions == [
            "クライアント証明書の発行者（現在）",
            "クライアント証明書の発行者（以前）",
            "ルート認証局",
        ]
