"""Applications made online: 再発行 for oneself or a member, 追加発行 for the organisation (R19, R22, R23)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web

from ca.storage import Transaction
from enroll import store
from enroll.languages import LANGUAGES
from enroll.mail import store as mail_store
from enroll.people import applications
from enroll.people.applications import LABELS, REASONS, REJECTIONS, Recorded
from enroll.people.register import Person, wrong_fields
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import WAITING, State
from gateway.sites.service.asking import question, shown, unanswered
from gateway.sites.service.standing import Step, expected, steps
from gateway.sites.service.visitors import Visitor, member_of, unconfirmed
from gateway.sites.service.words import (
    CHANNELS,
    DECISIONS,
    DONE,
    ENDS,
    KINDS,
    LANGUAGE_NAMES,
    NOTICES,
    ROLES,
    field_error,
)
from gateway.web import sessions
from gateway.web.afterwards import typed
from gateway.web.pages import GATE, form, render, see_other, tell, told, told_texts
from gateway.web.words import Text

_ADDITION_FIELDS = ("name", "mail", "role", "notice_by", "language", "user_id")

#: The certificate was not fetched yet.
_TO_COME = frozenset({*WAITING, State.PROCESSING, State.ISSUED})


async def reissue_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """For whom: the member in the path, else oneself."""
    state, whom = told(request), await _whom(request, visitor)
    pending = await _pending(request, whom)
    if pending is not None and state.get("pending") != pending.id:
        # Gone back to: what was wrong then has been mended since, and was received.
        state = {}
    errors = told_texts(state)
    return render(
        request,
        "reissue.html",
        status=422 if errors else 200,
        visitor=visitor,
        action=request.path,
        here="reissue" if whom.user_id == visitor.user.user_id else "members",
        whom=whom,
        own=whom.user_id == visitor.user.user_id,
        pending=pending,
        theft=store.THEFT,
        reasons=REASONS,
        values=state.get("values", {}),
        errors=errors,
    )


async def apply_for_reissue(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Records the application; pressing twice gives the same one (E19).

    A report of theft stops the user's certificates there and then: whoever reports the own PC is out.
    """
    ra, whom = request.app[GATE].ra, await _whom(request, visitor)
    fields = await form(request)
    errors = await unconfirmed(request, visitor, fields)
    if errors:
        if fields.get("reason") not in REASONS:
            errors = field_error(Refusal("invalid_input", field="reason")) | errors
        return await _reissue_refused(request, whom, fields, errors)
    try:
        recorded = await applications.apply_reissue(
            ra,
            whom.user_id,
            fields.get("reason", ""),
            channel="online",
            actor=visitor.user.user_id,
            revoke_old="at_once" if fields.get("revoke_old") == "at_once" else None,
        )
    except Refusal as refusal:
        if refusal.field != "reason":
            raise
        return await _reissue_refused(request, whom, fields, field_error(refusal))
    number = recorded.number
    if not await ra.database.read(lambda db: store.theft_reported(db, whom.user_id)):
        return see_other(_received(recorded))
    await sessions.end_all(ra, whom.user_id, actor=visitor.user.user_id)
    if whom.user_id != visitor.user.user_id:
        return see_other(f"/portal/applications/{number}?done=stopped")
    # No page to go to: this connection ends, and every other one is told why.
    response = render(request, "stopped.html", visitor=None, here="reissue", number=number)
    sessions.forget(response, visitor.session)
    return response


async def addition_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    state = told(request)
    errors = told_texts(state)
    return render(
        request,
        "addition.html",
        status=422 if errors else 200,
        visitor=visitor,
        here="addition",
        values=state.get("values", {"role": "member", "notice_by": "mail", "language": "ja"}),
        errors=errors,
        roles=ROLES,
        notices=NOTICES,
        languages=LANGUAGE_NAMES,
        **shown(state),
    )


