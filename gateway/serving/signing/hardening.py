"""What keeps others out of the process that has the keys."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # prctl(2)
_MCL_CURRENT, _MCL_FUTURE = 1, 2  # mlockall(2)


def harden() -> None:
    """What keeps other processes of the same user out: no core, no ptrace, no memory that reaches a disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # More than an ordinary user may lock, mostly: then it stays as it was.
    libc.mlockall(_MCL_CURRENT | _MCL_FUTURE)


def end_with_parent(number: signal.Signals) -> None:
    """Has this process get a signal as soon as whoever started it has ended."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it has ended in between
        os._exit(1)
