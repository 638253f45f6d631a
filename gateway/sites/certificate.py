"""証明書の取得: the input and Download screens that pick-up and renewal share (R27 to R29, R36).

The Download button is a ticket that lives in the session: nothing in a URL opens a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from aiohttp import web

from ca.pkcs12 import CONTENT_TYPE, LONG_PASSWORD
from ca.storage import Transaction
from enroll import identifiers, store
from enroll.jst import shown
from enroll.ra import RegistrationAuthority, token_hash
from enroll.refusals import Refusal
from enroll.requests import completion, issuance, window
from enroll.requests.enrollment import Enrollment
from gateway.sites import profile
from gateway.web import calendars, pages, sessions
from gateway.web.context import Role
from gateway.web.sessions import Session
from gateway.web.words import REFUSALS
from gateway.wire.crossing import linked_elsewhere
from gateway.wire.fields import values_of

_FORMATS = ("standard", "compatible")
_TICKET_PURPOSE = "session ticket"
_PROFILE = "mobileconfig"
_SUFFIXES = MappingProxyType({"": ".p12", "pfx": ".pfx", _PROFILE: ".mobileconfig"})
#: In the address of the input screen: a Download button led there that this browser has no session for.
OVER = "over"
# In the address of the Download screen: another tab has sent Submit since.
_NEWER = "newer"

#: Submits of one request that may be under way: one at work, the others behind it. Building a file
#: takes a core for up to a quarter of a second.
MOST_WAITING = 8


class _Turn(asyncio.Lock):
    """Of a request: one Submit at a time, so that the ticket that the session keeps is the valid one."""

    under_way = 0


_turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()


@dataclass(frozen=True)
class Input:
    """What was typed, and which of the two buttons was clicked."""

    request_id: str
    password: str = field(repr=False)
    confirmation: str = field(repr=False)
    form: issuance.Format


@dataclass(frozen=True)
class Paths:
    """Where the screens of one request are. ``input`` takes the form as well."""

    input: str
    download: str
    file: str
    calendar: str


async def read_input(request: web.Request) -> Input:
    """The form of the input screen. A request ID may be typed or pasted as ``identifiers.pasted`` says."""
    fields = await pages.form(request)
    form = fields.get("form", "standard")
    if form not in _FORMATS:
        raise Refusal("invalid_input", field="form")
    return Input(
        request_id=identifiers.pasted(fields.get("request_id", "")),
        password=fields.get("password", ""),
        confirmation=fields.get("confirmation", ""),
        form=cast(issuance.Format, form),
    )


def problems_of(entered: Input) -> dict[str, str]:
    """What is wrong with the fields, in their order: field name -> code of a refusal."""
    found: dict[str, str] = {}
    if not identifiers.valid_request_id(entered.request_id):
        found["request_id"] = "request_id_mismatch"
    refusal = issuance.p12_password_problem(entered.password, entered.confirmation)
    if refusal is not None:
        found[refusal.field] = refusal.code
    return found


def input_refused(
    request: web.Request,
    paths: Paths,
    entered: Input,
    problems: Mapping[str, str],
    session: Session | None,
    reference: str = "",
) -> web.Response:
    """Back to the input screen, which says what is wrong with the fields. ``reference``: of an ID that is
    not the request's."""
    told = {
        "request_id": entered.request_id,
        "problems": dict(problems),
        "reference": reference,
        "file": _file_of(session),
    }
    return pages.tell(request, paths.input, told)


