"""The page for a request whose head is too large, mostly for its cookies, and the button that clears them.

The button's own request carries the same cookies: it is answered from as much of its head as was read.
Plain bytes, because nothing else could be fetched for it either: a style sheet's request is too large, too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from gateway.wire import cookies
from gateway.wire.crossing import by_our_page
from gateway.wire.fields import values_of

#: Where the button leads. On every site a path of its own, never the upstream's.
PATH = "/logout/cookies"

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;color:#1b2733;background:#f3f5f8;font:1rem/1.7 sans-serif;word-break:auto-phrase}"
    "p{text-wrap:pretty}"
    "main{max-width:40rem;margin:0 auto;padding:2rem 1rem}h1,h2{font-size:1.4rem}"
    "button,a.button{display:inline-block;min-height:44px;padding:.6rem 1.4rem;border:0;border-radius:.4rem;"
    "background:#12355b;color:#fff;font:inherit;font-weight:700;text-decoration:none;cursor:pointer}"
    "[lang=en]{border-top:1px solid #b9c4cf;margin-top:2rem}"
    "@media screen and (prefers-color-scheme:dark){body{color:#e4e9ee;background:#10161c}"
    "button,a.button{background:#2a66a5}}"
)
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_TOO_LARGE = (
    (
        "ブラウザから送られた情報が大きすぎます",
        "ブラウザから送られた情報が大きすぎるため、ページを表示できません。多くの場合、このサイトのためにブラウザに"
        "保存されているCookieが原因です。",
        "下のボタンを押してCookieを消去してください。ログイン中の場合は、もう一度ログインする必要があります。",
        "Cookieを消去する",
    ),
    (
        "Your browser sent too much",
        "The page cannot be shown, because what your browser sent with the request is too large. "
        "Mostly that is because of cookies that it keeps for this site.",
        "Please clear them with this button. If you were logged in, you will have to log in again.",
        "Clear the cookies",
    ),
)
_OFFERED = (
    (
        "Cookieの消去",
        "このサイトのためにブラウザに保存されているCookieを消去できます。",
        "消去するには、下のボタンを押してください。ログイン中の場合は、もう一度ログインする必要があります。",
        "Cookieを消去する",
    ),
    (
        "Clear the cookies",
        "Here you can clear the cookies that your browser keeps for this site.",
        "Please press this button to do so. If you are logged in, you will have to log in again.",
        "Clear the cookies",
    ),
)
_CLEARED = (
    (
        "Cookieを消去しました",
        "このサイトのためにブラウザに保存されていたCookieを消去しました。",
        "続けるには、最初のページを開いてください。",
        "最初のページを開く",
    ),
    (
        "The cookies are cleared",
        "Your browser has cleared the cookies that it kept for this site.",
        "Please open the first page to go on.",
        "Open the first page",
    ),
)

_BUTTON = f'<form method="post" action="{PATH}"><button>{{}}</button></form>'

Headers = tuple[tuple[str, str], ...]


def asks_to_clear(method: str, target: str, fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a head, or what was read of it, is that of our button, clicked on a page of ours: nobody else's
    page logs people out. Browsers write Host and Origin before the cookies."""
    if method != "POST" or target.partition("?")[0] != PATH:
        return False
    read = list(fields)
    hosts, origins, sites = (values_of(read, name) for name in (b"host", b"origin", b"sec-fetch-site"))
    return len(hosts) == 1 and by_our_page(origins, sites, hosts[0])


def too_large() -> tuple[Headers, bytes]:
    """Header fields and body of the page with the button, for a 431."""
    return _HEADERS, _page(_TOO_LARGE, _BUTTON)


def offered() -> tuple[Headers, bytes]:
    """The same for whoever opens the button's own address."""
    return _HEADERS, _page(_OFFERED, _BUTTON)


def cleared() -> tuple[Headers, bytes]:
    """The same of the page after it. It makes the browser drop the cookies of the domain."""
    headers = (*_HEADERS, ("Clear-Site-Data", cookies.CLEAR))
    return headers, _page(_CLEARED, '<p><a class="button" href="/">{}</a></p>')


_HEADERS: Headers = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)


def _page(words: tuple[tuple[str, str, str, str], ...], way: str) -> bytes:
    said = "".join(
        f'<div lang="{lang}"><{h}>{title}</{h}><p>{what}</p><p>{step}</p>{way.format(button)}</div>'
        for (lang, h), (title, what, step, button) in zip((("ja", "h1"), ("en", "h2")), words, strict=True)
    )
    return (
        f'<!doctype html><html lang="ja"><head><meta charset="utf-8"><title>{words[0][0]}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{said}</main></body></html>\n"
    ).encode()
