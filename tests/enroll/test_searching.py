"""The search of operators: what a text may mean, who is found, and that no table is read as a whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ca.storage import Transaction
from enroll import store
from enroll.jst import day_of
from enroll.listings import searching
from enroll.listings import store as listed
from enroll.listings.meaning import LONGEST, Meaning, understood
from enroll.listings.store import Term, beyond
from enroll.operators import actors
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By
from enroll.operators.roles import Role
from enroll.operators.store import Operator
from enroll.people import changes
from enroll.people.register import Person, add_organisation, add_user
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from tests.datadirs import POLICY_NUMBER, START, open_office
from tests.engines import IN_A_FILE
from tests.enroll.test_flow import picked_up
from tests.looking import look

USER, OTHER = "K12345678", "K12345679"


# -- what a text may mean --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-05-01", {("day", "2026-05-01")}),
        ("2026/5/1", {("day", "2026-05-01")}),
        ("２０２６年５月１日", {("day", "2026-05-01")}),
        ("令和8年5月1日", {("day", "2026-05-01")}),
        ("令和 元年 5月 1日", {("day", "2019-05-01")}),
        ("R8.5.1", {("day", "2026-05-01")}),
        ("Taro@Example.JP", {("mail", "taro@example.jp")}),
        ("ｔａｒｏ＠ｅｘ", {("mail", "taro@ex")}),
        ("k12345678", {("user_id", "K12345678"), ("common_name", "K12345678")}),
        ("7K2M-94XA", {("reference", "7K2M-94XA")}),
        ("7k2m94xa", {("reference", "7K2M-94XA")}),
        ("リクエストID：1234 5678-9012 3456", {("request_id", "1234567890123456")}),
        ("0A:1B:2C:3D:4E:5F:60:71", {("serial", "0a1b2c3d4e5f6071")}),
        ("0A1B2C3D 4E5F6071", {("serial", "0a1b2c3d4e5f6071")}),
        (str(0x40000000000000000000000000000001), {("serial", "40000000000000000000000000000001")}),
        ("１２３４－５６７８", {("policy_number", "1234-5678")}),
        ("ねんきん　たろう", {("name", "ネンキンタロウ")}),
        ("ﾈﾝｷﾝ ﾀﾛｳ", {("name", "ネンキンタロウ")}),
        ("年金", {("name", "年金")}),
    ],
)
def test_what_a_text_means(text: str, meant: set[tuple[str, str]]) -> None:
    """O8: as it is read out, typed full-width or pasted with its separators."""
    assert meant <= {(each.kind, each.value) for each in understood(text)}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2026-02-30", "day"),
        ("令和8年13月1日", "day"),
        ("2026-5", "day"),
        ("0a1b2c3", "serial"),
        ("1234567", "request_id"),
        ("12345678901234567", "request_id"),
        ("K1234567890123456", "common_name"),
        ("K1234567890123", "user_id"),
        ("7K2M-94X0", "reference"),
        ("12345678", "name"),
    ],
)
def test_what_it_does_not_mean(text: str, kind: str) -> None:
    """The twin: no such day, and what is too long or too short for an identifier."""
    assert kind not in {each.kind for each in understood(text)}


@pytest.mark.parametrize(
    "text", ["", "  　", "\u200b", "%", "'; DROP TABLE users; --", "\x00", "a" * 10_000, "\ud800"]
)
def test_whatever_is_typed(text: str) -> None:
    """Nothing raises, and nothing is longer than what is looked at."""
    assert all(len(each.value) <= LONGEST for each in understood(text))


# -- who is found ----------------------------------------------------------------------------------------


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as opened:
        await add_organisation(opened, POLICY_NUMBER, "株式会社霞が関商事", actor="test")
        await add_organisation(opened, "22222222", "さくら年金基金", actor="test")
        for person in (
            Person(POLICY_NUMBER, "年金 太郎", "taro@example.jp", USER, reading="ネンキン タロウ"),
            Person("22222222", "髙崎 はな", "hana@example.jp", OTHER, reading="たかさき はな"),
        ):
            await add_user(opened, person, channel="paper", actor="test")
        yield opened


async def actor(ra: RegistrationAuthority, *roles: Role) -> Actor:
    name = f"o{'-'.join(roles)}"
    new = Operator(0, name, name, "person", roles, "", "", name, ra.now(), "test")
    added = await ra.database.write(lambda db: operators.add(db, new))
    assert added is not None
    number = added.number
    return await ra.database.read(lambda db: actors.of_operator(db, number, By.CONSOLE))


def totals(found: searching.Found) -> dict[str, int]:
    return {group.name: group.total for group in found.groups if group.total}


@pytest.mark.parametrize(
    ("text", "hits", "lead"),
    [
        (USER, {"users": 1}, USER),
        ("k1234 5678", {"users": 1}, USER),
        ("K1234567", {"users": 2}, ""),
        ("taro@example.jp", {"users": 1}, USER),
        ("TARO@", {"users": 1}, USER),
        ("年金太郎", {"users": 1}, USER),
        ("年金　太", {"users": 1}, USER),
        ("太郎", {"users": 1}, USER),
        ("ねんきん", {"users": 1}, USER),
        ("ﾀﾛｳ", {"users": 1}, USER),
        ("タカサキ", {"users": 1}, OTHER),
        ("高崎", {"users": 1}, OTHER),  # who is 髙崎
        ("サクラ", {"organisations": 1}, ""),
        ("霞が関", {"organisations": 1}, ""),
        ("㈱霞が関商事", {"organisations": 1}, ""),
        ("株式会社霞が関", {"organisations": 1}, ""),
        (POLICY_NUMBER, {"organisations": 1, "users": 1}, ""),
        ("123", {"organisations": 1}, ""),
        ("nobody@example.jp", {}, ""),
        ("%", {}, ""),
        ("_12345678", {}, ""),
    ],
)
async def test_who_is_found(ra: RegistrationAuthority, text: str, hits: dict[str, int], lead: str) -> None:
    """O8: by number, name, reading, address, in whatever spelling; an exact hit leads to the person."""
    found = await searching.search(ra, await actor(ra, Role.DESK), text)
    assert (totals(found), found.lead) == (hits, lead)


async def test_by_what_they_have(ra: RegistrationAuthority) -> None:
    """By request ID, serial in hex and decimal, common name, and the day on which the certificate ends."""
    await picked_up(ra, OTHER)
    held = next(e for e in store.enrollments_of(look(ra.database), OTHER) if e.serial)
    desk = await actor(ra, Role.DESK)
    assert held.serial is not None
    assert held.not_after_at is not None
    colons = ":".join(held.serial[at : at + 2] for at in range(0, len(held.serial), 2)).upper()
    for text in (held.serial, held.serial[:8], colons, str(int(held.serial, 16)), held.common_name):
        found = await searching.search(ra, desk, text)
        assert (totals(found)["certificates"], found.lead) == (1, OTHER), text
    found = await searching.search(ra, desk, held.request_id)
    assert (totals(found)["requests"], found.lead) == (1, OTHER)
    day = day_of(held.not_after_at)
    found = await searching.search(ra, desk, f"令和{day.year - 2018}年{day.month}月{day.day}日")
    assert (totals(found), found.lead) == ({"certificates": 1}, OTHER)
    assert totals(await searching.search(ra, desk, f"{day.year - 1}-{day.month}-{day.day}")) == {}


async def test_a_name_that_changed(ra: RegistrationAuthority) -> None:
    """Somebody is found by the name that is recorded now, from the same transaction on."""
    desk = await actor(ra, Role.DESK)
    await changes.change_user(ra, USER, {"name": "厚生 花子", "reading": "コウセイ ハナコ"}, actor="test")
    assert totals(await searching.search(ra, desk, "年金太郎")) == {}
    assert (await searching.search(ra, desk, "こうせい")).lead == USER
    await changes.change_organisation(ra, "22222222", {"policy_number": "33333333"}, actor="test")
    assert totals(await searching.search(ra, desk, "さくら年金")) == {"organisations": 1}
    assert totals(await searching.search(ra, desk, "33333333")) == {"organisations": 1, "users": 1}


async def test_counts_are_what_the_lists_have(ra: RegistrationAuthority) -> None:
    """N of M: the pages of a group have as many rows as it says, each once."""
    one = store.user(look(ra.database), USER)
    assert one is not None

    def more(db: Transaction) -> None:
        for number in range(120):
            store.add_user(db, replace(one, user_id=f"KA{number:04d}", name=f"年金 {number}", reading=""))

    await ra.database.write(more)
    desk = await actor(ra, Role.DESK)
    first = await searching.search(ra, desk, "年金")
    users = first.groups[0]
    assert (users.total, len(users.rows), bool(users.further)) == (121, searching.FIRST, True)
    seen, after = list[str](), ""
    while True:
        found = await searching.search(ra, desk, "年金", group="users", after=after, most=searching.PAGE)
        seen += [str(row["user_id"]) for row in found.groups[0].rows]
        assert found.groups[0].total == 121
        after = found.groups[0].further
        if not after:
            break
    assert (len(seen), len(set(seen))) == (121, 121)
    for made_up in ("zzz", "'", "-1", "９" * 30):
        await searching.search(ra, desk, "年金", group="users", after=made_up)
        await searching.search(ra, desk, "0" * 16, group="requests", after=made_up)


async def test_whose_data_was_read(ra: RegistrationAuthority) -> None:
    """O18: each search leaves who was shown, and not what was typed, which may be a password by mistake."""
    desk = await actor(ra, Role.DESK)
    await searching.search(ra, desk, "ねんきん")
    await searching.search(ra, desk, "hunter2secret")
    await searching.search(ra, desk, "")
    lines = [e for e in store.audit_page(look(ra.database), None, 50) if e["action"] == "person.searched"]
    assert [(e["actor"], e["subject"]) for e in lines] == [
        ("operator:odesk", "search"),
        ("operator:odesk", USER),
    ]
    assert lines[1]["detail"]["shown"] == [USER]
    assert "hunter2" not in json.dumps(lines)


async def test_who_may_not(ra: RegistrationAuthority) -> None:
    """O3: a CA officer looks for nobody; an auditor does."""
    with pytest.raises(Refusal, match="may not do that"):
        await searching.search(ra, await actor(ra, Role.CA_OFFICER), USER)
    assert (await searching.search(ra, await actor(ra, Role.AUDITOR), USER)).lead == USER


@IN_A_FILE
@pytest.mark.parametrize(
    ("group", "term"), [(group, term) for group, terms in listed._MATCHES.items() for term in terms]
)
async def test_no_table_is_read_as_a_whole(ra: RegistrationAuthority, group: str, term: str) -> None:
    """Every term goes by a range of an index, for the count and for the page."""
    wanted = Term(term, START, START + 1) if term == "day" else Term(term, "K1", beyond("K1"))
    keys, values = listed.keys(group, [wanted])
    plan = [str(row["detail"]) for row in look(ra.database).rows(f"EXPLAIN QUERY PLAN {keys}", values)]
    assert plan
    assert [each for each in plan if each.startswith("SCAN")] == []


def test_what_begins_so() -> None:
    """The end of a range is behind whatever begins so, and before what does not."""
    for text in ("a", "aZ", "a\U0010fffe", "a髙"):
        assert "a" <= text < beyond("a")
    assert not beyond("a") > "b"
    assert Meaning("name", "x") in understood("x")
