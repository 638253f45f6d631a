"""When operators are told that a CA ends: three years, one year and three months before, and once it can no
longer give a certificate its full time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ca.certificates import validity
from ca.profiles import CLIENT_PERSON, DAY, Profile

#: Days that are left -> the step's name, the nearest end first.
STEPS = ((92, "three months"), (366, "one year"), (3 * 366, "three years"))
SHORT = "short"


@dataclass(frozen=True)
class Warned:
    """One CA, by its identifier and name, and the step that it has come to; ``end_at``: of its
    certificate."""

    ca_id: str
    name: str
    step: str
    end_at: int

    def words(self, at: int) -> str:
        """What operators are told, and what to type."""
        days = (self.end_at - at) // DAY
        if self.step == SHORT:
            return (
                f"{self.name} ends in {days} days, and new certificates end with it; have another one issue: "
                "sekisho ca add NAME, sekisho ca activate NAME --at DATE"
            )
        if self.ca_id == "root":
            return f"the root {self.name} ends in {days} days, and so does all below it: plan another root"
        return (
            f"the issuing CA {self.name} ends in {days} days, and every certificate of its with it; see: "
            "sekisho ca list"
        )


def step_of(end_at: int, at: int) -> str | None:
    """Which step a CA has come to; None: none yet, or it has ended."""
    left = (end_at - at) / DAY
    return next((name for days, name in STEPS if 0 <= left <= days), None)


def full_length_until(end_at: int, profile: Profile = CLIENT_PERSON) -> int:
    """The last moment at which a certificate still gets its full time from a CA that ends at ``end_at``."""
    low, high = 0, end_at
    while low < high:
        middle = (low + high + 1) // 2
        if validity(profile, middle)[1] <= end_at:
            low = middle
        else:
            high = middle - 1
    return low


def endings(cas: Iterable[tuple[str, str, int, bool]], at: int) -> list[Warned]:
    """What is to be told of CAs at a moment: (ID, name, end, whether it issues) of each."""
    found = []
    for ca_id, name, end_at, issues in cas:
        step = step_of(end_at, at)
        if step is not None:
            found.append(Warned(ca_id, name, step, end_at))
        if issues and full_length_until(end_at) < at <= end_at:
            found.append(Warned(ca_id, name, SHORT, end_at))
    return found
