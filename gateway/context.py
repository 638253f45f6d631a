"""What every site works with: one value, built when the server starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from enroll.office import Office


class Role(StrEnum):
    """The sites by what they are for. Each has an origin of its own."""

    PICKUP = "pickup"
    RENEWAL = "renewal"
    SERVICE = "service"
    CONNECTIVITY = "connectivity"
    HELP = "help"
    MAILBOX = "mailbox"


@dataclass(frozen=True)
class Gate:
    """The office with what only the web side needs to know."""

    office: Office
    #: Role -> origin such as ``https://pickup.example`` (no trailing slash). MAILBOX in a demo only.
    origins: Mapping[Role, str]
    #: What follows the random label of a fresh host name, port included: ``.try.example:8443``.
    try_suffix: str
    #: Where オンライン操作マニュアル第3章 is (R57); empty leaves the text without a link.
    manual_url: str = ""
    #: A demo: says so on every page.
    demo: bool = False

    def now(self) -> int:
        return self.office.now()
