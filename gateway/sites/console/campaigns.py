"""更新: campaigns, how far each is at each organisation, and whose certificates a number counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from markupsafe import Markup

from ca.storage import Row, Transaction
from enroll import campaigns, identifiers, store
from enroll.campaigns import STEPS, VIEWS, Campaign, Counts, Figures, OfOrganisation
from enroll.identifiers import number_in
from enroll.jst import shown
from enroll.mail import store as mail_store
from gateway.sites.console.asking import show
from gateway.sites.console.campaignwords import VIEW_WORDS, set_words, step_of
from gateway.sites.console.finding_words import LETTER_STATES
from gateway.sites.console.visitors import Visitor
from gateway.web import charts
from gateway.web.pages import GATE, language_of
from gateway.web.spreadsheet import csv_parts
from gateway.web.words import place_of

CAMPAIGNS = "/campaigns"
CAMPAIGN = CAMPAIGNS + "/{number:[0-9]{1,12}}"
_PAGE = 50
_LONGEST = 100


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Those that go on, or all, each with its sums."""
    ra, every = request.app[GATE].ra, request.query.get("state") == "all"
    before = number_in(request.query.get("before", ""), 12)

    def work(db: Transaction) -> tuple[list[Campaign], list[Figures]]:
        found = campaigns.listed(db, visitor.actor, every=every)
        page = [each for each in found if before is None or each.number < before][:_PAGE]
        return found, [campaigns.figures(db, visitor.actor, each, ra.now()) for each in page]

    there, found = await ra.database.read_aside(work)
    return show(
        request,
        "campaigns.html",
        visitor,
        found=found,
        first=there.index(found[0].campaign) + 1 if found else 0,
        total=len(there),
        further=found[-1].campaign.number if found and found[-1].campaign != there[-1] else None,
        every=every,
        **table_words(),
    )


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: its way as a chart, and its numbers organisation by organisation."""
    ra, after = request.app[GATE].ra, request.query.get("after", "")[:_LONGEST]
    left = request.query.get("organisations") == "open"
    found = await figures_of(request, visitor)
    rows = [each for each in found.organisations if each.counts.open or not left]
    further = [each for each in rows if each.policy_number > after]
    shown_rows = further[:_PAGE]
    names = await ra.database.read(lambda db: _names(db, found.campaign))
    return show(
        request,
        "campaign.html",
        visitor,
        found=found,
        total=found.total,
        rows=shown_rows,
        first=len(rows) - len(further) + 1 if shown_rows else 0,
        organisations=len(rows),
        left=left,
        after=shown_rows[-1].policy_number if len(further) > _PAGE else "",
        set=set_words(found.campaign, names, _issuer(request, found.campaign)),
        chart=_chart(found, place_of(language_of(request))),
        done=request.query.get("done", ""),
        **table_words(),
    )


async def export(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The table as CSV; counted, and told in the trail (O21)."""
    ra, language = request.app[GATE].ra, place_of(language_of(request))
    found = await figures_of(request, visitor)
    heads = [("証券番号", "Organisation"), ("団体名", "Name"), *(VIEW_WORDS[view] for view in _ORDER)]

    def lines() -> Iterator[list[str]]:
        yield [each[language] for each in heads]
        for each in found.organisations:
            yield [each.policy_number, each.name, *(str(each.counts.of(view)) for view in _ORDER)]
        yield [("合計", "Total")[language], "", *(str(found.total.of(view)) for view in _ORDER)]

    number, rows = found.campaign.number, len(found.organisations)
    by = visitor.actor.name
    await ra.database.write(
        lambda db: store.audit(db, ra.now(), by, "campaign.exported", str(number), rows=rows)
    )
    return _file(f"campaign-{number}.csv", lines())


