"""What was measured, round by round, and the tables of it: medians, their spread, and ratios within a round.

On a machine that others use too a single figure says little. Rounds alternate between the servers, so that
what hits one hits its neighbours as well, and a ratio is taken within its round before the median is.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping


class Figures:
    """Rounds by server and figure. ``base``: the server that ratios are taken to."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._rounds: dict[str, dict[str, list[float]]] = {}

    @classmethod
    def of(cls, base: str, rounds: Mapping[str, Mapping[str, list[float]]]) -> Figures:
        """What was measured before, as `report` prints it."""
        found = cls(base)
        found._rounds = {server: dict(rows) for server, rows in rounds.items()}
        return found

    def servers(self) -> tuple[str, ...]:
        """In the order in which they were measured."""
        return tuple(self._rounds)

    def cell(self, server: str, key: str) -> str:
        """For a table of the README: the median, its spread, and the ratio in brackets."""
        values = self._rounds[server].get(key)
        if not values:
            return ""
        middle, least, most = (_round(each) for each in (statistics.median(values), min(values), max(values)))
        ratio = self.ratio(server, key)
        spread = f" ({least} to {most})" if least != most else ""
        return f"{middle}{spread}" + ("" if ratio is None or server == self.base else f", {ratio:.2f}×")

    def add(self, server: str, row: Mapping[str, float]) -> None:
        """One round of a server."""
        kept = self._rounds.setdefault(server, {})
        for key, value in row.items():
            kept.setdefault(key, []).append(value)

    def median(self, server: str, key: str) -> float:
        return statistics.median(self._rounds[server][key])

    def ratio(self, server: str, key: str) -> float | None:
        """The median of this server's figure divided by the base's in the same round; None without both."""
        found = self.ratios(server, key)
        return statistics.median(found) if found else None

    def ratios(self, server: str, key: str) -> list[float]:
        """Each round's; none without both."""
        ours, base = self._rounds[server].get(key), self._rounds.get(self.base, {}).get(key)
        if ours is None or base is None or not all(base):
            return []
        return [one / other for one, other in zip(ours, base, strict=False)]

    def report(self) -> None:
        """A table for each figure, and everything as JSON on the last line."""
        keys = dict.fromkeys(key for rows in self._rounds.values() for key in rows)
        width, last = max(len(server) for server in self._rounds) + 2, len(self.base) + 6
        for key in keys:
            print(f"\n{key:<{width + 2}}{'median':>10}{'least':>10}{'most':>10}{f'/ {self.base}':>{last}}")
            for server, rows in self._rounds.items():
                if key not in rows:
                    continue
                values, ratio = rows[key], self.ratio(server, key)
                shown = "" if ratio is None or server == self.base else f"{ratio:.2f}"
                print(
                    f"  {server:<{width}}{_round(statistics.median(values)):>10}{_round(min(values)):>10}"
                    f"{_round(max(values)):>10}{shown:>{last}}"
                )
        print(json.dumps(self._rounds))


def _round(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
