"""連携: systems that work here by certificate, and those that are told of what happens (webhooks)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ca.storage import Transaction
from enroll.hooks import endpoints, viewing
from enroll.hooks.states import DELIVERY_LABELS, ENDPOINT_LABELS
from enroll.hooks.states import Delivery as State
from enroll.hooks.states import Endpoint as Standing
from enroll.hooks.store import Endpoint
from enroll.hooks.viewing import MOST_CHOSEN, Listed, Page
from enroll.identifiers import number_in
from enroll.operators import asking
from enroll.operators import viewing as office
from enroll.operators.asking import Done, Proposed
from enroll.operators.roles import LABELS as ROLES
from enroll.operators.roles import Act
from enroll.operators.store import Proposal
from enroll.refusals import Refusal
from gateway.sites.console.asking import show
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.sites.console.words import PROPOSALS
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

LIST, NEW, SECRET = "/integrations", "/integrations/new", "/integrations/secret"
DELIVERIES = "/integrations/deliveries"
ENDPOINT = "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}"
# Deliveries on the page of an endpoint, and on a page of the list.
_LAST, _PAGE = 10, 50
# What a form proposes -> the kind, and what it says besides the name.
_ASKED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "start": ("webhook.start", {"skip": False}),
    "start_skip": ("webhook.start", {"skip": True}),
    "rotate": ("webhook.rotate", {"at_once": False}),
    "rotate_at_once": ("webhook.rotate", {"at_once": True}),
    "end": ("webhook.end", {}),
}
_TONES: Mapping[str, str] = {
    **{Standing.ACTIVE: "good", Standing.STOPPED: "bad", Standing.ENDED: "plain"},
    **{State.WAITING: "warn", State.DELIVERED: "good", State.DEAD: "bad"},
}
# Field of what is approved already, and its secret waits for the passkey: the list has the button.
_APPROVED = "approved"
_NONE_CHOSEN: Text = ("再送するものを選択してください。", "Tick what is to be sent once more.")
#: What was done, or not -> words, and how the box looks.
SAID: Mapping[str, tuple[Text, str]] = {
    "tested": (
        (
            "試験用のイベントを送信待ちにしました。数秒後に表示を更新してください。",
            "A test waits to be sent. Look again in a few seconds.",
        ),
        "good",
    ),
    "stopped": (
        (
            "停止しました。停止中のイベントは失われず、再開すると送信されます。",
            "It is stopped. What happens meanwhile is sent when it is started.",
        ),
        "good",
    ),
    "replayed": (("再送を始めました。", "They are sent once more."), "good"),
    "no_reason": (("理由を入力してください。", "Please say why."), "problem"),
    "conflict": (
        (
            "その操作は、今の状態ではできません。表示を更新して確認してください。",
            "That cannot be done as things are. Look at it once more.",
        ),
        "problem",
    ),
    "no_delivery": (_NONE_CHOSEN, "problem"),
    "many": ((f"一度に{MOST_CHOSEN}件まで選択できます。", f"{MOST_CHOSEN} at a time."), "problem"),
}
#: Field of a new endpoint -> what is wrong with it.
WRONG: Mapping[str, Text] = {
    "name": (
        "半角の英小文字で始まる2～32文字の英小文字・数字・ハイフンを入力してください。",
        "Please write 2 to 32 of a-z, 0-9 and '-', a letter first.",
    ),
    "taken": (
        "この名前はすでに使われています（終了したものを含みます）。別の名前を入力してください。",
        "That name is, or was, another one's. Please write another.",
    ),
    "url": (
        "https:// で始まり、設定 webhooks.hosts にあるホストのアドレスを入力してください。",
        "Please write an address that begins with https://, of a host in the setting webhooks.hosts.",
    ),
    "events": ("イベントを1つ以上選択してください。", "Please choose one event or more."),
    "changes": ("変更された項目がありません。", "Nothing is different from what it is."),
    "endpoint": (
        "終了したWebhookは変更できません。",
        "It has ended: it changes no more.",
    ),
    "proposal": ("同じ内容の起案が承認待ちです。", "The same is proposed already, and waits."),
    "reason": (
        "理由は500文字以内の1行で入力してください。",
        "Please say why in one line of up to 500 characters.",
    ),
}
#: What is offered -> what it is called. The type itself stands beside it.
EVENTS: Mapping[str, Text] = {
    "*": ("すべて", "Everything"),
    "request.*": ("リクエストの状態の変化", "Requests: each state"),
    "certificate.*": ("証明書の発行・失効・利用停止・期限", "Certificates: issued, revoked, held, expiring"),
    "letter.*": ("不達のメール", "Emails that came back"),
    "application.*": ("申請の受付・決定", "Applications"),
    "proposal.*": ("承認待ちの起案と決定", "Proposals"),
}
_SINGLE: Text = ("個別のイベント", "This one alone")


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Service accounts, endpoints, and secrets that wait to be told."""
    ra = request.app[GATE].ra

    def read(db: Transaction) -> tuple[list[Listed], list[office.Listed], list[Proposal]]:
        found, ready = viewing.listed(db, visitor.actor), asking.untold(db, visitor.actor, ra.now())
        there = office.listed(db, ra.now(), visitor.actor) if visitor.may("operators") else []
        services = [each for each in there if each.operator.kind == "service"]
        return found, services, [each for each in ready if each.kind.startswith("webhook.")]

    found, services, ready = await ra.database.read(read)
    return _show(request, "integrations.html", visitor, found=found, services=services, ready=ready)


