"""Tells systemd how it goes (sd_notify(3)): a datagram of ``KEY=value`` lines to $NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

# Whoever does not take a line within this many seconds is not waited for.
_PATIENCE = 1.0


def notify(*lines: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Sends lines such as ``READY=1``; False where nobody asked to be told, or listens any more."""
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address[0] == "@":  # an abstract socket, unix(7)
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.settimeout(_PATIENCE)
            told.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def watchdog_seconds(environment: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """How often to send ``WATCHDOG=1``: twice in the time that the unit allows. None: not asked for."""
    period = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", "")
    if not period.isdecimal() or int(period) == 0:
        return None
    if meant and meant != str(pid or os.getpid()):
        return None
    return int(period) / 2_000_000
