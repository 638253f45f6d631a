"""The portal: my certificate, what to do about it, and where I am logged in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ca.generations.states import State
from ca.storage import Transaction
from ca.store import CertificateRecord
from enroll import generations, store
from enroll.jst import days_left
from enroll.mail import store as mail_store
from enroll.people import login
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import renewal
from enroll.requests.enrollment import Enrollment, state_at
from enroll.requests.opening import renewable_from
from enroll.requests.states import LABELS
from enroll.settings import DAY
from gateway.sites.certificate import dates_file
from gateway.sites.service.overview import ending_soon
from gateway.sites.service.standing import NO_MORE, SUSPENDED, Text, Tone, steps
from gateway.sites.service.visitors import OPEN, Visitor
from gateway.sites.service.words import DONE, SITES
from gateway.web import sessions
from gateway.web.context import Gate, Role
from gateway.web.pages import GATE, form, render, see_other

#: How long the portal tells of a renewal by another, in seconds; the letter was sent at once.
_TOLD_FOR = 30 * DAY


@dataclass(frozen=True)
class Certificate:
    """A certificate as its owner sees it."""

    common_name: str
    serial: str
    issuer: str
    not_before_at: int
    not_after_at: int
    label: Text
    tone: Tone
    #: The one that this connection presented.
    presented: bool
    #: It was handed over, so that it may be on a PC.
    picked_up: bool


async def top(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Greeting, my certificate with the days left, what comes next, and the delete guide (R49, R50)."""
    ra = request.app[GATE].ra
    at, found = ra.now(), await ra.database.read(lambda db: _found(db, ra, visitor))
    mine, shown = found.enrollments, found.certificates
    days = days_left(visitor.peer.not_after_at, at)
    # R49: told once, to whoever holds the newest one.
    told = bool(visitor.session.data.get("first_use")) and _is_newest(mine, visitor.source)
    return render(
        request,
        "portal.html",
        visitor=visitor,
        here="top",
        done=DONE.get(request.query.get("done", "")),
        certificate=next((c for c in shown if c.presented), None),
        days=days,
        renewable=at >= renewable_from(visitor.peer.not_after_at, ra),
        renewing=found.following.begun,
        newer=found.following.newer,
        old=[c for c in shown if told and _left_behind(c, visitor.source)],
        flow=steps(visitor.source, visitor.user.created_at, found.letters),
        renewed_by_another=_renewed_by_another(mine, at),
        before=visitor.session.data.get("before"),
        ending_soon=found.ending_soon,
        start=_start(request.app[GATE]),
        open_applications=found.applications,
    )


@dataclass(frozen=True)
class _Found:
    """What the first page tells, out of one state of the database."""

    enrollments: list[Enrollment]
    certificates: list[Certificate]
    following: renewal.Following
    letters: list[dict[str, Any]]
    applications: list[store.Application]
    ending_soon: int


def _found(db: Transaction, ra: RegistrationAuthority, visitor: Visitor) -> _Found:
    user_id = visitor.user.user_id
    return _Found(
        store.enrollments_of(db, user_id),
        certificates_of(db, ra, visitor.user, visitor.source.serial),
        renewal.following(db, ra.now(), visitor.source),
        mail_store.listed(db, user_id),
        store.applications(db, state="submitted", user_id=user_id),
        _ending_soon(db, ra.now(), visitor),
    )


