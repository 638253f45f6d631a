"""Into the console and out again: the first passkey by a code, login with certificate and passkey, logout."""

from __future__ import annotations

from aiohttp import web

from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll import store
from enroll.operators import codes, credentials
from enroll.operators import store as operators
from enroll.operators.credentials import LONGEST_LABEL
from enroll.operators.store import Operator, Passkey
from enroll.refusals import Refusal
from enroll.throttle import Attempt
from gateway.sites.console.asking import (
    ENROL,
    FOR_LOGIN,
    LOGIN,
    SITE,
    STAND_IN,
    Nobody,
    answered,
    at_the_door,
    kept,
    local_path,
    login_page,
    party_of,
    show,
)
from gateway.sites.console.passkeys import BadPasskey, challenge_in, made, to_make
from gateway.sites.console.visitors import Visitor, refuse, visitor_of
from gateway.sites.console.words import NOBODY
from gateway.sites.service.apart import form_token
from gateway.web import challenges, sessions
from gateway.web.browsers import browser_of
from gateway.web.pages import GATE, Handler, cookies_blocked, form, see_other, tell, told
from gateway.wire import http

_FOR_ENROLMENT = "enrol"


def at_door(handler: Handler) -> Handler:
    """The handler for whoever has an operator's certificate, and perhaps nothing else."""

    async def met(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Nobody:
            return await refuse(request, NOBODY, "operator.unknown")

    return met


async def login_form(request: web.Request) -> web.StreamResponse:
    """The login page; whoever is logged in already goes on."""
    if await visitor_of(request) is not None:
        return see_other(local_path(request.query.get("next", "")))
    if sessions.keeps_none(request, SITE):
        return await cookies_blocked(request, LOGIN)
    return await login_page(request)


async def log_in(request: web.Request) -> web.StreamResponse:
    """Certificate and passkey: from here on an operator."""
    gate, fields = request.app[GATE], await form(request)
    operator, known, peer = await at_the_door(request)
    passkey, _, error = await answered(request, operator, known, peer, FOR_LOGIN, fields)
    following = local_path(fields.get("next", ""))
    if passkey is None:
        if fields.get("kept"):
            return await login_page(request, kept=fields["kept"], error=error)
        return tell(request, LOGIN, {"error": error, "next": following})
    carrier = web.Response()
    await sessions.start(
        gate.ra,
        carrier,
        SITE,
        operator.identity,
        sessions.client_of(request),
        fingerprint=peer.fingerprint,
        data={"passkey": passkey.credential_id},
        previous=await sessions.find(gate.ra, request, SITE, fingerprint=peer.fingerprint),
    )
    await gate.ra.database.write(lambda db: _note(db, gate.ra.now(), operator, request))
    cookie = carrier.cookies[sessions.cookie_name(SITE)]
    form_kept = kept(request, fields.get("kept", ""))
    if form_kept is not None:
        token = form_token(cookie.value, form_kept["path"])
        response = show(request, "kept.html", form_kept=form_kept, token=token)
    else:
        glue = "&" if "?" in following else "?"
        response = see_other(f"{following}{glue}{sessions.ENTERED}")
    response.cookies[cookie.key] = cookie
    return response


def _note(db: Transaction, at: int, operator: Operator, request: web.Request) -> None:
    address = http.connection(request).peer_address
    store.audit(db, at, f"operator:{operator.name}", "operator.login", operator.name, address=address)


async def log_out(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Ends the session; the certificate stays in the browser, and opens nothing by itself."""
    response = see_other(f"{LOGIN}?done=out")
    await sessions.end(request.app[GATE].ra, visitor.session, response)
    return response


async def code_form(request: web.Request) -> web.StreamResponse:
    """Asks for the code that one was told; of a certificate that was fetched by it, for the passkey."""
    ra = request.app[GATE].ra
    operator, known, peer = await at_the_door(request)
    if await ra.database.read(lambda db: operators.may_enrol(db, peer.fingerprint, ra.now())):
        return await _passkey_form(request, operator, known, peer, told(request).get("error", ""))
    return show(
        request,
        "enrol.html",
        operator=operator,
        known=known,
        error=told(request).get("error", ""),
        step="code",
    )


async def check_code(request: web.Request) -> web.StreamResponse:
    """A good code leads to the page on which the browser makes a passkey; it is used up by that."""
    gate, fields = request.app[GATE], await form(request)
    operator, known, peer = await at_the_door(request)
    code = fields.get("code", "")
    try:
        await codes.check(gate.ra, code, attempt_of(request, peer.fingerprint), of=operator.number)
    except Refusal as refusal:
        return tell(request, ENROL, {"error": code_problem(refusal)})
    return await _passkey_form(request, operator, known, peer, "", code=code)


async def _passkey_form(
    request: web.Request,
    operator: Operator,
    known: list[Passkey],
    peer: VerifiedPeer,
    error: str,
    code: str = "",
) -> web.Response:
    gate = request.app[GATE]
    challenge = await challenges.ask(gate.ra, operator.identity, peer.fingerprint, _FOR_ENROLMENT)
    return show(
        request,
        "enrol.html",
        operator=operator,
        known=known,
        error=error,
        step="passkey",
        code=code,
        label=browser_of(request.headers).name,
        challenge=challenge,
        options=to_make(party_of(gate), operator, challenge, known),
    )


def attempt_of(request: web.Request, fingerprint: str = "") -> Attempt:
    """Who tries a code."""
    return codes.attempt(http.connection(request).peer_address, fingerprint)


def code_problem(refusal: Refusal) -> str:
    """The word for what is wrong with a code. Raises what is about something else."""
    if refusal.code == "throttled":
        return "throttled"
    if refusal.field != "code":
        raise refusal
    return "code"


async def enrol(request: web.Request) -> web.StreamResponse:
    """Registers what the browser made, and uses the code up, or what the certificate was fetched for."""
    ra, fields = request.app[GATE].ra, await form(request)
    operator, _, peer = await at_the_door(request)
    passkey, error = await new_passkey(request, operator, peer.fingerprint, _FOR_ENROLMENT, fields)
    if passkey is not None:
        try:
            if fields.get("code"):
                by = attempt_of(request, peer.fingerprint)
                await credentials.enrol(ra, passkey, fields["code"], by)
            else:
                await credentials.enrol_by_certificate(ra, passkey, peer.fingerprint)
            return see_other(f"{LOGIN}?done=enrolled")
        except Refusal as refusal:
            error = "there" if refusal.code == "conflict" else code_problem(refusal)
    return tell(request, ENROL, {"error": error})


async def new_passkey(
    request: web.Request, operator: Operator, fingerprint: str, purpose: str, fields: dict[str, str]
) -> tuple[Passkey | None, str]:
    """What a browser made for a challenge of ours; or None and the word for what was wrong."""
    gate, answer = request.app[GATE], fields.get("answer", "")
    if fields.get("stand_in") and STAND_IN in request.app:
        answer = request.app[STAND_IN].made(party_of(gate), fields.get("challenge", ""))
    challenge = challenge_in(answer)
    if await challenges.take(gate.ra, challenge, operator.identity, fingerprint, purpose) is None:
        return None, "late"
    try:
        found = made(party_of(gate), challenge, answer)
    except BadPasskey:
        return None, "passkey"
    label = " ".join(fields.get("label", "").split())[:LONGEST_LABEL] or "passkey"
    return (
        Passkey(
            found.credential_id, operator.number, found.public_key, found.sign_count, label, gate.ra.now()
        ),
        "",
    )
