"""The languages that people are written to in, and shown pages in."""

from __future__ import annotations

from typing import Literal

Language = Literal["ja", "en"]
#: The first is what people get who have chosen none.
LANGUAGES: tuple[Language, ...] = ("ja", "en")
