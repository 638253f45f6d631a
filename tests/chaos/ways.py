"""Ways between two sockets that can be cut, slowed down and made deaf, in a process of their own: what is
driven by the chaos does not wait for the chaos.

Run as ``python -m tests.chaos.ways``. Lines of JSON go in, one comes out for each: ``{"open": NAME, "at":
[...], "to": [...]}`` makes a way (a path, or a host with a port), ``{"way": NAME, "is": MANNER}`` changes it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.started import started

#: How a way may be. "cut": nobody gets through, nor stays; "slow": each piece takes its time; "deaf": it
#: accepts, and nothing comes through.
OPEN, CUT, SLOW, DEAF = "open", "cut", "slow", "deaf"
# Seconds for a piece, of 64 KiB at most, on a slow one.
_SLOW = 0.15

Place = Sequence[str | int]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class _Way:
    to: Place
    manner: str = OPEN
    open_ones: set[asyncio.StreamWriter] = field(default_factory=set)
    hears: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, manner: str) -> None:
        self.manner = manner
        (self.hears.clear if manner == DEAF else self.hears.set)()
        if manner == CUT:
            for each in self.open_ones:
                each.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_ones.add(writer)
        try:
            if self.manner == CUT:
                writer.transport.abort()
                return
            await self.hears.wait()
            far_reader, far_writer = await _reached(self.to)
            self.open_ones.add(far_writer)
            try:
                halves = (self._pass(reader, far_writer), self._pass(far_reader, writer))
                await asyncio.gather(*halves)
            finally:
                self.open_ones.discard(far_writer)
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):  # the second at the end of all ways
            pass
        finally:
            self.open_ones.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if self.manner == SLOW:
                    await asyncio.sleep(_SLOW)
                await self.hears.wait()
                writer.write(piece)
                await writer.drain()
        with suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()


async def _reached(to: Place) -> Stream:
    if len(to) == 1:
        return await asyncio.open_unix_connection(str(to[0]))
    return await asyncio.open_connection(str(to[0]), int(to[1]))


async def _serve() -> None:
    ways, kept = dict[str, _Way](), []
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        told = json.loads(line)
        if "open" in told:
            way, at = _Way(told["to"]), told["at"]
            way.hears.set()
            ways[told["open"]] = way
            if len(at) == 1:
                kept.append(await asyncio.start_unix_server(way.take, at[0]))
            else:
                kept.append(await asyncio.start_server(way.take, at[0], at[1]))
        else:
            ways[told["way"]].change(told["is"])
        sys.stdout.write("\n")
        sys.stdout.flush()


class Ways:
    """The process, for who drives it."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self._running = running

    def open(self, name: str, at: Place, to: Place) -> None:
        self._tell({"open": name, "at": at, "to": to})

    def be(self, name: str, manner: str) -> None:
        self._tell({"way": name, "is": manner})

    def _tell(self, told: dict[str, Any]) -> None:
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(json.dumps(told).encode() + b"\n")
        self._running.stdin.flush()
        assert self._running.stdout.readline() == b"\n", "the ways have ended"


@contextmanager
def ways() -> Iterator[Ways]:
    """Until the end of the block."""
    command = [sys.executable, "-m", "tests.chaos.ways"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(command, cwd=Path(__file__).parents[2], **pipes) as running:
        yield Ways(running)


if __name__ == "__main__":
    asyncio.run(_serve())
