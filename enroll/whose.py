"""Whose a row is, for statements: who sees a proposal or a job, and what an operator did by whichever door.
Every command loads it, so it loads nothing."""

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


def in_own_name(column: str) -> str:
    """That a column has an operator's name, by whichever door: behind a slash a command's has the account."""
    return f"({column} = :own OR ({column} >= :own_by AND {column} < :own_by_end))"


def own_names(own: str) -> dict[str, str]:
    """The values of `in_own_name`. After every text that begins with a name and a slash comes "0"."""
    return {"own": own, "own_by": f"{own}/", "own_by_end": f"{own}0"}
