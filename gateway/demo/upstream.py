"""An example of a service behind the gate: it believes nothing but the signed assertion.

Run it as ``python -m gateway.demo.upstream --issuer https://help.localhost:8443
--origin https://service.localhost:8443 --jwks jwks.json``.
It shows who calls, echoes a WebSocket, ticks an event stream, and takes and gives files.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

Claims = dict[str, Any]

_CLAIMS: web.RequestKey[Any] = web.RequestKey("claims")
# Our clock and the gate's may differ by a little.
_LEEWAY = 5


def verified(token: str, jwks: Mapping[str, Any], issuer: str, audience: str, at: int) -> Claims | None:
    """The claims of an assertion, or None unless it is the gate's, for us, and of now."""
    try:
        head, body, signature = token.split(".")
        header = json.loads(_unb64(head))
        key = next(each for each in jwks["keys"] if each["kid"] == header["kid"])
        raw = _unb64(signature)
        if header["alg"] != "ES256" or len(raw) != 64:
            return None
        x, y = (int.from_bytes(_unb64(key[name]), "big") for name in ("x", "y"))
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public.verify(der, f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
        claims = json.loads(_unb64(body))
        current = claims["iat"] - _LEEWAY <= at < claims["exp"] + _LEEWAY
        named = (claims["iss"], claims["aud"]) == (issuer, audience)
    except (ValueError, KeyError, TypeError, StopIteration, InvalidSignature):
        return None
    return claims if named and current else None


def application(
    jwks: Mapping[str, Any], issuer: str, audience: str, now: Callable[[], int]
) -> web.Application:
    """The service. Every request without a good assertion is 401, whatever other headers say."""

    @web.middleware
    async def demand(request: web.Request, handler: Any) -> web.StreamResponse:
        claims = verified(request.headers.get("Sekisho-Assertion", ""), jwks, issuer, audience, now())
        if claims is None:
            raise web.HTTPUnauthorized(text="no good assertion: reach this service through the gate\n")
        request[_CLAIMS] = claims
        try:
            return await handler(request)  # type: ignore[no-any-return]
        except ConnectionError:
            # The visitor left, or lost his right: the gate ends what runs. Nobody reads this.
            return web.Response()

    app = web.Application(middlewares=[demand], client_max_size=0)
    app.add_routes(
        [
            web.get("/app/", show),
            web.get("/app/who", who),
            web.get("/app/socket", socket),
            web.get("/app/events", events),
            web.put("/app/file", upload),
            web.get("/app/file/{size:[0-9]{1,10}}", download),
        ]
    )
    return app


async def show(request: web.Request) -> web.Response:
    """Who calls, on a page."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(json.dumps(value, ensure_ascii=False))}</td></tr>"
        for name, value in request[_CLAIMS].items()
    )
    return web.Response(text=_PAGE.replace("ROWS", rows), content_type="text/html", charset="utf-8")


async def who(request: web.Request) -> web.Response:
    """Who calls, as JSON."""
    return web.json_response(dict(request[_CLAIMS]))


async def socket(request: web.Request) -> web.WebSocketResponse:
    """Gives every text back, with the caller's name."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(f"{request[_CLAIMS].get('sub', '')}: {message.data}")
    return ws


async def events(request: web.Request) -> web.StreamResponse:
    """A number every second."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    number = 0
    while True:
        number += 1
        await response.write(b"data: %d\n\n" % number)
        await asyncio.sleep(1)


async def upload(request: web.Request) -> web.Response:
    """Reads a file of any size and says its length and SHA-256."""
    digest, length = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        length += len(piece)
    return web.json_response({"length": length, "sha256": digest.hexdigest()})


async def download(request: web.Request) -> web.StreamResponse:
    """So many bytes."""
    left = int(request.match_info["size"])
    response = web.StreamResponse(headers={"Content-Length": str(left)})
    await response.prepare(request)
    while left:
        piece = bytes(min(left, 65_536))
        await response.write(piece)
        left -= len(piece)
    return response


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--issuer", required=True, help="the help site's origin, as browsers see it")
    parser.add_argument("--origin", required=True, help="the service site's origin, as browsers see it")
    parser.add_argument(
        "--jwks", required=True, type=Path, help="the set from /.well-known/sekisho/jwks.json"
    )
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    jwks = json.loads(options.jwks.read_text())
    app = application(jwks, options.issuer, options.origin, lambda: int(time.time()))
    web.run_app(app, host="127.0.0.1", port=options.port)


def _unb64(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


_PAGE = """<!doctype html><html lang="ja"><meta charset="utf-8"><title>サービスの例</title>
<meta name="viewport" content="width=device-width"><style>td { overflow-wrap: anywhere }</style>
<h1>サービスの例</h1><p lang="en">An example of a service behind the gate.</p>
<table>ROWS</table></html>
"""

if __name__ == "__main__":
    main()
