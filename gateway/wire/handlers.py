"""aiohttp's servers around the handlers of the sites, the gate before each, and a front for each connection.

A reload brings other handlers; those of before end once nobody is served by them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.web_runner import BaseRunner

from ca.trust import VerifiedPeer
from gateway.edge.facts import ConnectionInfo, Limits, Verdict
from gateway.edge.tls import Site
from gateway.wire.aiohttp_patches import demand_c_parser, forget_applications
from gateway.wire.front import Front
from gateway.wire.http import AHEAD, gate, misdirected
from gateway.wire.sites import LowLevelHandler, as_web_site

_Handler = web.Application | LowLevelHandler
# Seconds, twice, for handlers that `stop` cuts off; the listener has given them `limits.drain` before.
_CUT = 0.5


class Handlers:
    """See `gateway.edge.listener.Wire`."""

    def __init__(self) -> None:
        demand_c_parser()
        self._runners: dict[_Handler, BaseRunner] = {}
        self._retired: list[BaseRunner] = []
        self._cleaning: set[asyncio.Task[None]] = set()
        self._recheck: Callable[[VerifiedPeer], Verdict] | None = None

    async def set_up(self, sites: Iterable[Site], recheck: Callable[[VerifiedPeer], Verdict]) -> None:
        self._recheck = recheck
        for handler in (misdirected, *map(_handler, sites)):
            if handler not in self._runners:
                self._runners[handler] = await _runner(handler, recheck)

    def begin(self, info: ConnectionInfo, limits: Limits) -> Front:
        assert self._recheck is not None
        return Front(info, limits, asyncio.get_running_loop(), self._server_of, self._recheck)

    def retire(self, used: Iterable[Site]) -> None:
        kept = {misdirected, *map(_handler, used)}
        self._retired += [self._runners.pop(each) for each in [*self._runners] if each not in kept]
        self.sweep()

    def sweep(self) -> None:
        for runner in [each for each in self._retired if not (each.server and each.server.connections)]:
            self._retired.remove(runner)
            task = asyncio.get_running_loop().create_task(runner.cleanup())
            self._cleaning.add(task)
            task.add_done_callback(self._cleaned_up)

    async def stop(self) -> None:
        runners = (*self._runners.values(), *self._retired)
        await asyncio.gather(*(runner.cleanup() for runner in runners), *self._cleaning)
        self._runners.clear()
        self._retired.clear()

    def _server_of(self, info: ConnectionInfo) -> web.Server:
        server = self._runners[misdirected if info.site is None else _handler(info.site)].server
        assert server is not None
        return server

    def _cleaned_up(self, task: asyncio.Task[None]) -> None:
        self._cleaning.discard(task)
        if not self._cleaning:
            forget_applications()
            # Each is a web of cycles, for which Python's own collector would wait long.
            gc.collect()


def _handler(site: Site) -> _Handler:
    return as_web_site(site).handler


async def _runner(handler: _Handler, recheck_now: Callable[[VerifiedPeer], Verdict]) -> BaseRunner:
    """aiohttp's own life cycle around an application or a bare handler, with the gate in front."""
    runner: BaseRunner
    if isinstance(handler, web.Application):
        runner = web.AppRunner(handler, shutdown_timeout=_CUT)
    else:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=_CUT)
    await runner.setup()
    server = runner.server
    assert server is not None
    inner = server.request_handler
    if isinstance(handler, web.Application) and AHEAD in handler:
        inner = handler[AHEAD](inner)
    server.request_handler = gate(inner, recheck_now)
    return runner
