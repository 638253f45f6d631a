"""A card: to whom, where and what; how cards look, and what is said of one that cannot be printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from enroll.languages import Language
from enroll.people.postal import Postal
from enroll.refusals import Refusal
from enroll.settings import Settings

# Of flaws so many are named.
_NAMED = 20


@dataclass(frozen=True)
class Card:
    """``text`` has secrets: it is printed where the cover is, and nowhere else."""

    user_id: str
    name: str
    postal: Postal
    #: Whose address it is, if not the user's own.
    organisation: str
    title: str
    text: str = field(repr=False)
    language: Language = "ja"


@dataclass(frozen=True)
class Style:
    """How cards look."""

    #: File of the font.
    font: str
    #: Whether addresses are written downwards.
    vertical: bool
    #: Whether the boxes of the postal code are drawn: on blank cards.
    frame: bool
    #: Lines of whoever sends it.
    sender: tuple[str, ...]
    telephone: str


@dataclass(frozen=True)
class Flaw:
    """Why a card cannot be printed: what the font lacks, or that it is too long (``missing`` "")."""

    user_id: str
    name: str
    missing: str = ""

    def __str__(self) -> str:
        if not self.missing:
            return f"{self.user_id} {self.name}: its text is too long for a card"
        return f"{self.user_id} {self.name}: the font has no {self.missing} ({self.codes})"

    @property
    def codes(self) -> str:
        """The code points of what is missing: it may have no shape, or another's."""
        return " ".join(f"U+{ord(each):04X}" for each in self.missing)


@dataclass(frozen=True)
class Printed:
    """What came of an order: the PDF, two pages a card, or what is wrong with which card."""

    pdf: bytes = field(repr=False)
    flaws: tuple[Flaw, ...] = ()


class Unprintable(Refusal):
    """That cards cannot be printed: whose, and why."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        told = [str(each) for each in flaws[:_NAMED]]
        more = [f"and {len(flaws) - _NAMED} more"] if len(flaws) > _NAMED else []
        super().__init__("invalid_input", field="postcards", detail="; ".join(told + more))
        self.flaws = tuple(flaws)


def style_of(settings: Settings) -> Style:
    """As the settings say."""
    return Style(
        settings.postcard_font,
        settings.postcard_writing == "vertical",
        settings.postcard_frame,
        (*settings.postcard_sender, settings.operator_name),
        settings.telephone,
    )
