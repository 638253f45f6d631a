"""What a request behind the login asks of the register once its caller is known: nothing, on any engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import wraps
from typing import Any

import pytest

from tests import databases
from tests.engines import VARIABLE
from tests.gateway.proxy.test_mounted import JSON, service  # noqa: F401 (a fixture)
from tests.gateway.sites.kit import Served
from tests.gateway.sites.members import at_home

_ENGINES = ("sqlite", pytest.param("postgresql", marks=databases.NEEDED))


@pytest.fixture(params=_ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By which the register of the other fixtures is kept: it has to be asked for first."""
    monkeypatch.setenv(VARIABLE, request.param)
    return str(request.param)


async def test_no_statement_for_a_request_like_the_last_one(
    engine: str,
    service: Served,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a few requests the next ones read and write nothing, not on a connection of their own either;
    whatever is written then is read before the next is answered."""
    visitor = await at_home(service)
    for _ in range(3):
        assert (await visitor.get("/app/who", **JSON)).status == 200
    database, asked = service.ra.database, Counter[str]()
    assert database.shared is (engine == "postgresql")

    def counted(name: str) -> Any:
        plain = getattr(database, name)

        @wraps(plain)
        def work(*given: Any, **more: Any) -> Any:
            asked[name] += 1
            return plain(*given, **more)

        return work

    for name in ("read", "read_now", "write", "write_now"):
        monkeypatch.setattr(database, name, counted(name))
    async with asyncio.timeout(60):
        while True:
            asked.clear()
            for _ in range(20):
                assert (await visitor.get("/app/who", **JSON)).status == 200
            # The commit of the login is heard of a little later, across a network.
            if not asked:
                break
    await database.write(lambda db: db.execute("UPDATE users SET password_initial = 1"))
    asked.clear()
    assert (await visitor.get("/app/who", **JSON)).status == 403
    assert asked.total() > 0
