"""Search in the help: an index made of its pages, ranked with headings first, without a script. Pure."""

from __future__ import annotations

import math
import re
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import unescape

from gateway.sites.help.sayings import asked_for, in_our_words
from gateway.sites.help.terms import folded, placed, terms

#: Characters of a search that are looked at.
LONGEST = 100
#: Sections that are shown at most.
MOST = 20
# Characters of a section that are shown.
_SHOWN = 120
# Share of what a question tells that a section must have.
_ENOUGH = 0.4
# Of a term that is marked where it is found.
_WORTH = 0.2
# BM25 (Robertson and Zaragoza, 2009): how soon repetition tells no more, and how much length counts.
_K, _B = 1.2, 0.5
# How much a term in the section's heading, and in the page's, tells besides.
_HEADING_TELLS, _PAGE_TELLS = 2.0, 1.0
_WORD = re.compile("[\u30a1-\u30fa\u30fc]+")
_PARTICLES = "をがはにのでとも"
_Terms = Mapping[str, float]
_HEADING = re.compile(r'<h2[^>]*\bid="([^"]+)"[^>]*>(.*?)</h2>', re.S)
_TAG = re.compile(r"<(?:br|/p|/li|/td|/th|/h3)[^>]*>|(<[^>]+>)")


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own, as text; ``address`` leads there."""

    address: str
    page: str
    heading: str
    text: str


@dataclass(frozen=True)
class Found:
    """A section with a part of its text: what was looked for is marked with True."""

    section: Section
    parts: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class _Entry:
    section: Section
    text: Counter[str]
    heading: frozenset[str]
    page: frozenset[str]
    length: float


@dataclass(frozen=True)
class _Part:
    """Of a part of a question: what it tells, what of that a section has, and what that is worth."""

    asked: float
    there: float
    score: float

    def rank(self) -> tuple[float, float]:
        """The more of it is there the better; of nothing at all the least."""
        return (self.score * self.there / self.asked if self.asked else 0.0, -self.asked)


class Index:
    """What the sections of all pages say, by terms."""

    def __init__(self, sections: Iterable[Section]) -> None:
        self._tells: dict[str, float] = {}
        self._entries = [self._entry(section) for section in sections]
        self._in: Counter[str] = Counter()
        for each in self._entries:
            self._in.update({*each.text, *each.heading, *each.page})
        self._usual = sum(each.length for each in self._entries) / max(1, len(self._entries))

    def search(self, wanted: str) -> list[Found]:
        """The sections that have most of what is asked for, best first: as it was said, or in our words."""
        rest, sayings = in_our_words(asked_for(wanted[:LONGEST]))
        question = [[terms(rest)], *([terms(each) for each in meant] for meant in sayings)]
        ranked = []
        for place, each in enumerate(self._entries):
            score = self._score(question, each)
            if score > 0:
                ranked.append((-score, place, each.section))
        ranked.sort(key=lambda row: row[:2])
        marked = dict(ChainMap(*(each for meant in question for each in meant)))
        return [Found(section, _excerpt(section.text, marked)) for _, _, section in ranked[:MOST]]

    def _entry(self, section: Section) -> _Entry:
        text = Counter[str]()
        for each in placed(folded(section.text)):
            text[each.term] += 1
            self._tells[each.term] = max(each.tells, self._tells.get(each.term, 0))
        titles = []
        for title in (section.heading, section.page):
            found = terms(title)
            self._tells |= {term: max(tells, self._tells.get(term, 0)) for term, tells in found.items()}
            titles.append(frozenset(found))
        return _Entry(section, text, titles[0], titles[1], text.total())

    def _score(self, question: Sequence[Sequence[_Terms]], entry: _Entry) -> float:
        """0 where too little of the question is there. Of what may be meant by a saying the best counts."""
        parts = [max((self._part(each, entry) for each in meant), key=_Part.rank) for meant in question]
        asked = sum(each.asked for each in parts)
        share = sum(each.there for each in parts) / asked if asked else 0
        return sum(each.score for each in parts) * share if share >= _ENOUGH else 0

    def _part(self, question: _Terms, entry: _Entry) -> _Part:
        score = there = asked = 0.0
        for term, tells in question.items():
            if not self._in[term] and tells < 1:
                # An ending, or two words that nothing of ours has beside one another.
                continue
            weight = max(tells, self._tells.get(term, 0)) * self._rarity(term)
            asked += weight
            often = entry.text[term]
            usual = 1 - _B + _B * entry.length / self._usual if self._usual else 1
            got = often * (_K + 1) / (often + _K * usual)
            got += _HEADING_TELLS * (term in entry.heading) + _PAGE_TELLS * (term in entry.page)
            score += weight * got
            there += weight * (got > 0)
        return _Part(asked, there, score)

    def _rarity(self, term: str) -> float:
        return math.log(1 + (len(self._entries) - self._in[term] + 0.5) / (self._in[term] + 0.5))


def sections_of(slug: str, title: str, main: str) -> list[Section]:
    """The sections of a page, out of the HTML of its main part; what is before the first heading is one."""
    parts = _HEADING.split(main)
    found = [Section(f"/{slug}", title, title, _text(parts[0]))]
    for anchor, heading, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        found.append(Section(f"/{slug}#{anchor}", title, _text(heading), _text(text)))
    return found


def _excerpt(text: str, question: _Terms) -> tuple[tuple[str, bool], ...]:
    """The part of a text with most of the question, and what of it is marked."""
    marked = _marked(text, question)
    places = sorted(marked)
    start = max(places, key=lambda at: sum(marked[p] for p in places if at <= p < at + _SHOWN), default=0)
    start = max(0, start - _SHOWN // 4)
    end = min(len(text), start + _SHOWN)
    parts: list[tuple[str, bool]] = [("…", False)] if start else []
    for at in range(start, end):
        hit = at in marked
        if parts and parts[-1][1] == hit:
            parts[-1] = (parts[-1][0] + text[at], hit)
        else:
            parts.append((text[at], hit))
    return tuple(parts) + ((("…", False),) if end < len(text) else ())


def _marked(text: str, question: _Terms) -> dict[int, float]:
    """The places of a text that belong to a term which tells something -> how much it tells."""
    # Folded character by character, so that places are those of the text as it is shown.
    same_length = "".join(folded(each)[:1] or " " for each in text)
    found: dict[int, float] = {}
    for each in placed(same_length):
        if each.term in question and max(each.tells, question[each.term]) >= _WORTH:
            found |= dict.fromkeys(range(each.start, each.end), question[each.term])
    # Neither the end of another katakana word (ード of ダウンロード), nor the particle behind one.
    for run in _WORD.finditer(text):
        if run.start() not in found:
            found = {at: tells for at, tells in found.items() if not run.start() <= at < run.end()}
        if run.end() in found and run.end() + 1 not in found and text[run.end()] in _PARTICLES:
            del found[run.end()]
    return found


def _text(html: str) -> str:
    """What people read of HTML that our own templates wrote."""
    without = re.sub(r"<(script|style|svg)\b.*?</\1>", "", html, flags=re.S)
    return " ".join(unescape(_TAG.sub(lambda tag: "" if tag[1] else " ", without)).split())
