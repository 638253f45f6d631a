"""The service behind the gate, and how long it may take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.proxy.products import NAMES
from gateway.proxy.waiting import Waits
from gateway.serving.settings.checks import (
    between,
    business_hours,
    field_names,
    pairs,
    path_waits,
    paths,
    scopes,
    setting,
    start,
)

_WAITS = Waits()
_UPSTREAM = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+/?")
_WAIT = between(0.1, 604_800)


@dataclass(frozen=True)
class Behind:
    """The service behind the online service's login."""

    addresses: tuple[str, ...] = setting(
        (),
        "where it is, such as ['http://127.0.0.1:8000']; [] for none, several for more than one server",
        lambda value: None if all(map(_UPSTREAM.fullmatch, value)) else "write each as http://host:port",
    )
    start: str = setting(
        "",
        "path of its first page, which the portal leads to, such as '/app/'; '' for no link",
        start,
    )
    hours: str = setting(
        "",
        "when it is open on business days in Japan, such as '8:00-18:00': stated on the pages, and kept on "
        "paths that need a login; '' at any time, and nothing is stated",
        business_hours,
    )
    ca: str = setting("", "PEM file of the only CA trusted for https addresses; '' with http")
    server_name: str = setting("", "name in the certificate of https addresses; '' for that in the address")
    health: str = setting(
        "",
        "path asked every 5 seconds, an answer below 500 is well; '' asks nothing",
        lambda value: None if re.fullmatch(r"|/[!-~]*", value) else "write a path such as '/healthz'",
    )
    connections: int = setting(1_000, "connections to it at most", between(1, 100_000))
    public: tuple[str, ...] = setting((), "paths without a login, such as ['/public']", paths)
    certificate: tuple[str, ...] = setting(
        (), "paths for which the certificate is enough, such as ['/api']", paths
    )
    connect_seconds: float = setting(
        _WAITS.connect, "seconds until it takes a connection, then the next address is tried", _WAIT
    )
    answer_seconds: float = setting(
        _WAITS.answer, "seconds from the end of a request to the head of its answer; then 504", _WAIT
    )
    body_seconds: float = setting(
        _WAITS.body, "seconds between two pieces of an answer's body; event streams are silent long", _WAIT
    )
    tunnel_seconds: float = setting(
        _WAITS.tunnel, "seconds in which nothing moves on a WebSocket, in either direction", _WAIT
    )
    waits: tuple[str, ...] = setting(
        (),
        "other waits below a path, such as ['/reports answer=600 body=600', '/live tunnel=86400']",
        path_waits,
    )
    rewrite_addresses: bool = setting(
        True,
        "whether Location, Content-Location and Refresh that name this host by http or another port, or the "
        "service's own address, become addresses of this host",
    )
    taken_off: tuple[str, ...] = setting(
        NAMES,
        "fields of other gateways that visitors may not send to it; * at the end stands for any more",
        field_names,
    )
    service_workers: tuple[str, ...] = setting(
        (), "paths whose pages may have service workers, such as ['/app/']; [] for none", scopes
    )
    headers: tuple[str, ...] = setting(
        (),
        "plain headers about the caller besides the signed one, such as ['X-Remote-User=user']",
        pairs,
    )