async def certificates(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Every certificate I was given, newest first, and how to delete the ones that ended."""
    ra = request.app[GATE].ra
    shown = await ra.database.read(lambda db: certificates_of(db, ra, visitor.user, visitor.source.serial))
    return render(request, "certificates.html", visitor=visitor, here="certificates", certificates=shown)


async def dates(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """D-30, D-7 and the end of the certificate in use."""
    peer = visitor.peer
    return dates_file(request, visitor.source.common_name, visitor.source.serial or "", peer.not_after_at)


async def session_list(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Where I am logged in."""
    ra = request.app[GATE].ra
    at, user_id = ra.now(), visitor.user.user_id
    found = await ra.database.read(lambda db: sessions.listed(db, at, user_id))
    return render(
        request,
        "sessions.html",
        visitor=visitor,
        here="sessions",
        done=DONE.get(request.query.get("done", "")),
        sessions=[row for row in found if row["site"] in SITES],
        own=_own_id(visitor),
        sites=SITES,
    )


async def end_session(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Ends one of my other sessions, or all of them; this one is ended by logging out."""
    ra, user_id = request.app[GATE].ra, visitor.user.user_id
    wanted = (await form(request)).get("session", "")
    if wanted == "others":
        await sessions.end_all(ra, user_id, actor=user_id, but=visitor.session)
        return see_other("/portal/sessions?done=others")
    own = wanted == _own_id(visitor)
    if own or not await sessions.end_one(ra, wanted, actor=user_id, subject=user_id):
        raise Refusal("not_found", field="session")
    return see_other("/portal/sessions?done=ended")


def certificates_of(
    db: Transaction, ra: RegistrationAuthority, user: store.User, presented: str | None
) -> list[Certificate]:
    """A user's certificates, newest first. ``presented`` is the serial of the one in use, if any."""
    issuers = {issuer.issuer_id: issuer.common_name for issuer in ra.authority.issuers}
    found = generations.at_now(db, ra)
    distrusted = {each for each in issuers if found.state(each) is State.DISTRUSTED}
    origins = {e.serial: e for e in store.enrollments_of(db, user.user_id)}
    return [
        _certificate(
            record,
            issuers.get(record.issuer_id, ""),
            origins[record.serial],
            ra.now(),
            presented,
            NO_MORE if record.issuer_id in distrusted else SUSPENDED if record.status == "held" else None,
        )
        for record in login.certificates_of(db, user.user_id)
    ]


def _certificate(
    record: CertificateRecord,
    issuer: str,
    origin: Enrollment,
    at: int,
    presented: str | None,
    stopped: Text | None,
) -> Certificate:
    over = at > record.not_after_at
    label = stopped or LABELS[state_at(origin, at)]
    tone: Tone = "good" if record.status == "issued" and not over and stopped is None else "bad"
    return Certificate(
        record.subject_cn,
        record.serial,
        issuer,
        record.not_before_at,
        record.not_after_at,
        label,
        tone,
        record.serial == presented,
        origin.picked_up_at is not None,
    )


def _ending_soon(db: Transaction, at: int, visitor: Visitor) -> int:
    """How many users of a 管理者's organisation have a certificate that ends soon."""
    if not visitor.is_admin:
        return 0
    return len({row.user.user_id for row in ending_soon(db, at, visitor.user.policy_number)})


def _renewed_by_another(mine: Sequence[Enrollment], at: int) -> list[Enrollment]:
    """Renewals of the last thirty days that another than the certificate's holder asked for."""
    return [e for e in mine if e.by_another and e.issued_at is not None and at - e.issued_at < _TOLD_FOR]


def _start(gate: Gate) -> str:
    """Where the first page of the service behind the portal is."""
    elsewhere = gate.start and Role.BEHIND in gate.origins
    return f"{OPEN}?next={gate.start}" if elsewhere else gate.start


def _left_behind(certificate: Certificate, presented: Enrollment) -> bool:
    """Whether it may be on a PC and is of no more use there: it ended, or its renewal is presented."""
    replaced = certificate.tone == "bad" or certificate.common_name == presented.common_name
    return certificate.picked_up and not certificate.presented and replaced


def _is_newest(mine: Sequence[Enrollment], presented: Enrollment) -> bool:
    issued = [e for e in mine if e.issued_at is not None]
    return bool(issued) and issued[0].request_id == presented.request_id


def _own_id(visitor: Visitor) -> str:
    return visitor.session.token_hash[:16]
