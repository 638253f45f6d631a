"""Cards as a PDF, drawn in a process of the workers: what is wrong with one is said of every card at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ca.errors import ConfigError
from enroll.postcards.card import Card, Flaw, Printed, Style
from enroll.postcards.glyphs import MISSING, Face, Glyph, NoGlyph
from enroll.postcards.layout import HEIGHT, POINT, WIDTH, Page, Run, TooLong, pages

_RED, _GREY = (214, 69, 51), (120, 120, 120)
_PROOF = "郵便はがき"


def drawn(cards: Sequence[Card], style: Style) -> Printed:
    """All cards, two pages each; none of them if one cannot be printed. Pure, but for the font's file.

    ConfigError where the font or the library is missing."""
    laid, flaws, face = _laid(cards, style)
    return Printed(b"", flaws) if flaws else Printed(_pdf(laid, face, style))


def flaws_of(cards: Sequence[Card], style: Style) -> tuple[Flaw, ...]:
    """What would be wrong. ConfigError as above."""
    _drawing()
    return _laid(cards, style)[1]


def _laid(cards: Sequence[Card], style: Style) -> tuple[list[Page], tuple[Flaw, ...], Face]:
    face, laid, flaws = Face(style.font), list[Page](), list[Flaw]()
    for card in cards:
        try:
            laid += pages(card, face, style)
        except NoGlyph as error:
            flaws.append(Flaw(card.user_id, card.name, str(error)))
        except TooLong:
            flaws.append(Flaw(card.user_id, card.name))
    return laid, tuple(flaws), face


def _drawing() -> Any:
    try:
        import fpdf
    except ImportError:
        raise ConfigError(MISSING) from None
    return fpdf


def _pdf(laid: Sequence[Page], face: Face, style: Style) -> bytes:
    fpdf = _drawing()
    # It tells of every table that it leaves out of the font.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    pdf = fpdf.FPDF(unit="mm", format=(WIDTH, HEIGHT))
    pdf.set_auto_page_break(False)
    pdf.set_creator("sekisho")
    # Of the font itself only what these cards have: to measure all of it takes longer than a hundred cards.
    proof = face.glyphs(_PROOF)
    needed = {code for page in laid for run in page.runs for glyph in run.glyphs for code in glyph.says}
    needed |= {code for glyph in proof for code in glyph.says} | {0x20}
    pdf.add_font(
        "card", fname=style.font, collection_font_number=face.number, unicode_range=sorted(needed)
    )  # fmt: skip
    pdf.set_font("card", size=9)
    for page in laid:
        pdf.add_page()
        _boxes(pdf, page)
        if page.frame:
            size = 8.0
            width = sum(glyph.width for glyph in proof) / 1000 * size * POINT
            _show(pdf, Run((WIDTH - width) / 2, 8, size, tuple(proof)))
        for run in page.runs:
            _show(pdf, run)
    return bytes(pdf.output())


def _boxes(pdf: Any, page: Page) -> None:
    pdf.set_draw_color(*_RED)
    for place, box in enumerate(page.frame):
        pdf.set_line_width(0.5 if place < 3 else 0.3)
        pdf.rect(box.x, box.y, box.width, box.height)
    if page.cover is not None:
        pdf.set_draw_color(*_GREY)
        pdf.set_line_width(0.1)
        pdf.set_dash_pattern(dash=1, gap=1)
        pdf.rect(page.cover.x, page.cover.y, page.cover.width, page.cover.height)
        pdf.set_dash_pattern()


def _show(pdf: Any, run: Run) -> None:
    """Glyphs as they were chosen: the library's own text knows neither columns nor forms of kanji."""
    font = pdf.current_font
    text = "".join(chr(font.subset.pick_glyph(_known(glyph))) for glyph in run.glyphs)
    x, y = run.x / POINT, (HEIGHT - run.y) / POINT
    turn = "0 -1 1 0" if run.turned else "1 0 0 1"
    pdf._out(f"BT {pdf._set_font_for_page(font, run.size, wrap_in_text_object=False)}")
    pdf._out(f"{turn} {x:.2f} {y:.2f} Tm ({font.escape_text(text)}) Tj ET")


def _known(glyph: Glyph) -> Any:
    from fpdf.fonts import Glyph as Known

    return Known(glyph.number, glyph.says, glyph.name, glyph.width)
