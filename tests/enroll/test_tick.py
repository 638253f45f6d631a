"""What ``tick`` decides by the clock, and by what it has just read: where it is decided."""

from dataclasses import replace

import pytest

from enroll import issuance, mails, pickup, scheduler, store
from enroll.jst import day_of
from enroll.states import State
from tests.enroll.test_flow import ADDRESS, FLOW, picked_up
from tests.offices import admit, clock_of, letter_of, open_office

HOUR, DAY = 3_600, 86_400


@pytest.fixture
async def office(tmp_path):
    async with open_office(tmp_path) as office:
        yield office


def notices(office):
    return [row["kind"] for row in mails.listed(office.database.read()) if row["kind"].startswith("renewal")]


@pytest.mark.parametrize(("days", "kind"), [(30, "renewal_30"), (7, "renewal_7")])
async def test_a_notices_day_begins_at_midnight_in_japan(office, days, kind):
    """The day is Japan's (E25): a second before its midnight nothing is due, at midnight the letter is, nine
    hours before that day begins in Greenwich."""
    await admit(office)
    _, request_id = await picked_up(office)
    ends = store.enrollment(office.database.read(), request_id).not_after_at
    # Midnight in Japan, so many calendar days before the day of its end.
    midnight = (ends + 9 * HOUR) // DAY * DAY - 9 * HOUR - days * DAY
    clock_of(office).set(midnight - 1)
    await scheduler.tick(office)
    assert kind not in notices(office)
    clock_of(office).set(midnight)
    await scheduler.tick(office)
    assert kind in notices(office)
    assert day_of(midnight).isoformat() != day_of(midnight - 1).isoformat()


async def test_in_the_evening_of_greenwich_nothing_is_late(office):
    """The twin, by the other border: at nine in the morning in Japan Greenwich's day begins, and nothing
    changes with it."""
    await admit(office)
    _, request_id = await picked_up(office)
    ends = store.enrollment(office.database.read(), request_id).not_after_at
    nine = (ends + 9 * HOUR) // DAY * DAY - 31 * DAY
    for at in (nine - 1, nine, nine + 1):
        clock_of(office).set(at)
        await scheduler.tick(office)
        assert notices(office) == []


class _Between:
    """A database into whose first write after a look somebody else's work comes."""

    def __init__(self, database, work):
        self._database, self._work = database, work

    def __getattr__(self, name):
        return getattr(self._database, name)

    async def write(self, fn):
        work, self._work = self._work, None
        if work is not None:
            await work()
        return await self._database.write(fn)


async def _waiting(office):
    await admit(office)
    letter = await letter_of(office, "pickup")
    opened = await pickup.authenticate(office, FLOW, letter.value("証明書発行用パスワード"), address=ADDRESS)
    return opened.request_id


async def test_what_moved_between_look_and_write_is_not_closed(office):
    """A window that is found over is closed only if the request still is where it was found: somebody who
    fetched, or came in, in between loses nothing."""
    request_id = await _waiting(office)
    await issuance.submit(office, request_id, actor=FLOW)
    await issuance.complete(office, request_id)
    found = store.enrollment(office.database.read(), request_id)
    assert found.state is State.ISSUED
    token = await issuance.prepare_download(office, request_id, "abc", "standard", actor=FLOW)

    async def downloads():
        clock_of(office).set(found.window_ends_at - 1)
        await issuance.download(office, token, request_id, actor=FLOW)
        clock_of(office).set(found.window_ends_at)

    clock_of(office).set(found.window_ends_at - 1)
    token = await issuance.prepare_download(office, request_id, "abc", "standard", actor=FLOW)
    clock_of(office).set(found.window_ends_at)
    raced = replace(office, database=_Between(office.database, downloads))
    assert await scheduler.close_overdue(raced) == 1
    after = store.enrollment(office.database.read(), request_id)
    assert (after.state, after.sealed_key is not None) == (State.PICKED_UP, True)
    await scheduler.close_overdue(office)
    assert store.enrollment(office.database.read(), request_id).sealed_key is None


async def test_what_did_not_move_is_closed(office):
    """The twin: nobody came."""
    request_id = await _waiting(office)
    await issuance.submit(office, request_id, actor=FLOW)
    await issuance.complete(office, request_id)
    found = store.enrollment(office.database.read(), request_id)
    clock_of(office).set(found.window_ends_at)
    assert await scheduler.close_overdue(office) == 1
    after = store.enrollment(office.database.read(), request_id)
    assert (after.state, after.sealed_key) == (State.CLOSED, None)
