"""The renewal site: the certificate that the browser presents says which request it is (R32 to R44).

Requests are named in paths, and every page asks again whether the presented certificate has a right
to them. The session only keeps the Download ticket, and the right to finish after expiry (E7).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web

from ca.trust import CertificateState, Rejection, VerifiedPeer
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import completion, renewal, window
from enroll.requests.enrollment import Enrollment
from enroll.requests.opening import renewable_until
from enroll.requests.states import ENDED, LABELS, WAITING, State
from gateway.sites import certificate
from gateway.sites.certificate import Paths
from gateway.web import pages, references, sessions
from gateway.web.context import Gate, Role
from gateway.web.sessions import Session
from gateway.web.words import ABOUT_CERTIFICATE, OPEN_SERVICE, REFUSALS, Text, Words
from gateway.wire import http

SITE = "renewal"
# Seconds from which on the page no longer says that the next one opens by itself: nobody waits for that.
_LATE = 30

_ANOTHER: Text = (
    "証明書が複数ある場合は、コモンネームとシリアル番号（先頭8桁）がメールと同じものを選択しなおしてください。",
    "If there are several certificates, choose the one with the common name and serial number in the email.",
)

#: Of a certificate that came by a renewal, until it is to be renewed itself.
_DONE = Words(
    403,
    ("更新のお手続きは完了しています", "The renewal is done"),
    (
        "選択された証明書は、更新後の新しい証明書です。更新のお手続きは完了しています。",
        "The certificate you chose is the renewed one. Nothing is left to do.",
    ),
    (
        "この証明書でオンラインサービスをご利用いただけます。次回の更新は、更新のご案内メールが届いてからお手続きください。",
        "Use it to log in to the online service. An email will announce the next renewal.",
    ),
    moment=("次に更新できる日時：", "It can be renewed again from: "),
)

_Peer = VerifiedPeer | Rejection
_Presenting = Callable[[web.Request, _Peer], Awaitable[web.StreamResponse]]
_Ordering = Callable[[web.Request, _Peer, Enrollment], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Row:
    """A line of 更新の申請状況."""

    order: Enrollment
    label: Text
    fetchable: bool
    processing: bool
    #: Why it can be fetched no more: ``used``, ``downloads`` or ``window``.
    over: str


def application(gate: Gate) -> web.Application:
    """The site, for those with a verified certificate."""
    app = pages.site_application(gate, Role.RENEWAL, "gateway.sites.renewal")
    app.router.add_get("/", _menu)
    app.router.add_get("/application", _presenting(_application))
    app.router.add_post("/application", _presenting(_submit))
    app.router.add_get("/status", _presenting(_status))
    _add_finishing(app)
    app.on_cleanup.append(completion.settle)
    return app


def refused(gate: Gate) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """For those without a verified certificate: why not, and what to do.

    Who applied before the certificate expired may finish with it (E7): nothing but the screens after
    Submit, for that request, in that session, with that certificate. With a period of grace (D8, off by
    default) the whole site is open to a certificate that has expired, and has no other fault.
    """
    explain = pages.refused(gate, Role.RENEWAL)
    finishing = pages.site_application(gate, Role.RENEWAL, "gateway.sites.renewal")
    _add_finishing(finishing)
    finishing.freeze()
    late = application(gate) if gate.ra.settings.grace_days else None
    if late is not None:
        late.freeze()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if late is not None and pages.in_grace(gate, http.peer(request)):
            return await late._handle(request)  # type: ignore[arg-type]
        if await _may_finish(gate, request):
            return await finishing._handle(request)  # type: ignore[arg-type]
        return await explain(request)

    return answer


def _add_finishing(app: web.Application) -> None:
    """The screens after Submit."""
    app.router.add_get("/waiting/{request_id:[0-9]+}", _ordered(_waiting))
    app.router.add_get("/waiting/{request_id:[0-9]+}/status", _ordered(_waiting_status))
    app.router.add_get("/certificate/{request_id:[0-9]+}", _ordered(_input))
    app.router.add_post("/certificate/{request_id:[0-9]+}", _ordered(_prepare))
    app.router.add_get("/certificate/{request_id:[0-9]+}/download", _ordered(_download))
    app.router.add_get("/certificate/{request_id:[0-9]+}/calendar.ics", _ordered(_dates))
    app.router.add_get("/certificate/{request_id:[0-9]+}/download/status", _ordered(_download_status))
    # A HEAD would count as a download, and nothing comes of it.
    app.router.add_get("/certificate/{request_id:[0-9]+}/file", _ordered(_send), allow_head=False)


# -- 更新の申請 -----------------------------------------------------------------------------------------


async def _menu(request: web.Request) -> web.StreamResponse:
    return await pages.in_own_language(request) or pages.render(request, "menu.html", place="menu")


async def _application(request: web.Request, peer: _Peer) -> web.StreamResponse:
    """証明書の更新情報; once applied for, the next step of that application instead (E10)."""
    gate = request.app[pages.GATE]
    found = (await renewal.look(gate.ra, _fingerprint(peer))).renewal
    if found.state in ENDED:
        why = window.why_over(gate.ra, found)
        raise Refusal("not_available", detail=f"the renewal is {found.state}", reason=why)
    if found.state is State.PROCESSING:
        return pages.see_other(_waiting_path(found))
    if found.state not in WAITING:
        return await _status_page(request, peer, place="application", already=True)
    return pages.render(
        request,
        "application.html",
        place="application",
        renewal=found,
        peer=peer,
        choose_again=pages.elsewhere(request, gate.fresh_origin(Role.RENEWAL)),
    )


async def _submit(request: web.Request, peer: _Peer) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    await pages.form(request)
    source = await ra.database.read(lambda db: renewal.source_of(db, _fingerprint(peer)))
    order = await renewal.submit(ra, _fingerprint(peer), actor=source.user_id)
    response = pages.see_other(_waiting_path(order))
    session = await _session(request, response, peer, order)
    await sessions.change(ra, session, request_id=order.request_id, waited=None)
    if order.state is State.PROCESSING:
        completion.begin(ra, order.request_id)
    return response


async def _waiting(request: web.Request, peer: _Peer, order: Enrollment) -> web.StreamResponse:
    """しばらくお待ちください, at least once after Submit, however quick the issuance was."""
    ra = request.app[pages.GATE].ra
    session = await sessions.find(ra, request, SITE, fingerprint=_fingerprint(peer))
    fresh = session is not None and session.data.get("waited") is None
    if order.state is State.PROCESSING:
        completion.begin(ra, order.request_id)
    elif not fresh:
        return pages.see_other(_paths(order).input)
    if session is not None and fresh:
        await sessions.change(ra, session, waited=True)
    # What the application was accepted with; that it is done shows on the next page.
    return pages.render(
        request,
        "waiting.html",
        place="application",
        order=order,
        here=_waiting_path(order),
        label=LABELS[State.PROCESSING],
        late=order.state is State.PROCESSING and ra.now() - (order.submitted_at or 0) > _LATE,
    )


async def _waiting_status(request: web.Request, _: _Peer, order: Enrollment) -> web.StreamResponse:
    processing = order.state is State.PROCESSING
    if processing:
        completion.begin(request.app[pages.GATE].ra, order.request_id)
    return web.json_response({"status": "processing" if processing else "issued"})


# -- 更新の再申請 ---------------------------------------------------------------------------------------


async def _status(request: web.Request, peer: _Peer) -> web.StreamResponse:
    return await _status_page(request, peer, place="status")


async def _rows(ra: RegistrationAuthority, peer: _Peer) -> list[Enrollment]:
    fingerprint = _fingerprint(peer)
    return await ra.database.read(lambda db: renewal.status(db, fingerprint))


async def _status_page(
    request: web.Request, peer: _Peer, *, place: str, already: bool = False
) -> web.Response:
    ra = request.app[pages.GATE].ra
    found = [
        Row(
            order=order,
            # The manual's table knows these two words (R42).
            label=LABELS[State.PROCESSING if order.state is State.PROCESSING else State.ISSUED],
            fetchable=window.is_open(ra, order),
            processing=order.state is State.PROCESSING,
            over=window.why_over(ra, order),
        )
        for order in await _rows(ra, peer)
    ]
    return pages.render(request, "status.html", place=place, rows=found, already=already)


# -- 証明書の取得 ---------------------------------------------------------------------------------------


async def _input(request: web.Request, peer: _Peer, order: Enrollment) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    if order.state is State.PROCESSING:
        return pages.see_other(_waiting_path(order))
    if not window.is_open(ra, order):
        why = "the pick-up window is over or the downloads are used up"
        raise Refusal("not_available", detail=why, reason=window.why_over(ra, order))
    session = await sessions.find(ra, request, SITE, fingerprint=_fingerprint(peer))
    stale = await certificate.is_stale(ra, session, order.request_id)
    return certificate.input_page(
        request, _paths(order), session, request_id=order.request_id, typed=False, stale=stale
    )


async def _prepare(request: web.Request, peer: _Peer, order: Enrollment) -> web.StreamResponse:
    entered = await certificate.read_input(request)
    if entered.request_id != order.request_id:
        raise Refusal("not_available", field="request_id", detail="not the request of this page")
    problems = certificate.problems_of(entered)
    if problems:
        session = await sessions.find(
            request.app[pages.GATE].ra, request, SITE, fingerprint=_fingerprint(peer)
        )
        return certificate.input_refused(request, _paths(order), entered, problems, session)
    response = pages.see_other(f"{_paths(order).download}?{sessions.ENTERED}")
    session = await _session(request, response, peer, order)
    await certificate.prepare(request.app[pages.GATE].ra, session, entered, actor=order.user_id)
    return response


async def _download(request: web.Request, peer: _Peer, order: Enrollment) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    session = await sessions.find(ra, request, SITE, fingerprint=_fingerprint(peer))
    if session is None and sessions.keeps_none(request, SITE):
        return await pages.cookies_blocked(request, _paths(order).input)
    if session is None:
        return _begin_again(order)
    return await certificate.download_page(request, session, order, _paths(order))


async def _dates(request: web.Request, _: _Peer, order: Enrollment) -> web.StreamResponse:
    return await certificate.send_dates(request, order)


async def _download_status(request: web.Request, peer: _Peer, order: Enrollment) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    session = await sessions.find(ra, request, SITE, fingerprint=_fingerprint(peer))
    return await certificate.download_status(ra, session, order)


async def _send(request: web.Request, peer: _Peer, order: Enrollment) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    session = await sessions.find(ra, request, SITE, fingerprint=_fingerprint(peer))
    if session is None:
        return _begin_again(order)
    return await certificate.send(request, session, order, _paths(order), actor=order.user_id)


# -- who may do what -----------------------------------------------------------------------------------


def _presenting(handler: _Presenting) -> pages.Handler:
    """Gives the handler the peer; a refusal about the certificate shows which one it was (E9, E11)."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        peer = http.peer(request)
        if peer is None or peer.fingerprint is None:
            raise LookupError("the renewal site was reached without a certificate")
        try:
            return await handler(request, peer)
        except Refusal as refusal:
            if refusal.code not in ABOUT_CERTIFICATE:
                raise
            return await _wrong_certificate(request, refusal, peer)

    return guarded


