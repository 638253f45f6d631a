"""証明書: the list of all, narrowed and in order as its address says, and many that are to end at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from ca.profiles import OPERATORS
from ca.revocation import REASONS
from enroll.certificates import ending, listing
from enroll.certificates.ending import Marked
from enroll.certificates.store import Order, Place, Wanted
from enroll.exports.tables import Listed
from enroll.identifiers import number_in, typed_policy_number
from enroll.jst import start_of
from enroll.operators import asking
from enroll.operators.asking import Proposed
from enroll.ra import RegistrationAuthority
from enroll.refusals import LONGEST_LINE, Refusal
from gateway.sites.console.asking import show
from gateway.sites.console.fields import REVOCATIONS
from gateway.sites.console.finding_words import CERTIFICATES, DOORS
from gateway.sites.console.narrowing import typed_day
from gateway.sites.console.visitors import Visitor
from gateway.web.pages import GATE, form, see_other
from gateway.web.words import Text

LIST, MANY = "/certificates", "/certificates/revoke"
BULK = "certificate.revoke.bulk"
#: Certificates that are named at once: a form has 64 KiB.
MOST = 1_000
#: Reasons that an operator gives, by name.
OFFERED: Mapping[str, Text] = {
    each.name: (f"{REVOCATIONS[each.name]}（{each.name}）", each.name)
    for each in REASONS.values()
    if each.by_operator
}
_SORTS = ("newest", "ending")
#: What narrows the list: names in the address.
FILTERS = ("state", "issuer", "profile", "door", "from", "to", "organisation", "sort")
_LONGEST = 80
_WRONG: Mapping[str, Text] = {
    "day": ("日付を入力してください（例：2026-05-01）。", "Please give a day, such as 2026-05-01."),
    "order": ("終わりの日は、始めの日以後にしてください。", "The last day must not be before the first."),
    "choice": (
        "この条件では絞り込めません。選択肢から選んでください。",
        "The list is not narrowed by that: choose one of these.",
    ),
}
#: What is wrong with a list of certificates that are to end.
_ERRORS: Mapping[str, Text] = {
    "none": (
        "証明書を1件以上、シリアル番号・コモンネーム・フィンガープリントのいずれかで、1行に1つ入力してください。",
        "Name at least one certificate, one a line: by serial number, common name or fingerprint.",
    ),
    "many": (
        f"一度に指定できるのは{MOST:,}枚までです。それより多い場合は、サーバーで "
        "sekisho cert revoke-list FILE をお使いください。",
        f"At most {MOST:,} are named at once; for more, type on the server: sekisho cert revoke-list FILE",
    ),
    "unknown": (
        "登録のない証明書が含まれています。下の行を修正するか、除いてください。",
        "Some of them are no certificates of this CA: mend these lines, or take them out.",
    ),
    "reason": ("失効の理由を選択してください。", "Please choose why they are revoked."),
    "why": (
        f"経緯を1行（{LONGEST_LINE}文字以内）で入力してください。",
        f"Please say what happened, in one line of up to {LONGEST_LINE} characters.",
    ),
    "conflict": (
        "同じ内容の起案がすでに承認を待っています。「承認待ち」でご確認ください。",
        "The same is proposed already, and waits: see “Proposals”.",
    ),
}


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """A page of the list, and how many there are in all."""
    ra = request.app[GATE].ra
    typed, narrowed = _typed(request.query)
    known = _choices(ra)
    values = {"typed": typed, "narrowed": narrowed, "states": CERTIFICATES, "doors": DOORS, **known}
    try:
        wanted = _wanted(typed, known)
        after = _place(request.query.get("after", ""))
    except Refusal as refusal:
        errors = {refusal.field: _WRONG[refusal.reason or "choice"]}
        return show(request, "certificates.html", visitor, status=422, errors=errors, page=None, **values)
    order = _order(typed)
    page = await listing.listed(ra, visitor.actor, wanted, order, after)
    return show(
        request,
        "certificates.html",
        visitor,
        errors={},
        page=page,
        following=_address(narrowed, page.following) if page.following is not None else "",
        begin=_address(narrowed, None) if after is not None else "",
        back=urlencode([*narrowed.items(), *([("after", request.query["after"])] if after else [])]),
        issuer_of=lambda row: known["issuers"].get(row["issuer_id"], row["issuer_id"]),
        many=visitor.may("revoke_many", "PROPOSE"),
        **values,
    )


def asked(ra: RegistrationAuthority, query: Mapping[str, str]) -> tuple[Listed, Mapping[str, str]]:
    """What an address asks for, and what of it narrows the list. Refusal with the field at fault."""
    typed, narrowed = _typed(query)
    return Listed(_wanted(typed, _choices(ra)), _order(typed)), narrowed


async def many(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The form into which a list of certificates is pasted."""
    return _form(request, visitor, {}, Marked((), ()))


