"""Sessions: server-side, ``__Host-`` cookies, bound to a site and to the certificate presented."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from aiohttp import web

from ca.revocation import RevocationStatus
from ca.storage import Row, StorageTrouble, Transaction
from ca.store import certificate_status
from enroll import timekeeping
from enroll.operators.kinds import ENDS_LOGINS
from enroll.ra import RegistrationAuthority, token_hash
from enroll.store import audit
from gateway.web import store
from gateway.web.browsers import browser_of
from gateway.wire import cookies, http
from gateway.wire.http import SUBJECT

#: Seconds without a request, and in all, after which a session ends.
IDLE = 30 * 60
ABSOLUTE = 8 * 3_600
#: Seconds in which whoever is logged in on one host has to come in on another.
_ON_THE_WAY = 60
_TICKET = "ticket"
#: What is no session, and lies among them: rows of `challenges`.
CHALLENGE = "challenge"
#: Sites where less is enough: seconds without a request after which a session ends.
IDLE_AT: Mapping[str, int] = {"console": 15 * 60}
# A session's last use is written at most this often, in seconds.
_TOUCH = 60


@dataclass(frozen=True)
class Session:
    """An open session. ``subject`` is the user ID, or the request ID on the pick-up site.

    ``password_mark``: of the password that opened it, where a site asks for the user's. ``address`` and
    ``browser``: of whoever opened it, so that people know their logins again; gone with the session.
    """

    token_hash: str
    site: str
    subject: str
    fingerprint: str
    data: Mapping[str, Any]
    created_at: int
    seen_at: int
    ends_at: int
    password_mark: str = ""
    address: str = ""
    browser: str = ""
    #: The hash of the session on another host that this one came from, and ends with.
    opened_by: str = ""


@dataclass(frozen=True)
class Client:
    """From where and with what somebody opens a session. ``browser``: as `browsers` names it, or empty."""

    address: str
    browser: str


def client_of(request: web.BaseRequest) -> Client:
    """The client of a request. Of what its browser says of itself nothing but a known name is kept."""
    browser = browser_of(request.headers)
    return Client(http.connection(request).peer_address, browser.name)


def idle_at(site: str) -> int:
    """Seconds without a request after which a session of a site ends."""
    return IDLE_AT.get(site, IDLE)


def cookie_name(site: str) -> str:
    """``__Host-``: this host only, this path only, never without TLS (RFC 6265bis section 4.1.3.2)."""
    return f"__Host-{site}"


async def start(
    ra: RegistrationAuthority,
    response: web.StreamResponse,
    site: str,
    subject: str,
    client: Client,
    *,
    fingerprint: str = "",
    password_mark: str = "",
    data: Mapping[str, Any] | None = None,
    previous: Session | None = None,
    opened_by: str = "",
) -> Session:
    """Opens a session and sets its cookie; a ``previous`` one ends (no session survives a login).
    ``opened_by``: the session that a ticket came from."""
    token = secrets.token_urlsafe(32)
    at = ra.now()
    session = Session(
        token_hash(token), site, subject, fingerprint, dict(data or {}), at, at, at + ABSOLUTE,
        password_mark, client.address, client.browser, opened_by,
    )  # fmt: skip
    await _keep(ra, session, previous)
    # Lax: a link in a mail may lead into an open session; forms are guarded by Origin besides.
    response.set_cookie(
        cookie_name(site), token, path="/", secure=True, httponly=True, samesite="Lax", max_age=ABSOLUTE
    )
    return session


async def hand_over(ra: RegistrationAuthority, session: Session) -> str:
    """A ticket into a session on another host, good once and for a minute (`take_over`)."""
    token, at = secrets.token_urlsafe(32), ra.now()
    ticket = replace(
        session, token_hash=token_hash(token), site=_TICKET, data={}, created_at=at, seen_at=at,
        ends_at=at + _ON_THE_WAY, opened_by=session.token_hash,
    )  # fmt: skip
    await _keep(ra, ticket, None)
    return token


async def take_over(ra: RegistrationAuthority, token: str) -> Session | None:
    """What a ticket says, which is used up by that; None for one that is none, or that is too late."""
    if not token or len(token) > 100 or not token.isascii():
        return None
    found = await ra.database.write(lambda db: store.take_session(db, token_hash(token), _TICKET))
    # The clock of whichever node has made it may be a little ahead.
    if found is None or abs(ra.now() - found["created_at"]) >= _ON_THE_WAY:
        return None
    return Session(**{**found, "data": {}})


async def _keep(ra: RegistrationAuthority, session: Session, previous: Session | None) -> None:
    """Writes a session down; the ``previous`` one, and those that are over, go."""
    at = ra.now()

    def work(db: Transaction) -> None:
        if previous is not None:
            store.drop_session(db, previous.token_hash)
        if timekeeping.doubt_now(ra, db) is None:
            store.drop_sessions_over(db, at, IDLE)
        store.add_session(db, asdict(session) | {"data": json.dumps(session.data)})

    await ra.database.write(work)


async def find(
    ra: RegistrationAuthority, request: web.BaseRequest, site: str, *, fingerprint: str = ""
) -> Session | None:
    """The session of a request, or None: unknown, ended, of another site or another certificate."""
    token = presented(request, site).value
    session = await find_by_token(ra, token, site, fingerprint=fingerprint)
    if session is not None:
        request[SUBJECT] = session.subject
    return session


def presented(request: web.BaseRequest, site: str) -> cookies.Reading:
    """What a request says of the site's session cookie."""
    return cookies.read(request, cookie_name(site))


#: In the address that a login leads to: whoever comes there without a cookie keeps none.
ENTERED = "entered"


