"""Files of the console's lists: what each is called, by which address it is narrowed, and how it is given.

The address of a file is that of its page with ``.csv`` or ``.jsonl`` behind the path, and the same fields;
the command `sekisho export` asks for the same by their names. Who may is asked by `enroll.exports`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from aiohttp import web

from ca.errors import ConfigError
from ca.storage import Transaction, in_log
from enroll.campaigns import VIEWS
from enroll.exports import giving
from enroll.exports.forms import Csv, Form, JsonLines
from enroll.exports.giving import Places
from enroll.exports.tables import TABLES, Asking, Either, Start, Table, at_hand, checkpoint_of, totals_of
from enroll.operators.roles import Act, Verdict
from enroll.people.csvfile import ORGANISATIONS, USERS
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.reports import Report, Week
from gateway.sites.console import (
    applications,
    audit,
    campaigns,
    certificates,
    jobs,
    letters,
    organisations,
    users,
)
from gateway.sites.console import reports as report_pages
from gateway.sites.console.campaignwords import STEP_WORDS, VIEW_WORDS
from gateway.sites.console.fields import APPLICATION_STATES, PASSWORD_BY, REVOCATIONS
from gateway.sites.console.finding_words import CERTIFICATES, CHANNELS, DOORS, KINDS, LETTER_STATES, LETTERS
from gateway.sites.console.jobwords import STATES as JOB_STATES
from gateway.sites.console.visitors import Inner, Visitor, refuse
from gateway.sites.console.words import PROPOSALS
from gateway.sites.console.words import STATES as PROPOSAL_STATES
from gateway.sites.service.words import CHANNELS as TAKEN_BY
from gateway.sites.service.words import KINDS as APPLICATIONS
from gateway.sites.service.words import LANGUAGE_NAMES, NOTICES
from gateway.web import reports
from gateway.web.pages import GATE, language_of, see_other
from gateway.web.reports import KINDS as REPORTS
from gateway.web.words import Words

log = logging.getLogger("sekisho.console")

#: The exports that this process gives.
PLACES: web.AppKey[Places] = web.AppKey("exports", Places)
#: How a file ends -> how it is written, for a reader of a language.
FORMATS = ("csv", "jsonl")
_REPORT = "report-"

#: What an address asks for, as a value of the table's own, and what of it narrows the list.
Asked = Callable[[RegistrationAuthority, Mapping[str, str]], tuple[Any, Mapping[str, str]]]


@dataclass(frozen=True)
class Offered:
    """An export. ``path``: of its page, behind which the format stands; ``filters``: the names of what
    narrows it; ``of``: what has to be named by number, in the path of the page."""

    table: Table
    path: str
    asked: Asked
    filters: Sequence[str]
    of: Literal["", "number"] = ""


def form_of(name: str, table: Table, language: str) -> Form:
    """How a file is written. In Japanese with words for people, in English as the API says things."""
    if name == "jsonl":
        return JsonLines()
    if language != "ja":
        return Csv()
    own = _HEADINGS.get(table.name, {})
    headings = {column: own.get(column) or _COMMON[column] for column in table.columns}
    return Csv(1, headings, partial(_words, table.name))


def path_of(offered: Offered) -> str:
    """Of the table of routes."""
    return f"{offered.path}.{{form:{'|'.join(FORMATS)}}}"


def giver(name: str) -> Inner:
    """The handler of an export: its rows as they come, and no more of them in memory than a page."""

    async def give(request: web.Request, visitor: Visitor) -> web.StreamResponse:
        with request.app[PLACES].one(visitor.actor.identity) as there:
            if not there:
                return await refuse(request, BUSY, "export.busy", visitor)
            return await _given(request, visitor, OFFERED[name])

    return give


async def _given(request: web.Request, visitor: Visitor, offered: Offered) -> web.StreamResponse:
    gate, table, match = request.app[GATE], offered.table, request.match_info
    form = form_of(match["form"], table, language_of(request))
    of = {"number": match["number"]} if offered.of else {}
    closing = gate.head if table.signed else None
    try:
        wanted, said = offered.asked(gate.ra, {**request.query, **of})
        if table.signed and closing is None:
            raise ConfigError("nobody signs for the record here")
        made = await giving.begun(
            *(gate.ra, visitor.actor, table, form, wanted, said),
            closing=None if closing is None else partial(_signed, closing),
        )
    except Refusal as refusal:
        if refusal.field not in offered.filters:
            raise
        # The page says beside the field what is wrong.
        return see_other(request.path.removesuffix(f".{match['form']}") + f"?{request.query_string}")
    except ConfigError as nobody:
        log.error("no head for an export of the record: %s", nobody)
        return await refuse(request, NOT_SIGNED, "audit.not_signed", visitor)
    disposition = f'attachment; filename="{_file_name(table, said)}.{form.suffix}"'
    response = web.StreamResponse(
        headers={"Content-Type": form.media_type, "Content-Disposition": disposition}
    )
    await response.prepare(request)
    # What breaks from here on ends the connection without the last chunk (RFC 9112 section 8), and the file
    # without its last line: no page can follow.
    try:
        async with aclosing(giving.parts(made)) as parts:
            async for part in parts:
                await response.write(part)
    except ConnectionError:
        raise
    except Exception as error:
        log.error("an export of %s has broken off: %s", table.name, in_log(error))
        raise ConnectionAbortedError("the file has broken off") from None
    await response.write_eof()
    return response


async def _signed(head: Callable[[], Any]) -> Any:
    return checkpoint_of(await head())


def _file_name(table: Table, said: Mapping[str, str]) -> str:
    """Of what narrows it, what a file is told apart by."""
    told = [said[name] for name in table.told_apart if name in said]
    return "-".join([table.name, *told])


# -- reports, which are the gateway's ------------------------------------------------------------------------


def _report(name: str) -> Offered:
    kind = REPORTS[name]
    of = ("first", "last") if kind.narrowed else ("site", "code")
    more = (*(["total"] if len(kind.columns) > 1 else []), *(["share"] if kind.share is not None else []))

    def begin(db: Transaction, asked: Asking) -> Start:
        report = reports.made(db, asked.at, asked.actor, name, asked.wanted)
        records = [_of(row.of) | _numbers(report, row.values) for row in report.rows]
        totals = _numbers(report, report.totals)
        cells = ["", *(_said(totals[column]) for column in table.columns[2:])]
        return Start(len(records), records, totals_of(totals, cells))

    def _numbers(report: Report, values: Sequence[int]) -> dict[str, Any]:
        share = reports.share(kind, report, values)
        told = {**dict(zip(report.columns, values, strict=True)), "total": sum(values)}
        return told | {"share": None if share is None else round(share, 1)}

    table = Table(_REPORT + name, Act.REPORTS, Verdict.READ, (*of, *kind.columns, *more), begin, at_hand)
    return Offered(table, f"/reports/{name}", partial(report_pages.asked, name), report_pages.FILTERS)


def _of(of: Any) -> dict[str, Any]:
    if isinstance(of, Week):
        return {"first": of.first.isoformat(), "last": of.last.isoformat()}
    return {"site": of.site, "code": of.code}


def _said(value: Any) -> str:
    return "" if value is None else str(value)


# -- what there is -------------------------------------------------------------------------------------------


def _open_or_all(_: RegistrationAuthority, query: Mapping[str, str]) -> tuple[Either, Mapping[str, str]]:
    """Whether an address asks for all, or for what is open alone."""
    every = query.get("state") == "all"
    return Either(every), {"state": "all"} if every else {}


_OPEN_OR_ALL: tuple[Asked, Sequence[str]] = (_open_or_all, ("state",))

#: Export -> where, how narrowed. Their names are `enroll.exports.NAMES`.
OFFERED: Mapping[str, Offered] = MappingProxyType(
    {
        each.table.name: each
        for each in (
            Offered(TABLES["users"], users.LIST, users.asked, users.FILTERS),
            Offered(TABLES["organisations"], organisations.LIST, organisations.asked, organisations.FILTERS),
            Offered(TABLES["certificates"], certificates.LIST, certificates.asked, certificates.FILTERS),
            Offered(TABLES["applications"], applications.LIST, applications.asked, applications.FILTERS),
            Offered(TABLES["letters"], letters.LIST, letters.asked, letters.FILTERS),
            Offered(TABLES["audit"], "/audit", audit.asked, audit.FILTERS),
            Offered(TABLES["proposals"], "/proposals", *_OPEN_OR_ALL),
            Offered(TABLES["jobs"], jobs.JOBS, *_OPEN_OR_ALL),
            Offered(TABLES["campaign"], campaigns.CAMPAIGN, campaigns.asked, campaigns.FILTERS, "number"),
            Offered(
                TABLES["campaign-people"],
                campaigns.CAMPAIGN + "/people",
                campaigns.asked_people,
                campaigns.OF_PEOPLE,
                "number",
            ),
            *map(_report, REPORTS),
        )
    }
)

BUSY = Words(
    429,
    ("ファイルを作成中です", "Files are being made"),
    (
        f"一度に取得できるファイルは、1人{giving.MOST_AT_ONCE}件までです。",
        f"An operator gets {giving.MOST_AT_ONCE} files at the same time at most.",
    ),
    (
        "取得中のファイルの完了を待つか、中止してから、もう一度お試しください。",
        "Please wait until one is there, or cancel it, and try again.",
    ),
)
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

# -- in words ------------------------------------------------------------------------------------------------

#: Column -> its heading in Japanese.
_COMMON: Mapping[str, str] = MappingProxyType(
    {
        "user_id": "ユーザーID",
        "policy_number": "証券番号",
        "organisation": "団体名",
        "name": "氏名",
        "mail": "メールアドレス",
        "state": "状態",
        "serial": "シリアル番号",
        "common_name": "コモンネーム",
        "issuer": "発行した認証局",
        "profile": "種類",
        "door": "発行の経路",
        "not_before_at": "有効期間の開始",
        "not_after_at": "有効期限",
        "issued_at": "発行日時",
        "held_at": "利用停止日時",
        "revoked_at": "失効日時",
        "revocation_reason": "失効の理由",
        "number": "番号",
        "kind": "種類",
        "channel": "方法",
        "reason": "理由",
        "applied_by": "申請者",
        "submitted_at": "受付日時",
        "due_at": "期限",
        "decided_at": "決定日時",
        "decided_by": "決定者",
        "rejection": "却下の理由",
        "note": "備考",
        "request_id": "リクエストID",
        "recipient": "宛先",
        "subject": "件名",
        "attempts": "送信回数",
        "created_at": "作成日時",
        "sent_at": "送信日時",
        "result": "結果",
        "proposed_by": "起案者",
        "made_at": "起案日時",
        "expires_at": "承認の期限",
        "done_at": "実行日時",
        "done": "処理済み",
        "total": "合計",
        "refused": "エラー",
        "begun_at": "開始日時",
        "ended_at": "終了日時",
        "problem": "問題",
        "step": "状況",
        "id": "番号",
        "at": "日時（UNIX時刻）",
        "actor": "操作した人",
        "action": "操作",
        "why": "理由",
        "detail": "詳細",
        "hash": "ハッシュ値",
        "first": "初日",
        "last": "最終日",
        "site": "サイト",
        "code": "原因",
        **{view: VIEW_WORDS[view][0] for view in VIEWS},
    }
)
_HEADINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "users": {name: words[1] for name, words in {**USERS.columns, **USERS.told}.items()},
        "organisations": {
            name: words[1] for name, words in {**ORGANISATIONS.columns, **ORGANISATIONS.told}.items()
        },
        "letters": {"held_at": "保留日時"},
        "audit": {"subject": "対象"},
        "proposals": {"subject": "対象"},
        "jobs": {"subject": "対象", "total": "全件"},
        **{
            _REPORT + name: {column: words[0] for column, words in kind.columns.items()}
            | ({"share": kind.share[1][0]} if kind.share is not None else {})
            for name, kind in REPORTS.items()
        },
    }
)
#: Table and column -> its values in words; those of every table under the column alone.
_VALUES: Mapping[str, Mapping[Any, Any]] = MappingProxyType(
    {
        "role": KINDS,
        "notice_by": NOTICES,
        "language": LANGUAGE_NAMES,
        "users.state": users.STATES,
        "bounced": {True: ("不達", "does not arrive"), False: ("", "")},
        "organisations.state": organisations.STATES,
        "issue_password_by": PASSWORD_BY,
        "certificates.state": CERTIFICATES,
        "door": DOORS,
        "revocation_reason": REVOCATIONS,
        "applications.kind": APPLICATIONS,
        "applications.channel": TAKEN_BY,
        "applications.state": APPLICATION_STATES,
        "letters.kind": LETTERS,
        "letters.channel": CHANNELS,
        "letters.state": LETTER_STATES,
        "proposals.kind": PROPOSALS,
        "proposals.state": PROPOSAL_STATES,
        "jobs.kind": PROPOSALS,
        "jobs.state": JOB_STATES,
        "step": STEP_WORDS,
        "site": reports.SITES,
    }
)


def _words(table: str, column: str, value: Any) -> str | None:
    """A value in Japanese; None for one that is said as it is."""
    if column == "code":
        return f"{reports.cause_words(value)[0]} ({value})"
    found = (_VALUES.get(f"{table}.{column}") or _VALUES.get(column) or {}).get(value)
    if found is None or isinstance(found, str):
        return found
    # A state has the colour of its chip beside its words.
    japanese = found[0]
    return japanese if isinstance(japanese, str) else str(japanese[0])
