"""Why a port cannot be opened, and what to do about it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from ca.errors import ConfigError

_HINTS = {
    errno.EACCES: "below 1024 it takes CAP_NET_BIND_SERVICE, as the unit for systemd gives, or another port",
    errno.EADDRNOTAVAIL: "this machine has no such address: see its own with ip addr, or write '0.0.0.0'",
}


def listening(hosts: Sequence[str], port: int, backlog: int, section: str = "listen") -> list[socket.socket]:
    """A socket for each address. ConfigError if one of them cannot be used, and then none is open."""
    opened: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                opened.append(_bound(host, port, both="::" in hosts and not _has_ipv4(hosts)))
            except OSError as error:
                raise unusable(section, host, port, error) from None
        for sock in opened:
            sock.listen(backlog)
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _bound(host: str, port: int, *, both: bool) -> socket.socket:
    """``both``: ``::`` takes IPv4 as well, of which no other address of ours is."""
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Said in any case: what holds otherwise is the machine's to say (net.ipv6.bindv6only).
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both and host == "::" else 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _has_ipv4(hosts: Sequence[str]) -> bool:
    return any(":" not in host for host in hosts)


def unusable(section: str, host: str, port: int, error: OSError) -> ConfigError:
    """``section``: of the configuration, whose host and port these are."""
    number = error.errno or 0
    setting = "host" if number == errno.EADDRNOTAVAIL else "port"
    hint = _HINTS.get(number, "stop what uses it, or write another port")
    named = "listen.host" if setting == "host" and section == "revocation" else f"{section}.{setting}"
    return ConfigError(f"{named}: {host} port {port} cannot be used ({os.strerror(number)}); {hint}")
