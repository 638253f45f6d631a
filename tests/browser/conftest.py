"""Browsers run where there is one, and where its policy can be set; elsewhere the tests say why not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

from playwright.async_api import expect

from tests.browser import kit

# Milliseconds: as long as a busy machine takes to show a page. Playwright gives up after five seconds.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="session", autouse=True)
def _browser() -> Iterator[None]:
    reason = kit.missing()
    if reason is not None:
        pytest.skip(reason)
    with kit.chooser_policy():
        yield


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[kit.World]:
    """A whole gateway with nobody in it."""
    async with kit.world(tmp_path) as made:
        yield made


@pytest.fixture
def person(tmp_path: Path, world: kit.World) -> kit.Persona:
    """Somebody's PC."""
    return kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
