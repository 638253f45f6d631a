"""Break-glass: one role, one hour, told to auditors, and looked at by one."""

from dataclasses import replace

import pytest

from enroll import store
from enroll.jst import day_of
from enroll.operators import asking, emergency
from enroll.operators import store as operators
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act, Role, Verdict
from enroll.refusals import Refusal
from tests.datadirs import clock_of, letter_of, open_office
from tests.enroll.operators.test_actors import seen, someone
from tests.enroll.operators.test_asking import acting, office, person, proposed, refused
from tests.looking import look


async def taken(ra, account="root", role=Role.APPROVER):
    return (await emergency.take(ra, seen(ra, account, host=account == "root"), role, "夜間の障害"))[0]


async def test_a_role_for_an_hour(tmp_path):
    """That one and no other, marked in the trail; then it is gone."""
    async with office(tmp_path) as ra:
        number = await proposed(ra)
        assert not seen(ra, "root", host=True).may(Act.RECORD)
        await taken(ra)
        actor = seen(ra, "root", host=True)
        assert (actor.name, actor.roles) == ("break-glass:root/approver", (Role.APPROVER,))
        assert not actor.may(Act.SETTINGS)
        await asking.approve(ra, actor, number)
        line = store.audit_page(look(ra.database), str(number), 1)[0]
        assert (line["action"], line["actor"]) == ("proposal.approved", "break-glass:root/approver")
        clock_of(ra).advance(seconds=emergency.LIFETIME - 1)
        assert seen(ra, "root", host=True).roles
        clock_of(ra).advance(seconds=1)
        assert not seen(ra, "root", host=True).roles
        assert (await refused(asking.ask(ra, actor, "user.add", person("B", "b@example.jp")))).code == (
            "not_permitted"
        )


async def test_what_takes_two_takes_two_in_an_emergency(tmp_path):
    """Whoever has proposed as an operator decides none of it by the passphrase, nor under a second role."""
    async with office(tmp_path) as ra:
        number = await proposed(ra)
        await taken(ra, "registrar")
        assert (await refused(asking.approve(ra, acting(ra, "registrar"), number))).field == "proposal"
        await taken(ra, "root", Role.REGISTRAR)
        found = await asking.ask(ra, seen(ra, "root", host=True), "user.add", person("B", "b@example.jp"))
        assert isinstance(found, Proposed)
        await taken(ra, "root", Role.APPROVER)
        mine = asking.approve(ra, seen(ra, "root", host=True), found.number)
        assert (await refused(mine)).field == "proposal"


async def test_auditors_are_told_and_one_looks_at_it(tmp_path):
    """By mail at once, until the end of the next business day; never one's own; the role ends with it."""
    async with office(tmp_path) as ra:
        auditor = someone("kansa", "auditor", at=ra.now())
        await ra.database.write(
            lambda db: operators.add(db, operators.Operator(**{**auditor.__dict__, "mail": "k@example.jp"}))
        )
        glass = await taken(ra)
        letter = await letter_of(ra, "break_glass")
        assert letter.value("理由") == "夜間の障害"
        assert letter.value("使用者") == "operator:root"
        # Taken on a Sunday before a holiday: until Tuesday's end.
        assert str(day_of(glass.due_at - 1)) == "2026-11-24"
        for name in ("approver", "desk", "caofficer"):
            assert (await refused(emergency.review(ra, acting(ra, name), 1, "x"))).code == "not_permitted"
        await emergency.review(ra, acting(ra, "kansa"), 1, "looked at")
        assert not seen(ra, "root", host=True).roles
        assert operators.glasses(look(ra.database)) == []
        assert (await refused(emergency.review(ra, acting(ra, "auditor"), 1, "x"))).code == "conflict"
        assert (await refused(emergency.review(ra, acting(ra, "auditor"), 2, "x"))).code == "not_found"
        await taken(ra, "auditor", Role.AUDITOR)
        assert Verdict.DO in acting(ra, "auditor").may(Act.AUDIT)
        assert (await refused(emergency.review(ra, acting(ra, "auditor"), 2, "x"))).field == "break_glass"


async def test_every_auditor_is_told(tmp_path):
    """Each by a letter of the own, in the own language, two who are called alike as well, and nobody else; of
    those without an address the operators' own has one. It says how many there are."""
    async with office(tmp_path) as ra:
        for name, mail, language in (("a1", "1@example.jp", "ja"), ("a2", "2@example.jp", "en")):
            one = replace(someone(name, "auditor", mail=mail), display="監査担当", language=language)
            await ra.database.write(lambda db, one=one: operators.add(db, one))
        await ra.database.write(lambda db: operators.add(db, someone("b", "approver", mail="b@example.jp")))

        async def told(settings):
            given = replace(ra, settings=settings)
            before = len(look(ra.database).rows("SELECT 1 FROM mails"))
            _, count = await emergency.take(given, seen(ra, "root", host=True), Role.APPROVER, "夜間")
            rows = look(ra.database).rows("SELECT recipient, subject FROM mails ORDER BY id")[before:]
            assert len(rows) == count
            return {row["recipient"]: row["subject"] for row in rows}

        # "auditor" of the office has no address.
        found = await told(replace(ra.settings, operator_mail="ours@example.jp"))
        assert set(found) == {"1@example.jp", "2@example.jp", "ours@example.jp"}
        assert ("Emergency" in found["2@example.jp"], "緊急" in found["1@example.jp"]) == (True, True)
        assert set(await told(replace(ra.settings, operator_mail=""))) == {"1@example.jp", "2@example.jp"}


async def test_without_operators_there_is_no_emergency(tmp_path):
    """Nor without a reason."""
    async with open_office(tmp_path) as ra:
        assert (await refused(taken(ra))).code == "conflict"
        with pytest.raises(Refusal, match="--reason"):
            await emergency.take(ra, seen(ra, "root", host=True), Role.DESK, " ")
