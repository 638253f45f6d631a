"""What an address of an upstream is taken for, told to the log when it changes and not for every request."""

from __future__ import annotations

import logging

log = logging.getLogger("sekisho.upstream")

#: The faults whose end shows as soon as a connection is made; any other one's takes a whole answer.
CONNECTING = frozenset({"unreachable", "connect-timeout"})
#: Faults in words, where no exception has better ones.
CAUSES = {
    "closed": "it closed the connection without an answer",
    "cut": "its answer ended too early",
    "malformed": "its answer is malformed",
    "timeout": "no answer in time",
}
# Causes are told once each until the address is well again; so many at most.
_CAUSES = 8


class Health:
    """One address. ``quiet``: seconds after "it answers again" in which no fault is told, so that one that
    fails every other request costs two lines in that time."""

    __slots__ = ("_causes", "_code", "_name", "_quiet", "_told", "_well_at")

    def __init__(self, name: str, quiet: float) -> None:
        self._name, self._quiet = name, quiet
        self._causes: set[str] = set()
        self._code = ""
        self._told = False
        self._well_at = float("-inf")

    @property
    def well(self) -> bool:
        return not self._causes

    @property
    def connecting_failed(self) -> bool:
        """Whether a connection is all it takes to be well again."""
        return bool(self._causes) and self._code in CONNECTING

    def failed(self, code: str, cause: str, now: float) -> None:
        """A fault: a stable word, and the reason in words that no visitor sees."""
        cause = cause or CAUSES.get(code, code)
        new = cause not in self._causes and len(self._causes) < _CAUSES
        self._code = code
        if new:
            self._causes.add(cause)
        if new if self._told else now - self._well_at >= self._quiet:
            self._told = True
            log.warning("upstream %s: %s", self._name, cause)

    def recovered(self, now: float) -> None:
        """It did what was asked of it."""
        if self._told:
            self._told, self._well_at = False, now
            log.warning("upstream %s: it answers again", self._name)
        self._causes.clear()
