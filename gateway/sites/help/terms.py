"""What is looked for in a text, whichever way it is typed and in whatever form of a word. Pure.

Japanese has no spaces: pairs of neighbouring characters stand for its words, so that 忘れた, 忘れました and
忘れてしまった have most in common with 忘れ. Katakana, hiragana, half- and full-width are one. English words
stand for themselves by their stems (Snowball, https://snowballstem.org).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

_RUN = re.compile(r"[a-z0-9]+|[\u3041-\u3096\u30a1-\u30fa\u30fc\u3005\u4e00-\u9fff]+")
_TO_HIRAGANA = {katakana: katakana - 0x60 for katakana in range(0x30A1, 0x30F7)}
# Of no use to tell one section from another.
_STOP = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "could", "do", "does", "for",
    "from", "get", "got", "had", "has", "have", "how", "i", "if", "in", "is", "it", "its", "me",
    "my", "of", "on", "or", "our", "please", "so", "that", "the", "their", "then", "there", "this",
    "to", "was", "we", "what", "when", "where", "which", "who", "why", "will", "with", "would",
    "you", "your", "am", "im", "don", "t", "s",
})  # fmt: skip
#: Kind of a pair by those of its characters -> how much it tells: hiragana are endings and particles mostly.
_TELLS: Mapping[tuple[bool, bool], float] = {
    (False, False): 1.0,
    (False, True): 0.5,
    (True, False): 0.15,
    (True, True): 0.1,
}


def folded(text: str) -> str:
    """One spelling for all ways to type the same: NFKC, small letters. Kana stay what they are."""
    return unicodedata.normalize("NFKC", text).casefold()


def key(text: str) -> str:
    """Equal for texts that sound alike: `folded`, and katakana as hiragana. As long as what is folded."""
    return folded(text).translate(_TO_HIRAGANA)


def terms(text: str) -> dict[str, float]:
    """The terms of a text, each with how much it tells, 0 to 1."""
    return {each.term: each.tells for each in placed(folded(text))}


@dataclass(frozen=True)
class Placed:
    """A term where it stands in a text."""

    start: int
    end: int
    term: str
    tells: float


def placed(text: str) -> Iterator[Placed]:
    """The terms of a `folded` text, in its order."""
    for run in _RUN.finditer(text):
        start, word = run.start(), run[0]
        if word.isascii():
            if word not in _STOP:
                yield Placed(start, run.end(), _stems().stemWord(word), 1.0)
            continue
        sound = word.translate(_TO_HIRAGANA)
        if len(word) == 1 and not _is_hiragana(word):
            # By itself a kanji tells something.
            yield Placed(start, run.end(), sound, 0.5)
        for at in range(len(word) - 1):
            tells = _TELLS[_is_hiragana(word[at]), _is_hiragana(word[at + 1])]
            yield Placed(start + at, start + at + 2, sound[at : at + 2], tells)


def _is_hiragana(character: str) -> bool:
    return "\u3041" <= character <= "\u3096"


@cache
def _stems() -> Any:
    # Not above: all languages come along, a twelfth of what it takes to load the gateway.
    import snowballstemmer

    return snowballstemmer.stemmer("english")
