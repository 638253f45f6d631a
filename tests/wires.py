"""Wires between two sockets that are cut, slowed down and made deaf: in a thread of a test, or in a process
of their own (``python -m tests.wires``), so that what is driven by a test does not wait for it.

To that process go lines of JSON, one comes back for each: ``{"lay": NAME, "at": [...], "to": [...]}`` makes a
wire, ``{"wire": NAME, "manner": MANNER, "delay": SECONDS}`` changes it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from tests.started import started

T = TypeVar("T")

#: How a wire may be. "cut": whoever is there is reset, and nobody is listening; "deaf": it accepts, and
#: nothing comes through until it is open again.
OPEN, CUT, DEAF = "open", "cut", "deaf"
_SOCKET = ".s.PGSQL.5432"

#: A socket's path, or a host with a port.
Place = Sequence[str | int]


class Wire:
    """One of an event loop's, for whom it is made: from ``at`` to what ``to`` names for each connection.
    ``delay``: seconds that each piece is on its way, of 64 KiB at most."""

    def __init__(self, at: Place, to: Callable[[], Place]) -> None:
        self.at, self.manner, self.delay = at, CUT, 0.0
        self._to = to
        self._ends: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self._hears = asyncio.Event()

    async def become(self, manner: str, delay: float = 0.0) -> None:
        """From now on, for those who are there as well."""
        self.manner, self.delay = manner, delay
        (self._hears.clear if manner == DEAF else self._hears.set)()
        if manner == CUT:
            if self._listening is not None:
                self._listening.close()
                self._listening = None
            for each in self._ends:
                each.transport.abort()
        elif self._listening is None:
            await self._listen()

    async def _listen(self) -> None:
        if len(self.at) == 1:
            self._listening = await asyncio.start_unix_server(self._serve, str(self.at[0]))
        else:
            host, port = self.at
            self._listening = await asyncio.start_server(self._serve, str(host), int(port))
            self.at = self._listening.sockets[0].getsockname()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._ends.add(writer)
        try:
            await self._hears.wait()
            there, to = await _reached(self._to())
            ends.append(to)
            self._ends.add(to)
            await asyncio.gather(self._carry(reader, to), self._carry(there, writer))
        except (OSError, asyncio.CancelledError):  # the second at the end of the process
            pass
        finally:
            for each in ends:
                self._ends.discard(each)
                each.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                await asyncio.sleep(self.delay)
                await self._hears.wait()
                writer.write(piece)
                await writer.drain()
        with suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()


async def _reached(to: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if len(to) == 1:
        return await asyncio.open_unix_connection(str(to[0]))
    return await asyncio.open_connection(str(to[0]), int(to[1]))


# -- in a thread of the test -------------------------------------------------------------------------------


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="wires", daemon=True).start()
    return loop


def _done(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(60)


class Held:
    """A wire, for the test's own thread."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @property
    def port(self) -> int:
        return int(self._wire.at[1])

    def become(self, manner: str, delay: float = 0.0) -> None:
        _done(self._wire.become(manner, delay))


@contextmanager
def held(to: Callable[[], Place], port: int = 0) -> Iterator[Held]:
    """A wire from a port of ours, which ends with the block."""
    made = Held(Wire(("127.0.0.1", port), to))
    made.become(OPEN)
    try:
        yield made
    finally:
        made.become(CUT)


@contextmanager
def wire(server: Path) -> Iterator[Held]:
    """To the PostgreSQL server whose socket is in a directory."""
    with held(lambda: [str(server / _SOCKET)]) as made:
        yield made


@contextmanager
def balancer(ports: Sequence[int], random: Random, port: int) -> Iterator[Counter[int]]:
    """Hands each connection to one of these ports, at random, whatever is said on it; how many each got."""
    used = Counter[int]()

    def drawn() -> Place:
        used[found := random.choice(list(ports))] += 1
        return "127.0.0.1", found

    with held(drawn, port):
        yield used


# -- in a process of their own -----------------------------------------------------------------------------


class Apart:
    """The process, for who drives it."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self._running = running

    def lay(self, name: str, at: Place, to: Place) -> None:
        self._tell({"lay": name, "at": at, "to": to})

    def become(self, name: str, manner: str, delay: float = 0.0) -> None:
        self._tell({"wire": name, "manner": manner, "delay": delay})

    def _tell(self, told: dict[str, Any]) -> None:
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(json.dumps(told).encode() + b"\n")
        self._running.stdin.flush()
        assert self._running.stdout.readline() == b"\n", "the wires have ended"


@contextmanager
def apart() -> Iterator[Apart]:
    """Until the end of the block."""
    command = [sys.executable, "-m", "tests.wires"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(command, cwd=Path(__file__).parents[1], **pipes) as running:
        yield Apart(running)


async def _obey() -> None:
    laid = dict[str, Wire]()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        told = json.loads(line)
        if "lay" in told:
            laid[told["lay"]] = Wire(told["at"], lambda to=told["to"]: to)  # type: ignore[misc]
            await laid[told["lay"]].become(OPEN)
        else:
            await laid[told["wire"]].become(told["manner"], told["delay"])
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_obey())
