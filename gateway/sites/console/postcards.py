"""はがき: what waits to be printed, and the batches in which it is; who fetches the passwords is asked for
the passkey, and is in the trail."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web

from ca.errors import ConfigError
from ca.storage import Transaction
from enroll.identifiers import number_in, typed_user_id
from enroll.operators import registers
from enroll.operators.roles import Act
from enroll.operators.viewing import Names, names_in
from enroll.postcards import batches
from enroll.postcards import store as batch_store
from enroll.postcards.batches import Waiting
from enroll.postcards.card import Unprintable
from enroll.postcards.states import LABELS, OPEN, State
from enroll.postcards.store import Batch
from enroll.refusals import Refusal
from gateway.sites.console import saying
from gateway.sites.console.asking import show
from gateway.sites.console.finding_words import LETTERS
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

POSTCARDS = "/postcards"
BATCH = POSTCARDS + "/{number:[0-9]{1,12}}"
_PAGE = 50
_COLOURS = {State.MAKING: "warn", State.READY: "warn", State.PRINTED: "good", State.CANCELLED: "plain"}
#: State of a batch -> words and the colour of its chip.
STATES: Mapping[str, tuple[Text, str]] = MappingProxyType(
    {str(state): (LABELS[state], _COLOURS[state]) for state in State}
)


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What waits, and the batches, newest first: that are open, or all."""
    ra, every = request.app[GATE].ra, request.query.get("state") == "all"
    typed, behind = (number_in(request.query.get(name, ""), 14) for name in ("before", "after"))
    before = 2**62 if typed is None else typed

    def read(db: Transaction) -> tuple[list[Waiting], list[Batch], int, int, Names]:
        found = batches.listed(db, visitor.actor, every=every, before=before, limit=_PAGE)
        total = batch_store.count(db, every=every)
        newer = batch_store.count(db, every=every, behind=found[0].number) if found else 0
        return batches.waiting(db), found, newer, total, _names(db, found)

    there, found, newer, total, names = await ra.database.read(read)
    start = next((place for place, each in enumerate(there, start=1) if each.letter == behind), 0)
    here = there[start : start + _PAGE]
    shown = [each.user_id for each in here]
    await registers.note_reading(ra, visitor.actor, Act.PRINT, "postcards", shown)
    return show(
        request,
        "postcards.html",
        visitor,
        waiting=here,
        first=start + 1,
        waiting_total=len(there),
        ready=sum(each.postal.complete for each in there),
        most=batches.MOST,
        found=found,
        newer=newer,
        total=total,
        every=every,
        before=before if typed is not None else None,
        who=lambda by: saying.who(by, names),
        states=STATES,
        kinds=LETTERS,
        printed=ra.settings.postcards == "batches",
        **{name: told(request).get(name, "") for name in ("error", "detail", "flaws", "without")},
    )


