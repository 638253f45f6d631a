"""A system that is told of what happens: the demo's own mailbox takes what comes, and another one is gone."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from enroll.hooks import endpoints, store
from enroll.hooks.states import Endpoint as Standing
from gateway.serving.config import origin
from gateway.serving.deployment import Deployment

#: Where the mailbox takes webhooks, and what is no receiver at all.
TAKEN, NOBODY = "/webhooks", "/nobody"
_BY = "operator:demo"


async def begin(deployment: Deployment) -> None:
    """Two endpoints: one that takes what comes, and one that answers that there is nothing."""
    for name, path, types in (
        ("payroll", TAKEN, ["request.*", "certificate.*"]),
        ("old-system", NOBODY, ["application.*", "proposal.*"]),
    ):
        told = {"name": name, "url": _mailbox(deployment) + path, "events": types}
        await endpoints.add(deployment.ra, told, _BY, True)


async def follow(deployment: Deployment) -> None:
    """Has what goes to the mailbox go to where that is now: a demo that is kept need not have its port again.

    Those that visitors have added, too.
    """
    ra, mailbox = deployment.ra, deployment.config.sites.mailbox
    for each in await ra.database.read(store.endpoints):
        was = urlsplit(each.url)
        there = was._replace(netloc=urlsplit(_mailbox(deployment)).netloc).geturl()
        if was.hostname in mailbox and there != each.url and each.state is not Standing.ENDED:
            await endpoints.change(ra, {"name": each.name, "changes": {"url": there}}, _BY, True)


async def take(request: web.Request) -> web.StreamResponse:
    """A receiver that is content with everything. A real one looks at the signature first."""
    await request.read()
    return web.Response(status=204)


def _mailbox(deployment: Deployment) -> str:
    config = deployment.config
    return origin(config.sites.mailbox[0], config.public_port)
