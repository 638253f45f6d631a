"""照会: one person, for whoever has them on the telephone: who it is, what they see, what to say and do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ca.storage import Transaction
from enroll import generations, store
from enroll.identifiers import number_in
from enroll.listings import Letters
from enroll.mail import store as mail_store
from enroll.operators import applied, asking, helping, letters
from enroll.operators.asking import Proposed
from enroll.operators.helping import Person
from enroll.refusals import Refusal, check_line
from enroll.requests.enrollment import state_at
from enroll.requests.states import LABELS as STATES
from gateway.sites.console import seeing, timeline
from gateway.sites.console.asking import show
from gateway.sites.console.finding_words import KINDS, LETTER_STATES, LETTERS, REMEDIES, REQUESTS, SAID
from gateway.sites.console.visitors import Visitor
from gateway.sites.service.looking import standing_of
from gateway.sites.service.standing import Standing
from gateway.sites.service.words import KINDS as APPLICATIONS
from gateway.web import sessions
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

# Of each so many, newest first.
_LETTERS, _REQUESTS = 20, 10
_RESET = "user.reset_password"


@dataclass(frozen=True)
class Question:
    """What to ask, and how whoever it is would answer. Nothing of it is a secret of the person's."""

    ask: Text
    answer: str
    #: Where the answer is a moment instead.
    at: int | None = None


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The person as the desk needs them. Whoever looks is noted."""
    user_id, gate = request.match_info["user_id"], request.app[GATE]
    ra = gate.ra

    def work(db: Transaction) -> dict[str, Any]:
        found = helping.person(db, visitor.actor, user_id)
        mine, gone = store.enrollments_of(db, user_id), generations.distrusted(db)
        standing = standing_of(db, ra, user_id, gone)
        written = mail_store.listed(db, user_id, _LETTERS)
        return {
            "person": found,
            "standing": standing,
            "held": seeing.held(db, ra, mine, standing.enrollment),
            "mine": mine,
            "letters": [letters.seen(db, ra, each) for each in written],
            "letters_total": letters.count(db, visitor.actor, Letters(user_id=user_id)),
            "address": letters.address_of(db, found.user),
            "events": timeline.events(db, user_id, mine, written),
            "active": store.active_user(db, user_id) is not None,
            "applied": applied.waiting_of(db, visitor.actor, user_id),
            "reset": asking.step_of(db, ra, visitor.actor, _RESET, {"user_id": user_id}),
        }

    found = await ra.database.read(work)
    seen = await seeing.seen(gate, found["active"], found["mine"], found["held"])
    await helping.note_reading(ra, visitor.actor, user_id)
    at = ra.now()
    return show(
        request,
        "caller.html",
        visitor,
        user=found["person"].user,
        organisation=found["person"].organisation,
        active=found["active"],
        reset=found["reset"] if found["active"] else "",
        questions=_questions(found["person"], found["standing"]),
        standing=found["standing"],
        held=found["held"] is not None and found["held"].record.status == "held",
        seen=seen,
        address=found["address"],
        applied=found["applied"],
        application_kinds=APPLICATIONS,
        requests=[(each, STATES[state_at(each, at)]) for each in found["mine"][:_REQUESTS]],
        requests_total=len(found["mine"]),
        letters=found["letters"],
        letters_total=found["letters_total"],
        events=found["events"],
        kinds=KINDS,
        request_kinds=REQUESTS,
        letter_kinds=LETTERS,
        letter_states=LETTER_STATES,
        remedies=REMEDIES,
        said=SAID.get(told(request).get("said", "") or request.query.get("done", "")),
    )


async def note(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Keeps what a call was about."""
    here, fields = _here(request), await form(request)
    try:
        await helping.note_call(
            request.app[GATE].ra, visitor.actor, request.match_info["user_id"], fields.get("note", "")
        )
    except Refusal as refusal:
        if refusal.code != "invalid_input":
            raise
        return tell(request, here, {"said": "no_note"})
    return see_other(f"{here}?done=noted")


async def suspend(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """利用停止, at once and with its reason."""
    here, fields = _here(request), await form(request)
    try:
        stopped = await helping.suspend(
            request.app[GATE].ra, visitor.actor, request.match_info["user_id"], fields.get("reason", "")
        )
    except Refusal as refusal:
        if refusal.code != "invalid_input":
            raise
        return tell(request, here, {"said": "no_reason"})
    return see_other(f"{here}?done={'suspended' if stopped else 'nothing'}")


async def reset(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A first login password anew: a registrar does it, the desk proposes it."""
    here, fields, ra = _here(request), await form(request), request.app[GATE].ra
    user_id, reason = request.match_info["user_id"], fields.get("reason", "").strip()
    payload = {"user_id": user_id}
    try:
        check_line("reason", reason, needed=True)
        done = await asking.ask(ra, visitor.actor, _RESET, payload, reason=reason)
    except Refusal as refusal:
        if refusal.code not in _NO_RESET:
            raise
        return tell(request, here, {"said": _NO_RESET[refusal.code]})
    if isinstance(done, Proposed):
        return see_other(f"/proposals/{done.number}?done=proposed")
    await sessions.end_by(ra, _RESET, payload, done.result, actor=visitor.actor.name)
    user = await ra.database.read(lambda db: store.user(db, user_id))
    assert user is not None
    return see_other(f"{here}?done=reset_{user.notice_by}")


_NO_RESET = {"invalid_input": "no_reset_reason", "user_disabled": "no_reset", "conflict": "proposed_already"}


async def send_again(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A letter once more."""
    here, number = _here(request), number_in((await form(request)).get("letter", ""), 14)
    if number is None:
        raise Refusal("not_found", field="mail")
    try:
        await letters.send_again(request.app[GATE].ra, visitor.actor, number, request.match_info["user_id"])
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, here, {"said": "not_again"})
    return see_other(f"{here}?done=again")


def _here(request: web.Request) -> str:
    return f"/callers/{request.match_info['user_id']}"


def _questions(person: Person, standing: Standing) -> list[Question]:
    user, organisation = person.user, person.organisation
    name = f"{user.name}（{user.reading}）" if user.reading else user.name
    found = [
        Question(
            ("団体名と証券番号をお願いします。", "Your organisation, and its 証券番号?"),
            f"{organisation.name}　{organisation.policy_number}",
        ),
        Question(("お名前をお願いします。", "Your name?"), name),
        Question(("ご登録のメールアドレスをお願いします。", "Your mail address, as registered?"), user.mail),
    ]
    held = standing.enrollment
    if held is not None and held.picked_up_at is not None:
        found.append(
            Question(
                ("証明書を取得された日はいつごろですか。", "About when did you download the certificate?"),
                "",
                held.picked_up_at,
            )
        )
    return found
