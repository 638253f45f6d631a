"""A part of what there is to try with each commit, another one with the next: all within as many commits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_ROOT = Path(__file__).resolve().parents[1]


def part(of: Sequence[T], every: int, turn: int) -> list[T]:
    """One in ``every`` of them, in their order: which ones is the turn's."""
    return list(of[turn % every :: every])


def kept(of: Sequence[T], by_turns: Callable[[T], bool], every: int, turn: int) -> list[T]:
    """All of them in their order, but of those that take turns only the `part`."""
    ours = [at for at, each in enumerate(of) if by_turns(each)]
    left = set(ours).difference(part(ours, every, turn))
    return [each for at, each in enumerate(of) if at not in left]


def turn() -> int:
    """How many commits there are; in a shallow clone, which cannot tell, a number that each has its own."""
    if _asked("--is-shallow-repository") == "true":
        return int(_asked("HEAD"), 16)
    return int(_asked("--count", "HEAD", of="rev-list"))


def _asked(*words: str, of: str = "rev-parse") -> str:
    done = subprocess.run(["git", of, *words], cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "0"
