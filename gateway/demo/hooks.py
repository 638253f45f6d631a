"""A system that is told of what happens: the demo's own mailbox takes what comes, and another one is gone."""

from __future__ import annotations

from aiohttp import web

from enroll.hooks import endpoints
from gateway.serving.deployment import Deployment

#: Where the mailbox takes webhooks, and what is no receiver at all.
TAKEN, NOBODY = "/webhooks", "/nobody"


async def begin(deployment: Deployment, port: int) -> None:
    """Two endpoints: one that takes what comes, and one that answers that there is nothing."""
    named = f"https://mailbox.localhost:{port}"
    for name, path, types in (
        ("payroll", TAKEN, ["request.*", "certificate.*"]),
        ("old-system", NOBODY, ["application.*", "proposal.*"]),
    ):
        told = {"name": name, "url": named + path, "events": types}
        await endpoints.add(deployment.ra, told, "operator:demo", True)


async def take(request: web.Request) -> web.StreamResponse:
    """A receiver that is content with everything. A real one looks at the signature first."""
    await request.read()
    return web.Response(status=204)