async def one(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """An endpoint: where it is, how it is doing, its last deliveries, and what can be done about it."""
    ra, name = request.app[GATE].ra, request.match_info["name"]

    def read(db: Transaction) -> tuple[Listed, Page]:
        last = viewing.deliveries(db, visitor.actor, name, limit=_LAST)
        return viewing.seen(db, visitor.actor, name), last

    found, last = await ra.database.read(read)
    return _show(request, "integration.html", visitor, found=found, endpoint=found.endpoint, last=last)


async def deliveries(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Deliveries, newest first, narrowed as the address says."""
    ra, query = request.app[GATE].ra, request.query
    state, name = query.get("state", ""), query.get("endpoint", "")
    before = number_in(query.get("before", ""), 15)
    if (state and state not in list(State)) or (query.get("before") and before is None):
        raise Refusal("invalid_input", field="state")

    def read(db: Transaction) -> tuple[Page, dict[int, str]]:
        wanted = State(state) if state else None
        last = 2**62 if before is None else before
        found = viewing.deliveries(db, visitor.actor, name or None, wanted, before=last, limit=_PAGE)
        return found, {each.endpoint.number: each.endpoint.name for each in viewing.listed(db, visitor.actor)}

    found, names = await ra.database.read(read)
    narrowed = {key: value for key, value in (("endpoint", name), ("state", state)) if value}
    further = urlencode({**narrowed, "before": str(found.further)}) if found.further else ""
    return _show(
        request,
        "deliveries.html",
        visitor,
        found=found,
        names=names,
        narrowed=narrowed,
        chosen={"endpoint": name, "state": state},
        further=f"{DELIVERIES}?{further}" if further else "",
        begin=before is not None,
    )


async def replay(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What was ticked, once more: all of it or nothing."""
    fields = await form(request)
    numbers = [number for each in fields if (number := number_in(each.removeprefix("n"), 15)) is not None]
    back = {key: fields[key] for key in ("endpoint", "state") if fields.get(key)}
    if not numbers or len(numbers) > MOST_CHOSEN:
        return tell(request, DELIVERIES, {"said": "many" if numbers else "no_delivery"})
    try:
        await viewing.replay(request.app[GATE].ra, visitor.actor, numbers)
    except Refusal as refusal:
        if refusal.code not in ("conflict", "not_found"):
            raise
        return tell(request, DELIVERIES, {"said": "conflict"})
    return see_other(f"{DELIVERIES}?{urlencode({**back, 'done': 'replayed'})}")


async def replay_dead(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Everything that was given up of an endpoint."""
    name = request.match_info["name"]
    await viewing.replay_dead(request.app[GATE].ra, visitor.actor, name)
    return see_other(f"{_here(name)}?done=replayed")


async def test(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """An event that says nothing."""
    name = request.match_info["name"]
    try:
        await viewing.test(request.app[GATE].ra, visitor.actor, name)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, _here(name), {"said": "conflict"})
    return see_other(f"{_here(name)}?done=tested")


async def stop(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Nothing more is sent, at once and with the reason."""
    name, fields = request.match_info["name"], await form(request)
    try:
        await viewing.stop(request.app[GATE].ra, visitor.actor, name, fields.get("reason", "").strip())
    except Refusal as refusal:
        if refusal.code not in ("invalid_input", "conflict"):
            raise
        said = "no_reason" if refusal.code == "invalid_input" else "conflict"
        return tell(request, _here(name), {"said": said})
    return see_other(f"{_here(name)}?done=stopped")


async def propose(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """What takes two: started, given another secret, ended."""
    name, fields = request.match_info["name"], await form(request)
    if fields.get("what") not in _ASKED:
        raise Refusal("invalid_input", field="what")
    kind, more = _ASKED[fields["what"]]
    reason = fields.get("reason", "").strip()
    if not reason:
        return tell(request, _here(name), {"said": "no_reason"})
    payload = {"name": name, **more}
    try:
        made = await asking.ask(request.app[GATE].ra, visitor.actor, kind, payload, reason=reason)
    except Refusal as refusal:
        if refusal.code not in ("invalid_input", "conflict"):
            raise
        if refusal.field == _APPROVED:
            return see_other(LIST)
        return tell(request, _here(name), {"said": "conflict"})
    assert isinstance(made, Proposed), "nobody does that alone at the console"
    return see_other(f"/proposals/{made.number}?done=proposed")


async def new(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Asks where events are to go, and which."""
    state = told(request)
    return _show(
        request,
        "integration_new.html",
        visitor,
        status=422 if state else 200,
        endpoint=None,
        typed=state.get("typed", {}),
        wrong=state.get("wrong", ""),
        problem=WRONG.get(state.get("wrong", "")),
        hosts=request.app[GATE].ra.settings.webhook_hosts,
        offered=EVENTS,
    )


async def add(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes it: the secret is told to who has proposed it, once somebody else has approved."""
    ra, fields = request.app[GATE].ra, await form(request)
    typed = {name: fields.get(name, "").strip() for name in ("name", "url", "reason")}
    chosen = _chosen(fields, EVENTS)
    payload = {"name": typed["name"], "url": typed["url"], "events": _shortest(chosen)}
    try:
        made = await asking.ask(ra, visitor.actor, "webhook.add", payload, reason=typed["reason"])
    except Refusal as refusal:
        if refusal.code not in ("invalid_input", "conflict"):
            raise
        if refusal.field == _APPROVED:
            return see_other(LIST)
        taken = (refusal.code, refusal.field) == ("conflict", "name")
        return tell(
            request, NEW, {"wrong": "taken" if taken else refusal.field, "typed": {**typed, "events": chosen}}
        )
    assert isinstance(made, Proposed), "nobody does that alone at the console"
    return see_other(f"/proposals/{made.number}?done=proposed")


async def change(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Asks where its events are to go from now on, and which."""
    ra, name, state = request.app[GATE].ra, request.match_info["name"], told(request)
    found = await ra.database.read(lambda db: endpoints.there(db, name))
    return _show(
        request,
        "integration_new.html",
        visitor,
        status=422 if state else 200,
        endpoint=found,
        typed=state.get("typed") or {"url": found.url, "events": found.events},
        wrong=state.get("wrong", ""),
        problem=WRONG.get(state.get("wrong", "")),
        hosts=ra.settings.webhook_hosts,
        offered=_offered(found),
    )


async def propose_change(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Proposes what is different of it."""
    ra, name, fields = request.app[GATE].ra, request.match_info["name"], await form(request)
    found = await ra.database.read(lambda db: endpoints.there(db, name))
    typed = {each: fields.get(each, "").strip() for each in ("url", "reason")}
    chosen = _chosen(fields, _offered(found))
    wanted = {"url": typed["url"], "events": _shortest(chosen)}
    stands = {"url": found.url, "events": list(found.events)}
    changes = {each: value for each, value in wanted.items() if value != stands[each]}
    payload = {"name": name, "changes": changes or wanted}
    try:
        made = await asking.ask(ra, visitor.actor, "webhook.change", payload, reason=typed["reason"])
    except Refusal as refusal:
        if refusal.code not in ("invalid_input", "conflict"):
            raise
        return tell(
            request, f"{_here(name)}/change", {"wrong": refusal.field, "typed": {**typed, "events": chosen}}
        )
    assert isinstance(made, Proposed), "no role changes one alone"
    return see_other(f"/proposals/{made.number}?done=proposed")


def _offered(found: Endpoint) -> dict[str, Text]:
    """What may be ticked: with what a command chose of single types."""
    return {**EVENTS, **{each: _SINGLE for each in found.events if each not in EVENTS}}


def _chosen(fields: Mapping[str, str], offered: Iterable[str]) -> list[str]:
    return [each for each in offered if fields.get(f"event-{each}")]


def _shortest(chosen: list[str]) -> list[str]:
    return ["*"] if "*" in chosen else chosen


async def secret(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Tells the secret of what was approved, once, when the passkey was used for it."""
    ra, fields = request.app[GATE].ra, await form(request)
    number = number_in(fields.get("number", ""), 15)
    ready = await ra.database.read(lambda db: asking.untold(db, visitor.actor, ra.now()))
    found = next((each for each in ready if each.number == number), None)
    if found is None or not found.kind.startswith("webhook."):
        raise Refusal("not_found", field="proposal")
    ja, en = PROPOSALS[found.kind]
    what = (f"署名鍵の表示（1回だけ）：{ja} {found.subject}", f"Show the secret, once: {en}, {found.subject}")
    waiting = await confirmed(request, visitor, fields, what, _comes(found))
    if waiting is not None:
        return waiting
    made = await asking.ask(ra, visitor.actor, found.kind, found.payload, tell=True)
    if isinstance(made, Proposed):  # somebody was faster, and it was asked for anew
        return see_other(f"/proposals/{made.number}?done=proposed")
    return await _told(request, visitor, made)


def _comes(found: Proposal) -> Text:
    """What the secret's telling brings about: what was approved is done with it."""
    if found.kind == "webhook.add":
        ja, en = (
            "このWebhookが登録され、以後のイベントの送信が始まります",
            "It is recorded, and told of what happens from now on",
        )
    elif found.payload["at_once"]:
        ja, en = (
            "署名鍵が替わり、以前の鍵では直ちに署名されなくなります",
            "The secret before signs nothing any more",
        )
    else:
        ja, en = (
            "署名鍵が替わります。以前の鍵でも1日は署名されます",
            "The secret before signs as well for a day",
        )
    return (
        f"{ja}。署名鍵は、次の画面に1回だけ表示されます。取り消せません。",
        f"{en}. The secret is on the next page, and never again. It cannot be undone.",
    )


async def _told(request: web.Request, visitor: Visitor, made: Done) -> web.StreamResponse:
    name = made.result["name"]
    found = await request.app[GATE].ra.database.read(lambda db: endpoints.there(db, name))
    return _show(request, "integration_secret.html", visitor, made=made.result, endpoint=found)


def _here(name: str) -> str:
    return f"{LIST}/webhooks/{name}"


def _show(
    request: web.Request, template: str, visitor: Visitor, *, status: int = 200, **values: Any
) -> web.Response:
    said = told(request).get("said", "") or request.query.get("done", "")
    return show(
        request,
        template,
        visitor,
        status=status,
        said=SAID.get(said),
        states={**ENDPOINT_LABELS, **DELIVERY_LABELS},
        tones=_TONES,
        reasons=endpoints.REASONS,
        roles=ROLES,
        may_act=visitor.may(Act.DELIVERIES, "DO"),
        may_propose=visitor.may(Act.SETTINGS, "PROPOSE"),
        delivery_states=list(State),
        kinds=PROPOSALS,
        **values,
    )
