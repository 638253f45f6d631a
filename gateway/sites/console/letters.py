"""メール・はがき: what was written to whom, what became of it, and once more what tells no secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from ca.storage import Transaction
from enroll import store
from enroll.identifiers import number_in, typed_user_id
from enroll.jst import start_of
from enroll.listings import Letters
from enroll.mail.states import Pace
from enroll.operators import letters, registers
from enroll.operators.letters import PAGE, Whole
from enroll.operators.roles import Act
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.store import User
from gateway.sites.console.asking import show
from gateway.sites.console.finding_words import (
    CHANNELS,
    LETTER_EVENTS,
    LETTER_GROUPS,
    LETTER_STATES,
    LETTERS,
    REMEDIES,
    SAID,
    SENT_AGAIN,
)
from gateway.sites.console.narrowing import typed_day
from gateway.sites.console.visitors import Visitor
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import REFUSALS, Text

LIST, OUTCOME, RELEASE = "/letters", "/letters/bulk", "/letters/release"
LETTER = "/letters/{number:[0-9]{1,15}}"
#: Field of the address -> what may stand there.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "state": ("", *LETTER_STATES, *LETTER_GROUPS),
    "kind": ("", *LETTERS),
    "channel": ("", *CHANNELS),
}
_TYPED = ("user_id", "from", "to")
#: What narrows the list: names in the address.
FILTERS = (*_CHOICES, *_TYPED)
_WRONG: Text = ("日付を入力してください（例：2026-05-01）。", "Please give a day, such as 2026-05-01.")


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Letters, newest first, narrowed as the address says. Whose they are is noted."""
    ra, query = request.app[GATE].ra, request.query
    chosen = _chosen(query)
    last = number_in(query.get("before", ""), 15)
    if query.get("before") and last is None:
        raise Refusal("invalid_input", field="before")
    wanted, wrong = _wanted(chosen)
    page = None
    if not wrong:
        page = await ra.database.read_aside(lambda db: letters.listed(db, ra, visitor.actor, wanted, last))
        whose = list(dict.fromkeys(row.letter["user_id"] for row in page.rows if row.letter["user_id"]))
        if whose:
            await letters.note_letters(ra, visitor.actor, "letters.seen", "letters", users=whose)
    narrowed = {name: value for name, value in chosen.items() if value}
    state = told(request)
    return show(
        request,
        "letters.html",
        visitor,
        status=422 if wrong else 200,
        page=page,
        chosen=chosen,
        narrowed=narrowed,
        wrong=wrong,
        following=_address(narrowed, page.following) if page is not None and page.following else "",
        begin=_address(narrowed) if last is not None else "",
        back=urlencode([*narrowed.items(), *([("before", str(last))] if last is not None else [])]),
        error=state.get("error", ""),
        ticked=state.get("ticked", ()),
        said=SAID.get(query.get("done", "")),
        release=_release_of(chosen["user_id"]) if chosen["state"] == "held" else "",
        **_WORDS,
    )


def asked(_: RegistrationAuthority, query: Mapping[str, str]) -> tuple[Letters, Mapping[str, str]]:
    """What an address asks for, and what of it narrows the list. Refusal with the field at fault."""
    chosen = _chosen(query)
    wanted, wrong = _wanted(chosen)
    if wrong:
        raise Refusal("invalid_input", field=next(iter(wrong)))
    return wanted, {name: value for name, value in chosen.items() if value}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: its words with every secret masked, what happened to it, and what there is to do."""
    ra, number = request.app[GATE].ra, int(request.match_info["number"])
    found: Whole = await ra.database.read(lambda db: letters.one(db, ra, visitor.actor, number))
    whose = found.seen.letter["user_id"]
    await letters.note_letters(ra, visitor.actor, "letter.seen", whose or "letters", letter=number)
    return show(
        request,
        "letter.html",
        visitor,
        found=found,
        row=found.seen,
        letter=found.seen.letter,
        said=SAID.get(told(request).get("said", "") or request.query.get("done", "")),
        **_WORDS,
    )


async def send_again(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """This one once more."""
    number = int(request.match_info["number"])
    here = f"{LIST}/{number}"
    try:
        await letters.send_again(request.app[GATE].ra, visitor.actor, number)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, here, {"said": "not_again"})
    return see_other(f"{here}?done=again")


async def returned(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """This postcard was brought back: with what is written on it."""
    number, fields = int(request.match_info["number"]), await form(request)
    here = f"{LIST}/{number}"
    try:
        await letters.returned(request.app[GATE].ra, visitor.actor, number, fields.get("reason", ""))
    except Refusal as refusal:
        if refusal.code not in ("invalid_input", "conflict"):
            raise
        return tell(request, here, {"said": "no_mark" if refusal.code == "invalid_input" else "not_there"})
    return see_other(f"{here}?done=returned")


async def send_many(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What was ticked in the list, each by itself: what is refused for one is done for the others."""
    ra, fields = request.app[GATE].ra, await form(request)
    numbers = sorted(int(name[1:]) for name in fields if _is_tick(name))
    back = _query(fields.get("back", ""))
    if not numbers or len(numbers) > PAGE:
        told_of = {"error": "no_letters" if not numbers else "many_letters", "ticked": numbers[:PAGE]}
        response = tell(request, LIST, told_of)
        if back:
            response.headers["Location"] += f"&{back}"
        return response
    outcome = list[tuple[int, str]]()
    for number in numbers:
        try:
            done = await letters.send_again(ra, visitor.actor, number, pace=Pace.BY_DAY)
            outcome.append((number, done))
        except Refusal as refusal:
            outcome.append((number, refusal.code))
    return tell(request, OUTCOME, {"outcome": outcome, "back": back})


