"""How the gateway is, told to this machine by plain HTTP: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any, cast

from aiohttp import web

from ca.storage import StorageTrouble
from gateway.running.metrics import CONTENT_TYPE, Sample, exposition
from gateway.running.ports import unusable


@dataclass(frozen=True)
class Readiness:
    """How the gateway is, in words for its operator."""

    #: What keeps it from serving. /readyz answers 503 while there is any.
    wrong: tuple[str, ...] = ()
    #: What it serves in spite of, and an operator has to see to. Each ends with what to do.
    warnings: tuple[str, ...] = ()


Ready = Callable[[], Awaitable[Readiness]]
Figures = Callable[[], Awaitable[Iterable[Sample]]]


_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?")
_ELSEWHERE = "this port is not asked by that Host; write its name into internal.hosts, then sekisho reload"

#: Connections to this port at a time. Their descriptors are the same that visitors need.
MOST = 32


class Internal:
    """The open port; close it once."""

    def __init__(self, opened: asyncio.Server, runner: web.ServerRunner) -> None:
        self._opened, self._runner = opened, runner
        self.port = int(opened.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._opened.close()
        await self._runner.cleanup()


class _Asker(web.RequestHandler):
    """aiohttp's, which has no limit: where there are too many, those that came first make room."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        everybody = [] if self._manager is None else self._manager.connections
        for each in everybody[:-MOST]:
            if each.transport is not None:
                each.transport.abort()


async def listen(
    host: str,
    port: int,
    ready: Ready,
    figures: Figures,
    names: Callable[[], Collection[str]] = tuple,
) -> Internal:
    """Opens the port. ``names``: what it is asked by now, besides addresses and localhost. ConfigError if it
    cannot be used."""

    async def healthz(_: web.BaseRequest) -> web.Response:
        return _json(200, {"status": "ok"})

    async def readyz(_: web.BaseRequest) -> web.Response:
        found = await ready()
        told = {"status": "not ready" if found.wrong else "ready", **asdict(found)}
        return _json(503 if found.wrong else 200, told)

    async def metrics(_: web.BaseRequest) -> web.Response:
        text = exposition(await figures())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    pages = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if not asked_here([value for name, value in request.raw_headers if name.lower() == b"host"], names()):
            return _json(421, {"error": _ELSEWHERE})
        page = pages.get(request.raw_path.partition("?")[0])
        if page is None or request.method not in ("GET", "HEAD"):
            return _json(404 if page is None else 405, {"pages": list(pages)})
        return await page(request)

    server, loop = web.Server(handle), asyncio.get_running_loop()
    runner = web.ServerRunner(server, shutdown_timeout=1)
    await runner.setup()
    try:
        opened = await loop.create_server(
            lambda: _Asker(server, loop=loop, access_log=cast(Any, None)), host, port
        )
    except OSError as error:
        await runner.cleanup()
        raise unusable("internal", host, port, error) from None
    return Internal(opened, runner)


def asked_here(hosts: list[bytes], names: Collection[str]) -> bool:
    """Whether a request is for this port by its Host: an address, localhost, or one of the ``names``.

    A page of any site can have its own name lead to this address (DNS rebinding) and then reads what is told
    here. It has no name but its own, and no page stands under an address of ours. A balancer's check without
    a Host (HTTP/1.0) is no browser's.
    """
    if len(hosts) != 1:
        return not hosts
    named = _AUTHORITY.fullmatch(hosts[0].decode("latin-1").lower())
    if named is None:
        return False
    host = named["host"]
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost" or host in names
    return True


def _json(status: int, value: dict[str, Any]) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(value).encode() + b"\n", content_type="application/json"
    )


async def at_most(seconds: float, work: Awaitable[None]) -> str | None:
    """None if the work is done in time, else what is wrong with it."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except Exception as error:
        return error.trouble if isinstance(error, StorageTrouble) else type(error).__name__
    return None
