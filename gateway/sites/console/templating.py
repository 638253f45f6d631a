"""文面: every template in both languages with a preview, a test to oneself, and changes by two people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from aiohttp import web

from enroll.languages import LANGUAGES, Language
from enroll.mail import wording, writing
from enroll.mail.wording import LONGEST, Problem
from enroll.operators import asking, templates
from enroll.operators.asking import Done, Proposed
from enroll.operators.templates import Whole
from enroll.refusals import Refusal, check_line
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor
from gateway.sites.console.words import FAULTS, TEMPLATE_SOURCES, TEMPLATES, VALUES
from gateway.sites.service.words import LANGUAGE_NAMES
from gateway.web.pages import GATE, form, see_other, tell, told

LIST = "/templates"
TEMPLATE = "/templates/{template:[a-z0-9_]{3,40}}/{language:ja|en}"
_CHANGE, _RESET = "template.change", "template.reset"


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """All of them."""
    ra = request.app[GATE].ra
    found = await ra.database.read(lambda db: templates.listed(db, ra, visitor.actor))
    return show(request, "templates.html", visitor, found=found, **_WORDS)


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: what it looks like, its text, and the forms."""
    state = told(request)
    error = state.get("error", "")
    return await _page(request, visitor, error=error, done=request.query.get("done", ""))


async def change(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Another text: shown first, then proposed. What was typed stays, whatever is wrong with it."""
    ra, fields = request.app[GATE].ra, await form(request)
    template, language = _named(request)
    text, reason = wording.tidied(fields.get("text", "")), fields.get("reason", "").strip()
    wrong = templates.problems(template, language, text)
    if wrong:
        return await _page(request, visitor, text=text, reason=reason, wrong=wrong, status=422)
    if fields.get("act") != "propose":
        return await _page(request, visitor, text=text, reason=reason, looked=True)
    payload = {"template": template, "language": language, "text": text}
    try:
        check_line("reason", reason, needed=True)
        done = await asking.ask(ra, visitor.actor, _CHANGE, payload, reason=reason)
    except Refusal as refusal:
        error = _refused(refusal)
        return await _page(request, visitor, text=text, reason=reason, error=error, status=422)
    return _on(request, done)


async def reset(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What holds without a change, again: proposed with its reason."""
    ra, fields = request.app[GATE].ra, await form(request)
    template, language = _named(request)
    reason = fields.get("reason", "").strip()
    try:
        check_line("reason", reason, needed=True)
        payload = {"template": template, "language": language}
        done = await asking.ask(ra, visitor.actor, _RESET, payload, reason=reason)
    except Refusal as refusal:
        return tell(request, request.path.removesuffix("/reset"), {"error": _refused(refusal)})
    return _on(request, done)


async def test(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A letter with sample values to the visitor's own address."""
    here, (template, language) = request.path.removesuffix("/test"), _named(request)
    try:
        await templates.test(request.app[GATE].ra, visitor.actor, template, language)
    except Refusal as refusal:
        if refusal.code not in _NO_TEST:
            raise
        return tell(request, here, {"error": _NO_TEST[refusal.code]})
    return see_other(f"{here}?done=tested")


_NO_TEST = {"invalid_input": "no_mail", "throttled": "tested_once"}


def _refused(refusal: Refusal) -> str:
    """The word for what is said above the page. Raises what no page has words for."""
    if refusal.code == "invalid_input" and refusal.field == "reason":
        return "no_template_reason"
    if refusal.code == "conflict":
        return "proposed_template" if refusal.field == "proposal" else "same_template"
    raise refusal


def _on(request: web.Request, done: Done | Proposed) -> web.Response:
    if isinstance(done, Proposed):
        return see_other(f"/proposals/{done.number}?done=proposed")
    return see_other(f"{request.path.rpartition('/')[0]}?done=approved")


async def _page(
    request: web.Request,
    visitor: Visitor,
    *,
    text: str | None = None,
    reason: str = "",
    wrong: Sequence[Problem] = (),
    looked: bool = False,
    error: str = "",
    done: str = "",
    status: int = 200,
) -> web.Response:
    ra, (template, language) = request.app[GATE].ra, _named(request)

    def work(db: Any) -> tuple[Whole, tuple[str, str]]:
        found = templates.one(db, ra, visitor.actor, template, language)
        if text is None or wrong:
            return found, found.preview
        return found, wording.preview(template, language, writing.in_force(db, ra.templates), text)

    found, preview = await ra.database.read(work)
    return show(
        request,
        "template.html",
        visitor,
        status=status,
        found=found,
        listed=found.listed,
        text=found.text if text is None else text,
        reason=reason,
        preview=preview,
        looked=looked,
        wrong=[(FAULTS[each.fault], each.about) for each in wrong],
        error=error,
        done=done,
        longest=LONGEST,
        values=[(name, VALUES[name], name in found.required) for name in found.offered],
        **_WORDS,
    )


def _named(request: web.Request) -> tuple[str, Language]:
    return request.match_info["template"], cast(Language, request.match_info["language"])


_WORDS: Mapping[str, Any] = {
    "names": TEMPLATES,
    "sources": TEMPLATE_SOURCES,
    "languages": {each: LANGUAGE_NAMES[each] for each in LANGUAGES},
}
