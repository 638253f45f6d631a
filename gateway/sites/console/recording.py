"""What is recorded of organisations and users, as forms: tables of fields, read and asked for in one way.

What becomes of it is decided by `asking.ask`: here nobody records anything alone, so that it is proposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from enroll.operators import asking, registers
from enroll.operators.asking import Proposed
from enroll.people.likeness import Alike
from enroll.people.postal import PREFECTURES
from enroll.refusals import Refusal, check_line
from enroll.requests import profiles
from gateway.sites.console import saying
from gateway.sites.console.fields import PASSWORD_BY
from gateway.sites.console.jobwords import reason as told_why
from gateway.sites.console.visitors import Visitor
from gateway.sites.service.words import LANGUAGE_NAMES, NOTICES, ROLES
from gateway.web import sessions
from gateway.web.pages import GATE, see_other, tell
from gateway.web.words import Text

# Of what somebody typed so much comes back, and of those who may be the same so many.
_KEPT, DOUBTS = 300, 3
#: Codes that a form answers for, beside its fields; others are pages of their own.
_TYPED_WRONG = ("invalid_input", "conflict", "not_found", "user_disabled", "profile_unmet")


@dataclass(frozen=True)
class Field:
    """A field of a form, by its name in the register. ``choices``: what there is to choose; None: text; with
    nothing in it: what `choices_of` has."""

    name: str
    most: int = 100
    needed: bool = False
    choices: Mapping[str, Text] | None = None
    #: What is chosen where nobody has; what stands for nothing.
    chosen: str = ""
    empty: Text = ("", "")


#: Where postcards go.
POSTAL: tuple[Field, ...] = (
    Field("postal_code", 9),
    Field("prefecture", choices={}, empty=("（なし）", "(none)")),
    *(Field(name, 60) for name in ("city", "street", "building", "addressee")),
)
#: An organisation's, in the order of the form. The choices of ``profile`` are the configuration's.
ORGANISATION: tuple[Field, ...] = (
    Field("policy_number", 20, needed=True),
    Field("name", needed=True),
    Field("issue_password_by", choices=PASSWORD_BY, needed=True, chosen="mail"),
    Field("lineages", 4),
    Field("profile", choices={}, empty=("設定のとおり", "as in the settings")),
    Field("country", 2),
    *POSTAL,
)
#: A user's.
USER: tuple[Field, ...] = (
    Field("policy_number", 20, needed=True),
    Field("name", needed=True),
    Field("reading"),
    Field("mail", 254, needed=True),
    Field("role", choices=ROLES, needed=True, chosen="member"),
    Field("notice_by", choices=NOTICES, needed=True, chosen="mail"),
    Field("language", choices=LANGUAGE_NAMES, needed=True, chosen="ja"),
    Field("department"),
    Field("principal"),
    *POSTAL,
)
#: Somebody new may have a user ID that was wished for.
NEW_USER: tuple[Field, ...] = (*USER, Field("user_id", 12))


def read(fields: Mapping[str, str], table: Sequence[Field]) -> dict[str, str]:
    """What was typed into a form."""
    return {each.name: fields.get(each.name, "").strip() for each in table}


def shown(record: Any, table: Sequence[Field]) -> dict[str, str]:
    """What stands in the register, as the form has it."""
    found = {each.name: getattr(record, each.name) for each in table}
    return {name: "" if value is None else str(value) for name, value in found.items()}


def different(typed: Mapping[str, str], record: Any, table: Sequence[Field]) -> dict[str, str]:
    """Of what was typed what is not as it stands."""
    stands = shown(record, table)
    return {name: value for name, value in typed.items() if value != stands[name]}


def labels(kind: str, table: Sequence[Field]) -> dict[str, Text]:
    """What the fields are called."""
    return {each.name: saying.label_of(kind, each.name) for each in table}


def choices_of(request: web.Request) -> dict[str, Mapping[str, Text]]:
    """What there is to choose that is called by its name in both languages: profiles and prefectures."""
    known = {"profile": profiles.of_people(request.app[GATE].ra), "prefecture": PREFECTURES}
    return {name: {each: (each, each) for each in values} for name, values in known.items()}


async def ask(
    request: web.Request,
    visitor: Visitor,
    kind: str,
    payload: Mapping[str, Any],
    reason: str,
    here: str,
    fields: Mapping[str, str],
    doubts: Sequence[Alike] = (),
    mark: str = "",
) -> web.Response:
    """Asks for it, with a reason. ``here``: the page of its form, which shows what was wrong, and ``fields``,
    which were typed, again. ``doubts``: who may be the same, if somebody may, by ``mark``."""
    ra = request.app[GATE].ra
    values = {name: value[:_KEPT] for name, value in fields.items() if name not in ("token", "alike")}
    try:
        check_line("reason", reason, needed=True)
        if doubts:
            raise Refusal("conflict", field="alike")
        done = await asking.ask(ra, visitor.actor, kind, payload, reason=reason)
    except Refusal as refusal:
        if refusal.code not in _TYPED_WRONG:
            raise
        await registers.note_refusal(ra, visitor.actor, refusal)
        await registers.note_alike(ra, visitor.actor, doubts[:DOUBTS])
        told: dict[str, Any] = {
            "kind": kind,
            "values": values,
            "wrong": [refusal.code, refusal.field, refusal.detail[:300]],
        }
        told |= {"doubts": [vars(each) for each in doubts[:DOUBTS]], "mark": mark}
        return tell(request, here, told)
    if isinstance(done, Proposed):
        return see_other(f"/proposals/{done.number}?done=proposed")
    await sessions.end_by(ra, kind, payload, done.result, actor=visitor.actor.name)
    return see_other(f"{here}?done=recorded")


def again(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a page is shown of a form that was refused: which one, what was typed, and what is wrong, beside a
    field or above them all."""
    if "wrong" not in state:
        return {"sent": "", "values": {}, "errors": {}, "doubts": [], "mark": ""}
    code, field, detail = state["wrong"]
    problem = Refusal(code, field=field, detail=detail)
    return {
        "sent": state["kind"],
        "values": state["values"],
        "errors": {field: (told_why(problem, "ja"), told_why(problem, "en"))},
        "doubts": [Alike(**each) for each in state["doubts"]],
        "mark": state["mark"],
    }