def input_page(
    request: web.Request,
    paths: Paths,
    session: Session | None,
    *,
    request_id: str = "",
    typed: bool,
    stale: bool = False,
) -> web.Response:
    """The input screen. ``typed``: the person types the request ID (pick-up); else it stands there."""
    told = pages.told(request)
    if told.get("file", "") != _file_of(session):
        # Gone back to: what was wrong then has been mended since, and gave a file.
        told = {}
    problems = {name: REFUSALS[code] for name, code in told.get("problems", {}).items()}
    return pages.render(
        request,
        "certificate_input.html",
        status=422 if problems else 200,
        place="certificate",
        action=paths.input,
        request_id=told.get("request_id", "") if typed else request_id,
        typed=typed,
        stale=stale,
        over=OVER in request.query,
        problems=problems,
        reference=told.get("reference", ""),
        # Of whoever typed the ID as the mail has it.
        refused=REFUSALS["not_available"],
        letters=identifiers.UNAMBIGUOUS,
        drawn_length=identifiers.DRAWN_LENGTH,
        long=LONG_PASSWORD,
    )


async def prepare(ra: RegistrationAuthority, session: Session, entered: Input, *, actor: str) -> None:
    """Issues the certificate if that is still to do, builds the file, and keeps its ticket in the session.

    Clicking twice, or coming again with another password, gives the same certificate (E19, R31).
    Refusal("throttled") when too many Submits of this request are under way.
    """
    turn = _turns.setdefault(entered.request_id, _Turn())
    if turn.under_way >= MOST_WAITING:
        raise Refusal("throttled", at=ra.now() + 1)
    turn.under_way += 1
    try:
        async with turn:
            await _prepare(ra, session, entered, actor)
    finally:
        turn.under_way -= 1


async def download_page(
    request: web.Request, session: Session, enrollment: Enrollment, paths: Paths
) -> web.Response:
    """The screen with the Download button; without a live ticket, the way back to the input screen."""
    ra = request.app[pages.GATE].ra
    _, ticket = await _button(ra, session, enrollment.request_id)
    if ticket is None:
        return pages.see_other(paths.input)
    return pages.render(
        request,
        "certificate_download.html",
        place="certificate",
        enrollment=enrollment,
        filename=ticket.filename,
        ticket=_name(ticket),
        newer=_NEWER in request.query,
        ticket_ends_at=ticket.expires_at,
        left=max(0, ra.settings.window_downloads - enrollment.downloads),
        long_password=bool(session.data.get("long")),
        form=session.data.get("form"),
        file=paths.file,
        calendar=paths.calendar,
        again=paths.input,
        here=paths.download,
        asked=f"{paths.download}/status",
        downloaded=ticket.fetched_at is not None,
    )


async def download_status(
    ra: RegistrationAuthority, session: Session | None, enrollment: Enrollment
) -> web.Response:
    """For the page's script: whether the file of the session's button was sent."""
    _, ticket = ("", None) if session is None else await _button(ra, session, enrollment.request_id)
    return web.json_response({"downloaded": ticket is not None and ticket.fetched_at is not None})


async def send(
    request: web.Request, session: Session, enrollment: Enrollment, paths: Paths, *, actor: str
) -> web.StreamResponse:
    """The file, as often as the browser or a virus scanner asks within the ticket's time (E20).

    A ticket that is over is no refusal while a new one can be had: the input screen says so. Where another
    tab has made a newer file since this button was shown, the screen says whose password counts first.
    """
    # A link on somebody else's page shall not use up downloads.
    if linked_elsewhere(values_of(request.raw_headers, b"sec-fetch-site")):
        return await pages.problem(request, "cross_site")
    wanted = request.query.get("as", "")
    suffix = _SUFFIXES.get(wanted)
    phones = request.app[pages.GATE].ra.settings.phones
    if suffix is None or (wanted == _PROFILE and not phones):
        raise Refusal("not_found")
    ra, request_id = request.app[pages.GATE].ra, enrollment.request_id
    obtainable = session.data.get("request_id") != request_id or window.is_open(ra, enrollment)
    token, ticket = await _button(ra, session, request_id)
    if obtainable and ticket is None:
        return pages.see_other(paths.input)
    if obtainable and ticket is not None and request.query.get("ticket", _name(ticket)) != _name(ticket):
        return pages.see_other(f"{paths.download}?{_NEWER}")
    got = await issuance.download(ra, token, request_id, actor=actor)
    name = got.filename.removesuffix(".p12") + suffix
    content, kind = got.content, CONTENT_TYPE
    if wanted == _PROFILE:
        kind, operator = profile.CONTENT_TYPE, ra.settings.operator_name
        content = profile.profile(content, enrollment.common_name, enrollment.serial or "", operator)
    return web.Response(
        body=content,
        headers={"Content-Type": kind, "Content-Disposition": f'attachment; filename="{name}"'},
    )


