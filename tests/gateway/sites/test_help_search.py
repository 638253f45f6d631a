"""The help's search and its printed version: without a script, in both languages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.sites import help as help_site
from gateway.sites.help.searching import Section, search
from gateway.sites.help.topics import TOPICS
from gateway.web.context import Role
from tests.datadirs import open_office
from tests.gateway.sites.kit import Served, serve


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
    """Every word counts, however it is typed and for some however it is said; it is shown."""
    page = await served.visitor().get(f"/search?q={wanted}")
    links = [each.attributes["href"] for each in page.main.one("ul", class_="topics").all("a")]
    assert address in links[:5]
    path, _, anchor = address.partition("#")
    there = await served.visitor().get(path)
    assert [each for each in there.main.walk() if each.attributes.get("id") == anchor]
    assert page.main.all("mark") or wanted == "繋がらない"  # which is in the heading


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


def test_every_word_has_to_be_there() -> None:
    """One that is missing is none; a heading comes before a text."""
    sections = [
        Section("/a", "A", "A", "alpha beta"),
        Section("/b#x", "B", "beta", "alpha"),
        Section("/c", "C", "C", "alpha"),
    ]
    assert [each.section.address for each in search(sections, "ALPHA Ｂｅｔａ")] == ["/b#x", "/a"]
    assert search(sections, "alpha delta") == []


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
