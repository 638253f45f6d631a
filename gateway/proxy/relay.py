"""From a request that passed the gate to the upstream and back.

Most requests have no body and most answers are there at once: those are handed on within the callbacks
of the two connections. Everything else (bodies, slow answers, retries, WebSockets) goes on in a task,
with the same functions. What ends early on one side ends the other side at once, and never as if it
were whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from aiohttp import web

from ca.trust import VerifiedPeer
from gateway.proxy import heads, products
from gateway.proxy.addresses import FIELDS, Addresses
from gateway.proxy.exchange import Head, UpstreamConnection, UpstreamFault
from gateway.proxy.identity import Caller, Identity, header_lines
from gateway.proxy.rules import LOGIN_ONLY, Access, Rules, access
from gateway.proxy.tunnel import tunnel
from gateway.proxy.upstream import Pool
from gateway.proxy.waiting import PathWaits
from gateway.wire import cookies, framing, http
from gateway.wire.crossing import SAFE, foreign
from gateway.wire.framing import Malformed
from gateway.wire.ownpaths import first_segment
from gateway.wire.reply import WITHOUT_CONTENT, http_date
from gateway.wire.request import BodyCut, Fields, Request
from gateway.wire.sites import LowLevelHandler

#: The page for a status and the stable word for why.
Fail = Callable[[web.BaseRequest, int, str], Awaitable[web.StreamResponse]]

# RFC 9110 9.2.2: what may be sent a second time when no byte of an answer came.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
T = TypeVar("T")
_STATUS_OF_FAULT = {"timeout": 504, "connect-timeout": 504, "full": 503, "client": 400}
_ADDRESSED = frozenset(FIELDS)
_STATUS_OF_MALFORMED = {"expect": 417, "transfer-encoding": 501}


@dataclass(frozen=True, slots=True)
class Proxied:
    """What a site hands on, under which rules, and what it says of the caller.

    ``cookie``: the name of our session cookie, which neither reaches the upstream nor may be set by it.
    ``own``: first segments of the paths that the site answers itself. ``workers``: scopes below which the
    upstream may have service workers, such as ``/app/``. ``waits``: by path; None: the pool's everywhere.
    ``others``: fields of other gateways that are taken off a request. ``addresses``: what rewrites those in
    an answer, if anything does.
    """

    pool: Pool
    identity: Identity
    rules: Rules = LOGIN_ONLY
    cookie: str = ""
    own: frozenset[str] = frozenset()
    workers: tuple[str, ...] = ()
    waits: PathWaits | None = None
    others: tuple[str, ...] = products.NAMES
    addresses: Addresses | None = None


class Callers(Protocol):
    """Who is calling, on paths that need one kind of proof."""

    def known(self, request: Request) -> Caller | None:
        """The caller, if nobody has to be waited for in order to know him."""

    async def find(self, request: Request) -> Caller:
        """The caller. Raises whatever the site's pages are to say instead (`NotRelayed`, a refusal)."""


class NotRelayed(Exception):
    """A request that goes no further: the status of the answer, and a stable word for why."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


async def plain_failure(_: web.BaseRequest, status: int, code: str) -> web.StreamResponse:
    """The short page for a site without pages of its own."""
    return http.page(status)


def explained(fail: Fail = plain_failure) -> LowLevelHandler:
    """What stands behind a relay in the site's pages: says why a request was not handed on."""

    async def explain(request: web.BaseRequest) -> web.StreamResponse:
        why = http.why(request)
        if isinstance(why, NotRelayed):
            return await fail(request, why.status, why.code)
        raise why or web.HTTPNotFound

    return explain


