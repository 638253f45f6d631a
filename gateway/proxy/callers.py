"""Who is calling (a `relay.Callers`), found out once for as long as the answer cannot have changed.

It depends on the database and the time, and on nothing else: what was found out counts until anything is
committed there, by whatever process, or until the time comes at which it would be looked up anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from enroll.ra import RegistrationAuthority
from gateway.proxy.identity import Caller
from gateway.wire.request import Request

#: What a request says of its caller, as text: two that say the same have the same caller.
Key = Callable[[Request], str]
#: The caller, and the epoch second from which on he has to be looked up again. Raises whatever the site's
#: pages are to say instead (`relay.NotRelayed`, a refusal).
Find = Callable[[Request], Awaitable[tuple[Caller, int]]]

_REMEMBERED = 4_096


class _Found(NamedTuple):
    """``version``: of the database, read before the look-up, so that no change is missed."""

    version: int
    at: int
    until: int
    caller: Caller


class RememberedCallers:
    """The callers on one kind of path. Only those who were let in are remembered."""

    def __init__(self, ra: RegistrationAuthority, key: Key, find: Find) -> None:
        self._ra, self._key, self._find = ra, key, find
        self._found: dict[str, _Found] = {}

    def known(self, request: Request) -> Caller | None:
        """The caller, if he is known and nothing has changed; without waiting."""
        key = self._key(request)
        found = self._found.get(key)
        if found is None:
            return None
        if found.at <= self._ra.now() < found.until and found.version == self._ra.database.changed():
            return found.caller
        del self._found[key]
        return None

    async def find(self, request: Request) -> Caller:
        """The caller. Raises as `Find` does."""
        known = self.known(request)
        if known is not None:
            return known
        ra, key = self._ra, self._key(request)
        version, at = ra.database.changed(), ra.now()
        caller, until = await self._find(request)
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[key] = _Found(version, at, until, caller)
        return caller
