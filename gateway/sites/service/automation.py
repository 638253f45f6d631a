"""Credentials for a user's automated client: a 管理者 makes them, sees the key once, and ends them."""

from __future__ import annotations

import json
from base64 import b64encode

from aiohttp import web

from enroll import store
from enroll.acme import credentials
from enroll.acme import store as protocol_store
from enroll.acme.credentials import IssuedCredential
from enroll.refusals import Refusal
from gateway.sites.acme import PREFIX
from gateway.sites.service.visitors import Visitor, member_of, unconfirmed
from gateway.sites.service.words import DONE
from gateway.web.context import Role
from gateway.web.pages import GATE, form, render, see_other, tell, told, told_texts
from gateway.web.words import Text

_PROFILE = "client-automated"


async def credential_list(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A member's credentials, without their keys."""
    state = told(request)
    return await _page(
        request,
        visitor,
        await _member(request, visitor),
        again=state.get("again", False),
        errors=told_texts(state),
    )


async def create_credential(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Makes one and shows its key in this very answer, which nobody keeps.

    ``known`` is how many the form's page listed: sending the form again, as reloading does, makes no
    further one.
    """
    member = await _member(request, visitor)
    ra = request.app[GATE].ra
    fields = await form(request)
    errors = await unconfirmed(request, visitor, fields)
    if errors:
        return tell(request, request.path, {"errors": errors})
    if fields.get("known", "") != str(len(await _credentials(request, member))):
        return tell(request, request.path, {"again": True})
    made = await credentials.create(
        ra, member.user_id, actor=visitor.user.user_id, profile=_PROFILE, limit=True
    )
    return await _page(request, visitor, member, made=made[0])


async def withdraw_credential(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Ends one of the member's credentials; certificates made with it live on."""
    member = await _member(request, visitor)
    kid = (await form(request)).get("kid", "")
    if kid not in {each.kid for each in await _credentials(request, member)}:
        raise Refusal("not_found", field="kid")
    await credentials.withdraw(request.app[GATE].ra, kid, actor=visitor.user.user_id)
    return see_other(f"/portal/members/{member.user_id}/credentials?done=withdrawn")


async def _member(request: web.Request, visitor: Visitor) -> store.User:
    user_id = request.match_info["user_id"]
    return await request.app[GATE].ra.database.read(lambda db: member_of(db, visitor, user_id))


async def _credentials(request: web.Request, member: store.User) -> list[protocol_store.Credential]:
    database = request.app[GATE].ra.database
    return await database.read(lambda db: protocol_store.credentials_of(db, member.user_id))


async def _page(
    request: web.Request,
    visitor: Visitor,
    member: store.User,
    *,
    made: IssuedCredential | None = None,
    again: bool = False,
    errors: dict[str, Text] | None = None,
) -> web.StreamResponse:
    found = await _credentials(request, member)
    # What `sekisho eab create --json` prints, for clients that take it as a file.
    file = "" if made is None else json.dumps({"credentials": [made.to_json()]}, indent=2)
    return render(
        request,
        "credentials.html",
        status=409 if again else 422 if errors else 200,
        errors=errors or {},
        visitor=visitor,
        here="members",
        done=DONE.get(request.query.get("done", "")) if request.method == "GET" else None,
        member=member,
        action=f"/portal/members/{member.user_id}/credentials",
        credentials=found,
        made=made,
        file=file,
        # A link that holds the file: nothing is fetched again, and it works without a script.
        encoded=b64encode(file.encode()).decode(),
        filename=f"eab-{made.kid}.json" if made else "",
        again=again,
        directory=request.app[GATE].origins[Role.PICKUP] + PREFIX + "/directory",
    )
