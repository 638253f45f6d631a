"""What is written down and held in memory while the gateway runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ca.databaseserver import BadAddress, parse
from ca.storage import CACHE_MIB
from gateway.serving.settings.checks import between, directory_or_none, matching, one_of, setting


def _group_or_none(value: str) -> str | None:
    good = value == "" or re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value)
    return None if good else "write a group of this machine, such as 'sekisho-operators', or '' for none"


@dataclass(frozen=True)
class Log:
    """What is written down while the gateway runs: one JSON document a line."""

    level: str = setting(
        "info", "'debug', 'info', 'warning' or 'error'", one_of("debug", "info", "warning", "error")
    )
    file: str = setting("", "file to append to, below the data directory or absolute; '' is standard error")
    access: bool = setting(True, "whether each request is a line")


@dataclass(frozen=True)
class Signing:
    """Who holds the issuing CAs' keys: a process of its own, which serve starts, or a service beside it."""

    socket: str = setting(
        "",
        "directory of the socket of a sekisho signer that runs by itself; '': serve starts one",
        directory_or_none,
    )
    per_hour: int = setting(
        10_000, "certificates that it signs in an hour; what exceeds that waits", between(1, 10_000_000)
    )


@dataclass(frozen=True)
class Operators:
    """Who may ask the running gateway for commands, besides root and whom the data directory belongs to."""

    group: str = setting(
        "",
        "group of this machine whose members may, as their roles allow (sekisho operator list); '': nobody",
        _group_or_none,
    )
    socket: str = setting(
        "/run/sekisho", "directory of the socket that they reach it by", matching("/.+", "write a directory")
    )


def _url(value: str) -> str | None:
    if value == "":
        return None
    try:
        parse(value)
    except BadAddress as error:
        return f"{error}, or '' for the file in the data directory"
    return None


@dataclass(frozen=True)
class Storage:
    """The database: a file in the data directory (SQLite), or one on a server (PostgreSQL)."""

    url: str = setting(
        "",
        "where it is: '' for the file in this directory, or 'postgresql://user@host1,host2/name'",
        _url,
        shown=False,
    )
    password_file: str = setting(
        "", "file with that user's password; '': SEKISHO_DATABASE_PASSWORD or PGPASSWORD of the environment"
    )
    sslmode: str = setting(
        "verify-full",
        "TLS to a host that is no socket: 'verify-full' (certificate and name are checked) or 'disable'",
        one_of("verify-full", "disable"),
    )
    ca: str = setting(
        "", "PEM file of the CA that the server's certificate has to be of; '': those this machine trusts"
    )
    pool: int = setting(8, "connections of each process to that server", between(2, 100))
    nodes: int = setting(
        1,
        "gateways that share it: of rates and caps for one address or certificate each allows its part",
        between(1, 100),
    )
    connect_seconds: float = setting(5.0, "to reach one host before the next is tried", between(0.1, 60))
    statement_seconds: float = setting(30.0, "after which a statement is given up", between(1, 600))
    lock_seconds: float = setting(
        30.0, "after which a wait for another transaction is given up", between(1, 600)
    )
    cache: int = setting(
        CACHE_MIB,
        "MiB of the file that each of a worker's three connections may keep in memory",
        between(1, 65_536),
    )


#: Meanings of ``gateway.edge.facts.Limits``, whose defaults say their reasons there.
LIMIT_MEANINGS: dict[str, str] = {
    "proxy_header": "seconds for the PROXY header of a load balancer",
    "handshake": "seconds for the TLS handshake",
    "head": "seconds from the first byte of a request to the end of its header",
    "idle": "seconds between two requests of a connection",
    "stall": "seconds in which a body or an answer has to move stall_bytes",
    "stall_bytes": "bytes that have to move in that time",
    "lingering": "seconds of reading on after an early answer",
    "drain": "seconds for running requests when the gateway stops",
    "tick": "seconds between two looks at limits and expiries",
    "handshake_bytes": "bytes of a TLS handshake",
    "barren_bytes": "bytes of TLS records that carry no data",
    "line_bytes": "bytes of a request line or header line",
    "headers": "header lines of a request",
    "connections": "open connections of a worker",
    "connections_per_address": "open connections from one address (IPv6: one /64), to all workers together",
    "connections_per_certificate": "open connections with one client certificate, to all workers together",
    "handshakes_per_address": "unfinished handshakes from one address, to all workers together",
}

#: Meanings of ``gateway.serving.rates.Rates``.
RATE_MEANINGS: dict[str, str] = {
    "page_address": "forms a second from one address, to all workers together",
    "page_certificate": "forms a second with one certificate",
    "protocol_address": "requests of the protocol, or of the API, a second from one address",
    "protocol_certificate": "requests of the protocol, or of the API, a second with one certificate",
    "burst_seconds": "seconds' worth of them that may come at once",
}
