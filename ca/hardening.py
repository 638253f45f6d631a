"""What keeps other processes of the same user out of one that has keys."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # prctl(2)
_MCL_CURRENT, _MCL_FUTURE = 1, 2  # mlockall(2)


def harden() -> None:
    """No core, no ptrace, no memory that reaches a disk; what is not allowed stays as it was."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # More than an ordinary user may lock, mostly.
    libc.mlockall(_MCL_CURRENT | _MCL_FUTURE)
