"""The reports by name: what each is called and shows, on the console, on the command line and in the metrics.

All of them ask here, so that a figure is the same wherever it stands. What people were refused is of the
gateway's own tables; everything else is the register's (`enroll.reports`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from ca.storage import Transaction
from enroll import reports
from enroll.operators.actors import Actor, require
from enroll.operators.roles import Act, Verdict
from enroll.reports import Cause, Report, Row, Wanted, Week
from gateway.web import store
from gateway.web.words import CERTIFICATE, COOKIES_BLOCKED, REFUSALS, Text

_WEEKDAYS = "月火水木金土日"


@dataclass(frozen=True)
class Kind:
    """A report. ``columns``: word of a column -> what it is called; ``drawn``: those of the chart, from the
    bottom; ``share``: one column as a part of the sum of all, and what that is called."""

    title: Text
    about: Text
    columns: Mapping[str, Text]
    drawn: tuple[str, ...]
    make: Callable[[Transaction, int, Wanted], Report]
    share: tuple[str, Text] | None = None
    #: A line of the share in place of columns.
    line: bool = False
    #: Without a choice the coming weeks, not those that were.
    ahead: bool = False
    #: Whether it can be narrowed to an organisation.
    narrowed: bool = True


def _failures(db: Transaction, at: int, asked: Wanted) -> Report:
    found = store.references_by_cause(db, asked.since, asked.until)
    rows = tuple(Row(Cause(each["site"], each["code"]), (int(each["count"]),)) for each in found)
    return Report("failures", asked, ("count",), rows)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "expiring": Kind(
            ("期限を迎える証明書", "Certificates that end"),
            (
                "失効などで終了していない証明書を、有効期限の来る週ごとに数えています。",
                "Certificates that nothing has ended, by the week in which they expire.",
            ),
            {"page": ("画面で取得", "On the pages"), "protocol": ("プログラムで取得", "By programs")},
            ("page", "protocol"),
            reports.expiring,
            ahead=True,
        ),
        "pickup": Kind(
            ("取得率", "Pick-up rate"),
            (
                "追加発行と再発行のご案内を、受け付けた週ごとに数えています。取得率は、そのうち取得された割合です。",
                "Additions and reissues, by the week in which they were opened, and how many were picked up.",
            ),
            {
                "picked_up": ("取得済み", "Picked up"),
                "waiting": ("取得待ち", "Waiting"),
                "over": ("取得されずに終了", "Ended without it"),
            },
            ("picked_up", "waiting", "over"),
            reports.pickup,
            share=("picked_up", ("取得率", "Rate")),
            line=True,
        ),
        "failures": Kind(
            ("エラーの原因", "Failures by cause"),
            (
                "照会番号の出た画面を、原因ごとに数えています。記録は90日間、同じ原因は10,000件まで残ります。"
                "どなたのものか分からない記録もあるため、団体では絞り込めません。",
                "Pages with a reference number, by their cause. They are kept for 90 days, and 10,000 of "
                "each cause. Whose they are is not always known, so there is no choice of an organisation.",
            ),
            {"count": ("件数", "How many")},
            ("count",),
            _failures,
            share=("count", ("割合", "Share")),
            narrowed=False,
        ),
        "bounces": Kind(
            ("不達メール", "Bounces"),
            (
                "メールを、送信した週ごとに数えています。「送信拒否」は、送信できずに終わったメールです。",
                "Emails, by the week in which they left; refused ones by the week in which they should have.",
            ),
            {
                "sent": ("送信済み", "Sent"),
                "bounced": ("不達", "Came back"),
                "refused": ("送信拒否", "Refused"),
            },
            ("bounced", "refused"),
            reports.bounces,
            share=("bounced", ("不達の割合", "Share of those that came back")),
        ),
        "issuance": Kind(
            ("発行数", "Certificates issued"),
            (
                "発行した証明書を、発行した週と入口ごとに数えています。",
                "Certificates by the week in which they were issued, and by the door.",
            ),
            {
                "addition": ("追加発行", "Additions"),
                "reissue": ("再発行", "Reissues"),
                "renewal": ("更新（画面）", "Renewals on the pages"),
                "renewal_protocol": ("更新（プログラム）", "Renewals by programs"),
                "protocol": ("新規（プログラム）", "New, by programs"),
            },
            ("addition", "reissue", "renewal", "renewal_protocol", "protocol"),
            reports.issuance,
        ),
    }
)

#: Where a page with a reference number was seen -> what people call that.
SITES: Mapping[str, Text] = MappingProxyType(
    {
        "pickup": ("証明書取得サイト", "Pick-up site"),
        "renewal": ("証明書更新サイト", "Renewal site"),
        "service": ("オンラインサービス", "Online service"),
        "behind": ("業務サービス", "Service behind the gate"),
        "connectivity": ("導通確認サイト", "Connectivity test"),
        "help": ("ヘルプサイト", "Help"),
        "console": ("運用コンソール", "Console"),
    }
)
_OTHER_CAUSES: Mapping[str, Text] = MappingProxyType(
    {
        "no_cookie": COOKIES_BLOCKED.title,
        "stale_form": ("古い画面からの送信", "A form of an old page"),
        "operator.unknown": ("運用者ではない証明書", "A certificate of no operator"),
        "operator.not_permitted": ("運用者の権限不足", "An operator who may not"),
    }
)


def default_period(name: str, at: int) -> tuple[date, date]:
    """The first and the last day where nobody has chosen any."""
    return reports.the_next_weeks(at) if KINDS[name].ahead else reports.the_last_weeks(at)


def made(db: Transaction, at: int, actor: Actor, name: str, asked: Wanted) -> Report:
    """A report for an operator. Refusal("not_permitted"), or ("not_found", "organisation")."""
    require(actor, Act.REPORTS, Verdict.READ)
    if asked.policy_number is not None:
        reports.known(db, asked.policy_number)
    return KINDS[name].make(db, at, asked)


def samples(db: Transaction, at: int) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """The sums of each report over its default period, as the metrics have them."""
    for name, kind in KINDS.items():
        report = kind.make(db, at, Wanted(*default_period(name, at)))
        for row in report.rows if name == "failures" else ():
            if isinstance(row.of, Cause):
                yield f"sekisho_report_{name}", {"site": row.of.site, "code": row.of.code}, row.values[0]
        if name != "failures":
            for column, total in zip(report.columns, report.totals, strict=True):
                yield f"sekisho_report_{name}", {"figure": column}, total


def share(kind: Kind, report: Report, values: Sequence[int]) -> float | None:
    """In percent: of a row's or the totals' numbers; None where there is nothing to be a part of."""
    if kind.share is None:
        return None
    part = values[report.columns.index(kind.share[0])]
    whole = sum(report.totals) if len(report.columns) == 1 else sum(values)
    return None if not whole else 100 * part / whole


# -- in words --------------------------------------------------------------------------------------------


def heads(kind: Kind, language: int) -> list[str]:
    """The headings of the table, and of the file. ``language``: 0 Japanese, 1 English."""
    of = (("サイト", "Site"), ("原因", "Cause")) if not kind.narrowed else (("週", "Week"),)
    total = (("合計", "Total"),) if len(kind.columns) > 1 else ()
    share_of = (kind.share[1],) if kind.share is not None else ()
    return [each[language] for each in (*of, *kind.columns.values(), *total, *share_of)]


def cells(kind: Kind, report: Report, values: Sequence[int]) -> list[str]:
    """A row's numbers as the table has them, with their sum and share."""
    part = share(kind, report, values)
    told = [f"{value:,}" for value in (*values, *((sum(values),) if len(values) > 1 else ()))]
    return told + ([] if kind.share is None else ["－" if part is None else f"{part:.1f}%"])