async def send_dates(request: web.Request, enrollment: Enrollment) -> web.StreamResponse:
    """D-30, D-7 and the end of a request's certificate as a calendar file."""
    if enrollment.not_after_at is None or enrollment.serial is None:
        raise Refusal("not_found", field="certificate")
    return dates_file(request, enrollment.common_name, enrollment.serial, enrollment.not_after_at)


def dates_file(request: web.Request, common_name: str, serial: str, not_after_at: int) -> web.StreamResponse:
    """The dates of a certificate, in the visitor's language."""
    gate = request.app[pages.GATE]
    host = urlsplit(gate.origins[Role.HELP]).hostname or ""
    dates = calendars.Dates(common_name, serial, not_after_at, shown(not_after_at), host, gate.now())
    content = calendars.calendar(dates, gate.ra.settings, pages.language_of(request))
    disposition = f'attachment; filename="{common_name}.ics"'
    return web.Response(
        body=content, headers={"Content-Type": calendars.CONTENT_TYPE, "Content-Disposition": disposition}
    )


async def is_stale(ra: RegistrationAuthority, session: Session | None, request_id: str) -> bool:
    """Whether this session had a Download button for the request, and its time is over."""
    if session is None or session.data.get("request_id") != request_id or "ticket" not in session.data:
        return False
    return (await _button(ra, session, request_id))[1] is None


async def _prepare(ra: RegistrationAuthority, session: Session, entered: Input, actor: str) -> None:
    request_id = entered.request_id
    await issuance.submit(ra, request_id, actor=actor)
    await completion.within(ra, request_id)
    if await issuance.is_processing(ra, request_id):
        raise Refusal("issuing_later")

    def keep(db: Transaction, ticket: str) -> None:
        data = {
            "request_id": request_id,
            # Sealed: a copy of the database opens no file.
            "ticket": ra.vault.seal(_TICKET_PURPOSE, ticket.encode()).hex(),
            "form": entered.form,
            "long": len(entered.password) > LONG_PASSWORD or None,
        }
        sessions.change_in(db, session, data)

    # Both at once: whoever looks in between has the button of a file that is no more.
    await issuance.prepare_download(ra, request_id, entered.password, entered.form, actor=actor, beside=keep)


async def _button(
    ra: RegistrationAuthority, session: Session, request_id: str
) -> tuple[str, store.Ticket | None]:
    """The token of the session's Download button, empty if it has none, and the file that waits behind it.

    As they are now: another Submit may have replaced both since the request's session was read.
    """

    def work(db: Transaction) -> tuple[str, store.Ticket | None]:
        sealed = str(sessions.data_now(db, session).get("ticket", ""))
        token = ra.vault.open(_TICKET_PURPOSE, bytes.fromhex(sealed)).decode() if sealed else ""
        return token, store.ticket(db, token_hash(token))

    token, found = await ra.database.read(work)
    if found is None or found.request_id != request_id or ra.now() >= found.expires_at:
        return token, None
    # The row without the sealed file: pages need the name and the time only.
    return token, replace(found, sealed_p12=b"")


def _file_of(session: Session | None) -> str:
    """Tells the file that a session has from a later one's."""
    kept = session.data.get("ticket", "") if session is not None else ""
    return token_hash(kept)[:12] if kept else ""


def _name(ticket: store.Ticket) -> str:
    """Tells the file of a button from a later one's. It opens nothing."""
    return ticket.token_hash[:12]
