"""Free ports for servers that tests start, which nobody else takes between the asking and the listening.

A port that the kernel chose (``bind`` to 0) and that was given back may be anybody's a moment later: every
outgoing connection of the machine is given one from the same range. So these lie outside that range, and each
process has a block of its own, held by a lock on a file for as long as it lives.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _BLOCK = 12_000, 250


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that is free now, another one at each call. RuntimeError when none is."""
    ports = _ports(os.getpid())
    for _ in range(_BLOCK):
        port = next(ports)
        with socket.socket(type=kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"the {_BLOCK} ports around {port} are all in use; end what listens there")


@cache
def _ports(process: int) -> Iterator[int]:
    """The ports of a block that is this process's (a fork takes another), again and again."""
    # Not TMPDIR: whoever has another one has the same ports.
    folder = Path("/tmp") / f"sekisho-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    low, high = map(int, _RANGE.read_text().split())
    for first in (*range(_FIRST, low - _BLOCK, _BLOCK), *range(high + 1, 2**16 - _BLOCK, _BLOCK)):
        # Never closed: the lock goes with the process.
        held = os.open(folder / str(first), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            continue
        return cycle(range(first, first + _BLOCK))
    raise RuntimeError(f"no ports are left for this process; away with what holds the locks in {folder}")
