"""What ``tick`` decides by the clock, and by what it has just read: where it is decided."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from enroll import noticing, scheduler, store
from enroll.jst import day_of
from enroll.mail import store as mail_store
from enroll.requests import issuance, pickup
from enroll.requests.states import State
from tests.datadirs import admit, clock_of, letter_of, open_office
from tests.enroll.test_flow import ADDRESS, FLOW, picked_up
from tests.looking import look

HOUR, DAY = 3_600, 86_400


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


def notices(ra):
    return [row["kind"] for row in mail_store.listed(look(ra.database)) if row["kind"].startswith("renewal")]


@pytest.mark.parametrize(("days", "kind"), [(30, "renewal_30"), (7, "renewal_7")])
async def test_a_notices_day_begins_at_midnight_in_japan(ra, days, kind):
    """The day is Japan's (E25): a second before its midnight nothing is due, at midnight the letter is, nine
    hours before that day begins in Greenwich."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    ends = store.enrollment(look(ra.database), request_id).not_after_at
    # Midnight in Japan, so many calendar days before the day of its end.
    midnight = (ends + 9 * HOUR) // DAY * DAY - 9 * HOUR - days * DAY
    clock_of(ra).set(midnight - 1)
    await scheduler.tick(ra)
    assert kind not in notices(ra)
    clock_of(ra).set(midnight)
    await scheduler.tick(ra)
    assert kind in notices(ra)
    db = look(ra.database)
    (number,) = [row["id"] for row in mail_store.listed(db) if row["kind"] == kind]
    said = mail_store.shown(db, number)["shown_body"]
    assert f"有効期限日まで、あと{days}日" in said
    assert ("まだお済みではありません" in said) == (days == 7)
    assert day_of(midnight).isoformat() != day_of(midnight - 1).isoformat()


async def test_in_the_evening_of_greenwich_nothing_is_late(ra):
    """The twin, by the other border: at nine in the morning in Japan Greenwich's day begins, and nothing
    changes with it."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    ends = store.enrollment(look(ra.database), request_id).not_after_at
    nine = (ends + 9 * HOUR) // DAY * DAY - 31 * DAY
    for at in (nine - 1, nine, nine + 1):
        clock_of(ra).set(at)
        await scheduler.tick(ra)
        assert notices(ra) == []


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


async def _waiting(ra):
    await admit(ra)
    letter = await letter_of(ra, "pickup")
    opened = await pickup.authenticate(ra, FLOW, letter.value("証明書発行用パスワード"), address=ADDRESS)
    return opened.request_id


async def test_what_moved_between_look_and_write_is_not_closed(ra):
    """A window that is found over is closed only if the request still is where it was found: somebody who
    fetched, or came in, in between loses nothing."""
    request_id = await _waiting(ra)
    await issuance.submit(ra, request_id, actor=FLOW)
    await issuance.complete(ra, request_id)
    found = store.enrollment(look(ra.database), request_id)
    assert found.state is State.ISSUED
    token = await issuance.prepare_download(ra, request_id, "abc", "standard", actor=FLOW)

    async def downloads():
        clock_of(ra).set(found.window_ends_at - 1)
        await issuance.download(ra, token, request_id, actor=FLOW)
        clock_of(ra).set(found.window_ends_at)

    clock_of(ra).set(found.window_ends_at - 1)
    token = await issuance.prepare_download(ra, request_id, "abc", "standard", actor=FLOW)
    clock_of(ra).set(found.window_ends_at)
    raced = replace(ra, database=_Between(ra.database, downloads))
    assert await scheduler.close_overdue(raced) == 1
    after = store.enrollment(look(ra.database), request_id)
    assert (after.state, after.sealed_key is not None) == (State.PICKED_UP, True)
    await scheduler.close_overdue(ra)
    assert store.enrollment(look(ra.database), request_id).sealed_key is None


async def test_what_did_not_move_is_closed(ra):
    """The twin: nobody came."""
    request_id = await _waiting(ra)
    await issuance.submit(ra, request_id, actor=FLOW)
    await issuance.complete(ra, request_id)
    found = store.enrollment(look(ra.database), request_id)
    clock_of(ra).set(found.window_ends_at)
    assert await scheduler.close_overdue(ra) == 1
    after = store.enrollment(look(ra.database), request_id)
    assert (after.state, after.sealed_key) == (State.CLOSED, None)


async def test_a_first_notice_that_waited_is_needless_from_midnight_in_japan(ra):
    """What was held until D-7 gives way to the second one when that day begins in Japan."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    source = store.enrollment(look(ra.database), request_id)
    midnight = (source.not_after_at + 9 * HOUR) // DAY * DAY - 9 * HOUR - 7 * DAY
    clock_of(ra).set(midnight - 2 * DAY)
    await scheduler.tick(ra)
    db = look(ra.database)
    renewal = store.renewal_of(db, source.serial)
    for at, why in ((midnight - 1, None), (midnight, "the second notice has taken its place")):
        clock_of(ra).set(at)
        first, second = ({"kind": kind, "queued_at": at} for kind in ("renewal_30", "renewal_7"))
        assert noticing.needless(db, ra, renewal, first) == why
        assert noticing.needless(db, ra, renewal, second) is None


@pytest.mark.parametrize(
    ("ends", "left", "kind"),
    [
        # 2029-11-22 00:00 in Japan is 15:00 of the day before in Greenwich: the last day is the 22nd.
        (1_889_967_600, 31, None),
        (1_889_967_600, 30, "renewal_30"),
        (1_889_967_600, 8, "renewal_30"),
        (1_889_967_600, 7, "renewal_7"),
        (1_889_967_600, 0, "renewal_7"),
        (1_889_967_600, -1, None),
        (1_889_967_599, 29, "renewal_30"),
        (1_889_967_599, -1, None),
    ],
)
async def test_which_notice_a_day_is_for(ra, ends, left, kind):
    """By the day on which the certificate ends in Japan, whatever the hour; programs get the second only."""
    await admit(ra)
    (found,) = store.enrollments_of(look(ra.database), FLOW)
    source = replace(found, state=State.IN_USE, not_after_at=ends)
    today = date(2029, 11, 22 if ends == 1_889_967_600 else 21) - timedelta(days=left)
    assert noticing.due_notice(source, today, ra.settings) == kind
    program = replace(source, door="protocol")
    assert noticing.due_notice(program, today, ra.settings) == (kind if kind == "renewal_7" else None)