async def revoke_many(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What was marked or pasted, looked at once more; asked for, it is proposed: a job does it."""
    ra, fields = request.app[GATE].ra, await form(request)
    lines = [*_ticked(fields), *fields.get("serials", "").splitlines()]
    named = [each for each in map(str.strip, lines) if each]
    if not named or len(named) > MOST:
        return _form(request, visitor, fields, Marked((), ()), "many" if named else "none")
    found = await ra.database.read(lambda db: ending.marked(db, named))
    error = _wrong(fields, found)
    if fields.get("step") != "ask" or error:
        return _form(request, visitor, fields, found, error)
    payload = ending.of_many(found.serials, fields["reason"])
    try:
        done = await asking.ask(ra, visitor.actor, BULK, payload, reason=fields["why"].strip())
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return _form(request, visitor, fields, found, "conflict")
    if isinstance(done, Proposed):
        return see_other(f"/proposals/{done.number}?done=proposed")
    return see_other(f"/jobs/{done.result['job']}")


def _typed(query: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What the address says, and what of that says something else than without it."""
    typed = {name: query.get(name, "").strip()[:_LONGEST] for name in FILTERS}
    typed["sort"] = typed["sort"] or _SORTS[0]
    return typed, {name: value for name, value in typed.items() if value and value != _SORTS[0]}


def _order(typed: Mapping[str, str]) -> Order:
    return "ending" if typed["sort"] == "ending" else "newest"


def _form(
    request: web.Request, visitor: Visitor, fields: Mapping[str, str], found: Marked, error: str = ""
) -> web.Response:
    at = request.app[GATE].now()
    return show(
        request,
        "certificates_revoke.html",
        visitor,
        status=422 if error else 200,
        found=found,
        rows=[(each, CERTIFICATES[_standing(each.status, each.not_after_at, at)]) for each in found.records],
        serials="\n".join(found.serials) if found.records else fields.get("serials", ""),
        values={name: fields[name][:LONGEST_LINE] for name in ("reason", "why") if name in fields},
        error=error,
        errors=_ERRORS,
        reasons=OFFERED,
        back=_query(fields.get("back", "")),
        most=MOST,
    )


def _wrong(fields: Mapping[str, str], found: Marked) -> str:
    """The word for what is wrong with what was sent; empty if nothing is."""
    if found.unknown:
        return "unknown"
    if fields.get("step") != "ask":
        return ""
    if fields.get("reason") not in OFFERED:
        return "reason"
    why = fields.get("why", "").strip()
    return "" if why and why.isprintable() and len(why) <= LONGEST_LINE else "why"


def _ticked(fields: Mapping[str, str]) -> Iterable[str]:
    return (name[1:] for name, value in fields.items() if name[:1] == "c" and value == "1")


def _standing(status: str, not_after_at: int, at: int) -> str:
    return "expired" if status == "issued" and not_after_at < at else status


def _choices(ra: RegistrationAuthority) -> dict[str, Any]:
    """What the list can be narrowed by: issuing CAs by their IDs, and profiles."""
    return {
        "issuers": {each.issuer_id: each.common_name for each in ra.authority.issuers},
        "profiles": [*ra.authority.profiles, *OPERATORS],
    }


def _wanted(typed: Mapping[str, str], known: Mapping[str, Any]) -> Wanted:
    """What the address narrows the list by. Refusal with the field, for what it cannot."""
    choices = {
        "state": CERTIFICATES,
        "issuer": known["issuers"],
        "profile": known["profiles"],
        "door": DOORS,
        "sort": _SORTS,
    }
    for name, values in choices.items():
        if typed[name] and typed[name] not in values:
            raise Refusal("invalid_input", field=name)
    since, until = typed_day(typed, "from"), typed_day(typed, "to")
    if since is not None and until is not None and until < since:
        raise Refusal("invalid_input", field="to", reason="order")
    return Wanted(
        state=typed["state"] or None,  # type: ignore[arg-type]  # one of the table
        issuer_id=typed["issuer"] or None,
        profile=typed["profile"] or None,
        door=typed["door"] or None,
        policy_number=typed_policy_number(typed["organisation"]) or None,
        ends_from=None if since is None else start_of(since),
        ends_before=None if until is None else start_of(until + timedelta(days=1)),
    )


def _place(text: str) -> Place | None:
    if not text:
        return None
    value, _, number = text.partition("-")
    since, last = number_in(value, 14), number_in(number, 14)
    if since is None or last is None:
        raise Refusal("invalid_input", field="after")
    return since, last


def _address(narrowed: Mapping[str, str], after: Place | None) -> str:
    """Where a page of the list is; without a place its first one."""
    asked = dict(narrowed) | ({} if after is None else {"after": f"{after[0]}-{after[1]}"})
    return f"{LIST}?{urlencode(asked)}" if asked else LIST


def _query(text: str) -> str:
    """Of what a form says it came from: the fields of the list's address, and nothing else."""
    return urlencode([(name, value) for name, value in parse_qsl(text) if name in (*FILTERS, "after")])