async def make(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Has a batch drawn of what waits."""
    fields, ra = await form(request), request.app[GATE].ra
    typed = fields.get("without", "")
    without = [typed_user_id(each) for each in typed.replace(",", " ").replace("、", " ").split()]
    try:
        made = await batches.make(ra, visitor.actor, without=without)
    except ConfigError as error:
        return _back(request, "font", typed, detail=str(error))
    except Unprintable as error:
        flaws = [[each.user_id, each.name, each.missing, each.codes] for each in error.flaws[:_PAGE]]
        return _back(request, "unprintable", typed, flaws=flaws)
    except Refusal as refusal:
        if refusal.field not in ("without", "postcards"):
            raise
        return _back(request, "without" if refusal.field == "without" else "nothing", typed)
    return see_other(f"{POSTCARDS}/{made.number}?done=batch_made")


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: how far it is, its cards, and what can be done about it."""
    number, ra = _number(request), request.app[GATE].ra

    def read(db: Transaction) -> tuple[Batch, list[dict[str, Any]], Names]:
        found = batches.seen(db, visitor.actor, number)
        return found, batch_store.cards(db, number), _names(db, [found])

    found, cards, names = await ra.database.read(read)
    behind = number_in(request.query.get("after", ""), 14) or 0
    here = cards[behind : behind + _PAGE]
    await registers.note_reading(ra, visitor.actor, Act.PRINT, "postcards", [*registers.people_in(here)])
    return show(
        request,
        "postcard_batch.html",
        visitor,
        found=found,
        cards=here,
        first=behind + 1,
        needless=[each for each in cards if found.state in OPEN and each["state"] != "queued"],
        open=found.state in OPEN,
        who=lambda by: saying.who(by, names),
        states=STATES,
        kinds=LETTERS,
        error=told(request).get("error", ""),
        done=request.query.get("done", ""),
    )


async def fetch(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The PDF, for the first time."""
    return await _pdf(request, visitor, "")


async def reprint(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The PDF once more, with a reason."""
    reason = (await form(request)).get("reason", "").strip()
    if not reason or len(reason) > 500 or not reason.isprintable():
        return tell(request, f"{POSTCARDS}/{_number(request)}", {"error": "print_reason"})
    return await _pdf(request, visitor, reason)


async def printed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Its cards have left: once, and for good."""
    number = _number(request)
    ja, en = await _called(request, visitor)
    what = (f"印刷済みにする：{ja}", f"Printed: {en}")
    asked = await confirmed(request, visitor, await form(request), what, _PRINTED)
    if asked is not None:
        return asked
    return await _done(request, number, batches.printed(_ra(request), visitor.actor, number), "batch_printed")


async def cancel(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Its cards wait again."""
    number, reason = _number(request), (await form(request)).get("reason", "")
    work = batches.cancel(_ra(request), visitor.actor, number, reason)
    return await _done(request, number, work, "batch_cancelled")


async def _done(request: web.Request, number: int, work: Any, done: str) -> web.StreamResponse:
    try:
        await work
    except Refusal as refusal:
        error = {"reason": "print_reason", "postcards": "batch"}.get(refusal.field)
        if error is None or refusal.code == "not_found":
            raise
        return tell(request, f"{POSTCARDS}/{number}", {"error": error})
    return see_other(f"{POSTCARDS}/{number}?done={done}")


async def _pdf(request: web.Request, visitor: Visitor, reason: str) -> web.StreamResponse:
    number, ra = _number(request), _ra(request)
    ja, en = await _called(request, visitor)
    what = (f"PDFを受け取る：{ja}", f"Download the PDF: {en}")
    asked = await confirmed(request, visitor, await form(request), what, _FETCHED)
    if asked is not None:
        return asked
    try:
        content = await batches.fetch(ra, visitor.actor, number, reason=reason)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, f"{POSTCARDS}/{number}", {"error": "batch"})
    disposition = f'attachment; filename="postcards-{number}.pdf"'
    return web.Response(
        body=content, headers={"Content-Type": "application/pdf", "Content-Disposition": disposition}
    )


async def _called(request: web.Request, visitor: Visitor) -> Text:
    number = _number(request)
    found = await _ra(request).database.read(lambda db: batches.seen(db, visitor.actor, number))
    return (
        f"はがきのバッチ{number}（{found.cards}人）",
        f"batch {number} of postcards, to {found.cards} people",
    )


_PRINTED: Text = (
    "はがきは送付済みとして数えられ、PDFとパスワードは消去されます。もう一度印刷することはできません。取り消せません。",
    "Its cards count as sent, and the PDF and the passwords are wiped: it is not printed again. It cannot be "
    "undone.",
)
_FETCHED: Text = (
    "PDFには、この人たちのパスワードが含まれます。受け取ったことは、あなたの名前で監査記録に残ります。",
    "The PDF has these people's passwords in it. That you have had it stands in the record.",
)


def _back(request: web.Request, error: str, without: str, **more: Any) -> web.Response:
    return tell(request, POSTCARDS, {"error": error, "without": without[:500], **more})


def _ra(request: web.Request) -> Any:
    return request.app[GATE].ra


def _number(request: web.Request) -> int:
    return int(request.match_info["number"])


def _names(db: Transaction, found: list[Batch]) -> Names:
    return names_in(db, *({"made_by": each.made_by, "ended_by": each.ended_by} for each in found))
