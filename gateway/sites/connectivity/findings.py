"""What the connectivity test finds: from facts to findings, each with its one next step. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ca.trust import CertificateState, Rejection, VerifiedPeer
from enroll.jst import days_left
from enroll.requests.enrollment import Enrollment
from gateway.sites.connectivity import words
from gateway.web.browsers import Browser, Family
from gateway.web.context import Role
from gateway.web.words import Text

#: Sites that ask for no certificate, which a script may try, and those that do.
TRIED = (Role.PICKUP, Role.HELP)
_ASKING = (Role.RENEWAL, Role.SERVICE)


class Level(StrEnum):
    """How a finding is marked. OPEN: only the browser can tell, and without JavaScript it has not."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    OPEN = "open"


@dataclass(frozen=True)
class Step:
    """One thing to do. ``target`` names where to go (``words.TARGETS``), ``cause`` when it applies."""

    text: Text
    target: str = ""
    cause: Text | None = None


@dataclass(frozen=True)
class Finding:
    """A mark, what was found, and the next step; three of them only where three causes look alike."""

    level: Level
    text: Text
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Check:
    """One row. ``outcomes`` holds what a browser with JavaScript may find instead, by its word."""

    name: str
    title: Text
    finding: Finding
    outcomes: Mapping[str, Finding] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the server knows of browser and connection."""

    browser: Browser
    cookies: bool
    #: Headers that only an intermediary adds were seen.
    proxied: bool
    tls_version: str
    demo: bool = False
    #: Certificates may be on phones.
    phones: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts(Surroundings):
    """What the server knows of one visit."""

    verdict: VerifiedPeer | Rejection
    now: int
    #: The host advertised no CA: the browser was free to offer any certificate.
    probe: bool
    #: ``fresh``: the browser cannot have remembered anything for this host; ``remembered``: it can;
    #: ``restart``: it can, and there are no fresh hosts to go to.
    memory: str
    renewal_days: int
    #: Expired, and still renewed.
    in_grace: bool = False
    #: There is a newer certificate on a PC; it was renewed, and the new one was not fetched yet.
    newer: Enrollment | None = None
    begun: bool = False

    @property
    def state(self) -> CertificateState:
        return self.verdict.state if isinstance(self.verdict, Rejection) else CertificateState.VALID


def certificate(facts: Facts) -> Check:
    """The finding about the client certificate: the one that most visitors come for."""
    return Check("certificate", words.CERTIFICATE_TITLE, _certificate(facts))


def of_good(
    left: int, renewal_days: int, *, newer: Enrollment | None, begun: bool, probe: bool = False
) -> words.Row:
    """What is said of a certificate that is good, and the next step. ``left``: days until its end; the others
    as in `Facts`."""
    if newer is not None:
        return words.newer(newer)
    if begun:
        return words.BEGUN
    return words.EXPIRES_SOON if left <= renewal_days else words.VALID[probe]


def checks(facts: Surroundings) -> tuple[Check, ...]:
    """The findings about browser and connection, in the order in which they are shown."""
    return (
        Check("browser", words.BROWSER_TITLE, _browser(facts.browser, facts.phones)),
        Check("cookies", words.COOKIES_TITLE, _from(words.COOKIES["on" if facts.cookies else "off"])),
        _by_browser("javascript", words.JAVASCRIPT_TITLE, words.JAVASCRIPT),
        _by_browser("popups", words.POPUPS_TITLE, words.POPUPS),
        _by_browser("clock", words.CLOCK_TITLE, words.CLOCK_DEMO if facts.demo else words.CLOCK),
        Check("tls", words.TLS_TITLE, _from(words.TLS[facts.tls_version == "TLSv1.3"])),
        Check("proxy", words.PROXY_TITLE, _from(words.PROXY[facts.proxied])),
    )


def reachability() -> tuple[Check, ...]:
    """One row per site. JavaScript tries those that ask for no certificate, and only those.

    A request to a site that asks would open the certificate picker, and a cancelled picker would be
    remembered there until the browser restarts: these two are links.
    """
    return (
        *(_by_browser(f"reach-{role}", words.SITES[role], words.REACH) for role in TRIED),
        *(Check(f"reach-{role}", words.SITES[role], _from(words.REACH_BY_HAND)) for role in _ASKING),
    )


#: Check -> the outcomes that a browser may report of it.
REPORTABLE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "javascript": frozenset(words.JAVASCRIPT) - {""},
        "popups": frozenset(words.POPUPS) - {""},
        "clock": frozenset(words.CLOCK) - {""},
        "reach-pickup": frozenset(words.REACH) - {""},
        "reach-help": frozenset(words.REACH) - {""},
    }
)


def _certificate(facts: Facts) -> Finding:
    state = facts.state
    if isinstance(facts.verdict, VerifiedPeer):
        left = days_left(facts.verdict.not_after_at, facts.now)
        row = of_good(left, facts.renewal_days, newer=facts.newer, begun=facts.begun, probe=facts.probe)
        return _from(row)
    if state is not CertificateState.NONE:
        if facts.newer is not None:
            return _from(words.reissued(state, facts.newer))
        return _from(words.IN_GRACE if facts.in_grace else words.CERTIFICATE[state])
    causes = words.NONE_ON_PROBE if facts.probe else words.NONE
    if facts.memory == "restart":
        causes = tuple(cause for cause in causes if cause.target != "probe")
    steps = [_step(words.NONE_CANCELLED[facts.memory]), *map(_step, causes)]
    if facts.browser.phone and not facts.phones:
        steps = [_step(words.NONE_ON_PHONE)]
    elif facts.browser.family is Family.FIREFOX:
        steps.append(_step(words.NONE_IN_FIREFOX))
    return Finding(Level.BAD, words.NONE_TEXT[facts.probe], tuple(steps))


def _browser(browser: Browser, phones: bool) -> Finding:
    if browser.phone and not phones:
        return _from(words.BROWSER_PHONE)
    return _from(words.BROWSERS[browser.family])


def _by_browser(name: str, title: Text, table: Mapping[str, words.Row]) -> Check:
    outcomes = {word: _from(row) for word, row in table.items() if word}
    return Check(name, title, _from(table[""]), outcomes)


def _from(row: words.Row) -> Finding:
    steps = () if row.step is None else (Step(row.step, row.target),)
    return Finding(Level(row.level), row.text, steps)


def _step(cause: words.Cause) -> Step:
    return Step(cause.step, cause.target, cause.cause)
