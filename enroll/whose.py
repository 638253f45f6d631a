"""Whose proposals and jobs somebody sees, for statements about either. Every command loads it, so it loads
nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Whose:
    """What somebody may look at of what is proposed and done: what they have proposed themselves, and what is
    of some kinds."""

    proposer: str
    kinds: Collection[str]

    @property
    def term(self) -> str:
        """In a statement about a table that has both columns."""
        kinds = ", ".join(f":kind_{place}" for place in range(len(self.kinds))) or "''"
        return f"(proposer = :proposer OR kind IN ({kinds}))"

    @property
    def values(self) -> dict[str, str]:
        kinds = {f"kind_{place}": kind for place, kind in enumerate(sorted(self.kinds))}
        return {"proposer": self.proposer, **kinds}
