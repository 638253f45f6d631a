"""The gate before the pages (`rules` says what passes), and aiohttp's request handler behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, cast

from aiohttp import web

from ca.trust import VerifiedPeer
from gateway.edge.facts import ConnectionInfo, Limits, Verdict
from gateway.edge.served import Served
from gateway.wire.rules import Denial, admission, denial
from gateway.wire.sites import LowLevelHandler, Said, WebSite, site_of

log = logging.getLogger("sekisho.http")

_PEER: web.RequestKey[Verdict | None] = web.RequestKey("sekisho.peer")
#: What stands before an application, for handlers that want none of its frame: it is given the
#: application's own handler and returns the one that is asked instead.
AHEAD: web.AppKey[Callable[[LowLevelHandler], LowLevelHandler]] = web.AppKey("sekisho.ahead")
#: Whose session a request belongs to, for the log; set by whoever finds the session.
SUBJECT: web.RequestKey[str] = web.RequestKey("sekisho.subject")

# Seconds; aiohttp asks for a limit, and a connection is also in use when no page is asked for.
_NEVER = 10.0**7

#: nginx's number for a client that left before its answer; in the log, never on the wire.
CLIENT_GONE = 499


def connection(request: web.BaseRequest) -> ConnectionInfo:
    """The facts about the connection a request came in on; also after that connection is gone."""
    return cast(RequestProtocol, request.protocol).info


def peer(request: web.BaseRequest) -> Verdict | None:
    """Who presented a certificate, judged again for this request; None on a NONE site."""
    return request[_PEER]


def why(request: web.BaseRequest) -> Exception | None:
    """Why the relay in front of these pages did not hand a request on; None if it never meant to."""
    return cast(RequestProtocol, request.protocol).why


def judged(request: web.BaseRequest) -> Verdict | None:
    """`peer`, or None for a request that the gate refused before it looked."""
    return request.get(_PEER)


def gate(handler: LowLevelHandler, recheck: Callable[[VerifiedPeer], Verdict]) -> LowLevelHandler:
    """`handler` behind the rules. On a REQUIRE site it is reached by verified peers only."""

    async def gated(request: web.BaseRequest) -> web.StreamResponse:
        protocol = cast(RequestProtocol, request.protocol)
        info = protocol.info
        refused = denial(
            request.method, request.raw_path, request.version, request.raw_headers, info.authorities
        )
        if refused is not None:
            info.count(f"refused.{refused.code}")
            return refusal(request, refused)
        # Whoever was turned away in front of the pages is not let in behind his back.
        request[_PEER], refused = protocol.barred or admission(info, recheck)
        site = site_of(info)
        if site is None:
            return page(421)
        limited = site.limited(request) if site.limited is not None else None
        if limited is not None:
            info.count("refused.rate")
            return limited
        if refused is not None:
            info.count(f"refused.{refused.code}")
            return refusal(request, refused) if site.refused is None else await site.refused(request)
        return await handler(request)

    return gated


async def misdirected(_: web.BaseRequest) -> web.StreamResponse:
    """The handler behind a connection without a site. The gate answers before it; this is the twin."""
    return page(421)


_WORDS = {
    400: "リクエストの形式が正しくありません。",
    403: "有効なクライアント証明書が必要です。",
    408: "時間内にリクエストを受信できませんでした。",
    413: "送信されたデータが大きすぎます。",
    414: "アドレスが長すぎます。",
    417: "このリクエストには対応していません。",
    429: "操作の回数が多すぎます。しばらくしてからもう一度お試しください。",
    421: "このホスト名のページは、この接続では表示できません。ブラウザを再起動してもう一度お試しください。",
    501: "このメソッドは利用できません。",
    500: "サーバーで問題が発生しました。しばらくしてからもう一度お試しください。",
    502: "サービスから正しい応答がありませんでした。しばらくしてからもう一度お試しください。",
    503: "サービスが混み合っています。しばらくしてからもう一度お試しください。",
    504: "サービスから時間内に応答がありませんでした。しばらくしてからもう一度お試しください。",
    505: "この HTTP のバージョンには対応していません。",
}


_PAGE_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
)


def short_page(status: int) -> Said:
    """The header fields and the body of a short page in Japanese and English."""
    phrase = HTTPStatus(status).phrase
    words = _WORDS.get(status, phrase)
    body = (
        f'<!doctype html><html lang="ja"><meta charset="utf-8"><title>{status} {phrase}</title>'
        f'<h1>{status}</h1><p>{words}</p><p lang="en">{phrase}.</p></html>\n'
    )
    return _PAGE_HEADERS, body.encode()


def page(status: int) -> web.Response:
    """The short page as a response, which ends the connection."""
    return _last(status, short_page(status))


def said(site: WebSite | None, why: Denial, target: str) -> Said | None:
    """What a site has to say of its own where the wire refuses a request; None: a short page will do."""
    return None if site is None or site.says is None else site.says(why, target)


def refusal(request: web.BaseRequest, why: Denial) -> web.Response:
    """The answer of the wire itself, which ends the connection: in the site's words, or the short page."""
    protocol = cast(RequestProtocol, request.protocol)
    return _last(why.status, said(site_of(protocol.info), why, protocol.asked[1]) or short_page(why.status))