def row_words(row: Row, language: int) -> list[tuple[str, ...]]:
    """What a row is of, cell by cell, each in parts between which a line may end."""
    if isinstance(row.of, Week):
        return [days_parts(row.of, language)]
    return [(site_words(row.of.site)[language],), (cause_words(row.of.code)[language],)]


def short_words(row: Row, language: int) -> str:
    """The same below a column, or above a bar."""
    if isinstance(row.of, Week):
        return (
            f"{row.of.first.month}/{row.of.first.day}"
            if language == 0
            else f"{row.of.first:%d %b}".lstrip("0")
        )
    (site,), (cause,) = row_words(row, language)
    return (f"{cause}（{site}）", f"{cause} ({site})")[language]


def days_words(days: Week, language: int) -> str:
    """2026年5月4日（月）～5月10日（日）, or 4 May 2026 (Mon) to 10 May (Sun)."""
    return "".join(days_parts(days, language))


def days_parts(days: Week, language: int) -> tuple[str, str]:
    """The same in two, between which a line may end."""
    first, last = days.first, days.last
    if language == 0:
        year = f"{last.year}年" if last.year != first.year else ""
        return f"{first.year}年{_day(first)}～", f"{year}{_day(last)}"
    year = f" {last.year}" if last.year != first.year else ""
    return f"{first.day} {first:%b %Y (%a)} to ", f"{last.day} {last:%b}{year} {last:(%a)}"


def cause_words(code: str) -> Text:
    """What a code of a page with a reference number is called: by the page's own heading."""
    state = code.partition(".")[2] if code.startswith(("certificate.", "check.")) else ""
    known = next((words for each, words in CERTIFICATE.items() if each.value == state), None)
    if known is not None:
        return known.title
    found = REFUSALS[code].title if code in REFUSALS else _OTHER_CAUSES.get(code)
    return found or (code, code)


def site_words(site: str) -> Text:
    return SITES.get(site, (site, site))


def told(kind: Kind, report: Report, language: int) -> str:
    """What the chart shows, in a sentence: the sum, the largest row, the share of all."""
    total = sum(report.totals)
    if not total:
        return ("この期間には何もありません。", "There is nothing in this period.")[language]
    most = max(report.rows, key=lambda row: sum(row.values))
    of = days_words(most.of, language) if isinstance(most.of, Week) else short_words(most, language)
    # What a cause is called may be a sentence of its own.
    called = of if isinstance(most.of, Week) else f"「{of}」"
    count = sum(most.values)
    part = share(kind, report, report.totals)
    if language == 0:
        rate = f"{kind.share[1][0]}は{part:.1f}%です。" if kind.share and kind.narrowed else ""
        return f"合計{total:,}件。最も多いのは{called}の{count:,}件です。{rate}"
    rate = f" {kind.share[1][1]}: {part:.1f}%." if kind.share and kind.narrowed else ""
    return f"{total:,} in all; most of them, {count:,}: {of}.{rate}"


def _day(day: date) -> str:
    return f"{day.month}月{day.day}日（{_WEEKDAYS[day.weekday()]}）"
