"""Exports as they are given: flat in memory, counted, told in the trail, and ended by what ends a role."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ca.storage import Transaction
from enroll import store
from enroll.exports import NAMES, giving
from enroll.exports.forms import Csv, End, JsonDocument, JsonLines, end_in
from enroll.exports.giving import BEGUN, BROKEN, ENDED, PAGE, Export, Places
from enroll.exports.tables import TABLES, Asking, Part, Start, Table
from enroll.operators import actors
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By
from enroll.operators.roles import Act, Role, Verdict
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.rosters import WantedUsers
from enroll.store import Organisation, User
from gateway.sites.console.exporting import OFFERED, form_of
from tests.datadirs import open_office
from tests.looking import look

MIB = 1 << 20
# Of generated rows, as many as would be 15 MiB together.
_MANY = 50_000


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as opened:
        yield opened


async def _operator(ra: RegistrationAuthority, name: str, *roles: Role) -> Actor:
    new = Operator(0, name, name, "person", roles, "", "", name * 4, ra.now(), "test")
    added = await ra.database.write(lambda db: operators.add(db, new))
    assert added is not None
    return actors.of_operator(look(ra.database), added.number, By.CONSOLE)


async def _people(ra: RegistrationAuthority, count: int) -> None:
    def work(db: Transaction) -> None:
        store.add_organisation(db, Organisation("20000001", "乙社", ra.now()))
        for n in range(count):
            store.add_user(
                db,
                User(f"M{n:07}", "20000001", f"甲 {n}", f"m{n}@x.jp", "member", "mail", "-", True, 0, n),
            )

    await ra.database.write(work)


async def _begun(ra: RegistrationAuthority, actor: Actor, **wanted: Any) -> Export:
    table, asked = TABLES["users"], WantedUsers(**wanted)
    return await giving.begun(ra, actor, table, JsonLines(), asked, {"q": asked.text, "role": asked.role})


async def _all(made: Export) -> bytes:
    async with aclosing(giving.parts(made)) as parts:
        return b"".join([part async for part in parts])


def _trail(ra: RegistrationAuthority, name: str = "users") -> list[tuple[str, dict[str, Any]]]:
    lines = store.audit_page(look(ra.database), name, 10)
    return [(each["action"], each["detail"]) for each in reversed(lines)]


def test_every_export_has_its_name() -> None:
    """What the command offers is what the console has, and each is said in Japanese, column by column."""
    assert set(NAMES) == set(OFFERED)
    for name, offered in OFFERED.items():
        assert offered.table.name == name
        assert form_of("csv", offered.table, "ja").begin(offered.table).count(b",") == (
            len(offered.table.columns) - 1
        ), name


async def test_it_is_counted_and_told_at_both_ends(ra: RegistrationAuthority) -> None:
    """Who, what, what narrows it and how many rows, before the first; how many there were, and the SHA-256 of
    all that was given, behind the last; and by these the file is known again, or that it was altered. What
    somebody typed to find people by is not kept."""
    await _people(ra, 2 * PAGE + 7)
    actor = await _operator(ra, "ann", Role.AUDITOR)
    made = await _begun(ra, actor, text="m1@x.jp")
    assert [action for action, _ in _trail(ra)] == [BEGUN]
    await _all(made)
    made = await _begun(ra, actor, role="member")
    content = await _all(made)
    *rows, end = content.decode().splitlines()
    assert json.loads(end) == {"end": {"export": made.number, "rows": 2 * PAGE + 7}}
    assert [json.loads(each)["user_id"] for each in rows] == [f"M{n:07}" for n in range(2 * PAGE + 7)]
    (_, typed), (_, found), (begun, before), (ended, after) = _trail(ra)
    assert (typed["filter"]["q"], found["rows"], "m1@x.jp" in str(_trail(ra))) == ("(typed)", 1, False)
    assert (begun, before["rows"], before["filter"]["role"]) == (BEGUN, 2 * PAGE + 7, "member")
    assert (ended, after["rows"], after["bytes"]) == (ENDED, 2 * PAGE + 7, len(content))
    digest = after["sha256"]
    found_again = giving.found_again(look(ra.database), end, digest)
    assert (found_again.by, found_again.rows) == ("operator:ann", 2 * PAGE + 7)
    for line, sha256, wrong in (
        (end, "0" * 64, "was altered"),
        (end.replace("1007", "1006"), digest, "was altered"),
        (rows[-1], digest, "broken off"),
        (json.dumps({"end": {"export": "0" * 16, "rows": 1}}), digest, "knows no export"),
    ):
        with pytest.raises(ValueError, match=wrong):
            giving.found_again(look(ra.database), line, sha256)


async def test_what_breaks_off_has_not_ended(ra: RegistrationAuthority) -> None:
    """Given up by whoever takes it, or by a fault of ours: the trail says how far it came, the file has no
    last line."""
    await _people(ra, 2 * PAGE)
    actor = await _operator(ra, "ann", Role.AUDITOR)
    made, taken = await _begun(ra, actor), b""
    async with aclosing(giving.parts(made)) as parts:
        async for part in parts:
            taken += part
            if taken:
                break
    assert end_in(taken.decode().splitlines()[-1]) is None
    assert [action for action, _ in _trail(ra)] == [BEGUN, BROKEN]
    assert _trail(ra)[-1][1]["rows"] == PAGE


async def test_a_role_that_ends_ends_the_file(ra: RegistrationAuthority) -> None:
    """Who may have a register is asked for each page, and before the first."""
    await _people(ra, 2 * PAGE)
    desk, ann = await _operator(ra, "desk", Role.DESK), await _operator(ra, "ann", Role.AUDITOR)
    with pytest.raises(Refusal, match="may not do that"):
        await _begun(ra, desk)
    assert _trail(ra) == []
    made = await _begun(ra, ann)

    def demote(db: Transaction) -> None:
        now = operators.named(db, "ann")
        assert now is not None
        operators.change(db, now, replace(now, roles=(Role.DESK,)))

    async with aclosing(giving.parts(made)) as parts:
        assert await anext(parts)
        await ra.database.write(demote)
        with pytest.raises(Refusal, match="may not do that"):
            await anext(parts)
    assert [action for action, _ in _trail(ra)] == [BEGUN, BROKEN]


@pytest.mark.slow
async def test_memory_is_that_of_a_page(ra: RegistrationAuthority) -> None:
    """50,000 rows that are made as they are asked for: never more than a page at a time, and what they take
    together is a part of what the file has."""
    asked_for = list[int]()

    def page(_: Transaction, __: Asking, after: Any, limit: int) -> Part:
        asked_for.append(limit)
        rows = [{"number": n, "name": f"年金 太郎 {n}" * 10} for n in range(after, min(after + limit, _MANY))]
        return Part(rows, after + limit if after + limit < _MANY else None)

    table = Table(
        "generated", Act.STANDING, Verdict.READ, ("number", "name"), lambda _, __: Start(_MANY, 0), page
    )
    actor = await _operator(ra, "ann", Role.AUDITOR)
    for form in (Csv(), JsonLines(), JsonDocument()):
        made, size = await giving.begun(ra, actor, table, form, None, {}), 0
        tracemalloc.start()
        try:
            async with aclosing(giving.parts(made)) as parts:
                async for part in parts:
                    size += len(part)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (made.tally.rows, size > 8 * MIB) == (_MANY, True)
        assert peak < 3 * MIB, (form.suffix, peak)
    assert set(asked_for) == {PAGE}


def test_so_many_at_the_same_time() -> None:
    """One operator has two at once; another one is not kept out by that, and an end makes room."""
    places = Places(2)
    with (
        places.one("ann") as first,
        places.one("ann") as second,
        places.one("ann") as third,
        places.one("bob") as other,
    ):
        assert (first, second, third, other) == (True, True, False, True)
    with places.one("ann") as again:
        assert again


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("#end,12,ab", End("ab", 12)),
        ("#以上,12,ab\r\n", End("ab", 12)),
        ('{"end": {"export": "ab", "rows": 12}}', End("ab", 12)),
        ('"end": {"export": "ab", "rows": 12}}', End("ab", 12)),
        ("#end,12", None),
        ("#end,x,ab", None),
        ('{"end": 12}', None),
        ("K12345678,12,ab", None),
        ("", None),
    ],
)
def test_the_last_line_is_known(line: str, end: End | None) -> None:
    """Of each way of writing; what is cut off within it is none."""
    assert end_in(line) == end


async def test_a_document_is_one(ra: RegistrationAuthority) -> None:
    """With ``--json`` all of it is a document, with no rows as well as with many pages of them."""
    actor = await _operator(ra, "ann", Role.AUDITOR)
    for count in (0, PAGE + 1):
        if count:
            await _people(ra, count)
        made = replace(await _begun(ra, actor), form=JsonDocument())
        told = json.loads(await _all(made))
        assert (len(told["rows"]), told["end"]["rows"]) == (count, count)