async def apply_for_addition(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Records the application for the visitor's own organisation; no field can name another."""
    fields = await form(request)
    wanted: dict[str, Any] = {name: fields.get(name, "").strip() for name in _ADDITION_FIELDS}
    wanted["language"] = wanted["language"] or LANGUAGES[0]
    person = Person(policy_number=visitor.user.policy_number, **wanted)
    wrong = _wrong(person)
    database = request.app[GATE].ra.database
    doubts = [] if wrong else await database.read(lambda db: applications.in_doubt(db, person))
    asked = question(doubts, fields)
    errors = wrong | unanswered(asked) | await unconfirmed(request, visitor, fields)
    if errors:
        return _refused(request, wanted, errors, asked)
    try:
        recorded = await applications.apply_addition(
            request.app[GATE].ra, person, channel="online", actor=visitor.user.user_id
        )
    except Refusal as refusal:
        if refusal.field not in _ADDITION_FIELDS:
            raise
        return _refused(request, wanted, field_error(refusal), asked)
    return see_other(_received(recorded))


def _received(recorded: Recorded) -> str:
    """The application's page, which says whether it is a new one."""
    return f"/portal/applications/{recorded.number}?done={'already' if recorded.already else 'applied'}"


async def application_list(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The organisation's applications for a 管理者, one's own for everybody else."""
    policy_number = visitor.user.policy_number
    found, users = await request.app[GATE].ra.database.read(
        lambda db: (store.applications(db, policy_number=policy_number), store.users(db, policy_number))
    )
    return render(
        request,
        "applications.html",
        visitor=visitor,
        here="applications",
        applications=[each for each in found if may_see(visitor, each)],
        names={user.user_id: user.name for user in users},
        kinds=KINDS,
        decisions=DECISIONS,
        reasons=LABELS,
    )


async def application_page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One application with how far it has come, and what is to be expected by when."""
    ra, number = request.app[GATE].ra, int(request.match_info["number"])
    found = await ra.database.read(lambda db: _applied(db, ra, visitor, number))
    return render(
        request,
        "application.html",
        visitor=visitor,
        here="applications",
        done=DONE.get(request.query.get("done", "")),
        theft=store.THEFT,
        kinds=KINDS,
        channels=CHANNELS,
        decisions=DECISIONS,
        reasons=LABELS,
        rejections=REJECTIONS,
        roles=ROLES,
        notices=NOTICES,
        languages=LANGUAGE_NAMES,
        address=visitor.organisation.address,
        **found,
    )


def _applied(db: Transaction, ra: RegistrationAuthority, visitor: Visitor, number: int) -> dict[str, Any]:
    """What the page of an application says, out of one state of the database."""
    found = seen(db, visitor, number)
    opened = store.enrollment(db, found.request_id) if found.request_id else None
    user = store.user(db, opened.user_id) if opened is not None else None
    return {
        "application": found,
        "name": name_of(db, found),
        "again": _again(visitor, found),
        # What was decided, once it is: operators may see it otherwise than whoever applied.
        "ends": ENDS[_ends(found, opened)],
        "user": user,
        "expected": expected(found, ra.settings.decision_days),
        # What is expected is over with the pick-up.
        "to_come": found.state == "submitted" or (opened is not None and opened.state in _TO_COME),
        "mail": _mail_of(db, found),
        "flow": _steps(db, opened, user),
    }


def _steps(db: Transaction, opened: Enrollment | None, user: store.User | None) -> tuple[Step, ...]:
    if opened is None or user is None:
        return ()
    return steps(opened, user.created_at, mail_store.listed(db, user.user_id))


def _mail_of(db: Transaction, found: store.Application) -> str:
    """Where the mail that tells how to fetch the certificate goes."""
    user = store.user(db, found.user_id) if found.kind == "reissue" else None
    return user.mail if user is not None else found.person.get("mail", "")


def name_of(db: Transaction, found: store.Application) -> str:
    """Of the person whom an application is about."""
    user = store.user(db, found.user_id) if found.kind == "reissue" else None
    return user.name if user is not None else found.person.get("name", "")


def _again(visitor: Visitor, found: store.Application) -> str:
    """Where the same is applied for once more."""
    if found.kind == "addition":
        return "/portal/addition"
    own = found.user_id == visitor.user.user_id
    return "/portal/reissue" if own else f"/portal/members/{found.user_id}/reissue"


def _wrong(person: Person) -> dict[str, Text]:
    """All at once: nobody should have to send the form again for each of them."""
    errors: dict[str, Text] = {}
    for name in wrong_fields(person):
        errors |= field_error(Refusal("invalid_input", field=name))
    return errors


def _ends(found: store.Application, opened: Enrollment | None) -> str:
    if found.state in ("withdrawn", "rejected"):
        return "untouched"
    if opened is not None:
        return opened.revoke_old
    stopped = found.reason == store.THEFT and found.state == "submitted"
    return "held" if stopped else found.revoke_old


async def _whom(request: web.Request, visitor: Visitor) -> store.User:
    user_id = request.match_info.get("user_id")
    if user_id is None:
        return visitor.user
    return await request.app[GATE].ra.database.read(lambda db: member_of(db, visitor, user_id))


def may_see(visitor: Visitor, found: store.Application) -> bool:
    """Whether an application is the visitor's own, or of a 管理者's organisation."""
    # The organisation first: a user ID that was refused there may have been given out elsewhere.
    if found.policy_number != visitor.user.policy_number:
        return False
    return visitor.is_admin or found.user_id == visitor.user.user_id


def seen(db: Transaction, visitor: Visitor, number: int) -> store.Application:
    """An application that the visitor may see. Refusal("not_found") for every other one."""
    found = store.application(db, number)
    if found is None or not may_see(visitor, found):
        raise Refusal("not_found", field="application")
    return found


async def _pending(request: web.Request, whom: store.User) -> store.Application | None:
    """The reissue of this user that waits for a decision."""
    open_ones = await request.app[GATE].ra.database.read(
        lambda db: store.applications(db, state="submitted", user_id=whom.user_id)
    )
    return next((each for each in open_ones if each.kind == "reissue"), None)


async def _reissue_refused(
    request: web.Request, whom: store.User, fields: Mapping[str, str], errors: Mapping[str, Text]
) -> web.StreamResponse:
    pending = await _pending(request, whom)
    return _refused(request, fields, errors, {"pending": pending.id} if pending is not None else {})


def _refused(
    request: web.Request,
    fields: Mapping[str, str],
    errors: Mapping[str, Text],
    asked: Mapping[str, Any] = MappingProxyType({}),
) -> web.StreamResponse:
    """Back to the form, with what was typed but for the password, and what it asks."""
    values = typed(fields, *_ADDITION_FIELDS, "reason", "revoke_old")
    return tell(request, request.path, {"values": values, "errors": dict(errors), **asked})
