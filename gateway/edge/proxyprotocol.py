"""The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): who is behind a load balancer.

A header is read from trusted addresses only, and from those always: the specification forbids guessing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from gateway.edge.addresses import unmapped

_V1 = b"PROXY "
# The longest line of version 1, with CR LF (section 2.1).
_V1_LONGEST = 107
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD = 16
# Section 2.2 asks for 536 bytes to fit; more would be TLVs that nothing here reads.
_V2_LONGEST = 4_096
_LOCAL, _PROXY = 0x20, 0x21
# Family and transport -> (bytes of one address, class). Unix and unspecified tell no address.
_FAMILIES = {0x11: 4, 0x21: 16}
_NO_ADDRESS = frozenset({0x00, 0x31, 0x32})
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


class NotProxied(Exception):
    """The bytes are no PROXY header: the connection has to be closed."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header that is complete. ``address`` None: the proxy speaks for itself, or does not know."""

    address: str | None
    port: int
    #: How many bytes it took; what follows is TLS.
    length: int


def parse(data: bytes) -> Header | None:
    """The header at the beginning of a connection, or None if more bytes are needed.

    Raises NotProxied as soon as it can be none. The two versions differ in their first byte.
    """
    if data[:1] == _V2[:1]:
        return _version2(data)
    if _V1.startswith(data[: len(_V1)]):
        return _version1(data)
    raise NotProxied("signature")


def _version1(data: bytes) -> Header | None:
    end = data.find(b"\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise NotProxied("length")
        return None
    if data[end - 1 : end] != b"\r" or not data[:end].isascii():
        raise NotProxied("line")
    words = data[: end - 1].decode("ascii").split(" ")
    if words[1:2] == ["UNKNOWN"]:
        return Header(None, 0, end + 1)  # section 2.1: whatever follows it is ignored
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise NotProxied("line")
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        source, _ = kind(words[2]), kind(words[3])
    except ValueError:
        raise NotProxied("address") from None
    if "%" in words[2] or not all(_PORT.fullmatch(word) and int(word) <= 65_535 for word in words[4:]):
        raise NotProxied("address")
    return Header(str(unmapped(source)), int(words[4]), end + 1)


def _version2(data: bytes) -> Header | None:
    if not _V2.startswith(data[: len(_V2)]):
        raise NotProxied("signature")
    if len(data) < _V2_HEAD:
        return None
    command, family = data[12], data[13]
    length = _V2_HEAD + int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise NotProxied("command")
    if length > _V2_LONGEST:
        raise NotProxied("length")
    size = _FAMILIES.get(family)
    # A family that we cannot have been reached by, or none of the specification's, is dropped (2.2).
    if command == _PROXY and size is None and family not in _NO_ADDRESS:
        raise NotProxied("family")
    if command == _PROXY and size is not None and length < _V2_HEAD + 2 * size + 4:
        raise NotProxied("length")
    if len(data) < length:
        return None
    if command == _LOCAL or size is None:
        return Header(None, 0, length)
    packed = data[_V2_HEAD : _V2_HEAD + size]
    at = _V2_HEAD + 2 * size
    source = IPv4Address(packed) if size == 4 else IPv6Address(packed)
    return Header(str(unmapped(source)), int.from_bytes(data[at : at + 2]), length)
