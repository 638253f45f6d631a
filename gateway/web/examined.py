"""What a deployment was looked at for, as values that commands and pages show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "notice", "bad"]


@dataclass(frozen=True)
class Finding:
    """What one check found: a row of doctor's table. ``hint``: what to do."""

    check: str
    state: State
    found: str
    hint: str = ""


@dataclass(frozen=True)
class Placed:
    """A key. ``state``: `ok`, or what is to be said of it; ``bad``: whether something has to be done;
    ``lost``: whether it may be gone for good."""

    name: str
    of: str
    where: str
    kind: str
    state: str
    bad: bool = False
    lost: bool = False


@dataclass(frozen=True)
class Examined:
    """What is to be said of the authority at a moment, and where each of its keys is."""

    findings: Sequence[Finding]
    keys: Sequence[Placed]
    at: int


@dataclass(frozen=True)
class Setting:
    """A setting as its file would have it. ``value``: what is in force; ``pending``: what the file says
    instead, None for the same; ``at_start``: a reload refuses another value, and a start takes it."""

    section: str
    name: str
    value: str
    default: str
    meaning: str
    pending: str | None = None
    at_start: bool = False

    @property
    def is_set(self) -> bool:
        """Whether it is another than the default."""
        return self.value != self.default


@dataclass(frozen=True)
class Configured:
    """Every setting in force, and what the file says by now. ``problem``: why a reload would refuse it."""

    settings: Sequence[Setting]
    problem: str = ""
