"""The online service on a real listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import pages
from gateway.context import Role
from gateway.sites.service import application
from gateway.tls import ClientCertificate
from tests.gateway.sites.kit import Served, serve
from tests.gateway.sites.members import USER
from tests.offices import admit, open_office


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Served]:
    """The site on a listener that requires certificates, with one user of one organisation."""
    async with (
        open_office(tmp_path) as office,
        serve(
            office,
            tmp_path,
            Role.SERVICE,
            application,
            ClientCertificate.REQUIRE,
            lambda gate: pages.refused(gate, Role.SERVICE),
        ) as served,
    ):
        await admit(office, USER)
        yield served
