"""更新: campaigns, how far each is at each organisation, and whose certificates a number counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from markupsafe import Markup

from ca.storage import Row, Transaction
from enroll import campaigns, identifiers, store
from enroll.campaigns import STEPS, VIEWS, Campaign, Figures, Total, keeping
from enroll.exports.tables import OfCampaign
from enroll.identifiers import number_in
from enroll.mail import store as mail_store
from enroll.mail.states import state_of
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from gateway.sites.console.asking import show
from gateway.sites.console.campaignwords import VIEW_WORDS, set_words, step_of
from gateway.sites.console.finding_words import LETTER_STATES
from gateway.sites.console.visitors import Visitor
from gateway.web import charts
from gateway.web.pages import GATE, language_of
from gateway.web.words import place_of

CAMPAIGNS = "/campaigns"
CAMPAIGN = CAMPAIGNS + "/{number:[0-9]{1,12}}"
_PAGE = 50
_LONGEST = 100
#: What narrows the organisations of one, and its people: names in the address.
FILTERS, OF_PEOPLE = ("organisations",), ("view", "organisation")


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Those that go on, or all, each with its sums."""
    ra, every = request.app[GATE].ra, request.query.get("state") == "all"
    before = number_in(request.query.get("before", ""), 12)

    def work(db: Transaction) -> tuple[list[Campaign], list[Total]]:
        found = campaigns.listed(db, visitor.actor, every=every)
        page = [each for each in found if before is None or each.number < before][:_PAGE]
        return found, keeping.totals(db, visitor.actor, page, ra.now())

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


def asked(_: RegistrationAuthority, query: Mapping[str, str]) -> tuple[OfCampaign, Mapping[str, str]]:
    """Of which campaign an address asks for the organisations."""
    number, left = _number(query), query.get("organisations") == "open"
    said = {"number": str(number)} | ({"organisations": "open"} if left else {})
    return OfCampaign(number, left=left), said


def asked_people(_: RegistrationAuthority, query: Mapping[str, str]) -> tuple[OfCampaign, Mapping[str, str]]:
    """Of which campaign an address asks for the people, and which of them."""
    view, typed, number = _view(query), _organisation(query), _number(query)
    said = {"number": str(number), "view": view} | ({} if typed is None else {"organisation": typed})
    return OfCampaign(number, view, typed), said


async def people(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Whose certificates a number counts, those that end first before the others."""
    ra, view, typed = request.app[GATE].ra, _view(request.query), _organisation(request.query)
    after = _after(request.query.get("after", ""))

    def work(db: Transaction) -> tuple[Total, list[Row], dict[str, Row]]:
        found = campaigns.known(db, int(request.match_info["number"]))
        page = list(
            campaigns.people(db, visitor.actor, found, ra.now(), view, typed, after=after, limit=_PAGE + 1)
        )
        letters = mail_store.last_notices(db, [row["user_id"] for row in page])
        return keeping.total(db, visitor.actor, found, ra.now(), typed), page, letters

    found, rows, letters = await ra.database.read_aside(work)
    number = found.campaign.number
    await campaigns.note_reading(ra, visitor.actor, number, view, typed)
    counts = found.total
    further = rows[_PAGE - 1] if len(rows) > _PAGE else None
    return show(
        request,
        "campaign_people.html",
        visitor,
        found=found,
        rows=[(row, letters.get(row["user_id"])) for row in rows[:_PAGE]],
        view=view,
        organisation=typed or "",
        counts=counts,
        total=counts.of(view),
        now=ra.now(),
        further=f"{further['not_after_at']}-{further['number']}" if further is not None else "",
        begun=after != (0, 0),
        query=urlencode({"view": view} | ({"organisation": typed} if typed else {})),
        letter_state=lambda letter: LETTER_STATES[state_of(letter)],
        step_of=step_of,
        **table_words(),
    )


# -- parts ---------------------------------------------------------------------------------------------------

#: The columns of a table, in their order.
_ORDER = (*STEPS, "open", "lapsed", "left")


async def total_of(request: web.Request, visitor: Visitor) -> Total:
    """The sums alone of the campaign that the path names. Refusal("not_found")."""
    ra, number = request.app[GATE].ra, int(request.match_info["number"])
    return await ra.database.read_aside(
        lambda db: keeping.total(db, visitor.actor, campaigns.known(db, number), ra.now())
    )


async def figures_of(request: web.Request, visitor: Visitor) -> Figures:
    """Of the campaign that the path names. Refusal("not_found")."""
    ra, number = request.app[GATE].ra, int(request.match_info["number"])
    return await ra.database.read_aside(
        lambda db: keeping.figures(db, visitor.actor, campaigns.known(db, number), ra.now())
    )


def table_words() -> dict[str, Any]:
    """What every page of campaigns calls its numbers by."""
    return {"views": VIEW_WORDS, "order": _ORDER}


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


def _number(query: Mapping[str, str]) -> int:
    number = number_in(query.get("number", ""), 12)
    if number is None:
        raise Refusal("not_found", field="campaign")
    return number


def _view(query: Mapping[str, str]) -> str:
    view = query.get("view", "open")
    return view if view in VIEWS else "open"


def _organisation(query: Mapping[str, str]) -> str | None:
    return identifiers.typed_policy_number(query.get("organisation", "")[:_LONGEST]) or None


def _after(text: str) -> tuple[int, int]:
    """The end and the number of the certificate after which a page begins; else from the first."""
    end, _, number = text.partition("-")
    found = number_in(end, 12), number_in(number, 15)
    return (0, 0) if found[0] is None or found[1] is None else (found[0], found[1])
