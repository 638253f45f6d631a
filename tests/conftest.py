"""For every test: property tests judge the code, not how busy the machine is; long files begin first."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import blocked, held
from tests.longest import place_of
from tests.turns import kept, turn

held.watch()
blocked.watch()

settings.register_profile(
    "sekisho",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A run of CI is repeatable; at a desk every run tries other values.
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("sekisho")

# Until all tests are there nothing is garbage, and afterwards nobody looks through them again and again.
gc.disable()


def _by_turns(item: pytest.Item) -> bool:
    """Whether it is of a kind that takes most of the time."""
    return any(item.get_closest_marker(name) for name in ("browser", "client", "slow"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files whole and in the order of `tests/longest.py` (xdist keeps it with --no-loadscope-reorder).
    ``SEKISHO_TURNS``: of `_by_turns` one in so many, others with each commit."""
    items.sort(key=lambda item: place_of(item.nodeid.partition("::")[0]))
    if (every := int(os.environ.get("SEKISHO_TURNS") or 1)) == 1:
        return
    chosen = kept(items, _by_turns, every, turn())
    left = set(items).difference(chosen)
    config.hook.pytest_deselected(items=[each for each in items if each in left])
    items[:] = chosen


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_runtest_setup() -> None:
    if databases := sys.modules.get("tests.databases"):
        databases.lend_from_now_on()


@pytest.fixture(autouse=True)
def _nobody_blocked() -> Iterator[None]:
    """What waits for the database in an event loop is told even where a page answered for it."""
    blocked.found.clear()
    yield
    assert blocked.found == []


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What a test had in its own directory nobody opens any more."""
    own = getattr(item, "funcargs", {}).get("tmp_path")
    if (databases := sys.modules.get("tests.databases")) and isinstance(own, Path):
        databases.back(own)
