"""Where webhooks may go."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from enroll.settings import Settings
from gateway.serving.settings.checks import HOST, PORT, between, networks, setting

_POLICY = Settings()
_PORT = re.compile(r"(?<=[^:]):[0-9]{1,5}$")


def _hosts(value: tuple[str, ...]) -> str | None:
    return next((problem for problem in map(_host, value) if problem is not None), None)


def _host(value: str) -> str | None:
    host, _, port = value.rpartition(":") if _PORT.search(value) else (value, "", "")
    if port and (PORT(int(port)) is not None or port in ("443", f"0{int(port)}")):
        return f"{value!r}: write a port from 1 to 65535, and none for 443"
    if host.startswith("["):
        return None if _is_address(host) else f"{value!r} is no address; write it as '[2001:db8::7]'"
    if len(host) > 253 or not HOST.fullmatch(host):
        return f"{value!r} is no host; write it in lower case, without https:// and path"
    return None


def _is_address(host: str) -> bool:
    try:
        return str(ipaddress.IPv6Address(host[1:-1])) == host[1:-1] and host.endswith("]")
    except ValueError:
        return False


@dataclass(frozen=True)
class Webhooks:
    """Where webhooks may go."""

    hosts: tuple[str, ...] = setting(
        (),
        "hosts that webhooks may go to, with the port unless it is 443: ['hooks.example.jp']; [] for none",
        _hosts,
    )
    networks: tuple[str, ...] = setting(
        (),
        "networks of your own that they may be in, such as ['10.1.2.0/24']; else none that is not public",
        networks,
    )
    ca: str = setting("", "PEM file of the only CA trusted for them; '' trusts the system's CAs")
    keep_days: int = setting(
        _POLICY.webhook_days, "days for which deliveries are kept once they are over", between(1, 3_650)
    )
