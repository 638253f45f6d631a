"""Characters that nobody sees, and those that are taken for one another: what a paste brings along."""

from __future__ import annotations

import re
import unicodedata

#: Default_Ignorable_Code_Point of the Unicode Character Database, but variation selectors: those choose
#: between the forms of a kanji in a name, and are seen.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)
_VARIATION = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
#: What keyboards, word processors and kana input make of a hyphen, as the inside of a character class.
DASHES = (
    "\\-\u02d7\u058a\u2010-\u2015\u2043\u207b\u208b\u2212\u2500\u2501\u301c\u30fc\ufe58\ufe63\uff0d\uff70"
)


def visible(text: str) -> str:
    """The text without what nobody sees: zero-width, soft hyphen, marks of direction, byte order mark."""
    return _INVISIBLE.sub("", text)


def without_variations(text: str) -> str:
    """The text without the selectors of a character's form (IVS, standardised variations)."""
    return _VARIATION.sub("", text)


def folded(text: str) -> str:
    """What was typed full-width, half-width or composed in another way, in the usual characters (NFKC)."""
    # Twice: NFKC makes ignorable characters of some that are not (U+FFA0).
    return visible(unicodedata.normalize("NFKC", visible(text)))


def called(character: str) -> str:
    """Code point and name, for messages: it may have no shape, or that of another."""
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}" + (f" {name}" if name else "")
