"""An organisation's 管理者 are told by mail who has not renewed by D-7: once, and of their own users only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from enroll import scheduler, store
from enroll.jst import day_of, shown
from enroll.mail import store as mail_store
from enroll.people import register
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
    told = [each.body for each in await delivered(ra) if "更新がお済みでない方" in each.subject]
    lines = [
        sorted(line.partition("　")[0] for line in body.splitlines() if line.startswith("ユーザーID："))
        for body in told
    ]
    everybody = [f"ユーザーID：{user_id}" for user_id in (BOSS, MEMBER, OTHER)]
    assert sorted(lines) == sorted([everybody, everybody[1:]])
    assert all(f"有効期限：{shown(end)}" in body for body in told)


async def test_administrators_are_told_of_renewals_that_were_interrupted(ra: RegistrationAuthority) -> None:
    """Whoever began to renew and fetched nothing has not renewed; whoever fetched it has. The letter says how
    to go on with what was begun."""
    await admit(ra, CHIEF, role="admin")
    for user_id in (MEMBER, OTHER):
        end = await holder(ra, user_id)
    await at_days_before(ra, end, 20)
    for user_id, fetched in ((MEMBER, False), (OTHER, True)):
        source = store.enrollments_of(look(ra.database), user_id)[-1]
        begun = store.renewal_of(look(ra.database), source.serial or "")
        assert begun is not None
        await issuance.submit(ra, begun.request_id, actor=user_id)
        await issuance.complete(ra, begun.request_id)
        if fetched:
            token = await issuance.prepare_download(ra, begun.request_id, "abc", "standard", actor=user_id)
            await issuance.download(ra, token, begun.request_id, actor=user_id)
    await at_days_before(ra, end, 7)
    [told] = [each for each in await delivered(ra) if "更新がお済みでない方" in each.subject]
    assert (f"ユーザーID：{MEMBER}" in told.body, f"ユーザーID：{OTHER}" in told.body) == (True, False)
    assert "「更新の再申請」から続けていただけます" in told.body


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
