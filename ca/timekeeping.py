"""Whether the wall clock can be believed, asked before anything is done that cannot be undone.

Pure. One reading of a clock proves nothing: it is compared with the last one that was believed, with how
long the machine has run since, and with the newest certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Witness = Literal["uptime", "tick", "certificate"]


@dataclass(frozen=True)
class Reading:
    """What the clocks of one process said together.

    ``wall``: seconds since the epoch. ``awake``: seconds since the machine started, its sleep counted, which
    nobody can set. ``boot``: which start that was; readings of two starts have no ``awake`` in common.
    """

    wall: int
    awake: float
    boot: str


@dataclass(frozen=True)
class Known:
    """What is known of the time. ``tick``: the last reading that was believed, on disk, of any process.

    ``newest_at``: when the newest certificate was planned; 0 if there is none, or an operator has said since
    that the clock is right.
    """

    tick: Reading | None = None
    newest_at: int = 0


@dataclass(frozen=True)
class Allowance:
    """Seconds by which the wall clock may differ from what is known."""

    ahead: int
    behind: int


@dataclass(frozen=True)
class Doubt:
    """Why the wall clock is not believed. ``expected``: what it should say, by ``witness``, or later."""

    wall: int
    expected: int
    witness: Witness

    @property
    def off(self) -> int:
        """Seconds by which the wall clock is ahead; negative: behind."""
        return self.wall - self.expected

    @property
    def kind(self) -> Literal["ahead", "behind"]:
        return "ahead" if self.off > 0 else "behind"

    def __str__(self) -> str:
        to = "ahead of" if self.kind == "ahead" else "behind"
        return f"the clock is {_span(abs(self.off))} {to} {_BY[self.witness]}"


_BY: dict[Witness, str] = {
    "uptime": "the time that this machine has counted since the last look",
    "tick": "the last look at it",
    "certificate": "the newest certificate",
}


def expected_of(reading: Reading, known: Known) -> tuple[int, Witness] | None:
    """What the wall clock should say and who vouches for it; None as long as nothing is known.

    While the machine has not been started anew since the last tick, its uptime says how much later it is.
    After a start, or where uptime goes backwards (a container that counts its own), the tick says only that
    it is not earlier.
    """
    tick = known.tick
    if tick is None:
        return (known.newest_at, "certificate") if known.newest_at else None
    if tick.boot == reading.boot and reading.awake >= tick.awake:
        return tick.wall + int(reading.awake - tick.awake), "uptime"
    return tick.wall, "tick"


def doubt_of(reading: Reading, known: Known, allowed: Allowance) -> Doubt | None:
    """Why what cannot be undone has to wait; None where the wall clock agrees with what is known."""
    found = expected_of(reading, known)
    if found is None:
        return None
    expected, witness = found
    if reading.wall - expected > allowed.ahead:
        return Doubt(reading.wall, expected, witness)
    if known.newest_at > expected:
        expected, witness = known.newest_at, "certificate"
    if expected - reading.wall > allowed.behind:
        return Doubt(reading.wall, expected, witness)
    return None


def _span(seconds: int) -> str:
    """A time span for people, in its largest unit."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds} seconds"
