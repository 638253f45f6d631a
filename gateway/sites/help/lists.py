"""Revocation lists on the help site: as `gateway.sites.revocation` hands them out, under a name to be saved
by."""

from __future__ import annotations

from collections.abc import MutableMapping

from aiohttp import web

from ca.authority import Issuer
from enroll.ra import RegistrationAuthority
from gateway.sites.revocation import response
from gateway.sites.revocation.lists import SOON, Known, published
from gateway.wire.plain import Asked

#: Of a site: the lists that were in force last, as of its `Publications`.
KNOWN: web.AppKey[Known] = web.AppKey("lists known last", MutableMapping)


async def answer(
    request: web.Request, ra: RegistrationAuthority, issuer: Issuer, name: str
) -> web.StreamResponse:
    """The issuer's list, or that the client's copy is the newest."""
    fields = {key.lower(): value for key, value in request.headers.items()}
    asked = Asked(request.method, request.raw_path, fields, b"")
    told = await published(asked, ra, issuer.issuer_id, request.app[KNOWN])
    if told.status == 503:
        said = (
            "失効リストを準備しています。数秒後にもう一度お試しください。\n"
            "The revocation list is being made.\n"
        )
        return web.Response(status=503, text=said, headers={"Retry-After": str(SOON)})
    answered = response(told, request.method)
    if told.status == 200:
        answered.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answered
