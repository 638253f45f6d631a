"""Whose certificate ends: the last one of each operator or service counts, while it opens anything."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from enroll import store
from enroll.mail import store as mail_store
from enroll.operators import ending
from enroll.operators import store as operators
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority
from tests.datadirs import START, clock_of, open_office
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


async def test_who_is_told_before_the_end(tmp_path: Path) -> None:
    """30 and 7 days before, once each and in the own language, to the operator; of a service, and of who has
    no address, to the operators' own. Nobody whose certificate was replaced, has ended, or ends later."""
    async with open_office(tmp_path, operator_mail="ops@example.jp") as ra:
        ito: Operator = await added(ra, "ito", "desk", mail="ito@example.jp", language="en")
        system: Operator = await added(ra, "system", "registrar", kind="service")
        later: Operator = await added(ra, "later", "desk", mail="later@example.jp")
        over: Operator = await added(ra, "over", "desk", mail="over@example.jp")
        for each, end in ((ito, 31), (system, 31), (later, 90)):
            await ends_at(ra, each, START + end * _DAY, each.name)
        await ends_at(ra, over, START - 1, "over")
        assert await ending.remind(ra) == 0
        clock_of(ra).advance(days=1)
        assert [await ending.remind(ra), await ending.remind(ra)] == [2, 0]
        clock_of(ra).advance(days=22)
        assert await ending.remind(ra) == 0
        # Ito has fetched another one meanwhile.
        await ends_at(ra, ito, START + 300 * _DAY, "ito again")
        clock_of(ra).advance(days=1)
        assert [await ending.remind(ra), await ending.remind(ra)] == [1, 0]
        clock_of(ra).advance(days=8)
        assert await ending.remind(ra) == 0
        letters = [each for each in mail_store.listed(look(ra.database)) if each["kind"] == "operator_ending"]
        told = sorted((each["recipient"], *re.findall(r"\d+", each["subject"])) for each in letters)
        assert told == [("ito@example.jp", "30"), ("ops@example.jp", "30"), ("ops@example.jp", "7")]
        shown = mail_store.shown(look(ra.database), letters[0]["id"])
        assert "sekisho operator certificate system --out system.p12" in shown["shown_body"]
        trail = [each["detail"] for each in store.audit_page(look(ra.database), "system", 9)]
        assert [each["step"] for each in trail if "step" in each] == [7, 30]


async def test_after_a_stop_one_letter_says_it(tmp_path: Path) -> None:
    """Three days before the end for the first time: one letter, not the two that were missed. Nobody is told
    where there is no address at all."""
    async with open_office(tmp_path) as ra:
        ito: Operator = await added(ra, "ito", "desk", mail="ito@example.jp")
        system: Operator = await added(ra, "system", "registrar", kind="service")
        for each in (ito, system):
            await ends_at(ra, each, START + 3 * _DAY, each.name)
        assert [await ending.remind(ra), await ending.remind(ra)] == [1, 0]
