"""File descriptors (RLIMIT_NOFILE): how many connections a process has room for.

Whoever runs out of them answers nobody: the kernel's connections are taken and closed, and nothing is said.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
from dataclasses import replace
from pathlib import Path

from gateway.edge.facts import Limits
from gateway.serving.config import Config
from gateway.wire import plain

#: What is open besides connections: an idle worker has 35, a database connection of each of its threads
#: takes three more, then mails that leave and somebody who asks for figures.
RESERVE = 128

_SOFT = re.compile(r"(?m)^Max open files +(\d+)")


def raise_limit() -> None:
    """Takes all that this process is allowed: a login shell's soft limit is 1,024 for programs that
    ``select``, which nothing here does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a kernel that has another ceiling than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ceiling() -> int:
    """How many it may take with `raise_limit`."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def room() -> int:
    """How many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def room_of(pid: int) -> int | None:
    """How many another process may have; None if this machine does not tell."""
    try:
        found = _SOFT.search(Path(f"/proc/{pid}/limits").read_text())
    except OSError:
        return None
    return int(found[1]) if found else None


def left() -> bool:
    """Whether this process gets another one, now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def within(config: Config, room: int) -> Limits:
    """The configured limits as far as there is room.

    With fewer connections in all, one address gets as much less, so that nobody alone takes every place; and
    of several nodes each lets it, or a certificate, have its part.
    """
    limits, nodes = config.limits, config.database.nodes
    connections = min(limits.connections, _most(config, room))
    share = max(1, limits.connections_per_address * connections // limits.connections // nodes)
    return replace(
        limits,
        connections=connections,
        connections_per_address=share,
        connections_per_certificate=max(1, limits.connections_per_certificate // nodes),
        handshakes_per_address=max(1, limits.handshakes_per_address // nodes),
    )


def shortage(config: Config, room: int) -> tuple[str, str] | None:
    """What there is too little of, and what to type; None if everything fits."""
    wanted = config.limits.connections + _upstream(config) + _reserve(config)
    if wanted <= room:
        return None
    most = _most(config, room)
    found = (
        f"a process may have {room}, and limits.connections, upstream.connections and what else is open take "
        f"{wanted}: no more than {most} connections are taken"
    )
    hint = (
        f"allow more: LimitNOFILE={wanted} in the unit, or as root ulimit -n {wanted} before sekisho serve; "
        f"or write limits.connections = {most}"
    )
    return found, hint


def _most(config: Config, room: int) -> int:
    free = max(2, room - _reserve(config))
    return max(free - _upstream(config), free // 2)


def _reserve(config: Config) -> int:
    return RESERVE + (plain.MOST if config.revocation.port else 0)


def _upstream(config: Config) -> int:
    # A visitor's connection has one to the upstream at most: there are never more of those.
    return min(config.upstream.connections, config.limits.connections) if config.upstream.addresses else 0
