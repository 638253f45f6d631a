"""The job that draws a batch: one row, which is done and kept in one transaction, or not at all.

Who is killed in the middle leaves the cards with the batch, and the next runner draws it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ca.storage import Transaction, Work
from enroll.jobs.store import Line
from enroll.people.importing import Row
from enroll.postcards import keeping
from enroll.postcards.card import Unprintable, style_of
from enroll.postcards.drawing import drawn
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal


@dataclass
class Drawn:
    """Draws the batch of a payload."""

    ra: RegistrationAuthority
    payload: Mapping[str, Any]
    by: str

    def plan(self, row: Row) -> Line | None:
        return None

    async def work(self, row: Row) -> Work[Line]:
        ra, number = self.ra, self.payload["batch"]
        try:
            pdf = await self._pdf()
        except Refusal as problem:
            why = problem

            def give_back(db: Transaction) -> Line:
                keeping.give_back(db, ra, number, self.by, why=str(why))
                line = Line(row.line, "refused", str(number))
                return replace(line, code=why.code, field=why.field, detail=why.detail)

            return give_back

        def work(db: Transaction) -> Line:
            keeping.keep(db, ra, number, pdf)
            return Line(row.line, "drawn", str(number))

        return work

    async def _pdf(self) -> bytes:
        """Refusal where a name, an address or the font was changed since the batch was asked for."""
        ra, letters = self.ra, self.payload["letters"]
        cards = await ra.database.read(lambda db: keeping.cards_of(db, ra, letters))
        if not cards:
            raise Refusal("conflict", field="postcards", detail="none of its letters is to be sent any more")
        made = await ra.workers.run(drawn, cards, style_of(ra.settings))
        if made.flaws:
            raise Unprintable(made.flaws)
        return made.pdf

    def done(self, row: Row, line: Line) -> None:
        """There is one row."""


def rows(db: Transaction, payload: Mapping[str, Any]) -> list[Row]:
    """The one row of a batch's job."""
    return [Row(1, "", {"batch": str(payload["batch"])})]
