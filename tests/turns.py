"""A part of what there is to try with each commit, another one with the next: all within as many commits."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_ROOT = Path(__file__).resolve().parents[1]


def part(of: Sequence[T], every: int, turn: int) -> list[T]:
    """One in ``every`` of them, in their order: which ones is the turn's."""
    return list(of[turn % every :: every])


def turn() -> int:
    """A number that another commit has another of."""
    asked = ["git", "rev-parse", "HEAD"]
    found = subprocess.run(asked, cwd=_ROOT, capture_output=True, text=True, check=False)
    return int(found.stdout.strip() or "0", 16)
