"""Search in the help, in the words that its pages have; without a script, or an index to keep. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape

#: Characters of a search that are looked at, and words of it.
LONGEST, MOST_WORDS = 100, 8
# Characters of a section that are shown around what was found.
_AROUND = 60
_HEADING = re.compile(r'<h2[^>]*\bid="([^"]+)"[^>]*>(.*?)</h2>', re.S)
_TAG = re.compile(r"<(?:br|/p|/li|/td|/th|/h3)[^>]*>|(<[^>]+>)")
# What people say -> what the pages say besides.
_ALSO: Mapping[str, tuple[str, ...]] = {
    "忘れ": ("失念",),
    "クッキー": ("cookie",),
    "スマホ": ("スマートフォン",),
    "マック": ("macos",),
    "mac": ("macos",),
    "エッジ": ("edge",),
    "クローム": ("chrome",),
    "ファイアフォックス": ("firefox",),
    "つながらない": ("繋がらない",),
    "期限切れ": ("有効期限が切れ", "有効期限日を過ぎ"),
    "インストール": ("インポート",),
    "ブロック解除": ("ブロックの解除",),
    "来ない": ("届かない", "届きません"),
    "変えた": ("変更",),
    "取得できない": ("取得できません",),
    "forgot": ("forgotten",),
    "install": ("import",),
}
# What people say -> what the pages say instead: the word alone would find something else, such as
# ポップアップブロック.
_MEANT = (
    (re.compile("(?<!ブ)ロック"), ("受付を停止",)),
    (re.compile("^lock(ed|out)?$"), ("no more are accepted",)),
)


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own, as text; ``address`` leads there."""

    address: str
    page: str
    heading: str
    text: str


@dataclass(frozen=True)
class Found:
    """A section with the words around the first hit: before, the hit, after."""

    section: Section
    before: str
    hit: str
    after: str


def sections_of(slug: str, title: str, main: str) -> list[Section]:
    """The sections of a page, out of the HTML of its main part; what is before the first heading is one."""
    parts = _HEADING.split(main)
    found = [Section(f"/{slug}", title, title, _text(parts[0]))]
    for anchor, heading, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        found.append(Section(f"/{slug}#{anchor}", title, _text(heading), _text(text)))
    return found


def search(sections: Sequence[Section], wanted: str) -> list[Found]:
    """The sections that have every word, those with words in the heading first."""
    words = [_folded(word) for word in wanted[:LONGEST].split()][:MOST_WORDS]
    if not words:
        return []
    ranked = []
    for place, section in enumerate(sections):
        heading, text = _folded(section.page + section.heading), _folded(section.text)
        if all(any(each in heading or each in text for each in _spellings(word)) for word in words):
            in_heading = sum(any(each in heading for each in _spellings(word)) for word in words)
            ranked.append((-in_heading, place, _shown(section, words)))
    return [found for _, _, found in sorted(ranked, key=lambda each: each[:2])]


def _spellings(word: str) -> tuple[str, ...]:
    for said, meant in _MEANT:
        if said.search(word):
            return meant
    more = [each for said, others in _ALSO.items() if said in word for each in others]
    return (word, *more)


def _shown(section: Section, words: Sequence[str]) -> Found:
    # Folded character by character, so that places are those of the text as it is shown.
    folded = "".join(_folded(each)[:1] or " " for each in section.text)
    for word in (spelling for each in words for spelling in _spellings(each)):
        at = folded.find(word)
        if at >= 0:
            end = at + len(word)
            start = max(0, at - _AROUND)
            before = ("…" if start else "") + section.text[start:at]
            after = section.text[end : end + _AROUND] + ("…" if len(section.text) > end + _AROUND else "")
            return Found(section, before, section.text[at:end], after)
    return Found(section, section.text[: 2 * _AROUND], "", "…" if len(section.text) > 2 * _AROUND else "")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _text(html: str) -> str:
    """What people read of HTML that our own templates wrote."""
    without = re.sub(r"<(script|style|svg)\b.*?</\1>", "", html, flags=re.S)
    return " ".join(unescape(_TAG.sub(lambda tag: "" if tag[1] else " ", without)).split())
