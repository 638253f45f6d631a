"""Issues in the background what somebody waits for on しばらくお待ちください."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from enroll.ra import RegistrationAuthority
from enroll.requests import issuance

log = logging.getLogger("sekisho.renewal")

# The event loop keeps weak references only. Keyed by request ID: one task each is enough.
_running: dict[str, asyncio.Task[None]] = {}


def begin(ra: RegistrationAuthority, request_id: str) -> None:
    """Completes a request in 証明書生成中, unless that is under way.

    Called again whenever somebody looks: what a restart or an error left behind is taken up there.
    """
    if request_id in _running:
        return
    task = asyncio.get_running_loop().create_task(_complete(ra, request_id))
    _running[request_id] = task
    task.add_done_callback(lambda _: _running.pop(request_id, None))


async def settle(_: web.Application) -> None:
    """Waits for what is under way, so that a stop leaves nothing half done."""
    await asyncio.gather(*_running.values())


async def _complete(ra: RegistrationAuthority, request_id: str) -> None:
    try:
        await issuance.complete(ra, request_id)
    except Exception as error:
        # The person keeps waiting, and the next look tries again.
        log.error("request %s is not completed: %s", request_id, type(error).__name__)
