"""The help's search and its printed version: without a script, in both languages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.sites import help as help_site
from gateway.sites.help.searching import Found, Index, Section
from gateway.sites.help.topics import TOPICS
from gateway.web.context import Role
from tests.datadirs import open_office
from tests.gateway.sites.kit import Served, serve

_QUESTIONS = Path(__file__).with_name("help_questions.txt")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.HELP, help_site.application) as served,
    ):
        yield served


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ("パスワード 失念", "/faq#faq-2"),
        ("パスワード　忘れ", "/faq#faq-2"),
        ("ｆｉｒｅｆｏｘ インポート", "/firefox#import"),
        ("マック キーチェーン", "/mac#import"),
        ("繋がらない", "/faq#faq-3"),
        ("選択画面 Edge", "/chooser#edge"),
        ("ロックされた", "/trouble#password"),
        ("メールが来ない", "/faq#faq-1"),
    ],
)
async def test_what_people_look_for_is_found(served: Served, wanted: str, address: str) -> None:
    """However it is typed, and for some however it is said; it is shown."""
    page = await served.visitor().get(f"/search?q={wanted}")
    links = [each.attributes["href"] for each in page.main.one("ul", class_="topics").all("a")]
    assert address in links[:5]
    path, _, anchor = address.partition("#")
    there = await served.visitor().get(path)
    assert [each for each in there.main.walk() if each.attributes.get("id") == anchor]
    assert page.main.all("mark") or wanted == "繋がらない"  # which is in the heading


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        ("はがきはいつ届きますか", "/flow#addition"),
        ("ロックされた", "/trouble#password"),
        ("証明書が2つある", "/trouble#choose"),
        ("更新し忘れた", "/faq#faq-7"),
        ("申請を取り下げたい", "/flow#online"),
        ("メールアドレスを変えたい", "/flow#online"),
        ("英語にしたい", "/flow#online"),
        ("リクエストIDとは", "/glossary#terms"),
        ("コモンネームとは？", "/glossary#terms"),
        ("再発行とは違うのですか", "/flow#reissue"),
    ],
)
async def test_what_one_section_answers_comes_first(served: Served, wanted: str, first: str) -> None:
    """Where one section is the answer, neither a longer one nor one that sounds alike is before it."""
    page = await served.visitor().get(f"/search?q={quote(wanted)}")
    links = [each.attributes["href"] for each in page.main.one("ul", class_="topics").all("a")]
    assert links[0] == first


async def test_every_result_leads_to_a_section(served: Served) -> None:
    """In either language; and in English English words are found."""
    for language, wanted in (("ja", "証明書"), ("en", "certificate")):
        visitor = served.visitor()
        page = await visitor.get(f"/search?q={wanted}&lang={language}")
        links = [each.attributes["href"] for each in page.main.one("ul", class_="topics").all("a")]
        assert len(links) > 15
        ids: dict[str, set[str]] = {}
        for link in links:
            path, _, anchor = link.partition("#")
            if path not in ids:
                there = await visitor.get(path)
                ids[path] = {each.attributes.get("id", "") for each in there.main.walk()}
            assert not anchor or anchor in ids[path], link


@pytest.mark.parametrize(
    "wanted", ["", "   ", "そのような言葉はない", "<script>alert(1)</script>", "あ" * 200]
)
async def test_a_search_that_finds_nothing(served: Served, wanted: str) -> None:
    """The form again, with what was typed, as text, and where else to ask; none is taken for HTML."""
    visitor = served.visitor()
    page = await visitor.get(f"/search?q={wanted}")
    assert (page.status, page.h1, page.main.all("mark")) == (200, "検索", [])
    assert page.main.all("script") == []
    if wanted.strip():
        assert "見つかりませんでした。" in page.main.text


async def test_what_people_ask_is_among_the_first_three(served: Served) -> None:
    """Questions as people type them, each with the pages that answer it: no word of ours is needed."""
    rows = [line.split("\t") for line in _QUESTIONS.read_text("utf-8").splitlines() if line[0] != "#"]
    assert (len([1 for row in rows if row[0] == "ja"]), len(rows)) == (49, 64)
    visitor, missed = served.visitor(), []
    for language, question, answers in rows:
        page = await visitor.get(f"/search?q={quote(question)}&lang={language}")
        lists = page.main.all("ul", class_="topics")
        links = [each.attributes["href"] for each in lists[0].all("a")][:3] if lists else []
        if not {link.strip("/").partition("#")[0] for link in links} & set(answers.split()):
            missed.append((question, links))
    assert missed == []


async def test_what_a_search_that_finds_nothing_suggests(served: Served) -> None:
    """Words that do find something, the pages to read, and whom to call: each link leads somewhere."""
    for language in ("ja", "en"):
        visitor = served.visitor()
        page = await visitor.get(f"/search?q=zzyzx&lang={language}")
        links = [each.attributes["href"] for each in page.main.all("a")]
        examples = [link for link in links if link.startswith("/search")]
        assert len(examples) == 3
        assert {"/", "/faq", "/contact"} < set(links)
        for example in examples:
            assert (await visitor.get(f"{example}&lang={language}")).main.all("ul", class_="topics")


def found(index: Index, wanted: str) -> list[str]:
    return [each.section.address for each in index.search(wanted)]


def test_a_heading_comes_before_a_text() -> None:
    """What has too little of a question is not found; whoever has it in the heading is first."""
    index = Index(
        [
            Section("/a", "A", "A", "renewal of passwords"),
            Section("/b#x", "B", "Renewals", "passwords"),
            Section("/c", "C", "C", "a telephone and a mailbox"),
        ]
    )
    assert found(index, "RENEWING Ｐａｓｓｗｏｒｄ") == ["/b#x", "/a"]
    assert found(index, "telephones") == ["/c"]
    assert found(index, "giraffe elephant telephone") == []
    assert found(Index([]), "telephone") == []


@pytest.mark.parametrize(
    "typed",
    [
        "パスワードを忘れた",
        "パスワードを忘れました",
        "パスワードを忘れてしまったのですが",
        "ﾊﾟｽﾜｰﾄﾞ忘れ",
        "ぱすわーど わすれた",
    ],
)
def test_forms_and_spellings_of_japanese(typed: str) -> None:
    """Inflected, half-width, in hiragana, as a question: the same is found first."""
    index = Index(
        [
            Section("/x", "印刷", "印刷", "紙に印刷した控えを保管します。"),
            Section("/y", "忘れたとき", "パスワードを忘れたとき", "失念した場合の手続きです。"),
            Section("/z", "変更", "登録内容の変更", "氏名やパスワードを変更した場合の手続きです。"),
        ]
    )
    assert found(index, typed)[0] == "/y"
    assert found(index, "きりん") == []


def test_what_was_looked_for_is_marked() -> None:
    """The part of the text that has it, as it stands there; nothing of it is lost."""
    text = "前置き。" * 80 + "「Ｄｏｗｎｌｏａｄ」を押し、パスワードを入力します。" + "後書き。" * 80
    (one,) = Index([Section("/a", "A", "A", text)]).search("download ﾊﾟｽﾜｰﾄﾞ")
    assert isinstance(one, Found)
    assert [part for part, hit in one.parts if hit] == ["Ｄｏｗｎｌｏａｄ", "パスワード"]
    assert "".join(part for part, _ in one.parts).strip("…") in text
    assert (one.parts[0][0], one.parts[-1][0]) == ("…", "…") or one.parts[0][0].startswith("…")


async def test_all_pages_in_one_to_print(served: Served) -> None:
    """Each page is there, no id twice, and what links from one to another leads within the same page."""
    for language in ("ja", "en"):
        page = await served.visitor().get(f"/print?lang={language}")
        found = [each.attributes["id"] for each in page.dom.walk() if "id" in each.attributes]
        assert len(found) == len(set(found))
        assert len(page.main.all("article")) == len(TOPICS)
        within = [
            each.attributes["href"] for each in page.main.all("a") if each.attributes["href"].startswith("#")
        ]
        assert len(within) > 2 * len(TOPICS)
        assert {each[1:] for each in within} <= set(found)
        for each in page.main.walk():
            assert each.attributes.get("aria-labelledby", found[0]) in found


async def test_nobodys_browser_is_marked_in_what_is_found(served: Served) -> None:
    """What is searched is kept for everybody: the first to search does not say whose browser it is."""
    visitor = served.visitor()
    visitor.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
    first = await visitor.get("/search?q=Firefoxの場合")
    assert len(first.main.all("li")) > 0
    assert "お使いのブラウザ" not in first.main.text
    assert "お使いのブラウザ" in (await visitor.get("/cookies")).main.text


async def test_an_empty_search_says_what_to_do(served: Served) -> None:
    """Not a page without a word."""
    assert "調べる言葉を入力してください。" in (await served.visitor().get("/search?q=")).main.text
