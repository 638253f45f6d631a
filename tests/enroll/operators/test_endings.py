"""Whose certificate ends: the last one of each operator or service counts, while it opens anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from enroll.operators import store as operators
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority
from tests.datadirs import START, open_office
from tests.enroll.operators.test_actors import added
from tests.issued import ends_at, revoke
from tests.looking import look

_DAY = 86_400


def _told(ra: RegistrationAuthority, until: int) -> dict[str, int]:
    return {each.name: end for each, end in operators.endings(look(ra.database), until)}


async def test_the_last_certificate_counts(tmp_path: Path) -> None:
    """Whoever has a later one is not told of, nor whoever has none: nothing of theirs ends."""
    async with open_office(tmp_path) as ra:
        system: Operator = await added(ra, "system", "registrar", kind="service")
        await added(ra, "nobody", "desk")
        end = START + 30 * _DAY
        await ends_at(ra, system, end, "first")
        assert _told(ra, end) == {}
        assert _told(ra, end + 1) == {"system": end}
        later = await ends_at(ra, system, end + 60 * _DAY, "second")
        assert _told(ra, end + 1) == {}
        # The twin: what was revoked opens nothing, and the first is the last again.
        await revoke(ra, later)
        assert _told(ra, end + 1) == {"system": end}


async def test_what_has_ended_is_over(tmp_path: Path) -> None:
    """A certificate that was taken away, or an operator who has ended, is nothing to see to."""
    async with open_office(tmp_path) as ra:
        system: Operator = await added(ra, "system", "registrar", kind="service")
        one: Operator = await added(ra, "one", "desk")
        leaf = await ends_at(ra, system, START - 1, "first")
        await ends_at(ra, one, START - 2, "other")
        assert _told(ra, START) == {"system": START - 1, "one": START - 2}
        assert await ra.database.write(lambda db: operators.end_certificate(db, leaf.serial, START))
        assert _told(ra, START) == {"one": START - 2}
        gone = replace(one, ended_at=START, ended_by="test")
        assert await ra.database.write(lambda db: operators.change(db, one, gone))
        assert _told(ra, START) == {}