async def people(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Whose certificates a number counts, those that end first before the others."""
    ra, view, typed = request.app[GATE].ra, _view(request), _organisation(request)
    after = _after(request.query.get("after", ""))

    def work(db: Transaction) -> tuple[Figures, list[Row], list[Row | None]]:
        found = campaigns.known(db, int(request.match_info["number"]))
        page = list(
            campaigns.people(db, visitor.actor, found, ra.now(), view, typed, after=after, limit=_PAGE + 1)
        )
        letters = [mail_store.last_notice(db, row["user_id"]) for row in page]
        return campaigns.figures(db, visitor.actor, found, ra.now()), page, letters

    found, rows, letters = await ra.database.read_aside(work)
    number = found.campaign.number
    await campaigns.note_reading(ra, visitor.actor, number, view, typed)
    counts = _of(found, typed)
    further = rows[_PAGE - 1] if len(rows) > _PAGE else None
    return show(
        request,
        "campaign_people.html",
        visitor,
        found=found,
        rows=list(zip(rows[:_PAGE], letters[:_PAGE], strict=True)),
        view=view,
        organisation=typed or "",
        counts=counts,
        total=counts.of(view),
        further=f"{further['not_after_at']}-{further['number']}" if further is not None else "",
        begun=after != (0, 0),
        query=urlencode({"view": view} | ({"organisation": typed} if typed else {})),
        letter_states=LETTER_STATES,
        step_of=step_of,
        **table_words(),
    )


async def people_export(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The same list as CSV, all of it; counted, and told in the trail (O21)."""
    ra, language = request.app[GATE].ra, place_of(language_of(request))
    view, typed, number = _view(request), _organisation(request), int(request.match_info["number"])

    def work(db: Transaction) -> list[Row]:
        found = campaigns.known(db, number)
        return list(campaigns.people(db, visitor.actor, found, ra.now(), view, typed))

    rows = await ra.database.read_aside(work)
    told_ = {"view": view, "rows": len(rows)} | ({"organisation": typed} if typed else {})
    by = visitor.actor.name
    await ra.database.write(
        lambda db: store.audit(db, ra.now(), by, "campaign.people.exported", str(number), **told_)
    )

    def lines() -> Iterator[list[str]]:
        yield [each[language] for each in _PEOPLE.values()]
        for row in rows:
            told = [str(row[name]) for name in _PEOPLE if name in _PLAIN]
            yield [*told, shown(row["not_after_at"]), step_of(row)[0][language]]

    return _file(f"campaign-{number}-{view}.csv", lines())


# -- parts ---------------------------------------------------------------------------------------------------

#: The columns of a table, in their order.
_ORDER = (*STEPS, "open", "lapsed", "left")
_PEOPLE = {
    "user_id": ("ユーザーID", "User ID"),
    "name": ("氏名", "Name"),
    "mail": ("メールアドレス", "Email address"),
    "policy_number": ("証券番号", "Organisation"),
    "organisation": ("団体名", "Its name"),
    "common_name": ("コモンネーム", "Common name"),
    "serial": ("シリアル番号", "Serial number"),
    "not_after_at": ("有効期限", "Until"),
    "step": ("状況", "How far"),
}
_PLAIN = frozenset(_PEOPLE) - {"not_after_at", "step"}


async def figures_of(request: web.Request, visitor: Visitor) -> Figures:
    """Of the campaign that the path names. Refusal("not_found")."""
    ra, number = request.app[GATE].ra, int(request.match_info["number"])
    return await ra.database.read_aside(
        lambda db: campaigns.figures(db, visitor.actor, campaigns.known(db, number), ra.now())
    )


def table_words() -> dict[str, Any]:
    """What every page of campaigns calls its numbers by."""
    return {"views": VIEW_WORDS, "order": _ORDER}


def _of(found: Figures, policy_number: str | None) -> Counts:
    """Of one organisation, or of all."""
    if policy_number is None:
        return found.total
    mine: Iterable[OfOrganisation] = (
        each for each in found.organisations if each.policy_number == policy_number
    )
    return next((each.counts for each in mine), Counts())


def _names(db: Transaction, found: Campaign) -> str:
    organisation = store.organisation(db, found.policy_number) if found.policy_number else None
    return organisation.name if organisation is not None else ""


def _issuer(request: web.Request, found: Campaign) -> str:
    issuers = request.app[GATE].ra.authority.issuers
    return next((each.common_name for each in issuers if each.issuer_id == found.issuer_id), "")


def _chart(found: Figures, language: int) -> Markup:
    total = found.total
    title = ("更新の進み方", "How far it is")[language]
    said = ", ".join(f"{VIEW_WORDS[step][language]} {total.of(step):,}" for step in STEPS)
    labels = [VIEW_WORDS[step][language] for step in STEPS]
    return charts.bars("campaign", title, said, labels, [total.of(step) for step in STEPS])


def _view(request: web.Request) -> str:
    view = request.query.get("view", "open")
    return view if view in VIEWS else "open"


def _organisation(request: web.Request) -> str | None:
    return identifiers.typed_policy_number(request.query.get("organisation", "")[:_LONGEST]) or None


def _after(text: str) -> tuple[int, int]:
    """The end and the number of the certificate after which a page begins; else from the first."""
    end, _, number = text.partition("-")
    found = number_in(end, 12), number_in(number, 15)
    return (0, 0) if found[0] is None or found[1] is None else (found[0], found[1])


def _file(name: str, lines: Iterable[list[str]]) -> web.Response:
    return web.Response(
        body=_streamed(csv_parts(lines)),
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
        },
    )


async def _streamed(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
