"""Whose certificate ends: the last one of each operator or service counts, while it opens anything."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enroll import store
from enroll.mail import store as mail_store
from enroll.operators import ending
from enroll.operators import store as operators
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority
from tests.datadirs import START, clock_of, delivered, open_office
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


async def _letters(ra: RegistrationAuthority) -> list[dict[str, Any]]:
    """Those about an end, oldest first, with what operators see of their words."""
    there = [each for each in mail_store.listed(look(ra.database)) if each["kind"] == "operator_ending"]
    found = [mail_store.shown(look(ra.database), each["id"]) for each in reversed(there)]
    return [each for each in found if each is not None]


@pytest.mark.parametrize(("language", "left"), [("ja", "あと{}日"), ("en", "days left: {}")])
async def test_a_letter_says_how_many_days_are_left_when_it_leaves(
    tmp_path: Path, language: str, left: str
) -> None:
    """As a renewal notice does: in its subject, in its words, and in what operators see of it. The same day
    it says what it was written with."""
    async with open_office(tmp_path) as ra:
        for name, days in (("ito", 30), ("abe", 34)):
            each: Operator = await added(ra, name, "desk", mail=f"{name}@example.jp", language=language)
            await ends_at(ra, each, START + days * _DAY, name)
        assert await ending.remind(ra) == 1
        clock_of(ra).advance(days=4)
        assert await ending.remind(ra) == 1
        sent = [each for each in await delivered(ra) if "operator_ending" in each.name]
        for letter, shown, days in zip(sent, await _letters(ra), (26, 30), strict=True):
            for said in (letter.subject, letter.body, shown["subject"], shown["shown_body"]):
                assert left.format(days) in said
                assert left.format(days + 4) not in said


async def test_a_letter_that_nobody_needs_any_more_does_not_leave(tmp_path: Path) -> None:
    """While it waited another certificate was fetched, the certificate ended, the operator was ended, or the
    second letter came due: of each end the one that is true by now leaves, and no other."""
    async with open_office(tmp_path) as ra:
        people = {}
        for name, days in (("again", 30), ("over", 30), ("gone", 30), ("late", 37)):
            people[name] = await added(ra, name, "desk", mail=f"{name}@example.jp")
            await ends_at(ra, people[name], START + days * _DAY, name)
        assert await ending.remind(ra) == 3
        clock_of(ra).advance(days=7)
        assert await ending.remind(ra) == 1
        await ends_at(ra, people["again"], START + 300 * _DAY, "another")
        gone = replace(people["gone"], ended_at=START, ended_by="test")
        assert await ra.database.write(lambda db: operators.change(db, people["gone"], gone))
        clock_of(ra).advance(days=23)
        assert await ending.remind(ra) == 1
        sent = [each for each in await delivered(ra) if "operator_ending" in each.name]
        assert ["運用者名：late" in each.body and "あと7日" in each.subject for each in sent] == [True]
        assert [each["state"] for each in await _letters(ra)] == ["cancelled"] * 4 + ["sent"]
        assert {each["result"] for each in (await _letters(ra))[:4]} == {
            "there is no such end to tell of any more"
        }