class Relay:
    """Hands requests on, for one site. ``now``: seconds since the epoch.

    ``login``, ``certificate``: who is calling on paths that need the one or the other; without ``login``
    nobody is let in there, without ``certificate`` everybody with a verified one is, unnamed.
    """

    def __init__(
        self,
        proxied: Proxied,
        *,
        now: Callable[[], int],
        login: Callers | None = None,
        certificate: Callers | None = None,
    ) -> None:
        self.pool = proxied.pool
        self.recheck = proxied.pool.waits.recheck
        self.waits = proxied.waits or PathWaits(proxied.pool.waits)
        self.addresses = proxied.addresses
        self.now = now
        self._own, self._rules = proxied.own, proxied.rules
        self._workers = sorted(proxied.workers, key=len, reverse=True)
        self._login, self._certificate = login, certificate
        self.date = lambda: http_date(now())
        self.off = heads.taken_off(proxied.identity.names, proxied.others)
        self.lines = header_lines(proxied.identity)
        self.cookie = cookies.ours(proxied.cookie) if proxied.cookie else None
        self.sorted = heads.sorter(heads.OF_REQUESTS, self.off, self.cookie)

    def claims(self, target: str) -> bool:
        """Whether a target is the upstream's. Decoded as the router of the pages does: "/%6Cogin" is ours."""
        return not self._own or first_segment(target) not in self._own

    def begin(self, request: Request) -> None:
        """Hands on a request that passed the gate, or declines it."""
        fields = request.fields
        if fields is None:
            fields = request.fields = self.sorted(request.headers)
        if heads.for_worker(fields.noted) and not self.worker_scope(request.target):
            # Whoever is not logged in is told so as well: it is then that a worker stands before the login.
            request.front.info.count("refused.service-worker")
            old = heads.registered_before(fields.noted, request.target, fields.noted[b"host"][0])
            request.front.decline(request, NotRelayed(403, "old_worker" if old else "service_worker"))
            return
        level, verdict = access(self._rules, request.target), request.verdict
        if not isinstance(verdict, VerifiedPeer):
            if level is Access.PUBLIC:
                self._hand_on(request, None, None)
            else:
                request.front.decline(request, NotRelayed(403, "unknown_certificate"))
            return
        callers = {Access.LOGIN: self._login, Access.CERTIFICATE: self._certificate}.get(level)
        if callers is not None:
            caller = callers.known(request)
            if caller is not None:
                self._hand_on(request, caller, callers)
            else:
                request.front.run(self._admit(request, callers))
        elif level is Access.LOGIN:
            request.front.decline(request, NotRelayed(403, "not_permitted"))
        else:
            self._hand_on(request, Caller(verdict), None)

    def worker_scope(self, target: str) -> str:
        """The scope that a service worker with this script may have at most; empty for none."""
        return next((scope for scope in self._workers if target.startswith(scope)), "")

    async def _admit(self, request: Request, callers: Callers) -> None:
        try:
            caller = await callers.find(request)
        except Exception as why:  # a fault of ours as well: the pages answer 500 and log it
            request.front.decline(request, why)
        else:
            self._hand_on(request, caller, callers)

    def _hand_on(self, request: Request, caller: Caller | None, callers: Callers | None) -> None:
        if request.front.transport is None:
            request.front.decline(request)  # the client left meanwhile
            return
        if caller is not None and caller.level == "login":
            request.subject = caller.user
        try:
            forwarding = Forwarding(self, request, caller, callers)
        except Malformed as error:
            request.front.info.count(f"refused.{error}")
            why = NotRelayed(_STATUS_OF_MALFORMED.get(str(error), 400), "bad_request")
            request.front.decline(request, why)
        except NotRelayed as why:
            request.front.info.count("refused.cross-site")
            request.front.decline(request, why)
        else:
            forwarding.begin()


