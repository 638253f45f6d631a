"""A wire between a node and its PostgreSQL server, which a test cuts, slows down and mends: TCP on one side,
the server's socket on the other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

_SOCKET = ".s.PGSQL.5432"


class Wire:
    """``mood``: "good"; "silent" (whoever is there, or comes, hears nothing any more), "refusing" (whoever is
    there is reset, and nobody is listening). ``delay``: seconds that whatever is said is on its way."""

    def __init__(self, server: Path) -> None:
        self.server, self.mood, self.delay, self.port = server, "good", 0.0, 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self._spoken = asyncio.Event()
        self._spoken.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    def become(self, mood: str) -> None:
        """From now on, for those who are there as well."""
        before, self.mood = self.mood, mood
        self._loop.call_soon_threadsafe(self._spoken.clear if mood == "silent" else self._spoken.set)
        if mood == "refusing":
            self._do(self._refuse())
        elif before == "refusing":
            self._do(self._listen())
        if mood == "good":
            # What was silent does not come to life again: its two ends have given each other up.
            self._do(self._reset())

    def close(self) -> None:
        self._do(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _do(self, work):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        await self._reset()

    async def _reset(self) -> None:
        for each in self._writers:
            each.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError):
            there, to = await asyncio.open_unix_connection(str(self.server / _SOCKET))
            self._writers.add(to)
            try:
                await asyncio.gather(self._carry(reader, to), self._carry(there, writer))
            finally:
                for each in (writer, to):
                    self._writers.discard(each)
                    each.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await reader.read(65_536):
                await asyncio.sleep(self.delay)
                await self._spoken.wait()
                writer.write(some)
                await writer.drain()
        writer.close()


@contextmanager
def wire(server: Path) -> Iterator[Wire]:
    """One that ends with the block."""
    made = Wire(server)
    try:
        yield made
    finally:
        made.close()


class Balancer:
    """Hands each connection to one of these ports, at random, whatever is said on it. ``used``: which."""

    def __init__(self, ports: Sequence[int], random: Random, port: int) -> None:
        self.used: Counter[int] = Counter()
        self._ports, self._random = list(ports), random
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        opening = asyncio.start_server(self._serve, "127.0.0.1", port)
        self._listening = asyncio.run_coroutine_threadsafe(opening, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._listening.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self._random.choice(self._ports)
        self.used[port] += 1
        with suppress(OSError):
            there, to = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_passed_on(reader, to), _passed_on(there, writer))


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    writer.close()


@contextmanager
def balancer(ports: Sequence[int], random: Random, port: int) -> Iterator[Balancer]:
    """One that ends with the block."""
    made = Balancer(ports, random, port)
    try:
        yield made
    finally:
        made.close()


def nobody() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
