"""What a case is: an id, a clause, a level, a title and steps that end, fail or skip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from conformance.world import World

Level = Literal["MUST", "SHOULD", "advice", "ours"]
LEVELS: tuple[Level, ...] = ("MUST", "SHOULD", "advice", "ours")
MUST: Level = "MUST"
SHOULD: Level = "SHOULD"
#: No text demands it; what it keeps an attacker from is in the title.
ADVICE: Level = "advice"
OURS: Level = "ours"

Outcome = Literal["PASS", "FAIL", "SKIP", "BLOCKED", "CRASH", "HANG"]
OUTCOMES: tuple[Outcome, ...] = ("PASS", "FAIL", "SKIP", "BLOCKED", "CRASH", "HANG")

Steps = Callable[[World], Awaitable[None]]


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
