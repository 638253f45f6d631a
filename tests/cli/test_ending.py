"""What doctor says of keys that are to end, and of what they were destroyed too early for."""

import os
import shutil
from contextlib import closing
from types import SimpleNamespace

import pytest

from ca.epochs import store
from ca.epochs.tending import LENGTH, tend
from enroll.people import changes
from gateway.cli import ending
from gateway.running import rundir
from tests.datadirs import admit, clock_of, delivered, open_office
from tests.enroll.test_flow import FLOW, picked_up

DAY = 86_400


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


def said(ra):
    found = ending.found(SimpleNamespace(ra=ra, data=ra.database.folder), lambda: DAY)
    return [(each.state, each.found, each.hint) for each in found]


FINE = [("ok", "what is over opens to nobody", "")]


async def test_nothing_is_to_be_said(ra):
    """Of a directory that nobody serves either, however old its epoch is."""
    for path in ra.epochs.files.folder.iterdir():
        os.utime(path, (0, 0))
    assert said(ra) == FINE
    clock_of(ra).advance(days=1)
    assert said(ra) == FINE


async def test_keys_that_should_be_gone(ra):
    """One that was retired and is there after hours; one of no epoch; one that nothing follows while somebody
    serves. Each until what serves has done it."""
    await tend(ra.epochs, ra.database, ra.now() + LENGTH)
    os.utime(ra.epochs.files._path(ra.epochs.files.create()), (0, 0))
    clock_of(ra).advance(seconds=4 * LENGTH)
    where = ra.epochs.files.folder
    assert said(ra) == [
        ("notice", f"2 in {where} should be destroyed by now", "what serves does that: sekisho serve")
    ]
    lock = rundir.claim(rundir.run_directory(ra.database.folder))
    with closing(lock):
        hint = "see its log, and: sekisho clock show"
        assert said(ra) == [("notice", f"3 in {where} should be destroyed by now", hint)]
        await tend(ra.epochs, ra.database, ra.now())
        assert said(ra) == FINE


async def test_what_cannot_be_opened_is_counted(ra):
    """With what to do about each; what has come since is not among it."""
    await admit(ra)
    await picked_up(ra)
    await changes.reset_password(ra, FLOW, actor="test")
    shutil.rmtree(ra.epochs.files.folder)
    ra.epochs.ensure(ra.database, ra.now())
    await admit(ra, "K87654321")
    ((level, found, hint),) = said(ra)
    assert level == "notice"
    assert found.startswith("lost are private keys of pick-ups (1): who has not installed")
    assert "; letters (1): those without a password leave all the same" in found
    assert hint.startswith("a copy was put back, or a disk is not mounted there")
    assert len(ra.database.read_now(store.open_ones)) == 2
    await delivered(ra)
