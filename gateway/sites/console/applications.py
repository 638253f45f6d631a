"""申請: the queue by due time, each with old beside new, and what an operator makes of it, one or many at a
time: a registrar proposes, an approver decides with the passkey, nobody what one has entered oneself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from ca.storage import Transaction
from enroll import store
from enroll.identifiers import number_in
from enroll.operators import applied, asking, registers, viewing
from enroll.operators.applied import PAGE, Seen, Wanted
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.operators.viewing import Names
from enroll.people.applications import AT_ONCE, LABELS, OTHER, REJECTIONS
from enroll.ra import RegistrationAuthority
from enroll.refusals import LONGEST_LINE, Refusal
from enroll.store import Application
from gateway.sites.console import saying
from gateway.sites.console.asking import show
from gateway.sites.console.due import due
from gateway.sites.console.fields import APPLICATION_STATES, ENDS
from gateway.sites.console.saying import Line
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.sites.service.words import CHANNELS, KINDS
from gateway.web.afterwards import typed
from gateway.web.dates import day
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import REFUSALS, Text

#: An application, and whom it is about.
Named = tuple[Application, Text]
APPROVE, REJECT = "application.approve", "application.reject"
LIST, OUTCOME = "/applications", "/applications/bulk"
#: Field of the address -> what may stand there; the first is what holds without it.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "state": ("submitted", "approved", "rejected", "withdrawn", "all"),
    "kind": ("", *KINDS),
    "channel": ("", *CHANNELS),
    "due": ("", "overdue", "today"),
    "sort": ("due", "newest"),
}
#: What narrows the list: names in the address.
FILTERS = (*_CHOICES, "policy_number")
_LONGEST_NUMBER = 20
_NOBODY: Text = ("登録なし", "not recorded")
_NO_CERTIFICATE: Text = ("有効な証明書なし", "no certificate that is good")
#: What became of a row -> words and the colour of its chip; else a code of `REFUSALS`.
_OUTCOMES: Mapping[str, tuple[Text, str]] = {
    APPROVE: (("承認しました", "approved"), "good"),
    REJECT: (("却下しました", "rejected"), "good"),
    "proposed": (("起案しました（別の人が決定）", "proposed: somebody else decides"), "good"),
    "not_permitted": (
        (
            "自分が受け付けた・起案した、またはメール変更直後のため、決定できません",
            "entered or proposed by yourself, or its address just changed: this takes two",
        ),
        "bad",
    ),
    "conflict": (("すでに決定または起案されています", "decided or proposed already"), "bad"),
    "not_found": (("該当する申請がありません", "there is no such application"), "bad"),
    "limit_reached": (("台数の上限に達しています", "as many PCs as are allowed"), "bad"),
    "user_disabled": (("利用者または団体が利用停止中です", "the user or the organisation is stopped"), "bad"),
}


async def listed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The queue: what is due first, or newest first, narrowed as the address says."""
    ra, query = request.app[GATE].ra, request.query
    chosen = _chosen(query)
    wanted = _wanted(chosen)
    after = _cursor(query.get("after", ""))

    page = await ra.database.read(lambda db: applied.listed(db, ra, visitor.actor, wanted, after))
    await registers.note_applications(ra, visitor.actor, [row.application for row in page.rows])
    narrowed = _said(chosen)
    state_told = told(request)
    return show(
        request,
        "applications.html",
        visitor,
        page=page,
        rows=[(row, *_brief(row, ra.now()), due(row.due_at, ra.now())) for row in page.rows],
        about=lambda row: _about(row),
        following=_following(narrowed, page.following),
        begin=f"{LIST}?{urlencode(narrowed)}" if after is not None else "",
        back=urlencode([*narrowed.items(), *([("after", query["after"])] if after is not None else [])]),
        chosen=chosen,
        narrowed=narrowed,
        values=state_told.get("values", {}),
        error=state_told.get("error", ""),
        decides=visitor.actor.decides(Act.APPLICATIONS),
        **_WORDS,
    )


