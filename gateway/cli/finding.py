"""What one check of ``doctor`` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "notice", "bad"]


@dataclass(frozen=True)
class Finding:
    """A row of doctor's table. ``hint``: what to do."""

    check: str
    state: State
    found: str
    hint: str = ""
