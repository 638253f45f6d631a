"""監査: the record, searched over all of it, page by page."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ca.errors import ConfigError
from ca.storage import Transaction
from enroll import store
from enroll.exports.tables import Lines
from enroll.identifiers import number_in, valid_user_id
from enroll.jst import start_of
from enroll.listings import Acts
from enroll.operators import trail
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from gateway.sites.console.actwords import words_of
from gateway.sites.console.asking import show
from gateway.sites.console.narrowing import typed_day
from gateway.sites.console.visitors import Visitor, refuse
from gateway.web.pages import GATE
from gateway.web.words import Text, Words

log = logging.getLogger("sekisho.console")

_PAGE = 50
_BEYOND = 2**62
# Of what somebody typed so much is looked for.
_LONGEST = 200
NOT_VERIFIED = Words(
    503,
    ("記録を検証できません", "The record cannot be verified"),
    (
        "検査点の鍵を取得できなかったため、検証していません。署名の処理が停止している可能性があります。",
        "The key of its checkpoints was not to be had: what signs may have stopped.",
    ),
    (
        "サーバーの管理者に、sekisho doctor の確認をご依頼ください。",
        "Please ask who runs the server to look at sekisho doctor.",
    ),
)
#: What narrows the record: names in the address.
FILTERS = ("about", "actor", "act", "from", "to")
_WRONG: Text = ("日付を入力してください（例：2026-05-01）。", "Please give a day, such as 2026-05-01.")
_RESULTS: Mapping[str, tuple[Text, str]] = {
    "done": (("実行", "done"), "good"),
    "refused": (("拒否", "refused"), "warn"),
    "failed": (("失敗", "failed"), "bad"),
}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Fifty lines, and how many there are in all."""
    ra, typed = request.app[GATE].ra, _typed(request.query)
    before = number_in(request.query.get("before", ""), 15)
    last = _BEYOND if before is None else before
    try:
        wanted = _wanted(typed)
    except Refusal as refusal:
        errors = {refusal.field: _WRONG}
        return show(
            request, "audit.html", visitor, status=422, typed=typed, errors=errors, found=None, query=""
        )
    found = await ra.database.read_aside(
        lambda db: trail.page(
            db, visitor.actor, Lines(wanted, typed["about"], typed["actor"]).acts_in(db), last, _PAGE
        )
    )
    people = await ra.database.read(lambda db: _people(db, found.lines))
    query = urlencode({name: value for name, value in typed.items() if value})
    return show(
        request,
        "audit.html",
        visitor,
        typed=typed,
        errors={},
        found=found,
        first=last == _BEYOND,
        query=query,
        all_of_it=visitor.may("audit"),
        results=_RESULTS,
        acts=words_of,
        plainly=_plainly,
        people=people,
    )


async def verify(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The whole record, line by line: what `sekisho audit verify` finds."""
    gate = request.app[GATE]
    try:
        found = await gate.verified() if gate.verified is not None else None
    except ConfigError as nobody:
        log.error("the record was not verified: %s", nobody)
        found = None
    if found is None:
        return await refuse(request, NOT_VERIFIED, "audit.not_verified", visitor)
    return show(request, "audit_verified.html", visitor, found=found)


def asked(_: RegistrationAuthority, query: Mapping[str, str]) -> tuple[Lines, Mapping[str, str]]:
    """What an address asks for, and what of it narrows the record. Refusal with the field at fault."""
    typed = _typed(query)
    return Lines(_wanted(typed), typed["about"], typed["actor"]), {
        name: value for name, value in typed.items() if value
    }


def _people(db: Transaction, lines: Sequence[Mapping[str, Any]]) -> set[str]:
    """The user IDs of those whom some lines are about."""
    named = {str(each["subject"]) for each in lines}
    return {each for each in named if valid_user_id(each) and store.user(db, each) is not None}


def _plainly(detail: str) -> list[str]:
    """The detail of a line as people read it: what is said, and of what. No line ends within one of them."""
    told = json.loads(detail)
    return [f"{name}: {_words(value)}" for name, value in told.items() if value not in ("", None)]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)


def _typed(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query.get(name, "").strip()[:_LONGEST] for name in FILTERS}


def _wanted(typed: Mapping[str, str]) -> Acts:
    """What the fields say, but for what is looked up: whom it is about, who did it. Refusal with the field of
    a day that is none."""
    until = typed_day(typed, "to")
    since = typed_day(typed, "from")
    return Acts(
        action=typed["act"] or None,
        since=None if since is None else start_of(since),
        before=None if until is None else start_of(until + timedelta(days=1)),
    )
