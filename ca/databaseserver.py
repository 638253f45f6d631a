"""Where a PostgreSQL server is and how it is reached, out of what an operator writes. Needs no driver.

An address never holds a password: those stand in a file, or in the environment of the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

#: Where a password may be, besides a file. The second is libpq's own.
PASSWORD_VARIABLES = ("SEKISHO_DATABASE_PASSWORD", "PGPASSWORD")
PORT = 5432
EXAMPLE = "postgresql://sekisho@db1.example.jp,db2.example.jp/sekisho"
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?")


@dataclass(frozen=True)
class Server:
    """One database. ``hosts``: each with its port; a name that begins with / is the directory of a socket.

    ``ca``: the PEM of the CA that the server's certificate has to be of; "" for those that this machine
    trusts. ``tls``: False for none, which a socket never has. Times are seconds.
    """

    hosts: tuple[tuple[str, int], ...]
    user: str
    name: str
    password: str = field(default="", repr=False)
    tls: bool = True
    ca: str = field(default="", repr=False)
    #: Connections of one process. PostgreSQL serves some hundred in all (``max_connections``).
    pool: int = 8
    #: To reach one host; a statement that takes longer is given up, and so is a wait for somebody's lock.
    connect: float = 5.0
    statement: float = 30.0
    lock: float = 30.0

    def __str__(self) -> str:
        where = ",".join(
            host if host.startswith("/") else f"{host}:{port}" if port != PORT else host
            for host, port in self.hosts
        )
        return f"{self.name} at {where}"


class BadAddress(ValueError):
    """What is wrong with an address, and what to write instead; says nothing that stands in it."""


def parse(url: str) -> Server:
    """The server of an address as libpq reads it: ``postgresql://user@host1,host2:5433/name``; ``?host=`` has
    the directory of a socket. BadAddress for anything else."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise BadAddress(f"write an address, such as {EXAMPLE!r}") from None
    if parts.scheme not in ("postgresql", "postgres") or "://" not in url:
        raise BadAddress(f"write an address that begins with postgresql://, such as {EXAMPLE!r}")
    login, _, hosts = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    # In a password / ? and # end the host, and what follows them up to the @ would be a name that is shown.
    if colon or "password" in options or "@" in parts.path + parts.query + parts.fragment:
        raise BadAddress(
            "a password does not belong here: leave it out, and write it into a file that database."
            f"password_file names, or into {PASSWORD_VARIABLES[0]} of the environment"
        )
    if parts.fragment:
        raise BadAddress("# begins nothing here: write one that belongs to a name as %23")
    return Server(_hosts(hosts, options), unquote(user), _name(parts.path))


def _hosts(named: str, options: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    if strange := sorted(set(options) - {"host", "port"}):
        raise BadAddress(
            f"{', '.join(strange)} cannot be said here: leave it out; what there is to say of TLS, waiting "
            "and connections is database.sslmode, database.ca, database.connect_seconds and database.pool"
        )
    listed = unquote(named) or options.get("host", "")
    port = options.get("port", str(PORT))
    found = []
    for each in listed.split(",") if listed else []:
        if each.startswith("/"):
            found.append((each, int(port) if port.isdecimal() else 0))
            continue
        host = _HOST.fullmatch(each)
        said = (host[3] or port) if host is not None else ""
        if host is None or not said.isdecimal():
            raise BadAddress(f"write each host as a name or an address, such as {EXAMPLE!r}")
        found.append((host[1] or host[2], int(said)))
    if not found:
        raise BadAddress(f"name a host, or ?host= with the directory of a socket, such as {EXAMPLE!r}")
    if any(not 0 < each < 65_536 for _, each in found):
        raise BadAddress("write a port from 1 to 65535")
    return tuple(found)


def _name(path: str) -> str:
    name = unquote(path.removeprefix("/"))
    if not name or "/" in name:
        raise BadAddress(f"write the database's name after the hosts, such as {EXAMPLE!r}")
    return name
