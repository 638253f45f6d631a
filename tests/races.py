"""Twenty at a time race for what is limited, or done once, on each engine (tests/enroll/test_raced.py)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from enroll.refusals import Refusal
from enroll.repeats import InFlight
from tests import databases
from tests.datadirs import together

RACERS = 20
ENGINES = (pytest.param("sqlite"), pytest.param("postgresql", marks=databases.NEEDED))


async def raced(*works: Awaitable[Any]) -> list[Any]:
    """What each of them got: its own, or by which code or status it was refused; nothing else may happen."""
    got = await together(*works)
    odd = [
        each for each in got if isinstance(each, BaseException) and not isinstance(each, Refusal | InFlight)
    ]
    assert odd == [], odd
    return [each for each in got if not isinstance(each, BaseException)]
