"""Who is at the console: certificate, passkey and roles looked at together, on every request."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aiohttp import web

from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll.operators import actors
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By
from enroll.operators.roles import LABELS, Act, Verdict
from enroll.operators.store import Glass, Operator
from enroll.refusals import Refusal
from gateway.sites.console.asking import (
    HOME,
    LOGIN,
    SITE,
    Nobody,
    answered,
    asked,
    at_the_door,
    keep,
    login_page,
    show,
    typed,
    verified,
)
from gateway.sites.console.words import NOBODY, NOT_PERMITTED, OPEN_PERMISSIONS
from gateway.sites.service.apart import STALE, form_token, is_own_form
from gateway.web import references, sessions
from gateway.web.pages import FRAME, GATE, Handler, Way, form, see_other, words_page
from gateway.web.sessions import Session
from gateway.web.words import Words

#: Which role may do what.
PERMISSIONS = "/permissions"


@dataclass(frozen=True)
class Visitor:
    """An operator who is logged in. Built in ``visitor_of`` and nowhere else."""

    operator: Operator
    actor: Actor
    peer: VerifiedPeer
    session: Session
    #: The session's cookie.
    secret: str = field(repr=False)
    #: What every page says in red: roles that somebody took by the passphrase, while they are in force (None)
    #: or, to auditors, until they were looked at, and whether that is overdue.
    alarms: Sequence[tuple[Glass, bool | None]] = ()

    def token(self, path: str) -> str:
        """What a form that is sent to ``path`` has to carry."""
        return form_token(self.secret, path)

    def may(self, act: str, verdict: str = "READ") -> bool:
        """For what a page shows; what counts is asked where it is done."""
        return bool(self.actor.may(Act(act)) & Verdict[verdict])


Inner = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]
#: What reads the fields of a form.
Reading = Callable[[web.Request], Awaitable[Mapping[str, str]]]


async def visitor_of(request: web.Request) -> Visitor | None:
    """Who is logged in, or None: no session, or that of another certificate, or an ended passkey."""
    ra, peer = request.app[GATE].ra, verified(request)
    secret = sessions.presented(request, SITE).value
    session = await sessions.find(ra, request, SITE, fingerprint=peer.fingerprint)
    if session is None:
        return None

    def work(db: Transaction) -> tuple[Operator, Actor, Sequence[Glass]] | None:
        found = operators.of_certificate(db, peer.fingerprint)
        passkey = operators.passkey(db, session.data.get("passkey", ""))
        if found is None or found.identity != session.subject:
            return None
        if passkey is None or passkey.ended_at is not None or passkey.operator != found.number:
            return None
        return found, actors.of_operator(db, found.number, By.CONSOLE), operators.glasses(db)

    known = await ra.database.read(work)
    if known is None:
        await sessions.end(ra, session)
        return None
    operator, actor, taken = known
    return Visitor(operator, actor, peer, session, secret, _alarms(taken, actor, ra.now()))


# Seconds that somebody waits for the menu of a page about what went wrong.
_PATIENCE = 2.0


async def frame_of(request: web.Request) -> Mapping[str, Any]:
    """What the frame shows of who is there, as `pages.Own` wants it: without a menu for whoever is not
    logged in, or cannot be looked up."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return _frame(await visitor_of(request))
    except Exception:  # whatever it is: the page tells of something else, and has to be there
        return _frame(None)


def _frame(visitor: Visitor | None) -> Mapping[str, Any]:
    return {"visitor": visitor, "ROLES": LABELS}


def _alarms(taken: Sequence[Glass], actor: Actor, at: int) -> list[tuple[Glass, bool | None]]:
    looks = Verdict.READ in actor.may(Act.AUDIT)
    in_force = [(each, None) for each in taken if each.ends_at > at]
    return [*in_force, *((each, each.due_at <= at) for each in taken if looks and each.ends_at <= at)]


def inside(
    handler: Inner, act: Act | None = None, wanted: Verdict = Verdict.READ, read: Reading = form
) -> Handler:
    """The handler for those who are logged in, and whose roles allow some of what is wanted of an act.

    Everybody else is led to the login; a form that was sent meanwhile is kept.
    """

    async def entered(request: web.Request) -> web.StreamResponse:
        try:
            visitor = await visitor_of(request)
            request[FRAME] = _frame(visitor)
            if visitor is None:
                await at_the_door(request)
                return await _to_login(request, read)
        except Nobody:
            return await refuse(request, NOBODY, "operator.unknown")
        if act is not None:
            try:
                actors.require_any(visitor.actor, act, wanted)
            except Refusal:
                return await refuse(request, NOT_PERMITTED, "operator.not_permitted", visitor)
        if request.method == "POST" and not is_own_form(visitor.secret, request.path, await read(request)):
            return await refuse(request, STALE, "stale_form", visitor)
        try:
            return await handler(request, visitor)
        except Refusal as refusal:
            if refusal.code != "not_permitted":
                raise
            return await refuse(request, NOT_PERMITTED, "operator.not_permitted", visitor)

    return entered


async def refuse(
    request: web.Request, words: Words, code: str, visitor: Visitor | None = None
) -> web.Response:
    """The page of something that the console alone refuses."""
    reference = await references.note(request.app[GATE].ra, SITE, code, path=request.path)
    home = HOME if visitor is not None else ""
    first: list[Way] = [(PERMISSIONS, OPEN_PERMISSIONS)] if words is NOT_PERMITTED else []
    return words_page(request, words, reference=reference, home=home, first=first)


async def confirmed(
    request: web.Request,
    visitor: Visitor,
    fields: Mapping[str, str],
    what: tuple[str, str],
    consequence: tuple[str, str],
) -> web.Response | None:
    """None once the passkey was used for this very form; until then the page that asks for it, and has the
    form in it. ``what``: what is confirmed, and whom it concerns, in Japanese and English; ``consequence``:
    what comes of it, and whether that can be undone."""
    ra = request.app[GATE].ra
    known = await ra.database.read(lambda db: operators.passkeys(db, visitor.operator.number))
    purpose, mark, error = f"confirm {request.path}", _mark(fields), ""
    if fields.get("answer") or fields.get("stand_in"):
        args = (visitor.operator, known, visitor.peer, purpose, fields)
        passkey, facts, error = await answered(request, *args)
        if passkey is not None and facts.get("form") == mark:
            return None
        error = error or "late"
    form_of = await asked(request, visitor.operator, known, visitor.peer, purpose, form=mark)
    return show(
        request,
        "confirm.html",
        visitor,
        what=what,
        consequence=consequence,
        fields=typed(fields),
        error=error,
        action=request.path,
        back=_before(request.path),
        **form_of,
    )


def _before(path: str) -> str:
    """The page whose form was sent: what is done to something has a name below it."""
    return "/me" if path.startswith("/me/") else path.rpartition("/")[0]


def _mark(fields: Mapping[str, str]) -> str:
    text = json.dumps(typed(fields), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# -- forms that were sent without a session ----------------------------------------------------------------


async def _to_login(request: web.Request, read: Reading) -> web.StreamResponse:
    if request.method == "GET":
        following = request.path_qs
        return see_other(LOGIN if following == HOME else f"{LOGIN}?next={quote(following, safe='/')}")
    return await login_page(request, kept=keep(request, await read(request)))
