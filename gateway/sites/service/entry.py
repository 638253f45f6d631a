"""Into the service and out again: login, the first password, logout."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import quote

from aiohttp import web

from enroll import identifiers, store
from enroll.people import changes, login
from enroll.refusals import Refusal
from gateway.sites.service.apart import STALE, is_own_form, said
from gateway.sites.service.visitors import (
    LANGUAGE,
    LOGIN,
    PASSWORD,
    PORTAL,
    SITE,
    UNSENT,
    Visitor,
    local_path,
    verified,
    visitor_of,
)
from gateway.sites.service.words import LANGUAGE_NAMES, field_error, missing
from gateway.web import references, sessions
from gateway.web.context import Role
from gateway.web.pages import (
    GATE,
    content_security_policy,
    cookies_blocked,
    elsewhere,
    form,
    in_own_language,
    prefer_language,
    remember_language,
    render,
    see_other,
    tell,
    told,
    told_texts,
)
from gateway.web.words import REFUSALS
from gateway.wire import http

# Characters of what was typed for a user ID that are shown again.
_KEPT = 100


async def home(request: web.Request) -> web.StreamResponse:
    return see_other(PORTAL)


async def login_form(request: web.Request) -> web.StreamResponse:
    """The login page; whoever is logged in already goes on."""
    state = told(request)
    following = local_path(state.get("next", request.query.get("next", "")))
    if await visitor_of(request, request.app) is not None:
        return see_other(following)
    if sessions.keeps_none(request, SITE):
        return await cookies_blocked(request, LOGIN)
    again = await in_own_language(request)
    if again is not None:
        return again
    peer, address = verified(request), http.connection(request).peer_address
    locked_until = await login.locked_until(request.app[GATE].ra, peer.fingerprint, address=address)
    errors, refused = told_texts(state), REFUSALS[state.get("code", "bad_credentials")]
    return render(
        request,
        "login.html",
        status=refused.status if "code" in state else 422 if errors else 200,
        headers=_leads_on(request),
        peer=peer,
        following=following,
        typed=state.get("user_id", ""),
        errors=errors,
        reference=state.get("reference", ""),
        # A login that was left: nobody should wonder why the page asks again.
        ended=not state and sessions.presented(request, SITE).present,
        refused=refused,
        unsent=not state and UNSENT in request.query,
        locked_until=locked_until,
        throttled=REFUSALS["throttled"],
        switch=elsewhere(request, request.app[GATE].fresh_origin(Role.SERVICE)),
        action=LOGIN,
    )


async def log_in(request: web.Request) -> web.StreamResponse:
    """Certificate, user ID and password together (R21, R51).

    That the ID is not the certificate's is said: the certificate is the visitor's own. Which of ID and
    password was wrong is not.
    """
    ra = request.app[GATE].ra
    fields = await form(request)
    peer, following = verified(request), local_path(fields.get("next", ""))
    typed, password = fields.get("user_id", ""), fields.get("password", "")
    known = {"next": following, "user_id": typed[:_KEPT]}
    empty = [name for name in ("user_id", "password") if not fields.get(name)]
    if empty:
        return tell(request, LOGIN, known | {"errors": {name: missing(name) for name in empty}})
    try:
        result = await login.authenticate(
            ra,
            peer.fingerprint,
            identifiers.typed_user_id(typed),
            password,
            address=http.connection(request).peer_address,
        )
    except Refusal as refusal:
        if refusal.code not in ("bad_credentials", "wrong_user_id"):
            raise
        reference = await references.note(
            ra, SITE, refusal.code, path=request.path, common_name=peer.common_name
        )
        return tell(request, LOGIN, known | {"code": refusal.code, "reference": reference})
    # By the login page, which sees whether the browser has kept the cookie.
    response = see_other(f"{LOGIN}?{sessions.ENTERED}&next={quote(following, safe='/')}")
    prefer_language(request, response, result.user.language)
    await sessions.start(
        ra,
        response,
        SITE,
        result.user.user_id,
        sessions.client_of(request),
        fingerprint=peer.fingerprint,
        password_mark=result.user.password_mark,
        data={"first_use": result.first_use, "before": asdict(result.before)},
        previous=await sessions.find(ra, request, SITE, fingerprint=peer.fingerprint),
    )
    return response


async def logout_page(request: web.Request) -> web.StreamResponse:
    """Asks those who are logged in, and tells the others that they are out."""
    visitor = await visitor_of(request, request.app)
    switch = elsewhere(request, request.app[GATE].fresh_origin(Role.SERVICE))
    return render(request, "logout.html", visitor=visitor, here="logout", switch=switch)


async def log_out(request: web.Request) -> web.StreamResponse:
    """Ends the session; the browser goes on presenting the certificate, which alone opens nothing."""
    ra = request.app[GATE].ra
    response = see_other("/logout")
    session = await sessions.find(ra, request, SITE, fingerprint=verified(request).fingerprint)
    if session is not None:
        secret = sessions.presented(request, SITE).value
        if not is_own_form(secret, request.path, await form(request)):
            return await said(request, "stale_form", STALE)
        await sessions.end(ra, session, response)
        await ra.database.write(
            lambda db: store.audit(db, ra.now(), session.subject, "logout", session.subject)
        )
    return response


async def open_service(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """On to the service behind the gate: a path of this host, or with a ticket to its own."""
    gate, following = request.app[GATE], local_path(request.query.get("next", ""))
    if Role.BEHIND not in gate.origins:
        return see_other(following)
    ticket = await sessions.hand_over(gate.ra, visitor.session)
    page = f"{LOGIN[1:]}?ticket={ticket}&next={quote(following, safe='/')}"
    return see_other(elsewhere(request, gate.behind, page))


async def language_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The language that a user is written to in, and sees where nothing else was chosen."""
    errors = told_texts(told(request))
    return render(
        request,
        "language.html",
        status=422 if errors else 200,
        visitor=visitor,
        here="language",
        languages=LANGUAGE_NAMES,
        errors=errors,
    )


