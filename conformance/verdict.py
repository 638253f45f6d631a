"""How a case ends other than well: it fails, cannot be run here, or something it rests on is missing."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.check import Check
from conformance.credentials import Identifier
from conformance.wire import Answer


class Failed(Exception):
    """The server broke the rule; the text says what was seen.

    remedy: what whoever runs the suite can type about it; empty where it is the server's alone.
    """

    def __init__(self, seen: str, remedy: str = "") -> None:
        super().__init__(f"{seen}; {remedy}" if remedy else seen)
        self.remedy = remedy


@dataclass(frozen=True)
class Attempt:
    """A validation that did not succeed. said: the server's own error; asked: it came for the answer."""

    method: str
    identifier: Identifier
    status: str
    said: str
    asked: bool

    @property
    def seen(self) -> str:
        text = f"the authorization of {self.identifier['value']} is {self.status!r} by {self.method}"
        return f"{text} ({self.said})" if self.said else text

    def __str__(self) -> str:
        return self.seen if self.asked else f"{self.seen}; nobody came to ask for the answer"


class Unvalidated(Failed):
    """An authorization did not become valid although its challenge was answered."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(str(attempt))
        self.attempt = attempt


class Skipped(Exception):
    """The case cannot be run here; the text says what it would need."""


class Blocked(Exception):
    """What the case rests on could not be had; nothing is said about the rule itself.

    prerequisite names it, the same for every case that rests on it; remedy is as of Failed.
    """

    def __init__(self, prerequisite: str, why: str, remedy: str = "") -> None:
        super().__init__(f"{prerequisite}: {why}")
        self.prerequisite, self.why, self.remedy = prerequisite, why, remedy


def expect(answer: Answer, *checks: Check, about: str = "") -> Answer:
    """Raises Failed with everything the checks find wrong; returns the answer otherwise."""
    wrong = [found for check in checks for found in check(answer)]
    if wrong:
        raise Failed((f"{about}: " if about else "") + "; ".join(wrong))
    return answer


def require(holds: object, otherwise: str) -> None:
    """Raises Failed with the text when the condition does not hold."""
    if not holds:
        raise Failed(otherwise)
