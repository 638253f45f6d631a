"""What operators see of themselves: their passkeys and sessions."""

from __future__ import annotations

from aiohttp import web

from ca.storage import Transaction
from enroll.operators import credentials
from enroll.operators import store as operators
from enroll.operators.store import Passkey
from enroll.refusals import Refusal
from gateway.sites.console.asking import SITE, party_of, show
from gateway.sites.console.entry import new_passkey
from gateway.sites.console.passkeys import to_make
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.web import challenges, sessions
from gateway.web.browsers import browser_of
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

ME = "/me"
_FOR_ANOTHER = "another passkey"


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Who one is here, the own passkeys and the own sessions."""
    ra = request.app[GATE].ra

    def work(db: Transaction) -> tuple[list[Passkey], list[dict[str, object]]]:
        number, subject = visitor.operator.number, visitor.session.subject
        return operators.passkeys(db, number), sessions.listed(db, ra.now(), subject)

    passkeys, found = await ra.database.read(work)
    return show(
        request,
        "me.html",
        visitor,
        passkeys=passkeys,
        sessions=[each for each in found if each["site"] == SITE],
        own=visitor.session.token_hash[:16],
        error=told(request).get("error", ""),
        done=request.query.get("done", ""),
    )


async def end_session(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Ends one of the own sessions, or all others."""
    ra, chosen = request.app[GATE].ra, (await form(request)).get("session", "")
    actor, subject = visitor.actor.name, visitor.session.subject
    if chosen == "others":
        await sessions.end_all(ra, subject, actor=actor, but=visitor.session)
    elif chosen:
        await sessions.end_one(ra, chosen, actor=actor, subject=subject)
    return see_other(f"{ME}?done=session")


async def another(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A further passkey: the present one first, then the page on which the browser makes it."""
    ra, fields = request.app[GATE].ra, await form(request)
    display = visitor.operator.display
    what = (f"パスキーの追加：{display}さん", f"Another passkey of {display}")
    asking = await confirmed(request, visitor, fields, what, _ADDED)
    if asking is not None:
        return asking
    known = await ra.database.read(lambda db: operators.passkeys(db, visitor.operator.number))
    told_to = (visitor.operator.identity, visitor.peer.fingerprint, _FOR_ANOTHER)
    challenge = await challenges.ask(ra, *told_to)
    return show(
        request,
        "another.html",
        visitor,
        label=browser_of(request.headers).name,
        challenge=challenge,
        options=to_make(party_of(request.app[GATE]), visitor.operator, challenge, known),
    )


async def add(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Registers what the browser made."""
    fields = await form(request)
    found = await new_passkey(request, visitor.operator, visitor.peer.fingerprint, _FOR_ANOTHER, fields)
    passkey, error = found
    if passkey is None:
        return tell(request, ME, {"error": error})
    try:
        await credentials.add_passkey(request.app[GATE].ra, passkey)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, ME, {"error": "there"})
    return see_other(f"{ME}?done=added")


async def end_passkey(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Removes one of the own passkeys, and never the last."""
    ra, fields, number = request.app[GATE].ra, await form(request), visitor.operator.number
    chosen = fields.get("passkey", "")
    known = await ra.database.read(lambda db: operators.passkeys(db, number))
    label = next((each.label for each in known if each.credential_id == chosen), chosen[:16])
    what = (f"パスキーの削除：{label}", f"Remove the passkey {label}")
    asking = await confirmed(request, visitor, fields, what, _ENDED)
    if asking is not None:
        return asking
    try:
        await credentials.end_passkey(ra, number, chosen)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, ME, {"error": "last"})
    return see_other(f"{ME}?done=ended")


_ADDED: Text = (
    "続けて、このブラウザで新しいパスキーを作成します。そのパスキーでも、あなたとしてログインと決定ができるようになります。"
    "不要になったら「自分の設定」で削除できます。",
    "Next this browser makes a passkey, by which you log in and decide as well. It can be removed under “My "
    "account”.",
)
_ENDED: Text = (
    "このパスキーで始めたログインは直ちに終わり、以後このパスキーは使用できません。取り消せません。",
    "Logins by it end at once, and it opens nothing any more. It cannot be undone.",
)
