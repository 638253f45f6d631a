"""An organisation's 管理者 are told by mail who has not renewed by D-7: once, and of their own users only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from enroll import scheduler, store
from enroll.jst import day_of, shown
from enroll.mail import store as mail_store
from enroll.operators import actors, letters
from enroll.people import applications, changes, register
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from enroll.settings import DAY
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered, open_office
from tests.enroll.test_flow import picked_up
from tests.looking import look

MEMBER, OTHER, BOSS, CHIEF = "K12345678", "K22222222", "A11111111", "A22222222"
FOREIGN = "87654321"


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as ra:
        yield ra


async def holder(ra: RegistrationAuthority, user_id: str, **fields: Any) -> int:
    """A user with a certificate in hand; when that ends."""
    await admit(ra, user_id, **fields)
    _, request_id = await picked_up(ra, user_id)
    found = store.enrollment(look(ra.database), request_id)
    assert found is not None
    assert found.not_after_at is not None
    return found.not_after_at


async def at_days_before(ra: RegistrationAuthority, end: int, days: int) -> None:
    clock_of(ra).set(end - days * DAY)
    await scheduler.notify(ra, day_of(ra.now()))


async def submit(ra: RegistrationAuthority, user_id: str) -> str:
    """The renewal of somebody's certificate, begun and issued; its request ID."""
    source = store.enrollments_of(look(ra.database), user_id)[-1]
    begun = store.renewal_of(look(ra.database), source.serial or "")
    assert begun is not None
    await issuance.submit(ra, begun.request_id, actor=user_id)
    await issuance.complete(ra, begun.request_id)
    return begun.request_id


async def fetch(ra: RegistrationAuthority, request_id: str, user_id: str) -> None:
    token = await issuance.prepare_download(ra, request_id, "abc", "standard", actor=user_id)
    await issuance.download(ra, token, request_id, actor=user_id)


async def told(ra: RegistrationAuthority) -> list[set[str]]:
    """Who is named in each letter of the kind that has left."""
    bodies = [each.body for each in await delivered(ra) if "更新がお済みでない方" in each.subject]
    lines = [[line for line in body.splitlines() if line.startswith("ユーザーID：")] for body in bodies]
    return [{line.partition("　")[0].removeprefix("ユーザーID：") for line in each} for each in lines]


def letter(ra: RegistrationAuthority) -> tuple[str, str]:
    """Where the one letter of the kind stands, and why."""
    (found,) = (each for each in mail_store.listed(look(ra.database)) if each["kind"] == "renewal_7_admin")
    return found["state"], found["result"]


def reminders(ra: RegistrationAuthority) -> list[str]:
    """Whom a letter of the kind was queued for."""
    listed = mail_store.listed(look(ra.database))
    return sorted(each["user_id"] for each in listed if each["kind"] == "renewal_7_admin")


async def test_administrators_are_told_who_has_not_renewed(ra: RegistrationAuthority) -> None:
    """On D-7, not on D-30: one letter to each, with everybody but oneself; run again, no other letter."""
    await admit(ra, CHIEF, role="admin")
    for user_id, role in ((MEMBER, "member"), (OTHER, "member"), (BOSS, "admin")):
        end = await holder(ra, user_id, role=role)
    await at_days_before(ra, end, 30)
    assert reminders(ra) == []
    for _ in range(2):
        await at_days_before(ra, end, 7)
    assert reminders(ra) == [BOSS, CHIEF]
    everybody = {BOSS, MEMBER, OTHER}
    assert sorted(await told(ra), key=len) == [everybody - {BOSS}, everybody]
    bodies = [each.body for each in await delivered(ra) if "更新がお済みでない方" in each.subject]
    assert all(f"有効期限：{shown(end)}" in body for body in bodies)


async def test_administrators_are_told_of_renewals_that_were_interrupted(ra: RegistrationAuthority) -> None:
    """Whoever began to renew and fetched nothing has not renewed; whoever fetched it has. The letter says how
    to go on with what was begun."""
    await admit(ra, CHIEF, role="admin")
    for user_id in (MEMBER, OTHER):
        end = await holder(ra, user_id)
    await at_days_before(ra, end, 20)
    for user_id, fetched in ((MEMBER, False), (OTHER, True)):
        begun = await submit(ra, user_id)
        if fetched:
            await fetch(ra, begun, user_id)
    await at_days_before(ra, end, 7)
    assert await told(ra) == [{MEMBER}]
    [body] = [each.body for each in await delivered(ra) if "更新がお済みでない方" in each.subject]
    assert "「更新の再申請」から続けていただけます" in body


