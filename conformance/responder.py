"""Answers http-01 validations (RFC 8555 8.3), for servers that will not take our word for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

PREFIX = "/.well-known/acme-challenge/"


@asynccontextmanager
async def answering(port: int | None, authorizations: Mapping[str, str]) -> AsyncIterator[None]:
    """Serves the key authorizations, by token, on the port of every address; None serves nothing."""
    if port is None:
        yield
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(head.decode("latin-1"), authorizations))
            await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, None, port):
        yield


def answer(head: str, authorizations: Mapping[str, str]) -> bytes:
    """The HTTP answer to a request head: the key authorization of the token it names, or 404."""
    method, _, rest = head.partition(" ")
    target = rest.partition(" ")[0]
    token = target.removeprefix(PREFIX) if target.startswith(PREFIX) else ""
    body = authorizations.get(token, "") if method == "GET" else ""
    status = "200 OK" if body else "404 Not Found"
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/octet-stream", f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "Connection: close", "", body)).encode("latin-1")
