"""When the leading worker publishes revocation lists, and what becomes of it when it cannot."""

import logging
from dataclasses import replace

import pytest

import ca.store
from ca import datadir
from ca.publication import Places
from ca.sealing import open_vaults
from enroll import crls
from gateway.running.lists import Publisher, begin
from gateway.serving.signing.desk import Desk
from gateway.serving.signing.tally import Tally
from tests.datadirs import CHEAP, PASSPHRASE, START, admit, clock_of, open_office
from tests.enroll.test_flow import picked_up
from tests.gateway.test_signer import Scene, linked
from tests.issued import issue, revoke
from tests.looking import look


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        await admit(ra)
        yield ra


class Monotonic:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def _hold(ra):
    _, request_id = await picked_up(ra)
    serial = ca.store.find_by_order(look(ra.database), request_id).serial
    await ra.database.write(lambda db: ca.store.hold(db, serial, ra.now()))
    return serial


async def test_only_what_is_due_is_published(ra):
    """One list for each issuer, another one after a change, another one in good time; else none."""
    publisher = Publisher(Monotonic())
    assert [await publisher.look(ra) for _ in range(3)] == [1, 0, 0]
    await _hold(ra)
    assert [await publisher.look(ra) for _ in range(2)] == [1, 0]
    clock_of(ra).advance(days=4)
    assert [await publisher.look(ra) for _ in range(2)] == [1, 0]
    assert (await crls.published(ra, ra.authority.current.issuer_id)).number == 3


async def test_shards_are_published_as_well(tmp_path):
    """At the start those that are missing, later those that changed: through the signer's own look at
    them."""
    (tmp_path / "a").mkdir()
    datadir.create(tmp_path / "a/data", PASSPHRASE, START, site=Places("http://p", None, 4), cost=CHEAP)
    async with open_office(tmp_path / "a") as ra:
        await begin(ra)
        publisher, leaf = Publisher(Monotonic()), await issue(ra)
        assert await publisher.look(ra) == 0
        await revoke(ra, leaf)
        assert [await publisher.look(ra) for _ in range(2)] == [2, 0]
        vaults = open_vaults(tmp_path / "a/data/vault.json", PASSPHRASE)
        desk = Desk(tmp_path / "a/data", vaults, ra.clock, Tally(), 9)
        scene = Scene(ra, desk, vaults, tmp_path / "a/data", [])
        async with linked(scene) as signer:
            other = replace(ra, authority=replace(ra.authority, signer=signer))
            clock_of(ra).advance(days=1)
            assert await Publisher(Monotonic()).look(other) == 5
        desk.close()


async def test_many_changes_are_one_list(ra):
    """Coalesced: what happened between two looks is told together."""
    publisher = Publisher(Monotonic())
    await publisher.look(ra)
    serial = await _hold(ra)
    await ra.database.write(lambda db: ca.store.release(db, serial))
    await ra.database.write(lambda db: ca.store.revoke(db, serial, 1, ra.now()))
    assert [await publisher.look(ra) for _ in range(2)] == [1, 0]
    assert (await crls.published(ra, ra.authority.current.issuer_id)).entries == 1


async def test_a_long_list_is_not_made_without_a_rest(ra):
    """What took three seconds rests for five, however much is revoked meanwhile: a change waits no longer."""
    clock = Monotonic()

    class Slow(Monotonic):
        def __call__(self):
            clock.now += 3
            return clock.now

    publisher = Publisher(Slow())
    assert await publisher.look(ra) == 1
    publisher.monotonic = clock
    await _hold(ra)
    clock.now += 4
    assert await publisher.look(ra) == 0
    clock.now += 1
    assert await publisher.look(ra) == 1


async def test_a_failure_is_told_and_tried_again(ra, caplog):
    """A full disk costs one line in half a minute; the list comes once there is room."""
    clock = Monotonic()
    publisher = Publisher(clock)
    in_the_way = crls.folder(ra)
    in_the_way.write_text("no directory")
    with caplog.at_level(logging.ERROR):
        assert [await publisher.look(ra) for _ in range(3)] == [0, 0, 0]
        await begin(ra)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("File exists" in line for line in told)
    in_the_way.unlink()
    clock.now += 30
    assert await publisher.look(ra) == 1


async def test_the_first_list_is_there_before_anybody_asks(ra):
    """A server begins with its lists; one that lives is left alone, one that has ended is not."""
    await begin(ra)
    await begin(ra)
    issuer = ra.authority.current.issuer_id
    assert (await crls.published(ra, issuer)).number == 1
    clock_of(ra).advance(days=5)
    await begin(ra)
    assert (await crls.published(ra, issuer)).number == 1
    clock_of(ra).advance(days=3)
    await begin(ra)
    assert (await crls.published(ra, issuer)).number == 2
