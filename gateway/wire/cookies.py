"""The one reader of cookies, for pages and relay alike: bytes in, at most one value out.

A browser writes ``name=value; name=value`` into one field (RFC 6265 5.4). Lax parsers find a name in
other places as well, and a browser stores ``x=y __Host-service=evil`` for a whole domain: its ``__Host-``
holds nobody back. So a cookie of ours is the one clean pair there is of its name, and whatever else has
that name in it is odd: nobody is let in by it, and the browser is told to drop it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from aiohttp import web

from gateway.wire.fields import values_of

#: The Clear-Site-Data value beside the deletion of ours: nothing else removes what was planted for a whole
#: domain, under another name.
CLEAR = '"cookies"'

# RFC 9110 5.6.2: what a name may be made of, so that a longer one is another one.
_TOKEN = rb"!#$%&'*+.^_`|~0-9A-Za-z-"


class Reading(NamedTuple):
    """What a request says of a cookie of ours. ``value``: of the one clean pair, else empty. ``odd``: its
    name stands there in another way, or twice."""

    value: str = ""
    odd: bool = False

    @property
    def present(self) -> bool:
        return self.odd or self.value != ""


ABSENT = Reading()
_ODD = Reading(odd=True)


class Ours:
    """A cookie of ours by its name, such as ``__Host-service``; values are base64url, as we write them."""

    __slots__ = ("_lower", "_pair", "_standing", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        raw = name.encode("ascii")
        self._lower = raw.lower()
        self._standing = re.compile(rb"(?<![%s])%s(?![%s])" % (_TOKEN, re.escape(raw), _TOKEN), re.IGNORECASE)
        self._pair = re.compile(rb"(?:\A|; )%s=([A-Za-z0-9_-]*)(?=; |\Z)" % re.escape(raw))

    def taken_from(self, value: bytes) -> tuple[Reading, bytes]:
        """The reading of a request's only Cookie field, and what is left of it without this cookie."""
        times = value.lower().count(self._lower)
        if not times:
            return ABSENT, value
        pair = self._pair.search(value)
        if times == 1 and pair is not None:
            start, end = pair.span()
            return Reading(pair[1].decode("ascii")), value[:start] + value[end:] if start else value[
                end + 2 :
            ]
        standing = len(self._standing.findall(value))
        if not standing:
            return ABSENT, value  # within a longer name
        others = [each.strip(b" \t") for each in value.split(b";") if not self.stands_in(each)]
        read = Reading(pair[1].decode("ascii")) if standing == 1 and pair is not None else _ODD
        return read, b"; ".join(filter(None, others))

    def read(self, values: Sequence[bytes]) -> Reading:
        """Its reading. ``values``: of every Cookie field of a request, without the space around them."""
        if len(values) == 1:
            return self.taken_from(values[0])[0]
        # RFC 6265 5.4: a user agent sends one field.
        return _ODD if any(map(self.stands_in, values)) else ABSENT

    def stands_in(self, value: bytes) -> bool:
        """Whether its name stands in a Cookie or Set-Cookie value, in whatever form."""
        return self._lower in value.lower() and self._standing.search(value) is not None


@lru_cache(maxsize=64)
def ours(name: str) -> Ours:
    """The cookie of this name."""
    return Ours(name)


def read(request: web.BaseRequest, name: str) -> Reading:
    """What a request of a page says of a cookie of ours."""
    return ours(name).read(values_of(request.raw_headers, b"cookie"))


def deletion(name: str) -> str:
    """The Set-Cookie value that takes a cookie of ours away."""
    return f'{name}=""; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax'
