"""Message heads as they cross the gate: what is taken off, what is put on. Pure: bytes to bytes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus

from gateway.proxy import addresses, products
from gateway.wire.cookies import ABSENT, Ours
from gateway.wire.fields import RawHeaders
from gateway.wire.framing import Body, Malformed, Noted, framing_line, lines_of
from gateway.wire.request import Fields

#: Belong to one connection only (RFC 9110 7.6.1), with those that some servers still honour.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)

# What only a gateway may say: who called from where, by which scheme, for which address.
_GATEWAYS_OWN = frozenset(
    {
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-original-host",
        b"x-original-uri",
        b"x-host",
        b"x-http-host-override",
        b"x-scheme",
        b"x-url-scheme",
        b"front-end-https",
        b"x-arr-ssl",
        b"proxy",  # CGI's HTTP_PROXY
    }
)
_GATEWAYS_PREFIXES = (b"x-forwarded-", b"client-cert", b"sekisho-", b"x-sekisho-")
# Written by us from what was parsed, never copied.
_FRAMING = frozenset({b"host", b"content-length", b"expect", b"trailer"})
# RFC 9110 6.5.1: what would change how a message is routed, who sent it, or what it asks for.
_NOT_IN_TRAILERS = re.compile(
    rb"(?:host|cookie|set-cookie|authorization|range|max-forwards|cache-control|age|vary|date|location"
    rb"|retry-after|www-authenticate|alt-svc|origin|referer|expires|warning|pragma|trailer"
    rb"|content-.*|clear-site-data|if-.*|accept.*|sec-.*|x-http-method.*|x-method-override)"
)
#: What the gate looks at in a request, and whether it goes on as well.
OF_REQUESTS: Mapping[bytes, bool] = {
    **dict.fromkeys(
        (b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te",
         b"trailer"),
        False,
    ),
    **dict.fromkeys(
        (b"cookie", b"origin", b"sec-fetch-site", b"sec-websocket-key", b"sec-websocket-version",
         b"sec-fetch-dest", b"service-worker", b"referer"),
        True,
    ),
}  # fmt: skip
#: The same of answers.
OF_ANSWERS: Mapping[bytes, bool] = {
    **dict.fromkeys(
        (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"clear-site-data"), False
    ),
    **dict.fromkeys((b"date", b"set-cookie", b"sec-websocket-accept", *addresses.FIELDS), True),
}
#: Fields of an answer that would count for the whole origin, or host, and so for our own pages on it. A
#: field that counts for its document only is the upstream's own business (README.md has both lists).
ORIGIN_WIDE: Mapping[bytes, str] = {
    b"alt-svc": "leads browsers to a port that asks for no certificate (V6)",
    b"service-worker-allowed": "lets a service worker answer for our pages; the relay sets its own",
    b"strict-transport-security": "a max-age of 0 takes ours away, includeSubDomains locks other hosts",
    b"nel": "tells a collector of the upstream's of every request to our pages",
    b"report-to": "names that collector, and one for the crashes of our pages",
    b"cross-origin-opener-policy": "of the value that ours has, a page reads those of ours that it opens",
    b"cross-origin-opener-policy-report-only": "reports the addresses of our pages that come next",
    b"public-key-pins": "shuts people out of this host, and those below it, for months",
    b"public-key-pins-report-only": "reports the certificates that visitors of our pages see",
    b"expect-ct": "the same",
    b"use-as-dictionary": "our requests would name it, and caches mix both answers",
    b"secure-session-registration": "the browser keeps requests to our pages waiting for the upstream",
    b"sec-session-registration": "the same by its earlier name",
}
# Of Clear-Site-Data: ours keep neither. "cookies" ends logins on all hosts of the domain, ours among them.
_MAY_BE_CLEARED = frozenset({b'"cache"', b'"storage"'})
_DROPPED_FROM_ANSWERS = HOP_BY_HOP | {b"content-length", *ORIGIN_WIDE}
_KEPT = [b"keep-alive"]
_USUAL_OPTIONS = frozenset({b"", b"close", b"keep-alive", b"te", b"upgrade", b"http2-settings"})
_MEMO = 2_048
_WEBSOCKET_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REASON = re.compile(rb"[ -~]{0,200}")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def dropped_from_answers(name: bytes) -> bool:
    """Whether a field of an answer belongs to the upstream's connection, or counts for pages of ours."""
    return name.lower() in _DROPPED_FROM_ANSWERS


def taken_off(own: Iterable[str], others: Iterable[str] = products.NAMES) -> Callable[[bytes], bool]:
    """Says of a header name from outside whether it is taken off. ``own``: names the site sets itself;
    ``others``: what else is, by a name or, with `*` at its end, by how it begins.

    Names are compared as CGI and WSGI read them: case, hyphen, underscore and dot are all one (V34).
    """
    named = [_folded(name.encode()) for name in (*own, *others)]
    names = HOP_BY_HOP | _FRAMING | _GATEWAYS_OWN | {name for name in named if name[-1:] != b"*"}
    starts = (*_GATEWAYS_PREFIXES, *(name[:-1] for name in named if name[-1:] == b"*"))
    memo: dict[bytes, bool] = {}

    def off(name: bytes) -> bool:
        known = memo.get(name)
        if known is None:
            folded = _folded(name)
            known = folded in names or folded.startswith(starts)
            if len(memo) >= _MEMO:
                memo.clear()
            memo[name] = known
        return known

    return off


