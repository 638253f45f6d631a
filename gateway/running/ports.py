"""Why a port cannot be opened, and what to do about it."""

from __future__ import annotations

import errno
import os

from ca.errors import ConfigError

_HINTS = {
    errno.EACCES: "below 1024 it takes CAP_NET_BIND_SERVICE, as the unit for systemd gives, or another port",
    errno.EADDRNOTAVAIL: "this machine has no such address: see its own with ip addr, or write '0.0.0.0'",
}


def unusable(section: str, host: str, port: int, error: OSError) -> ConfigError:
    """``section``: of the configuration, whose host and port these are."""
    number = error.errno or 0
    setting = "host" if number == errno.EADDRNOTAVAIL else "port"
    hint = _HINTS.get(number, "stop what uses it, or write another port")
    return ConfigError(
        f"{section}.{setting}: {host} port {port} cannot be used ({os.strerror(number)}); {hint}"
    )