async def outcome(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What became of each that was ticked."""
    state = told(request)
    rows = [
        (number, *(SENT_AGAIN.get(code) or (REFUSALS[code].title, "bad")))
        for number, code in state.get("outcome", ())
    ]
    return show(
        request,
        "letters_outcome.html",
        visitor,
        rows=rows,
        failed=[row for row in rows if row[2] == "bad"],
        back=f"{LIST}?{state['back']}" if state.get("back") else LIST,
    )


async def held(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What is held back, of all or of one user, and what letting it go would do."""
    ra, user_id = request.app[GATE].ra, typed_user_id(request.query.get("user_id", ""))

    def read(db: Transaction) -> tuple[int, User | None]:
        user = store.user(db, user_id) if user_id else None
        if user_id and user is None:
            raise Refusal("not_found", field="user_id")
        return letters.held(db, visitor.actor, user_id or None), user

    count, user = await ra.database.read(read)
    whose = [user.user_id] if user is not None else []
    await registers.note_reading(ra, visitor.actor, Act.SEARCH, "letters", whose)
    error = told(request).get("error", "")
    return show(request, "letters_release.html", visitor, count=count, user=user, error=error)


async def release(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Lets them go: as many as the page has named, else it is shown again."""
    fields = await form(request)
    user_id, count = typed_user_id(fields.get("user_id", "")), number_in(fields.get("count", ""), 10)
    try:
        if count is None:
            raise Refusal("conflict", field="letters")
        await letters.release(request.app[GATE].ra, visitor.actor, user_id or None, count)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        response = tell(request, RELEASE, {"error": "letters_held"})
        if user_id:
            response.headers["Location"] += f"&{urlencode({'user_id': user_id})}"
        return response
    return see_other(f"{LIST}?{urlencode({'user_id': user_id, 'done': 'released'})}")


def _release_of(typed: str) -> str:
    user_id = typed_user_id(typed)
    return f"{RELEASE}?{urlencode({'user_id': user_id})}" if user_id else RELEASE


def _chosen(query: Mapping[str, str]) -> dict[str, str]:
    """What the address narrows the list by. Refusal("invalid_input") for what no page of ours links to."""
    chosen = {name: query.get(name, "") for name in _CHOICES}
    for name, value in chosen.items():
        if value not in _CHOICES[name]:
            raise Refusal("invalid_input", field=name)
    return chosen | {name: query.get(name, "").strip()[:30] for name in _TYPED}


def _wanted(chosen: Mapping[str, str]) -> tuple[Letters, dict[str, Text]]:
    """What is asked for; with what is wrong with a day."""
    days, wrong = dict[str, int](), dict[str, Text]()
    for name in ("from", "to"):
        try:
            day = typed_day(chosen, name)
        except Refusal:
            wrong[name] = _WRONG
        else:
            if day is not None:
                days[name] = start_of(day if name == "from" else day + timedelta(days=1))
    return Letters(
        state=chosen["state"] or None,
        kind=chosen["kind"] or None,
        channel=chosen["channel"] or None,
        user_id=typed_user_id(chosen["user_id"]) or None,
        since=days.get("from"),
        before=days.get("to"),
    ), wrong


def _address(narrowed: Mapping[str, str], before: int | None = None) -> str:
    query = urlencode({**narrowed, **({"before": str(before)} if before is not None else {})})
    return f"{LIST}?{query}" if query else LIST


def _query(text: str) -> str:
    """Of what a form says it came from: the fields of the list's address, and nothing else."""
    known = (*_CHOICES, *_TYPED, "before")
    return urlencode([(name, value) for name, value in parse_qsl(text) if name in known])


def _is_tick(name: str) -> bool:
    return name[:1] == "n" and number_in(name[1:], 15) is not None


_WORDS: Mapping[str, Any] = {
    "kinds": LETTERS,
    "states": LETTER_STATES,
    "groups": LETTER_GROUPS,
    "events": LETTER_EVENTS,
    "channels": CHANNELS,
    "remedies": REMEDIES,
    "most": PAGE,
}
