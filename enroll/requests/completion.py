"""Has certificates signed that somebody waits for, beside whoever waits: who leaves ends nothing.

Of one request there is one task in a process. Several processes may work at one request; the certificate that
is stored first is everybody's (``issuance.finish``).
"""

from __future__ import annotations

import asyncio
import logging
import time

from ca.storage import in_log
from ca.store import Reservation
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import issuance
from enroll.requests.enrollment import Enrollment

log = logging.getLogger("sekisho.completion")

# Seconds that a look of somebody who waits leaves a request alone after a failure.
_REST = 5.0
# Seconds that a stop waits for signatures; what is left is finished at the next start (``issuance.recover``).
_SETTLING = 5.0

# The event loop keeps weak references only. Keyed by request ID: one task each is enough.
_running: dict[str, asyncio.Task[Enrollment]] = {}
_failed: dict[str, float] = {}


def begin(ra: RegistrationAuthority, request_id: str) -> None:
    """Completes a request in 証明書生成中, unless that is under way, or has failed just now.

    Called again whenever somebody looks: what a restart or an error left behind is taken up there.
    """
    if time.monotonic() - _failed.get(request_id, float("-inf")) > _REST:
        _task(ra, request_id)


async def within(
    ra: RegistrationAuthority, request_id: str, reservation: Reservation | None = None
) -> Enrollment | None:
    """Waits for a request's certificate, as long as anybody is to wait (``ra.patience``), and returns the
    enrollment as it then is. What takes longer goes on by itself: None.

    ``reservation``: what was recorded for it just now, as ``issuance.complete`` takes it.
    Raises whatever keeps it from being signed: Refusal("issuing_later"), Refusal("clock_in_doubt").
    """
    task = _task(ra, request_id, reservation)
    done, _ = await asyncio.wait({task}, timeout=ra.patience)
    return task.result() if done else None


async def settle(*_: object) -> None:
    """Waits for what is under way, so that a stop leaves little half done."""
    if _running:
        await asyncio.wait(_running.values(), timeout=_SETTLING)


def _task(
    ra: RegistrationAuthority, request_id: str, reservation: Reservation | None = None
) -> asyncio.Task[Enrollment]:
    task = _running.get(request_id)
    if task is None:
        task = asyncio.get_running_loop().create_task(issuance.complete(ra, request_id, reservation))
        _running[request_id] = task
        task.add_done_callback(lambda done: _done(request_id, done))
    return task


def _done(request_id: str, task: asyncio.Task[Enrollment]) -> None:
    del _running[request_id]
    for other in [each for each, at in _failed.items() if time.monotonic() - at > _REST]:
        del _failed[other]
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        _failed.pop(request_id, None)
        return
    # The person keeps waiting, and a later look tries again.
    _failed[request_id] = time.monotonic()
    if not isinstance(error, Refusal):
        log.error("request %s is not completed: %s", request_id, in_log(error))
