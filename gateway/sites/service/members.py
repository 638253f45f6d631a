"""What a 管理者 sees of the own organisation's users, and of no other organisation's."""

from __future__ import annotations

from aiohttp import web

from enroll import store
from enroll.mail import writing
from enroll.ra import RegistrationAuthority
from gateway.sites.service.portal import certificates_of
from gateway.sites.service.standing import Standing, standing, steps
from gateway.sites.service.visitors import Visitor, member_of
from gateway.sites.service.words import DECISIONS, DONE, KINDS, ROLES
from gateway.web.pages import GATE, render


async def member_list(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Every user of the organisation with the state of the certificate."""
    ra = request.app[GATE].ra
    db = ra.database.read()
    rows = [(user, _standing(ra, user.user_id)) for user in store.users(db, visitor.user.policy_number)]
    return render(request, "members.html", visitor=visitor, here="members", rows=rows, roles=ROLES)


async def member_page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One user: progress, certificates and applications."""
    ra = request.app[GATE].ra
    db = ra.database.read()
    member = member_of(db, visitor, request.match_info["user_id"])
    enrollments = store.enrollments_of(db, member.user_id)
    letters = writing.listed(db, member.user_id)
    newest = next((e for e in enrollments if e.kind != "renewal"), None)
    presented = visitor.source.serial if member.user_id == visitor.user.user_id else None
    return render(
        request,
        "member.html",
        visitor=visitor,
        here="members",
        done=DONE.get(request.query.get("done", "")),
        member=member,
        roles=ROLES,
        standing=_standing(ra, member.user_id),
        flow=steps(newest, member.created_at, letters) if newest is not None else (),
        certificates=certificates_of(ra, member, presented),
        applications=store.applications(db, user_id=member.user_id),
        kinds=KINDS,
        decisions=DECISIONS,
    )


def _standing(ra: RegistrationAuthority, user_id: str) -> Standing:
    db, warn_days = ra.database.read(), ra.settings.renewal_days
    theft = store.theft_reported(db, user_id)
    return standing(store.enrollments_of(db, user_id), ra.now(), warn_days, theft=theft)
