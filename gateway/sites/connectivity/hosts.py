"""The fresh host names of the connectivity test: on each a browser asks for the certificate anew (E12).

A browser remembers the chosen certificate, and "none", per host until it is restarted. Every name here
is one label below ``gate.try_suffix``, so that one wildcard certificate covers them all.
"""

from __future__ import annotations

import secrets

from gateway.web.context import Gate

# Exact names, which a site table looks at before the wildcard: their site advertises no CA, and a
# browser then offers the certificates of every issuer. Sixteen, so that one can be tried again.
_PROBES = tuple(f"any-{number:x}" for number in range(16))


def fresh_hosts(gate: Gate) -> tuple[str, ...]:
    """Host names that a site takes besides its own, so that browsers ask again there; () without any."""
    return (f"*{_parent(gate)}",) if gate.try_suffix else ()


def probe_hosts(gate: Gate) -> tuple[str, ...]:
    """Host names of the second entry of this application, whose ``Site.advertised`` must be ``()``."""
    return tuple(label + _parent(gate) for label in _PROBES) if gate.try_suffix else ()


def fresh_origin(gate: Gate) -> str:
    """The origin of a host that no browser has seen yet. Only where there is a ``try_suffix``."""
    return f"https://t-{secrets.token_hex(8)}{gate.try_suffix}"


def probe_origin(gate: Gate, server_name: str) -> str:
    """The origin of a probe: the one after this host's own, and a random one on any other host."""
    label = server_name.partition(".")[0]
    place = _PROBES.index(label) + 1 if is_probe(gate, server_name) else secrets.randbelow(len(_PROBES))
    return f"https://{_PROBES[place % len(_PROBES)]}{gate.try_suffix}"


def is_probe(gate: Gate, server_name: str) -> bool:
    """Whether this is a host on which browsers offer certificates of every issuer."""
    return server_name in probe_hosts(gate)


def _parent(gate: Gate) -> str:
    return gate.try_suffix.partition(":")[0]
