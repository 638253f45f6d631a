"""The demo's mailbox: everybody's mails, and the clock. It shows secrets, so nothing but a demo has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from markupsafe import Markup, escape

from ca.clock import OffsetClock, SystemClock
from enroll import store
from enroll.jst import days_before, days_left
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment
from enroll.settings import DAY, Settings
from gateway.demo import hooks, letters
from gateway.demo.people import settle
from gateway.serving.assembly import hosts_by_role
from gateway.serving.config import Config, origin
from gateway.serving.deployment import Deployment
from gateway.web import pages
from gateway.web.context import Gate, Role

_LINK = re.compile(r"https://[^\s<>\"']+")
_MORNING = 9 * 3_600


@dataclass(frozen=True)
class Move:
    """A button of the clock page. ``moment`` is where to: (now, the chosen certificate, policies)."""

    words: tuple[str, str]
    moment: Callable[[int, Enrollment | None, Settings], int | None]


def _before_end(days: Callable[[Settings], int]) -> Callable[[int, Enrollment | None, Settings], int | None]:
    def moment(now: int, chosen: Enrollment | None, settings: Settings) -> int | None:
        end = chosen.not_after_at if chosen is not None else None
        return None if end is None else days_before(end, days(settings)) + _MORNING

    return moment


def _past_end(now: int, chosen: Enrollment | None, settings: Settings) -> int | None:
    end = chosen.not_after_at if chosen is not None else None
    return None if end is None else end + 60


#: Button -> where it moves the clock.
MOVES: Mapping[str, Move] = {
    "day": Move(("1日進める", "+1 day"), lambda now, chosen, settings: now + DAY),
    "month": Move(("30日進める", "+30 days"), lambda now, chosen, settings: now + 30 * DAY),
    "first": Move(("有効期限日の30日前へ", "To D-30"), _before_end(lambda settings: settings.renewal_days)),
    "second": Move(("有効期限日の7日前へ", "To D-7"), _before_end(lambda settings: settings.reminder_days)),
    "end": Move(("有効期限の直後へ", "To just after the end"), _past_end),
}


def application(gate: Gate, deployment: Deployment, clock: OffsetClock) -> web.Application:
    """The mailbox of a demo's deployment."""
    app = pages.site_application(gate, Role.MAILBOX, "gateway.demo")
    here = _here(deployment.config)

    async def inbox(request: web.Request) -> web.StreamResponse:
        recipient = request.query.get("to", "")
        found = letters.delivered(deployment.outbox)
        people = sorted({each.recipient for each in found})
        shown = [each for each in found if recipient in ("", each.recipient)]
        return pages.render(request, "inbox.html", letters=shown, people=people, recipient=recipient)

    async def one(request: web.Request) -> web.StreamResponse:
        found = letters.letter(deployment.outbox, request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return pages.render(request, "letter.html", letter=found, body=_linked(here(found.body)))

    async def clock_page(request: web.Request) -> web.StreamResponse:
        sent = request.query.get("sent", "")
        return pages.render(
            request,
            "clock.html",
            moves=MOVES,
            certificates=await _certificates(gate),
            chosen=request.query.get("certificate", ""),
            sent=int(sent) if re.fullmatch(r"[0-9]{1,4}", sent) else None,
            offset_days=clock.offset() // DAY,
            days_left=days_left,
        )

    async def move(request: web.Request) -> web.StreamResponse:
        fields = await pages.form(request)
        serial, to = fields.get("certificate", ""), fields.get("to", "")
        if to == "reset":
            clock.travel(0)
        else:
            await _travel(gate, clock, to, serial)
        sent = await settle(deployment)
        return pages.see_other(f"/clock?sent={sent}&certificate={serial if serial.isalnum() else ''}")

    app.router.add_get("/", inbox)
    app.router.add_get("/mail/{name}", one)
    app.router.add_get("/clock", clock_page)
    app.router.add_post("/clock", move)
    app.router.add_post(hooks.TAKEN, hooks.take)
    return app


async def _travel(gate: Gate, clock: OffsetClock, to: str, serial: str) -> None:
    """Moves the clock forward. Refusal for a button that is none, and for a moment in the past."""
    chosen = await gate.ra.database.read(lambda db: store.enrollment_of(db, serial))
    move, now = MOVES.get(to), gate.now()
    moment = move.moment(now, chosen, gate.ra.settings) if move is not None else None
    # Backwards only to the present: what has expired once stays so, and nobody would understand why.
    if moment is None or moment <= now:
        raise Refusal("invalid_input", field="to")
    clock.travel(moment - SystemClock().seconds())


async def _certificates(gate: Gate) -> list[Enrollment]:
    """The live certificates, whose end a visitor may want to come near, the nearest first."""
    now = gate.now()
    return await gate.ra.database.read(lambda db: store.enrollments_ending(db, now, 2**60))


def _here(config: Config) -> Callable[[str], str]:
    """A mail's text with our addresses as they are now: a demo that is kept need not have the port again with
    which it was written."""
    hosts = "|".join(re.escape(host) for names in hosts_by_role(config).values() for host in names)
    ours = re.compile(rf"https://({hosts})(?::[0-9]+)?(?![\w:-]|\.\w)")
    return lambda body: ours.sub(lambda found: origin(found[1], config.public_port), body)


def _linked(body: str) -> Markup:
    """A mail's text with its addresses as links."""
    parts: list[Markup] = []
    end = 0
    for found in _LINK.finditer(body):
        link = escape(found.group())
        parts += [escape(body[end : found.start()]), Markup('<a href="{0}">{0}</a>').format(link)]
        end = found.end()
    return Markup("").join([*parts, escape(body[end:])])
