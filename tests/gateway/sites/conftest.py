"""The online service on a real listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.datadirs import admit
from tests.gateway.sites.kit import Served
from tests.gateway.sites.members import USER, online_service


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Served]:
    """The online service, with one user of one organisation."""
    async with online_service(tmp_path) as served:
        await admit(served.ra, USER)
        yield served
