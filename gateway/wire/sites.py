"""A site as those who serve it over HTTP see it: what answers there, under the socket's own policy for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.edge.facts import ConnectionInfo
from gateway.edge.tls import Site
from gateway.wire.request import Forwarder
from gateway.wire.rules import Denial

LowLevelHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""A bare handler; `gateway.wire.reply.Reply` may stand for the response (aiohttp asks no more of it)."""

Said = tuple[tuple[tuple[str, str], ...], bytes]
"""The header fields and the body of an answer."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WebSite(Site):
    """See `gateway.edge.tls.Site`; every site of a listener with our `Handlers` is one.

    `handler`: its pages. `refused`: answers instead on a REQUIRE site while the peer is not verified.
    `limited`: answers a request that came too soon after others; None: it may go on. `relay`: takes the
    requests that are an upstream's. `says`: what is refused before any of these is asked, in the site's own
    words, from why and the target as far as that was read ("/" if it was not); None, or nothing from it: the
    short page.
    """

    handler: web.Application | LowLevelHandler
    refused: LowLevelHandler | None = None
    limited: Callable[[web.BaseRequest], web.StreamResponse | None] | None = None
    relay: Forwarder | None = None
    says: Callable[[Denial, str], Said | None] | None = None


def site_of(info: ConnectionInfo) -> WebSite | None:
    """The site of a connection; None if the handshake named none."""
    return None if info.site is None else as_web_site(info.site)


def as_web_site(site: Site) -> WebSite:
    """The same site. A TypeError if it answers nothing: a fault of whoever set up the listener."""
    if not isinstance(site, WebSite):
        raise TypeError(f"site {site.name} has no handler: make it a gateway.wire.sites.WebSite")
    return site
