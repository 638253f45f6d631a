"""What counts as one address where people or connections are counted. Every room counts so."""

from __future__ import annotations

from ipaddress import IPv6Network


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the /64, which one customer has for himself."""
    if ":" not in address:
        return address
    return str(IPv6Network((address.partition("%")[0], 64), strict=False))
