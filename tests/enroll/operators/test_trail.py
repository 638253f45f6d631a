"""Who sees which lines of the record, and that a page tells the truth about how many there are."""

from __future__ import annotations

import pytest

from enroll import listings, store
from enroll.listings import Acts
from enroll.operators import asking, trail
from enroll.operators.actors import By, of_operator
from enroll.operators.asking import Proposed
from enroll.operators.roles import Role
from enroll.operators.store import Operator, add
from enroll.people.applications import apply_reissue
from enroll.purging import purge_user
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from tests.datadirs import admit, open_office

_USER = "K12345678"
_ANN = ("operator:ann", "operator:ann/ann", "operator:ann/root")
_OTHERS = (
    "operator:anna",
    "operator:anna/anna",
    "operator:an",
    "K12345678",
    "break-glass:ann/approver",
    "operator:a_n",
)


async def _actor(ra: RegistrationAuthority, name: str, *roles: Role):  # type: ignore[no-untyped-def]
    new = Operator(0, name, name, "person", roles, "", "", f"handle-{name}", ra.now(), "test")
    added = await ra.database.write(lambda db: add(db, new))
    assert added is not None
    return await ra.database.read(lambda db: of_operator(db, added.number, By.CONSOLE))


async def test_own_lines_are_those_of_every_door_and_nobody_elses(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """An approver sees what the console and every command wrote of the own name, and no line of one whose
    name begins alike; what is asked for besides narrows that. An auditor sees all, the help desk nothing."""
    async with open_office(tmp_path) as ra:

        def work(db):  # type: ignore[no-untyped-def]
            for actor in (*_ANN, *_OTHERS):
                store.audit(db, ra.now(), actor, "test.done", "K1")

        await ra.database.write(work)
        ann = await _actor(ra, "ann", Role.APPROVER)
        auditor = await _actor(ra, "kansa", Role.AUDITOR)
        desk = await _actor(ra, "mado", Role.DESK)

        async def seen(by, **wanted):  # type: ignore[no-untyped-def]
            asked = Acts(action="test.", **wanted)
            found = await ra.database.read(lambda db: trail.page(db, by, asked, 2**62, 50))
            assert found.total == len(found.lines)
            return {line["actor"] for line in found.lines}

        assert await seen(ann) == set(_ANN)
        assert await seen(ann, actor="operator:anna") == set()
        assert await seen(ann, actor="operator:ann/") == {"operator:ann/ann", "operator:ann/root"}
        assert await seen(auditor) == {*_ANN, *_OTHERS}
        with pytest.raises(Refusal, match="may not do that"):
            await seen(desk)


async def test_pages_go_through_all_of_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Page after page every line comes once, newest first, and each page says how many there are: found
    by going through the record, and by an index where there are few; of a person, of an object, of days."""
    from enroll.listings import store as pages

    async with open_office(tmp_path) as ra:
        auditor = await _actor(ra, "kansa", Role.AUDITOR)

        def work(db):  # type: ignore[no-untyped-def]
            for n in range(130):
                store.audit(db, ra.now() + n, f"K{n % 3}", ("a.one", "b.two")[n % 2], f"S{n % 5}")

        await ra.database.write(work)
        for wanted, expected in (
            (Acts(action="a."), 65),
            (Acts(actor="K1"), 43),
            (Acts(action="b.two", actor="K2"), 21),
            (Acts(subjects=["S4"]), 26),
            (Acts(action="a.", since=ra.now() + 100), 15),
            (Acts(action="a.", before=ra.now() + 100), 50),
        ):
            last, found = 2**62, list[int]()
            for _ in range(9):
                page = await ra.database.read(lambda db: trail.page(db, auditor, wanted, last, 20))  # noqa: B023
                assert page.total == expected
                found += [line["id"] for line in page.lines]
                if page.further is None:
                    break
                last = page.further
            assert found == sorted(set(found), reverse=True)
            assert len(found) == expected
            args = (wanted, 2**62, 500)
            both = await ra.database.read(lambda db: (pages.audit(db, *args), pages.few_audit(db, *args)))  # noqa: B023
            assert [[row["id"] for row in each] for each in both] == [found, found]
            assert await ra.database.read(lambda db: listings.count_audit(db, wanted)) == expected  # noqa: B023


async def test_a_number_is_a_persons_with_its_kind_only(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Applications, proposals and jobs each count from 1. What the record tells about a person has the
    person's application and what was proposed about the person or that application; not the proposal and the
    job about somebody else that have the same numbers, and a purge takes nothing of theirs away."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        applied = await apply_reissue(ra, _USER, "pc_change", channel="online", actor=_USER)
        number = str(applied.number)
        registrar = await _actor(ra, "touroku", Role.REGISTRAR)
        reset, other = {"user_id": _USER}, {"user_id": "K87654321", "changes": {"name": "厚生 次郎"}}
        await admit(ra, "K87654321")
        for _ in range(applied.number):
            last = await asking.ask(ra, registrar, "user.change", other)
            assert isinstance(last, Proposed)
            await asking.withdraw(ra, registrar, last.number)
        assert str(last.number) == number

        def work(db):  # type: ignore[no-untyped-def]
            store.audit(db, ra.now(), "operator:ann", "job.done", number)
            store.audit(db, ra.now(), "operator:ann", "application.hastened", number)

        await ra.database.write(work)
        mine = await asking.ask(ra, registrar, "request.reissue", {**reset, "reason": "pc_change"})
        assert isinstance(mine, Proposed)
        told = {
            (line["action"], line["subject"]) for line in listings.audit(ra.database, Acts(user_id=_USER))
        }
        assert told >= {
            ("application.submitted", number),
            ("application.hastened", number),
            ("proposal.made", str(mine.number)),
        }
        assert not told & {("job.done", number), ("proposal.made", number), ("proposal.withdrawn", number)}
        await purge_user(ra, _USER, actor="operator:ann")
        kept = list(listings.audit(ra.database, Acts(action="proposal.made", subjects=[number])))
        assert [line["detail"] != {} for line in kept] == [True]
