"""What a font has for each character: its glyph, another one where it is written downwards, none at all.

A kanji with a selector of its form (IVS) is one character here, as it is for whoever is called so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ca.errors import ConfigError
from enroll.characters import without_variations

MISSING = "printing needs more than is installed: pip install 'sekisho[postcards]'"
_UNREADABLE = (
    "postcards.font: {} cannot be read as a font ({}). On Debian: apt install fonts-noto-cjk; or name "
    "another one in sekisho.toml, and then: sekisho reload"
)


@dataclass(frozen=True)
class Glyph:
    """``width`` in thousandths of the size; ``says``: the code points that it stands for."""

    number: int
    name: str
    width: int
    says: tuple[int, ...]


class NoGlyph(Exception):
    """The font lacks a character; the text is it, with the selector of its form."""


class Face:
    """A font that was opened. ConfigError if it cannot be."""

    def __init__(self, path: str) -> None:
        try:
            from fontTools.ttLib import TTFont, TTLibError
            from fontTools.ttLib.sfnt import readTTCHeader
        except ImportError:
            raise ConfigError(MISSING) from None
        try:
            with Path(path).open("rb") as file:
                header = readTTCHeader(file)
            self.number = 0 if header is None else _japanese(path, header.numFonts)
            font = TTFont(path, fontNumber=self.number, lazy=True)
            self._names: Mapping[int, str] = font.getBestCmap()
            self._widths: Mapping[str, tuple[int, int]] = font["hmtx"].metrics
            self._scale = 1000 / font["head"].unitsPerEm
            self._forms = _forms(font)
            self._downwards = _downwards(font)
            self._number_of = font.getGlyphID
        except (OSError, TTLibError, KeyError, AttributeError, AssertionError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(_UNREADABLE.format(path, why)) from None
        self._known: dict[tuple[str, bool], Glyph] = {}

    def glyphs(self, text: str) -> list[Glyph]:
        """Of each character. NoGlyph."""
        return [self._glyph(each, False) for each in characters(text)]

    def downwards(self, character: str) -> Glyph:
        """Of one that stands in a column. NoGlyph."""
        return self._glyph(character, True)

    def _glyph(self, character: str, downwards: bool) -> Glyph:
        known = self._known.get((character, downwards))
        if known is None:
            name = self._name(character)
            if downwards:
                name = self._downwards.get(name, name)
            width = round(self._widths[name][0] * self._scale)
            known = Glyph(self._number_of(name), name, width, tuple(map(ord, character)))
            self._known[character, downwards] = known
        return known

    def _name(self, character: str) -> str:
        base, form = ord(character[0]), character[1:]
        name = self._names.get(base)
        if form:
            forms = self._forms.get(ord(form), {})
            # None: the form that the font has for the character by itself.
            name = (forms[base] or name) if base in forms else None
        if name is None:
            raise NoGlyph(character)
        return name


def cannot_print(font: str) -> str:
    """Why nothing can be printed on this machine, with what to type; "" if it can."""
    if find_spec("fpdf") is None:
        return MISSING
    try:
        with Path(font).open("rb"):
            return ""
    except OSError as error:
        return _UNREADABLE.format(font, error.strerror)


def characters(text: str) -> Iterator[str]:
    """A text's characters, each with the selector of its form, if it has one."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or without_variations(text[place]):
            yield text[start:place]
            start = place


def _japanese(path: str, count: int) -> int:
    """The place of the Japanese font in a collection; the first one where none says so."""
    from fontTools.ttLib import TTFont

    for number in range(count):
        name = TTFont(path, fontNumber=number, lazy=True)["name"].getDebugName(1) or ""
        if name.endswith(" JP"):
            return number
    return 0


def _forms(font: Any) -> Mapping[int, Mapping[int, str | None]]:
    """Selector -> character -> its glyph."""
    for table in font["cmap"].tables:
        if table.format == 14:
            return {selector: dict(pairs) for selector, pairs in table.uvsDict.items()}
    return {}


def _downwards(font: Any) -> Mapping[str, str]:
    """Glyph -> the one that takes its place in a column (the feature ``vert``)."""
    if "GSUB" not in font:
        return {}
    table, found = font["GSUB"].table, dict[str, str]()
    places = {
        place
        for record in table.FeatureList.FeatureRecord
        if record.FeatureTag == "vert"
        for place in record.Feature.LookupListIndex
    }
    for place in places:
        for part in table.LookupList.Lookup[place].SubTable:
            found |= getattr(getattr(part, "ExtSubTable", part), "mapping", {})
    return found
