"""What a case is: an id, a clause, a level, a title and steps that end, fail or skip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from conformance.check import Check
from conformance.wire import Answer

if TYPE_CHECKING:
    from conformance.world import World

Level = Literal["MUST", "SHOULD", "ours"]
LEVELS: tuple[Level, ...] = ("MUST", "SHOULD", "ours")
MUST: Level = "MUST"
SHOULD: Level = "SHOULD"
OURS: Level = "ours"

Outcome = Literal["PASS", "FAIL", "SKIP", "CRASH", "HANG"]
OUTCOMES: tuple[Outcome, ...] = ("PASS", "FAIL", "SKIP", "CRASH", "HANG")

Steps = Callable[["World"], Awaitable[None]]


class Failed(Exception):
    """The server broke the rule; the text says what was seen."""


class Skipped(Exception):
    """The case cannot be run here; the text says what it would need."""


@dataclass(frozen=True)
class Case:
    """One rule. clause names the document and section; title states the rule in one line."""

    id: str
    clause: str
    level: Level
    title: str
    steps: Steps


def case(cases: list[Case], id: str, clause: str, level: Level, title: str) -> Callable[[Steps], Steps]:
    """Decorates the steps of a case and adds it to the list."""

    def add(steps: Steps) -> Steps:
        cases.append(Case(id, clause, level, title, steps))
        return steps

    return add


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
