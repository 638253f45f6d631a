"""The pick-up site: user ID and issue password, then 証明書の取得. It never asks for a certificate.

A session is bound to one request; what the request allows is asked again on every page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from enroll import identifiers, store
from enroll.refusals import Refusal
from enroll.requests import pickup
from enroll.requests.enrollment import Enrollment
from gateway.sites import certificate
from gateway.sites.certificate import Paths
from gateway.web import pages, references, sessions
from gateway.web.context import Gate, Role
from gateway.web.sessions import Session
from gateway.web.words import REFUSALS, Words
from gateway.wire import http

SITE = "pickup"

_PATHS = Paths(
    input="/certificate", download="/certificate/download", file="/download", calendar="/calendar.ics"
)
_MISSING = Words(
    422,
    ("入力してください", "Required"),
    ("入力されていません。", "This field is empty."),
    ("メールに記載のとおり入力してください。", "Enter it as in the email."),
)

# Characters of a user ID that are shown again.
_KEPT = 40
# In the address of the login: a page that asks for a login led there, or a form, which was not taken.
_NEEDED, _UNSENT = "login", "unsent"

_Admitted = Callable[[web.Request, Session, Enrollment], Awaitable[web.StreamResponse]]


def application(gate: Gate) -> web.Application:
    """The site. Everything but the login leads back to the login while there is no session."""
    app = pages.site_application(gate, Role.PICKUP, "gateway.sites.pickup")
    app.router.add_get("/", _login_page)
    # Where somebody reloads the address of a refused login.
    app.router.add_get("/login", _to_login)
    app.router.add_post("/login", _login)
    app.router.add_post("/logout", _logout)
    app.router.add_get("/menu", _admitted(_menu))
    app.router.add_get(_PATHS.input, _admitted(_input))
    app.router.add_post(_PATHS.input, _admitted(_submit))
    app.router.add_get(_PATHS.download, _admitted(_download))
    app.router.add_get(_PATHS.calendar, _admitted(_dates))
    app.router.add_get(f"{_PATHS.download}/status", _admitted(_download_status))
    # A HEAD would count as a download, and nothing comes of it.
    app.router.add_get(_PATHS.file, _admitted(_send), allow_head=False)
    return app


async def _login_page(request: web.Request) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    presented, done = sessions.presented(request, SITE).present, request.query.get("done", "")
    told = pages.told(request)
    ended = presented and not told and not await sessions.find(ra, request, SITE)
    refused = REFUSALS[told["code"]] if "code" in told else None
    problems = dict.fromkeys(told.get("missing", ()), _MISSING)
    return pages.render(
        request,
        "login.html",
        status=refused.status if refused else _MISSING.status if problems else 200,
        user_id=told.get("user_id", ""),
        problems=problems,
        refused=refused,
        reference=told.get("reference", ""),
        ended=ended,
        left=done == "logout" and not presented,
        led_here=done if done in (_NEEDED, _UNSENT) and not told else "",
    )


async def _to_login(_: web.Request) -> web.StreamResponse:
    return pages.see_other("/")


async def _login(request: web.Request) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    fields = await pages.form(request)
    user_id = identifiers.typed_user_id(fields.get("user_id", ""))
    # We drew it: whatever a mail program or an input method made of it is known.
    password = identifiers.pasted(fields.get("password", ""))
    missing = [name for name, value in (("user_id", user_id), ("password", password)) if value == ""]
    if missing:
        return pages.tell(request, "/", {"user_id": user_id[:_KEPT], "missing": missing})
    address = http.connection(request).peer_address
    try:
        enrollment = await pickup.authenticate(ra, user_id, password, address=address)
    except Refusal as refusal:
        if refusal.code != "bad_credentials":
            raise
        reference = await references.note(ra, SITE, refusal.code, address=address)
        told = {"user_id": user_id[:_KEPT], "code": refusal.code, "reference": reference}
        return pages.tell(request, "/", told)
    response = pages.see_other(f"/menu?{sessions.ENTERED}")
    user = await ra.database.read(lambda db: store.user(db, enrollment.user_id))
    if user is not None:
        pages.prefer_language(request, response, user.language)
    previous = await sessions.find(ra, request, SITE)
    client = sessions.client_of(request)
    await sessions.start(ra, response, SITE, enrollment.request_id, client, previous=previous)
    return response


async def _logout(request: web.Request) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    response = pages.see_other("/?done=logout")
    session = await sessions.find(ra, request, SITE)
    if session is not None:
        await sessions.end(ra, session, response)
        await ra.database.write(
            lambda db: store.audit(db, ra.now(), session.subject, "pickup.logout", session.subject)
        )
    return response


async def _menu(request: web.Request, _: Session, __: Enrollment) -> web.StreamResponse:
    if sessions.ENTERED in request.query:
        return pages.see_other("/menu")
    return pages.render(request, "menu.html", place="menu")


async def _input(request: web.Request, session: Session, enrollment: Enrollment) -> web.StreamResponse:
    ra = request.app[pages.GATE].ra
    stale = await certificate.is_stale(ra, session, enrollment.request_id)
    return certificate.input_page(request, _PATHS, session, typed=True, stale=stale)


async def _submit(request: web.Request, session: Session, enrollment: Enrollment) -> web.StreamResponse:
    entered = await certificate.read_input(request)
    problems = certificate.problems_of(entered)
    ra, reference = request.app[pages.GATE].ra, ""
    if entered.request_id != enrollment.request_id:
        # Mistyped, another user's, or nobody's: one answer, which does not say whether there is such an ID
        # (R27), and has Z4 for those who typed it as the mail has it.
        problems = {"request_id": "request_id_mismatch"} | problems
        why = "not the request of this session"
        reference = await references.note(
            ra, SITE, "request_id_mismatch", path=request.path, field="request_id", why=why
        )
    if problems:
        return certificate.input_refused(request, _PATHS, entered, problems, session, reference)
    await certificate.prepare(ra, session, entered, actor=enrollment.user_id)
    return pages.see_other(_PATHS.download)


async def _download(request: web.Request, session: Session, enrollment: Enrollment) -> web.StreamResponse:
    return await certificate.download_page(request, session, enrollment, _PATHS)


async def _dates(request: web.Request, _: Session, enrollment: Enrollment) -> web.StreamResponse:
    return await certificate.send_dates(request, enrollment)


async def _download_status(
    request: web.Request, session: Session, enrollment: Enrollment
) -> web.StreamResponse:
    return await certificate.download_status(request.app[pages.GATE].ra, session, enrollment)


async def _send(request: web.Request, session: Session, enrollment: Enrollment) -> web.StreamResponse:
    return await certificate.send(request, session, enrollment, _PATHS, actor=enrollment.user_id)


def _admitted(handler: _Admitted) -> pages.Handler:
    """R26: without a session, the login. Raises Refusal("not_available") once the request has ended."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        ra = request.app[pages.GATE].ra
        session = await sessions.find(ra, request, SITE)
        if session is None and sessions.keeps_none(request, SITE):
            return await pages.cookies_blocked(request, "/")
        if session is None:
            return pages.see_other(f"/?done={_UNSENT if request.method == 'POST' else _NEEDED}")
        return await handler(request, session, await pickup.current(ra, session.subject))

    return guarded
