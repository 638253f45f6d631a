"""申請の受付: a form for what came on paper or by telephone. Somebody else decides it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from enroll import identifiers
from enroll.languages import LANGUAGES
from enroll.operators import registers, taking
from enroll.people.applications import REASONS, Recorded
from enroll.people.likeness import Alike, mark_of
from enroll.people.postal import FIELDS
from enroll.people.register import Person, wrong_fields
from enroll.refusals import Refusal
from gateway.sites.console import recording
from gateway.sites.console.asking import show
from gateway.sites.console.fields import ENDS
from gateway.sites.console.jobwords import reason
from gateway.sites.console.recording import DOUBTS, POSTAL
from gateway.sites.console.visitors import Visitor
from gateway.sites.service.words import LANGUAGE_NAMES, NOTICES, ROLES
from gateway.web.afterwards import typed
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

HERE = "/applications/new"
_PERSON = ("policy_number", "name", "reading", "mail", "user_id", "role", "notice_by", "language", *FIELDS)
_REISSUE = ("whose", "reason", "revoke_old")
#: Field -> what is said beside it.
_ERRORS: Mapping[str, Text] = {
    "policy_number": (
        "登録のある証券番号を入力してください。",
        "Enter the policy number of an organisation that is recorded.",
    ),
    "name": (
        "氏名を100文字以内で入力してください。同じ人がすでに登録されている場合は、再発行として受け付けてください。",
        "Enter a name of up to 100 characters; take in a reissue for somebody who is recorded already.",
    ),
    "reading": ("フリガナを100文字以内で入力してください。", "Write the reading in up to 100 characters."),
    "mail": ("メールアドレスの形式で入力してください。", "Enter an email address."),
    "user_id": (
        "半角の英字と数字、4～12文字で、使用されていないものを入力してください。",
        "Enter 4 to 12 characters, A–Z and 0–9, that nobody has.",
    ),
    "role": ("選択してください。", "Choose one."),
    "notice_by": ("選択してください。", "Choose one."),
    "language": ("選択してください。", "Choose one."),
    "whose": (
        "利用できる利用者のユーザーIDを入力してください。",
        "Enter the user ID of somebody who is in use.",
    ),
    "reason": ("選択してください。", "Choose one."),
    "alike": (
        "下の方と同じ人でないことを確認し、チェックしてください。",
        "Make sure that it is nobody of those below, and tick the box.",
    ),
}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Both forms, with what was typed."""
    state, whose = told(request), request.query.get("whose", "")[:12]
    return show(
        request,
        "application_new.html",
        visitor,
        values=state.get("values") or {"whose": whose},
        errors={name: _ERRORS.get(name) or _of_address(name) for name in state.get("errors", ())},
        kind=state.get("kind", "") or ("reissue" if whose else ""),
        doubts=[Alike(**each) for each in state.get("doubts", ())],
        mark=state.get("mark", ""),
        reasons=REASONS,
        ends={name: ENDS[name] for name in ("on_pickup", "at_once")},
        roles=ROLES,
        notices=NOTICES,
        languages=LANGUAGE_NAMES,
        postal=POSTAL,
        labels=recording.labels("user.add", POSTAL),
        choices=recording.choices_of(request),
    )


def _of_address(field: str) -> Text:
    """What is wrong with a field of an address, as everywhere where one is typed."""
    wrong = Refusal("invalid_input", field=field)
    return (reason(wrong, "ja"), reason(wrong, "en"))


async def take_in(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Records what somebody applies for."""
    fields = await form(request)
    if fields.get("kind") == "reissue":
        return await _reissue(request, visitor, fields)
    return await _addition(request, visitor, fields)


async def _reissue(request: web.Request, visitor: Visitor, fields: Mapping[str, str]) -> web.StreamResponse:
    ra, when = request.app[GATE].ra, fields.get("revoke_old", "")
    if fields.get("reason") not in REASONS:
        return _refused(request, fields, "reissue", ["reason"])
    user_id = identifiers.typed_user_id(fields.get("whose", ""))
    try:
        recorded = await taking.take_in_reissue(
            ra,
            visitor.actor,
            user_id,
            fields["reason"],
            "at_once" if when == "at_once" else "on_pickup" if when == "on_pickup" else None,
        )
    except Refusal as refusal:
        if refusal.code in ("not_found", "user_disabled"):
            return _refused(request, fields, "reissue", ["whose"])
        raise
    return see_other(_taken(recorded))


async def _addition(request: web.Request, visitor: Visitor, fields: Mapping[str, str]) -> web.StreamResponse:
    ra = request.app[GATE].ra
    wanted: dict[str, Any] = {name: fields.get(name, "").strip() for name in _PERSON}
    wanted["language"] = wanted["language"] or LANGUAGES[0]
    person = Person(**wanted)
    if wrong := wrong_fields(person):
        return _refused(request, fields, "addition", list(wrong))
    found = await ra.database.read(lambda db: taking.doubts(db, person))
    mark = mark_of(found)
    if mark and fields.get("alike") != mark:
        shown = found[:DOUBTS]
        await registers.note_alike(ra, visitor.actor, shown)
        doubts = [vars(each) for each in shown]
        return _refused(request, fields, "addition", ["alike"], doubts=doubts, mark=mark)
    try:
        recorded = await taking.take_in_addition(ra, visitor.actor, person)
    except Refusal as refusal:
        if refusal.field in _PERSON:
            return _refused(request, fields, "addition", [refusal.field])
        raise
    return see_other(_taken(recorded))


def _taken(recorded: Recorded) -> str:
    return f"/applications/{recorded.number}?done={'already' if recorded.already else 'taken'}"


def _refused(
    request: web.Request, fields: Mapping[str, str], kind: str, errors: list[str], **more: Any
) -> web.Response:
    """Back to the form, with what was typed."""
    values = typed(fields, *(_REISSUE if kind == "reissue" else _PERSON))
    return tell(request, HERE, {"kind": kind, "values": values, "errors": errors, **more})