async def change_language(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """From here on the mails, and this browser at once."""
    ra, user_id = request.app[GATE].ra, visitor.user.user_id
    language = (await form(request)).get("language", "")
    try:
        changed = await changes.change_user(ra, user_id, {"language": language}, actor=user_id)
    except Refusal as refusal:
        if refusal.field != "language":
            raise
        return tell(request, LANGUAGE, {"errors": field_error(refusal)})
    response = see_other(f"{PORTAL}?done=language")
    remember_language(response, changed.language)
    return response


async def password_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    state = told(request)
    errors = told_texts(state)
    return render(
        request,
        "password.html",
        status=422 if errors else 200,
        headers=_leads_on(request),
        visitor=visitor,
        here="password",
        following=local_path(state.get("next", request.query.get("next", ""))),
        errors=errors,
        action=PASSWORD,
    )


async def change_password(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A new login password; every session of the user ends, and this one continues as a new one."""
    ra, user_id = request.app[GATE].ra, visitor.user.user_id
    fields = await form(request)
    following = local_path(fields.get("next", ""))
    current, new, confirmation = (fields.get(name, "") for name in ("current", "new", "confirmation"))
    try:
        changed = await login.change_password(ra, user_id, current, new, confirmation)
    except Refusal as refusal:
        if refusal.field not in ("current", "new", "confirmation"):
            raise
        return tell(request, PASSWORD, {"next": following, "errors": field_error(refusal)})
    response = see_other(f"{PORTAL}?done=password" if following == PORTAL else following)
    await sessions.end_all(ra, user_id, actor=user_id, but=visitor.session)
    await sessions.start(
        ra,
        response,
        SITE,
        user_id,
        sessions.client_of(request),
        fingerprint=visitor.peer.fingerprint,
        password_mark=changed.password_mark,
        data=visitor.session.data,
        previous=visitor.session,
    )
    return response


def _leads_on(request: web.Request) -> dict[str, str]:
    """Of a form that leads on to the service behind the gate: browsers look at redirects, too."""
    gate = request.app[GATE]
    others = [gate.behind] if Role.BEHIND in gate.origins else []
    return {"Content-Security-Policy": content_security_policy(forms=others)}
