"""認証局の世代: what is left of each issuing CA, whom its end would hurt, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from markupsafe import Markup

from ca.storage import Transaction
from enroll.campaigns import keeping, rollover
from enroll.campaigns.rollover import AtOrganisation, Left
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor
from gateway.web import charts
from gateway.web.charts import Series
from gateway.web.pages import GATE, language_of
from gateway.web.rollover import NEXT, STATES
from gateway.web.words import place_of

_PAGE = 50
_LONGEST = 100


@dataclass(frozen=True)
class Part:
    """A page of a generation's organisations: which they are, the place of the first, and after whom the next
    page begins."""

    rows: tuple[AtOrganisation, ...]
    first: int
    after: str


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The board; ``ca`` and ``after`` turn the pages of one of them."""
    ra, language = request.app[GATE].ra, place_of(language_of(request))

    def work(db: Transaction) -> tuple[int, list[Left]]:
        counted = keeping.generations(db, ra, visitor.actor)
        return counted.at, rollover.board(db, ra, visitor.actor, counted)

    counted_at, found = await ra.database.read_aside(work)
    turned, after = request.query.get("ca", ""), request.query.get("after", "")[:_LONGEST]
    return show(
        request,
        "rollover.html",
        visitor,
        found=found,
        parts={
            each.issuer.issuer_id: _part(each, after if turned == each.issuer.issuer_id else "")
            for each in found
        },
        charts={each.issuer.issuer_id: _chart(each, language) for each in found if each.months},
        states=STATES,
        next=NEXT,
        at=ra.now(),
        counted_at=counted_at,
    )


def _part(left: Left, after: str) -> Part:
    there = [each for each in left.organisations if each.policy_number > after]
    rows = tuple(there[:_PAGE])
    further = rows[-1].policy_number if len(there) > _PAGE else ""
    return Part(rows, len(left.organisations) - len(there) + 1, further)


def _chart(left: Left, language: int) -> Markup:
    name = left.issuer.common_name
    title = (f"{name}：期限の月ごとの証明書", f"{name}: certificates by the month of their end")[language]
    most = max(left.months, key=lambda each: each[1])
    told = (
        f"合計{left.certificates:,}枚。最も多いのは{most[0].year}年{most[0].month}月の{most[1]:,}枚です。",
        f"{left.certificates:,} in all; most of them, {most[1]:,}, in {most[0]:%B %Y}.",
    )[language]
    labels = [(f"{month.year % 100}/{month.month}", f"{month:%b %y}")[language] for month, _ in left.months]
    series = [Series(title, [count for _, count in left.months])]
    return charts.columns(f"g{left.issuer.issuer_id}", title, told, labels, series)
