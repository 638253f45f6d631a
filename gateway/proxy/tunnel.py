"""A WebSocket after its handshake: bytes both ways, each side no faster than the other takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gateway.proxy.exchange import UpstreamConnection, UpstreamFault
from gateway.wire.request import Client


class _Pausable(Protocol):
    """A side's transport."""

    def is_closing(self) -> bool: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def tunnel(
    front: Client,
    connection: UpstreamConnection,
    *,
    idle: float,
    recheck: float,
    current: Callable[[], Awaitable[bool]],
) -> None:
    """Runs until either side ends, nothing moves for ``idle`` seconds, or ``current`` says no.

    ``current`` is asked every ``recheck`` seconds. Bytes that the client sent before the 101 have been
    held back until now.
    """
    both = _Tunnel(front, connection, idle)
    both.receive(connection.tunnel(both.receive))
    both.send(front.tunnel(both.send))
    try:
        while not await connection.ended(recheck):
            if not await current():
                connection.abort("no-longer-entitled")
    finally:
        both.end()
    if connection.fault != "closed-cleanly" and front.transport is not None:
        raise UpstreamFault(connection.fault or "cut", answered=True)


class _Tunnel:
    """The two directions."""

    def __init__(self, front: Client, connection: UpstreamConnection, idle: float) -> None:
        self._front, self._connection = front, connection
        self._loop, self._idle = asyncio.get_running_loop(), idle
        self._waiting: set[asyncio.Task[None]] = set()

    def send(self, data: bytes) -> None:
        """From the client."""
        self._touch()
        client = self._front.transport
        if client is None or not data:
            return
        self._connection.write(data)
        if self._connection.writing_paused and client.is_reading():
            client.pause_reading()
            self._wait(self._resume(self._connection.drain, client))

    def receive(self, data: bytes) -> None:
        """From the upstream."""
        self._touch()
        client, upstream = self._front.transport, self._connection.transport
        if client is None or not data:
            return
        client.write(data)
        if self._front.writing_paused and upstream is not None and upstream.is_reading():
            upstream.pause_reading()
            self._wait(self._resume(self._front.drain, upstream))

    def end(self) -> None:
        for task in self._waiting:
            task.cancel()

    def _touch(self) -> None:
        self._connection.deadline = self._loop.time() + self._idle

    async def _resume(self, drained: Callable[[], Awaitable[None]], reading: _Pausable) -> None:
        try:
            await drained()
        except (UpstreamFault, ConnectionError):
            return
        if not reading.is_closing():
            reading.resume_reading()

    def _wait(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