def asked(_: RegistrationAuthority, query: Mapping[str, str]) -> tuple[Wanted, Mapping[str, str]]:
    """What an address asks for, and what of it narrows the list. Refusal("invalid_input")."""
    chosen = _chosen(query)
    return _wanted(chosen), _said(chosen)


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """One: what is applied for beside what there is, who may be the same, and what the visitor may do."""
    ra, seen = request.app[GATE].ra, await _known(request, visitor)
    found = seen.application
    await registers.note_applications(ra, visitor.actor, [found])
    await registers.note_alike(ra, visitor.actor, seen.doubts)
    names = await ra.database.read(lambda db: viewing.names_in(db, {**asdict(found), "person": {}}))
    different, same = _lines(seen, names, ra.now())
    state = told(request)
    return show(
        request,
        "application.html",
        visitor,
        seen=seen,
        found=found,
        different=different,
        same=same,
        due=due(seen.due_at, ra.now()),
        who=lambda by: saying.who(by, names),
        values=state.get("values", {}),
        error=state.get("error", ""),
        done=request.query.get("done", ""),
        about=_about(seen),
        theft=found.reason in AT_ONCE,
        approve=APPROVE,
        reject=REJECT,
        **_WORDS,
    )


async def approve(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Approves one, or proposes that."""
    return await _decide(request, visitor, APPROVE)


async def reject(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Turns one down with a reason, or proposes that."""
    return await _decide(request, visitor, REJECT)


async def decide_many(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What was ticked in the list, each by itself: what is refused for one is done for the others."""
    ra, fields = request.app[GATE].ra, await form(request)
    numbers = sorted(int(name[1:]) for name in fields if _is_tick(name))
    decision = REJECT if fields.get("act") == "reject" else APPROVE
    error = "none" if not numbers else "many" if len(numbers) > PAGE else _wrong(decision, fields)
    if error:
        return _back(request, fields, error)
    alone = visitor.actor.decides(Act.APPLICATIONS)
    if alone:
        found = await ra.database.read(lambda db: _named(db, numbers))
        what, comes = _what(decision, numbers, found), _comes(decision, found, fields)
        waiting = await confirmed(request, visitor, fields, what, comes)
        if waiting is not None:
            await registers.note_applications(ra, visitor.actor, [each for each, _ in found])
            return waiting
    outcome = []
    for number in numbers:
        payload = applied.payload_of(decision, number, fields)
        try:
            await _check_step(request, visitor, decision, number, "do" if alone else "propose")
            done = await asking.ask(ra, visitor.actor, decision, payload)
            outcome.append([number, "proposed" if isinstance(done, Proposed) else decision])
        except Refusal as refusal:
            outcome.append([number, refusal.code])
    return tell(request, OUTCOME, {"outcome": outcome, "back": _query(fields.get("back", ""))})


async def outcome(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What became of each that was ticked."""
    state = told(request)
    rows = [(number, *_outcome(code)) for number, code in state.get("outcome", ())]
    return show(
        request,
        "applications_outcome.html",
        visitor,
        rows=rows,
        failed=[row for row in rows if row[2] == "bad"],
        back=f"{LIST}?{state['back']}" if state.get("back") else LIST,
    )


async def _decide(request: web.Request, visitor: Visitor, decision: str) -> web.StreamResponse:
    ra, fields = request.app[GATE].ra, await form(request)
    number = int(request.match_info["number"])
    here = f"{LIST}/{number}"
    if error := _wrong(decision, fields):
        return _again(request, here, fields, error)
    step = "propose" if fields.get("step") == "propose" else "do"
    seen = await _known(request, visitor)
    if seen.application.state != "submitted":
        raise Refusal("conflict", field="application", detail=f"application {number} is decided already")
    await _check_step(request, visitor, decision, number, step)
    if step == "do":
        named = [(seen.application, _about(seen))]
        what, comes = _what(decision, [number], named), _comes(decision, named, fields)
        waiting = await confirmed(request, visitor, fields, what, comes)
        if waiting is not None:
            return waiting
    try:
        done = await asking.ask(ra, visitor.actor, decision, applied.payload_of(decision, number, fields))
    except Refusal as refusal:
        if refusal.code == "invalid_input":
            return _again(request, here, fields, "facts")
        if refusal.code == "limit_reached":
            return _again(request, here, fields, "limit")
        raise
    if isinstance(done, Proposed):
        return see_other(f"/proposals/{done.number}?done=proposed")
    return see_other(f"{here}?done={'approved' if decision == APPROVE else 'rejected'}")


async def _check_step(
    request: web.Request, visitor: Visitor, decision: str, number: int, wanted: str
) -> None:
    """Refusal("not_permitted") for whoever would decide and may only propose, or neither."""
    ra = request.app[GATE].ra
    step = await ra.database.read(
        lambda db: asking.step_of(db, ra, visitor.actor, decision, {"number": number})
    )
    if not step or (wanted == "do" and step != "do"):
        raise Refusal("not_permitted", field="application")


def _wrong(decision: str, fields: Mapping[str, str]) -> str:
    """The word for what is wrong with a form; empty if nothing is."""
    note = fields.get("note", "").strip()
    if len(note) > LONGEST_LINE or not note.isprintable():
        return "note_line"
    if decision == REJECT and fields.get("rejection") not in REJECTIONS:
        return "rejection"
    return "note" if decision == REJECT and fields["rejection"] == OTHER and not note else ""


def _again(request: web.Request, where: str, fields: Mapping[str, str], error: str) -> web.Response:
    values = typed(fields, "rejection", "note", "revoke_old", "department", "principal")
    return tell(request, where, {"error": error, "values": values})


def _back(request: web.Request, fields: Mapping[str, str], error: str) -> web.Response:
    """To the part of the list where it was sent from, with what was ticked and typed."""
    values = typed(fields, "rejection", "note") | {name: "1" for name in fields if _is_tick(name)}
    response = tell(request, LIST, {"error": error, "values": dict(list(values.items())[: 2 + PAGE])})
    if query := _query(fields.get("back", "")):
        response.headers["Location"] += f"&{query}"
    return response


def _query(text: str) -> str:
    """Of what a form says it came from: the fields of the list's address, and nothing else."""
    known = (*_CHOICES, "policy_number", "after")
    return urlencode([(name, value) for name, value in parse_qsl(text) if name in known])


def _is_tick(name: str) -> bool:
    return name[:1] == "n" and number_in(name[1:], 12) is not None


async def _known(request: web.Request, visitor: Visitor) -> Seen:
    ra, number = request.app[GATE].ra, int(request.match_info["number"])
    found = await ra.database.read(lambda db: applied.one(db, ra, visitor.actor, number))
    if found is None:
        raise Refusal("not_found", field="application")
    return found


def _chosen(query: Mapping[str, str]) -> dict[str, str]:
    """What the address narrows the list by. Refusal("invalid_input") for what it cannot."""
    chosen = {name: query.get(name) or values[0] for name, values in _CHOICES.items()}
    for name, value in chosen.items():
        if value not in _CHOICES[name]:
            raise Refusal("invalid_input", field=name)
    number = query.get("policy_number", "").strip()
    if len(number) > _LONGEST_NUMBER:
        raise Refusal("invalid_input", field="policy_number")
    return chosen | {"policy_number": number}


def _wanted(chosen: Mapping[str, str]) -> Wanted:
    return Wanted(
        state="" if chosen["state"] == "all" else chosen["state"],
        kind=chosen["kind"],
        channel=chosen["channel"],
        due=chosen["due"],  # type: ignore[arg-type]  # one of the table
        policy_number=chosen["policy_number"],
        newest=chosen["sort"] == "newest",
    )


def _said(chosen: Mapping[str, str]) -> dict[str, str]:
    """Those that say something else than without them."""
    return {name: value for name, value in chosen.items() if value != _CHOICES.get(name, ("",))[0]}


def _cursor(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    at, _, number = text.partition("-")
    since, last = number_in(at, 14), number_in(number, 14)
    if since is None or last is None:
        raise Refusal("invalid_input", field="after")
    return since, last


def _following(narrowed: Mapping[str, str], after: tuple[int, int] | None) -> str:
    if after is None:
        return ""
    return f"{LIST}?{urlencode({**narrowed, 'after': f'{after[0]}-{after[1]}'})}"


def about(application: Application, name: str = "") -> Text:
    """Whom it is about; ``name``: of the user, where it is one already."""
    if name:
        return (f"{name}（{application.user_id}）", f"{name} ({application.user_id})")
    name = application.person.get("name", "") or application.user_id
    return (name, name)


def _about(seen: Seen) -> Text:
    return about(seen.application, seen.user.name if seen.user is not None else "")


def _brief(seen: Seen, now: int) -> tuple[Text, Text]:
    """In a row of the list: what there is, and what would be."""
    found = seen.application
    if found.kind == "reissue":
        why_ja, why_en = LABELS.get(found.reason, ("", ""))
        ends_ja, ends_en = ENDS[found.revoke_old]
        return _certificates(seen, now), (
            f"再発行（{why_ja}）。現在の証明書は{ends_ja}",
            f"Reissue ({why_en}); the present ones: {ends_en}",
        )
    person = found.person
    if not person:
        return _NOBODY, ("利用者の登録", "a user is recorded")
    told_of = [person.get("name", ""), person.get("mail", ""), person.get("user_id", "")]
    ja, en = saying.words_of("user.add", "role", person.get("role"), viewing.Names({}, {}, {}, {}))
    listed = [each for each in told_of if each]
    return _NOBODY, ("、".join([*listed, ja]), ", ".join([*listed, en]))


def _certificates(seen: Seen, now: int) -> Text:
    """The user's certificates that have not ended otherwise, by name and end."""
    ja, en = [], []
    for each in seen.living:
        if each.not_after_at is not None:
            over = each.not_after_at < now
            until = day(each.not_after_at, "ja"), day(each.not_after_at, "en")
            ja.append(f"{each.common_name}（{until[0]}{'に期限切れ' if over else 'まで'}）")
            en.append(f"{each.common_name} ({'expired' if over else 'until'} {until[1]})")
    return ("、".join(ja), ", ".join(en)) if ja else _NO_CERTIFICATE


def _lines(seen: Seen, names: Names, now: int) -> tuple[list[Line], list[Line]]:
    """Old beside new, as a proposal of the same would have it."""
    found = seen.application
    if found.kind == "addition":
        return saying.lines("user.add", {"person": dict(found.person)}, {}, names)
    wanted: dict[str, Any] = {
        "user_id": found.user_id,
        "reason": found.reason,
        "revoke_old": found.revoke_old,
    }
    user = seen.user
    facts = (
        {}
        if user is None
        else {
            name: getattr(user, name)
            for name in ("user_id", "name", "policy_number", "mail", "role", "notice_by", "disabled_at")
        }
    )
    different, same = saying.lines("request.reissue", wanted, facts, names)
    return [replace(different[0], now=_certificates(seen, now)), *different[1:]], same


def _named(db: Transaction, numbers: Sequence[int]) -> list[Named]:
    """Those of some numbers that there are, with whom each is about."""
    found = [each for number in numbers if (each := store.application(db, number)) is not None]
    users = {each.user_id: store.user(db, each.user_id) for each in found if each.user_id}
    names = {user_id: user.name for user_id, user in users.items() if user is not None}
    return [(each, about(each, names.get(each.user_id, ""))) for each in found]


def _what(decision: str, numbers: Sequence[int], found: Sequence[Named]) -> Text:
    """What the passkey is asked for."""
    whom = {each.id: words for each, words in found}
    listed = [(number, *whom.get(number, ("", ""))) for number in numbers]
    japanese = "、".join(f"{number} {ja}".strip() for number, ja, _ in listed)
    english = ", ".join(f"{number} {en}".strip() for number, _, en in listed)
    verb = ("承認", "Approve") if decision == APPROVE else ("却下", "Reject")
    count = len(numbers)
    return (f"{verb[0]}：申請 {count}件（{japanese}）", f"{verb[1]} {count} of the applications: {english}")


def _comes(decision: str, found: Sequence[Named], fields: Mapping[str, str]) -> Text:
    """What comes of a decision about all of these."""
    parts = list[Text]()
    if decision == REJECT:
        parts.append(_TOLD)
        parts += [_GOES_ON] if any(each.reason in AT_ONCE for each, _ in found) else []
    else:
        parts += [_RECORDED] if any(each.kind == "addition" for each, _ in found) else []
        reissued = [each for each, _ in found if each.kind == "reissue"]
        for end in dict.fromkeys(fields.get("revoke_old") or each.revoke_old for each in reissued):
            ja, en = ENDS[end]
            parts.append(
                (
                    f"再発行のご案内が送られます。現在の証明書：{ja}。",
                    f"Emails about the new certificate are sent. The present ones: {en}.",
                )
            )
    parts.append(_FOR_GOOD)
    return "".join(ja for ja, _ in parts), " ".join(en for _, en in parts)


_TOLD: Text = (
    "オンラインで申請した人には、却下とその理由が表示されます。",
    "Whoever applied online is shown that it was rejected, and why.",
)
_GOES_ON: Text = (
    "紛失・盗難の届けで利用停止になった証明書は、再び使用できるようになります。",
    "Certificates that the report of a loss or theft had suspended are good again.",
)
_RECORDED: Text = (
    "利用者として登録され、ユーザーIDと証明書取得のご案内が送られます。",
    "The user is recorded, and is sent the user ID and the way to the certificate.",
)
_FOR_GOOD: Text = ("取り消せません。", "It cannot be undone.")


def _outcome(code: str) -> tuple[Text, str]:
    return _OUTCOMES.get(code) or (REFUSALS[code].title, "bad")


_WORDS: Mapping[str, Any] = {
    "kinds": KINDS,
    "channels": CHANNELS,
    "states": APPLICATION_STATES,
    "reasons": LABELS,
    "rejections": REJECTIONS,
    "ends": ENDS,
    "most": PAGE,
}
