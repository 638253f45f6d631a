"""Whose page makes a browser ask (V40): Origin and Sec-Fetch-Site, read in one way for pages and relay.

A browser presents its visitor's certificate and cookies whoever's page asks. It says whose it is: Origin
comes with every POST and every WebSocket, Sec-Fetch-Site with whatever a browser since 2023 asks over TLS.
Who sends neither is no browser, and sends nothing that he did not put there himself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# "none": a person, by the address bar, a bookmark, or a form that the browser sends once more.
_OUR_SITES = frozenset({b"same-origin", b"none"})
_ELSEWHERE = frozenset({b"cross-site", b"same-site"})


def foreign(
    method: str,
    origins: Sequence[bytes],
    sites: Sequence[bytes],
    host: bytes,
    *,
    websocket: bool = False,
) -> bool:
    """Whether another site's page is behind a request that may change something. A read is left to CORS.

    ``origins``, ``sites``: every value of Origin and Sec-Fetch-Site. ``host``: of Host, as it was typed.
    """
    if method in SAFE and not websocket:
        return False
    # Without a referrer (Referrer-Policy: no-referrer) a page's own POST has the Origin "null", like that of
    # a sandboxed frame or of a file: the other field tells them apart.
    proved = not websocket and list(sites) == [b"same-origin"]
    if any(not _own(each, host) and not (proved and each == b"null") for each in origins):
        return True
    return not websocket and any(each not in _OUR_SITES for each in sites)


def by_our_page(origins: Sequence[bytes], sites: Sequence[bytes], host: bytes) -> bool:
    """Whether a browser says that a page of this very origin is behind a POST."""
    said = bool(origins) or b"same-origin" in sites
    return said and not foreign("POST", origins, sites, host)


def linked_elsewhere(sites: Iterable[bytes]) -> bool:
    """Whether a link or an image of another site's page is behind a read."""
    return any(each in _ELSEWHERE for each in sites)


def _own(origin: bytes, host: bytes) -> bool:
    # RFC 6454 6.2: the port that https has anyway is left out, which Host need not do.
    return origin.lower() == b"https://" + host.lower().removesuffix(b":443")