def _last(status: int, said: Said) -> web.Response:
    headers, body = said
    response = web.Response(status=status, body=body, headers=dict(headers))
    response.force_close()
    return response


class Counted(Protocol):
    """A transport that counts what was written on it; the count outlives the connection."""

    written: int


class RequestProtocol(web.RequestHandler):
    """aiohttp's request handler for one connection: the pages behind a `wire.front`, which gives it whole
    heads, one request after the other, and their bodies."""

    __slots__ = ("_body", "_wire", "_written", "asked", "barred", "info", "on_answered", "subject", "why")

    def __init__(
        self, server: web.Server, info: ConnectionInfo, limits: Limits, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=_NEVER,  # the connection keeps the idle limit itself
            tcp_keepalive=False,
            access_log=cast(Any, None),
            max_line_size=limits.line_bytes,
            max_field_size=limits.line_bytes,
            max_headers=limits.headers,
            lingering_time=limits.lingering,
            auto_decompress=False,
        )
        self.info = info
        #: Who is told that a request is answered, and whether the connection goes on.
        self.on_answered: Callable[[bool], None] | None = None
        #: The present request's method and target: aiohttp gives those it refuses names of its own.
        self.asked = "", ""
        #: Why the present one was not handed on to the upstream, and whose it is.
        self.why: Exception | None = None
        #: What was judged of the peer before, if that is not let in.
        self.barred: tuple[Verdict | None, Denial] | None = None
        self.subject: str | None = None
        self._body: Any = None
        self._wire: Counted | None = None
        self._written = 0
        self._logging_enabled = True  # so that `log_access` is told when a request began

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Its count outlives the connection, which `transport` does not.
        self._wire = cast(Counted, transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        # aiohttp ends the wait for a request. One that came in this very turn has ended it already, and would
        # be begun with what is gone by then (from 3.12 on the first as well: the task starts at once).
        waiter, task = self._waiter, self._task_handler
        super().connection_lost(exc)
        if waiter is not None and waiter.done() and task is not None:
            task.cancel()
        # aiohttp tells the request that runs; one whose turn is only coming would wait for ever.
        self._end_body(ConnectionResetError("the client is gone"))

    def break_body(self) -> None:
        """The body that is coming has no end: its framing broke."""
        self._end_body(web.RequestPayloadError("the body is malformed"))

    def _end_body(self, error: Exception) -> None:
        body, self._body = self._body, None
        if body is not None and not body.is_eof():
            body.set_exception(error)
            body.feed_eof()  # nothing to linger for

    def log_exception(self, *args: Any, **more: Any) -> None:
        # While the rest of a body is let pass by, its sender may leave.
        if self.transport is not None or not isinstance(more.get("exc_info"), ConnectionError):
            super().log_exception(*args, **more)

    def resume_count(self) -> None:
        """What others have written on the connection meanwhile is not part of the next answer."""
        self._written = 0 if self._wire is None else self._wire.written

    def data_received(self, data: bytes) -> None:
        count = self._request_count
        super().data_received(data)
        if self._request_count != count:
            self._body = self._messages[-1][1] if self._messages else None
        if self._body is not None and self._body.is_eof():
            self._body = None

    async def start(self) -> None:
        if self._manager is not None:  # else the client left before this task's first step
            await super().start()

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Called by aiohttp when a response has been written, or the client left while it was."""
        written = 0 if self._wire is None else self._wire.written
        seconds = self._loop.time() - time if time is not None else 0.0
        (method, target), verdict = self.asked, judged(request)
        subject = request.get(SUBJECT) or self.subject
        sent, self._written = written - self._written, written
        served = Served(method, target, verdict, subject, response.status, sent, seconds)
        self.info.observer.served(self.info, served)
        if self.on_answered is not None:
            self.on_answered(bool(response.keep_alive))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A page instead of aiohttp's text; the peer's faults are counted, ours are logged."""
        if isinstance(exc, ConnectionError) and self.transport is None:
            return web.Response(status=CLIENT_GONE)
        if isinstance(exc, web.RequestPayloadError):
            status = 400
        if status >= 500:
            log.error("request failed: %s", type(exc).__name__, exc_info=exc)
        else:
            self.info.count("refused.parser")
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun, no error page can follow")
        return refusal(request, Denial(status, "failed" if status >= 500 else "parser"))
