"""Why a validation did not come through, as the server's own error and who asked here tell; what to type."""

from __future__ import annotations

import re
from collections.abc import Mapping

from conformance.verdict import Attempt

#: Method -> the port that servers ask unless they are configured otherwise.
USUAL = {"http-01": 80, "tls-alpn-01": 443}
_LEADS_HERE = "unless it is configured otherwise), and let every name to order lead here"
_OPTIONS = {
    "http-01": f"add --http-01-port PORT, the port that the server asks (80, {_LEADS_HERE}",
    "dns-01": "add --dns-01-port PORT, and have the server ask the DNS there",
    "tls-alpn-01": f"add --tls-alpn-01-port PORT, the port that the server asks (443, {_LEADS_HERE}",
}
# As the resolvers of Go, Python, Java and Node say it.
_UNRESOLVED = re.compile(
    r"no such host|nxdomain|servfail|not resolve|could not be resolved|cannot be resolved|name or service not"
    r" known|unknown ?host|no address associated|no valid (ip|a) address|no (a|aaaa) records?|enotfound",
    re.IGNORECASE,
)
# Go says "read udp 127.0.0.1:40000->127.0.0.1:53: ..." of a name server that did not answer.
_NAME_SERVER = re.compile(r"udp \S*?->(?P<host>[0-9.]+|\[[0-9a-f:]+\]):(?P<port>\d+)")
# Go's "dial tcp 127.0.0.1:80: ...", pebble's "Failed to connect to 127.0.0.1:443", else a URL with a port.
_LOOKED_AT = (
    re.compile(r"(?:dial tcp|connect to) (?P<host>[0-9.]+|\[[0-9a-f:]+\]):(?P<port>\d+)"),
    re.compile(r"https?://(?P<host>[^\s/:\"]+):(?P<port>\d+)"),
)


def remedy(one: Attempt, ports: Mapping[str, int], visited: bool, other: str) -> str:
    """What to type; empty where the server came for the answer: then what it says of it is its own.

    ports: those that are answered on, by method; visited: somebody came to this method's port, for whatever;
    other: how to order another name.
    """
    name = one.identifier["value"]
    unheard = _NAME_SERVER.search(one.said)
    if one.asked:
        return ""
    if unheard is not None:
        return _name_server(one, ports, unheard)
    if one.method != "dns-01" and (_UNRESOLVED.search(one.said) or one.said.startswith("dns:")):
        return f"{name} does not resolve for the server: let it, to here, or order a name that does, {other}"
    if one.method not in ports:
        return _OPTIONS.get(one.method, "")
    return "" if visited else _unasked(one, ports, name, other)


def _name_server(one: Attempt, ports: Mapping[str, int], unheard: re.Match[str]) -> str:
    host, port = unheard["host"], int(unheard["port"])
    given = ports.get("dns-01")
    text = f"the name server that it asks, {host}:{port}, does not answer: "
    text += f"be it, by --dns-01-port {port}" if given != port else "is it on this machine, 127.0.0.1?"
    text += f" in place of {given}" if given not in {None, port} else ""
    return text if one.method in ports or one.method == "dns-01" else f"{text}, and {_OPTIONS[one.method]}"


def _unasked(one: Attempt, ports: Mapping[str, int], name: str, other: str) -> str:
    looked = next(filter(None, (pattern.search(one.said) for pattern in _LOOKED_AT)), None)
    port, option = ports[one.method], f"--{one.method}-port"
    nobody = f"nobody asked on {option} {port}"
    if one.method == "dns-01":
        return f"{nobody}: have the server ask the DNS at 127.0.0.1:{port}"
    if looked is not None and int(looked["port"]) != port:
        return f"{nobody}, the server looks at {looked['host']}:{looked['port']}: {option} {looked['port']}"
    if port == USUAL[one.method]:
        return (
            f"{nobody}, where servers ask unless they are configured otherwise: {name} does not resolve "
            f"for the server, or leads elsewhere, so order another, {other}"
        )
    return (
        f"{nobody}: either the server asks another port ({USUAL[one.method]}, unless it is configured "
        f"otherwise), so give that one, or {name} leads elsewhere for it, so order another, {other}"
    )
