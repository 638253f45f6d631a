"""For every test: property tests judge the code, not how busy the machine is; long files begin first."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

from tests import held
from tests.longest import place_of

held.watch()

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whole and in the order of `tests/longest.py` (xdist keeps it with --no-loadscope-reorder)."""
    items.sort(key=lambda item: place_of(item.nodeid.partition("::")[0]))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
