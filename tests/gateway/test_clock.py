"""What the gateway itself forgets as time goes by, it keeps while the clock is in doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from enroll.ra import RegistrationAuthority
from gateway.web import references, sessions
from tests.datadirs import clock_of, open_office
from tests.looking import look, rows

DAY = 86_400
LEAPS = pytest.mark.parametrize("days", [1_460, 31, -1, -365])
CLIENT = sessions.Client("192.0.2.1", "")


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as ra:
        yield ra


async def _logged_in(ra: RegistrationAuthority, subject: str) -> str:
    """The value of a new session's cookie."""
    response = web.Response()
    await sessions.start(ra, response, "service", subject, CLIENT)
    return response.cookies[sessions.cookie_name("service")].value


def _kept(ra: RegistrationAuthority, table: str) -> list[dict[str, Any]]:
    return rows(look(ra.database), f"SELECT * FROM {table}")


@LEAPS
async def test_nobody_is_put_out_by_a_leap(ra: RegistrationAuthority, days: int) -> None:
    """By a wrong clock a session is over for now; its own visit and others' logins delete none."""
    token = await _logged_in(ra, "K12345678")
    clock_of(ra).leap(days=days)
    assert await sessions.find_by_token(ra, token, "service") is None
    await _logged_in(ra, "K87654321")
    clock_of(ra).leap(days=-days)
    found = await sessions.find_by_token(ra, token, "service")
    assert found is not None
    assert found.subject == "K12345678"


async def test_a_session_that_is_over_is_deleted(ra: RegistrationAuthority) -> None:
    """Rejection twin: eight hours that passed end it, and the next login sweeps others."""
    token = await _logged_in(ra, "K12345678")
    await _logged_in(ra, "K00000001")
    clock_of(ra).advance(hours=9)
    assert await sessions.find_by_token(ra, token, "service") is None
    await _logged_in(ra, "K87654321")
    assert [row["subject"] for row in _kept(ra, "sessions")] == ["K87654321"]


async def test_reference_numbers_outlive_a_leap(ra: RegistrationAuthority) -> None:
    """What somebody reads to the help desk is kept for 90 days that have passed, not for a clock's."""
    reference = await references.note(ra, "pickup", "not_available")
    clock_of(ra).leap(days=365)
    await references.note(ra, "pickup", "not_available")
    clock_of(ra).leap(days=-365)
    assert references.found(look(ra.database), reference) is not None
    clock_of(ra).advance(days=91)
    await references.note(ra, "pickup", "not_available")
    assert references.found(look(ra.database), reference) is None


async def test_reference_numbers_are_kept_for_ninety_days(ra: RegistrationAuthority) -> None:
    """As a literal, to the second: whoever calls within three months is told what it was about."""
    reference, day = await references.note(ra, "pickup", "not_available"), 86_400
    clock_of(ra).advance(seconds=90 * day - 1)
    await references.note(ra, "pickup", "not_available")
    assert references.found(look(ra.database), reference) is not None
    clock_of(ra).advance(seconds=1)
    await references.note(ra, "pickup", "not_available")
    assert references.found(look(ra.database), reference) is None
    assert references.KEPT_PER_KIND == 10_000
