"""The connections to an upstream: how many are opened at the same time, and which ones may be used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.proxy.exchange import UpstreamConnection, UpstreamFault
from gateway.proxy.upstream import Pool, Upstream, parse_addresses
from gateway.proxy.waiting import Waits
from tests.gateway.proxy.upstreams import Script, recording, running, saying

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: Nothing here waits: how long a connection rested is set by the test.
WAITS = Waits(rest=3_600.0, rest_unsafe=600.0, down=3_600.0)


@asynccontextmanager
async def pool_of(*urls: str, connections: int = 100) -> AsyncIterator[Pool]:
    pool = Pool(Upstream(parse_addresses(urls), connections=connections, waits=WAITS))
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


@asynccontextmanager
async def pool_before(script: Script, connections: int = 100) -> AsyncIterator[Pool]:
    async with running(script) as port, pool_of(f"http://127.0.0.1:{port}", connections=connections) as pool:
        yield pool


async def exchanged(connection: UpstreamConnection) -> UpstreamConnection:
    """One request and its whole answer on it."""
    connection.begin(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bodiless=False)
    assert (await connection.head()).status == 200
    while await connection.body():
        pass
    return connection


async def outcomes(pool: Pool, count: int) -> list[str]:
    """What becomes of so many that want a new connection at the same moment: "open", or the fault."""
    got = await asyncio.gather(*(pool.fresh() for _ in range(count)), return_exceptions=True)
    return sorted(each.code if isinstance(each, UpstreamFault) else "open" for each in got)


async def test_those_that_are_being_opened_count() -> None:
    """Many that come at once open no more than there may be: who is on the way has his place already."""
    async with recording() as upstream, pool_of(upstream.url, connections=3) as pool:
        assert await outcomes(pool, 10) == ["full"] * 7 + ["open"] * 3
        assert (pool.open, upstream.connections) == (3, 3)
        assert await outcomes(pool, 2) == ["full"] * 2


async def test_whoever_ends_it_may_be_stopped() -> None:
    """Whoever waits for the end of its checks is not told that it went well when it is itself cancelled."""
    pool = Pool(Upstream(parse_addresses(["http://127.0.0.1:9"]), "/health", waits=WAITS))
    await pool.start()
    try:
        ending = asyncio.create_task(pool.end())
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
    finally:
        await pool.stop()


async def test_what_could_not_be_opened_takes_no_place() -> None:
    """However often an address refuses, that is what is told, and never that the pool is full."""
    async with running(saying()) as port:
        pass
    async with pool_of(f"http://127.0.0.1:{port}", connections=1) as pool:
        for _ in range(3):
            assert await outcomes(pool, 1) == ["unreachable"]
        assert pool.open == 0


async def test_who_gives_up_while_it_is_opened_takes_no_place() -> None:
    """A visitor who leaves during the opening leaves room for the next one."""
    async with pool_before(saying(OK), connections=1) as pool:
        leaving = asyncio.ensure_future(pool.fresh())
        await asyncio.sleep(0)
        leaving.cancel()
        assert isinstance((await asyncio.gather(leaving, return_exceptions=True))[0], asyncio.CancelledError)
        assert await outcomes(pool, 1) == ["open"]


@pytest.mark.parametrize(
    ("rested", "unsafe", "used"),
    [(599, True, True), (601, True, False), (601, False, True), (3_599, False, True), (3_601, False, False)],
)
async def test_how_long_one_may_have_rested(rested: int, unsafe: bool, used: bool) -> None:
    """The upstream may close what rests at any moment: what must not be sent twice asks for one that hardly
    rested, everything else for one that did not rest too long."""
    async with pool_before(saying(OK, OK)) as pool:
        connection = await exchanged(await pool.fresh())
        pool.give_back(connection)
        connection.idle_since -= rested
        assert pool.resting(unsafe=unsafe) is (connection if used else None)


async def test_nobody_gets_one_that_somebody_has() -> None:
    """Two that rest serve two, whoever asks and from whichever address; the third opens his own."""
    async with recording() as one, recording() as other, pool_of(one.url, other.url) as pool:
        held = [await exchanged(await pool.fresh()) for _ in range(2)]
        assert {connection.key for connection in held} == {0, 1}
        for connection in held:
            pool.give_back(connection)
        taken = [pool.resting() for _ in range(3)]
        assert {id(each) for each in taken} == {id(None), *map(id, held)}
        assert taken[2] is None


async def test_one_that_ended_while_it_rested_is_gone() -> None:
    """What the upstream closed meanwhile is given to nobody."""
    async with recording() as upstream, pool_of(upstream.url) as pool:
        connection = await exchanged(await pool.fresh())
        pool.give_back(connection)
        connection.abort("closed by the upstream")
        assert pool.resting() is None
        await asyncio.sleep(0)
        assert pool.open == 0


async def test_what_is_not_over_does_not_rest() -> None:
    """A connection whose answer has not come whole ends with its visitor: nobody reads the rest of it."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"
    async with pool_before(saying(half)) as pool:
        connection = await pool.fresh()
        connection.begin(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bodiless=False)
        assert (await connection.head()).length == 20
        pool.give_back(connection)
        assert (connection.alive, pool.resting()) == (False, None)


async def test_after_its_end_a_pool_keeps_nothing() -> None:
    """A reload: what was on its way goes on, and ends instead of resting."""
    async with pool_before(saying(OK, OK)) as pool:
        connection = await exchanged(await pool.fresh())
        await pool.end()
        assert connection.alive
        pool.give_back(connection)
        assert (connection.alive, pool.resting()) == (False, None)
