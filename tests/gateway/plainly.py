"""A client of the plain-HTTP site that sends bytes as it likes, for tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from gateway.wire.plain import Answering, PlainServer

PATIENCE = 60.0


class Seconds:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Plainly:
    server: PlainServer
    seconds: Seconds

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.ports[0]}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.ports[0])

    async def say(self, data: bytes) -> bytes:
        """Everything that is answered until the server hangs up, or ``data`` says that it should."""
        reader, writer = await self.connect()
        with suppress(ConnectionError):
            writer.write(data)
            answered = await _whole(reader)
        writer.close()
        return answered

    async def ask(
        self, path: str, body: bytes | None = None, method: str = "", **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, fields in lower case, body) of one request."""
        named = {"Host": "pki.example", "Connection": "close"}
        named |= {name.replace("_", "-"): value for name, value in fields.items()}
        if body is not None:
            named["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        verb = method or ("GET" if body is None else "POST")
        said = await self.say(f"{verb} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b""))
        return read(said)


def read(said: bytes) -> tuple[int, dict[str, str], bytes]:
    """One answer."""
    head, _, body = said.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (each.partition(": ") for each in lines)
    return int(line.split(" ")[1]), {name.lower(): value for name, _, value in pairs}, body


@asynccontextmanager
async def plainly(answering: Answering) -> AsyncIterator[Plainly]:
    """A server on a port of its own, with a clock of its own."""
    seconds = Seconds()
    server = PlainServer(answering, seconds)
    await server.start([socket.create_server(("127.0.0.1", 0))])
    try:
        yield Plainly(server, seconds)
    finally:
        await server.stop()


async def _whole(reader: asyncio.StreamReader) -> bytes:
    found = []
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while piece := await reader.read(1 << 16):
                found.append(piece)
    return b"".join(found)
