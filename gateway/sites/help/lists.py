"""Revocation lists over HTTP (RFC 2585 section 4.2), for relying parties that are not this gate.

What is published is handed out, the same bytes by every worker; nothing is ever made because somebody asks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import web

from ca.authority import Issuer
from ca.listfiles import path_of
from ca.store import RevocationList
from enroll import crls
from enroll.ra import RegistrationAuthority

#: Seconds that a cache may keep a list at most: a revocation must not wait for its nextUpdate.
_MOST_KEPT = 3_600
# Seconds until the first list is there, or one whose file was taken away is made anew.
_SOON = 5


async def answer(
    request: web.Request, ra: RegistrationAuthority, issuer: Issuer, name: str
) -> web.StreamResponse:
    """The issuer's list, or that the client's copy is the newest (RFC 9110 section 13)."""
    for _ in range(2):  # another one may be published, and this one's file go, between two lines here
        listed = await crls.published(ra, issuer.issuer_id)
        if listed is None:
            break
        headers = _headers(listed, ra.now())
        if _has_it(request, listed):
            return web.Response(status=304, headers=headers)
        headers |= {
            "Content-Type": "application/pkix-crl",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        try:
            # Read piece by piece as the client takes it; aiohttp closes it.
            file = path_of(crls.folder(ra), listed).open("rb")
        except FileNotFoundError:
            continue
        if request.method == "HEAD":
            file.close()
            return web.Response(headers=headers | {"Content-Length": str(listed.size)})
        return web.Response(body=file, headers=headers)
    said = (
        "失効リストを準備しています。数秒後にもう一度お試しください。\nThe revocation list is being made.\n"
    )
    return web.Response(status=503, text=said, headers={"Retry-After": str(_SOON)})


def max_age(listed: RevocationList, now: int) -> int:
    """Seconds that a cache may keep a list: never beyond its nextUpdate, and no hour."""
    return max(0, min(listed.next_update_at - now, _MOST_KEPT))


def _headers(listed: RevocationList, now: int) -> dict[str, str]:
    return {
        "ETag": f'"{listed.digest}"',
        "Last-Modified": format_datetime(datetime.fromtimestamp(listed.this_update_at, UTC), usegmt=True),
        "Cache-Control": f"public, max-age={max_age(listed, now)}, must-revalidate",
    }


def _has_it(request: web.Request, listed: RevocationList) -> bool:
    # RFC 9110 section 13.1.3: If-Modified-Since counts only without If-None-Match.
    tags = request.if_none_match
    if tags is not None:
        return any(tag.value in ("*", listed.digest) for tag in tags)
    since = request.if_modified_since
    return since is not None and listed.this_update_at <= since.timestamp()
