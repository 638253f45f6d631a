"""What the gateway itself forgets as time goes by, it keeps while the clock is in doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from enroll.office import Office
from gateway.web import references, sessions
from tests.looking import rows
from tests.offices import clock_of, open_office

DAY = 86_400
LEAPS = pytest.mark.parametrize("days", [1_460, 31, -1, -365])
CLIENT = sessions.Client("192.0.2.1", "")


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as office:
        yield office


async def _logged_in(office: Office, subject: str) -> str:
    """The value of a new session's cookie."""
    response = web.Response()
    await sessions.start(office, response, "service", subject, CLIENT)
    return response.cookies[sessions.cookie_name("service")].value


def _kept(office: Office, table: str) -> list[dict[str, Any]]:
    return rows(office.database.read(), f"SELECT * FROM {table}")


@LEAPS
async def test_nobody_is_put_out_by_a_leap(office: Office, days: int) -> None:
    """By a wrong clock a session is over for now; its own visit and others' logins delete none."""
    token = await _logged_in(office, "K12345678")
    clock_of(office).leap(days=days)
    assert await sessions.find_by_token(office, token, "service") is None
    await _logged_in(office, "K87654321")
    clock_of(office).leap(days=-days)
    found = await sessions.find_by_token(office, token, "service")
    assert found is not None
    assert found.subject == "K12345678"


async def test_a_session_that_is_over_is_deleted(office: Office) -> None:
    """Rejection twin: eight hours that passed end it, and the next login sweeps others."""
    token = await _logged_in(office, "K12345678")
    await _logged_in(office, "K00000001")
    clock_of(office).advance(hours=9)
    assert await sessions.find_by_token(office, token, "service") is None
    await _logged_in(office, "K87654321")
    assert [row["subject"] for row in _kept(office, "sessions")] == ["K87654321"]


async def test_reference_numbers_outlive_a_leap(office: Office) -> None:
    """What somebody reads to the help desk is kept for 90 days that have passed, not for a clock's."""
    reference = await references.note(office, "pickup", "not_available")
    clock_of(office).leap(days=365)
    await references.note(office, "pickup", "not_available")
    clock_of(office).leap(days=-365)
    assert references.found(office.database.read(), reference) is not None
    clock_of(office).advance(days=91)
    await references.note(office, "pickup", "not_available")
    assert references.found(office.database.read(), reference) is None


async def test_reference_numbers_are_kept_for_ninety_days(office: Office) -> None:
    """As a literal, to the second: whoever calls within three months is told what it was about."""
    reference, day = await references.note(office, "pickup", "not_available"), 86_400
    clock_of(office).advance(seconds=90 * day - 1)
    await references.note(office, "pickup", "not_available")
    assert references.found(office.database.read(), reference) is not None
    clock_of(office).advance(seconds=1)
    await references.note(office, "pickup", "not_available")
    assert references.found(office.database.read(), reference) is None
    assert references.KEPT_PER_KIND == 10_000
