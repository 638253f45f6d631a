"""A process that is forked for one piece of work, and ends with it, or with whoever began it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from ca.storage import in_log
from gateway.running.stopping import end_with_parent

_FAULT = 70  # sysexits.h: EX_SOFTWARE


def fork(work: Callable[[], None], log: logging.Logger, what: str = "") -> int:
    """Begins it, and returns its number. It says 0 at its end, or 70 after an error, which the log has
    (``what``: where); no clean-up of what its parent still uses. OSError where there is no room for it.

    Only before there are threads, or where none of them holds what the work needs."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = _FAULT
    try:
        # With its parent it ends, or its part of the lock on the directory would keep the next one out.
        end_with_parent(signal.SIGKILL, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        work()
        code = 0
    except BaseException as error:
        log.error("%s%s", f"{what}: " if what else "", in_log(error))
    finally:
        os._exit(code)
