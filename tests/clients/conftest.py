"""One demo for all clients: each works for a user, and on an account, of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.demo import Demo, running
from tests.clients.here import Here


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("demo")) as started:
        yield Here(started.summary, started.file)
