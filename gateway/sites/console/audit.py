"""監査: the record, searched over all of it, page by page, and as a file with the signed head."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ca.errors import ConfigError
from ca.storage import Transaction
from enroll import listings, store
from enroll.identifiers import number_in, valid_user_id
from enroll.jst import start_of
from enroll.listings import Acts
from enroll.operators import trail
from enroll.refusals import Refusal
from gateway.sites.console.actwords import words_of
from gateway.sites.console.asking import show
from gateway.sites.console.narrowing import typed_day
from gateway.sites.console.visitors import Visitor, refuse
from gateway.web.pages import GATE, language_of, see_other
from gateway.web.spreadsheet import MARK, csv_lines
from gateway.web.words import Text, Words, place_of

log = logging.getLogger("sekisho.console")

_PAGE, _PART = 50, 1_000
_BEYOND = 2**62
# Of what somebody typed so much is looked for.
_LONGEST = 200
#: What narrows the record: names in the address.
FIELDS = ("about", "actor", "act", "from", "to")
_WRONG: Text = ("日付を入力してください（例：2026-05-01）。", "Please give a day, such as 2026-05-01.")
_RESULTS: Mapping[str, tuple[Text, str]] = {
    "done": (("実行", "done"), "good"),
    "refused": (("拒否", "refused"), "warn"),
    "failed": (("失敗", "failed"), "bad"),
}
NOT_SIGNED = Words(
    503,
    ("ファイルを作成できません", "The file cannot be made"),
    (
        "記録の末尾に署名できなかったため、ファイルを作成していません。署名の処理が停止している可能性があります。",
        "The end of the record could not be signed, so there is no file: what signs may have stopped.",
    ),
    (
        "サーバーの管理者に、sekisho doctor の確認をご依頼ください。",
        "Please ask who runs the server to look at sekisho doctor.",
    ),
)
#: Of a file: a column of the record and its heading.
_COLUMNS: Mapping[str, Text] = {
    "id": ("番号", "Number"),
    "at": ("日時（UNIX時刻）", "When (Unix time)"),
    "actor": ("操作した人", "Who"),
    "action": ("操作", "What"),
    "subject": ("対象", "On what"),
    "why": ("理由", "Why"),
    "result": ("結果", "Result"),
    "detail": ("詳細", "Detail"),
    "hash": ("ハッシュ値", "Hash"),
}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Fifty lines, and how many there are in all."""
    ra, typed = request.app[GATE].ra, _typed(request)
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
        lambda db: trail.page(db, visitor.actor, _about(db, typed, wanted), last, _PAGE)
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


async def export(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What was searched for as a file, a page at a time: each line, then the signed head of the record.
    Counted, and told in the trail before (O21)."""
    gate, typed, form = request.app[GATE], _typed(request), FORMS[request.match_info["form"]]
    ra, language = gate.ra, place_of(language_of(request))
    try:
        wanted = _wanted(typed)
    except Refusal:
        return see_other(f"/audit?{request.query_string}")

    def work(db: Transaction) -> tuple[Acts, int, int]:
        seen = trail.permitted(visitor.actor, _about(db, typed, wanted))
        return seen, listings.count_audit(db, seen), store.audit_counted(db)

    # What is written from here on is not in the file: it has as many lines as it says.
    seen, counted, newest = await ra.database.read_aside(work)
    asked = {name: value for name, value in typed.items() if value}
    await ra.database.write(
        lambda db: store.audit(
            *(db, ra.now(), visitor.actor.name, "audit.exported", "audit"), rows=counted, asked=asked
        )
    )
    try:
        head = await gate.head() if gate.head is not None else None
    except ConfigError as nobody:
        log.error("no head for an export of the record: %s", nobody)
        head = None
    if head is None:
        return await refuse(request, NOT_SIGNED, "audit.not_signed", visitor)

    async def streamed() -> AsyncIterator[bytes]:
        yield form.begin(language)
        last = newest + 1
        while found := await ra.database.read_aside(
            lambda db: listings.audit_before(db, seen, last, _PART, counted)  # noqa: B023
        ):
            yield form.lines(found)
            last = int(found[-1]["id"])
        yield form.end(head)

    name = f"audit-{newest}.{request.match_info['form']}"
    headers = {"Content-Type": form.media_type, "Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=streamed(), headers=headers)


@dataclass(frozen=True)
class _Form:
    """How a file is written: its beginning in a language, lines of it, and the signed head."""

    media_type: str
    begin: Callable[[int], bytes]
    lines: Callable[[Sequence[Mapping[str, Any]]], bytes]
    end: Callable[[Mapping[str, Any]], bytes]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _row(line: Mapping[str, Any]) -> list[str]:
    return ["" if line[name] is None else str(line[name]) for name in _COLUMNS]


NAMES = "csv|jsonl"
FORMS: Mapping[str, _Form] = {
    # As `sekisho audit export` has them.
    "jsonl": _Form(
        "application/jsonl",
        lambda language: b"",
        lambda lines: b"".join(_json({"line": {**each}}) for each in lines),
        _json,
    ),
    "csv": _Form(
        "text/csv; charset=utf-8",
        lambda language: MARK + csv_lines([[words[language] for words in _COLUMNS.values()]]),
        lambda lines: csv_lines(map(_row, lines)),
        lambda head: csv_lines([["checkpoint", json.dumps(head)]]),
    ),
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


def _typed(request: web.Request) -> dict[str, str]:
    return {name: request.query.get(name, "").strip()[:_LONGEST] for name in FIELDS}


def _wanted(typed: Mapping[str, str]) -> Acts:
    """What the fields say, but for whom it is about. Refusal with the field of a day that is none."""
    until = typed_day(typed, "to")
    since = typed_day(typed, "from")
    return Acts(
        actor=typed["actor"] or None,
        action=typed["act"] or None,
        since=None if since is None else start_of(since),
        before=None if until is None else start_of(until + timedelta(days=1)),
    )


def _about(db: Transaction, typed: Mapping[str, str], wanted: Acts) -> Acts:
    return trail.about(db, typed["about"], wanted) if typed["about"] else wanted
