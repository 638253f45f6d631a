"""Which browser a visitor uses: to show its own steps first, never to refuse anybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """The browsers whose steps differ. The manual covers Edge and Chrome."""

    EDGE = "edge"
    CHROME = "chrome"
    FIREFOX = "firefox"
    SAFARI = "safari"
    OTHER = "other"


NAMES = {
    Family.EDGE: "Microsoft Edge",
    Family.CHROME: "Google Chrome",
    Family.FIREFOX: "Mozilla Firefox",
    Family.SAFARI: "Safari",
    Family.OTHER: "",
}

# In this order: Edge says Chrome and Safari as well, Chrome says Safari. The user agents are as
# MDN lists them under "Browser detection using the user agent".
_MARKS = (
    (Family.EDGE, re.compile(r"\b(?:Edg|EdgA|EdgiOS)/(\d{1,4})")),
    (Family.OTHER, re.compile(r"\b(?:OPR|Vivaldi|SamsungBrowser|MSIE |Trident)/?(\d{0,4})")),
    (Family.FIREFOX, re.compile(r"\b(?:Firefox|FxiOS)/(\d{1,4})")),
    (Family.CHROME, re.compile(r"\b(?:Chrome|HeadlessChrome|Chromium|CriOS)/(\d{1,4})")),
    (Family.SAFARI, re.compile(r"\bVersion/(\d{1,4})\S* (?:Mobile/\S+ )?Safari/")),
)
_PHONE = re.compile(r"\b(?:Mobile|Android|iPhone|iPad|iPod|Tablet)\b|\bSilk/")


@dataclass(frozen=True)
class Browser:
    """``version`` is the major one, 0 if unknown; ``phone`` includes tablets."""

    family: Family
    version: int = 0
    phone: bool = False

    @property
    def name(self) -> str:
        """For people: ``Microsoft Edge 142``; empty if unknown."""
        name = NAMES[self.family]
        return f"{name} {self.version}" if name and self.version else name


def browser_of(headers: Mapping[str, str]) -> Browser:
    """The browser that the head of a request claims to come from."""
    user_agent = headers.get("User-Agent", "")
    # The hint (W3C, User-Agent Client Hints) where a browser's User-Agent says nothing of it any more.
    phone = headers.get("Sec-CH-UA-Mobile") == "?1" or bool(_PHONE.search(user_agent))
    for family, mark in _MARKS:
        found = mark.search(user_agent)
        if found:
            return Browser(family, int(found[1] or 0) if family is not Family.OTHER else 0, phone)
    return Browser(Family.OTHER, 0, phone)