async def test_nobody_is_told_of_others_users_nor_after_leaving(ra: RegistrationAuthority) -> None:
    """No letter to another organisation's 管理者, to one who is disabled, or in a disabled organisation."""
    await register.add_organisation(ra, FOREIGN, "桜田門産業", actor="test")
    await register.add_user(
        ra,
        Person(FOREIGN, "別所 花子", "h@example.jp", "A99999999", role="admin"),
        channel="paper",
        actor="test",
    )
    await admit(ra, BOSS, role="admin")
    await register.disable_user(ra, BOSS, actor="test")
    end = await holder(ra, MEMBER)
    await at_days_before(ra, end, 7)
    assert reminders(ra) == []
    assert store.administrators(look(ra.database), FOREIGN)[0].user_id == "A99999999"
    assert store.administrators(look(ra.database), POLICY_NUMBER) == []


async def due(ra: RegistrationAuthority) -> None:
    """Two members on D-7, and a letter to the 管理者 that the mail server has not taken for a day."""
    await admit(ra, CHIEF, role="admin")
    for user_id in (MEMBER, OTHER):
        end = await holder(ra, user_id)
    await at_days_before(ra, end, 7)
    assert letter(ra)[0] == "queued"
    clock_of(ra).advance(seconds=DAY)


async def test_who_renews_while_the_letter_waits_is_not_in_it(ra: RegistrationAuthority) -> None:
    """What it says is decided when it leaves, and operators see that; sent again, it is decided again."""
    await due(ra)
    await fetch(ra, await submit(ra, MEMBER), MEMBER)
    assert await told(ra) == [{OTHER}]
    (number,) = (each["id"] for each in mail_store.listed(look(ra.database)) if "_admin" in each["kind"])
    seen = mail_store.shown(look(ra.database), number)
    assert seen is not None
    assert (MEMBER in seen["shown_body"], OTHER in seen["shown_body"]) == (False, True)
    desk = actors.of_account(look(ra.database), "root", ra.now(), host=True)
    await letters.send_again(ra, desk, number)
    assert await told(ra) == [{OTHER}] * 2
    clock_of(ra).advance(seconds=DAY)
    await letters.send_again(ra, desk, number)
    await fetch(ra, await submit(ra, OTHER), OTHER)
    assert await told(ra) == [{OTHER}] * 2


async def test_who_has_not_renewed_is_in_it_however_late(ra: RegistrationAuthority) -> None:
    """The twin; and of one from before it was recorded whom it is about, the words stand."""
    await due(ra)
    await ra.database.write(lambda db: db.execute("UPDATE mails SET about = ''"))
    assert await told(ra) == [{MEMBER, OTHER}]


@pytest.mark.parametrize("change", ["renewed", "disabled", "no administrator"])
async def test_a_letter_that_would_name_nobody_does_not_leave(ra: RegistrationAuthority, change: str) -> None:
    """Nor one to who is no 管理者 any more: others' names are none of theirs."""
    await due(ra)
    for user_id in (MEMBER, OTHER):
        if change == "renewed":
            await fetch(ra, await submit(ra, user_id), user_id)
        if change == "disabled":
            await register.disable_user(ra, user_id, actor="test")
    if change == "no administrator":
        await changes.change_user(ra, CHIEF, {"role": "member"}, actor="test")
    assert await told(ra) == []
    assert letter(ra) == ("cancelled", "there is no such end to tell of any more")


async def test_who_is_meant_again_is_told_of_again(ra: RegistrationAuthority) -> None:
    """A letter that was cancelled, since thefts were reported of all whom it named, leaves after all."""
    await due(ra)
    reported = [
        await applications.apply_reissue(ra, each, "lost_or_stolen", channel="online", actor=each)
        for each in (MEMBER, OTHER)
    ]
    assert await told(ra) == []
    assert letter(ra)[0] == "cancelled"
    for each in reported:
        await applications.reject(ra, each.number, actor="test", note="見つかった")
    await scheduler.notify(ra, day_of(ra.now()))
    assert await told(ra) == [{MEMBER, OTHER}]
