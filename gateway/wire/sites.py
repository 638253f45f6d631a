"""A site as those who serve it over HTTP see it: what the socket's storey only carries has its types here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.edge.tls import Site
from gateway.wire.front import Relay
from gateway.wire.http import LowLevelHandler


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WebSite(Site):
    """See `gateway.edge.tls.Site`. Everything is named where one is made."""

    handler: web.Application | LowLevelHandler
    refused: LowLevelHandler | None = None
    limited: Callable[[web.BaseRequest], web.StreamResponse | None] | None = None
    relay: Relay | None = None
