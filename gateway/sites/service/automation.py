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


async def withdrawal_form(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Asks first: which credentials, whose, what stops working, and that it cannot be taken back."""
    member = await _member(request, visitor)
    return render(
        request,
        "credential_end.html",
        visitor=visitor,
        here="members",
        member=member,
        credential=await _credential(request, member),
        action=request.path,
        back=_list_of(member),
    )


async def withdraw_credential(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Ends one of the member's credentials; certificates made with it live on."""
    member = await _member(request, visitor)
    found = await _credential(request, member)
    await credentials.withdraw(request.app[GATE].ra, found.kid, actor=visitor.user.user_id)
    return see_other(f"{_list_of(member)}?done=withdrawn")


def _list_of(member: store.User) -> str:
    return f"/portal/members/{member.user_id}/credentials"


async def _credential(request: web.Request, member: store.User) -> protocol_store.Credential:
    """The one in the path, if it is the member's."""
    kid = request.match_info["kid"]
    for each in await _credentials(request, member):
        if each.kid == kid:
            return each
    raise Refusal("not_found", field="kid")


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
        action=_list_of(member),
        credentials=found,
        made=made,
        file=file,
        # A link that holds the file: nothing is fetched again, and it works without a script.
        encoded=b64encode(file.encode()).decode(),
        filename=f"eab-{made.kid}.json" if made else "",
        again=again,
        directory=request.app[GATE].origins[Role.PICKUP] + PREFIX + "/directory",
    )
