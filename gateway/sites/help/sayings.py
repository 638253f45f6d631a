"""What people say, and what the pages say for it: the lines of `sayings.txt`.

Inflections need none: those are found by `terms`. A line is for another word of the same meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.sites.help.terms import folded, key

#: What goes around a question and is not asked for, in hiragana.
_AROUND = re.compile(
    "|".join(
        (
            "を?(教えて|おしえて)(ください|下さい|ほしい)?",
            "(は|が|を)?(どうすれば|どうしたら|どうやって|どのように)(いい|よい|良い)?(の)?(です)?か?",
            "(は|って)?(何|なん)ですか",
            "でしょうか|(の|ん)?ですか|ください|下さい",
            "したい(の)?(です)?(が)?",
            "の(方法|やり方|仕方)(は|が)?",
            "(が|は)?(わかりません|分かりません)",
            "(が|は)?(わからない|分からない)$",
            "困って(い)?(ます|る)",
            "[?。、!]",
        )
    )
)


def asked_for(wanted: str) -> str:
    """A question, folded, without what is around it; all of it if nothing else is left."""
    text = folded(wanted)
    asked = _without(text, ((around.start(), around.end()) for around in _AROUND.finditer(key(text))))
    return asked if asked.strip() else text


def in_our_words(wanted: str) -> tuple[str, list[list[str]]]:
    """Of what was asked for (`asked_for`) what is no saying, and each saying with what may be meant by it."""
    sound, spans, meant = key(wanted), [], []
    for words, ours, instead in _ROWS:
        for found in words.finditer(sound):
            spans.append(found.span())
            meant.append([*([] if instead else [wanted[slice(*found.span())]]), *ours])
    return _without(wanted, spans), meant


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    left = list(text)
    for start, end in spans:
        left[start:end] = " " * (end - start)
    return "".join(left)


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """The longest first; English words as a whole, one or many: "mac" is not in "machine"."""
    return re.compile("|".join(_pattern(each) for each in sorted(map(key, words), key=len, reverse=True)))


def _pattern(word: str) -> str:
    if word.isascii():
        return rf"(?<![a-z]){re.escape(word)}s?(?![a-z])"
    return re.escape(word.removesuffix("$")) + (r"(?=\s*$)" if word.endswith("$") else "")


def _rows() -> Iterator[tuple[re.Pattern[str], list[str], bool]]:
    for line in Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            said, sign, meant = line.partition(" => " if " => " in line else " = ")
            yield _any_of(said.split(", ")), meant.split(" | "), sign == " => "


_ROWS = tuple(_rows())