def _ordered(handler: _Ordering) -> pages.Handler:
    """Gives the handler the request of the path, if the presented certificate has a right to it (R32)."""

    async def find(request: web.Request, peer: _Peer) -> web.StreamResponse:
        ra = request.app[pages.GATE].ra
        for order in await _rows(ra, peer):
            if order.request_id == request.match_info["request_id"]:
                return await handler(request, peer, order)
        fingerprint, request_id = _fingerprint(peer), request.match_info["request_id"]
        state = await ra.database.read(lambda db: renewal.standing_of(db, fingerprint, request_id))
        if state in WAITING:
            return pages.see_other("/application")
        raise Refusal("not_available", field="request_id", detail=f"the renewal is {state}")

    return _presenting(find)


async def _wrong_certificate(request: web.Request, refusal: Refusal, peer: _Peer) -> web.Response:
    gate = request.app[pages.GATE]
    reference = await references.note(
        gate.ra, SITE, refusal.code, common_name=peer.common_name, fingerprint=peer.fingerprint
    )
    early = refusal.code == "not_yet_renewable"
    if early and await _is_renewed(gate.ra, peer):
        return pages.words_page(
            request,
            _DONE,
            reference=reference,
            at=refusal.at,
            rejection=peer,
            first=((pages.elsewhere(request, gate.origins[Role.SERVICE]), OPEN_SERVICE),),
            home="/",
        )
    words = REFUSALS[refusal.code]
    next_step = (words.next_step[0] + _ANOTHER[0], f"{words.next_step[1]} {_ANOTHER[1]}")
    return pages.words_page(
        request,
        replace(words, next_step=next_step, choose_again=True),
        reference=reference,
        at=refusal.at,
        rejection=peer,
        about=Role.RENEWAL,
        home="/" if early else "",
    )


