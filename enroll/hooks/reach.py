"""Where webhooks may go: hosts on a list, and addresses that are everybody's. Pure.

A host is asked for its addresses when a connection is made, and the connection goes to one that was looked
at: a name that leads somewhere else a moment later leads nobody there (`posting.py`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from enroll.refusals import Refusal
from enroll.settings import Settings

_LONGEST = 500
_PORT = 443
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]")
# What comes behind a host: no fragment, no space, nothing that is not printed.
_BEHIND = re.compile(r"(?:/[!-~]*)?(?:\?[!-~]*)?")
# What passes for everybody's: where machines in two clouds find their own metadata (RFC 6890 has the
# second), and a translator's own networks (RFC 8215).
_NEVER = tuple(map(ip_network, ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b:1::/48")))
# Networks whose addresses hold one of IPv4 (RFC 6052, RFC 3056), which is meant.
_NAT64, _SIX_TO_FOUR = ip_network("64:ff9b::/96"), ip_network("2002::/16")


class Unreachable(Exception):
    """Where something is not to go, in words for operators."""


#: Host -> its addresses. Raises OSError for a name that has none.
Lookup = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True)
class Way:
    """How webhooks leave (`posting.py`). ``ca``: PEM of the only CA that is trusted; '' for the system's.
    ``seconds``: for all of a request, a third of them for its connection; fewer than `store.LEASE`.
    ``lookup``: None for the system's."""

    networks: tuple[str, ...] = ()
    ca: str = ""
    seconds: float = 15.0
    lookup: Lookup | None = None


@dataclass(frozen=True)
class Target:
    """An address of an endpoint, taken apart."""

    url: str
    host: str
    port: int

    @property
    def named(self) -> str:
        """As the list has it."""
        return self.host if self.port == _PORT else f"{self.host}:{self.port}"


def target(url: str) -> Target:
    """What an operator typed. Refusal("invalid_input") for anything but a plain https address."""
    if len(url) > _LONGEST or not url.startswith("https://") or "#" in url:
        raise _bad("write an address that begins with https://")
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
    except ValueError:
        raise _bad("its host or port cannot be read") from None
    authority = url.removeprefix("https://").partition("/")[0].partition("?")[0]
    host = authority.rpartition(":")[0] if parts.port is not None else authority
    if not _HOST.fullmatch(host):
        raise _bad("write its host in lower case, without a name or password before it")
    if not _BEHIND.fullmatch(url.removeprefix("https://")[len(authority) :]):
        raise _bad("write what is no letter, digit or sign of ASCII with % in it")
    return Target(url, host, port)


def check_listed(found: Target, settings: Settings) -> None:
    """Refusal("invalid_input") for a host that is not on the list, with what to type."""
    if not listed(found, settings):
        said = f"write '{found.named}' into webhooks.hosts in sekisho.toml, then: sekisho reload"
        raise _bad(f"{found.named} is not on the list; {said}")


def listed(found: Target, settings: Settings) -> bool:
    """Whether the setting names its host, with the port unless it is 443."""
    return found.named in settings.webhook_hosts


def permitted(address: str, networks: Sequence[str]) -> bool:
    """Whether a connection may go to an address: to one that everybody reaches, or one of ``networks``, which
    the setting names. Loopback, private, link-local, metadata and multicast addresses are none of those."""
    try:
        found = _meant(ip_address(address))
    except ValueError:
        return False  # with a zone, or none at all
    if any(found in ip_network(each) for each in networks):
        return True
    public = found.is_global and not found.is_multicast and not found.is_reserved
    return public and not any(found in each for each in _NEVER)


def _meant(found: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(found, IPv4Address):
        return found
    if found.ipv4_mapped is not None:
        return found.ipv4_mapped
    if found in _NAT64:
        return IPv4Address(int(found) & 0xFFFFFFFF)
    if found in _SIX_TO_FOUR:
        return IPv4Address((int(found) >> 80) & 0xFFFFFFFF)
    return found


def _bad(why: str) -> Refusal:
    return Refusal("invalid_input", field="url", detail=why)