class Forwarding:
    """One request on its way: how it goes out, and what decides how its answer comes back."""

    __slots__ = (
        "_added",
        "_callers",
        "_due",
        "_host",
        "_relay",
        "_turned_away",
        "_upload",
        "_waits",
        "body",
        "expect",
        "front",
        "head",
        "key",
        "request",
        "retry",
    )

    def __init__(
        self, relay: Relay, request: Request, caller: Caller | None, callers: Callers | None
    ) -> None:
        """Raises Malformed, and NotRelayed if another site's page is behind the request (V40)."""
        self.front = request.front
        fields = request.fields
        assert fields is not None  # since `Relay.begin`
        noted = fields.noted
        self._relay, self.request, self._callers = relay, request, callers
        self._upload: asyncio.Task[None] | None = None
        # Loop time at which the caller is asked for again, and why he is not let in any more.
        self._due = relay.pool.loop.time() + relay.recheck
        self._waits = relay.waits.of(request.target) if relay.waits.depth else relay.waits.default
        self._turned_away: Exception | None = None
        # Lines of ours on the answer.
        self._added = b""
        if fields.cookie.odd and relay.cookie is not None:
            request.front.info.count("refused.cookie")
            self._added = heads.header_line("Set-Cookie", cookies.deletion(relay.cookie.name))
        if heads.for_worker(noted):
            # Never the upstream's word for it: by that its script could take the whole origin.
            self._added += heads.header_line("Service-Worker-Allowed", relay.worker_scope(request.target))
        self.body = body = framing.body_of(noted)
        self.key = heads.websocket_key(request.method, noted, body)
        self.expect = framing.expects_continue(noted) and body.expected
        request.held_back = self.expect and not request.complete and not request.size
        self.retry = request.method in _IDEMPOTENT and not body.expected and self.key is None
        self._host = host = noted[b"host"][0]
        if self.key is not None or request.method not in SAFE:
            origins, sites = noted.get(b"origin", ()), noted.get(b"sec-fetch-site", ())
            if foreign(request.method, origins, sites, host, websocket=self.key is not None):
                raise NotRelayed(403, "cross_site")
        ours = self.front.forwarded(host)
        if caller is not None:
            ours += relay.lines(caller, relay.now())
        self.head = heads.request_head(
            request.method,
            request.target,
            fields,
            host=host,
            body=body,
            ours=ours,
            off=relay.off,
            expect=self.expect,
            websocket=self.key is not None,
        )

    def begin(self) -> None:
        """Sends the request at once if that needs no waiting, else in a task."""
        at_once = self.key is None and (not self.body.expected or self.request.complete)
        connection = self._relay.pool.resting(unsafe=not self.retry) if at_once else None
        if connection is None:
            self.front.run(self._go(None))
            return
        self._send(connection)
        connection.notify = self._came

    def _came(self, connection: UpstreamConnection) -> None:
        """Something came of the answer. All of it: handed on here."""
        connection.notify = None
        current = self._upload is None and self._relay.pool.loop.time() < self._due
        head = connection.whole() if current else None
        if head is None:
            self.front.run(self._go(connection))
            return
        try:
            start, chunked, close = self._start(head)
            answer = start + _framed(connection.taken(), chunked)
            self.front.write(answer + heads.trailer_section(connection.trailers) if chunked else answer)
        except ConnectionError:
            connection.abort()
            self.front.answered(self.request, head.status, False, cut=True)
            return
        self._relay.pool.give_back(connection)
        self.front.answered(self.request, head.status, not close)

    async def _go(self, connection: UpstreamConnection | None) -> None:
        """The rest of the way. ``connection``: where the request has been sent already."""
        front, info = self.front, self.front.info
        try:
            connection, head = await self._ask(connection)
        except UpstreamFault as fault:
            info.count(f"upstream.{fault.code}")
            why = NotRelayed(_STATUS_OF_FAULT.get(fault.code, 502), fault.code)
            front.decline(self.request, self._turned_away or why)
            return
        except ConnectionError:
            front.decline(self.request)
            return
        keep, cut = False, True
        try:
            if head.status == 101:
                await self._switch(connection, head)
            else:
                keep = await self._answer(connection, head)
            cut = False
        except (UpstreamFault, ConnectionError) as error:
            # The answer has begun: only an aborted connection tells the client that it is not whole.
            info.count(f"upstream.{error.code if isinstance(error, UpstreamFault) else 'client-gone'}")
            info.abort()
        except BaseException:  # stopped within an answer, or a fault of ours: no page may follow
            info.abort()
            raise
        finally:
            front.on_lost = None
            if self._upload is not None and not self._upload.done():
                self._upload.cancel()
            if not connection.complete:
                connection.abort()
            front.answered(self.request, head.status, keep, cut=cut)

    async def _ask(self, connection: UpstreamConnection | None) -> tuple[UpstreamConnection, Head]:
        """Sends the request, and once more if that is allowed and nothing came back. UpstreamFault."""
        pool = self._relay.pool
        sent = connection is not None
        if not sent and self.key is None:
            connection = pool.resting(unsafe=not self.retry)
        rested = connection is not None
        attempts, avoid = 1 + len(pool.upstream.addresses) if self.retry else 1, None
        while True:
            if connection is None:
                connection = await pool.fresh(avoid)
            try:
                if not sent:
                    self._send(connection)
                return connection, await self._head(connection)
            except BaseException as error:
                if self._upload is not None:
                    self._upload.cancel()
                connection.abort()
                self.front.on_lost = None
                attempts -= 1
                fault = error if isinstance(error, UpstreamFault) else None
                if fault is None or fault.answered or fault.code != "closed":
                    raise
                if not rested:
                    pool.failed(connection.key, "closed")
                    avoid = connection.key
                if attempts <= 0 or not self.retry or self.front.transport is None:
                    raise
                connection, rested, sent = None, False, False

    def _send(self, connection: UpstreamConnection) -> None:
        """Writes the head and what is there of the body; the rest follows in a task."""
        front, request, body = self.front, self.request, self.body
        if front.transport is None:
            raise ConnectionResetError("the client is gone")
        front.on_lost = connection.abort
        connection.deadline = self._relay.pool.loop.time() + self._waits.answer
        bodiless = request.method == "HEAD"
        if not body.expected:
            connection.begin(self.head, bodiless=bodiless)
        # A small body is mostly here together with its head: one write, and no task.
        elif request.complete and request.size == body.length:
            connection.begin(self.head + request.taken(), bodiless=bodiless)
        else:
            connection.begin(self.head, bodiless=bodiless)
            self._upload = asyncio.create_task(self._send_body(connection))

    async def _send_body(self, connection: UpstreamConnection) -> None:
        """Sends the body as it comes from the client, no faster than the upstream takes it."""
        request, chunked, loop = self.request, self.body.chunked, self._relay.pool.loop
        left, waits = self.body.length or 0, self._waits
        try:
            while data := await request.more():
                left -= len(data)
                connection.write(framing.chunk(data) if chunked else data)
                connection.deadline = loop.time() + waits.answer
                await connection.drain()
                if not self.expect:
                    connection.deadline = float("inf")  # the client's own limits are running now
            if chunked:
                connection.write(heads.trailer_section(request.trailers, self._relay.off))
            elif left:  # never leave a connection on which less was sent than announced
                connection.abort("client")
            connection.deadline = loop.time() + waits.answer
        except UpstreamFault:
            return
        except BodyCut:  # its framing broke, or the client is gone: nothing whole can follow
            connection.abort("client")

    async def _head(self, connection: UpstreamConnection) -> Head:
        """The final head (or a 101), interim ones handed on before (RFC 9110 15.2)."""
        while True:
            head = await self._while_entitled(connection.head)
            if head.status >= 200:
                return head
            if head.status == 101:
                if self.key is None or not heads.accepted(self.key, head.fields.noted):
                    raise UpstreamFault("switched", answered=True)
                return head
            known = self.request.version == "1.1" and (head.status != 100 or self.expect)
            if known and self.front.transport is not None:
                self.request.held_back = False
                cookie = self._relay.cookie
                self.front.write(heads.interim_head(head.status, head.reason, head.fields, cookie))

    def _start(self, head: Head) -> tuple[bytes, bool, bool]:
        """The head for the client; whether its body goes in chunks, and whether it is the last answer."""
        request, relay = self.request, self._relay
        modern = request.version == "1.1"
        bodiless = request.method == "HEAD" or head.status in WITHOUT_CONTENT
        chunked = not bodiless and head.length is None and modern
        uploading = self._upload is not None and not self._upload.done()
        close = not (modern and request.keep_alive) or uploading or request.upgrade or self.front.last
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        if head.length is not None and head.status != 204:
            framing = b"Content-Length: %d\r\n" % head.length
        fields = head.fields
        if relay.addresses is not None and not _ADDRESSED.isdisjoint(fields.noted):
            lines = relay.addresses.lines(fields.lines, self._host)
            fields = Fields(lines, fields.noted, fields.cookie)
        start = heads.response_head(
            head.status,
            head.reason,
            fields,
            framing=framing,
            close=close,
            cookie=relay.cookie,
            date=relay.date,
            ours=self._added,
        )
        return start, chunked, close

    async def _answer(self, connection: UpstreamConnection, head: Head) -> bool:
        """Hands on the answer as it comes; whether the client's connection may go on."""
        start, chunked, close = self._start(head)
        await self._stream(connection, start, chunked)
        if self._upload is None or self._upload.done():
            self._relay.pool.give_back(connection)
        else:
            connection.abort()
        return not close

    async def _stream(self, connection: UpstreamConnection, start: bytes, chunked: bool) -> None:
        """Writes the head with what has come, then the rest as it comes, at the client's pace."""
        loop, waits, front = self._relay.pool.loop, self._waits, self.front
        piece = start + _framed(connection.taken(), chunked)
        while True:
            done = connection.complete  # and `piece` holds all there is: nothing was awaited since
            if done and chunked:
                piece += heads.trailer_section(connection.trailers)
            front.write(piece)
            if done:
                return
            if front.writing_paused:
                connection.deadline = float("inf")  # the client is slow, which has a limit of its own
                await front.drain()
            connection.deadline = loop.time() + waits.body
            piece = _framed(await self._while_entitled(connection.body), chunked)

    async def _switch(self, connection: UpstreamConnection, head: Head) -> None:
        self.front.write(heads.switching_head(head.reason, head.fields, self._relay.cookie))
        recheck = self._relay.recheck
        await tunnel(self.front, connection, idle=self._waits.tunnel, recheck=recheck, current=self._current)

    async def _while_entitled(self, wait: Callable[[], Awaitable[T]]) -> T:
        """What ``wait`` returns. Whoever loses his right meanwhile hears, and sends, nothing more, however
        long the upstream is silent: UpstreamFault."""
        loop = self._relay.pool.loop
        while True:
            got: list[T] = []
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._due):
                    got.append(await wait())
            if loop.time() >= self._due:
                self._due = loop.time() + self._relay.recheck
                if not await self._current():
                    raise UpstreamFault("no-longer-entitled", answered=True)
            if got:
                return got[0]

    async def _current(self) -> bool:
        """Whether the caller is still let in."""
        try:
            if self._callers is not None:
                await self._callers.find(self.request)
        except Exception as why:  # whatever the reason: not let in now is not let in
            self._turned_away = why
        return self._turned_away is None


def _framed(data: bytes, chunked: bool) -> bytes:
    return framing.chunk(data) if chunked and data else data