async def _is_renewed(ra: RegistrationAuthority, peer: _Peer) -> bool:
    """Whether a certificate came by a renewal: then that has been done."""
    fingerprint = _fingerprint(peer)
    source = await ra.database.read(lambda db: renewal.source_of(db, fingerprint))
    return source.kind == "renewal"


async def _may_finish(gate: Gate, request: web.BaseRequest) -> bool:
    """E7: an expired certificate whose own session has an application from before it expired."""
    peer = http.peer(request)
    if not isinstance(peer, Rejection) or peer.state is not CertificateState.EXPIRED:
        return False
    # "/waiting/<request ID>…" or "/certificate/<request ID>…"
    parts = request.path.split("/")
    if peer.fingerprint is None or len(parts) < 3 or parts[1] not in ("waiting", "certificate"):
        return False
    session = await sessions.find(gate.ra, request, SITE, fingerprint=peer.fingerprint)
    if session is None or session.data.get("request_id") != parts[2]:
        return False
    orders = await _rows(gate.ra, peer)
    return any(
        order.request_id == parts[2]
        and (order.submitted_at or 0) <= renewable_until(peer.not_after_at or -1, gate.ra)
        for order in orders
    )


async def _session(request: web.Request, response: web.Response, peer: _Peer, order: Enrollment) -> Session:
    """The session of this browser and certificate; a new one's cookie goes onto the response."""
    ra = request.app[pages.GATE].ra
    found = await sessions.find(ra, request, SITE, fingerprint=_fingerprint(peer))
    return found or await sessions.start(
        ra, response, SITE, order.user_id, sessions.client_of(request), fingerprint=_fingerprint(peer)
    )


def _fingerprint(peer: _Peer) -> str:
    assert peer.fingerprint is not None
    return peer.fingerprint


def _begin_again(order: Enrollment) -> web.Response:
    """Where a Download button leads whose session is over, or another browser's; it says so there."""
    return pages.see_other(f"{_paths(order).input}?{certificate.OVER}")


def _waiting_path(order: Enrollment) -> str:
    return f"/waiting/{order.request_id}"


def _paths(order: Enrollment) -> Paths:
    page = f"/certificate/{order.request_id}"
    return Paths(
        input=page, download=f"{page}/download", file=f"{page}/file", calendar=f"{page}/calendar.ics"
    )
