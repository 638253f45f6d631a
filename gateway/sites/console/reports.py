"""レポート: each as a chart, as its table, and as a file; period and organisation stand in the address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from markupsafe import Markup

from ca.storage import Transaction
from enroll import identifiers
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.reports import Report, Wanted, wanted
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor
from gateway.web import charts, reports
from gateway.web.charts import Series
from gateway.web.pages import GATE, language_of
from gateway.web.reports import KINDS, Kind
from gateway.web.words import Text, place_of

#: The names in an address.
NAMES = "|".join(KINDS)
# A chart of causes has so many; the table has all.
_MOST_BARS = 15
# What somebody typed goes back into the page, as far as it is no longer than anything that is meant.
_LONGEST = 40
#: What narrows one: names in the address.
FILTERS = ("from", "to", "organisation")

_WRONG: Mapping[tuple[str, str], Text] = {
    ("invalid_input", "day"): (
        "日付を入力してください（例：2026-05-01）。",
        "Please give a day, such as 2026-05-01.",
    ),
    ("invalid_input", "range"): (
        "2000年から2199年までの日付を入力してください。",
        "Please give a day between 2000 and 2199.",
    ),
    ("invalid_input", "order"): (
        "終わりの日は、始めの日以後にしてください。",
        "The last day must not be before the first.",
    ),
    ("invalid_input", "long"): ("期間は3年以内にしてください。", "Please choose three years at most."),
    ("not_found", ""): (
        "この証券番号の団体は登録されていません。番号をご確認ください。",
        "There is no organisation of this number. Please check it.",
    ),
}


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What reports there are, each with the sum of its default period."""
    ra, language = request.app[GATE].ra, _language(request)
    at = ra.now()

    def work(db: Transaction) -> list[tuple[Kind, Report]]:
        periods = ((name, Wanted(*reports.default_period(name, at))) for name in KINDS)
        return [(KINDS[name], reports.made(db, at, visitor.actor, name, asked)) for name, asked in periods]

    found = [
        (report.name, kind, reports.days_words(report.wanted, language), reports.told(kind, report, language))
        for kind, report in await ra.database.read_aside(work)
    ]
    return show(request, "reports.html", visitor, found=found)


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One, for the period and the organisation that the address names."""
    name = request.match_info["name"]
    typed = {field: request.query.get(field, "")[:_LONGEST] for field in FILTERS}
    try:
        report = await _made(request, visitor, name)
    except Refusal as refusal:
        words = _WRONG.get((refusal.code, refusal.reason))
        if words is None:
            raise
        return _shown(request, visitor, name, typed, errors={refusal.field: words})
    asked = report.wanted
    typed |= {"from": asked.first.isoformat(), "to": asked.last.isoformat()}
    return _shown(request, visitor, name, typed | {"organisation": asked.policy_number or ""}, report)


def asked(name: str, ra: RegistrationAuthority, query: Mapping[str, str]) -> tuple[Wanted, Mapping[str, str]]:
    """The period, and the organisation, of which an address asks for a report. Refusal with the field."""
    first, last = reports.default_period(name, ra.now())
    typed = identifiers.typed_policy_number(query.get("organisation", "")[:_LONGEST])
    narrowed = typed if typed and KINDS[name].narrowed else None
    found = wanted(_day(query, "from", first), _day(query, "to", last), narrowed)
    said = {"from": found.first.isoformat(), "to": found.last.isoformat()}
    return found, said | ({} if narrowed is None else {"organisation": narrowed})


async def _made(request: web.Request, visitor: Visitor, name: str) -> Report:
    """The report that an address asks for. Refusal with the field at fault."""
    ra = request.app[GATE].ra
    found, _ = asked(name, ra, request.query)
    at = ra.now()
    return await ra.database.read_aside(lambda db: reports.made(db, at, visitor.actor, name, found))


def _day(query: Mapping[str, str], field: str, default: date) -> date:
    typed = query.get(field, "")
    if not typed:
        return default
    try:
        return date.fromisoformat(typed)
    except ValueError:
        raise Refusal("invalid_input", field=field, reason="day") from None


def _shown(
    request: web.Request,
    visitor: Visitor,
    name: str,
    typed: Mapping[str, str],
    report: Report | None = None,
    errors: Mapping[str, Text] | None = None,
) -> web.Response:
    kind, language = KINDS[name], _language(request)
    query = urlencode({field: value for field, value in typed.items() if value})
    values: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "typed": typed,
        "errors": errors or {},
        "query": query,
    }
    if report is None:
        return show(request, "report.html", visitor, status=422, report=None, **values)
    return show(
        request,
        "report.html",
        visitor,
        report=report,
        period=reports.days_words(report.wanted, language),
        told=reports.told(kind, report, language),
        chart=_chart(kind, report, language),
        heads=reports.heads(kind, language),
        rows=[
            (reports.row_words(row, language), reports.cells(kind, report, row.values)) for row in report.rows
        ],
        totals=reports.cells(kind, report, report.totals),
        **values,
    )


def _chart(kind: Kind, report: Report, language: int) -> Markup:
    """The picture, with its legend where it needs one."""
    title, told = kind.title[language], reports.told(kind, report, language)
    labels = [reports.short_words(row, language) for row in report.rows]
    if not kind.narrowed:
        most = labels[:_MOST_BARS]
        return charts.bars(report.name, title, told, most, report.column("count")[: len(most)])
    if kind.line:
        shares = [reports.share(kind, report, row.values) for row in report.rows]
        return charts.line(report.name, title, told, labels, shares)
    series = [Series(kind.columns[each][language], report.column(each)) for each in kind.drawn]
    drawn = charts.columns(report.name, title, told, labels, series)
    return charts.legend(report.name, series) + drawn


def _language(request: web.Request) -> int:
    return place_of(language_of(request))