def sorter(
    noted: Mapping[bytes, bool], off: Callable[[bytes], bool], cookie: Ours | None = None
) -> Callable[[Iterable[tuple[bytes, bytes]]], Fields]:
    """A function that sorts the fields of a head. ``noted``: name -> whether it goes on as well.

    ``off``: what does not go on. ``cookie``: our session cookie, nobody else's business.
    """
    memo: dict[bytes, tuple[bytes, bool]] = {}

    def learn(name: bytes) -> tuple[bytes, bool]:
        lower = name.lower()
        known = (lower, noted[lower]) if lower in noted else (b"", not off(name))
        if len(memo) >= _MEMO:
            memo.clear()
        memo[name] = known
        return known

    def sort(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
        lines: list[bytes] = []
        found: Noted = {}
        reading = ABSENT
        for name, value in headers:
            label, goes_on = memo.get(name) or learn(name)
            if label:
                found.setdefault(label, []).append(value)
                if label == b"cookie" and cookie is not None:
                    reading, value = cookie.taken_from(value)
                    if not value:
                        continue
            if goes_on:
                lines.append(b"%s: %s\r\n" % (name, value))
        if b"connection" in found and found[b"connection"] != _KEPT:
            named = connection_options(found) - _USUAL_OPTIONS
            if named:  # RFC 9110 7.6.1: theirs for this connection only
                lines = [line for line in lines if line.partition(b":")[0].lower() not in named]
        if cookie is not None and len(found.get(b"cookie", ())) > 1:
            reading = cookie.read(found[b"cookie"])
        return Fields(lines, found, reading)

    return sort


def request_head(
    method: str,
    target: str,
    fields: Fields,
    *,
    host: bytes,
    body: Body,
    ours: bytes,
    off: Callable[[bytes], bool],
    expect: bool = False,
    websocket: bool = False,
) -> bytes:
    """The head as the upstream gets it: target byte for byte, one Host, end-to-end fields in order.

    ``ours``: whole header lines that only we set (`forwarded` and the identity). ``off``: what may not
    stand in a trailer section.
    """
    lines, noted = fields.lines, fields.noted
    framing, upgrade = framing_line(body), b""
    if body.chunked:
        framing += announced_trailers(noted, off)
    if expect:
        framing += b"Expect: 100-continue\r\n"
    if websocket:
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    elif b"te" in noted and b"te" in connection_options(noted) and accepts_trailers(noted):
        upgrade = b"Connection: TE\r\nTE: trailers\r\n"
    return b"%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s\r\n" % (
        method.encode("ascii"), target.encode("ascii"), host, b"".join(lines), ours, framing, upgrade,
    )  # fmt: skip


def response_head(
    status: int,
    reason: bytes,
    fields: Fields,
    *,
    framing: bytes,
    close: bool = False,
    cookie: Ours | None = None,
    date: Callable[[], bytes],
    ours: bytes = b"",
) -> bytes:
    """The head as the client gets it. ``framing``: our own Content-Length or Transfer-Encoding line.
    ``ours``: further whole lines of ours.

    ``cookie``: one that the upstream must not set, in whatever form, because it is ours. ``date``: asked
    for an answer that has none.
    """
    return b"HTTP/1.1 %d %s\r\n%s%s%s%s" % (
        status,
        reason,
        _lines_but(fields, cookie),
        b"" if b"date" in fields.noted else b"Date: %s\r\n" % date(),  # RFC 9110 6.6.1
        framing + ours,
        b"Connection: close\r\n\r\n" if close else b"\r\n",
    )


@lru_cache(maxsize=512)
def reason_of(status: int, reason: bytes) -> bytes:
    """A reason phrase as it is handed on: visible ASCII (RFC 9112 4), or else the status's usual one."""
    if _REASON.fullmatch(reason):
        return reason
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def interim_head(status: int, reason: bytes, fields: Fields, cookie: Ours | None = None) -> bytes:
    """A 1xx head, which has no framing and no Date. ``cookie``: as in `response_head`."""
    return b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, reason, _lines_but(fields, cookie))


def switching_head(reason: bytes, fields: Fields, cookie: Ours | None = None) -> bytes:
    """The head of a 101 that `accepted` has checked. ``cookie``: as in `response_head`."""
    return b"HTTP/1.1 101 %s\r\n%sConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % (
        reason,
        _lines_but(fields, cookie),
    )


def trailer_section(trailers: RawHeaders, off: Callable[[bytes], bool] = dropped_from_answers) -> bytes:
    """The last chunk and the fields after it, without what may not stand there.

    ``off``: what is taken off the header as well; of an answer, unless it is given.
    """
    return b"0\r\n%s\r\n" % lines_of(trailers, lambda name: may_trail(name, off))


