"""A deployment where the site's own pages and an upstream answer on one connection; and what to ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.edge.facts import ConnectionInfo, Limits, Unobserved
from gateway.edge.served import Served
from gateway.proxy.relay import explained
from gateway.proxy.upstream import Pool
from gateway.web.pages import EVERY_PATH
from gateway.wire.sites import WebSite
from tests.gateway.conftest import Pki, Running
from tests.gateway.rawtls import connect, get

HOST = b"login.test"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# A test shortens the one limit that it is about: within the others everybody is on a busy machine as well.
QUICK = Limits(tick=0.02, drain=0.2, lingering=0.2, stall_bytes=64)
SOON = 0.25


def held_up(
    asked: asyncio.Event, go: asyncio.Event, answer: bytes
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """An upstream that says when it is asked, and answers when it may."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go.wait()
        writer.write(answer)
        await reader.read()

    return script


class Log(Unobserved):
    """Keeps what was served."""

    def __init__(self) -> None:
        self.entries: list[Served] = []

    def served(self, info: ConnectionInfo, served: Served) -> None:
        self.entries.append(served)

    def lines(self) -> list[tuple[str, str, int]]:
        return [(each.method, each.target, each.status) for each in self.entries]


@dataclass
class Deployment:
    """A site with pages below /own, and whatever else is the upstream's."""

    running: Running
    pool: Pool
    log: Log
    site: WebSite
    pki: Pki

    def client(self) -> Any:
        return connect(self.running.port, HOST, certificate=self.pki.client)

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.running.listener.counts)


def pages(*more: tuple[str, str, Any]) -> web.Application:
    """What the deployment answers itself; a request that was turned down keeps its connection."""

    async def plain(request: web.Request) -> web.Response:
        return web.Response(text=f"own {request.rel_url.raw_path}")

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def last(_: web.Request) -> web.Response:
        response = web.Response(text="last")
        response.force_close()
        return response

    async def failed(_: web.BaseRequest, status: int, code: str) -> web.Response:
        return web.Response(status=status, text=code)

    app = web.Application()
    for method, path, handler in (
        ("GET", "/own/page", plain),
        ("GET", "/own/last", last),
        ("POST", "/own/page", plain),
        ("POST", "/own/echo", echo),
        *more,
    ):
        app.router.add_route(method, path, handler)
    app.router.add_route("*", EVERY_PATH, explained(failed))
    return app


Build = Callable[..., Awaitable[Deployment]]


def post(target: bytes, body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    """``length``: what is announced, if it is not what is there."""
    announced = b"Content-Length: %d" % (len(body) if length is None else length)
    return get(HOST, target, announced, *lines).replace(b"GET", b"POST", 1) + body


def chunked(target: bytes, rest: bytes, *lines: bytes) -> bytes:
    return get(HOST, target, b"Transfer-Encoding: chunked", *lines).replace(b"GET", b"POST", 1) + rest


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def statuses(stream: bytes) -> list[int]:
    return [int(part[2:5]) for part in stream.split(b"HTTP/1.")[1:]]


def relaying() -> list[str]:
    """The tasks of requests on their way to an upstream. Compiled coroutines have no name, but a class of
    their own in the relay's module (`make test-compiled`)."""
    running = [task.get_coro() for task in asyncio.all_tasks()]
    names = [getattr(each, "__qualname__", "") for each in running]
    found = [name for name in names if name.startswith(("Forwarding.", "Relay."))]
    kinds = [type(each) for each in running if type(each).__module__ == "gateway.proxy.relay"]
    return found + [
        kind.__name__ for kind in kinds if kind.__name__.endswith(("_Forwarding_gen", "_Relay_gen"))
    ]
