"""``sekisho`` with the CPU of each request counted where it is spent, for `console_bench`.

``python -m tests.bench.counted PROGRAM WORDS...``: each answer of a site says in ``Server-Timing`` how many
milliseconds its handler has taken of the event loop, of the threads that read for it and of the writer. What
the server does by itself meanwhile, and for others, is not in it; nor is what TLS and HTTP take.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from functools import partial
from types import coroutine
from typing import Any

from aiohttp import web

from ca.sqlite import Database
from ca.storage import Transaction

#: The field of an answer.
FIELD = "Server-Timing"
# Milliseconds of the request that is being answered, from whichever thread.
_spent: ContextVar[list[float] | None] = ContextVar("spent", default=None)


def _timed(work: Callable[..., Any]) -> Callable[..., Any]:
    """Work of a request that is done in another thread."""
    spent = _spent.get()

    def timed(*given: Any) -> Any:
        began = time.thread_time()
        try:
            return work(*given)
        finally:
            if spent is not None:
                spent.append(1_000 * (time.thread_time() - began))

    return timed


@coroutine
def _stepped(work: Coroutine[Any, Any, Any], spent: list[float]) -> Generator[Any, Any, Any]:
    """Each step of it between two waits is timed by the clock of its thread."""
    step: Callable[[], Any] = partial(work.send, None)
    while True:
        began = time.thread_time()
        try:
            awaited = step()
        except StopIteration as done:
            return done.value
        finally:
            spent.append(1_000 * (time.thread_time() - began))
        try:
            step = partial(work.send, (yield awaited))
        except BaseException as error:  # a cancellation, too, is the work's own
            step = partial(work.throw, error)


def count() -> None:
    """From here on."""
    handle, read_aside, write = web.Application._handle, Database._read_aside, Database.write

    async def handled(site: web.Application, request: web.Request) -> web.StreamResponse:
        if _spent.get() is not None:  # an application within another one
            return await handle(site, request)
        spent = list[float]()
        token = _spent.set(spent)
        try:
            answer: web.StreamResponse = await _stepped(handle(site, request), spent)
        finally:
            _spent.reset(token)
        if not answer.prepared:
            answer.headers[FIELD] = f"cpu;dur={sum(spent):.2f}"
        return answer

    def aside(database: Database, work: Callable[[Transaction], Any]) -> Any:
        return _timed(partial(read_aside, database))(work)

    async def written(database: Database, work: Callable[[Transaction], Any]) -> Any:
        return await write(database, _timed(work))

    setattr(web.Application, "_handle", handled)  # noqa: B010  nobody's to set, but for this
    setattr(Database, "_read_aside", aside)  # noqa: B010
    setattr(Database, "write", written)  # noqa: B010


if __name__ == "__main__":
    count()
    from gateway.cli import main

    sys.argv = sys.argv[1:]
    sys.exit(main())
