"""How a case ends other than well: it fails, cannot be run here, or something it rests on is missing."""

from __future__ import annotations

from conformance.check import Check
from conformance.wire import Answer


class Failed(Exception):
    """The server broke the rule; the text says what was seen."""


class Skipped(Exception):
    """The case cannot be run here; the text says what it would need."""


class Blocked(Exception):
    """What the case rests on could not be had; nothing is said about the rule itself.

    prerequisite names it, the same for every case that rests on it.
    """

    def __init__(self, prerequisite: str, why: str) -> None:
        super().__init__(f"{prerequisite}: {why}")
        self.prerequisite, self.why = prerequisite, why


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
