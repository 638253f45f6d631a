"""What keeps our pages apart from the scripts of the service behind the gate, which share their origin.

A browser keeps apart origins, not paths. What a script cannot make it do is to open a page of ours where
the script can read it, if no `fetch`, frame or window of its own gets one; see gateway/ATTACKS.md.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDictProxy

from gateway.web import references
from gateway.web.context import Gate
from gateway.web.pages import GATE, SITE, Handler, words_page
from gateway.web.words import Words
from gateway.wire.ownpaths import PAGES, first_segment

#: Fetch Metadata (W3C), which no script can set: what a browser says of a page that a person opens. A browser
#: that says nothing is older than that.
_OPENED: Mapping[str, str] = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
#: Fields of requests for nobody to see, or for a service worker.
_NOT_OPENED = ("Service-Worker", "Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")

# The first Chromium that knows noopener-allow-popups; others take a value they do not know for none.
_KNOWS = re.compile(r'"Chromium";v="(?:13[1-9]|1[4-9]\d|[2-9]\d\d|\d{4,})"')

_TOGETHER = Words(
    403,
    ("この画面は単独で開いてください", "Please open this page by itself"),
    (
        "ほかのページの中、または画面に表示されない場所から呼び出されたため、受け付けませんでした。",
        "It was asked for from within another page, or where nobody sees it, and is not shown there.",
    ),
    (
        "ブラウザのアドレス欄またはリンクから、この画面を直接開いてください。",
        "Please open it directly, from the address bar or by a link.",
    ),
)
STALE = Words(
    403,
    ("画面を開きなおしてください", "Please open the page again"),
    (
        "この画面を開いた後にログインしなおしたか、この画面以外から送信されたため、受け付けませんでした。何も変更されていません。",
        "You logged in again after that page was opened, or our page did not send this. Nothing was changed.",
    ),
    (
        "ブラウザで前の画面に戻り、再読み込みしてから、もう一度お手続きください。",
        "Please go back, reload the page, and try again.",
    ),
)


def opened_by_a_person(headers: CIMultiDictProxy[str]) -> bool:
    """Whether a request is for a page in a window of its own, as far as its browser says what it is for."""
    expected = all(got == wanted for name, wanted in _OPENED.items() for got in headers.getall(name, ()))
    return expected and not any(name in headers for name in _NOT_OPENED)


def form_token(secret: str, path: str) -> str:
    """What a form of our page carries so that only our page can send it. ``secret``: the session's cookie,
    which no script reads; ``path``: where the form is sent to."""
    mark = hmac.new(secret.encode("ascii", "replace"), b"form " + path.encode(), hashlib.sha256)
    return urlsafe_b64encode(mark.digest()).decode("ascii").rstrip("=")


def is_own_form(secret: str, path: str, fields: Mapping[str, str]) -> bool:
    """Whether a form is one that our own page made in this very session, for this path."""
    sent = fields.get("token", "").encode("utf-8", "replace")
    return hmac.compare_digest(sent, form_token(secret, path).encode("ascii"))


def keep_apart(app: web.Application, gate: Gate) -> None:
    """Makes an application one that shares its origin with the service behind the gate."""
    app.middlewares.append(_opened_only)
    if gate.workers:
        app.middlewares.insert(1, _windows_of_our_own)  # around the pages of what fails as well


@web.middleware
async def _opened_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    # What is below /assets everybody may read.
    ours = first_segment(request.raw_path) in PAGES
    if ours and not opened_by_a_person(request.headers):
        return await said(request, "not_opened", _TOGETHER)
    return await handler(request)


@web.middleware
async def _windows_of_our_own(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A page that a service worker makes up says of itself what it likes, ``same-origin`` among it, and could
    then read ours in the windows that it opens. This value shares with nobody."""
    response = await handler(request)
    if _KNOWS.search(request.headers.get("Sec-CH-UA", "")):
        response.headers["Cross-Origin-Opener-Policy"] = "noopener-allow-popups"
    return response


async def said(request: web.Request, code: str, words: Words) -> web.Response:
    """The page of something that this site alone refuses."""
    gate = request.app[GATE]
    reference = await references.note(gate.ra, request.app[SITE], code, path=request.path)
    return words_page(request, words, reference=reference, home="/")
