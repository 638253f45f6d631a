"""Who is calling: certificate, session and user looked at together, on every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote

from aiohttp import web

from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll import store, timekeeping
from enroll.people import login
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment
from enroll.requests.issuance import check_entitled
from enroll.requests.renewal import check_lives, source_of
from gateway.sites.service.apart import STALE, form_token, is_own_form, said
from gateway.sites.service.words import field_error, missing
from gateway.web import pages, sessions
from gateway.web.context import Role
from gateway.web.pages import GATE, Handler, form, see_other
from gateway.web.sessions import Session
from gateway.web.words import Text
from gateway.wire import http
from gateway.wire.ownpaths import first_segment

SITE = str(Role.SERVICE)
LOGIN, PORTAL, PASSWORD, LANGUAGE = "/login", "/portal/", "/portal/password", "/portal/language"
#: Leads on to a path of the service behind the gate, on whatever host that is.
OPEN = "/portal/open"
#: In the address of the login page: what led there was a form, which was not taken.
UNSENT = "unsent"
# How the addresses end of which a page and its form have one.
_FORMS = ("addition", "credentials", "language", "mail", "password", "reissue", "suspension", "withdrawal")


@dataclass(frozen=True)
class Visitor:
    """Somebody who is logged in. Built in ``visitor_of`` and nowhere else."""

    user: store.User
    organisation: store.Organisation
    peer: VerifiedPeer
    #: The enrollment that the presented certificate came from.
    source: Enrollment
    session: Session
    #: The session's cookie.
    secret: str = field(repr=False)

    def token(self, path: str) -> str:
        """What a form that is sent to ``path`` has to carry."""
        return form_token(self.secret, path)

    @property
    def is_admin(self) -> bool:
        """Whether this is a 管理者, who acts for the own organisation and no other."""
        return self.user.role == "admin"


class Needs(Enum):
    """What a page asks of a visitor besides being logged in."""

    NOTHING = "nothing"
    ADMIN = "admin"
    INITIAL = "initial"


NOTHING, ADMIN, INITIAL = Needs.NOTHING, Needs.ADMIN, Needs.INITIAL

Inner = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]


async def visitor_of(request: web.BaseRequest, app: web.Application) -> Visitor | None:
    """Who is logged in, or None: no session, or one of another certificate or an earlier password.

    Raises Refusal("user_disabled") or the one that says why the certificate ended, and ends the session, when
    either lost its right since the login.
    """
    site = app[pages.SITE]
    token = sessions.presented(request, site).value
    visitor = await visitor_with(app[GATE].ra, verified(request), token, site)
    if visitor is not None:
        request[http.SUBJECT] = visitor.session.subject
    return visitor


async def visitor_with(
    ra: RegistrationAuthority, peer: VerifiedPeer, token: str, site: str = SITE
) -> Visitor | None:
    """`visitor_of`, for a verified peer and the value of the session's cookie."""
    session = await sessions.find_by_token(ra, token, site, fingerprint=peer.fingerprint)
    if session is None:
        return None
    try:
        visitor = await ra.database.read(lambda db: _visitor(db, ra, peer, session, token))
    except Refusal:
        # What only a clock in doubt calls expired may be right again in a moment.
        if await timekeeping.doubt(ra) is None:
            await sessions.end(ra, session)
        raise
    if session.password_mark != visitor.user.password_mark:
        # Whoever changed it ended the sessions there were; this one was being opened meanwhile.
        await sessions.end(ra, session)
        return None
    return visitor


def inside(handler: Inner, needs: Needs = NOTHING) -> Handler:
    """The handler for those who are logged in; everybody else is led to the login page.

    A first password has to be replaced before anything else. A form is taken from our own page only.
    """

    async def entered(request: web.Request) -> web.StreamResponse:
        visitor = await visitor_of(request, request.app)
        if visitor is None:
            first = by_way_of(LOGIN, request)
            sent = request.method == "POST"
            return see_other(first + ("&" if "?" in first else "?") + UNSENT if sent else first)
        if visitor.user.password_initial and needs is not INITIAL:
            return see_other(by_way_of(PASSWORD, request))
        if needs is ADMIN and not visitor.is_admin:
            raise Refusal("not_permitted")
        if request.method == "POST" and not is_own_form(visitor.secret, request.path, await form(request)):
            return await said(request, "stale_form", STALE)
        return await handler(request, visitor)

    return entered


async def unconfirmed(request: web.Request, visitor: Visitor, fields: Mapping[str, str]) -> dict[str, Text]:
    """What to say under the password of a form that gives power away; empty if it is the visitor's.

    Asked for at each such form: no script of the service behind the gate, and nobody at a PC that was left,
    goes along with what somebody confirmed before. Raises Refusal("throttled") as the login does.
    """
    password = fields.get("password", "")
    if not password:
        return {"password": missing("password")}
    ra, address = request.app[GATE].ra, http.connection(request).peer_address
    try:
        await login.confirm(ra, visitor.peer.fingerprint, visitor.user.user_id, password, address=address)
    except Refusal as refusal:
        if refusal.code != "bad_credentials":
            raise
        return field_error(refusal)
    return {}


def verified(request: web.BaseRequest) -> VerifiedPeer:
    """The peer. The listener lets nobody else through to a site that requires a certificate."""
    peer = http.peer(request)
    if not isinstance(peer, VerifiedPeer):
        raise Refusal("unknown_certificate")
    return peer


def by_way_of(page: str, request: web.Request) -> str:
    """A page that comes first, and leads on to what was asked for; after what cannot be repeated, home."""
    following = request.path_qs if request.method in ("GET", "HEAD") else _form_of(request.path)
    return page if following == PORTAL else f"{page}?next={quote(following, safe='/')}"


def _form_of(path: str) -> str:
    """The page whose form is sent to a path, where that is the same one; else home. What was typed is not
    kept: whoever logs in next may be somebody else."""
    return path if path.rpartition("/")[2] in _FORMS else PORTAL


def local_path(text: str) -> str:
    """Where to go afterwards: a path of this site, else the portal. Never another origin (V39)."""
    odd = not text.startswith("/") or text.startswith("//") or first_segment(text) in ("login", "logout")
    return PORTAL if odd or "\\" in text or len(text) > 500 or not text.isprintable() else text


def member_of(db: Transaction, visitor: Visitor, user_id: str) -> store.User:
    """A user of the visitor's own organisation. Others' users are not found, as if there were none."""
    user = store.user(db, user_id)
    if user is None or user.policy_number != visitor.user.policy_number:
        raise Refusal("not_found", field="user_id")
    return user


def _visitor(
    db: Transaction, ra: RegistrationAuthority, peer: VerifiedPeer, session: Session, secret: str
) -> Visitor:
    check_entitled(db, session.subject)
    source = source_of(db, peer.fingerprint)
    check_lives(db, ra, source)
    user = store.user(db, session.subject)
    organisation = store.organisation(db, user.policy_number) if user is not None else None
    if user is None or organisation is None or source.user_id != user.user_id:
        raise Refusal("wrong_user")
    return Visitor(user, organisation, peer, source, session, secret)
