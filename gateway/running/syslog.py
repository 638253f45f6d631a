"""Lines for another machine's log: RFC 5424 by TCP (octets counted, RFC 6587), UDP or a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

# Facility 13 (log audit), severity 5 (notice).
_PRIORITY = 13 * 8 + 5
_SECONDS = 5.0
_PORT = 514


def send(target: str, identifier: str, lines: Sequence[tuple[int, str]]) -> None:
    """Sends lines, each with its time (epoch seconds). OSError where nobody takes them: then none, some or
    all have come. ``identifier``: the MSGID, what they are. Blocks."""
    messages = [_message(at, identifier, line) for at, line in lines]
    if target.startswith("unix:"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SECONDS)
            sock.connect(target.removeprefix("unix:"))
            for message in messages:
                sock.send(message)
        return
    parts = urlsplit(target)
    where = parts.hostname or "", parts.port or _PORT
    if parts.scheme == "tcp":
        with socket.create_connection(where, _SECONDS) as sock:
            sock.sendall(b"".join(b"%d %b" % (len(message), message) for message in messages))
            # Whoever has closed on us has not taken them: that is told by the end of it.
            sock.shutdown(socket.SHUT_WR)
            with suppress(TimeoutError):
                sock.recv(1)
        return
    family, kind, number, _, address = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, number) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(address)
        for message in messages:
            sock.send(message)


def _message(at: int, identifier: str, line: str) -> bytes:
    when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = f"<{_PRIORITY}>1 {when} {socket.gethostname()} sekisho {os.getpid()} {identifier} - "
    return head.encode("ascii", "replace") + line.encode()
