"""Sessions by themselves: whose they are, how long they last, and what ends with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from enroll import store
from enroll.ra import RegistrationAuthority
from gateway.web import sessions
from tests.datadirs import clock_of, open_office
from tests.looking import look, rows

CLIENT = sessions.Client("192.0.2.1", "")
PRINT, OTHER_PRINT = "a" * 64, "b" * 64
USER = "K12345678"


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as ra:
        yield ra


async def _opened(
    ra: RegistrationAuthority, site: str = "service", **more: Any
) -> tuple[sessions.Session, str, Any]:
    """A session, its token, and the cookie that the browser got."""
    response = web.Response()
    session = await sessions.start(ra, response, site, USER, CLIENT, **({"fingerprint": PRINT} | more))
    cookie = response.cookies[f"__Host-{site}"]
    return session, cookie.value, cookie


async def _found(
    ra: RegistrationAuthority, token: str, site: str = "service", fingerprint: str = PRINT
) -> bool:
    return await sessions.find_by_token(ra, token, site, fingerprint=fingerprint) is not None


async def test_a_session_is_of_one_site_and_one_certificate(ra: RegistrationAuthority) -> None:
    """Its token opens it there and with that, and nothing else anywhere else; nor does another token."""
    _, token, _ = await _opened(ra)
    assert await _found(ra, token)
    for site, fingerprint in (
        ("renewal", PRINT),
        ("pickup", PRINT),
        ("service", OTHER_PRINT),
        ("service", ""),
    ):
        assert not await _found(ra, token, site, fingerprint)
    assert not await _found(ra, token[:-1])
    assert not await _found(ra, "")
    assert await _found(ra, token)


async def test_the_cookie_is_for_one_host_and_no_script(ra: RegistrationAuthority) -> None:
    """RFC 6265bis 4.1.3.2: ``__Host-``, and with it Secure, the whole path and no Domain; nothing that a
    page's script can read; not sent along with another site's POST."""
    _, token, cookie = await _opened(ra)
    assert (cookie["path"], cookie["secure"], cookie["httponly"], cookie["samesite"]) == (
        "/",
        True,
        True,
        "Lax",
    )
    assert (cookie["domain"], cookie["max-age"]) == ("", "28800")
    assert len(token) >= 43


async def test_a_token_is_not_in_the_database(ra: RegistrationAuthority) -> None:
    """Who reads it logs in as nobody."""
    _, token, _ = await _opened(ra)
    assert token not in str(rows(look(ra.database), "SELECT * FROM sessions"))


@pytest.mark.parametrize(("used_every", "lasts"), [(1_799, True), (1_800, False)])
async def test_a_session_idles_for_half_an_hour(
    ra: RegistrationAuthority, used_every: int, lasts: bool
) -> None:
    """To the second."""
    _, token, _ = await _opened(ra)
    clock_of(ra).advance(seconds=used_every)
    assert await _found(ra, token) is lasts


async def test_a_session_ends_after_eight_hours(ra: RegistrationAuthority) -> None:
    """However busy it was; its last second is good."""
    _, token, _ = await _opened(ra)
    for _ in range(16):
        clock_of(ra).advance(seconds=1_799)
        assert await _found(ra, token)
    clock_of(ra).advance(seconds=28_800 - 16 * 1_799 - 1)
    assert await _found(ra, token)
    clock_of(ra).advance(seconds=1)
    assert not await _found(ra, token)


async def test_no_session_survives_a_login(ra: RegistrationAuthority) -> None:
    """One that was there before the login, be it planted, opens nothing after it."""
    before, old, _ = await _opened(ra)
    _, new, _ = await _opened(ra, previous=before)
    assert (await _found(ra, old), await _found(ra, new)) == (False, True)


async def test_a_ticket_is_good_once_and_for_a_minute(ra: RegistrationAuthority) -> None:
    """The second who shows it, and who comes later, gets nothing; one that was made up neither."""
    session, token, _ = await _opened(ra)
    ticket = await sessions.hand_over(ra, session)
    assert not await _found(ra, ticket)
    taken = await sessions.take_over(ra, ticket)
    assert taken is not None
    assert (taken.subject, taken.fingerprint, taken.opened_by) == (USER, PRINT, session.token_hash)
    for wrong in (ticket, token, "", "x" * 43, "x" * 101, "é" * 43):
        assert await sessions.take_over(ra, wrong) is None
    for seconds, good in ((59, True), (60, False)):
        ticket = await sessions.hand_over(ra, session)
        clock_of(ra).advance(seconds=seconds)
        assert (await sessions.take_over(ra, ticket) is not None) is good


async def test_what_came_from_a_session_ends_with_it(ra: RegistrationAuthority) -> None:
    """A logout on one host is one on the other, too; somebody else's stay."""
    first, token, _ = await _opened(ra)
    _, other, _ = await _opened(ra, "renewal", opened_by=first.token_hash)
    _, stranger, _ = await _opened(ra, "renewal", opened_by="c" * 64)
    await sessions.end(ra, first)
    assert not await _found(ra, token)
    assert not await _found(ra, other, "renewal")
    assert await _found(ra, stranger, "renewal")


async def test_all_but_this_one(ra: RegistrationAuthority) -> None:
    """After a change of the password every other session of the user is over, and the trail says how many."""
    mine, token, _ = await _opened(ra)
    others = [(await _opened(ra))[1] for _ in range(2)]
    assert await sessions.end_all(ra, USER, actor=USER, but=mine) == 2
    assert [await _found(ra, each) for each in (token, *others)] == [True, False, False]
    (row,) = store.audit_page(look(ra.database), USER, 10)
    assert (row["actor"], row["action"], row["detail"]) == (
        USER, "session.ended", {"count": 2, "sites": ["service"]},
    )  # fmt: skip


async def test_a_certificate_takes_its_sessions_along(ra: RegistrationAuthority) -> None:
    """Revoked or expired, it ends what was bound to it, and what is bound to none stays."""
    _, token, _ = await _opened(ra)
    _, other, _ = await _opened(ra, fingerprint=OTHER_PRINT)
    _, bound_to_none, _ = await _opened(ra, "pickup", fingerprint="")
    assert await sessions.end_with(ra, PRINT) == 1
    assert await sessions.end_with(ra, "") == 0
    assert not await _found(ra, token)
    assert await _found(ra, other, fingerprint=OTHER_PRINT)
    assert await _found(ra, bound_to_none, "pickup", "")
