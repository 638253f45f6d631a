"""What every test stands on: who has an event loop wait for the database is found (`tests/blocked.py`)."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from enroll import timekeeping
from tests import blocked, databases
from tests.datadirs import open_office
from tests.engines import VARIABLE


@databases.NEEDED
async def test_a_look_of_ours_in_an_event_loop_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its place, and it is refused. A test may look as it likes, and so may whoever runs in a thread, or
    asks by a transaction."""
    monkeypatch.setenv(VARIABLE, "postgresql")
    async with open_office(tmp_path) as ra:
        failed: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failed.append(type(context["exception"]).__name__))
        assert timekeeping.doubt_at_once(ra) is None
        assert await asyncio.to_thread(timekeeping.doubt_at_once, ra) is None
        await asyncio.create_task(timekeeping.require(ra))
        assert (blocked.found, failed) == ([], [])
        loop.call_soon(partial(timekeeping.doubt_at_once, ra))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (place,) = blocked.found
        assert place.startswith("enroll/timekeeping.py:")
        assert place.endswith("doubt_at_once")
        assert failed == ["AssertionError"]
        blocked.found.clear()


@pytest.mark.parametrize(("file", "name"), blocked.MAY)
def test_who_may_is_there(file: str, name: str) -> None:
    """A name that has moved lets nobody pass."""
    module = import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    assert f"def {name}(" in inspect.getsource(module)
