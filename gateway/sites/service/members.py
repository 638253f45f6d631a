"""What a 管理者 sees of the own organisation's users, and of no other organisation's."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ca.storage import Transaction
from enroll import generations, store
from enroll.mail import store as mail_store
from enroll.ra import RegistrationAuthority
from gateway.sites.service.looking import standing_of
from gateway.sites.service.portal import certificates_of
from gateway.sites.service.standing import Standing, steps
from gateway.sites.service.visitors import Visitor, member_of
from gateway.sites.service.words import DECISIONS, DONE, KINDS, ROLES
from gateway.web.pages import GATE, render


async def member_list(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Every user of the organisation with the state of the certificate."""
    ra, policy_number = request.app[GATE].ra, visitor.user.policy_number
    rows = await ra.database.read(lambda db: _standings(db, ra, policy_number))
    return render(request, "members.html", visitor=visitor, here="members", rows=rows, roles=ROLES)


async def member_page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One user: progress, certificates and applications."""
    ra, user_id = request.app[GATE].ra, request.match_info["user_id"]
    shown = await ra.database.read(lambda db: _shown(db, ra, visitor, user_id))
    return render(
        request,
        "member.html",
        visitor=visitor,
        here="members",
        done=DONE.get(request.query.get("done", "")),
        roles=ROLES,
        kinds=KINDS,
        decisions=DECISIONS,
        **shown,
    )


def _shown(db: Transaction, ra: RegistrationAuthority, visitor: Visitor, user_id: str) -> dict[str, Any]:
    """What the page of a user says, out of one state of the database."""
    member = member_of(db, visitor, user_id)
    newest = next((e for e in store.enrollments_of(db, user_id) if e.kind != "renewal"), None)
    letters = mail_store.listed(db, user_id)
    presented = visitor.source.serial if user_id == visitor.user.user_id else None
    return {
        "member": member,
        "standing": _standing(db, ra, user_id),
        "flow": steps(newest, member.created_at, letters) if newest is not None else (),
        "certificates": certificates_of(db, ra, member, presented),
        "applications": store.applications(db, user_id=user_id),
    }


def _standing(db: Transaction, ra: RegistrationAuthority, user_id: str) -> Standing:
    return standing_of(db, ra, user_id, generations.distrusted(db))


def _standings(
    db: Transaction, ra: RegistrationAuthority, policy_number: str
) -> list[tuple[store.User, Standing]]:
    gone = generations.distrusted(db)
    return [(user, standing_of(db, ra, user.user_id, gone)) for user in store.users(db, policy_number)]