def may_trail(name: bytes, off: Callable[[bytes], bool]) -> bool:
    """Whether a field may stand after a body: whoever merges it into the header must not be misled."""
    lower = name.lower()
    return not (lower in HOP_BY_HOP or _NOT_IN_TRAILERS.fullmatch(_folded(lower)) or off(lower))


def announced_trailers(noted: Noted, off: Callable[[bytes], bool]) -> bytes:
    """The Trailer line for a chunked request (RFC 9110 6.6.2): some upstreams keep no other fields."""
    named = [each.strip() for value in noted.get(b"trailer", ()) for each in value.split(b",")]
    kept = [name for name in named if _TOKEN.fullmatch(name) and may_trail(name, off)]
    return b"Trailer: %s\r\n" % b", ".join(kept) if kept else b""


def connection_options(noted: Noted) -> frozenset[bytes]:
    """The lower-case names that Connection makes hop-by-hop (RFC 9110 7.6.1)."""
    values = noted.get(b"connection", ())
    return frozenset(each.strip().lower() for value in values for each in value.split(b","))


def websocket_key(method: str, noted: Noted, body: Body) -> bytes | None:
    """The key of a WebSocket opening handshake (RFC 6455 4.2.1); None if the request is not for one.

    Raises Malformed for a request that asks for a WebSocket in a way no client of the standard does.
    """
    upgrades = noted.get(b"upgrade")
    if not upgrades or b"upgrade" not in connection_options(noted):
        return None
    if [each.lower() for each in upgrades] != [b"websocket"]:
        return None  # another protocol: we offer none, RFC 9110 7.8 lets us go on without
    keys, versions = noted.get(b"sec-websocket-key", []), noted.get(b"sec-websocket-version", [])
    plain = method == "GET" and versions == [b"13"] and not body.expected
    if not plain or len(keys) != 1 or not _WEBSOCKET_KEY.fullmatch(keys[0]):
        raise Malformed("websocket")
    return keys[0]


def accepted(key: bytes, noted: Noted) -> bool:
    """Whether the fields of a 101 are the answer to this very handshake (RFC 6455 4.1)."""
    digest = hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest()
    return (
        [each.lower() for each in noted.get(b"upgrade", ())] == [b"websocket"]
        and b"upgrade" in connection_options(noted)
        and noted.get(b"sec-websocket-accept") == [base64.b64encode(digest)]
    )


def for_worker(noted: Noted) -> bool:
    """Whether a browser asks for the script of a service worker (Service Workers, "Update"), which would
    stand before every page of its scope."""
    return b"service-worker" in noted or b"serviceworker" in noted.get(b"sec-fetch-dest", ())


def registered_before(noted: Noted, target: str, host: bytes) -> bool:
    """Whether a request `for_worker` is by a worker that is there already and not by a page that registers
    one: the page has an address of its own in Referer, the worker that of its script (so does Chromium 156),
    which it can shorten but not make another page's."""
    page = b"https://" + host.lower() + b"/"
    pages = [each for each in noted.get(b"referer", ()) if each[: len(page)].lower() == page]
    return not any(each[len(page) - 1 :] not in (b"/", target.encode("ascii")) for each in pages)


def accepts_trailers(noted: Noted) -> bool:
    """Whether TE lists trailers."""
    return any(
        each.strip().lower() == b"trailers" for value in noted.get(b"te", ()) for each in value.split(b",")
    )


def header_line(name: str, value: str) -> bytes:
    """One header line of ours. Characters that no field value may hold become `?` (V38)."""
    clean = "".join(c if " " <= c <= "~" else "?" for c in value)
    return b"%s: %s\r\n" % (name.encode("ascii"), clean.encode("ascii"))


def is_token(name: str) -> bool:
    """Whether a text can be a header name (RFC 9110 5.1)."""
    return name.isascii() and _TOKEN.fullmatch(name.encode()) is not None


def _lines_but(fields: Fields, cookie: Ours | None) -> bytes:
    """The lines of an answer without those that set the cookie, or clear what is not the upstream's."""
    lines = fields.lines
    if b"clear-site-data" in fields.noted:
        asked = b",".join(fields.noted[b"clear-site-data"]).split(b",")
        kept = [each.strip() for each in asked if each.strip() in _MAY_BE_CLEARED]
        lines = [*lines, b"Clear-Site-Data: %s\r\n" % b", ".join(kept)] if kept else lines
    planted = fields.noted.get(b"set-cookie")
    if planted is not None and cookie is not None and any(map(cookie.stands_in, planted)):
        lines = [line for line in lines if not _plants(line, cookie)]
    return b"".join(lines)


def _plants(line: bytes, cookie: Ours) -> bool:
    name, _, value = line.partition(b":")
    return name.lower() == b"set-cookie" and cookie.stands_in(value)


def _folded(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-").replace(b".", b"-")


#: Sorts the fields of an answer.
sorted_answer = sorter(OF_ANSWERS, dropped_from_answers)
