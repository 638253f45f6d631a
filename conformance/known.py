"""Expected failures of a server, each with its reason, so that a run shows what is new."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from conformance.credentials import Usage
from conformance.run import Result


@dataclass(frozen=True)
class Known:
    """reason says why the case fails there; sometimes: it depends on timing, so a pass is expected too."""

    reason: str
    sometimes: bool = False


@dataclass(frozen=True)
class Verdict:
    """How the results compare with what was known."""

    expected: tuple[Result, ...]
    unexpected: tuple[Result, ...]
    surprises: tuple[Result, ...]  # passed although listed as failing

    @property
    def good(self) -> bool:
        return not self.unexpected and not self.surprises


def load(path: str) -> dict[str, Known]:
    """Reads `[[failure]] ids = [...] reason = "..." sometimes = false`; raises Usage for any other shape."""
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        return {
            str(id): Known(str(entry["reason"]), entry.get("sometimes") is True)
            for entry in document.get("failure", [])
            for id in entry["ids"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Usage(f'{path}: {error}; entries look like [[failure]] ids = ["x.y"] reason = "why"') from error


def judge(results: Iterable[Result], known: dict[str, Known]) -> Verdict:
    """Splits what did not pass into expected and not, and finds listed cases that pass."""
    results = list(results)
    bad = [one for one in results if one.outcome in {"FAIL", "BLOCKED", "CRASH", "HANG"}]
    return Verdict(
        tuple(one for one in bad if one.case.id in known),
        tuple(one for one in bad if one.case.id not in known),
        tuple(
            one
            for one in results
            if one.outcome == "PASS" and one.case.id in known and not known[one.case.id].sometimes
        ),
    )
