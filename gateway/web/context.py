"""What every site works with: one value, built when the server starts."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ca.generations.states import State
from enroll import generations
from enroll.answers import Answers
from enroll.audit import Verified
from enroll.ra import RegistrationAuthority
from gateway.web.examined import Configured, Examined
from gateway.web.hours import Hours


class Role(StrEnum):
    """The sites by what they are for. Each has an origin of its own."""

    PICKUP = "pickup"
    RENEWAL = "renewal"
    SERVICE = "service"
    CONNECTIVITY = "connectivity"
    HELP = "help"
    MAILBOX = "mailbox"
    #: The service behind the gate, where login and portal have a host of their own.
    BEHIND = "behind"
    #: Operators at work; no user's certificate opens it.
    CONSOLE = "console"
    #: Other systems at work, as service accounts.
    API = "api"


@dataclass(frozen=True)
class Gate:
    """The registration authority with what only the web side needs to know."""

    ra: RegistrationAuthority
    #: Role -> origin such as ``https://pickup.example`` (no trailing slash). MAILBOX in a demo only, BEHIND
    #: with ``sites.portal`` only, CONSOLE and API where there is one.
    origins: Mapping[Role, str]
    #: What follows the random label of a fresh host name, port included: ``.try.example:8443``.
    try_suffix: str
    #: Role -> what follows the random label of a fresh host of that very site; roles without are left out.
    fresh: Mapping[Role, str] = field(default_factory=dict)
    #: Where オンライン操作マニュアル第3章 is (R57); empty leaves the text without a link.
    manual_url: str = ""
    #: Path of the first page of the service behind the portal; empty without one.
    start: str = ""
    #: Whether that service may have service workers.
    workers: bool = False
    #: D13: when that service is open; None: always, and nothing is said of hours.
    hours: Hours | None = None
    #: A demo: says so on every page.
    demo: bool = False
    #: Answers about certificates, of this process.
    answers: Answers = field(default_factory=Answers)
    #: The head of the record, signed now, with the key that verifies it: as the last line of an export. None
    #: where nobody signs; ConfigError where nobody does at the moment.
    head: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    #: What a verification of the whole record finds; None and ConfigError as above.
    verified: Callable[[], Awaitable[Verified]] | None = None
    #: What is to be said of the authority now, and of the settings; None where there is no deployment.
    examined: Callable[[], Awaitable[Examined]] | None = None
    configured: Callable[[], Awaitable[Configured]] | None = None

    @property
    def behind(self) -> str:
        """The origin of the service behind the gate: that of the portal, unless each has its own."""
        return self.origins.get(Role.BEHIND, self.origins[Role.SERVICE])

    def closed_until(self, at: int) -> int | None:
        """When the service behind the portal opens, if it is closed at a moment."""
        return None if self.hours is None or self.hours.closes_at(at) is not None else self.hours.opens_at(at)

    def now(self) -> int:
        return self.ra.now()

    @property
    def issuer_names(self) -> tuple[str, ...]:
        """The CAs whose certificates people may have, the one that issues first: earlier ones too (E17)."""
        return self._names(generations.IN_HANDS)

    @property
    def known_issuers(self) -> tuple[str, ...]:
        """The same, and those that will issue: what a network's administrator puts in place beforehand."""
        return self._names(generations.TRUSTED)

    def _names(self, states: frozenset[State]) -> tuple[str, ...]:
        at, current = self.now(), generations.told(self.ra).issuer_id
        found = generations.issuers(self.ra, states)
        alive = [each for each in found if each.issuer_id == current or each.not_after_at >= at]
        return tuple(each.common_name for each in alive)

    def fresh_origin(self, role: Role) -> str:
        """The origin of a host that no browser has seen, so that it asks for a certificate again (E12).

        Of the site itself if it has such hosts, else of the connectivity test, else that site's own.
        """
        suffix = self.fresh.get(role) or self.try_suffix
        return f"https://{secrets.token_hex(8)}{suffix}" if suffix else self.origins[Role.CONNECTIVITY]
