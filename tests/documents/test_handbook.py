"""The handbooks: every command in them is typed, as it stands there and in that order, in an office for each
scenario; what they say that it answers, it answers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.documents.blocks import scenarios
from tests.documents.desk import typed_in_an_office
from tests.documents.office import HAPPENED, SERVED
from tests.softhsm import needs_softhsm

DOCS = Path(__file__).parent.parent.parent / "docs"
TEXTS = {
    book: {each: (DOCS / book / f"handbook.{each}.md").read_text("utf-8") for each in ("ja", "en")}
    for book in ("ca", "operate")
}
SCENARIOS = {name: found for texts in TEXTS.values() for name, found in scenarios(texts["ja"]).items()}
#: Those of the pages for operations.
ELSEWHERE = {"once", "generation-staged", "generation-over", "profiles", "tokens", "webhooks"}


_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files to others")
_NEEDS = {"token": needs_softhsm, "part": _root}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=_NEEDS.get(each, ())) for each in SCENARIOS if each]
)
def test_the_commands_of_a_scenario(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, after what had happened."""
    typed_in_an_office(name, SCENARIOS[name], tmp_path, monkeypatch)


@pytest.mark.parametrize("book", TEXTS)
def test_both_languages_say_the_same(book: str) -> None:
    """The same scenarios in the same order with the same commands and answers, under as many headings."""
    japanese, english = TEXTS[book]["ja"], TEXTS[book]["en"]
    assert scenarios(english) == scenarios(japanese)
    headings = [re.findall(r"^#+(?= )", text, re.MULTILINE) for text in (japanese, english)]
    assert headings[0] == headings[1]


def test_every_block_is_typed() -> None:
    """Nothing stands in another kind of block, where nobody would type it, but letters; and all that have
    happened before belong to a scenario."""
    for text in (text for texts in TEXTS.values() for text in texts.values()):
        assert set(re.findall(r"^```(.+)$", text, re.MULTILINE)) <= {"console", "text"}
        assert "sekisho" not in "".join(re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert (set(HAPPENED) | SERVED) - ELSEWHERE <= set(SCENARIOS)
    assert not SCENARIOS.get("")
    assert len(SCENARIOS) >= 12


_PAGES = {"ja": "画面では：", "en": "On the pages:"}
_CONSOLE = DOCS.parent / "gateway" / "sites" / "console"
_WORDS = re.compile(r'\(\s*"([^"\n]+)",\s*"([^"\n]+)",?\s*\)')


def test_what_stands_on_the_pages() -> None:
    """What the operators' handbook prints bold of the console's pages begins a link, a heading or a button of
    the console, of the same one in both languages."""
    words = {
        pair
        for path in _CONSOLE.rglob("*.*")
        if path.suffix in (".py", ".html")
        for pair in _WORDS.findall(path.read_text("utf-8"))
    }
    said = {
        each: [
            [" ".join(name.split()) for name in re.findall(r"\*\*(.+?)\*\*", part, re.DOTALL)]
            for part in text.split("\n\n")
            if part.startswith(_PAGES[each])
        ]
        for each, text in TEXTS["operate"].items()
    }
    assert len(said["ja"]) >= 20
    for japanese, english in zip(said["ja"], said["en"], strict=True):
        for here, there in zip(japanese, english, strict=True):
            assert any(a.startswith(here) and b.startswith(there) for a, b in words), (here, there)
