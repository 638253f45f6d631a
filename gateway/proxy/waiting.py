"""How long the upstream may take on which path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ca.errors import ConfigError

_LINE = re.compile(r"(?P<path>(?:/[A-Za-z0-9_~.-]+)+)(?P<waits>(?: (?:answer|body|tunnel)=[0-9]{1,6})+)")
_HINT = "write a path and its waits in seconds, such as '/reports answer=600 body=600' (or tunnel=)"


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the upstream may take. Seconds; each default says why."""

    connect: float = 5.0  # the next room, not the next continent
    answer: float = 60.0  # from the end of the request to the head of the answer; as nginx
    body: float = 300.0  # between two pieces of a body: event streams are silent for minutes
    tunnel: float = 3_600.0  # a WebSocket on which nothing moves in either direction
    # Kept-alive connections: shorter than the 5 s of many servers, so that we close first. A request
    # that may not be sent twice asks for a connection that rested hardly at all.
    rest: float = 4.0
    rest_unsafe: float = 1.0
    down: float = 10.0  # an address that failed is passed over so long, while another one is well
    # Whether a caller whose exchange still runs is still let in: as quick as a revocation, and a look at the
    # database's version as long as nothing is written.
    recheck: float = 1.0
    check: float = 5.0  # between two active checks


@dataclass(frozen=True, slots=True)
class PathWaits:
    """Waits by prefixes of whole segments, the longest match decides. They open nothing, so that the path
    is looked at as it is written."""

    default: Waits
    by_prefix: Mapping[tuple[str, ...], Waits] = field(default_factory=dict)
    depth: int = 0

    def of(self, target: str) -> Waits:
        """The waits for a request target."""
        if not self.depth:
            return self.default
        segments = tuple(target.partition("?")[0][1:].split("/", self.depth)[: self.depth])
        for length in range(len(segments), 0, -1):
            found = self.by_prefix.get(segments[:length])
            if found is not None:
                return found
        return self.default


def path_waits(default: Waits, lines: Iterable[str]) -> PathWaits:
    """From lines such as ``/reports answer=600``. What a line leaves out is the default's. ConfigError."""
    table: dict[tuple[str, ...], Waits] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            raise ConfigError(f"waits: {line!r}: {_HINT}")
        prefix = tuple(found["path"][1:].split("/"))
        pairs = [pair.partition("=") for pair in found["waits"].split()]
        named = {name: float(seconds) for name, _, seconds in pairs}
        if prefix in table or len(named) < len(pairs) or not all(named.values()):
            raise ConfigError(f"waits: {line!r}: name each path and each wait once, and none of 0; {_HINT}")
        table[prefix] = replace(default, **named)
    return PathWaits(default, table, max(map(len, table), default=0))
