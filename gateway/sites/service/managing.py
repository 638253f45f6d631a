"""What a 管理者 changes about the own organisation's users, and what people take back of their applications.

Each leaves its line in the trail under whoever did it; users of another organisation are not found.
"""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from ca.storage import Transaction
from enroll import store
from enroll.people import applications
from enroll.people.changes import change_user
from enroll.people.likeness import sharers
from enroll.people.register import disable_user
from enroll.refusals import Refusal
from gateway.sites.service.applying import name_of, seen
from gateway.sites.service.asking import question, shown, unanswered
from gateway.sites.service.visitors import Visitor, member_of, unconfirmed
from gateway.sites.service.words import KINDS, field_error
from gateway.web import sessions
from gateway.web.afterwards import typed
from gateway.web.pages import GATE, form, render, see_other, tell, told, told_texts


async def mail_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    member, state = await _member(request, visitor), told(request)
    errors = told_texts(state)
    return render(
        request,
        "mail.html",
        status=422 if errors else 200,
        visitor=visitor,
        here="members",
        member=member,
        typed=state.get("mail", member.mail),
        errors=errors,
        action=request.path,
        **shown(state),
    )


async def change_mail(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A member's other mail address: what still waits goes there, what was sent is not sent again (R16).

    Whether it is meant is asked where somebody else has the address.
    """
    member, fields = await _member(request, visitor), await form(request)
    ra, wanted = request.app[GATE].ra, fields.get("mail", "")
    found = await ra.database.read(lambda db: sharers(db, member, wanted))
    # Of the own organisation: nobody learns who else's address it is.
    asked = question([each for each in found if each.policy_number == member.policy_number], fields)
    errors = unanswered(asked) | await unconfirmed(request, visitor, fields)
    if errors:
        return tell(request, request.path, typed(fields, "mail") | {"errors": errors} | asked)
    try:
        await change_user(ra, member.user_id, {"mail": wanted}, actor=visitor.user.user_id)
    except Refusal as refusal:
        if refusal.field != "mail":
            raise
        return tell(request, request.path, typed(fields, "mail") | {"errors": field_error(refusal)})
    return see_other(f"/portal/members/{member.user_id}?done=mail")


async def suspension_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    member, errors = await _member(request, visitor), told_texts(told(request))
    own = member.user_id == visitor.user.user_id
    pending = await request.app[GATE].ra.database.read(
        lambda db: store.applications(db, state="submitted", user_id=member.user_id)
    )
    return render(
        request,
        "suspension.html",
        pending=pending,
        status=403 if own else 422 if errors else 200,
        visitor=visitor,
        here="members",
        member=member,
        errors=errors,
        action=request.path,
    )


async def suspend(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A leaver: no login, no mails, every certificate revoked, every session ended (E27). Only the desk takes
    it back. Nobody does that to oneself, so that an organisation keeps a 管理者."""
    ra, member = request.app[GATE].ra, await _member(request, visitor)
    if member.user_id == visitor.user.user_id:
        return see_other(request.path)
    errors = await unconfirmed(request, visitor, await form(request))
    if errors:
        return tell(request, request.path, {"errors": errors})
    if member.disabled_at is None:
        await disable_user(ra, member.user_id, actor=visitor.user.user_id)
        await sessions.end_all(ra, member.user_id, actor=visitor.user.user_id)
    return see_other(f"/portal/members/{member.user_id}?done=suspended")


async def withdrawal_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Asks first: what is withdrawn, about whom, what comes of it, and that it cannot be taken back."""
    number = int(request.match_info["number"])

    def work(db: Transaction) -> tuple[store.Application, str]:
        found = seen(db, visitor, number)
        return found, name_of(db, found)

    found, name = await request.app[GATE].ra.database.read(work)
    standing = _withdrawable(found)
    return render(
        request,
        "withdrawal.html",
        status={"theft": 403, "decided": 409}.get(standing, 200),
        visitor=visitor,
        here="applications",
        application=found,
        name=name,
        standing=standing,
        kinds=KINDS,
        action=request.path,
    )


def _withdrawable(found: store.Application) -> Literal["open", "theft", "withdrawn", "decided"]:
    if found.state == "withdrawn":
        return "withdrawn"
    if found.state != "submitted":
        return "decided"
    return "theft" if found.reason == store.THEFT else "open"


async def withdraw_application(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Of the own organisation for a 管理者, one's own for everybody else; pressing twice is pressing once."""
    ra, number = request.app[GATE].ra, int(request.match_info["number"])
    found = await ra.database.read(lambda db: seen(db, visitor, number))
    if found.state != "withdrawn":
        await applications.withdraw(ra, number, actor=visitor.user.user_id)
    return see_other(f"/portal/applications/{number}?done=application_withdrawn")


async def _member(request: web.Request, visitor: Visitor) -> store.User:
    user_id = request.match_info["user_id"]
    return await request.app[GATE].ra.database.read(lambda db: member_of(db, visitor, user_id))
