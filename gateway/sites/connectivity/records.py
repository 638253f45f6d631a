"""A visit as it is recorded under its reference number, and read again: the desk sees the page that was seen.

The key of such a page is made by an operator (`sekisho reference show`); a number alone opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.sites.connectivity import findings
from gateway.sites.connectivity.findings import Check, Facts, Finding, Level, Step, Surroundings
from gateway.sites.connectivity.words import CERTIFICATE_TITLE
from gateway.web.browsers import Browser, Family


def to_json(facts: Facts) -> dict[str, Any]:
    """What of the findings cannot be found again without the certificate, and what the others are made of."""
    finding = findings.certificate(facts).finding
    browser = facts.browser
    return {
        "state": facts.state.value,
        "certificate": {
            "level": finding.level.value,
            "text": finding.text,
            "steps": [[step.text, step.target, step.cause] for step in finding.steps],
        },
        "agent": [browser.family.value, browser.version, browser.phone],
    }


def certificate(detail: Mapping[str, Any]) -> Check:
    """The finding about the certificate, word for word."""
    kept = detail["certificate"]
    steps = tuple(
        Step((text[0], text[1]), target, (cause[0], cause[1]) if cause else None)
        for text, target, cause in kept["steps"]
    )
    text = kept["text"]
    return Check("certificate", CERTIFICATE_TITLE, Finding(Level(kept["level"]), (text[0], text[1]), steps))


def surroundings(detail: Mapping[str, Any], *, demo: bool, phones: bool) -> Surroundings:
    """What the other findings are made of."""
    family, version, phone = detail["agent"]
    return Surroundings(
        browser=Browser(Family(family), version, phone),
        cookies=detail["cookies"],
        proxied=detail["proxied"],
        tls_version=detail["tls"][0],
        demo=demo,
        phones=phones,
    )
