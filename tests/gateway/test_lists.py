"""When the leading worker publishes revocation lists, and what becomes of it when it cannot."""

import logging

import pytest

import ca.store
from enroll import crls
from gateway.running.lists import Publisher, begin
from tests.enroll.test_flow import picked_up
from tests.offices import admit, clock_of, open_office


@pytest.fixture
async def office(tmp_path):
    async with open_office(tmp_path) as office:
        await admit(office)
        yield office


class Monotonic:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def _hold(office):
    _, request_id = await picked_up(office)
    serial = ca.store.find_by_order(office.database.read(), request_id).serial
    await office.database.write(lambda db: ca.store.hold(db, serial, office.now()))
    return serial


async def test_only_what_is_due_is_published(office):
    """One list for each issuer, another one after a change, another one in good time; else none."""
    publisher = Publisher(Monotonic())
    assert [await publisher.look(office) for _ in range(3)] == [1, 0, 0]
    await _hold(office)
    assert [await publisher.look(office) for _ in range(2)] == [1, 0]
    clock_of(office).advance(days=4)
    assert [await publisher.look(office) for _ in range(2)] == [1, 0]
    assert crls.published(office, office.authority.current.issuer_id).number == 3


async def test_many_changes_are_one_list(office):
    """Coalesced: what happened between two looks is told together."""
    publisher = Publisher(Monotonic())
    await publisher.look(office)
    serial = await _hold(office)
    await office.database.write(lambda db: ca.store.release(db, serial))
    await office.database.write(lambda db: ca.store.revoke(db, serial, 1, office.now()))
    assert [await publisher.look(office) for _ in range(2)] == [1, 0]
    assert crls.published(office, office.authority.current.issuer_id).entries == 1


async def test_a_long_list_is_not_made_without_a_rest(office):
    """What took three seconds rests for five, however much is revoked meanwhile: a change waits no longer."""
    clock = Monotonic()

    class Slow(Monotonic):
        def __call__(self):
            clock.now += 3
            return clock.now

    publisher = Publisher(Slow())
    assert await publisher.look(office) == 1
    publisher.monotonic = clock
    await _hold(office)
    clock.now += 4
    assert await publisher.look(office) == 0
    clock.now += 1
    assert await publisher.look(office) == 1


async def test_a_failure_is_told_and_tried_again(office, caplog):
    """A full disk costs one line in half a minute; the list comes once there is room."""
    clock = Monotonic()
    publisher = Publisher(clock)
    in_the_way = crls.folder(office)
    in_the_way.write_text("no directory")
    with caplog.at_level(logging.ERROR):
        assert [await publisher.look(office) for _ in range(3)] == [0, 0, 0]
        await begin(office)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("cannot be written (File exists)" in line for line in told)
    in_the_way.unlink()
    clock.now += 30
    assert await publisher.look(office) == 1


async def test_the_first_list_is_there_before_anybody_asks(office):
    """A server begins with its lists; one that lives is left alone, one that has ended is not."""
    await begin(office)
    await begin(office)
    issuer = office.authority.current.issuer_id
    assert crls.published(office, issuer).number == 1
    clock_of(office).advance(days=5)
    await begin(office)
    assert crls.published(office, issuer).number == 1
    clock_of(office).advance(days=2)
    await begin(office)
    assert crls.published(office, issuer).number == 2
