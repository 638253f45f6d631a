"""Where everything on a card stands: millimetres from the upper left corner, sizes in points. Pure.

Both faces of a card of 100 × 148 mm. What is secret stands inside `COVER` alone, where a label is stuck that
has to be torn: not one word of the letter is outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from enroll.languages import Language
from enroll.postcards.card import Card, Style
from enroll.postcards.glyphs import Face, Glyph, characters

#: Of a card, in millimetres.
WIDTH, HEIGHT = 100.0, 148.0
POINT = 25.4 / 72
# Of the size: from a character's upper edge to its baseline.
_ASCENT = 0.88


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Run:
    """Glyphs in a row from a point of their baseline on; ``turned``: downwards, on their side."""

    x: float
    y: float
    size: float
    glyphs: tuple[Glyph, ...]
    turned: bool = False


@dataclass(frozen=True)
class Page:
    runs: tuple[Run, ...]
    #: Of the postal code.
    frame: tuple[Box, ...] = ()
    #: Where the label is stuck.
    cover: Box | None = None


class TooLong(Exception):
    """Something does not fit, however small."""


#: What the label covers. Labels for a whole postcard (はがき用目隠しラベル) are as large or larger.
COVER = Box(4, 26, 92, 118)
_INSET = 4.0
# The official places of the seven boxes.
_CODE_TOP, _CODE_WIDTH, _CODE_HEIGHT = 12.0, 5.7, 8.0
_CODE_LEFT = (44.3, 51.3, 58.3, 65.9, 72.7, 79.5, 86.3)
_SAMA = " 様"
#: Outside of the cover.
_OUTSIDE: Mapping[Language, tuple[str, ...]] = {
    "ja": (
        "親展　大切なお知らせです",
        "シールをはがしてご覧ください。一度はがすと貼りなおせません。",
        "お届け時にはがれていた場合や、お心当たりがない場合は、お電話ください。",
    ),
    "en": (
        "Private: an important notice",
        "Peel the label off to read it. It cannot be stuck again.",
        "If it was open when it came, or is not for you, please call us.",
    ),
}
# These begin no line, and these end none.
_NOT_FIRST = frozenset("、。，．・：；？！）」』】〕〉》ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ,.!?:;)")
_NOT_LAST = frozenset("（「『【〔〈《(")
_DASHES = frozenset("-‐‑–−－ー―")
_FULL = {ord(half): ord(half) + 0xFEE0 for half in "0123456789"}


def pages(card: Card, face: Face, style: Style) -> tuple[Page, Page]:
    """The address face and the message face. NoGlyph, TooLong."""
    vertical = style.vertical and card.language == "ja"
    address = (*_code(card, face), *(_downwards if vertical else _across)(card, face, style))
    frame = tuple(Box(left, _CODE_TOP, _CODE_WIDTH, _CODE_HEIGHT) for left in _CODE_LEFT)
    return Page(address, frame if style.frame else ()), Page(_message(card, face, style), cover=COVER)


# -- the address face ------------------------------------------------------------------------------------


def _code(card: Card, face: Face) -> Iterator[Run]:
    size = 15.0
    for left, digit in zip(_CODE_LEFT, card.postal.postal_code.replace("-", ""), strict=True):
        (glyph,) = face.glyphs(digit)
        x = left + (_CODE_WIDTH - glyph.width / 1000 * size * POINT) / 2
        yield Run(x, _CODE_TOP + 6.1, size, (glyph,))


def _where(card: Card) -> list[str]:
    postal = card.postal
    return [line for line in (postal.prefecture + postal.city + postal.street, postal.building) if line]


def _whose(card: Card) -> list[str]:
    return [line for line in (card.organisation, card.postal.addressee) if line]


def _across(card: Card, face: Face, style: Style) -> Iterator[Run]:
    yield from _block(face, _where(card), Box(13, 34, 77, 24), 11, 5.5)
    yield from _block(face, _whose(card), Box(13, 60, 77, 17), 11, 5.5)
    yield from _block(face, [card.name + _SAMA], Box(19, 79, 71, 22), 20, 8)
    yield from _block(face, _sender(style), Box(40, 120, 54, 22), 8, 5)


def _sender(style: Style) -> list[str]:
    return [*style.sender, f"TEL {style.telephone}"]


def _downwards(card: Card, face: Face, style: Style) -> Iterator[Run]:
    yield from _columns(face, _where(card), Box(70, 26, 22, 104), 13, 7)
    yield from _columns(face, [card.name + _SAMA], Box(42, 36, 14, 100), 24, 7)
    yield from _columns(face, _whose(card), Box(57, 32, 12, 104), 12, 5)
    yield from _columns(face, _sender(style), Box(6, 66, 28, 74), 8, 5)


# -- the message face ------------------------------------------------------------------------------------


def _message(card: Card, face: Face, style: Style) -> tuple[Run, ...]:
    outside = [*_OUTSIDE[card.language], f"{style.sender[-1]}　TEL {style.telephone}"]
    top = Box(COVER.x, 6, COVER.width, COVER.y - 8)
    inside = Box(
        COVER.x + _INSET, COVER.y + _INSET, COVER.width - 2 * _INSET, COVER.height - 2 * _INSET
    )  # fmt: skip
    letter = [card.title, "", *card.text.strip("\n").split("\n")]
    return (*_block(face, outside, top, 8, 5), *_block(face, letter, inside, 9, 5.5))


# -- lines and columns -----------------------------------------------------------------------------------


def _block(face: Face, paragraphs: Sequence[str], box: Box, largest: float, least: float) -> list[Run]:
    """Lines as large as the box takes."""
    texts = [[_word(face, word) for word in _words(each)] for each in paragraphs]
    size = largest
    while size >= least:
        lines = [line for text in texts for line in _wrapped(text, box.width / size / POINT * 1000)]
        # An empty line is half as high.
        heights = [size * POINT * (1.45 if line else 0.7) for line in lines]
        if sum(heights) <= box.height:
            found, y = [], box.y
            for line, height in zip(lines, heights, strict=True):
                if line:
                    found.append(Run(box.x, y + _ASCENT * size * POINT, size, line))
                y += height
            return found
        size -= 0.25
    raise TooLong


#: Glyphs, and how wide they are together, in thousandths of the size.
_Word = tuple[tuple[Glyph, ...], int]


def _word(face: Face, text: str) -> _Word:
    glyphs = tuple(face.glyphs(text))
    return glyphs, sum(glyph.width for glyph in glyphs)


def _wrapped(words: Sequence[_Word], width: float) -> list[tuple[Glyph, ...]]:
    lines, line, used = list[tuple[Glyph, ...]](), list[Glyph](), 0
    for glyphs, wide in words:
        if line and used + wide > width:
            lines.append(tuple(line))
            line, used = [], 0
            if glyphs[0].says == _SPACE:
                continue
        if wide <= width:
            line += glyphs
            used += wide
            continue
        for glyph in glyphs:
            if used + glyph.width > width:
                lines.append(tuple(line))
                line, used = [], 0
            line.append(glyph)
            used += glyph.width
    return [*lines, tuple(line)]


_SPACE = (0x20,)


def _words(text: str) -> Iterator[str]:
    """What no line ends within: a word of letters, and a character with what must not begin or end a line."""
    held = ""
    for each in characters(text):
        joins = held and (
            each[0] in _NOT_FIRST
            or held[-1] in _NOT_LAST
            or (_is_letter(held[-1]) and _is_letter(each) and each != " ")
        )
        if held and not joins:
            yield held
            held = ""
        held += each
    if held:
        yield held


def _is_letter(character: str) -> bool:
    return character.isascii() and character != " "


def _columns(face: Face, paragraphs: Sequence[str], box: Box, largest: float, least: float) -> list[Run]:
    """Columns from right to left, as large as the box takes."""
    size = largest
    while size >= least:
        em = size * POINT
        columns = [column for each in paragraphs for column in _falling(face, each, box.height, em)]
        if len(columns) * em * 1.25 - em * 0.25 <= box.width:
            x = box.x + box.width - em
            found = list[Run]()
            for column in columns:
                found += _column(column, x, box.y, size)
                x -= em * 1.25
            return found
        size -= 0.25
    raise TooLong


#: What stands in a column: glyphs, their height in parts of the size, and whether they lie on their side.
_Cell = tuple[tuple[Glyph, ...], float, bool]


def _falling(face: Face, text: str, height: float, em: float) -> list[list[_Cell]]:
    columns, column, used = list[list[_Cell]](), list[_Cell](), 0.0
    for cell in _cells(face, text):
        if column and used + cell[1] * em > height:
            columns.append(column)
            column, used = [], 0.0
        column.append(cell)
        used += cell[1] * em
    return [*columns, column]


def _cells(face: Face, text: str) -> Iterator[_Cell]:
    """Digits stand upright, dashes fall, words of other letters lie on their side."""
    word = ""
    for each in characters(text):
        if each.isascii() and each not in _DASHES and not each.isdigit() and each != " ":
            word += each
            continue
        if word:
            yield _lying(face, word)
            word = ""
        if each in (" ", "　"):
            yield ((), 0.5, False)
        elif each in _DASHES:
            yield ((_saying(face.downwards("ー"), each),), 1.0, False)
        else:
            yield ((_saying(face.downwards(each.translate(_FULL)), each),), 1.0, False)
    if word:
        yield _lying(face, word)


def _lying(face: Face, word: str) -> _Cell:
    glyphs = tuple(face.glyphs(word))
    return (glyphs, sum(glyph.width for glyph in glyphs) / 1000, True)


def _saying(glyph: Glyph, text: str) -> Glyph:
    """The glyph where it stands for what was written: whoever copies it out of the file gets that."""
    return Glyph(glyph.number, glyph.name, glyph.width, tuple(map(ord, text)))


def _column(cells: Sequence[_Cell], x: float, y: float, size: float) -> Iterator[Run]:
    em = size * POINT
    for glyphs, height, turned in cells:
        if turned:
            yield Run(x + 0.14 * em, y, size, glyphs, turned=True)
        elif glyphs:
            yield Run(x + (1 - glyphs[0].width / 1000) * em / 2, y + _ASCENT * em, size, glyphs)
        y += height * em
