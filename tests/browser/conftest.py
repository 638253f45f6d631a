"""Browsers run where there is one, and where its policy can be set; elsewhere the tests say why not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

from playwright.async_api import expect

from tests.browser import kit

# Milliseconds: as long as a busy machine takes to show a page. Playwright gives up after five seconds.
expect.set_options(timeout=60_000)


_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests in here share one event loop, as the browsers do that they share."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def _policy() -> Iterator[None]:
    reason = kit.missing()
    if reason is not None:
        pytest.skip(reason)
    with kit.chooser_policy():
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _room(_policy: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[kit.Room]:
    async with kit.room(tmp_path_factory.mktemp("room")) as made:
        yield made


@pytest.fixture(autouse=True)
def _visit(_room: kit.Room) -> Iterator[None]:
    with _room.visit():
        yield


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path) -> AsyncIterator[kit.World]:
    """A whole gateway with nobody in it."""
    async with kit.world(tmp_path) as made:
        yield made


@pytest.fixture
def person(tmp_path: Path, world: kit.World) -> kit.Persona:
    """Somebody's PC."""
    return kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
