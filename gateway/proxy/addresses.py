"""Addresses in an answer that lead past the gate, or to it by another scheme or port, made the gate's own.

The upstream speaks plain HTTP on a port of its own, and often writes what it sees into Location. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Fields that hold one address; Content-Location as well, for clients that resolve links against it.
FIELDS = (b"location", b"content-location", b"refresh")

_ABSOLUTE = re.compile(
    rb"(?:https?:)?//([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?=[/?#]|\Z)", re.I
)
# The HTML standard's "shared declarative refresh steps": seconds, then the address, mostly behind `url=`.
_REFRESH = re.compile(rb"""[0-9.]*\s*[;,]?\s*(?:url\s*=\s*)?["']?(?=\S)""", re.I)
_WELL_KNOWN = frozenset({b"", b"80", b"443"})


class Addresses:
    """Rewrites addresses for one site. ``names``: its host names; ``upstream``: (host, port) of each
    address of the upstream's."""

    def __init__(self, names: Iterable[str], upstream: Iterable[tuple[str, int]]) -> None:
        self._names = frozenset(name.encode("ascii").lower() for name in names)
        self._upstream = frozenset((_bare(host), b"%d" % port) for host, port in upstream)
        self._ports = _WELL_KNOWN | {port for _, port in self._upstream}

    def lines(self, lines: Iterable[bytes], host: bytes) -> list[bytes]:
        """The lines of a head, with the addresses as they should be. ``host``: of the request."""
        return [self._line(line, host) for line in lines]

    def _line(self, line: bytes, host: bytes) -> bytes:
        name, _, value = line[:-2].partition(b": ")
        lower = name.lower()
        if lower not in FIELDS:
            return line
        start = 0
        if lower == b"refresh":
            found = _REFRESH.match(value)
            start = 0 if found is None else found.end()
        return b"%s: %s%s\r\n" % (name, value[:start], self._own(value[start:], host))

    def _own(self, address: bytes, host: bytes) -> bytes:
        """An absolute address of this site's, or of its upstream's, as the visitor's browser has it."""
        found = _ABSOLUTE.match(address)
        if found is None:
            return address
        name, port = found[1].lower(), found[2] or b""
        asked, colon, own_port = host.lower().partition(b":") if host[:1] != b"[" else (host, b"", b"")
        if (name.strip(b"[]"), port or b"80") in self._upstream:
            there = host
        elif port not in self._ports and port != own_port:
            return address  # another service on the same machine
        elif name == asked:
            there = host
        elif name in self._names:
            there = name + colon + own_port
        else:
            return address
        return b"https://" + there + address[found.end() :]


def _bare(host: str) -> bytes:
    return host.encode("ascii").lower().strip(b"[]")
