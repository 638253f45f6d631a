"""Upstreams that are not ours: one on h11, which counts and records; one that says any bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
from aiohttp import web

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """One request as h11 read it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def names(self) -> list[str]:
        return [key for key, _ in self.headers]


@dataclass
class Upstream:
    """A running upstream: its port, the requests it understood, the raw bytes per connection."""

    port: int = 0
    requests: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    connections: int = 0
    ended: int = 0
    faults: list[str] = field(default_factory=list)
    status: int = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def recording() -> AsyncIterator[Upstream]:
    """An upstream on h11 that answers with the number of the request and echoes its body."""
    seen = Upstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, seen.connections = seen.connections, seen.connections + 1
        seen.raw.append(b"")
        try:
            while await _exchange(seen, number, reader, writer):
                pass
        except h11.RemoteProtocolError as error:
            seen.faults.append(str(error))
        except ConnectionError:
            pass
        finally:
            seen.ended += 1
            writer.close()

    async with running(serve) as port:
        seen.port = port
        yield seen


async def _exchange(
    seen: Upstream, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    state: h11.Connection = getattr(writer, "h11", None) or h11.Connection(h11.SERVER)
    writer.h11 = state  # type: ignore[attr-defined]
    request: h11.Request | None = None
    body = b""
    while True:
        event = state.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(65_536)
            seen.raw[number] += data
            state.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            return False
    assert request is not None
    headers = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
    seen.requests.append(Seen(request.method.decode(), request.target.decode(), headers, body, number))
    answer = body or b"request %d" % len(seen.requests)
    fields = [("Content-Length", str(len(answer))), ("X-Number", str(len(seen.requests)))]
    out = state.send(h11.Response(status_code=seen.status, headers=fields)) or b""
    if request.method != b"HEAD":
        out += state.send(h11.Data(data=answer)) or b""
    out += state.send(h11.EndOfMessage()) or b""
    writer.write(out)
    await writer.drain()
    if state.our_state is h11.MUST_CLOSE:
        return False
    state.start_next_cycle()
    return True


@asynccontextmanager
async def running(script: Script) -> AsyncIterator[int]:
    """A server on a free port whose connections run the script."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(*answers: bytes, then_close: bool = False, heard: list[bytes] | None = None) -> Script:
    """Reads a request head for each answer and says it; closes after the last one if told to."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            if heard is not None:
                heard.append(head)
            writer.write(answer)
            await writer.drain()
        if then_close:
            writer.close()
            return
        await reader.read()

    return script


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[tuple[int, web.AppRunner]]:
    """An application on a free port, by plain HTTP."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site._server.sockets[0].getsockname()[1], runner  # type: ignore[union-attr]
    finally:
        await runner.cleanup()