def keeps_none(request: web.Request, site: str) -> bool:
    """Whether somebody was let in a moment ago, and the browser has kept nothing of it."""
    return ENTERED in request.query and not presented(request, site).present


async def find_by_token(
    ra: RegistrationAuthority, token: str, site: str, *, fingerprint: str = ""
) -> Session | None:
    """`find`, for the value of the cookie; empty for none."""
    if not token or len(token) > 100:
        return None
    hashed = token_hash(token)
    found = await ra.database.read(lambda db: store.session(db, hashed))
    if found is None:
        return None
    session = Session(**{**found, "data": json.loads(found["data"])})
    now, idle = ra.now(), idle_at(site)
    if session.site != site or session.fingerprint != fingerprint:
        return None
    # The last: the clock ran ahead when it was used, and has been set right since.
    if now >= session.ends_at or now >= session.seen_at + idle or now < session.seen_at - idle:
        # By a clock in doubt it is over for now, and comes back with the right time.
        if await timekeeping.doubt(ra) is None:
            await end(ra, session)
        return None
    if now >= session.seen_at + _TOUCH:
        # A full disk, or a database that somebody locks, puts nobody out: his session ends the sooner.
        with suppress(StorageTrouble):
            await ra.database.write(lambda db: store.touch_session(db, hashed, now))
    return session


def settled_until(session: Session) -> int:
    """Epoch second until which finding it again would write nothing, if nobody ends or changes it."""
    return min(session.seen_at + _TOUCH, session.ends_at)


async def change(ra: RegistrationAuthority, session: Session, **data: Any) -> None:
    """Sets values in a session's data; None removes one."""
    await ra.database.write(lambda db: change_in(db, session, data))


def change_in(db: Transaction, session: Session, data: Mapping[str, Any]) -> None:
    """The same within somebody's transaction."""
    store.change_session(db, session.token_hash, data)


def data_now(db: Transaction, session: Session) -> dict[str, Any]:
    """What a session's data is by now; nothing if it has ended."""
    found = store.session(db, session.token_hash)
    return {} if found is None else dict(json.loads(found["data"]))


async def end(
    ra: RegistrationAuthority, session: Session, response: web.StreamResponse | None = None
) -> None:
    """Ends a session and takes its cookie away."""
    await ra.database.write(lambda db: store.drop_session(db, session.token_hash))
    if response is not None:
        forget(response, session)


def forget(response: web.StreamResponse, session: Session) -> None:
    """Takes a session's cookie away."""
    response.del_cookie(cookie_name(session.site), path="/", secure=True, httponly=True, samesite="Lax")


async def end_all(ra: RegistrationAuthority, subject: str, *, actor: str, but: Session | None = None) -> int:
    """Ends every session of a user, or all but one; returns how many."""
    kept = but.token_hash if but is not None else ""
    return await ra.database.write(
        lambda db: _told(db, ra.now(), actor, store.drop_sessions_of(db, subject, kept))
    )


async def end_by(
    ra: RegistrationAuthority, kind: str, payload: Mapping[str, Any], result: Mapping[str, Any], *, actor: str
) -> int | None:
    """Ends the sessions of whoever a decision has ended the login of; returns how many, None where it is not
    about logins. ``result``: what came of it."""
    if kind not in ENDS_LOGINS:
        return None
    ended = 0
    for user_id in result.get("user_ids", None) or [payload.get("user_id", "")]:
        ended += await end_all(ra, user_id, actor=actor) if user_id else 0
    return ended


async def end_with(ra: RegistrationAuthority, fingerprint: str) -> int:
    """Ends every session that is bound to a certificate, which has ended itself; returns how many.

    Told by every process that hears of it: without a session there is nothing to write.
    """
    if not await ra.database.read(lambda db: store.has_session_with(db, fingerprint)):
        return 0
    return await ra.database.write(
        lambda db: _told(db, ra.now(), "certificate", store.drop_sessions_with(db, fingerprint))
    )


async def end_distrusted(ra: RegistrationAuthority) -> int:
    """Ends every session that is bound to a certificate whose issuing CA is trusted no more; how many."""

    def bound(db: Transaction) -> list[str]:
        return [
            each
            for each in store.bound_sessions(db)
            if certificate_status(db, each) is RevocationStatus.DISTRUSTED
        ]

    def work(db: Transaction) -> int:
        at = ra.now()
        return sum(_told(db, at, "certificate", store.drop_sessions_with(db, each)) for each in bound(db))

    return await ra.database.write(work) if await ra.database.read(bound) else 0


def listed(db: Transaction, at: int, subject: str | None = None) -> list[dict[str, Any]]:
    """Open sessions, newest first, for the user or the operator. ``id`` names one without opening it."""
    found = store.open_sessions(db, at, IDLE, subject, (_TICKET, CHALLENGE))
    return [each for each in found if each["seen_at"] > at - idle_at(each["site"])]


async def end_one(ra: RegistrationAuthority, number: str, *, actor: str, subject: str | None = None) -> int:
    """Ends the session with this ``id`` (of this subject); returns how many ended."""
    return await ra.database.write(
        lambda db: _told(db, ra.now(), actor, store.drop_sessions_named(db, number, subject))
    )


def _told(db: Transaction, at: int, actor: str, ended: Sequence[Row]) -> int:
    """Has the trail tell of sessions of one subject that somebody chose to end; how many they were."""
    shown = [row for row in ended if row["site"] not in (_TICKET, CHALLENGE)]
    if shown:
        sites = sorted({row["site"] for row in shown})
        audit(db, at, actor, "session.ended", shown[0]["subject"], count=len(shown), sites=sites)
    return len(shown)
