"""Where a peer is, read in one way for limits, logs and load balancers.

A socket that takes both families (RFC 4291 2.5.5.2) tells of IPv4 as ``::ffff:192.0.2.1``: here it is
``192.0.2.1`` again, or one visitor would have two names and an IPv4 network of the settings none.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from ca.networks import network_of

Address = IPv4Address | IPv6Address


def peer_of(name: object) -> tuple[str, int] | None:
    """Address and port of what a socket calls its peer; None if it has none (any more)."""
    if not isinstance(name, tuple) or len(name) < 2 or not isinstance(name[0], str):
        return None
    return plain(name[0]), int(name[1])


def plain(address: str) -> str:
    """The one spelling of an address. Its zone stays: ``fe80::1%eth0`` is a neighbour of that link."""
    return str(unmapped(ip_address(address))) if ":" in address else address


def unmapped(address: Address) -> Address:
    """The IPv4 address within an IPv6 one, if that is what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def source(address: str) -> bytes:
    """What counts as one address, of connections and requests as of failed logins."""
    return network_of(address).encode("ascii")
